"""Files: what is missing, empty, unreadable, a link that leaves, not as its manifest says, or changes."""

from __future__ import annotations

import os
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from medai.errors import DataRefused, MedaiError
from medai.ingestion import ingest
from medai.sources import reader
from medai.workspace import Workspace
from tests.faults import damage, sets
from tests.faults.case import NOT_A_PICTURE, Case, Damage, each, noticed, refused, uncovered
from tests.faults.conftest import Judge, Undamaged, meets, nothing_half_done, photograph, tells_nothing
from tests.faults.damage import TARGETS, member, npy, npz_with, on, tar_with, targets
from tests.faults.sets import HOSPITALS, SETS

EVERY = tuple(SETS)
STAYS = ("stays", "tar.gz", "zip")
ROWS = {
    "missing": EVERY,
    "empty": EVERY,
    "a folder where a file belongs": EVERY,
    "a link or path that leaves": EVERY,
    "manifest": EVERY,
    "names that are no text": ("stays", "tar.gz", "pictures"),
    "files among the data that are not read": ("npz", "stays", "tar.gz", "zip"),
}


def _missing() -> Iterator[Case]:
    yield from each(
        "missing",
        "nothing at the path",
        {
            source: (damage.nowhere, refused("the data path", "nothing at this path"))
            for source in EVERY
            if source != "npz"
        },
    )
    gone: Callable[[Path], object] = Path.unlink
    yield from each(
        "missing",
        "one part of it",
        targets(
            gone,
            {
                "npz": refused("is missing"),
                "stays": noticed(counts__orphan_outcome=1),
                "tar.gz": refused("holds no stays"),
                "zip": refused("holds no stays"),
                "mimic3": refused("table chartevents is missing"),
                "mimic4": refused("table chartevents is missing"),
                "parquet": refused("table chartevents is missing"),
                "meds": refused("too_many_set_aside in table labels"),
            },
        ),
    )
    yield Case(
        "missing",
        "pictures",
        "a whole class",
        lambda folder: shutil.rmtree(folder / "NORMAL"),
        refused("class folder NORMAL holds no file"),
    )
    for source in STAYS:
        yield Case(
            "missing",
            source,
            "the outcomes",
            lambda folder: (folder / "Outcomes-a.txt").unlink(),
            refused("the outcomes file is missing", "Outcomes-a.txt"),
        )


def _empty() -> Iterator[Case]:
    yield from each(
        "empty",
        "the folder",
        {
            source: (damage.everything_gone, refused("is empty", "an empty folder"))
            for source in EVERY
            if source != "npz"
        },
    )
    yield from each(
        "empty",
        "0 bytes",
        targets(
            damage.holding(b""),
            {
                "npz": refused("is empty", "0 bytes"),
                "stays": refused("cut short", "an empty file"),
                "tar.gz": refused("is empty", "0 bytes"),
                "zip": refused("is empty", "0 bytes"),
                "pictures": NOT_A_PICTURE,
                "mimic3": refused("is empty", "0 bytes"),
                "mimic4": refused("is empty", "0 bytes"),
                "parquet": refused("is empty", "0 bytes"),
                "meds": refused("is empty", "0 bytes"),
            },
        ),
    )
    yield Case(
        "empty",
        "zip",
        "an archive without members",
        on("zip", lambda file: sets.zip_of(file, {})),
        refused("an empty zip archive"),
    )
    yield Case(
        "empty",
        "tar.gz",
        "an archive without members",
        on("tar.gz", lambda file: sets.tar_of(file, {})),
        refused("there is not a single stay"),
    )
    yield Case(
        "empty",
        "zip",
        "an archive of a patient's name, of 0 bytes",
        lambda folder: (folder / "set-a.zip").unlink() or ((folder / "Mustermann_1951.zip").write_bytes(b"") and None),
        refused("is empty"),
    )


def _folders() -> Iterator[Case]:
    yield from each(
        "a folder where a file belongs",
        "the file is a folder",
        targets(
            damage.as_folder,
            {
                "npz": refused("is empty", "an empty folder"),
                "stays": noticed(counts__orphan_outcome=1),
                "tar.gz": refused("holds no stays"),
                "zip": refused("holds no stays"),
                "pictures": refused("of class folder NORMAL is a folder"),
                "mimic3": refused("table chartevents is missing", "a folder of that name"),
                "mimic4": refused("table chartevents is missing", "a folder of that name"),
                "parquet": refused("table chartevents is missing", "a folder of that name"),
                "meds": refused("too_many_set_aside in table labels"),
            },
        ),
    )
    yield from each(
        "a folder where a file belongs",
        "the file is a pipe",
        targets(
            damage.as_pipe,
            {
                "npz": refused("a pipe, a socket or a device"),
                **dict.fromkeys(EVERY[1:], refused("a pipe, a socket or a device")),
            },
        ),
    )
    yield Case(
        "a folder where a file belongs",
        "stays",
        "the outcomes are a folder",
        lambda folder: damage.as_folder(folder / "Outcomes-a.txt"),
        refused("Outcomes-a.txt is empty", "an empty folder"),
    )


def _zip_entry(name: str, mode: int = 0) -> Damage:
    def write(file: Path) -> None:
        with zipfile.ZipFile(file, "a") as archive:
            entry = zipfile.ZipInfo(name)
            entry.external_attr = mode << 16
            archive.writestr(entry, "Time,Parameter,Value\n")

    return on("zip", write)


def _links() -> Iterator[Case]:
    leaves = refused("is not plain data", "a link that leaves the folder")
    row = "a link or path that leaves"
    yield from each(
        row,
        "a link to a file elsewhere",
        targets(
            damage.as_link_out,
            {**dict.fromkeys(EVERY[1:], leaves), "pictures": refused("is not plain data", "a link that")},
        ),
    )
    yield from each(
        row,
        "a link to nothing",
        targets(
            damage.as_link_to_nothing,
            {"npz": refused("is missing"), **dict.fromkeys(EVERY[1:], refused("is not plain data", "to nothing"))},
        ),
    )
    yield from each(
        row,
        "a link to itself",
        targets(
            damage.as_circle,
            {"npz": refused("leads nowhere"), **dict.fromkeys(EVERY[1:], refused("is not plain data"))},
        ),
    )

    def tables_elsewhere(folder: Path) -> None:
        away = folder.parent / "tables"
        (folder / "hosp").rename(away)
        (folder / "hosp").symlink_to(away)

    yield Case(row, "mimic4", "a folder of tables elsewhere", tables_elsewhere, refused("a link that leaves it"))

    def outcomes_elsewhere(folder: Path) -> None:
        damage.as_link_out(folder / "Outcomes-a.txt")

    yield Case(
        row, "stays", "the outcomes are a link elsewhere", outcomes_elsewhere, refused("a link that leaves the folder")
    )
    for name, entry in {
        "an absolute path": member("/srv/Mustermann.txt"),
        "a path through ..": member("set-a/../../Mustermann.txt"),
        "a path of Windows": member("C:\\Mustermann.txt"),
        "a symbolic link": member("set-a/19773100.txt", tarfile.SYMTYPE, "/etc/passwd"),
        "a hard link": member("set-a/19773100.txt", tarfile.LNKTYPE, "../elsewhere/Mustermann.txt"),
        "a device": member("set-a/19773100.txt", tarfile.CHRTYPE),
        "a pipe": member("set-a/19773100.txt", tarfile.FIFOTYPE),
    }.items():
        yield Case(
            row, "tar.gz", name, tar_with(entry), refused("of the archive is not plain data", "nothing was written")
        )
    for name, act in {
        "an absolute path": _zip_entry("/srv/Mustermann.txt"),
        "a path through ..": _zip_entry("set-a/../../Mustermann.txt"),
        "a path of Windows": _zip_entry("..\\Mustermann.txt"),
        "a symbolic link": _zip_entry("set-a/19773100.txt", 0o120777),
        "a device": _zip_entry("set-a/19773100.txt", 0o020666),
    }.items():
        yield Case(row, "zip", name, act, refused("of the archive is not plain data", "nothing was written"))
    for name, member_name in {
        "an absolute path": "/srv/Mustermann.npy",
        "a path through ..": "../Mustermann.npy",
    }.items():
        yield Case(
            row, "npz", name, on("npz", npz_with(member_name, b"x")), refused("of the archive is not plain data")
        )


MANIFEST = "SHA256SUMS.txt"


def _with_manifest(change: Callable[[Path], str]) -> Damage:
    def act(folder: Path) -> None:
        (folder / MANIFEST).write_text(change(folder))

    return act


def _manifests() -> Iterator[Case]:
    row = "manifest"
    for source in EVERY:
        target = TARGETS[source]
        yield Case(
            row,
            source,
            "another hash than the manifest's",
            _with_manifest(lambda folder, target=target: damage.sums(folder, target)),
            refused("is not the one that its manifest names", "SHA-256"),
            manifest=MANIFEST,
        )
        yield Case(
            row,
            source,
            "another hash than in a manifest that lies beside",
            _with_manifest(lambda folder, target=target: damage.sums(folder, target)),
            noticed(counts__file_differs_from_manifest=1),
        )
        yield Case(
            row,
            source,
            "a given manifest that leaves a file out",
            _with_manifest(
                lambda folder, target=target: "".join(
                    line for line in damage.sums(folder).splitlines(keepends=True) if not line.endswith(f"{target}\n")
                )
            ),
            refused("the manifest does not name every file", "1 of them are not"),
            manifest=MANIFEST,
        )
        yield Case(
            row,
            source,
            "a given manifest that is not there",
            lambda folder: None,
            refused("the manifest cannot be read"),
            manifest="Mustermann.txt",
        )
        yield Case(
            row,
            source,
            "a row that is no sum",
            _with_manifest(lambda folder: damage.sums(folder) + "Mustermann\n"),
            refused("of the manifest cannot be followed"),
        )
    for source in ("stays", "pictures"):
        beside = f"{Path(TARGETS[source]).parent}/Mustermann77_1951.png"
        yield Case(
            row,
            source,
            "a file that it names is gone",
            _with_manifest(lambda folder, beside=beside: damage.sums(folder) + f"{'0' * 64}  {beside}\n"),
            refused("files that the manifest names are missing", "1 of them are not there"),
            manifest=MANIFEST,
        )
        yield Case(
            row,
            source,
            "a file that a manifest beside names is gone",
            _with_manifest(lambda folder, beside=beside: damage.sums(folder) + f"{'0' * 64}  {beside}\n"),
            noticed(counts__file_missing_beside_manifest=1),
        )
    for source in HOSPITALS:
        missing = "OUTPUTEVENTS_2.csv" if source == "mimic3" else "icu/outputevents_2.csv.gz"
        yield Case(
            row,
            source,
            "two sums for one name",
            _with_manifest(
                lambda folder, missing=missing: damage.sums(folder) + f"{'0' * 64}  {missing}\n{'1' * 64}  {missing}\n"
            ),
            refused("a second sum for the same name"),
        )


def _names() -> Iterator[Case]:
    row, wrong = "names that are no text", "Mustermann\udcff.txt"
    yield Case(
        row, "stays", "among the stays", lambda folder: (folder / "set-a" / wrong).write_bytes(b"x") and None, refused()
    )
    yield Case(
        row,
        "stays",
        "a stay",
        lambda folder: (folder / "set-a" / f"1{wrong}").write_bytes(b"x") and None,
        refused("a name that is not UTF-8"),
    )
    yield Case(row, "tar.gz", "a member", tar_with(member(f"set-a/1{wrong}")), refused("a name that is not UTF-8"))
    yield Case(
        row,
        "pictures",
        "a picture",
        lambda folder: shutil.copy(folder / TARGETS["pictures"], folder / "NORMAL/Mustermann88-0\udcff.png") and None,
        refused(),
    )


def _ignored() -> Iterator[Case]:
    row = "files among the data that are not read"
    for source in STAYS:
        yield Case(
            row,
            source,
            "a letter among the stays",
            damage.stays(source, lambda files: files.update({"Mustermann.docx": b"PK\x03\x04 a letter"})),
            noticed(counts__ignored_file=1),
        )
    yield Case(
        row,
        "npz",
        "a seventh array",
        on("npz", npz_with("Mustermann.npy", npy("{}", b""))),
        noticed(counts__ignored_array=1),
    )
    yield Case(
        row,
        "stays",
        "stays in a folder below the stays",
        lambda folder: (
            (folder / "set-a/more").mkdir() or (shutil.copy(folder / TARGETS["stays"], folder / "set-a/more") and None)
        ),
        refused("stays in folders below the stays"),
    )


CASES = [
    case
    for cases in (
        _missing,
        _empty,
        _folders,
        _links,
        _manifests,
        _names,
        _ignored,
    )
    for case in cases()
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_damaged_place_is_never_met_with_silence(case: Case, judge: Judge) -> None:
    """Refused, set aside, counted, or understood by a stated rule, as the case declares."""
    judge(case)


def test_every_row_has_a_case_for_every_source() -> None:
    """No row without a case where it makes sense, no case without a row."""
    assert uncovered(ROWS, CASES) == set()


@contextmanager
def _as_somebody_else() -> Iterator[None]:
    """Without the superuser's right to read everything, for a while."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("source", EVERY)
def test_an_unreadable_file_is_refused(
    source: str, undamaged: Undamaged, record_property: Callable[[str, object], None]
) -> None:
    """No permission to read: the data are refused, and the message names no file that came from a patient."""
    with tempfile.TemporaryDirectory() as place:  # tmp_path lies below a folder of its owner alone
        root = Path(place)
        path = undamaged.copy(source, root / "data")
        home = root / "home"
        home.mkdir()
        for folder in (root, home):
            folder.chmod(0o777)
        (root / "data" / TARGETS[source]).chmod(0)
        with _as_somebody_else(), pytest.raises(DataRefused) as raised:
            ingest(Workspace(home), SETS[source].config, path)
        record_property("fault", ("unreadable", source, "refused", False))
        said = str(raised.value).replace(str(path), "")
        meets(raised.value, refused("permission denied"))
        nothing_half_done(home)
        tells_nothing(home, said, SETS[source].people, ())


@pytest.mark.parametrize("source", EVERY)
def test_a_file_that_changes_while_it_is_read_is_refused(
    source: str,
    tmp_path: Path,
    undamaged: Undamaged,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    """The same bytes are written again while the reader works: they might have been others."""
    path = undamaged.copy(source, tmp_path / "data")
    target, chosen = tmp_path / "data" / TARGETS[source], reader(SETS[source].config)
    real = chosen.read

    def read(config: Any, place: Path, folder: Path) -> Any:
        facts = real(config, place, folder)
        target.write_bytes(target.read_bytes())
        return facts

    monkeypatch.setattr(chosen, "read", read)
    with pytest.raises(MedaiError) as raised:
        ingest(Workspace(tmp_path / "home"), SETS[source].config, path)
    record_property("fault", ("changes while read", source, "refused", False))
    seen = photograph(tmp_path / "data")
    meets(raised.value, refused("the data changed while they were read"))
    nothing_half_done(tmp_path / "home")
    tells_nothing(tmp_path / "home", str(raised.value), SETS[source].people, ())
    assert photograph(tmp_path / "data") == seen
