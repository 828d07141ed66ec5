"""The champion on labelled data that played no part in its making."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from medai.errors import ConfigurationError, DataRefused
from medai.external import hold_out, lacking, own_scorecard, refuse_unlabelled, same_question, same_reading, seen
from medai.measurement.evidence import evidence_of
from medai.outputs import Output
from medai.records import Candidate, Cohort, Environment, Member, Origin, Scorecard, Snapshot, sha256_of
from medai.tables import write_table
from medai.workspace import Workspace

BINARY: dict[str, Any] = {"kind": "binary", "classes": {0: "well", 1: "ill"}, "positive": "ill"}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """An empty workspace."""
    return Workspace(tmp_path / "home")


@pytest.fixture
def champion(workspace: Workspace, output_of: Callable[..., Output]) -> Candidate:
    """A candidate that was fitted on subjects 0 to 9."""
    folder = workspace.folder("fit", "c" * 32)
    folder.mkdir(parents=True)
    subjects = pl.DataFrame({"subject_id": range(10), "role": ["train"] * 10})
    write_table(folder / "subjects.parquet", subjects.to_arrow())
    return Candidate(
        key="c" * 32,
        name="net",
        members=(Member(kind="small_cnn", weights_sha256="w" * 64, onnx_sha256="o" * 64),),
        thresholds={"x": (0.5,)},
        calibration={},
        preprocessing={},
        outputs={"x": output_of(**BINARY).model_dump(mode="json")},
        statistics={},
        trained_on={"train": 10},
        seed=0,
        epochs=1,
        environment=Environment(threads=1, onednn=True, instruction_set="x", libraries={}),
    )


def cohort_of(workspace: Workspace, subjects: list[int]) -> Cohort:
    """A cohort of one sample for each entry."""
    key = sha256_of(subjects)[:32]
    folder = workspace.folder("select", key)
    folder.mkdir(parents=True)
    table = pl.DataFrame({"sample_id": range(len(subjects)), "subject_id": subjects})
    write_table(folder / "cohort.parquet", table.to_arrow())
    return Cohort(
        key=key, unit="patient", samples=len(subjects), subjects=len(set(subjects)), classes={}, attrition=(),
        data_sha256="0" * 64,
    )  # fmt: skip


def test_who_the_champion_was_fitted_on_is_left_out(workspace: Workspace, champion: Candidate) -> None:
    """With all of his samples, and counted; all others are in one role; asked for, everybody is."""
    cohort = cohort_of(workspace, [8, 9, 9, 10, 11, 11])
    splits = hold_out(workspace, cohort, champion).record
    assert (splits.samples, splits.subjects, splits.dropped) == ({"test": 3}, {"test": 2}, {"test": 3})
    table = pl.read_parquet(workspace.folder("split", splits.key) / "splits.parquet")
    assert table["sample_id"].to_list() == [3, 4, 5]
    assert splits.test_sha256 == sha256_of([10, 11])
    assert seen(workspace, cohort, champion) == (3, 2)
    everybody = hold_out(workspace, cohort, champion, include_seen=True).record
    assert (everybody.samples, everybody.subjects, everybody.dropped) == ({"test": 6}, {"test": 4}, {})
    assert everybody.key != splits.key


def test_data_of_its_own_patients_alone_are_refused(workspace: Workspace, champion: Candidate, refusal: Any) -> None:
    """Nobody is left; the next step is told."""
    with pytest.raises(DataRefused) as caught:
        hold_out(workspace, cohort_of(workspace, [1, 2, 2]), champion)
    text = refusal(caught.value)
    assert "3 samples of 2 subjects, all seen in its fit" in text
    assert "--include-seen" in text


def test_labels_may_stand_in_another_column_but_not_mean_something_else(
    champion: Candidate, output_of: Callable[..., Output], refusal: Any
) -> None:
    """Kind and classes are the champion's; another site's column and codes are read by the Problem."""
    same_question(champion, {"x": output_of(**{**BINARY, "label": "dx", "classes": {7: "well", 9: "ill"}})})
    for changes, name in (({"positive": "well"}, "x"), ({"classes": {0: "fine", 1: "ill"}}, "x"), ({}, "y")):
        with pytest.raises(ConfigurationError) as caught:
            same_question(champion, {name: output_of(**{**BINARY, **changes})})
        assert "x, binary: well, ill" in refusal(caught.value)


@pytest.mark.parametrize(
    ("labels", "refused"),
    [([None, None], True), ([None, 1], False), (["missing"], False)],
    ids=["none", "one", "column"],
)
def test_data_in_which_no_label_is_known_are_refused(
    labels: list[Any], refused: bool, put: Callable[..., Any], output_of: Callable[..., Output], refusal: Any
) -> None:
    """A column that is not there is for ``select`` to refuse, by name."""
    column = "other" if labels == ["missing"] else "label"
    table = pl.DataFrame({"row_id": range(len(labels)), column: labels})
    workspace, snapshot, _ = put({"labels": table}, "images")
    if not refused:
        refuse_unlabelled(workspace, snapshot, {"x": output_of(**BINARY)})
        return
    with pytest.raises(DataRefused) as caught:
        refuse_unlabelled(workspace, snapshot, {"x": output_of(**BINARY)})
    assert "`medai predict`" in refusal(caught.value)


def carded(workspace: Workspace, key: str, subjects: list[int], **changes: Any) -> Scorecard:
    """A scorecard in the store, with the subjects that it scored."""
    scorecard = Scorecard.model_validate(
        {
            "key": key * 32, "candidate": "c" * 32, "role": "test", "unit": "patient", "samples": len(subjects),
            "subjects": len(set(subjects)), "confidence": 0.95, "resamples": 200, "classes": {}, "evidence": {},
            "metrics": {}, "confusion": {}, "rows_sha256": "0" * 64, "opens_test": True, **changes,
        }
    )  # fmt: skip

    def build(folder: Path) -> Scorecard:
        write_table(folder / "scores.parquet", pl.DataFrame({"subject_id": subjects}).to_arrow())
        return scorecard

    return workspace.materialise("evaluate", scorecard.key, Scorecard, build).record


def test_the_champions_own_scorecard_is_the_one_of_the_test_set_that_it_opened(
    workspace: Workspace, champion: Candidate
) -> None:
    """Not that of other rows, of another model, of another role or with other intervals; damaged, it is none."""
    carded(workspace, "1", [30, 31])
    carded(workspace, "2", [20, 21], candidate="d" * 32)
    carded(workspace, "3", [20, 21], role="gate")
    carded(workspace, "4", [20, 21], resamples=100)
    own = carded(workspace, "5", [21, 20, 20])
    other = carded(workspace, "6", [40])
    assert own_scorecard(workspace, champion, [sha256_of([20, 21])], other) == own
    assert own_scorecard(workspace, champion, [], other) is None
    (workspace.folder("evaluate", own.key) / "scores.parquet").write_bytes(b"PAR1")
    assert own_scorecard(workspace, champion, [sha256_of([20, 21])], other) is None


def test_each_class_needs_its_subjects(output_of: Callable[..., Output]) -> None:
    """Positive and negative of a binary output, every class of several, each finding both ways; by patients."""
    well = np.repeat([0, 1], [29, 30])
    one_each = evidence_of(output_of(**BINARY), well, np.arange(59))
    assert lacking(one_each, "patient", 30, 30) == ("well: 29 patients (required: at least 30)",)
    assert lacking(one_each, "patient", 30, 29) == ()
    hourly = evidence_of(output_of(**BINARY), well, np.arange(59) // 10)
    assert lacking(hourly, "patient", 4, 4) == ("well: 3 patients (29 samples) (required: at least 4)",)
    several = output_of(kind="multiclass", classes={0: "a", 1: "b", 2: "c"})
    classes = evidence_of(several, np.repeat([0, 1, 2], [5, 4, 9]), np.arange(18))
    assert lacking(classes, "image", 5, 1) == ("b: 4 images (required: at least 5)",)
    findings = output_of(kind="multilabel", classes={"m": "mass", "e": "effusion"})
    truth = np.stack([np.arange(9) < 8, np.arange(9) < 2], axis=1).astype(np.int64)
    assert lacking(evidence_of(findings, truth, np.arange(9)), "stay", 5, 5) == (
        "effusion: 2 stays (required: at least 5)",
        "no mass: 1 stay (required: at least 5)",
    )


def test_a_snapshot_without_rows_of_labels_is_refused(
    put: Callable[..., Any], output_of: Callable[..., Output]
) -> None:
    """An empty table knows no label."""
    workspace, snapshot, _ = put({"labels": pl.DataFrame(schema={"row_id": pl.Int64, "label": pl.Int64})}, "images")
    assert isinstance(snapshot, Snapshot)
    with pytest.raises(DataRefused):
        refuse_unlabelled(workspace, snapshot, {"x": output_of(**BINARY)})


def test_data_that_are_read_otherwise_are_not_scored(champion: Candidate, refusal: Any) -> None:
    """Each key with both values; another set, and a champion that does not say how it read, are no difference."""
    own = Origin(
        snapshot="1", unit="patient", source={"kind": "image_folder", "white": 65535}, cohort={"kind": "pictures"}
    )
    asked = Origin(
        snapshot="",
        unit="",
        source={"kind": "image_folder", "white": 4095, "resize": "pad"},
        cohort={"kind": "pictures"},
    )
    same_reading(champion, asked)
    fitted = champion.model_copy(update={"origin": own})
    same_reading(fitted, own.model_copy(update={"snapshot": "2", "unit": "image"}))
    with pytest.raises(ConfigurationError) as caught:
        same_reading(fitted, asked)
    told = refusal(caught.value)
    assert caught.value.expected == "source.resize: null; source.white: 65535"
    assert caught.value.received == 'source.resize: "pad"; source.white: 4095'
    assert "run the Problem anew" in told
