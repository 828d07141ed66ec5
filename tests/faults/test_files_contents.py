"""Files: bombs, the same content twice, other types than the name says, archives that are damaged."""

from __future__ import annotations

import io
import shutil
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medai.errors import MedaiError
from medai.sources import reader
from tests.faults import damage, sets
from tests.faults.case import NOT_A_PICTURE, Case, Damage, noticed, refused, uncovered
from tests.faults.conftest import Judge, Undamaged, meets, tells_nothing
from tests.faults.damage import TARGETS, member, npy, npz_with, on, tar_with
from tests.faults.sets import HOSPITALS, SETS, record_id, stay_files

EVERY = tuple(SETS)
STAYS = ("stays", "tar.gz", "zip")
ROWS = {
    "archive bomb": ("npz", "tar.gz", "zip", "mimic4", "pictures"),
    "same content twice": EVERY,
    "other type than its name": EVERY,
    "damaged archive": ("npz", "tar.gz", "zip"),
}


def _zeros(count: int) -> Callable[[Path], object]:
    """A gzip file of so many zeros, in little memory."""

    def write(file: Path) -> None:
        packed = zlib.compressobj(9, zlib.DEFLATED, 31)
        block = bytes(1 << 20)
        file.write_bytes(b"".join(packed.compress(block) for _ in range(count >> 20)) + packed.flush())

    return write


def _tar_bomb(file: Path) -> None:
    with tarfile.open(file, "w:gz", compresslevel=9) as archive:
        member = tarfile.TarInfo("set-a/19773100.txt")
        member.size = 16 << 20
        archive.addfile(member, io.BytesIO(bytes(16 << 20)))


def _picture_bomb(file: Path) -> None:
    """A PNG that declares 60,000 × 60,000 pixels and holds a few bytes."""
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(9))), (b"IEND", b""))
    file.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
            for kind, data in chunks
        )
    )


def _bombs() -> Iterator[Case]:
    far = refused("unpacks to far more than it holds")
    for source, act in {
        "npz": npz_with("bomb.npy", bytes(64 << 20)),
        "tar.gz": _tar_bomb,
        "zip": lambda file: sets.zip_of(file, {"19773100.txt": bytes(64 << 20)}),
    }.items():
        yield Case("archive bomb", source, "far more than it holds", on(source, act), far)
    yield Case(
        "archive bomb", "mimic4", "a table of zeros", on("mimic4", _zeros(256 << 20)), refused("table chartevents")
    )
    yield Case(
        "archive bomb",
        "pictures",
        "a picture of 3.6 thousand million pixels",
        on("pictures", _picture_bomb),
        noticed(counts__decompression_bomb=1, set_aside__decompression_bomb=1),
    )
    yield Case(
        "archive bomb",
        "zip",
        "a member that lies about its size",
        on(
            "zip",
            damage.archived({"19773100.txt": bytes(8 << 20)}, zipfile.ZIP_DEFLATED, damage.in_directory(24, 100, "<I")),
        ),
        refused("the zip archive cannot be read"),
    )


def _copy_of(first: str, second: str) -> Callable[[dict[str, bytes]], None]:
    def act(files: dict[str, bytes]) -> None:
        files[second] = files[first]

    return act


def _under_another_id(files: dict[str, bytes]) -> None:
    old, new = record_id(7), record_id(90)
    files[f"{new}.txt"] = files[f"{old}.txt"].replace(old.encode(), new.encode())


def _alter(change: Callable[[dict[str, np.ndarray]], None]) -> Callable[[Path], object]:
    def write(file: Path) -> None:
        arrays = sets.arrays()
        change(arrays)
        np.savez_compressed(file, **arrays)

    return write


def _picture_twin(role: str, label: int | None = None) -> Callable[[Path], object]:
    def change(arrays: dict[str, np.ndarray]) -> None:
        arrays["train_images"][3] = arrays[f"{role}_images"][5]
        arrays["train_labels"][3] = arrays[f"{role}_labels"][5] if label is None else label

    return _alter(change)


def _twins() -> Iterator[Case]:
    row = "same content twice"
    name = f"{record_id(7)}.txt"
    for source in STAYS:
        yield Case(
            row,
            source,
            "one stay under two names",
            damage.stays(source, _copy_of(name, f"{record_id(7)} (1).txt")),
            noticed(counts__same_stay_twice=1),
        )
        yield Case(
            row,
            source,
            "one stay under another id",
            damage.stays(source, _under_another_id),
            noticed(counts__same_stay_other_id=1),
        )
    yield Case(
        row,
        "stays",
        "the outcomes twice, equal",
        lambda folder: shutil.copy(folder / "Outcomes-a.txt", folder / "set-a") and None,
        noticed(counts__same_outcomes_twice=1),
    )

    def contradiction(folder: Path) -> None:
        (folder / "set-a" / "Outcomes-a.txt").write_text(sets.outcomes_text().replace(",9,4,1", ",9,-1,0", 1))

    yield Case(
        row,
        "stays",
        "the outcomes twice, one death gone",
        contradiction,
        refused("two outcomes tables contradict each other"),
    )
    yield Case(
        row,
        "tar.gz",
        "two archives",
        lambda folder: shutil.copy(folder / "set-a.tar.gz", folder / "set-b.tar.gz") and None,
        refused("the stays cannot be told", "2 archives"),
    )
    for role in ("val", "test"):
        yield Case(
            row,
            "npz",
            f"a picture of {role} in train",
            on("npz", _picture_twin(role)),
            noticed(counts__twin_in_another_role=1, set_aside__twin_in_evaluation_data=1),
        )
    yield Case(
        row,
        "npz",
        "a picture twice in train",
        on("npz", _alter(lambda arrays: _repeat(arrays, "train"))),
        noticed(counts__copy_in_same_role=1, set_aside__duplicate_in_training=1),
    )
    yield Case(
        row,
        "npz",
        "a picture twice in test: the publisher's test is never altered",
        on("npz", _alter(lambda arrays: _repeat(arrays, "test"))),
        noticed(counts__copy_in_same_role=1, warned__duplicate_in_evaluation=1),
    )
    yield Case(
        row,
        "pictures",
        "a file twice under one patient",
        lambda folder: shutil.copy(folder / TARGETS["pictures"], folder / "NORMAL/Mustermann04-0_1952.png") and None,
        noticed(counts__copy_in_same_role=1, set_aside__duplicate_picture=1),
    )
    yield Case(
        row,
        "pictures",
        "a picture under two patients",
        lambda folder: shutil.copy(folder / TARGETS["pictures"], folder / "NORMAL/Mustermann99-0_1952.png") and None,
        noticed(counts__copy_in_same_role=1, counts__copy_of_another_subject=1, set_aside__copy_of_another_subject=1),
    )
    for name, act in (
        ("a table as Parquet and as csv", lambda file: file.with_suffix(".csv").write_text("a,b\n1,2\n")),
        ("a table as Parquet in other letters", lambda file: shutil.copy(file, file.with_name("CHARTEVENTS.parquet"))),
    ):
        yield Case(row, "parquet", name, on("parquet", act), refused("table chartevents is there 2 times"))
    yield Case(
        row,
        "meds",
        "a shard under two names",
        on("meds", lambda file: shutil.copy(file, file.with_name("7.parquet"))),
        refused("shard 4 holds subjects of another shard", "8 subjects that stand in two"),
    )
    for source in HOSPITALS:
        suffix = ".csv.gz" if source == "mimic3" else ".csv"

        def again(folder: Path, source: str = source, suffix: str = suffix) -> None:
            file = sets.table_file(folder, "chartevents")
            sets.write_text(file.with_name(file.name.split(".")[0] + suffix), sets.read_text(file))

        yield Case(row, source, "a table as csv and as csv.gz", again, refused("table chartevents is there 2 times"))


def _repeat(arrays: dict[str, np.ndarray], role: str) -> None:
    arrays[f"{role}_images"][2] = arrays[f"{role}_images"][0]
    arrays[f"{role}_labels"][2] = arrays[f"{role}_labels"][0]


def _types() -> Iterator[Case]:
    row = "other type than its name"
    for name, content, what in (
        ("a Git-LFS pointer", damage.LFS_POINTER, "a Git-LFS pointer"),
        ("a page of HTML", damage.HTML_PAGE, "an HTML page"),
        ("a picture", sets.picture(1), "a PNG picture"),
    ):
        for source in EVERY:
            outcome: Any = refused(what)
            if source == "pictures":
                if name == "a picture":
                    continue
                outcome = NOT_A_PICTURE
            elif source == "stays":
                outcome = refused("cut short") if name == "a picture" else refused(what)
                outcome = refused("no text") if name == "a picture" else outcome
            yield Case(row, source, name, on(source, damage.holding(content)), outcome)
    yield Case(
        row,
        "mimic4",
        "plain text named .gz",
        on("mimic4", damage.holding(b"subject_id,hadm_id\n7700100,1\n")),
        refused("table chartevents is not what it should be", "a text file"),
    )
    yield Case(
        row,
        "mimic3",
        "gzip named .csv",
        lambda folder: (
            (damage.TARGETS and sets.write_text((folder / "CHARTEVENTS.csv").with_suffix(".gz"), "x\n"))
            or ((folder / "CHARTEVENTS.gz").rename(folder / "CHARTEVENTS.csv") and None)
        ),
        refused("table chartevents is not what it should be", "a gzip file"),
    )
    yield Case(
        row,
        "npz",
        "one array alone (.npy)",
        on("npz", lambda file: np.save(file.open("wb"), np.zeros(3))),
        refused("a single NumPy array"),
    )
    yield Case(
        row,
        "npz",
        "another archive's zip",
        on("npz", lambda file: sets.zip_of(file, stay_files())),
        refused("each of {train,val,test}_{images,labels} once"),
    )
    yield Case(
        row, "npz", "a pickle", on("npz", damage.holding(b"\x80\x04\x95\x0a\x00\x00\x00")), refused("a Python pickle")
    )
    objects = io.BytesIO()
    np.save(objects, np.array([[{"Mustermann": 1}]], dtype=object), allow_pickle=True)
    yield Case(
        row,
        "npz",
        "an array of pickled objects",
        on("npz", npz_with("train_labels.npy", objects.getvalue())),
        refused("train_labels", "pickled objects, which medai never loads"),
    )
    for source, other, outcome in (
        ("mimic3", "mimic4", refused("table patients is missing", "looks like MIMIC-IV", "source is mimic4")),
        ("mimic3", "meds", refused("table patients is missing")),
        ("mimic4", "mimic3", refused("table patients is missing", "(source mimic3)")),
        ("mimic4", "meds", refused("table patients is missing", "the folder that holds hosp/ and icu/")),
        ("meds", "mimic4", refused("the folder data of the MEDS data set is missing")),
        ("meds", "stays", refused("the folder data of the MEDS data set is missing")),
        ("stays", "mimic3", refused("the data folder holds no stays")),
        ("parquet", "meds", refused("table patients is missing")),
    ):
        yield Case(row, source, f"the folder of another source, {other}", _another(other), outcome)
    yield Case(row, "mimic4", "one of its folders", lambda folder: folder / "icu", refused("is missing", "mimic3"))


def _another(source: str) -> Damage:
    """A folder of another source in the place of this one's."""

    def put(folder: Path) -> Path:
        shutil.rmtree(folder)
        SETS[source].write(folder)
        return folder

    return put


def _npy_header(header: str, version: bytes = b"\x01\x00") -> Damage:
    return on("npz", npz_with("train_images.npy", npy(header, bytes(36 * 28 * 28), version)))


def _archives() -> Iterator[Case]:
    row = "damaged archive"
    cut_short = "cannot be read to its end"
    for source in ("npz", "tar.gz", "zip"):
        for name, act in {
            "the first half": damage.cut(0.5),
            "without its last byte": damage.cut_by(1),
        }.items():
            yield Case(row, source, name, on(source, act), refused(cut_short))
    yield Case(
        row, "tar.gz", "a cut between two members", on("tar.gz", lambda file: _cut_tar(file)), refused(cut_short)
    )
    yield Case(
        row, "tar.gz", "bytes behind its end", on("tar.gz", damage.appended(b"Mustermann" * 99)), refused(cut_short)
    )
    yield Case(row, "tar.gz", "a sparse member", tar_with(_sparse()), refused("the tar.gz archive cannot be read"))
    files = stay_files()
    for name, method in (("bzip2", zipfile.ZIP_BZIP2), ("LZMA", zipfile.ZIP_LZMA), ("deflate", zipfile.ZIP_DEFLATED)):
        yield Case(
            row,
            "zip",
            f"a {name} member with bits turned",
            on("zip", damage.archived(files, method, damage.in_first_member)),
            refused(cut_short),
        )
    for name, change, word in (
        ("a compression that nobody knows", damage.in_directory(10, 97, "<H"), "a compression that is not in use"),
        ("a difference from another file by its flags", damage.in_directory(8, 0x20, "<H"), "not in use"),
        ("encrypted by its flags", damage.in_directory(8, 1, "<H"), "an encrypted archive"),
        ("strongly encrypted by its flags", damage.in_directory(8, 0x41, "<H"), "an encrypted archive"),
        ("of a version yet to come", damage.in_directory(6, 99, "<H"), "a newer kind of zip"),
    ):
        yield Case(
            row,
            "zip",
            name,
            on("zip", damage.archived(files, zipfile.ZIP_DEFLATED, change)),
            refused(word, "a plain zip of them"),
        )
    for name, change in {
        "its directory points past the end": damage.in_directory(42, 0xFFFFFF0, "<I"),
        "its directory points into another member": damage.in_directory(42, 7, "<I"),
        "a checksum that does not fit": damage.in_directory(16, 7, "<I"),
    }.items():
        yield Case(
            row, "zip", name, on("zip", damage.archived(files, zipfile.ZIP_DEFLATED, change)), refused(cut_short)
        )
    good = "{'descr': '|u1', 'fortran_order': False, 'shape': (36, 28, 28), }"
    for name, header, version in (
        ("an array's header is no description", "Mustermann", b"\x01\x00"),
        ("an array's header is a deep nest", "(" * 300 + ")" * 300, b"\x01\x00"),
        ("an array's header never ends", "{'descr': '|u1", b"\x01\x00"),
        ("an array's header names a negative length", good.replace("36", "-36"), b"\x01\x00"),
        ("an array's header names more than there is", good.replace("36", "37"), b"\x01\x00"),
        ("an array's header names a huge length", good.replace("36", str(10**30)), b"\x01\x00"),
        ("an array's header is of version 9", good, b"\x09\x00"),
        ("an array of dates", good.replace("|u1", "<M8[9]"), b"\x01\x00"),
        ("an array of texts", good.replace("|u1", "|S1"), b"\x01\x00"),
    ):
        yield Case(row, "npz", name, _npy_header(header, version), refused("train_images"))
    yield Case(row, "npz", "an array of floats", on("npz", _alter(_as_floats)), refused("train_images", "uint8"))
    yield Case(
        row,
        "npz",
        "an array is missing",
        on("npz", npz_with("val_labels.npy", None)),
        refused("val_labels", "no such array"),
    )
    yield Case(
        row,
        "npz",
        "an array twice",
        on("npz", npz_with("val_labels.npy", b"x", again=True)),
        refused("val_labels", "2 arrays of this name"),
    )
    yield Case(
        row,
        "npz",
        "fewer labels than pictures",
        on("npz", _alter(_labels_cut)),
        refused("train_labels", "36 rows, one a picture"),
    )
    yield Case(row, "npz", "a label below 0", on("npz", _alter(_label_negative)), refused("labels from 0"))
    yield Case(row, "npz", "axes mixed up", on("npz", _alter(_axes_mixed)), refused("geometry"))


def _as_floats(arrays: dict[str, np.ndarray]) -> None:
    arrays["train_images"] = arrays["train_images"].astype(np.float32)


def _labels_cut(arrays: dict[str, np.ndarray]) -> None:
    arrays["train_labels"] = arrays["train_labels"][:-1]


def _label_negative(arrays: dict[str, np.ndarray]) -> None:
    arrays["train_labels"] = arrays["train_labels"].astype(np.int8)
    arrays["train_labels"][3] = -1


def _axes_mixed(arrays: dict[str, np.ndarray]) -> None:
    for role in ("train", "val", "test"):
        images = arrays[f"{role}_images"]
        arrays[f"{role}_images"] = np.ascontiguousarray(images.reshape(len(images), 4, 196))


def _sparse() -> tarfile.TarInfo:
    sparse = {"GNU.sparse.map": "0,1,x", "GNU.sparse.size": "9", "GNU.sparse.name": "19773100.txt"}
    return member("set-a/19773100.txt", **sparse)


def _cut_tar(file: Path) -> None:
    """The archive ends, as gzip whole, behind its fifth member."""
    import gzip

    with tarfile.open(file) as archive:
        at = archive.getmembers()[5].offset
    file.write_bytes(gzip.compress(gzip.decompress(file.read_bytes())[:at]))


CASES = [
    case
    for cases in (
        _bombs,
        _twins,
        _types,
        _archives,
    )
    for case in cases()
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_damaged_content_is_never_met_with_silence(case: Case, judge: Judge) -> None:
    """Refused, set aside, counted, or understood by a stated rule, as the case declares."""
    judge(case)


def test_every_row_has_a_case_for_every_source() -> None:
    """No row without a case where it makes sense, no case without a row."""
    assert uncovered(ROWS, CASES) == set()


@pytest.mark.parametrize("source", ["npz", "tar.gz", "zip", "mimic4"])
def test_a_turned_bit_is_refused_or_changes_nothing(
    source: str, tmp_path: Path, undamaged: Undamaged, record_property: Callable[[str, object], None]
) -> None:
    """At 120 places of an archive or a gzipped table: refused, or a byte that says nothing (a zip's times)."""
    path = undamaged.copy(source, tmp_path / "data")
    target = tmp_path / "data" / TARGETS[source]
    sound, before = target.read_bytes(), undamaged.walked(source)[1]
    row, at_all = "damaged archive", 0
    for step in range(120):
        place = int(len(sound) * step / 120)
        data = bytearray(sound)
        data[place] ^= 1 << step % 8
        target.write_bytes(data)
        folder = tmp_path / f"read {step}"
        folder.mkdir()
        try:
            reader(SETS[source].config).read(SETS[source].config, path, folder)
        except MedaiError as error:
            at_all += 1
            meets(error, refused())
            tells_nothing(folder, str(error).replace(str(path), ""), SETS[source].people, ())
        else:
            for file in before.glob("*.parquet"):
                assert (folder / file.name).read_bytes() == file.read_bytes(), f"byte {place} changed {file.name}"
    assert at_all > 60
    record_property("fault", (row, source, "refused", False))
