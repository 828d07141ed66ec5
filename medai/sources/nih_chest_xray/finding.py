"""Where an archive's pictures lie: ``images``, or ``images_001`` to ``images_012``; each may hold another ``images``.

The publisher's twelve archives unpack one by one; a subset of them is normal. Nothing is opened here.
"""

from __future__ import annotations

import re
from pathlib import Path

from medai.errors import DataRefused
from medai.sources.files import files_below, folders_below, look, other_kind
from medai.sources.nih_chest_xray.listing import NAME

_FOLDER = re.compile(r"images(_[0-9]{3})?")


def pictures_below(folder: Path) -> dict[str, Path]:
    """File name → where it lies, of every picture by the publisher's pattern of names.

    Raises:
        DataRefused: no such folder, no picture in any, one picture in two folders, or a link that leaves its folder.
    """
    received = look(folder)
    if received != "folder":
        raise other_kind("the data path", "the folder that holds the table and the folders of pictures", received)
    found: dict[str, Path] = {}
    for place in _places(folder):
        for path in files_below(place):
            if NAME.fullmatch(path.name) is None:
                continue
            if path.name in found:
                raise DataRefused(
                    "a picture lies in two folders",
                    expected="each picture once",
                    received="the same name a second time",
                    action="keep the archives as they unpack, each once",
                )
            found[path.name] = path
    if not found:
        raise DataRefused(
            "there are no pictures",
            expected="pictures in images, or in images_001 to images_012",
            received="folders without a picture of the publisher's names, or no such folders",
            action="unpack the archives there, or correct --data",
        )
    return found


def _places(folder: Path) -> list[Path]:
    """The folders in which pictures lie directly."""
    outer = [path for path in folders_below(folder) if _FOLDER.fullmatch(path.name)]
    inner = [path for place in outer for path in folders_below(place) if path.name == "images"]
    return [*outer, *inner]
