"""One file a format: each knows where its raw files lie and how they become canonical tables.

A reader is a module with a configuration class, ``VERSION`` (raised when its bytes change), ``SHAPE``, ``raw_files``
and ``read``; a reader of events may offer ``names``, by which misspelt variables are found before any work. To add a
source: one such module, its class in ``Source``, its line in ``_READERS``, and one suite.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, TypeVar, runtime_checkable

from pydantic import Field

from medai.records import Frozen
from medai.sources import (
    dicom,
    image_folder,
    image_masks,
    image_table,
    medmnist,
    meds,
    mimic3,
    mimic4,
    nih_chest_xray,
    physionet2012,
)
from medai.sources.dicom import Dicom
from medai.sources.image_folder import ImageFolder
from medai.sources.image_masks import ImageMasks
from medai.sources.image_table import ImageTable
from medai.sources.medmnist import MedMNIST
from medai.sources.meds import Meds
from medai.sources.mimic3 import Mimic3
from medai.sources.mimic4 import Mimic4
from medai.sources.nih_chest_xray import NIHChestXray
from medai.sources.physionet2012 import Physionet2012
from medai.tables import Facts, Names

__all__ = [
    "Dicom",
    "ImageFolder",
    "ImageMasks",
    "ImageTable",
    "MedMNIST",
    "Meds",
    "Mimic3",
    "Mimic4",
    "NIHChestXray",
    "Physionet2012",
    "Reader",
    "Source",
    "elsewhere",
    "names",
    "reader",
    "reading",
    "unlabelled",
]

AnySource = (
    Dicom | ImageFolder | ImageMasks | ImageTable | MedMNIST | Meds | Mimic3 | Mimic4 | NIHChestXray | Physionet2012
)
Source = Annotated[AnySource, Field(discriminator="kind")]

S = TypeVar("S", bound=Frozen)


class Reader(Protocol):
    """What a module of this package offers."""

    VERSION: int
    SHAPE: Literal["images", "events"]

    def raw_files(self, config: Any, path: Path, /) -> list[tuple[str, Path]]:
        """The raw files below a path, each with its role; a role that ends in ``/*`` is played by many."""
        ...

    def read(self, config: Any, path: Path, folder: Path, /) -> Facts:
        """Read the raw files into canonical tables in the folder."""
        ...


_READERS: dict[str, Reader] = {
    "dicom": dicom,
    "image_folder": image_folder,
    "image_masks": image_masks,
    "image_table": image_table,
    "medmnist": medmnist,
    "meds": meds,
    "mimic3": mimic3,
    "mimic4": mimic4,
    "nih_chest_xray": nih_chest_xray,
    "physionet2012": physionet2012,
}


@runtime_checkable
class _Labelled(Protocol):
    def unlabelled(self) -> Any:
        """The same source, its labels neither needed nor read."""
        ...


@runtime_checkable
class _Naming(Protocol):
    def names(self, config: Any, /) -> Names:
        """What a Problem on this source may speak of."""
        ...


def names(config: Any) -> Names | None:
    """What a source can give, whatever its files hold; None where its reader does not know without them."""
    chosen = reader(config)
    return chosen.names(config) if isinstance(chosen, _Naming) else None


@runtime_checkable
class _AtHome(Protocol):
    def elsewhere(self) -> Any:
        """The same source for other data than the Problem's own."""
        ...


def elsewhere(config: S) -> S:
    """A source as it reads other data than the Problem's own, on which a champion is measured."""
    return config.elsewhere() if isinstance(config, _AtHome) else config


def unlabelled(config: S) -> S:
    """A source as it is read for prediction: without its labels, where its layout can do without them."""
    return config.unlabelled() if isinstance(config, _Labelled) else config


_OF_ONE_SET: dict[str, frozenset[str]] = {
    "dicom": frozenset({"labels", "labelled", "masks", "views", "modalities"}),
    "image_folder": frozenset({"classes", "ignore", "labelled", "subject", "unmatched"}),
    "image_masks": frozenset({"labelled", "missing", "spacing", "subject", "unmatched"}),
    "image_table": frozenset({"columns", "labelled", "table"}),
    "medmnist": frozenset({"expect", "labelled"}),
    "meds": frozenset({"categories", "labels"}),
    "mimic3": frozenset({"phenotypes"}),
    "mimic4": frozenset({"phenotypes"}),
    "nih_chest_xray": frozenset({"labelled"}),
    "physionet2012": frozenset({"outcomes"}),
}
"""Kind → options that say which set it is, what its labels are and whose its rows are. They may be another site's."""


def reading(config: Frozen) -> dict[str, Any]:
    """What of a source decides the values that a model reads: all of its options that are not one set's own."""
    dumped = config.model_dump(mode="json")
    return {name: value for name, value in dumped.items() if name not in _OF_ONE_SET.get(dumped["kind"], ())}


def reader(config: AnySource) -> Reader:
    """The module that reads a source of this kind."""
    return _READERS[config.kind]
