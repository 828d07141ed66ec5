"""Which files of a folder are pictures of which class and role; nothing is opened but what has no class.

Folders lie at a fixed depth: class folders, or role folders that hold class folders. What a computer leaves behind
(hidden files, ``__MACOSX``, ``Thumbs.db``, ``desktop.ini``) is passed over. Messages name an entry by its place in the
sorted folder, since a name may come from a patient.
"""

from __future__ import annotations

import os
import re
import stat
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from medai.errors import DataRefused, near_match
from medai.sources.files import is_text, look, other_kind, what_is
from medai.sources.pictures.decoding import PICTURE_KINDS

ROLES = {"train": "train", "val": "validation", "validation": "validation", "test": "test"}
"""Folder name, in any case → the publisher's role."""

_LEFT_BEHIND = frozenset({"__macosx", "thumbs.db", "desktop.ini"})
_HEAD = 16
_DEEPEST = 2


def subject_pattern(pattern: str | None) -> str | None:
    """A pattern that a Problem gives, as it is.

    Raises:
        ValueError: it cannot be read, or has no group named ``subject``.
    """
    if pattern is not None:
        try:
            groups = re.compile(pattern).groupindex
        except re.error as error:
            raise ValueError(f"the pattern cannot be read: {error}") from None
        if "subject" not in groups:
            raise ValueError("the pattern needs a group named subject: (?P<subject>…)")
    return pattern


def subjects_of(pattern: str | None, names: Sequence[str]) -> list[str | None]:
    """The site's own subject of each file; None where the pattern does not match, or there is no pattern.

    Names are composed first: one patient's name in two of Unicode's spellings is one subject.

    >>> subjects_of("(?P<subject>person[0-9]+)_", ["person7_virus_2.jpeg", "scan.jpeg"])
    ['person7', None]
    """
    if pattern is None:
        return [None] * len(names)
    search = re.compile(composed(pattern)).search
    matches = [search(composed(name)) for name in names]
    return [(match["subject"] or None) if match else None for match in matches]


class Found(NamedTuple):
    """A file: where, its place below the data, publisher's role (None without role folders), label (None if untold)."""

    path: Path
    place: str
    role: str | None
    label: int | None


class Finding(NamedTuple):
    """The files by role, class and name, and how many other entries were passed over."""

    files: tuple[Found, ...]
    passed_over: int


class Listing(NamedTuple):
    """A folder's entries: folders by place, folded name and path; regular files; and how many were passed over."""

    folders: list[tuple[int, str, Path]]
    files: list[Path]
    passed_over: int


def composed(name: str) -> str:
    """A name in Unicode's composed form, NFC (UAX #15): macOS stores é as two signs, others as one, and both are é."""
    return unicodedata.normalize("NFC", name)


def folded(name: str) -> str:
    """A folder's name as it is compared: composed, and in one case.

    >>> folded("E\u0301TAT") == folded("\u00e9tat")
    True
    """
    return composed(composed(name).casefold())


def is_passed_over(name: str) -> bool:
    """Whether a name is hidden or left behind by a computer, not by a person."""
    return name.startswith(".") or name.casefold() in _LEFT_BEHIND


def find(classes: Sequence[str], ignore: Sequence[str], path: Path) -> Finding:
    """The files of the class folders; see ``image_folder.raw_files`` for what is refused."""
    received = look(path)
    if received != "folder":
        raise other_kind("the data path", "a folder of class folders, unpacked", received)
    root = path.resolve()
    path, top = _inmost(path, root, ignore)
    of_roles = [folder for folder in top.folders if folder[1] in ROLES]
    if of_roles and len(of_roles) < len(top.folders):
        position, name, _ = next(folder for folder in top.folders if folder[1] not in ROLES)
        raise _unknown(position, "the data, beside the folders of roles", name, list(ROLES))
    _refuse_the_same_twice([ROLES[name] for _, name, _ in of_roles])
    loose = list(top.files)
    passed_over = top.passed_over
    files: list[Found] = []
    for _, role_name, place in of_roles or [(0, "", path)]:
        listing = listed(place, root, ignore) if of_roles else top
        if of_roles:
            loose += listing.files
            passed_over += listing.passed_over
        labels = {folded(name): label for label, name in enumerate(classes)}
        _refuse_the_same_twice([name for _, name, _ in listing.folders])
        for position, name, folder in listing.folders:
            if name not in labels:
                raise _unknown(position, f"{role_name or 'the data'}", name, classes)
            inside = listed(folder, root, ())
            if inside.folders:
                raise _refused(
                    f"entry {inside.folders[0][0]} of class folder {classes[labels[name]]} is a folder",
                    "pictures directly in the class folders",
                    f"{len(inside.folders)} folders inside it",
                    "move the pictures up, or the folder out",
                )
            passed_over += inside.passed_over
            role, label = ROLES.get(role_name), labels[name]
            above = f"{role}/{classes[label]}" if role else classes[label]
            files += [Found(file, f"{above}/{file.name}", role, label) for file in inside.files]
    refuse_without_folder(loose, "the class folders")
    for label, name in enumerate(classes):
        if not any(file.label == label for file in files):
            raise _refused(
                f"class folder {name} holds no file",
                f"files in each of {', '.join(classes)}",
                "no such folder, or an empty one",
                "correct --data, or classes of the Problem's source",
            )
    return Finding(tuple(sorted(files, key=lambda file: file.place)), passed_over + len(loose))


def _inmost(path: Path, root: Path, ignore: Sequence[str]) -> tuple[Path, Listing]:
    """The folder of the data and what is in it: where a folder holds an ignored one and nothing else, that one.

    An archive may unpack into a folder of its own name; what is ignored beside the data is then the data.
    """
    top = listed(path, root, ignore)
    for _ in range(_DEEPEST):
        if top.folders or top.files:
            break
        within = [one for one in listed(path, root, ()).folders if one[1] in {folded(name) for name in ignore}]
        if len(within) != 1:
            break
        path = within[0][2]
        top = listed(path, root, ignore)
    return path, top


def find_unlabelled(path: Path) -> Finding:
    """The files of pictures to predict: one picture, or all in a folder and in folders below it, whatever their names.

    They stand in the role test: what is asked about is never thinned out.
    """
    received = look(path)
    if received in PICTURE_KINDS:
        return Finding((Found(path, path.name, "test", None),), 0)
    if received != "folder":
        raise other_kind("the data path", "a picture, or a folder of pictures, unpacked", received)
    root, files, passed_over = path.resolve(), list[Found](), 0
    waiting = [(path, "", 0)]
    while waiting:
        folder, above, depth = waiting.pop()
        listing = listed(folder, root, ())
        passed_over += listing.passed_over
        files += [Found(file, above + file.name, "test", None) for file in listing.files]
        if depth == _DEEPEST and listing.folders:
            raise _refused(
                f"folders lie more than {_DEEPEST} deep",
                "pictures in the folder, or in folders below it",
                f"{len(listing.folders)} folders still deeper",
                "point --data at the pictures' own folder",
            )
        waiting += [(inside, f"{above}{inside.name}/", depth + 1) for _, _, inside in listing.folders]
    if not files:
        raise _refused("the folder holds no file", "pictures", "folders alone", "correct --data")
    return Finding(tuple(sorted(files, key=lambda file: file.place)), passed_over)


def _refuse_the_same_twice(names: list[str]) -> None:
    """``val`` beside ``validation``, or one class in two spellings: which is it?"""
    for name in names:
        if names.count(name) > 1:
            raise _refused(
                f"two folders mean {name}",
                "one folder for each role, and in it one for each class",
                f"{names.count(name)} folders, told apart by their spelling alone",
                "put their pictures into one folder",
            )


def listed(folder: Path, root: Path, ignore: Sequence[str] = ()) -> Listing:
    """A folder's entries by name: folders with place and folded name, regular files, and how many were passed over."""
    ignored = {folded(name) for name in ignore}
    folders, files, passed_over = [], [], 0
    with os.scandir(folder) as entries:
        for position, entry in enumerate(sorted(entries, key=lambda entry: entry.name), start=1):
            if is_passed_over(entry.name):
                passed_over += 1
                continue
            if not is_text(entry.name):
                raise unsafe(position, "a name that is not UTF-8")
            path = Path(entry.path)
            if entry.is_symlink() and not _stays_within(path, root):
                raise unsafe(position, "a link that leaves the folder, or leads to nothing")
            mode = path.stat().st_mode
            if stat.S_ISDIR(mode):
                name = folded(entry.name)
                if name in ignored:
                    passed_over += 1
                else:
                    folders.append((position, name, path))
            elif stat.S_ISREG(mode):
                files.append(path)
            else:
                raise unsafe(position, "a pipe, a socket or a device")
    return Listing(folders, files, passed_over)


def _stays_within(path: Path, root: Path) -> bool:
    try:
        return path.resolve(strict=True).is_relative_to(root)
    except (OSError, RuntimeError):  # to nothing, or in a circle
        return False


def refuse_without_folder(loose: list[Path], folders: str) -> None:
    """A read-me beside the class folders is passed over; a picture there would be lost without a word."""
    pictures = 0
    for path in loose:
        with path.open("rb") as file:
            pictures += what_is(file.read(_HEAD)) in PICTURE_KINDS
    if pictures:
        raise _refused(
            f"pictures lie outside {folders}",
            "each picture in the folder of its class",
            f"{pictures} pictures beside the folders",
            "move them into their class folders, or out of the data",
        )


def _unknown(position: int, where: str, name: str, known: Sequence[str]) -> DataRefused:
    return _refused(
        f"folder at entry {position} of {where} is not known",
        f"folders named {', '.join(known)}",
        f"another name; {near_match(name, [folded(one) for one in known])}",
        "correct the folder's name, or name it in classes or ignore of the Problem's source",
    )


def unsafe(position: int, received: str) -> DataRefused:
    """An entry of a folder that is no plain data, by its place in the order of names."""
    return _refused(
        f"entry {position} of a folder is not plain data",
        "regular files that stay inside the data folder",
        received,
        "have the data sent again without it; nothing was written",
    )


def _refused(wrong: str, expected: str, received: str, action: str) -> DataRefused:
    return DataRefused(wrong, expected=expected, received=received, action=action)
