"""MedMNIST v2: 2-D pictures with the publisher's roles, one ``.npz`` a set.

Six arrays ``{train,val,test}_{images,labels}``: images uint8 (pictures, height, width) grey or (…, 3) RGB; labels
integer (pictures, 1), or (pictures, findings) for several findings at once. Yang J, Shi R, Wei D, et al. MedMNIST v2.
Sci Data 2023. MedMNIST names no patients: each distinct picture stands for a subject of its own.

Rows are ordered by role, then by content, so that copies of a set in another order give the same bytes.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal, NamedTuple, cast

from medai.errors import DataRefused
from medai.records import Frozen
from medai.sources.files import look, open_zip, other_kind, read_exactly, token_of, what_is
from medai.tables import (
    IDENTIFIERS,
    IMAGES,
    OWNER_ALONE,
    Facts,
    new_pixels,
    subject_ids,
    table_of,
    write_table,
)

if TYPE_CHECKING:
    import numpy as np

VERSION = 1
SHAPE: Literal["images", "events"] = "images"

UNPACKED_LIMIT = 32 << 30
"""Bytes all arrays together may unpack to; the largest MedMNIST set at 224 × 224 holds 16 GiB."""
_BLOCK = 32 << 20
_ROLES = (("train", "train"), ("val", "validation"), ("test", "test"))
_STANDING = {"train": 0, "validation": 1, "test": 2}


class MedMNIST(Frozen):
    """Any 2-D MedMNIST set, at any of its sizes."""

    kind: Literal["medmnist"]


def raw_files(_config: MedMNIST, path: Path) -> list[tuple[str, Path]]:
    """The one ``.npz``.

    Raises:
        DataRefused: missing, empty, unreadable, a folder, or another type than its name says.
    """
    received = look(path)
    if received != what_is(b"PK\x03\x04"):
        raise other_kind("the data file", "a MedMNIST .npz (a zip archive of NumPy arrays)", received)
    return [("pictures", path)]


class _Header(NamedTuple):
    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype


class _Role(NamedTuple):
    """One role's rows in their final order: where each picture of the file goes, and what was found out about it."""

    name: str
    order: np.ndarray
    hashes: list[str]
    labels: np.ndarray
    levels: np.ndarray


def read(_config: MedMNIST, path: Path, folder: Path) -> Facts:
    """Write images, labels, identifiers and ``pixels.npy`` (uint8, pictures × height × width × channels, by row_id).

    The archive is inflated twice, once to hash and once to copy, so that memory does not grow with the set.

    Raises:
        DataRefused: the archive or an array is damaged, missing, or not what MedMNIST publishes.
    """
    import numpy as np

    with open_zip(path, UNPACKED_LIMIT) as archive:
        headers = {(split, part): _header(archive, f"{split}_{part}") for split, _ in _ROLES for part in _PARTS}
        shape = _check_headers(headers)
        roles = [_study(archive, split, name, headers, shape) for split, name in _ROLES]
        total = sum(len(role.hashes) for role in roles)
        pixels = new_pixels(folder / "pixels.npy", (total, *shape))
        start = 0
        for (split, _), role in zip(_ROLES, roles, strict=True):
            target = np.empty(len(role.order), np.int64)
            target[role.order] = np.arange(start, start + len(role.order))
            position = 0
            for block in _blocks(archive, f"{split}_images", headers[split, "images"]):
                pixels[target[position : position + len(block)]] = block.reshape(-1, *shape)
                position += len(block)
            start += len(role.order)
        pixels.flush()
        del pixels
    return _write_tables(roles, shape, folder)


_PARTS = ("images", "labels")


def _refuse(array: str, expected: str, received: str) -> DataRefused:
    return DataRefused(
        f"array {array} of the .npz is not as MedMNIST publishes it",
        expected=expected,
        received=received,
        action="fetch the set again from its publisher, or bring it into this layout",
    )


@contextmanager
def _member(archive: zipfile.ZipFile, array: str) -> Iterator[tuple[BinaryIO, _Header]]:
    """An array's member, read to the end of its header; nothing is ever unpickled."""
    import numpy as np

    name = f"{array}.npy"
    found = archive.namelist().count(name)
    if found != 1:
        received = "no such array" if found == 0 else f"{found} arrays of this name"
        raise _refuse(array, "each of {train,val,test}_{images,labels} once", received)
    with archive.open(name) as opened:
        file = cast(BinaryIO, opened)
        try:
            version = np.lib.format.read_magic(file)
            if version == (1, 0):
                header = _Header(*np.lib.format.read_array_header_1_0(file))
            else:
                header = _Header(*np.lib.format.read_array_header_2_0(file))
        except ValueError:
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


def _check_headers(headers: dict[tuple[str, str], _Header]) -> tuple[int, int, int]:
    """Height, width and channels that all three roles share; labels must fit their images."""
    shapes, widths = {}, {}
    for split, _ in _ROLES:
        images, labels = headers[split, "images"], headers[split, "labels"]
        if images.dtype != "uint8":
            raise _refuse(f"{split}_images", "grey levels as uint8", f"{images.dtype}")
        grey, colour = len(images.shape) == 3, len(images.shape) == 4 and images.shape[3] == 3
        if not (grey or colour):
            raise _refuse(f"{split}_images", "(pictures, height, width) or (…, 3)", f"shape {images.shape}")
        if 0 in images.shape:
            raise _refuse(f"{split}_images", "at least one picture", f"shape {images.shape}")
        if labels.dtype.kind not in "iu":
            raise _refuse(f"{split}_labels", "whole numbers", f"{labels.dtype}")
        if len(labels.shape) != 2 or labels.shape[1] == 0:
            raise _refuse(f"{split}_labels", "(pictures, 1) or (pictures, findings)", f"shape {labels.shape}")
        if labels.shape[0] != images.shape[0]:
            raise _refuse(f"{split}_labels", f"{images.shape[0]} rows, one a picture", f"{labels.shape[0]} rows")
        shapes[split] = (images.shape[1], images.shape[2], 1 if grey else 3)
        widths[split] = labels.shape[1]
    for split, _ in _ROLES:
        if shapes[split] != shapes["train"]:
            raise _refuse(f"{split}_images", f"pictures of {shapes['train']}, as in train", f"{shapes[split]}")
        if widths[split] != widths["train"]:
            raise _refuse(f"{split}_labels", f"{widths['train']} columns, as in train", f"{widths[split]}")
    return shapes["train"]


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
    shape: tuple[int, int, int],
) -> _Role:
    """Hash and measure one role's pictures and put them in order of content, then label."""
    import numpy as np

    labels = np.concatenate(list(_blocks(archive, f"{split}_labels", headers[split, "labels"]))).astype(np.int64)
    if labels.min() < 0:
        raise _refuse(f"{split}_labels", "labels from 0", f"{int((labels < 0).any(axis=1).sum())} rows below 0")
    mark = ",".join(map(str, shape)).encode() + b"\0"
    hashes: list[str] = []
    levels = []
    for block in _blocks(archive, f"{split}_images", headers[split, "images"]):
        flat = block.reshape(len(block), -1)
        hashes += [hashlib.sha256(mark + picture.tobytes()).hexdigest() for picture in flat]
        levels.append(_grey_levels(flat))
    keys = (*(labels[:, column] for column in reversed(range(labels.shape[1]))), np.array(hashes))
    order = np.lexsort(keys)
    return _Role(role, order, [hashes[row] for row in order], labels[order], np.concatenate(levels)[order])


def _grey_levels(flat: np.ndarray) -> np.ndarray:
    """(pictures, 4) float64: mean, standard deviation, minimum, maximum; sums are whole numbers, so exact anywhere."""
    import numpy as np

    count = flat.shape[1]
    sums = flat.sum(axis=1, dtype=np.int64)
    squares = np.einsum("ij,ij->i", flat, flat, dtype=np.int64, casting="safe")
    spread = np.sqrt((count * squares - sums * sums).astype(np.float64)) / count
    return np.stack([sums / count, spread, flat.min(axis=1), flat.max(axis=1)], axis=1)


def _write_tables(roles: list[_Role], shape: tuple[int, int, int], folder: Path) -> Facts:
    import numpy as np

    hashes = [one for role in roles for one in role.hashes]
    names = [role.name for role in roles for _ in role.hashes]
    labels = np.concatenate([role.labels for role in roles])
    levels = np.concatenate([role.levels for role in roles])
    holders: dict[str, str] = {}
    for content, name in zip(hashes, names, strict=True):
        if _STANDING[name] >= _STANDING[holders.get(content, "train")]:
            holders[content] = name
    twins = [
        holders[content] if holders[content] != name else None for content, name in zip(hashes, names, strict=True)
    ]
    copies: list[int] = []
    seen: dict[tuple[str, str], int] = {}
    for content, name in zip(hashes, names, strict=True):
        copies.append(seen.get((name, content), 0))
        seen[name, content] = copies[-1] + 1
    labelled: dict[tuple[str, str], set[bytes]] = {}
    for name, content, label in zip(names, hashes, labels, strict=True):
        labelled.setdefault((name, content), set()).add(label.tobytes())
    conflicts = [len(labelled[key]) > 1 for key in zip(names, hashes, strict=True)]

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
        "height": np.full(len(hashes), shape[0], np.int32),
        "width": np.full(len(hashes), shape[1], np.int32),
        "channels": np.full(len(hashes), shape[2], np.int8),
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
    label_names = ["label"] if labels.shape[1] == 1 else [f"label_{column}" for column in range(labels.shape[1])]
    label_columns = {"row_id": rows, **{name: labels[:, column] for column, name in enumerate(label_names)}}
    tables = {
        "images": write_table(folder / "images.parquet", table_of(columns, IMAGES)),
        "labels": write_table(
            folder / "labels.parquet", table_of(label_columns, dict.fromkeys(label_columns, "int64"))
        ),
    }
    people = {"subject_id": [subjects[content] for content in distinct], "site_id": distinct}
    write_table(folder / "identifiers.parquet", table_of(people, IDENTIFIERS).sort_by("subject_id"), mode=OWNER_ALONE)
    counts = {
        "twin_in_another_role": sum(twin is not None for twin in twins),
        "copy_in_same_role": sum(copy > 0 for copy in copies),
        "label_conflict": sum(conflicts),
    }
    return Facts(unit="image", tables=tables, counts={reason: count for reason, count in counts.items() if count})
