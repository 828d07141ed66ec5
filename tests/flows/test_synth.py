"""``medai synth``: whole or not there, never over something else, and the commands that read it."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from flows.synth import rates, synth
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


def test_cubes_are_offered_to_the_problem_of_cubes_alone(tmp_path: Path) -> None:
    """And pictures to those of pictures: the other would refuse them for their size."""
    for volumes, name in ((True, "synthetic_nodules"), (False, "synthetic_pictures")):
        options = {"subjects": 10, "volumes": volumes, "size": 16}
        (command,) = synth("medmnist", tmp_path / name, options)["next"]
        assert command.startswith(f"medai run {name} ")


def test_a_hospital_of_dicom_files_can_be_read_by_its_problem(tmp_path: Path) -> None:
    """Each patient's folder, the labels, and the faults that were planted."""
    answer = synth("dicom", tmp_path / "out", {"subjects": 20, "size": 32, "faults": 0.3})
    assert {"README.txt", "labels.csv", "planted_faults.json"} < set(names(tmp_path / "out"))
    assert sum(answer["faults"].values()) > 0
    assert answer["next"] == [f"medai run dicom_radiographs --data {tmp_path / 'out'}"]


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
    ("place", "received"),
    [
        ("file/out", "a path through something that is no folder"),
        ("a" * 300, "a name that is too long"),
        ("loop", "links that lead round in a circle"),
        ("loop/out", "links that lead round in a circle"),
        ("/proc/out", None),
    ],
)
def test_a_place_where_no_folder_can_be_made_is_named(tmp_path: Path, place: str, received: str | None) -> None:
    """Status 2 and what stands there, in words, never a defect of ours."""
    (tmp_path / "file").write_text("mine")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(ConfigurationError) as raised:
        synth("physionet2012", tmp_path / place, {"subjects": 10})
    assert raised.value.exit_status == 2
    assert received is None or raised.value.received in (received, "something else")
    assert names(tmp_path) == ["file", "loop"]


def test_a_name_as_long_as_the_system_takes_is_taken(tmp_path: Path) -> None:
    """What is written beside it has a name of its own; a home of nobody is refused."""
    answer = synth("physionet2012", tmp_path / ("a" * 250), {"subjects": 10})
    assert names(tmp_path) == ["a" * 250]
    assert answer["files"] > 0
    with pytest.raises(ConfigurationError, match="a path cannot be followed"):
        synth("physionet2012", Path("~nobody_of_this_name/x"), {"subjects": 10})


@pytest.mark.parametrize(
    ("kind", "options", "received"),
    [
        ("hospitl", {"subjects": 10}, "did you mean 'hospital'?"),
        ("hospital", {"subjects": 3}, "subjects: Input should be greater than or equal to 10"),
        ("hospital", {"subjects": 10, "version": "4.0"}, "version: Input should be '2.2' or '3.1'"),
        ("hospital", {"subjects": 10, "faults": 0.9}, "faults: Input should be less than or equal to 0.5"),
        ("hospital", {"subjects": 10, "signal": float("nan")}, "signal: "),
        ("medmnist", {"subjects": 10, "faults": 0.1}, "unknown key 'faults'"),
        ("hospital", {"subjects": 10, "drift": 0.1}, "unknown key 'drift'"),
        ("mimic4", {"subjects": 2_000_000}, "subjects: Input should be less than or equal to 1000000"),
        ("mimic4", {"subjects": 10, "version": "2.2"}, "unknown key 'version'"),
        ("mimic3", {"subjects": 10, "rates": {"unit_mix": 0.6}}, "rates.unit_mix: Input should be less than"),
        ("mimic4", {"subjects": 10, "rates": {"error_row": 0.1}}, "rows are marked as an error in mimic3 alone"),
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


@pytest.mark.parametrize(("kind", "chart"), [("mimic3", "CHARTEVENTS.csv"), ("mimic4", "icu/chartevents.csv")])
def test_a_database_is_written_and_its_problems_named(tmp_path: Path, kind: str, chart: str) -> None:
    """Plain or packed; every problem of its source reads the folder as a whole; faults are counted."""
    options = {"subjects": 60, "chart_rows_per_stay": 100, "faults": 0, "compressed": False}
    answer = synth(kind, tmp_path / "out", options | {"rates": rates(["text_in_value=0.2"])}, workers=1)
    header = (tmp_path / "out" / chart).read_text().partition("\n")[0].lower().split(",")
    assert {"subject_id", "charttime", "valuenum"} <= set(header)
    assert answer["faults"]["text_in_value"] == sum(answer["faults"].values()) > 0
    assert answer["patients"] == 60
    assert any(command.endswith(f"_mortality --data {tmp_path / 'out'}") for command in answer["next"])


@pytest.mark.parametrize("text", ["unit_mix", "unit_mix=", "unit_mix=a third", "=0.1=2"])
def test_a_share_of_another_form_is_refused(text: str) -> None:
    """With an example."""
    with pytest.raises(ConfigurationError, match="a fault's share cannot be read") as raised:
        rates([text])
    assert raised.value.received == repr(text)
    assert rates(["unit_mix=0.1", "orphan_stay = 0.05"]) == {"unit_mix": 0.1, "orphan_stay": 0.05}


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["helper", "command"])
def test_a_killed_process_leaves_no_process_behind(tmp_path: Path, victim: str) -> None:
    """The command ends with status 4 and nothing half-written when a helper is killed; helpers end with the command."""
    script = (
        "import sys; from pathlib import Path\n"
        "from flows.synth import synth\n"
        "from medai.errors import MedaiError\n"
        "if __name__ == '__main__':\n"
        "    try: synth('mimic4', Path(sys.argv[1]), {'subjects': 100_000, 'chart_rows_per_stay': 2000}, workers=2)\n"
        "    except MedaiError as error: print(error.wrong); sys.exit(error.exit_status)\n"
    )
    (tmp_path / "run.py").write_text(script)
    place = tmp_path / "place"
    place.mkdir()
    arguments = [sys.executable, str(tmp_path / "run.py"), str(place / "out")]
    command = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
    process = psutil.Process(command.pid)
    helpers = working(process, place)
    (helpers[0] if victim == "helper" else process).kill()
    told, _ = command.communicate(timeout=60)
    assert psutil.wait_procs(helpers, timeout=20)[1] == []
    if victim == "helper":
        assert (command.returncode, told) == (4, "a process that made a part of the data ended before it was done\n")
        assert names(place) == []


def working(process: psutil.Process, place: Path) -> list[psutil.Process]:
    """The two helpers of a command, as soon as rows are written."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        with contextlib.suppress(psutil.NoSuchProcess, FileNotFoundError):  # what ends while it is looked at
            helpers = [child for child in process.children() if "spawn_main" in " ".join(child.cmdline())]
            written = sum(file.stat().st_size for file in place.rglob("chartevents.csv.gz"))
            if len(helpers) == 2 and written > 100_000:
                return helpers
        time.sleep(0.1)
    raise AssertionError("nothing was written within five minutes")
