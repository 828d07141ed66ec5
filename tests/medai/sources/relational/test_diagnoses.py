"""Labels from diagnoses: of the admission's stays, in both revisions, and nowhere a feature."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from pydantic import ValidationError

from medai.ingestion import ingest
from medai.sources import names
from medai.sources.mimic3 import Mimic3
from medai.sources.mimic3 import read as read_mimic3
from medai.sources.mimic4 import Mimic4
from medai.sources.synthetic import SyntheticHospital, generate
from medai.tables import read_table
from medai.validation import catalogue_suite, validate
from medai.vocabularies.phenotypes import load_phenotypes
from medai.workspace import Workspace

CONFIG = Mimic3(kind="mimic3", phenotypes=True)
CONDITIONS = load_phenotypes("phenotypes25")
DIAGNOSES = (
    "row_id,subject_id,hadm_id,seq_num,icd9_code\n"
    "1,11,21,1,0389\n2,11,21,2, 4019 \n3,11,21,3,0389\n4,11,21,4,\n5,12,22,1,V1046\n6,12,22,2,78552\n"
)


def labels_of(folder: Path) -> dict[int, dict[str, int | None]]:
    """The site's stay → its labels."""
    labels = pl.DataFrame(read_table(folder / "labels.parquet"))
    sites = pl.DataFrame(read_table(folder / "stay_identifiers.parquet"))
    rows = labels.join(sites, on="stay_id").iter_rows(named=True)
    return {int(row["site_id"]): {name: row[name] for name in CONDITIONS.columns} for row in rows}


def test_a_stay_has_its_admissions_conditions(tmp_path: Path, write_mimic3: Callable[..., Path]) -> None:
    """1 where a code of the group was given, 0 where others were, unknown where none was."""
    (tmp_path / "out").mkdir()
    facts = read_mimic3(CONFIG, write_mimic3(diagnoses_icd=DIAGNOSES), tmp_path / "out")
    labels = labels_of(tmp_path / "out")
    assert [name for name, had in labels[31].items() if had] == [
        "phenotype_septicemia",
        "phenotype_essential_hypertension",
    ]
    assert [name for name, had in labels[32].items() if had] == ["phenotype_shock"]
    assert set(labels[31].values()) == {0, 1}
    assert set(labels[33].values()) == {None}
    assert facts.counts["stay_without_diagnoses"] == 1
    schema = read_table(tmp_path / "out" / "labels.parquet").schema
    assert {str(schema.field(name).type) for name in CONDITIONS.columns} == {"int64"}


def test_diagnoses_are_read_when_asked_for(tmp_path: Path, write_mimic3: Callable[..., Path]) -> None:
    """Without the option neither the table is needed nor a column made."""
    (tmp_path / "out").mkdir()
    folder = write_mimic3()
    plain = Mimic3(kind="mimic3")
    assert "diagnoses_icd" not in dict(plain.raw_files(folder))
    read_mimic3(plain, folder, tmp_path / "out")
    labels = read_table(tmp_path / "out" / "labels.parquet")
    assert not [name for name in labels.column_names if name.startswith("phenotype_")]


@pytest.mark.parametrize("source", [Mimic3(kind="mimic3", phenotypes=True), Mimic4(kind="mimic4", phenotypes=True)])
def test_a_diagnosis_is_never_a_feature(source: Mimic3 | Mimic4) -> None:
    """Neither conditions nor codes are among what a Problem may name as variable or static column."""
    known = names(source)
    assert known is not None
    offered = (*known.variables, *known.static)
    assert not [name for name in offered if name.startswith(("phenotype_", "DIAGNOSIS", "DRG", "PROCEDURE"))]
    assert set(known.variables) == set(type(source)(kind=source.kind).names().variables)  # type: ignore[arg-type]


def test_a_misspelt_list_is_refused_with_the_problem() -> None:
    """Before any data is read."""
    with pytest.raises(ValidationError, match="did you mean 'phenotypes25'"):
        Mimic3(kind="mimic3", phenotypes="phenotype25")


def test_both_revisions_of_mimic4(tmp_path: Path) -> None:
    """The synthetic hospital codes in both; its labels pass its suite."""
    hospital = SyntheticHospital(kind="synthetic", layout="hospital", subjects=60, version="3.1", size=32)
    raw = generate(hospital, tmp_path)
    workspace = Workspace(tmp_path / "home")
    snapshot = ingest(workspace, Mimic4(kind="mimic4", phenotypes=True), raw).record
    report = validate(workspace, snapshot, catalogue_suite("mimic4")).record
    assert report.passed
    labels = labels_of(workspace.folder("ingest", snapshot.key))
    assert {had for one in labels.values() for had in one.values()} <= {0, 1, None}
    assert any(had for one in labels.values() for had in one.values())


@pytest.mark.data
def test_the_demos_conditions(tmp_path: Path, real_data: Path) -> None:
    """Counted again from the tables by a plain loop."""
    demo = real_data / "mimic3_demo"
    read_mimic3(CONFIG, demo, tmp_path)
    labels = labels_of(tmp_path)
    codes: dict[str, set[str]] = {}
    with (demo / "DIAGNOSES_ICD.csv").open() as file:
        for row in csv.DictReader(file):
            codes.setdefault(row["hadm_id"], set()).add(row["icd9_code"])
    with (demo / "ICUSTAYS.csv").open() as file:
        for row in csv.DictReader(file):
            for name, one in CONDITIONS.phenotypes.items():
                expected = int(bool(codes[row["hadm_id"]] & set(one.icd9)))
                assert labels[int(row["icustay_id"])][f"phenotype_{name}"] == expected
    assert sum(one["phenotype_septicemia"] or 0 for one in labels.values()) == 47
