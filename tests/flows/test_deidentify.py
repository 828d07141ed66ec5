"""``medai deidentify`` on the command line, and a whole run of which nothing but the owner's tables names a patient."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml
from PIL import Image

from tests.medai.deidentification.conftest import dicom  # noqa: F401 - a fixture
from tests.medai.deidentification.planted import Planted, leaks

pytest.importorskip("pydicom", reason="the extra imaging is not installed")


def test_pictures_and_a_table(medai: Any, dicom: Any, tmp_path: Path) -> None:  # noqa: F811 - the fixture
    """One key for both, kept in MEDAI_HOME; a report as JSON and as tables; refusals with their exit status."""
    home, source, planted = tmp_path / "home", tmp_path / "in", Planted()
    source.mkdir()
    person = planted.word()
    (source / f"{planted.word()}.dcm").write_bytes(dicom(PatientID=person, PatientName=planted.word()))
    (source / f"{planted.word()}.txt").write_text(planted.word())
    (tmp_path / "records.csv").write_text(f"id,seen,note\n{person},2020-03-01,{planted.word()}\n")
    (tmp_path / "columns.yaml").write_text("{subject: id, dates: [seen], drop: [note]}\n")
    told = medai("deidentify", str(source), str(tmp_path / "out"), "--json", home=home)
    assert told.status == 0, told.err
    report = told.json
    assert (report["files"], report["rewritten"], report["set_aside"]) == (2, 1, {"not_dicom": 1})
    assert stat.S_IMODE((home / "deidentification.key").stat().st_mode) == 0o600
    assert stat.S_IMODE(Path(report["list"]).stat().st_mode) == 0o600
    columns = ("--columns", str(tmp_path / "columns.yaml"))
    table = tmp_path / "tables" / "records.csv"
    assert medai("deidentify", str(tmp_path / "records.csv"), str(table), *columns, home=home).status == 0
    (patient,) = (path.name for path in (tmp_path / "out" / "files").iterdir())
    assert pl.read_csv(table)["id"].to_list() == [patient]
    assert leaks(tmp_path / "out") == leaks(tmp_path / "tables") == []
    shown = medai("deidentify", str(source), str(tmp_path / "again"), home=home)
    assert "1 of 2 files rewritten" in shown.out
    assert "not_dicom" in shown.out
    assert "pseudonym: profile" in shown.out
    assert not leaks_in(told.out + told.err + shown.out + shown.err)
    assert medai("deidentify", str(source), str(tmp_path / "out"), "--json", home=home).error["status"] == 2
    open_key = tmp_path / "key"
    open_key.write_text("ab" * 32)
    open_key.chmod(0o644)
    refused = medai("deidentify", str(source), str(tmp_path / "new"), "--key", str(open_key), "--json", home=home)
    assert refused.error["wrong"] == "the key of de-identification is open to others"
    bare = medai("deidentify", str(tmp_path / "records.csv"), str(tmp_path / "x.csv"), "--json", home=home)
    assert bare.error["wrong"] == "a table needs to be told what its columns hold"
    absent = medai("deidentify", str(tmp_path / "absent"), str(tmp_path / "new"), "--json", home=home)
    assert absent.error["status"] == 3


def leaks_in(text: str) -> bool:
    """Whether a planted identifier stands in a text."""
    from tests.medai.deidentification.planted import hits

    return bool(hits(text.encode()))


PATIENTS = 500


def levels_of(rng: np.random.Generator, ill: bool) -> np.ndarray:
    """A noisy field of 32 × 32 with an opacity, low where the patient is ill, else high."""
    levels = rng.normal(90, 20, (32, 32))
    top, left = (18 if ill else 6), rng.choice([4, 18])
    levels[top : top + 8, left : left + 10] += 30
    return np.clip(levels, 0, 255)


def picture_files(data: Path, planted: Planted, _dicom: Any) -> dict[str, Any]:
    """Three PNG a patient, whose names hold identifiers, and a web page among them; the source that reads them."""
    rng = np.random.default_rng(5)
    for number in range(PATIENTS):
        label = ("NORMAL", "PNEUMONIA")[number % 2]
        (data / label).mkdir(parents=True, exist_ok=True)
        person = planted.word()
        for view in range(3):
            picture = Image.fromarray(levels_of(rng, bool(number % 2)).astype(np.uint8))
            picture.save(data / label / f"{person}_{planted.word()}_{view}.png")
    (data / "NORMAL" / f"{planted.word()}_{planted.word()}_0.png").write_bytes(b"<html>" + planted.word().encode())
    return {
        "kind": "image_folder",
        "classes": ["NORMAL", "PNEUMONIA"],
        "subject": "^(?P<subject>[A-Za-z0-9]+)_",
        "size": [32, 32],
    }


def dicom_files(data: Path, planted: Planted, written: Any) -> dict[str, Any]:
    """Two DICOM files a patient with identifiers in names, texts, UIDs and the preamble, in some of them over all
    attributes; the source that reads them.
    """
    rng = np.random.default_rng(5)
    data.mkdir()
    lines = ["SOPInstanceUID,opacity"]
    for number in range(PATIENTS):
        person, study = planted.word(), planted.uid()
        for _ in range(2):

            def plant(dataset: Any, *, all_over: bool = number < 5) -> None:
                if all_over:
                    planted.over_all_tags(dataset)
                planted.meta(dataset)
                for keyword in ("ProtocolName", "StationName", "ManufacturerModelName", "StudyDescription"):
                    setattr(dataset, keyword, planted.word())
                dataset.Manufacturer = f"{planted.word()} MEDICAL"

            uid = planted.uid()
            told = {"SOPInstanceUID": uid, "StudyInstanceUID": study, "SeriesInstanceUID": planted.uid()}
            levels = (levels_of(rng, bool(number % 2)) * 16).astype(np.uint16)
            file = written(
                levels, plant, PatientID=person, PatientName=planted.word(), ViewPosition=planted.word()[:16], **told
            )
            (data / f"{planted.word()}.dcm").write_bytes(file)
            lines.append(f"{uid},{number % 2}")
    (data / "labels.csv").write_text("\n".join(lines) + "\n")
    labels = {"path": "labels.csv", "key": "SOPInstanceUID", "columns": ["opacity"]}
    return {"kind": "dicom", "labels": labels, "size": [32, 32]}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("write", [picture_files, dicom_files])
def test_nothing_of_a_run_names_a_patient(
    write: Any,
    medai: Any,
    dicom: Any,  # noqa: F811 - the fixture
    prefect_home: Path,
    tmp_path: Path,
) -> None:
    """Names of files and whatever they hold are planted; none of it is in MLflow's or Prefect's database, in artifacts,
    logs, the report, on the terminal, or in the store, but in the tables that their owner alone can read.
    """
    planted, home, data = Planted(), tmp_path / "home", tmp_path / "data"
    problem = {
        "name": "planted",
        "question": "Is there an opacity?",
        "inputs": {
            "radiograph": {
                "source": write(data, planted, dicom) | {"channels": 1},
                "preprocessing": {"kind": "pixels", "size": [32, 32], "channels": 1},
                "encoder": {"kind": "small_cnn", "filters": [8], "dense": 8},
            }
        },
        "outputs": {"opacity": {"kind": "binary", "classes": {0: "absent", 1: "present"}, "positive": "present"}},
        "cohort": {"kind": "pictures"},
        "split": {"kind": "keyed_hash", "key": "planted", "fractions": {"train": 0.6, "validation": 0.2, "test": 0.2}},
        "training": {"epochs": 2, "batch_size": 32, "learning_rate": 0.003},
        "baselines": {"logistic_regression": {"kind": "logistic_regression"}},
        "evaluation": {"resamples": 100},
        "gate": {"role": "test", "floors": {"auroc": 0.5}, "minimum_positives": 5, "minimum_negatives": 5},
    }  # fmt: skip
    (tmp_path / "planted.yaml").write_text(yaml.safe_dump(problem, sort_keys=False))
    answer = medai("run", str(tmp_path / "planted.yaml"), "--data", str(data), "--json", home=home)
    assert answer.status == 0, answer.err
    assert answer.json["cohort"]["subjects"] > PATIENTS - 10
    assert planted.count > 2000
    assert not leaks_in(answer.out + answer.err)
    looked, names = 0, []
    for path in (path for place in (home, prefect_home) for path in place.rglob("*") if path.is_file()):
        if path.name.endswith("identifiers.parquet") or path.name.startswith("hashes.sqlite"):
            assert path.stat().st_mode & 0o077 == 0, f"{path.name} is open to others"
            names += pl.read_parquet(path)["site_id"].to_list() if path.suffix == ".parquet" else []
        else:
            looked += 1
            assert not leaks_of(path), f"{path.name} names a patient"
    assert looked > 50
    assert len([name for name in names if leaks_in(name)]) > 2 * PATIENTS  # the search would have found them


def leaks_of(path: Path) -> bool:
    """Whether a file names somebody, as bytes, or in the columns of Parquet."""
    from tests.medai.deidentification.planted import hits

    if path.suffix == ".parquet":
        return bool(hits(repr(pl.read_parquet(path).to_dicts()[:5000]).encode()))
    return bool(hits(path.read_bytes()))
