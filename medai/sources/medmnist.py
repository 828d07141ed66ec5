"""MedMNIST v2: pictures and volumes with the publisher's roles, one ``.npz`` a set.

Six arrays ``{train,val,test}_{images,labels}``: images uint8 (pictures, height, width) grey or (…, 3) RGB, or volumes
(volumes, depth, height, width) grey; labels integer (pictures, 1), or (pictures, findings) for several findings at
once. A volume is one row of the images table, which then has a column ``depth``, and one entry of the cache. Yang J,
Shi R, Wei D, et al. MedMNIST v2. Sci Data 2023. MedMNIST names no patients: each distinct picture stands for a subject
of its own.

Rows are ordered by role, then by content, so that copies of a set in another order give the same bytes; which row of
which array a picture was (``test/3``, from 0) stands in ``picture_identifiers.parquet``.
"""

from __future__ import annotations

import hashlib
import tokenize
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO, Literal, NamedTuple

from pydantic import Field

from medai.errors import DataRefused
from medai.records import Frozen
from medai.sources.files import look, open_member, open_zip, other_kind, read_exactly, token_of, what_is
from medai.sources.pictures import conflicts_of, copies_of, decoding, grey_levels, shape_mark, twins_of
from medai.sources.pictures.quality import Quality, measure
from medai.sources.pictures.tables import QUALITY, quality_columns
from medai.tables import (
    IDENTIFIERS,
    IMAGES,
    OWNER_ALONE,
    PICTURE_IDENTIFIERS,
    Facts,
    new_pixels,
    subject_ids,
    table_of,
    write_table,
)

if TYPE_CHECKING:
    import numpy as np

VERSION = 4
SHAPE: Literal["images", "events"] = "images"
LIBRARIES = ("opencv-python-headless",)
"""What measures pictures: another version may round another way."""

UNPACKED_LIMIT = 32 << 30
"""Bytes all arrays together may unpack to; the largest MedMNIST set at 224 × 224 holds 16 GiB."""
MOST_FINDINGS = 1000
"""Label columns; ChestMNIST has 14. More are pictures taken for labels."""
_BLOCK = 32 << 20
_ROLES = (("train", "train"), ("val", "validation"), ("test", "test"))


class MedMNIST(Frozen):
    """Any MedMNIST set, in 2-D or 3-D, at any of its sizes.

    Attributes:
        labelled: False for pictures to predict: one of the three ``…_images`` is enough, and no label is read.
        expect: publisher's role → its pictures, by which a Problem knows its set: nothing inside a file tells chest
            from breast, but each published set has counts of its own. Left out for data of one's own.
    """

    kind: Literal["medmnist"]
    labelled: bool = True
    expect: dict[Literal["train", "validation", "test"], Annotated[int, Field(ge=1)]] | None = Field(None, min_length=1)

    def elsewhere(self) -> MedMNIST:
        """The same source for another set than the Problem's."""
        return self.model_copy(update={"expect": None})

    def unlabelled(self) -> MedMNIST:
        """The same source for any pictures, without their labels."""
        return self.elsewhere().model_copy(update={"labelled": False})


def raw_files(_config: MedMNIST, path: Path) -> list[tuple[str, Path]]:
    """The one ``.npz``.

    Raises:
        DataRefused: missing, empty, unreadable, a folder, or another type than its name says.
    """
    received = look(path)
    if received != what_is(b"PK\x03\x04"):
        raise other_kind(
            "the data file",
            "a MedMNIST .npz (a zip archive of NumPy arrays)",
            received,
            "give the .npz itself, or fetch it again from its publisher and compare its hash",
        )
    return [("pictures", path)]


class _Header(NamedTuple):
    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype


class _Role(NamedTuple):
    """One role's rows in their final order: where each picture of the file goes, and what was found out about it."""

    split: str
    name: str
    order: np.ndarray
    hashes: list[str]
    labels: np.ndarray
    levels: np.ndarray
    qualities: list[Quality]


def read(config: MedMNIST, path: Path, folder: Path) -> Facts:
    """Write images, labels, identifiers, picture_identifiers and ``pixels.npy``.

    The pixels are uint8, pictures × height × width × channels, volumes × depth × height × width × 1, by row_id.

    Pictures are measured as those of other sources are (``pictures.quality``); of volumes the grey levels alone.

    The archive is inflated twice, once to hash and once to copy, so that memory does not grow with the set.

    Raises:
        DataRefused: the archive or an array is damaged, missing, or not what MedMNIST publishes.
    """
    import numpy as np

    decoding.prepare()
    with open_zip(path, UNPACKED_LIMIT) as archive:
        present = _ROLES if config.labelled else _roles_with_pictures(archive)
        parts = _PARTS if config.labelled else _PARTS[:1]
        headers = {(split, part): _header(archive, f"{split}_{part}") for split, _ in present for part in parts}
        shape = _check_headers(headers)
        _check_counts(config, headers)
        known = {f"{split}_{part}.npy" for split, _ in _ROLES for part in _PARTS}
        ignored = sum(member.filename not in known for member in archive.infolist())
        roles = [_study(archive, split, name, headers, shape) for split, name in present]
        total = sum(len(role.hashes) for role in roles)
        pixels = new_pixels(folder / "pixels.npy", (total, *shape))
        start = 0
        for role in roles:
            target = np.empty(len(role.order), np.int64)
            target[role.order] = np.arange(start, start + len(role.order))
            position = 0
            for block in _blocks(archive, f"{role.split}_images", headers[role.split, "images"]):
                pixels[target[position : position + len(block)]] = block.reshape(-1, *shape)
                position += len(block)
            start += len(role.order)
        pixels.flush()
        del pixels
    return _write_tables(roles, shape, folder, ignored)


_PARTS = ("images", "labels")


def _roles_with_pictures(archive: zipfile.ZipFile) -> tuple[tuple[str, str], ...]:
    present = tuple(role for role in _ROLES if f"{role[0]}_images.npy" in archive.namelist())
    if not present:
        raise _refuse("…_images", "at least one of {train,val,test}_images", "none of them")
    return present


def _check_counts(config: MedMNIST, headers: dict[tuple[str, str], _Header]) -> None:
    received = {role: headers[split, "images"].shape[0] for split, role in _ROLES if (split, "images") in headers}
    wanted = config.expect or {}
    if any(received.get(role) != count for role, count in wanted.items()):
        raise DataRefused(
            "the file holds another set than the Problem's",
            expected=", ".join(f"{count} pictures in {role}" for role, count in wanted.items()),
            received=", ".join(f"{received.get(role, 0)} in {role}" for role in wanted),
            action="point --data at the Problem's own set; for other data, leave 'expect' of the source out",
        )


def _refuse(array: str, expected: str, received: str) -> DataRefused:
    return DataRefused(
        f"array {array} of the .npz is not as MedMNIST publishes it",
        expected=expected,
        received=received,
        action="fetch the set again from its publisher, or bring it into this layout",
    )


_NO_HEADER = (ValueError, TypeError, LookupError, OverflowError, SyntaxError, RecursionError, tokenize.TokenError)
"""What NumPy raises at a header that is no description of an array."""


@contextmanager
def _member(archive: zipfile.ZipFile, array: str) -> Iterator[tuple[BinaryIO, _Header]]:
    """An array's member, read to the end of its header; nothing is ever unpickled."""
    import numpy as np

    name = f"{array}.npy"
    found = archive.namelist().count(name)
    if found != 1:
        received = "no such array" if found == 0 else f"{found} arrays of this name"
        raise _refuse(array, "each of {train,val,test}_{images,labels} once", received)
    with open_member(archive, name) as file:
        try:
            version = np.lib.format.read_magic(file)
            if version == (1, 0):
                header = _Header(*np.lib.format.read_array_header_1_0(file))
            elif version in ((2, 0), (3, 0)):  # they differ in the letters that field names may have
                header = _Header(*np.lib.format.read_array_header_2_0(file))
            else:
                raise ValueError
        except _NO_HEADER:
            raise _refuse(array, "a NumPy array", "a member that is no NumPy array") from None
        if header.dtype.hasobject:
            raise _refuse(array, "numbers", "pickled objects, which medai never loads")
        size = header.dtype.itemsize
        for length in header.shape:
            size *= length
        if min(header.shape, default=0) < 0 or file.tell() + size != archive.getinfo(name).file_size:
            raise _refuse(array, "as many bytes as its header declares", "a header that lies about the array's size")
        yield file, header


def _header(archive: zipfile.ZipFile, array: str) -> _Header:
    with _member(archive, array) as (_, header):
        return header


def _check_headers(headers: dict[tuple[str, str], _Header]) -> tuple[int, ...]:
    """[Depth,] height, width and channels that all roles share; labels, where they are read, must fit their images."""
    shapes: dict[str, tuple[int, ...]] = {}
    widths = {}
    for (split, part), header in headers.items():
        if part == "labels":
            widths[split] = _check_labels(split, header, headers[split, "images"])
            continue
        if header.dtype != "uint8":
            raise _refuse(f"{split}_images", "grey levels as uint8", f"{header.dtype}")
        axes, colour = len(header.shape), len(header.shape) == 4 and header.shape[3] == 3
        if axes not in (3, 4):
            expected = "(pictures, height, width), (…, 3) or (volumes, depth, height, width)"
            raise _refuse(f"{split}_images", expected, f"shape {header.shape}")
        if 0 in header.shape:
            raise _refuse(f"{split}_images", "at least one picture", f"shape {header.shape}")
        shapes[split] = header.shape[1:] if colour else (*header.shape[1:], 1)
    first = next(iter(shapes))
    for split, shape in shapes.items():
        if shape != shapes[first]:
            raise _refuse(f"{split}_images", f"pictures of {shapes[first]}, as in {first}", f"{shape}")
    for split, width in widths.items():
        if width != widths[first]:
            raise _refuse(f"{split}_labels", f"{widths[first]} columns, as in {first}", f"{width}")
    return shapes[first]


def _check_labels(split: str, labels: _Header, images: _Header) -> int:
    """The number of label columns."""
    if labels.dtype.kind not in "iu":
        raise _refuse(f"{split}_labels", "whole numbers", f"{labels.dtype}")
    if len(labels.shape) != 2 or labels.shape[1] == 0:
        raise _refuse(f"{split}_labels", "(pictures, 1) or (pictures, findings)", f"shape {labels.shape}")
    if labels.shape[1] > MOST_FINDINGS:
        raise _refuse(f"{split}_labels", f"at most {MOST_FINDINGS} findings", f"shape {labels.shape}")
    if labels.shape[0] != images.shape[0]:
        raise _refuse(f"{split}_labels", f"{images.shape[0]} rows, one a picture", f"{labels.shape[0]} rows")
    return labels.shape[1]


def _blocks(archive: zipfile.ZipFile, array: str, header: _Header) -> Iterator[np.ndarray]:
    """An array's rows in blocks of bounded size."""
    import numpy as np

    rows, row_shape = header.shape[0], header.shape[1:]
    row_bytes = header.dtype.itemsize
    for length in row_shape:
        row_bytes *= length
    with _member(archive, array) as (file, _):
        if header.fortran:  # column order scatters a row over the file: such an array is read whole
            flat = np.frombuffer(read_exactly(file, rows * row_bytes), header.dtype)
            yield np.ascontiguousarray(flat.reshape(header.shape, order="F"))
        else:
            step = max(1, _BLOCK // row_bytes)
            for start in range(0, rows, step):
                count = min(step, rows - start)
                data = read_exactly(file, count * row_bytes)
                yield np.frombuffer(data, header.dtype).reshape(count, *row_shape)
        if file.read(1):  # zipfile compares the checksum when it meets the end
            raise EOFError


def _study(
    archive: zipfile.ZipFile,
    split: str,
    role: str,
    headers: dict[tuple[str, str], _Header],
    shape: tuple[int, ...],
) -> _Role:
    """Hash and measure one role's pictures and put them in order of content, then label."""
    import numpy as np

    if (split, "labels") in headers:
        labels = np.concatenate(list(_blocks(archive, f"{split}_labels", headers[split, "labels"]))).astype(np.int64)
    else:
        labels = np.zeros((headers[split, "images"].shape[0], 0), np.int64)
    if (labels < 0).any():
        raise _refuse(f"{split}_labels", "labels from 0", f"{int((labels < 0).any(axis=1).sum())} rows below 0")
    mark = shape_mark(shape)
    hashes: list[str] = []
    levels = []
    qualities: list[Quality] = []
    for block in _blocks(archive, f"{split}_images", headers[split, "images"]):
        flat = block.reshape(len(block), -1)
        hashes += [hashlib.sha256(mark + picture.tobytes()).hexdigest() for picture in flat]
        levels.append(grey_levels(flat))
        qualities += [measure(picture) for picture in block.reshape(-1, *shape)] if len(shape) == 3 else []
    keys = (*(labels[:, column] for column in reversed(range(labels.shape[1]))), np.array(hashes))
    order = np.lexsort(keys)
    return _Role(
        split,
        role,
        order,
        [hashes[row] for row in order],
        labels[order],
        np.concatenate(levels)[order],
        [qualities[row] for row in order] if qualities else [],
    )


def _write_tables(roles: list[_Role], shape: tuple[int, ...], folder: Path, ignored: int) -> Facts:
    import numpy as np

    hashes = [one for role in roles for one in role.hashes]
    names = [role.name for role in roles for _ in role.hashes]
    labels = np.concatenate([role.labels for role in roles])
    levels = np.concatenate([role.levels for role in roles])
    twins = twins_of(names, hashes)
    within = list(zip(names, hashes, strict=True))
    copies = copies_of(within)
    conflicts = conflicts_of(within, [label.tobytes() for label in labels])

    distinct = sorted(set(hashes))
    subjects = dict(zip(distinct, subject_ids("medmnist", distinct), strict=True))
    rows = np.arange(len(hashes), dtype=np.int64)
    columns = {
        "row_id": rows,
        "subject_id": [subjects[content] for content in hashes],
        "source_id": [
            f"{name}/{token_of(content)}/{copy}" for name, content, copy in zip(names, hashes, copies, strict=True)
        ],
        "publisher_role": names,
        "frame": np.zeros(len(hashes), np.int32),
        "height": np.full(len(hashes), shape[-3], np.int32),
        "width": np.full(len(hashes), shape[-2], np.int32),
        "channels": np.full(len(hashes), shape[-1], np.int8),
        "bits": np.full(len(hashes), 8, np.int8),
        "mean": levels[:, 0].astype(np.float32),
        "std": levels[:, 1].astype(np.float32),
        "minimum": levels[:, 2].astype(np.int32),
        "maximum": levels[:, 3].astype(np.int32),
        "content_hash": hashes,
        "twin_of": twins,
        "copy_number": copies,
        "label_conflict": conflicts,
    }
    types = IMAGES
    if len(shape) == 3:
        types = IMAGES | QUALITY
        columns |= quality_columns([quality for role in roles for quality in role.qualities])
    else:
        types, columns["depth"] = IMAGES | {"depth": "int32"}, np.full(len(hashes), shape[0], np.int32)
    label_names = ["label"] if labels.shape[1] == 1 else [f"label_{column}" for column in range(labels.shape[1])]
    label_columns = {"row_id": rows, **{name: labels[:, column] for column, name in enumerate(label_names)}}
    tables = {
        "images": write_table(folder / "images.parquet", table_of(columns, types)),
        "labels": write_table(
            folder / "labels.parquet", table_of(label_columns, dict.fromkeys(label_columns, "int64"))
        ),
    }
    people = {"subject_id": [subjects[content] for content in distinct], "site_id": distinct}
    write_table(folder / "identifiers.parquet", table_of(people, IDENTIFIERS).sort_by("subject_id"), mode=OWNER_ALONE)
    places = {"row_id": rows, "site_id": [f"{role.split}/{place}" for role in roles for place in role.order.tolist()]}
    write_table(folder / "picture_identifiers.parquet", table_of(places, PICTURE_IDENTIFIERS), mode=OWNER_ALONE)
    counts = {
        "twin_in_another_role": sum(twin is not None for twin in twins),
        "copy_in_same_role": sum(copy > 0 for copy in copies),
        "label_conflict": sum(conflicts),
        "ignored_array": ignored,
    }
    return Facts(unit="image", tables=tables, counts={reason: count for reason, count in counts.items() if count})
