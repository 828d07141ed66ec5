"""One file a format: each knows where its raw files lie and how they become canonical tables.

A reader is a module with a configuration class, ``VERSION`` (raised when its bytes change), ``SHAPE``, ``raw_files``
and ``read``. To add a source: one such module, its class in ``Source``, its line in ``_READERS``, and one suite.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

from pydantic import Field

from medai.sources import medmnist, physionet2012
from medai.sources.medmnist import MedMNIST
from medai.sources.physionet2012 import Physionet2012
from medai.tables import Facts

__all__ = ["MedMNIST", "Physionet2012", "Reader", "Source", "reader"]

Source = Annotated[MedMNIST | Physionet2012, Field(discriminator="kind")]


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


_READERS: dict[str, Reader] = {"medmnist": medmnist, "physionet2012": physionet2012}


def reader(config: MedMNIST | Physionet2012) -> Reader:
    """The module that reads a source of this kind."""
    return _READERS[config.kind]
