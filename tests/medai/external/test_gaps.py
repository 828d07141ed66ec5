"""A champion of several findings on another site: some findings, the gap to its own test, and the page."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pytest
from PIL import Image
from pydantic import TypeAdapter

from medai.cohort import Pictures, select
from medai.evaluation import Evaluation, evaluate
from medai.external import (
    Elsewhere,
    OwnTest,
    Site,
    gap,
    hold_out,
    known_again,
    label_columns,
    match_labels,
    rows_of_both,
    seen,
    words_of,
    write_page,
)
from medai.ingestion import ingest
from medai.measurement.calibration import CalibrationChoice
from medai.measurement.thresholds import Threshold
from medai.models.baselines import LogisticRegression
from medai.outputs import Output
from medai.preprocessing import Pixels, prepare
from medai.records import Candidate, Cohort, Origin, Scorecard
from medai.scores import read_scores
from medai.sources import NIHChestXray, Source
from medai.sources.nih_chest_xray.listing import read_listing
from medai.sources.synthetic import AnySynthetic, Generator, generate
from medai.splitting import Publisher, split
from medai.training import Execution, fit
from medai.validation import catalogue_suite, validate
from medai.workspace import Workspace

SEEN = ("Cardiomegaly", "Effusion", "Edema")
CONFIG = Evaluation(resamples=200)
PIXELS = Pixels(kind="pixels", size=(32, 32))


class Champion(NamedTuple):
    """A candidate with its own test."""

    workspace: Workspace
    candidate: Candidate
    card: Scorecard


def archive(folder: Path, patients: int, **options: Any) -> Path:
    """An archive of large findings at 32 × 32, each in a fifth of the pictures."""
    folder.mkdir()
    given = {
        "kind": "synthetic",
        "layout": "nih",
        "subjects": patients,
        "size": 32,
        "least": 0.2,
        "faults": 0,
        "signal": 2,
    }
    return generate(TypeAdapter[AnySynthetic](Generator).validate_python(given | options), folder)


def selected(workspace: Workspace, source: Source, path: Path, outputs: dict[str, Output], *groups: str) -> Any:
    """Snapshot, quality and cohort of a source."""
    snapshot = ingest(workspace, source, path).record
    quality = validate(workspace, snapshot, catalogue_suite(source.kind)).record
    assert quality.passed
    return (
        snapshot,
        quality,
        select(workspace, snapshot, quality, Pictures(kind="pictures", groups=groups), outputs).record,
    )


@pytest.fixture(scope="module")
def champion(tmp_path_factory: pytest.TempPathFactory, output_of: Callable[..., Output]) -> Champion:
    """A logistic regression on four findings, of which one has no pattern."""
    folder = tmp_path_factory.mktemp("champion")
    workspace = Workspace(folder / "home")
    classes = {finding.lower(): finding for finding in (*SEEN, "Infiltration")}
    outputs = {"findings": output_of(kind="multilabel", classes=classes)}
    source = NIHChestXray(kind="nih_chest_xray", size=(32, 32))
    snapshot, quality, cohort = selected(workspace, source, archive(folder / "own", 220), outputs)
    division = {"kind": "publisher", "divide_train": {"key": "k", "fractions": {"train": 0.7, "validation": 0.3}}}
    splits = split(workspace, snapshot, cohort, Publisher.model_validate(division)).record
    arrays = prepare(workspace, snapshot, quality, cohort, PIXELS).record
    candidate = fit(
        workspace, name="logistic_regression", model=LogisticRegression(), training=None, arrays=arrays, cohort=cohort,
        splits=splits, outputs=outputs, preprocessing=PIXELS, threshold=Threshold(),
        calibration=CalibrationChoice(method="platt"), execution=Execution(), seed=0,
        origin=Origin(snapshot=snapshot.key, unit="patient", source={}, cohort={}),
    ).record  # fmt: skip
    card = evaluate(workspace, candidate, arrays, cohort, splits, outputs, "test", CONFIG).record
    return Champion(workspace, candidate, card)


class Measured(NamedTuple):
    """What was measured elsewhere."""

    cohort: Cohort
    card: Scorecard
    outputs: dict[str, Output]
    matched: Any


def measured(champion: Champion, site: Site, path: Path) -> Measured:
    """The champion on a site."""
    workspace, candidate, _ = champion
    snapshot = ingest(workspace, site.source, path).record
    matched = match_labels(candidate, label_columns(workspace, snapshot), words_of(site.source), site.labels)
    outputs = {"findings": matched.output}
    snapshot, quality, cohort = selected(workspace, site.source, path, outputs, *site.groups)
    splits = hold_out(workspace, cohort, candidate).record
    arrays = prepare(workspace, snapshot, quality, cohort, PIXELS).record
    card = evaluate(workspace, candidate, arrays, cohort, splits, outputs, "test", CONFIG).record
    return Measured(cohort, card, outputs, matched)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another site: darker pictures of other patients, and a table of two findings under names of its own."""
    root = archive(
        tmp_path_factory.mktemp("elsewhere") / "site", 150, seed=5, first_patient=90_001, exposure=-0.15, contrast=0.6
    )
    listed = read_listing(root).rows
    rows = {
        "file": [f"images/{row.name}" for row in listed],
        "patient": [row.patient for row in listed],
        "sex": [row.sex for row in listed],
        "fluid": ["yes" if "Effusion" in row.findings else "no" for row in listed],
        "Cardiomegaly": ["yes" if "Cardiomegaly" in row.findings else "no" for row in listed],
    }
    pl.DataFrame(rows).write_csv(root / "pictures.csv")
    return root


SITE = {
    "source": {
        "kind": "image_table", "size": [32, 32], "table": "pictures.csv",
        "columns": {"path": "file", "subject": "patient", "attributes": {"sex": "text"},
                    "labels": {"fluid": ["no", "yes"], "Cardiomegaly": ["no", "yes"]}},
    },
    "labels": {"Effusion": "fluid"},
    "groups": ["sex"],
}  # fmt: skip


def test_some_findings_are_measured_elsewhere_with_their_gap_and_page(champion: Champion, table: Path) -> None:
    """The same columns, thresholds and names on both sides; the difference is that of the figures; the page tells both,
    what was not measured, and names no patient; equal inputs give equal bytes.
    """
    workspace, candidate, own = champion
    here = measured(champion, Site.model_validate(SITE), table)
    assert here.matched.missing == ("Edema", "Infiltration")
    assert list(here.card.classes["findings"]) == ["Cardiomegaly", "Effusion"]
    assert rows_of_both(workspace, here.card, own) == 0
    scores = read_scores(workspace, here.card)
    assert [name for name in scores.columns if ".score." in name] == ["findings.score.0", "findings.score.1"]
    found = gap(workspace, candidate, own, here.card, here.outputs, CONFIG).record
    assert set(found.metrics) >= {"auroc", "auprc", "brier", "auroc/Cardiomegaly", "auroc/Effusion"}
    for finding in ("Cardiomegaly", "Effusion"):
        apart = found.metrics[f"auroc/{finding}"]
        assert apart.own == pytest.approx(own.metrics["findings"][f"auroc/{finding}"].value)
        assert apart.here == pytest.approx(here.card.metrics["findings"][f"auroc/{finding}"].value)
        assert apart.difference.value == pytest.approx(apart.here - apart.own)
        assert apart.own > 0.85
    brier = found.metrics["brier"].difference
    assert brier.low > 0  # another exposure spoils what the scores mean
    told = Elsewhere(
        problem="p", question="Which findings?", version=1, model="net", model_sha256=candidate.model_sha256,
        source="image_table", matched=here.matched.columns, missing=here.matched.missing,
        output=here.outputs["findings"].model_dump(mode="json"), cohort=here.cohort, scorecard=here.card,
        own=OwnTest(samples=own.samples, subjects=own.subjects), own_rows=0, gap=found, reasons=(), set_aside={},
        seen=0, includes_seen=False,
    )  # fmt: skip
    made = write_page(workspace, told)
    page = (workspace.folder("report", made.record.key) / made.record.file).read_text()
    for text in ("Edema, Infiltration: these data have no label for them", "Effusion: fluid", "resampled, each by its",
                 "higher here", "sex", "no medical device"):  # fmt: skip
        assert text in page, text
    assert "0009000" not in page
    assert write_page(workspace, told).reused
    alone = told.model_copy(update={"own": None, "own_rows": None, "gap": None, "reasons": ("too few",)})
    page = (workspace.folder("report", (key := write_page(workspace, alone).record.key)) / "report.html").read_text()
    assert key != made.record.key
    assert "Insufficient evidence" in page
    assert "no longer holds the champion's own test" in page


def test_one_finding_is_asked_of_a_model_of_several(champion: Champion, table: Path) -> None:
    """As a binary output: its column, its threshold, its calibration, and its gap."""
    workspace, candidate, own = champion
    columns = SITE["source"]["columns"] | {"labels": {"fluid": ["no", "yes"]}}  # type: ignore[index]
    site = Site.model_validate(SITE | {"source": SITE["source"] | {"columns": columns}, "groups": []})  # type: ignore[operator]
    here = measured(champion, site, table)
    both = measured(champion, Site.model_validate(SITE), table)
    assert here.outputs["findings"].names == ("no Effusion", "Effusion")
    one, several = here.card.metrics["findings"], both.card.metrics["findings"]
    for metric in ("auroc", "sensitivity", "specificity", "brier"):
        assert one[metric].value == pytest.approx(several[f"{metric}/Effusion"].value)
    found = gap(workspace, candidate, own, here.card, here.outputs, CONFIG).record
    assert found.metrics["auroc"].own == pytest.approx(own.metrics["findings"]["auroc/Effusion"].value)


def test_the_champions_own_pictures_are_known_again_under_other_names(
    champion: Champion, tmp_path: Path, table: Path
) -> None:
    """Another source gives its patients other ids; by equal pixels those of the fit are left out, with all of their
    pictures, and those of the own test are counted, so that no gap is made of them.
    """
    workspace, candidate, own = champion
    root = tmp_path / "site"
    shutil.copytree(table, root)
    assert candidate.origin is not None
    pictures = pl.read_parquet(workspace.folder("ingest", candidate.origin.snapshot) / "images.parquet")
    fitted = pl.read_parquet(workspace.folder("fit", candidate.key) / "subjects.parquet")["subject_id"]
    tested = pl.read_parquet(workspace.folder("evaluate", own.key) / "scores.parquet")["sample_id"]
    pixels = np.load(workspace.folder("ingest", candidate.origin.snapshot) / "pixels.npy")
    learnt = pictures.filter(pl.col("subject_id").is_in(fitted.implode()))["row_id"][0]
    lines = (root / "pictures.csv").read_text().splitlines()
    patients = Counter(line.split(",")[1] for line in lines[1:])
    twice = next(patient for patient, number in patients.items() if number > 1)
    single = next(patient for patient, number in patients.items() if number == 1)
    for patient, row in ((twice, learnt), (single, tested[0])):
        file = next(line.split(",")[0] for line in lines if line.split(",")[1] == patient)
        Image.fromarray(pixels[row, :, :, 0]).save(root / file)
    site = Site.model_validate(SITE)
    snapshot = ingest(workspace, site.source, root).record
    outputs = {
        "findings": match_labels(candidate, ("fluid", "Cardiomegaly"), words_of(site.source), site.labels).output
    }
    snapshot, quality, cohort = selected(workspace, site.source, root, outputs)
    known = known_again(workspace, snapshot, candidate)
    assert len(known) == 1
    assert seen(workspace, cohort, candidate) == (0, 0)
    assert seen(workspace, cohort, candidate, known) == (patients[twice], 1)
    splits = hold_out(workspace, cohort, candidate, known=known).record
    assert splits.dropped == {"test": patients[twice]}
    assert splits.key != hold_out(workspace, cohort, candidate).record.key
    arrays = prepare(workspace, snapshot, quality, cohort, PIXELS).record
    card = evaluate(workspace, candidate, arrays, cohort, splits, outputs, "test", CONFIG).record
    assert rows_of_both(workspace, card, own) == 0
    assert rows_of_both(workspace, card, own, (snapshot.key, candidate.origin.snapshot)) == 1
