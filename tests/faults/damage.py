"""Ways to damage a file, an archive or a row, whatever the set."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.faults import sets
from tests.faults.case import Damage
from tests.faults.sets import Row

LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 4218\n"
HTML_PAGE = b"<!DOCTYPE html>\n<html><head><title>404 Not Found</title></head><body>Mustermann</body></html>\n"

TARGETS = {
    "npz": "Mustermann.npz",
    "stays": f"set-a/{sets.record_id(7)}.txt",
    "tar.gz": "set-a.tar.gz",
    "zip": "set-a.zip",
    "pictures": sets.picture_name(4, 0),
    "mimic3": "CHARTEVENTS.csv",
    "mimic4": "icu/chartevents.csv.gz",
    "parquet": "icu/chartevents.parquet",
    "meds": "data/0.parquet",
}
"""Set → the file that is damaged."""


def nowhere(folder: Path) -> Path:
    """Point to where nothing is."""
    return folder / "nothing"


def everything_gone(folder: Path) -> Path:
    """An empty folder."""
    shutil.rmtree(folder)
    folder.mkdir()
    return folder


def on(source: str, act: Callable[[Path], object]) -> Damage:
    """Damage a set's target."""

    def damage(folder: Path) -> None:
        act(folder / TARGETS[source])

    return damage


def holding(content: bytes) -> Callable[[Path], object]:
    """Other content under the same name."""
    return lambda file: file.write_bytes(content)


def as_folder(file: Path) -> None:
    """A folder where the file was."""
    file.unlink()
    file.mkdir()


def as_pipe(file: Path) -> None:
    """A pipe where the file was."""
    file.unlink()
    os.mkfifo(file)


def as_link_out(file: Path) -> None:
    """A link to the same content outside the data."""
    outside = next(parent for parent in file.parents if (parent / "elsewhere").is_dir()) / "elsewhere" / file.name
    file.rename(outside)
    file.symlink_to(outside)


def as_link_to_nothing(file: Path) -> None:
    """A link to nothing."""
    file.unlink()
    file.symlink_to(file.parent / "gone")


def as_circle(file: Path) -> None:
    """A link to itself."""
    file.unlink()
    file.symlink_to(file)


def cut(share: float) -> Callable[[Path], object]:
    """The first part of a file's bytes."""
    return lambda file: os.truncate(file, int(file.stat().st_size * share))


def cut_by(count: int) -> Callable[[Path], object]:
    """A file without its last bytes."""
    return lambda file: os.truncate(file, file.stat().st_size - count)


def flipped(place: float) -> Callable[[Path], object]:
    """One bit of a file turned, at a share of its length."""

    def flip(file: Path) -> None:
        data = bytearray(file.read_bytes())
        data[int(len(data) * place)] ^= 0x10
        file.write_bytes(data)

    return flip


def appended(extra: bytes) -> Callable[[Path], object]:
    """Bytes behind a file's end."""
    return lambda file: file.write_bytes(file.read_bytes() + extra)


def sums(folder: Path, altered: str | None = None) -> str:
    """A manifest of all files, one of which may be given a wrong sum."""
    lines = []
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = file.relative_to(folder).as_posix()
        digest = hashlib.sha256(file.read_bytes() + (b"!" if name == altered else b"")).hexdigest()
        lines.append(f"{digest}  {name}\n")
    return "".join(lines)


def archived(files: dict[str, bytes], method: int, change: Callable[[bytearray], None]) -> Callable[[Path], object]:
    """A zip of these files, its bytes changed."""

    def write(file: Path) -> None:
        sets.zip_of(file, files, method)
        data = bytearray(file.read_bytes())
        change(data)
        file.write_bytes(data)

    return write


def in_first_member(data: bytearray) -> None:
    """Turn bits in the middle of the first member's content."""
    name_length, extra_length = struct.unpack_from("<HH", data, 26)
    size = struct.unpack_from("<I", data, 18)[0]
    at = 30 + name_length + extra_length + size // 2
    data[at] ^= 0xFF
    data[at + 1] ^= 0x55


def in_directory(offset: int, value: int, form: str) -> Callable[[bytearray], None]:
    """Write a number into the first entry of a zip's directory."""

    def change(data: bytearray) -> None:
        struct.pack_into(form, data, data.index(b"PK\x01\x02") + offset, value)

    return change


def npy(header: str, content: bytes, version: bytes = b"\x01\x00") -> bytes:
    """A ``.npy`` with a header of one's own."""
    text = header.encode("latin1") + b"\n"
    return b"\x93NUMPY" + version + struct.pack("<H" if version == b"\x01\x00" else "<I", len(text)) + text + content


def npz_with(name: str, content: bytes | None, again: bool = False) -> Callable[[Path], object]:
    """The set with one member of other content, without it, or with a second one of its name."""

    def write(file: Path) -> None:
        with zipfile.ZipFile(file) as archive:
            members = {member: archive.read(member) for member in archive.namelist()}
        kept = dict(members) if again else {member: data for member, data in members.items() if member != name}
        target = io.BytesIO()
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
            for member, data in kept.items():
                archive.writestr(member, data)
            if content is not None:
                archive.writestr(name, content)
        file.write_bytes(target.getvalue())

    return write


def stay(number: int, change: Callable[[str], str]) -> Callable[[dict[str, bytes]], None]:
    """Change the text of one stay."""

    def act(files: dict[str, bytes]) -> None:
        name = f"{sets.record_id(number)}.txt"
        files[name] = change(files[name].decode()).encode("utf-8", "surrogateescape")

    return act


def stays(source: str, *changes: Callable[[dict[str, bytes]], None]) -> Damage:
    """Change the files of stays, in a folder or an archive."""

    def damage(folder: Path) -> None:
        files = sets.stay_files()
        for change in changes:
            change(files)
        if source == "stays":
            shutil.rmtree(folder / "set-a")
            (folder / "set-a").mkdir()
            for name, content in files.items():
                (folder / "set-a" / name).write_bytes(content)
        else:
            (sets.tar_of if source == "tar.gz" else sets.zip_of)(folder / TARGETS[source], files)

    return damage


def outcomes(change: Callable[[str], str]) -> Damage:
    """Change the outcomes."""

    def damage(folder: Path) -> None:
        (folder / "Outcomes-a.txt").write_text(change(sets.outcomes_text()))

    return damage


def replaced(old: str, new: str, times: int = 1) -> Callable[[str], str]:
    """A text in place of another, which must be there."""

    def change(text: str) -> str:
        assert old in text, f"{old!r} is not in the sound text"
        return text.replace(old, new, times)

    return change


def rows(table: str, change: Callable[[list[Row]], list[Row] | None], columns: tuple[str, ...] = ()) -> Damage:
    """Change a hospital's table row by row."""

    def damage(folder: Path) -> None:
        found = sets.read_table(folder, table)
        sets.write_table(folder, table, change(found) or found, columns)

    return damage


def text(table: str, change: Callable[[str], str]) -> Damage:
    """Change a hospital's table as text."""

    def damage(folder: Path) -> None:
        file = sets.table_file(folder, table)
        sets.write_text(file, change(sets.read_text(file)))

    return damage


def put(place: int, **values: str) -> Callable[[list[Row]], None]:
    """Other values in one row, in those of the columns that this source has."""

    def change(found: list[Row]) -> None:
        known = {column: value for column, value in values.items() if column in found[place]}
        assert known
        found[place].update(known)

    return change


def all_of(*damages: Damage) -> Damage:
    """One after the other."""

    def damage(folder: Path) -> Path | None:
        path = None
        for one in damages:
            path = one(folder) or path
        return path

    return damage


def targets(act: Callable[[Path], object], outcomes: dict[str, Any]) -> dict[str, tuple[Damage, Any]]:
    """The same damage to each source's target, with what must follow."""
    return {source: (on(source, act), outcome) for source, outcome in outcomes.items()}


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", **headers: str) -> tarfile.TarInfo:
    """A member of a tar without content."""
    made = tarfile.TarInfo(name)
    made.type, made.linkname, made.pax_headers = kind, link, headers
    return made


def tar_with(*members: tarfile.TarInfo) -> Damage:
    """The stays' archive with further members."""
    return on("tar.gz", lambda file: sets.tar_of(file, sets.stay_files(), members))
