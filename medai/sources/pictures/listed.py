"""Pictures of which a table tells subjects, labels and attributes: decoded, put in order, written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from medai.records import Frozen
from medai.sources.pictures import tables
from medai.sources.pictures.decoding import Target, decode_file
from medai.sources.pictures.filling import fill, put_in_order
from medai.sources.pictures.tables import Entry
from medai.tables import Facts


class Cached(Frozen):
    """How pictures are kept in the pixel cache.

    Attributes:
        size: height and width.
        channels: 1 for grey, 3 for RGB.
        resize: ``stretch`` each side to the size, or ``pad``: keep the aspect ratio, in the middle of black.
        white: the level that is white in 16-bit grey pictures; 4095 for 12 bits kept in 16.
    """

    size: tuple[int, int]
    channels: Literal[1, 3] = 1
    resize: Literal["stretch", "pad"] = "stretch"
    white: int = Field(65535, ge=256, le=65535)

    @field_validator("size")
    @classmethod
    def _size_is_possible(cls, size: tuple[int, int]) -> tuple[int, int]:
        if not all(1 <= side <= 4096 for side in size):
            raise ValueError("height and width must lie between 1 and 4096")
        return size


def read_listed(
    kind: str,
    config: Cached,
    files: Sequence[Path],
    entries: Sequence[Entry],
    folder: Path,
    *,
    labels: Mapping[str, str],
    attributes: Mapping[str, str],
    named: bool = True,
    labelled: bool = True,
    view: str | None = None,
) -> Facts:
    """Decode each file once and write what is known of it.

    Args:
        kind: of the source.
        files: where the pictures lie, in the order of ``entries``.
        labels, attributes: column → type, in the order of each entry's values.
        named, labelled, view: as for ``tables.write``.
    """
    target = Target(*config.size, config.channels, config.resize == "pad", config.white)
    shape = (*config.size, config.channels)
    decode = partial(decode_file, target=target)
    pictures = list(fill(folder / "pixels.npy", shape, decode, files, lambda file: file))
    order = tables.arrange(entries, pictures)
    put_in_order(folder / "pixels.npy", order)
    return tables.write(
        kind,
        [entries[at] for at in order],
        [pictures[at] for at in order],
        folder,
        labels=labels,
        attributes=attributes,
        named=named,
        labelled=labelled,
        view=view,
    )
