"""The whole road of masks, from generated files to a page and to answers for new pictures, with a small U-Net."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from medai.cohort import Pictures, select
from medai.errors import DataRefused
from medai.evaluation import Evaluation, compare, evaluate, figure, paired
from medai.external import same_question
from medai.ingestion import ingest
from medai.lines import Protocol
from medai.measurement.calibration import CalibrationChoice
from medai.measurement.thresholds import Threshold
from medai.models import UNet
from medai.models.global_threshold import GlobalThreshold
from medai.outputs import Mask, Output
from medai.prediction import Part, answers, rescore, sample, score
from medai.prediction import select as select_new
from medai.preprocessing import Pixels, prepare
from medai.problem import load_problem
from medai.promotion import Case, Gate, Rules, decide
from medai.promotion.gate import NonInferiority
from medai.readiness import empty_classes
from medai.records import Candidate, Scorecard
from medai.reporting import Content, draw, illustrate, write_page
from medai.reporting.outlines import ANSWER, TRUE, outlined
from medai.scores import measured_of, read_scores
from medai.screening import Screen, screen
from medai.sources import ImageMasks, unlabelled
from medai.sources.synthetic import SyntheticLesions, generate
from medai.splitting import KeyedHash, split
from medai.training import Execution, Training, fit
from medai.training.rows import Rows
from medai.validation import catalogue_suite, validate
from medai.workspace import Workspace

pytestmark = pytest.mark.usefixtures("pinned")

SIZE = (32, 32)
SOURCE = ImageMasks(kind="image_masks", size=SIZE, subject="^p(?P<subject>[0-9]+)_", spacing=0.5)
PIXELS = Pixels(kind="pixels", size=SIZE)
OUTPUT = Mask(kind="mask", classes={0: "background", 1: "lesion"})
OUTPUTS: dict[str, Output] = {"lesion": OUTPUT}
HOW = Evaluation(resamples=200)
GATE = Gate(role="test", non_inferiority=NonInferiority(metric="dice"), floors={"dice": 0.1}, minimum_positives=5)
ROLES = {"train": 0.5, "validation": 0.2, "test": 0.3}


@dataclass
class Walked:
    """The records of the road."""

    workspace: Workspace
    raw: Path
    snapshot: Any
    quality: Any
    cohort: Any
    splits: Any
    arrays: Any
    fit: Callable[..., Candidate]
    candidates: dict[str, Candidate]
    cards: dict[str, Scorecard]


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory, pinned: None) -> Walked:
    """Sixty patients with strong lesions at 32 × 32, a U-Net of six epochs beside a global threshold."""
    folder = tmp_path_factory.mktemp("lesions")
    (folder / "raw").mkdir()
    raw = generate(SyntheticLesions(kind="synthetic", layout="lesions", subjects=60, signal=3, size=32), folder / "raw")
    workspace = Workspace(folder / "home")
    snapshot = ingest(workspace, SOURCE, raw).record
    quality = validate(workspace, snapshot, catalogue_suite("image_masks")).record
    cohort = select(workspace, snapshot, quality, Pictures(kind="pictures"), OUTPUTS).record
    division = KeyedHash.model_validate({"kind": "keyed_hash", "key": "tests", "fractions": ROLES})
    splits = split(workspace, snapshot, cohort, division).record
    arrays = prepare(workspace, snapshot, quality, cohort, PIXELS).record

    def fitted(name: str, model: Any, home: Workspace = workspace, epochs: int = 6) -> Candidate:
        training = Training.model_validate(
            {
                "epochs": epochs,
                "batch_size": 8,
                "learning_rate": 0.01,
                "augmentation": {"flip": "horizontal", "contrast": 0.1},
            }
        )
        return fit(
            home,
            name=name,
            model=model,
            training=training if name == "net" else None,
            arrays=arrays,
            cohort=cohort,
            splits=splits,
            outputs=OUTPUTS,
            preprocessing=PIXELS,
            threshold=Threshold(method="dice"),
            calibration=CalibrationChoice(),
            execution=Execution(),
            seed=3,
        ).record

    candidates = {
        "net": fitted("net", UNet(kind="unet", filters=(6, 12))),
        "global_threshold": fitted("global_threshold", GlobalThreshold(smoothing=(0.0, 1.0))),
    }
    cards = {
        name: evaluate(workspace, candidate, arrays, cohort, splits, OUTPUTS, "test", HOW).record
        for name, candidate in candidates.items()
    }
    return Walked(workspace, raw, snapshot, quality, cohort, splits, arrays, fitted, candidates, cards)


def test_cohort_and_arrays_hold_pictures_and_their_masks(road: Walked) -> None:
    """Whole pictures are counted; masks lie memory-mapped beside the pixels; spacing goes with them."""
    counts = road.cohort.classes["lesion"]
    assert set(counts) == {"no lesion", "lesion"}
    assert sum(counts.values()) == road.cohort.samples
    assert not empty_classes(road.cohort, OUTPUTS)
    rows = Rows.load(road.workspace, road.arrays, road.cohort, road.splits, OUTPUTS)
    masks = rows.goal("lesion", OUTPUT)
    assert isinstance(masks, np.memmap)
    assert (masks.dtype, masks.shape) == (np.uint8, (road.cohort.samples, *SIZE))
    assert np.array_equal(masks.any(axis=(1, 2)), rows.truth["lesion"] == 1)
    index = pl.read_parquet(road.workspace.folder("prepare", road.arrays.key) / "samples.parquet")
    assert index["spacing_down"].to_list() == [0.5] * road.cohort.samples
    screened = screen(road.workspace, road.snapshot, road.arrays, road.cohort, road.splits, OUTPUTS, Screen())
    assert {one.label for one in screened.record.strongest} <= {"lesion"}


def test_the_net_learns_what_no_grey_level_tells_and_is_the_same_twice(road: Walked, tmp_path: Path) -> None:
    """Better than the threshold on the same pictures, with an interval that excludes 0; equal fits, equal weights."""
    net, other = road.candidates["net"], road.candidates["global_threshold"]
    assert 0 < net.thresholds["lesion"][0] < 1
    assert net.calibration["lesion"].method == "none"
    card = road.cards["net"]
    assert {"dice", "dice_lesions", "hd95", "hd95_mm", "lesion_sensitivity"} <= set(card.metrics["lesion"])
    assert card.metrics["lesion"]["hd95_mm"].value == pytest.approx(card.metrics["lesion"]["hd95"].value / 2)
    difference = paired(
        road.workspace, OUTPUT, "lesion", "dice_lesions", (net, card), (other, road.cards["global_threshold"]), HOW
    )
    assert difference is not None
    assert difference.low > 0
    assert sum(sum(row) for row in card.confusion["lesion"]) == card.samples
    fresh = Workspace(tmp_path / "home")
    for stage in ("select", "split", "prepare"):
        (fresh.root / "store").mkdir(parents=True, exist_ok=True)
        (fresh.root / "store" / stage).symlink_to(road.workspace.root / "store" / stage)
    assert road.fit("net", UNet(kind="unet", filters=(6, 12)), fresh).model_sha256 == net.model_sha256


def test_figures_are_made_of_the_measures_that_are_kept(road: Walked) -> None:
    """The table holds what was measured of each picture; every figure can be made of it again."""
    card = road.cards["net"]
    table = read_scores(road.workspace, card)
    assert measured_of(table, "lesion", OUTPUT).shape == (card.samples, 1, 10)
    few = card.model_copy(update={"metrics": {"lesion": {}}})
    again = figure(road.workspace, road.candidates["net"], few, OUTPUTS, "dice")
    assert again == pytest.approx(card.metrics["lesion"]["dice"].value)
    assert figure(road.workspace, road.candidates["net"], few, OUTPUTS, "hd_mm") is not None


def test_the_gate_asks_for_patients_with_a_finding_alone(road: Walked) -> None:
    """Overlap and distance speak of nobody else; a floor on Dice decides."""
    rules = Rules(gate=GATE, evaluation=HOW)
    net, card = road.candidates["net"], road.cards["net"]
    decision = decide(road.workspace, rules, OUTPUTS, Case(net, card, Protocol()), None).record
    assert decision.verdict == "promoted"
    names = [condition.name for condition in decision.conditions if condition.judged]
    assert names == [
        "positives in test",
        "no patient in test that the candidate was fitted on",
        "lesion dice in test",
        "not rolled back by a person",
    ]
    same_question(net, OUTPUTS)


def test_a_sample_of_masks_is_served_as_it_was_judged(road: Walked) -> None:
    """Pixel by pixel, by the arrays of the sample alone."""
    net, card = road.candidates["net"], road.cards["net"]
    few = sample(road.workspace, road.cohort, road.splits, "test", 3).record
    arrays = prepare(road.workspace, road.snapshot, road.quality, few, PIXELS).record
    found = rescore(road.workspace, net, card, road.arrays, arrays, next(iter(OUTPUTS.values()))).record
    assert (found.samples, found.scorecard) == (3, card.key)
    assert found.difference <= 1e-6


def test_the_page_shows_outlines_and_says_what_is_not_asked_of_a_mask(road: Walked) -> None:
    """Best, middle and worst by Dice; figures of its own; no AUROC anywhere but where it is said to have none."""
    net = road.candidates["net"]
    drawn = draw(road.workspace, OUTPUTS, "net", road.candidates, road.cards).record
    assert set(drawn.files) == {"dice", "sizes", "confusion", "training"}
    shown = illustrate(road.workspace, OUTPUTS, net, road.cards["net"], road.arrays, 2).record
    assert set(shown.shown) == {"best", "median", "worst", "vain"}
    kept = json.loads((road.workspace.folder("illustrate", shown.key) / shown.file).read_bytes())
    dices = {kind: [one["score"] for one in kept if one["kind"] == kind] for kind in ("best", "median", "worst")}
    assert min(dices["best"]) >= max(dices["median"]) >= max(dices["worst"])
    problem = load_problem("synthetic_lesions")
    others = {"global_threshold": (road.candidates["global_threshold"], road.cards["global_threshold"])}
    compared = compare(road.workspace, OUTPUTS, (net, road.cards["net"]), others, ("dice", "hd95"), HOW).record
    case = Case(net, road.cards["net"], Protocol())
    decision = decide(road.workspace, Rules(gate=GATE, evaluation=HOW), OUTPUTS, case, None).record
    content = Content(
        problem=problem.model_dump(mode="json"),
        seed=3,
        generated=True,
        snapshot=road.snapshot,
        quality=road.quality,
        cohort=road.cohort,
        splits=road.splits,
        chosen=net,
        scorecards=road.cards,
        comparison=compared,
        figures=drawn,
        examples=shown,
        decision=decision,
        run_id="0",
        version=1,
        openings=1,
    )
    made = write_page(road.workspace, content).record
    page = (road.workspace.folder("report", made.key) / made.file).read_text()
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))
    value = road.cards["net"].metrics["lesion"]["dice"].value
    assert f"the U-Net answered for {road.cards['net'].samples} samples" in text
    assert f"mean Dice {value:.3f}" in text
    assert "A pixel is marked where its probability is at least" in text
    assert "where the mean Dice is highest" in text
    assert "Judged at the working size" in text
    assert [one for one in re.findall(r"[^.]*AUROC[^.]*\.", text) if "not asked of a mask" not in one] == []
    assert "Distances without millimetres" not in text


def test_outlines_enclose_what_is_true_and_what_was_marked() -> None:
    """Orange runs outside the true mask, blue inside the marked one; a picture is enlarged so that both show."""
    pixels = np.full((16, 16, 1), 50, np.uint8)
    truth, answer = np.zeros((16, 16), np.uint8), np.zeros((16, 16), np.uint8)
    truth[4:8, 4:8], answer[8:14, 8:14] = 1, 1
    shown = outlined(pixels, truth, answer)
    assert shown.shape == (192, 192, 3)
    large = np.zeros((192, 192), bool)
    large[48:96, 48:96] = True
    assert not (shown == TRUE).all(axis=-1)[large].any()
    assert (shown[46, 60] == TRUE).all()
    assert (shown[96, 120] == ANSWER).all()
    assert (shown[130, 130] == 50).all(), "what an outline encloses stays to be seen"


def test_new_pictures_are_answered_with_their_masks(road: Walked) -> None:
    """One row a picture: a score, whether anything was marked, how much, and the pixels as run lengths."""
    workspace, net = road.workspace, road.candidates["net"]
    snapshot = ingest(workspace, unlabelled(SOURCE), road.raw).record
    quality = validate(workspace, snapshot, catalogue_suite("image_masks")).record
    cohort = select_new(workspace, snapshot, quality, Pictures(kind="pictures")).record
    arrays = prepare(workspace, snapshot, quality, cohort, PIXELS).record
    assert set(arrays.arrays) == {"pixels"}
    scores = score(workspace, net, arrays, "lesion", OUTPUT).record
    table = answers(workspace, [Part(snapshot, cohort, scores)], net, "lesion", OUTPUT, 1)
    assert table.columns == [
        "id", "subject", "output", "score", "area.lesion", "parts.lesion", "mask.lesion", "mask_height", "mask_width",
        "label", "threshold", "model_version", "model_sha256", "status", "input",
    ]  # fmt: skip
    assert table.height == road.cohort.samples
    cut = net.thresholds["lesion"][0]
    for row in table.iter_rows(named=True):
        runs = [int(run) for run in row["mask.lesion"].split()]
        assert sum(runs) == 32 * 32
        assert sum(runs[1::2]) == round(row["area.lesion"] * 32 * 32)
        assert (row["score"] >= cut) == (row["label"] == "lesion") == (row["parts.lesion"] > 0)
    assert set(table["label"].to_list()) == {"lesion", "no lesion"}


def test_pictures_without_masks_cannot_be_learnt_or_judged_by(road: Walked) -> None:
    """Arrays of another source hold none."""
    rows = Rows.load(road.workspace, road.arrays, road.cohort, road.splits, OUTPUTS)
    rows.arrays.pop("masks")
    with pytest.raises(DataRefused, match="output lesion: the pictures have no masks"):
        rows.goal("lesion", OUTPUT)
