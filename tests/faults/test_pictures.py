"""Pictures: PNG and JPEG that are cut, bombs, blank, of another depth, under two labels or two patients."""

from __future__ import annotations

import io
import os
import shutil
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from tests.faults import damage, sets
from tests.faults.case import Case, Damage, Noticed, Right, Same, noticed, refused, uncovered
from tests.faults.conftest import Judge
from tests.faults.damage import TARGETS, on
from tests.faults.sets import picture, picture_name

BOTH = ("pictures", "npz")
ROWS = {
    "cut or damaged": ("pictures",),
    "no picture": ("pictures",),
    "decompression bomb": ("pictures",),
    "blank, black, saturated": BOTH,
    "geometry": BOTH,
    "depth and colour": ("pictures",),
    "several frames": ("pictures",),
    "subject": ("pictures",),
    "labels": BOTH,
    "folders": ("pictures",),
    "too few": BOTH,
}
PNG, JPEG = "pictures", picture_name(5, 0, "jpeg")


def _fault(reason: str) -> Noticed:
    return Noticed({f"counts.{reason}": 1, f"set_aside.{reason}": 1})


def _at(name: str, act: Callable[[Path], object]) -> Damage:
    def damaged(folder: Path) -> None:
        act(folder / name)

    return damaged


def _chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """The chunks of a PNG: kind and content."""
    found, at = [], 8
    while at < len(data):
        length = int.from_bytes(data[at : at + 4])
        found.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    return found


def _png(chunks: list[tuple[bytes, bytes]]) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )


def _rechunked(change: Callable[[bytes, bytes], bytes | None]) -> Callable[[Path], object]:
    """A PNG whose chunks were changed, each with a right checksum."""

    def act(file: Path) -> None:
        changed = [(kind, change(kind, content)) for kind, content in _chunks(file.read_bytes())]
        file.write_bytes(_png([(kind, content) for kind, content in changed if content is not None]))

    return act


def _rows_missing(kind: bytes, content: bytes) -> bytes:
    return zlib.compress(zlib.decompress(content)[: 37 * 20]) if kind == b"IDAT" else content


def _cut() -> Iterator[Case]:
    row = "cut or damaged"
    for share in (0.02, 0.5, 0.95):
        for name in (TARGETS["pictures"], JPEG):
            yield Case(
                row,
                "pictures",
                f"{Path(name).suffix} at {share:.0%}",
                _at(name, damage.cut(share)),
                _fault("unreadable_picture"),
            )
    yield Case(row, "pictures", ".png without its last byte", on(PNG, damage.cut_by(1)), _fault("unreadable_picture"))
    yield Case(row, "pictures", ".jpeg without its end mark", _at(JPEG, damage.cut_by(2)), _fault("unreadable_picture"))
    yield Case(
        row,
        "pictures",
        ".png with a bit of its pixels turned",
        on(PNG, damage.flipped(0.5)),
        _fault("unreadable_picture"),
    )
    yield Case(
        row,
        "pictures",
        ".png that ends, whole, after 20 of 40 rows",
        on(PNG, _rechunked(_rows_missing)),
        _fault("unreadable_picture"),
    )
    yield Case(
        row,
        "pictures",
        ".png without pixels",
        on(PNG, _rechunked(lambda kind, content: None if kind == b"IDAT" else content)),
        _fault("unreadable_picture"),
    )
    yield Case(
        row,
        "pictures",
        ".png of 0 columns",
        on(PNG, _rechunked(lambda kind, content: bytes(4) + content[4:] if kind == b"IHDR" else content)),
        _fault("unreadable_picture"),
    )
    yield Case(
        row,
        "pictures",
        ".png whose header says another height",
        on(
            PNG,
            _rechunked(
                lambda kind, content: content[:4] + struct.pack(">I", 80) + content[8:] if kind == b"IHDR" else content
            ),
        ),
        _fault("unreadable_picture"),
    )
    yield Case(
        row,
        "pictures",
        ".png whose pixels are no zlib stream",
        on(PNG, _rechunked(lambda kind, content: b"Mustermann" * 9 if kind == b"IDAT" else content)),
        _fault("unreadable_picture"),
    )
    yield Case(
        row,
        "pictures",
        ".jpeg cut and closed by an end mark",
        _at(JPEG, lambda file: file.write_bytes(file.read_bytes()[:500] + b"\xff\xd9")),
        _fault("unreadable_picture"),
    )
    yield Case(row, "pictures", ".jpeg without its tables", _at(JPEG, _without_tables), _fault("unreadable_picture"))


def _without_tables(file: Path) -> None:
    data = file.read_bytes()
    at = data.index(b"\xff\xdb")
    length = int.from_bytes(data[at + 2 : at + 4])
    file.write_bytes(data[:at] + data[at + 2 + length :])


def _none() -> Iterator[Case]:
    row = "no picture"
    for name, content in {
        "text": b"Mustermann, born 1951\n",
        "nothing": b"",
        "a Git-LFS pointer": damage.LFS_POINTER,
        "a page of HTML": damage.HTML_PAGE,
        "a PDF": b"%PDF-1.7\n",
        "GIF": b"GIF89a" + bytes(40),
        "BMP": b"BM" + bytes(60),
        "TIFF": b"II*\0" + bytes(60),
        "DICOM": bytes(128) + b"DICM" + bytes(60),
        "WebP": b"RIFF\x24\0\0\0WEBPVP8 " + bytes(40),
        "SVG": b"<svg xmlns='http://www.w3.org/2000/svg'></svg>\n",
        "a zip": b"PK\x03\x04" + bytes(40),
        "zeros": bytes(999),
        "a single letter": b"\x89",
    }.items():
        yield Case(row, "pictures", f"{name} named .png", on(PNG, damage.holding(content)), _fault("not_a_picture"))
    yield Case(
        row,
        "pictures",
        "the signature of PNG alone",
        on(PNG, damage.holding(b"\x89PNG\r\n\x1a\n")),
        _fault("unreadable_picture"),
    )
    yield Case(
        row,
        "pictures",
        "the signature of JPEG alone",
        on(PNG, damage.holding(b"\xff\xd8\xff")),
        _fault("unreadable_picture"),
    )


def _declaring(width: int, height: int, content: bytes = bytes(99)) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return _png([(b"IHDR", header), (b"IDAT", zlib.compress(content)), (b"IEND", b"")])


def _sparse_file(file: Path) -> None:
    os.truncate(file, (256 << 20) + 1)


def _bombs() -> Iterator[Case]:
    row = "decompression bomb"
    for name, size in {
        "a square": (60_000, 60_000),
        "a line": (1, (1 << 26) + 1),
        "the most that a header can say": (2**31 - 1, 2**31 - 1),
    }.items():
        yield Case(
            row,
            "pictures",
            f"{name} of pixels",
            on(PNG, damage.holding(_declaring(*size))),
            _fault("decompression_bomb"),
        )
    yield Case(
        row, "pictures", "a JPEG that declares 65,500 × 65,500", _at(JPEG, _large_jpeg), _fault("decompression_bomb")
    )
    yield Case(row, "pictures", "a file of more than 256 MiB", on(PNG, _sparse_file), _fault("decompression_bomb"))
    huge = zlib.compress(bytes(48 << 20), 9)
    text = _png([*_chunks(picture(4))[:-1], (b"zTXt", b"Comment\0\0" + huge), (b"IEND", b"")])
    yield Case(
        row, "pictures", "a comment that unpacks to 48 MiB", on(PNG, damage.holding(text)), _fault("unreadable_picture")
    )


def _large_jpeg(file: Path) -> None:
    data = bytearray(file.read_bytes())
    struct.pack_into(">HH", data, data.index(b"\xff\xc0") + 5, 65_500, 65_500)
    file.write_bytes(data)


def _shade(*levels: int, size: tuple[int, int] = (40, 36)) -> bytes:
    file = io.BytesIO()
    pixels = np.resize(np.array(levels, np.uint8), size)
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def _image(place: int, level: int, role: str = "train", second: int | None = None) -> Callable[[Path], object]:
    def act(file: Path) -> None:
        arrays = sets.arrays()
        arrays[f"{role}_images"][place] = level
        if second is not None:
            arrays[f"{role}_images"][place, 0] = second
        np.savez_compressed(file, **arrays)

    return act


def _blank() -> Iterator[Case]:
    row = "blank, black, saturated"
    for name, content, reason in (
        ("all black", _shade(0), "all_black_picture"),
        ("all white", _shade(255), "saturated_picture"),
        ("one grey", _shade(99), "constant_picture"),
        ("nothing above an eighth of white", _shade(3, 17, 9, 21, 30), "too_dark_picture"),
    ):
        yield Case(row, "pictures", name, on(PNG, damage.holding(content)), Noticed({f"set_aside.{reason}": 1}))
    for name, level, reason in (
        ("all black", 0, "all_black_picture"),
        ("all white", 255, "saturated_picture"),
        ("one grey", 99, "constant_picture"),
    ):
        yield Case(row, "npz", name, on("npz", _image(3, level)), Noticed({f"set_aside.{reason}": 1}))
        yield Case(
            row,
            "npz",
            f"{name}, in the publisher's test",
            on("npz", _image(3, level, "test")),
            Noticed({f"warned.{reason}_in_evaluation": 1} | {"warned.constant_picture_in_evaluation": 1}),
        )


def _reshaped(height: int, width: int, role: str = "") -> Callable[[Path], object]:
    def act(file: Path) -> None:
        arrays = sets.arrays()
        for name, array in arrays.items():
            if name.endswith("images") and name.startswith(role):
                arrays[name] = np.random.default_rng(9).integers(5, 250, (len(array), height, width), np.uint8)
        np.savez_compressed(file, **arrays)

    return act


def _geometry() -> Iterator[Case]:
    row = "geometry"
    for name, size, reason in (
        ("1 pixel wide", (40, 1), "too_small_picture"),
        ("1 pixel high", (1, 40), "too_small_picture"),
        ("15 × 15", (15, 15), "too_small_picture"),
        ("a strip", (20, 120), "strip_shaped_picture"),
    ):
        yield Case(
            row, "pictures", name, on(PNG, damage.holding(picture(4, size=size))), Noticed({f"set_aside.{reason}": 1})
        )
    yield Case(row, "npz", "1 pixel wide", on("npz", _reshaped(28, 1)), refused("the data failed validation: geometry"))
    yield Case(
        row,
        "npz",
        "larger than any set",
        on("npz", _reshaped(1100, 9)),
        refused("the data failed validation: geometry"),
    )
    yield Case(
        row, "npz", "roles of two sizes", on("npz", _reshaped(20, 20, "val")), refused("val_images", "as in train")
    )
    yield Case(
        row,
        "npz",
        "roles of no size",
        on("npz", _reshaped(0, 28, "val")),
        refused("val_images", "at least one picture"),
    )


def _saved(image: Image.Image, kind: str = "PNG", **fields: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **fields)
    return file.getvalue()


def _levels(seed: int = 4) -> Image.Image:
    return Image.open(io.BytesIO(picture(seed)))


def _mean(low: float, high: float) -> Callable[[Path], None]:
    """The pictures' grey levels lie where they should."""

    def check(folder: Path) -> None:
        means = pl.read_parquet(folder / "images.parquet")["mean"]
        assert low < means.min() < means.max() < high

    return check


def _depths() -> Iterator[Case]:
    row = "depth and colour"
    deep = Image.fromarray(np.random.default_rng(4).integers(20 * 257, 230 * 257, (40, 36), np.uint16))
    yield Case(row, "pictures", "16 bits of grey", on(PNG, damage.holding(_saved(deep))), Right(), then=_mean(100, 150))
    dark = Image.fromarray(np.random.default_rng(4).integers(0, 4096, (40, 36), np.uint16))
    yield Case(
        row,
        "pictures",
        "12 bits kept in 16, white not stated",
        on(PNG, damage.holding(_saved(dark))),
        noticed(set_aside__too_dark_picture=1),
    )
    yield Case(
        row,
        "pictures",
        "1 bit",
        on(PNG, damage.holding(_saved(_levels().convert("1")))),
        noticed(set_aside__too_few_grey_levels=1),
    )
    few = Image.fromarray(np.random.default_rng(4).integers(0, 4, (40, 36), np.uint8)).convert("P")
    yield Case(
        row,
        "pictures",
        "2 bits of grey",
        on(PNG, damage.holding(_two_bits())),
        noticed(set_aside__too_few_grey_levels=1),
    )
    del few
    for mode in ("RGB", "RGBA", "LA", "P"):
        yield Case(
            row,
            "pictures",
            f"a PNG of mode {mode}",
            on(PNG, damage.holding(_saved(_levels().convert(mode)))),
            Right(),
            then=_mean(100, 150),
        )
    yield Case(
        row,
        "pictures",
        "a CMYK JPEG",
        _at(JPEG, damage.holding(_saved(_levels(4000).convert("CMYK"), "JPEG"))),
        noticed(warned__printed_colours=1),
    )
    yield Case(
        row, "pictures", "a JPEG named .png", on(PNG, damage.holding(picture(4, "JPEG"))), Right(), then=_mean(100, 150)
    )
    turned = Image.Exif()
    turned[0x0112] = 6
    yield Case(
        row,
        "pictures",
        "a picture on its side, as EXIF says",
        _at(JPEG, damage.holding(_saved(_levels(5), "JPEG", exif=turned.tobytes()))),
        Right(),
        then=_lies_on_its_side,
    )
    named = _saved(_levels(5), "JPEG", comment=b"Mustermann, born 1951")
    yield Case(
        row,
        "pictures",
        "a name in a comment goes no further",
        _at(JPEG, damage.holding(named)),
        Right(),
        then=_mean(100, 150),
    )


def _two_bits() -> bytes:
    rows = np.random.default_rng(4).integers(0, 256, (40, 9), np.uint8)
    stored = b"".join(b"\0" + row.tobytes() for row in rows)
    return _png(
        [(b"IHDR", struct.pack(">IIBBBBB", 36, 40, 2, 0, 0, 0, 0)), (b"IDAT", zlib.compress(stored)), (b"IEND", b"")]
    )


def _lies_on_its_side(folder: Path) -> None:
    sizes = pl.read_parquet(folder / "images.parquet").filter(pl.col("height") == 36)
    assert sizes["width"].to_list() == [40]


def _frames() -> Iterator[Case]:
    moving = _saved(_levels(4), save_all=True, append_images=[_levels(5)])
    yield Case(
        "several frames", "pictures", "an animated PNG", on(PNG, damage.holding(moving)), _fault("several_frames")
    )


def _renamed(name: str) -> Damage:
    def act(folder: Path) -> None:
        (folder / TARGETS["pictures"]).rename(folder / name)

    return act


def _subjects() -> Iterator[Case]:
    row = "subject"
    yield Case(row, "pictures", "a name that tells no patient", _renamed("NORMAL/scan.png"), _fault("unknown_subject"))
    yield Case(
        row, "pictures", "a name of another case", _renamed("NORMAL/mustermann04-0.png"), _fault("unknown_subject")
    )

    def all_renamed(folder: Path) -> None:
        for at, file in enumerate(sorted(folder.rglob("*.png"))):
            if at % 2:
                file.rename(file.with_name(f"scan{at}.png"))

    yield Case(
        row,
        "pictures",
        "a quarter of the names tell nobody",
        all_renamed,
        refused("too_many_set_aside in table images"),
    )


def _relabelled(role: str) -> Callable[[Path], object]:
    def act(file: Path) -> None:
        arrays = sets.arrays()
        arrays[f"{role}_images"][3] = arrays[f"{role}_images"][2]  # their labels differ
        np.savez_compressed(file, **arrays)

    return act


def _labels() -> Iterator[Case]:
    row = "labels"
    yield Case(
        row,
        "pictures",
        "one picture under both labels",
        lambda folder: shutil.copy(folder / TARGETS["pictures"], folder / "PNEUMONIA/Mustermann04-0_2.png") and None,
        noticed(counts__copy_in_same_role=1, counts__label_conflict=2, set_aside__conflicting_labels=2),
    )
    yield Case(
        row,
        "npz",
        "one picture under both labels",
        on("npz", _relabelled("train")),
        noticed(counts__copy_in_same_role=1, counts__label_conflict=2, set_aside__conflicting_labels_in_training=2),
    )
    yield Case(
        row,
        "npz",
        "one picture under both labels, in test",
        on("npz", _relabelled("test")),
        noticed(
            counts__copy_in_same_role=1,
            counts__label_conflict=2,
            warned__conflicting_labels_in_evaluation=2,
            warned__duplicate_in_evaluation=1,
        ),
    )


def _folders() -> Iterator[Case]:
    row = "folders"
    for name, made, words in (
        ("a class that nobody named", "EFFUSION", ("is not known", "folders named NORMAL, PNEUMONIA")),
        ("a patient's name for a class", "Mustermann", ("is not known",)),
        ("a misspelt class", "PNEUMONA", ("is not known", "did you mean 'pneumonia'")),
        ("a class in two spellings", "normal", ("two folders mean normal",)),
        ("roles beside classes", "train", ("is not known",)),
    ):

        def act(folder: Path, made: str = made) -> None:
            (folder / made).mkdir()
            (folder / made / "Mustermann70-0.png").write_bytes(picture(70))

        yield Case(row, "pictures", name, act, refused(*words))
    yield Case(
        row,
        "pictures",
        "a folder inside a class",
        lambda folder: (folder / "NORMAL/Mustermann").mkdir(),
        refused("of class folder NORMAL is a folder"),
    )
    yield Case(
        row,
        "pictures",
        "a picture outside the classes",
        lambda folder: shutil.copy(folder / TARGETS["pictures"], folder / "Mustermann77-0.png") and None,
        refused("pictures lie outside the class folders"),
    )
    yield Case(row, "pictures", "what a computer leaves behind", _left_behind, Same(("images", "labels")))


def _left_behind(folder: Path) -> None:
    for name in (".DS_Store", "Thumbs.db", "NORMAL/._Mustermann04-0_1951.png", "desktop.ini"):
        (folder / name).write_bytes(b"x")


def _few() -> Iterator[Case]:
    row = "too few"

    def eight(folder: Path) -> None:
        for at, file in enumerate(sorted(folder.rglob("*.*g"))):
            if at % 4:
                file.unlink()

    yield Case(row, "pictures", "eight pictures", eight, refused("too_few_pictures"))

    def one_class(folder: Path) -> None:
        for file in sorted((folder / "NORMAL").iterdir())[3:]:
            file.unlink()

    yield Case(row, "pictures", "three of one class", one_class, refused("the data failed validation"))
    yield Case(row, "npz", "ten pictures", on("npz", _few_arrays), refused("too_few_pictures"))


def _few_arrays(file: Path) -> None:
    np.savez_compressed(file, **{name: array[:3] for name, array in sets.arrays().items()})


CASES = [
    case
    for cases in (_cut, _none, _bombs, _blank, _geometry, _depths, _frames, _subjects, _labels, _folders, _few)
    for case in cases()
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_damaged_picture_is_never_met_with_silence(case: Case, judge: Judge) -> None:
    """One file is lost and counted, and the run lives; or the set is refused, as the case declares."""
    judge(case)


def test_every_row_has_a_case_for_every_source() -> None:
    """The table of pictures is covered: no row without a case where it makes sense, no case without a row."""
    assert uncovered(ROWS, CASES) == set()
