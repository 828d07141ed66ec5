"""Which mask belongs to which picture; nothing is opened. Messages name no file: a name may come from a patient."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from medai.errors import DataRefused
from medai.sources.files import look, other_kind
from medai.sources.image_folder.finding import composed, listed, refuse_without_folder
from medai.sources.image_folder.finding import find_unlabelled as find_pictures

IMAGES, MASKS = "images", "masks"
_SUFFIX = "_mask"


class Pair(NamedTuple):
    """A picture with its masks: where, its place below the data, and its publisher's role (None where none is told)."""

    picture: Path
    masks: tuple[Path, ...]
    place: str
    role: str | None = None

    @property
    def above(self) -> str:
        """The folder that it lies in, below the data."""
        return self.place.rpartition("/")[0]


def find(path: Path, refuse_missing: bool) -> list[Pair]:
    """Every picture with its masks, by name; see ``image_masks.raw_files`` for what is refused."""
    received = look(path)
    if received != "folder":
        raise other_kind("the data path", f"a folder that holds {IMAGES} and {MASKS}, unpacked", received)
    root = path.resolve()
    top = listed(path, root)
    folders = {name: place for _, name, place in top.folders}
    if sorted(folders) != [IMAGES, MASKS] or len(top.folders) != 2:
        raise _refused(
            "the data are not laid out as pictures with masks",
            f"a folder {IMAGES} and a folder {MASKS}, and no other",
            f"{len(top.folders)} folders, {sum(name in (IMAGES, MASKS) for _, name, _ in top.folders)} of those names",
            "point --data at the folder that holds both",
        )
    refuse_without_folder(top.files, f"{IMAGES} and {MASKS}")
    pictures: dict[str, Path] = {}
    for file in _files(folders[IMAGES], root, IMAGES):
        if pictures.setdefault(composed(file.stem), file) is not file:
            raise _refused(
                "two pictures have one name but for what follows the dot",
                "a name for each picture, by which its masks are found",
                "the same name as png and jpeg, or in two of Unicode's spellings",
                "rename one of them and its masks",
            )
    of: dict[str, list[Path]] = {stem: [] for stem in pictures}
    strays = 0
    for mask in _files(folders[MASKS], root, MASKS):
        owner = _owner(composed(mask.stem), pictures)
        if owner is None:
            strays += 1
        else:
            of[owner].append(mask)
    if strays:
        raise _refused(
            "masks belong to no picture",
            f"each mask named as its picture, or so and {_SUFFIX} behind it",
            f"{strays} masks of other names",
            "give their pictures, or take the masks out of the data",
        )
    lacking = sum(not masks for masks in of.values())
    if refuse_missing and lacking:
        raise _refused(
            "pictures have no mask",
            "a mask for each picture, all 0 where it shows no finding",
            f"{lacking} of {len(pictures)} pictures without one",
            "give the masks, or set missing: no_finding in the Problem's source if that is what it means",
        )
    return [Pair(file, tuple(of[stem]), f"{IMAGES}/{file.name}") for stem, file in sorted(pictures.items())]


def find_unlabelled(path: Path) -> list[Pair]:
    """Pictures to predict: one, or all of a folder; of a folder that holds ``images``, those, and no mask."""
    inside = path
    if look(path) == "folder":
        named = [place for _, name, place in listed(path, path.resolve()).folders if name == IMAGES]
        inside = named[0] if len(named) == 1 else path
    return [Pair(file.path, (), file.place, file.role) for file in find_pictures(inside).files]


def _owner(stem: str, pictures: dict[str, Path]) -> str | None:
    """The picture that a mask names: the whole of its name, or what stands before the last ``_mask`` that fits.

    >>> _owner("p1_mask2", {"p1": Path()}), _owner("p1_mask", {"p1_mask": Path(), "p1": Path()}), _owner("x", {})
    ('p1', 'p1_mask', None)
    """
    end = len(stem)
    while end >= 0:
        if stem[:end] in pictures:
            return stem[:end]
        end = stem.rfind(_SUFFIX, 0, end)
    return None


def _files(folder: Path, root: Path, name: str) -> list[Path]:
    inside = listed(folder, root)
    if inside.folders or not inside.files:
        raise _refused(
            f"the folder {name} does not hold files alone",
            "files directly in it, one at least",
            f"{len(inside.folders)} folders and {len(inside.files)} files",
            "move the files up, or the folders out",
        )
    return inside.files


def _refused(wrong: str, expected: str, received: str, action: str) -> DataRefused:
    return DataRefused(wrong, expected=expected, received=received, action=action)
