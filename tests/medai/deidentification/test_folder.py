"""A folder of files, some hostile: rewritten whole or not there, the same each time, resumed after a kill."""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from medai.deidentification import Key, rewrite_folder
from medai.deidentification.folder import REPORT
from medai.deidentification.outcomes import Outcome
from medai.deidentification.pictures import Order
from medai.deidentification.regions import Regions
from medai.errors import ConfigurationError, DataRefused
from medai.sources.pictures.workers import Lost
from tests.medai.deidentification.conftest import Written

pytest.importorskip("pydicom", reason="the extra imaging is not installed")


def in_turn(function: Callable[[Order], Outcome], orders: Sequence[Order]) -> Iterator[Outcome]:
    """In this process: faster for a few files."""
    return map(function, orders)


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def ward(dicom: Written, tmp_path: Path) -> Path:
    """Three patients' files, one of them twice, and what else lies about."""
    folder = tmp_path / "Mustermann"
    (folder / "a" / "b").mkdir(parents=True)
    for number in range(3):
        data = dicom(PatientID=f"Mustermann{number}", SOPInstanceUID=f"1.2.3.{number}")
        (folder / "a" / f"{number}\nMustermann.dcm").write_bytes(data)
    shutil.copy(folder / "a" / "0\nMustermann.dcm", folder / "a" / "b" / "copy.dcm")
    (folder / "a" / "b" / "notes.txt").write_text("Mustermann")
    (tmp_path / "elsewhere.dcm").write_bytes(dicom())
    (folder / "link.dcm").symlink_to(tmp_path / "elsewhere.dcm")
    (folder / "loop").symlink_to(folder / "loop")
    (folder / "up").symlink_to(tmp_path)
    os.mkfifo(folder / "pipe")
    (folder / os.fsdecode(b"\xff.dcm")).write_bytes(dicom(SOPInstanceUID="1.2.3.77", PatientID="Mustermann0"))
    return folder


def test_a_folder_is_rewritten_and_the_rest_set_aside(ward: Path, key: Key, tmp_path: Path) -> None:
    """In worker processes; names of patients stand nowhere but in the owner's list of what was set aside."""
    private = tmp_path / "home" / "list.csv"
    report = rewrite_folder(ward, tmp_path / "out", key, private=private)
    assert {name: report[name] for name in ("files", "rewritten", "patients", "without_patient_id")} == {
        "files": 10, "rewritten": 4, "patients": 3, "without_patient_id": 0,
    }  # fmt: skip
    assert report["set_aside"] == {"not_dicom": 1, "same_instance": 1, "link": 3, "no_file": 1}
    assert json.loads((tmp_path / "out" / REPORT).read_bytes()) == report
    written = tree(tmp_path / "out")
    assert len(written) == 5
    assert not any(b"mustermann" in name.encode().lower() + data.lower() for name, data in written.items())
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert "same_instance,a/b/copy.dcm" in private.read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["Mustermann", "elsewhere.dcm", "home", "out"]
    again = rewrite_folder(ward, tmp_path / "again", key, spread=in_turn)
    assert (again, tree(tmp_path / "again")) == (report, written)
    other = rewrite_folder(ward, tmp_path / "other", Key(b"k" * 32), spread=in_turn)
    assert set(tree(tmp_path / "other")) & set(written) == {REPORT}
    assert other["key"] != report["key"]


def test_what_was_done_before_a_kill_is_kept(ward: Path, key: Key, tmp_path: Path) -> None:
    """The next run reads what is left, and a file that was damaged meanwhile; its result is the undisturbed one."""
    done: list[str] = []

    def stopping(function: Callable[[Order], Outcome], orders: Sequence[Order]) -> Iterator[Outcome]:
        for order in orders[:3]:
            done.append(order.source.name)
            yield function(order)
        raise KeyboardInterrupt

    def noting(function: Callable[[Order], Outcome], orders: Sequence[Order]) -> Iterator[Outcome]:
        for order in orders:
            done.append(order.source.name)
            yield function(order)

    with pytest.raises(KeyboardInterrupt):
        rewrite_folder(ward, tmp_path / "out", key, spread=stopping)
    assert not (tmp_path / "out").exists()
    (beside,) = tmp_path.glob(".out.*.partial")
    assert not any(b"mustermann" in name.encode().lower() + data.lower() for name, data in tree(beside).items())
    next((beside / "files").rglob("*.dcm")).write_bytes(b"cut")
    journal = beside / "journal.jsonl"
    journal.write_bytes(journal.read_bytes() + b'["half a li')
    before = len(done)
    report = rewrite_folder(ward, tmp_path / "out", key, spread=noting)
    assert len(done) - before == 6 - 3 + 1
    whole = rewrite_folder(ward, tmp_path / "whole", key, spread=in_turn)
    assert (report, tree(tmp_path / "out")) == (whole, tree(tmp_path / "whole"))
    assert not list(tmp_path.glob(".out.*"))


def test_a_file_that_fells_its_parser_costs_itself(ward: Path, key: Key, tmp_path: Path) -> None:
    """What stands for the answer of a lost worker becomes the reason."""

    def losing(function: Callable[[Order], Outcome], orders: Sequence[Order]) -> Iterator[Any]:
        for at, order in enumerate(orders):
            yield Lost("decoder_crashed") if at == 2 else function(order)

    report = rewrite_folder(ward, tmp_path / "out", key, spread=losing)
    assert (report["rewritten"], report["set_aside"]["decoder_crashed"]) == (3, 1)


def test_places_that_are_refused(ward: Path, key: Key, tmp_path: Path) -> None:
    """Results inside of the data, or over something; data that are not there, or hold nothing."""
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    (tmp_path / "empty").mkdir()
    for out, wrong in (
        (ward / "out", "the results would lie in the data"),
        (ward, "the results would lie in the data"),
        (tmp_path, "the data in the results"),
        (ward / ".." / ward.name / "new", "the results would lie in the data"),
        (tmp_path / "full", "the place to write to is taken"),
        (tmp_path / "elsewhere.dcm", "the place to write to is taken"),
    ):
        with pytest.raises(ConfigurationError, match=wrong):
            rewrite_folder(ward, out, key, spread=in_turn)
    for source in (tmp_path / "absent", tmp_path / "empty"):
        with pytest.raises(DataRefused):
            rewrite_folder(source, tmp_path / "out", key, spread=in_turn)
    assert not (tmp_path / "out").exists()


def test_other_rules_for_regions_are_other_work(ward: Path, key: Key, tmp_path: Path) -> None:
    """The report names the rules by their hash; what was begun under others is not taken for done."""
    rules = Regions.model_validate(
        {"regions": [{"sop_class": "1.2", "rows": 9, "columns": 9, "blank": [[0, 0, 1, 1]]}]}
    )
    plain = rewrite_folder(ward, tmp_path / "plain", key, spread=in_turn)
    ruled = rewrite_folder(ward, tmp_path / "ruled", key, rules=rules, spread=in_turn)
    assert plain["regions"] is None
    assert len(ruled.pop("regions")) == 64
    assert ruled == {name: value for name, value in plain.items() if name != "regions"}
