"""The synthetic hospital: consistent, growing, learnable as far as its signal goes, equal for equal configurations."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from medai.sources.synthetic.hospital_items import items

Hospital = Callable[..., Path]
Table = Callable[[Path, str], pl.DataFrame]


def time(name: str) -> pl.Expr:
    """A column of times."""
    return pl.col(name).str.to_datetime("%Y-%m-%d %H:%M:%S")


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder."""
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def auroc(scores: np.ndarray, truth: np.ndarray) -> float:
    """The share of pairs (positive, negative) that the score puts in order."""
    positives, negatives = scores[truth == 1], scores[truth == 0]
    return float((positives[:, None] > negatives[None, :]).mean())


def test_without_faults_everything_fits_together(hospital: Hospital, table: Table) -> None:
    """Keys are met, times in order, deaths told alike by patients, admissions and discharge; no fault is counted."""
    folder = hospital(400, faults=0)
    patients, admissions = table(folder, "hosp/patients"), table(folder, "hosp/admissions")
    stays, chart = table(folder, "icu/icustays"), table(folder, "icu/chartevents")
    assert patients.height == patients["subject_id"].n_unique() == 400
    assert admissions["hadm_id"].n_unique() == admissions.height
    assert stays["stay_id"].n_unique() == stays.height
    for column, width, first in (("subject_id", 8, "1"), ("hadm_id", 8, "2"), ("stay_id", 8, "3")):
        ids = stays[column]
        assert (ids.str.len_chars() == width).all()
        assert ids.str.starts_with(first).all()
    assert set(admissions["subject_id"]) == set(patients["subject_id"])
    assert set(stays["hadm_id"]) <= set(admissions["hadm_id"])
    assert set(chart["stay_id"]) == set(stays["stay_id"])

    both = stays.join(admissions, on="hadm_id").with_columns(
        time("intime"), time("outtime"), time("admittime"), time("dischtime")
    )
    assert (both["admittime"] <= both["intime"]).all()
    assert (both["intime"] < both["outtime"]).all()
    assert (both["outtime"] <= both["dischtime"]).all()
    assert both["admittime"].dt.year().is_between(2110, 2200).all()

    died = admissions["hospital_expire_flag"] == "1"
    assert (died == admissions["deathtime"].is_not_null()).all()
    assert (died == (admissions["discharge_location"] == "DIED")).all()
    dead = admissions.filter(died).join(patients, on="subject_id")
    assert (dead["deathtime"] == dead["dischtime"]).all()
    assert (dead["deathtime"].str.head(10) == dead["dod"]).all()
    assert dead["subject_id"].n_unique() == dead.height

    within = chart.join(stays, on="stay_id").filter(
        (time("charttime") < time("intime")) | (time("charttime") > time("outtime"))
    )
    assert within.height == 0
    assert set(chart["itemid"]) <= set(table(folder, "icu/d_items")["itemid"])
    labs = table(folder, "hosp/labevents")
    assert set(labs["itemid"]) == set(table(folder, "hosp/d_labitems")["itemid"])
    assert chart["valuenum"].null_count() == labs["valuenum"].null_count() == 0
    codes = table(folder, "hosp/diagnoses_icd").join(
        table(folder, "hosp/d_icd_diagnoses"), on=["icd_code", "icd_version"], how="anti"
    )
    assert codes.height == 0
    assert set(table(folder, "hosp/diagnoses_icd")["icd_version"]) == {"9", "10"}


def test_it_is_shaped_like_a_hospital(hospital: Hospital, table: Table) -> None:
    """Shares that cohorts and reports rely on lie where they should."""
    folder = hospital(400, faults=0)
    admissions, stays = table(folder, "hosp/admissions"), table(folder, "icu/icustays")
    patients, chart = table(folder, "hosp/patients"), table(folder, "icu/chartevents")
    intensive = admissions.filter(pl.col("hadm_id").is_in(stays["hadm_id"].implode()))
    assert 0.07 < (intensive["hospital_expire_flag"] == "1").mean() < 0.18
    assert 0.45 < (stays["los"].cast(float) >= 2).mean() < 0.75
    assert 0.02 < (stays["first_careunit"] != stays["last_careunit"]).mean() < 0.2
    assert admissions.height > 1.3 * 400
    assert stays.height > stays["hadm_id"].n_unique()
    ages = patients["anchor_age"].cast(int)
    assert ages.min() >= 18
    assert ages.max() == 91
    assert ages.filter(ages > 89).n_unique() == 1
    assert {"WHITE", "BLACK/AFRICAN AMERICAN", "ASIAN"} <= set(admissions["race"])
    assert (admissions["race"] == "WHITE").mean() > 0.5

    labs = table(folder, "hosp/labevents").join(admissions, on="hadm_id", how="left")
    early = labs.filter(time("charttime") < time("admittime")).height + labs["hadm_id"].null_count()
    assert 0.03 < early / labs.height < 0.16
    assert (labs["storetime"] > labs["charttime"]).all()
    ahead = (chart["storetime"] < chart["charttime"]).mean()
    assert 0.08 < ahead < 0.16
    text = chart.filter(pl.col("itemid") == "223900")
    assert set(text["value"]) >= {"Oriented", "Confused", "No Response-ETT"}
    assert set(text["valuenum"]) == {"1", "2", "3", "4", "5"}


def test_versions_differ_in_words_alone(hospital: Hospital, table: Table) -> None:
    """v3.1 spells languages out, knows private insurance and the last years; what was measured is the same."""
    old, new = hospital(120, version="2.2"), hospital(120, version="3.1")
    before, after = (table(folder, "hosp/admissions") for folder in (old, new))
    assert set(before["language"]) == {"ENGLISH", "?"}
    assert "English" in set(after["language"])
    assert "Private" in set(after["insurance"])
    assert "Private" not in set(before["insurance"])
    assert "2020 - 2022" in set(table(new, "hosp/patients")["anchor_year_group"])
    assert "2020 - 2022" not in set(table(old, "hosp/patients")["anchor_year_group"])
    assert (old / "icu/chartevents.csv.gz").read_bytes() == (new / "icu/chartevents.csv.gz").read_bytes()


def test_a_larger_hospital_begins_with_the_smaller_one(hospital: Hospital) -> None:
    """Line by line and picture by picture, faults and running numbers included."""
    small, large = contents(hospital(100, faults=0.1)), contents(hospital(130, faults=0.1))
    for name, data in small.items():
        if name.endswith(".gz"):
            assert gzip.decompress(large[name]).startswith(gzip.decompress(data)), name
        elif name.endswith(".png"):
            assert large[name] == data, name
    assert len(large) > len(small)


def test_equal_configurations_write_equal_bytes(hospital: Hospital, tmp_path: Path) -> None:
    """And another seed writes others."""
    from medai.sources.synthetic import SyntheticHospital, generate

    first = contents(hospital(30))
    config = SyntheticHospital(kind="synthetic", layout="hospital", subjects=30, size=32)
    assert contents(generate(config, tmp_path)) == first
    assert contents(hospital(30, seed=1)) != first


def test_the_bytes_are_those_of_this_version(hospital: Hospital) -> None:
    """Golden: whoever changes what is drawn raises the stage's VERSION. Tables are hashed as they read, inflated."""
    found = hashlib.sha256()
    for name, data in sorted(contents(hospital(30, faults=0.1)).items()):
        if not name.endswith(".png"):
            found.update(name.encode() + (gzip.decompress(data) if name.endswith(".gz") else data))
    assert found.hexdigest() == "c3b6d0cf1ddfc116a5f795cb7c32bf781f61a3c369e654bf06964d093977d444"


def test_without_signal_a_stay_does_not_know_its_outcome(hospital: Hospital, table: Table) -> None:
    """Signal 0: whatever share of patients dies, every stay that both hospitals hold has the same chart."""
    few, many = (hospital(60, signal=0, faults=0, mortality=share) for share in (0.05, 0.7))
    charts = [table(folder, "icu/chartevents") for folder in (few, many)]
    shared = set(charts[0]["stay_id"]) & set(charts[1]["stay_id"])
    assert len(shared) >= 30
    keys = pl.col("stay_id").is_in(list(shared))
    assert charts[0].filter(keys).equals(charts[1].filter(keys))
    deaths = [(table(folder, "hosp/admissions")["hospital_expire_flag"] == "1").sum() for folder in (few, many)]
    assert deaths[1] > 2 * deaths[0]


@pytest.mark.parametrize(("signal", "low", "high"), [(1.0, 0.8, 1.0), (0.0, 0.35, 0.65)])
def test_the_first_two_days_tell_who_dies_as_far_as_there_is_a_signal(
    hospital: Hospital, table: Table, signal: float, low: float, high: float
) -> None:
    """A sum of standardised means of the first 48 hours, each with its course's sign, and nothing fitted."""
    folder = hospital(400, signal=signal, faults=0, mortality=0.3)
    outcome = table(folder, "hosp/admissions").select("hadm_id", "hospital_expire_flag")
    stays = table(folder, "icu/icustays").join(outcome, on="hadm_id")
    signs = {"220045": 1, "220210": 1, "220179": -1, "220277": -1, "220739": -1, "223901": -1}
    means = (
        table(folder, "icu/chartevents")
        .filter(pl.col("itemid").is_in(list(signs)))
        .join(stays.select("stay_id", "intime"), on="stay_id")
        .filter(time("charttime") < time("intime") + pl.duration(hours=48))
        .group_by("stay_id", "itemid")
        .agg(pl.col("valuenum").cast(float).mean())
        .with_columns(((pl.col("valuenum") - pl.col("valuenum").mean()) / pl.col("valuenum").std()).over("itemid"))
        .with_columns(pl.col("valuenum") * pl.col("itemid").replace_strict(signs, return_dtype=pl.Float64))
        .group_by("stay_id")
        .agg(pl.col("valuenum").mean())
        .join(stays, on="stay_id")
    )
    truth = (means["hospital_expire_flag"] == "1").to_numpy()
    assert low < auroc(means["valuenum"].to_numpy(), truth) < high


def test_the_item_ids_are_those_of_the_public_benchmark(real_data: Path) -> None:
    """Ids, labels and units of vital signs and tests, where the MIMIC-III demo has them too."""
    frames = {
        name: pl.read_csv(real_data / f"mimic3_demo/{name}.csv", infer_schema=False)
        for name in ("D_ITEMS", "D_LABITEMS")
    }
    known = {int(row["itemid"]): row for frame in frames.values() for row in frame.to_dicts()}
    mine: list[Any] = [*items().chart.values(), *items().outputs.values(), *items().inputs.values()]
    for item in mine:
        row = known[item.itemid]
        assert (item.label, item.abbreviation, item.category, item.type) == (
            row["label"],
            row["abbreviation"],
            row["category"],
            row["param_type"],
        )
    for test in items().labs.values():
        row = known[test.itemid]
        assert (test.label, test.fluid, test.category) == (row["label"], row["fluid"], row["category"])


def test_a_hospital_that_moved(hospital: Hospital, table: Table) -> None:
    """With a shift of 1 hearts and breaths are faster and radiographs lighter; all else is as it was."""
    from PIL import Image

    before, after = hospital(60, faults=0), hospital(60, faults=0, shift=1)
    assert table(before, "icu/icustays").equals(table(after, "icu/icustays"))
    chart = items().chart
    for name, moved in (("heart_rate", True), ("respiratory_rate", True), ("spo2", False)):
        means = [
            table(folder, "icu/chartevents").filter(pl.col("itemid").cast(pl.Int64) == chart[name].itemid)["valuenum"]
            for folder in (before, after)
        ]
        apart = means[1].cast(pl.Float64).mean() - means[0].cast(pl.Float64).mean()  # type: ignore[operator]
        assert apart == pytest.approx(2 * chart[name].between if moved else 0, rel=0.1)
    pictures = sorted(path.relative_to(before) for path in before.glob("radiographs/*/*.png"))
    assert pictures == sorted(path.relative_to(after) for path in after.glob("radiographs/*/*.png"))
    grey = [np.asarray(Image.open(folder / pictures[0])).astype(int) for folder in (before, after)]
    assert np.array_equal(np.clip(grey[0] + 32, 0, 255), grey[1])
