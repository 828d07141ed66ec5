"""``medai synth``: whole or not there, never over something else, and the commands that read it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flows.synth import synth
from medai.errors import ConfigurationError
from medai.sources.synthetic import hospital
from medai.sources.synthetic.patients import Patient

HOSPITAL: dict[str, Any] = {"subjects": 12, "size": 32, "faults": 0.2}


def names(folder: Path) -> list[str]:
    """What lies in a folder."""
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("there", [True, False])
def test_a_hospital_takes_the_place_of_an_empty_folder_or_of_none(tmp_path: Path, there: bool) -> None:
    """Folders above are made; nothing else is left beside it; the answer counts what is there."""
    out = tmp_path / "above" / "hospital"
    if there:
        out.mkdir(parents=True)
    answer = synth("hospital", out, HOSPITAL)
    assert names(tmp_path / "above") == ["hospital"]
    assert names(out) == ["README.txt", "hosp", "icu", "planted_faults.json", "radiographs"]
    files = [path for path in out.rglob("*") if path.is_file()]
    assert (answer["path"], answer["files"]) == (str(out), len(files))
    assert answer["bytes"] == sum(path.stat().st_size for path in files)
    assert (answer["kind"], answer["patients"], answer["seed"]) == ("hospital", 12, 0)
    assert sum(answer["faults"].values()) > 0


@pytest.mark.parametrize(("kind", "path"), [("medmnist", "synthetic.npz"), ("physionet2012", "")])
def test_what_to_run_next_points_at_what_was_written(tmp_path: Path, kind: str, path: str) -> None:
    """Every problem of the catalogue that makes such data for itself can read these."""
    answer = synth(kind, tmp_path / "out", {"subjects": 10})
    assert answer["faults"] == {}
    assert answer["next"]
    for command in answer["next"]:
        assert command.startswith("medai run synthetic_")
        assert command.endswith(f" --data {tmp_path / 'out' / path}")


def test_an_interrupted_hospital_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of it is left, under its name or beside it."""

    def interrupted(patient: Patient, *_: Any) -> list[str]:
        raise KeyboardInterrupt

    monkeypatch.setattr(hospital, "_diagnosis_lines", interrupted)
    with pytest.raises(KeyboardInterrupt):
        synth("hospital", tmp_path / "out", HOSPITAL)
    assert names(tmp_path) == []


@pytest.mark.parametrize("what", ["folder", "file"])
def test_what_is_there_stays(tmp_path: Path, what: str) -> None:
    """A folder that holds something, and a file, are refused and left alone."""
    out = tmp_path / "out"
    if what == "folder":
        out.mkdir()
        (out / "mine.txt").write_text("mine")
    else:
        out.write_text("mine")
    with pytest.raises(ConfigurationError, match="the place to write to is taken") as raised:
        synth("hospital", out, HOSPITAL)
    assert raised.value.exit_status == 2
    assert names(tmp_path) == ["out"]
    assert (out / "mine.txt" if what == "folder" else out).read_text() == "mine"


@pytest.mark.parametrize(
    ("kind", "options", "received"),
    [
        ("hospitl", {"subjects": 10}, "did you mean 'hospital'?"),
        ("hospital", {"subjects": 3}, "subjects: Input should be greater than or equal to 10"),
        ("hospital", {"subjects": 10, "version": "4.0"}, "version: Input should be '2.2' or '3.1'"),
        ("hospital", {"subjects": 10, "faults": 0.9}, "faults: Input should be less than or equal to 0.5"),
        ("hospital", {"subjects": 10, "signal": float("nan")}, "signal: "),
        ("medmnist", {"subjects": 10, "faults": 0.1}, "unknown key 'faults'"),
    ],
)
def test_what_cannot_be_generated_is_refused_before_anything_is_written(
    tmp_path: Path, kind: str, options: dict[str, Any], received: str
) -> None:
    """With the near match, the bound or the option that does not fit."""
    with pytest.raises(ConfigurationError) as raised:
        synth(kind, tmp_path / "out", options)
    assert received in raised.value.received
    assert names(tmp_path) == []
