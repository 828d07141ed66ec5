"""``medai export meds``: whole or not there, never over something else, of a problem or a snapshot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import meds
import pyarrow.parquet as pq
import pytest

MEDS = {
    "kind": "meds",
    "labels": "labels/death",
    "observation_hours": 48,
}


def test_a_problem_is_exported_and_answered_from_its_export(
    medai: Any, home: Path, problems: Any, tmp_path: Path
) -> None:
    """The events, the split and the labels of a problem; a problem on the data set selects the same samples."""
    out = tmp_path / "above" / "set"
    problem = problems.stays("exported")
    answer = medai("export", "meds", problem, "--out", str(out), "--json", home=home)
    assert answer.status == 0, answer.err
    found = answer.json
    assert (found["problem"], found["path"]) == ("exported", str(out))
    assert found["counts"]["labels"] == found["counts"]["stays"] == 200
    assert list(found["stages"]) == ["generate", "ingest", "validate", "select", "split"]
    meds.LabelSchema.validate(pq.read_table(out / "labels" / "death" / "0.parquet"))
    assert [path.name for path in out.parent.iterdir()] == ["set"]

    snapshot = found["snapshot"]
    shown = medai("export", "meds", snapshot, "--out", str(tmp_path / "whole"), home=home)
    assert shown.status == 0, shown.err
    assert f"{tmp_path / 'whole'}: {found['counts']['events']} events of 200 subjects in 1 shards" in shown.out

    stay = {
        "source": MEDS,
        "preprocessing": {"kind": "series", "hours": 48, "step_minutes": 240, "variables": ["heart_rate"]},
        "encoder": {"kind": "gru", "units": 4, "wide": 8, "dropout": 0},
    }
    classes = {0: "survived", 1: "died"}
    asked = problems.stays(
        "from_standard",
        data=None,
        inputs={"stay": stay},
        outputs={"death": {"kind": "binary", "label": "boolean_value", "classes": classes, "positive": "died"}},
        split={"kind": "publisher"},
        gate=None,
    )
    checked = medai("check", asked, "--data", str(out), "--json", home=home)
    assert checked.status == 0, checked.err
    assert checked.json["tables"]["labels"] == 200


@pytest.mark.parametrize(
    ("arguments", "wrong"),
    [
        (("fhir", "synthetic_stays"), "nothing is exported as 'fhir'"),
        (("meds", "synthetic_stay"), "there is no problem 'synthetic_stay'"),
        (("meds", "0123456789abcdef0123456789abcdef"), "there is no snapshot of this key"),
        (("model", "synthetic_stays", "--version", "7"), "synthetic_stays has no version 7"),
    ],
)
def test_what_cannot_be_exported(
    arguments: tuple[str, str], wrong: str, medai: Any, home: Path, tmp_path: Path
) -> None:
    """Refused with status 2, and nothing is made."""
    answer = medai("export", *arguments, "--out", str(tmp_path / "out"), "--json", home=home)
    assert answer.status == 2
    assert answer.error["wrong"] == wrong
    assert list(tmp_path.iterdir()) == []


def test_pictures_are_no_events(medai: Any, home: Path, problems: Any, tmp_path: Path) -> None:
    """The standard holds records; nothing is left behind."""
    answer = medai("export", "meds", problems.pictures("drawn"), "--out", str(tmp_path / "out"), "--json", home=home)
    assert answer.status == 2
    assert answer.error["wrong"] == "pictures cannot be written as MEDS"
    assert list(tmp_path.iterdir()) == []


def test_a_taken_place_is_refused_before_any_work(medai: Any, home: Path, tmp_path: Path) -> None:
    """What lies there stays as it is."""
    (tmp_path / "mine").write_text("mine")
    answer = medai("export", "meds", "synthetic_stays", "--out", str(tmp_path), "--json", home=home)
    assert answer.status == 2
    assert answer.error["wrong"] == "the place to write to is taken"
    assert (tmp_path / "mine").read_text() == "mine"
