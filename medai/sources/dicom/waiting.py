"""Working pictures that wait in files until it is known how many rows there are, and in which order.

Only decoding tells how many frames a file gives. Each worker lays its pictures into a file of its own and sends where
they lie: pixels through a connection would take a third of the time of reading an uncompressed radiograph.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from medai.sources.dicom.decoding import Answer, Picture, Target, decode_file

if TYPE_CHECKING:
    import numpy as np

_open: dict[Path, BinaryIO] = {}
"""In a worker: the file that it fills."""


class Place(NamedTuple):
    """Where a picture waits: in whose file, and behind how many bytes."""

    worker: int
    begin: int


class Laid(NamedTuple):
    """What a file gave: its pictures without their pixels, and where these wait, None for those that have none."""

    answer: Answer
    places: tuple[Place | None, ...]


def decode_aside(path: Path, target: Target, folder: Path) -> Laid:
    """Decode a file in a worker and lay its pixels into the worker's own file in a folder.

    Raises:
        OSError: the file cannot be read, or the disk is full.
    """
    answer = decode_file(path, target)
    laid = [_lay(picture, folder) for picture in answer.pictures]
    return Laid(answer._replace(pictures=tuple(bare for bare, _ in laid)), tuple(place for _, place in laid))


def _lay(picture: Picture, folder: Path) -> tuple[Picture, Place | None]:
    pixels = picture.decoded.pixels
    if pixels is None:
        return picture, None
    own = folder / str(os.getpid())
    if own not in _open:
        _open[own] = own.open("ab")
    file = _open[own]
    begin = file.tell()
    file.write(pixels.tobytes())
    file.flush()
    return picture._replace(decoded=picture.decoded._replace(pixels=None)), Place(os.getpid(), begin)


class Waiting:
    """The pictures that wait in a folder, each (height, width, channels) of one type."""

    def __init__(self, folder: Path, shape: tuple[int, ...], kind: str) -> None:
        self.folder, self.shape, self.kind = folder, shape, kind
        self._files: dict[int, np.memmap] = {}

    def at(self, place: Place) -> np.ndarray:
        """The picture of a place."""
        import numpy as np

        if place.worker not in self._files:
            self._files[place.worker] = np.memmap(self.folder / str(place.worker), np.uint8, "r")
        size = np.dtype(self.kind).itemsize
        for side in self.shape:
            size *= side
        octets: np.ndarray = self._files[place.worker][place.begin : place.begin + size]
        return octets.view(self.kind).reshape(self.shape)


@contextmanager
def waiting_in(folder: Path) -> Iterator[Path]:
    """A new folder for pictures to wait in, gone with them in the end."""
    import shutil

    made = folder / "waiting"
    made.mkdir()
    try:
        yield made
    finally:
        shutil.rmtree(made)
