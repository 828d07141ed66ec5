"""One row for each picture or stay, under the site's own name, with what the champion says of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest

from medai.cohort import Pictures
from medai.errors import DataRefused
from medai.outputs import Output
from medai.prediction import Part, Scores, answers, select
from medai.prediction.answers import labels_of
from medai.records import Candidate, Environment, Member, sha256_of
from medai.tables import write_table
from medai.workspace import Workspace

OUTPUTS: dict[str, tuple[dict[str, Any], tuple[float, ...]]] = {
    "binary": ({"kind": "binary", "classes": {0: "well", 1: "ill"}, "positive": "ill"}, (0.3,)),
    "multiclass": ({"kind": "multiclass", "classes": {0: "mild", 1: "middling", 2: "grave"}}, ()),
    "multilabel": ({"kind": "multilabel", "classes": {"a": "mass", "b": "effusion"}}, (0.3, 0.6)),
}
NAMES = ["scan 10.png", "scan 9.png", '=cmd,"x"\nÅ.png', "black.png"]


def candidate(name: str, output: Output, thresholds: tuple[float, ...]) -> Candidate:
    """A candidate's record."""
    return Candidate(
        key="c" * 32,
        name="net",
        members=(Member(kind="small_cnn", weights_sha256="w" * 64, onnx_sha256="o" * 64),),
        thresholds={name: thresholds},
        calibration={},
        preprocessing={},
        outputs={name: output.model_dump(mode="json")},
        statistics={},
        trained_on={},
        seed=0,
        epochs=1,
        environment=Environment(threads=1, onednn=True, instruction_set="x", libraries={}),
    )


@pytest.fixture
def part(put: Callable[..., Any]) -> Callable[..., tuple[Workspace, Part]]:
    """Four pictures of two patients with given names; the last was set aside, the others have the scores given."""

    def make(
        scores: np.ndarray, names: list[str] = NAMES, contents: tuple[str, ...] = ("a", "b", "c", "d")
    ) -> tuple[Workspace, Part]:
        images = pl.DataFrame(
            {"row_id": range(4), "subject_id": [1, 2, 1, None], "time": [None] * 4, "publisher_role": [None] * 4},
            schema_overrides={"time": pl.Datetime("us"), "publisher_role": pl.String},
        ).with_columns(pl.Series("content_hash", contents))
        given = {
            "images": images,
            "labels": pl.DataFrame({"row_id": range(4)}),
            "picture_identifiers": pl.DataFrame({"row_id": range(4), "site_id": names}),
            "identifiers": pl.DataFrame({"subject_id": [1, 2], "site_id": ["person 1", "scan 9.png"]}),
        }
        workspace, snapshot, quality = put(given, "images", (("images", 3, "black"),))
        cohort = select(workspace, snapshot, quality, Pictures(kind="pictures")).record
        record = Scores(key=sha256_of(scores.tolist())[:32], candidate="c" * 32, samples=3)
        table = pl.DataFrame({"sample_id": range(3)}).with_columns(
            pl.Series(f"x.score.{column}", scores[:, column], pl.Float32) for column in range(scores.shape[1])
        )
        folder = workspace.folder("score", record.key)
        folder.mkdir(parents=True)
        write_table(folder / "scores.parquet", table.to_arrow())
        return workspace, Part(snapshot, cohort, record)

    return make


def test_every_row_appears_once_in_the_order_of_its_name(part: Any, output_of: Callable[..., Output]) -> None:
    """Numbers in names by their size; the patient where it is told and is another name; the reason without a score."""
    keys, thresholds = OUTPUTS["binary"]
    output = output_of(**keys)
    workspace, one = part(np.array([[0.2], [0.3], [0.9]]))
    table = answers(workspace, [one], candidate("x", output, thresholds), "x", output, 7)
    assert table.to_dict(as_series=False) == {
        "id": [NAMES[2], "black.png", "scan 9.png", "scan 10.png"],
        "subject": ["person 1", None, None, "person 1"],
        "output": ["x"] * 4,
        "score": [pytest.approx(0.9), None, pytest.approx(0.3), pytest.approx(0.2)],
        "label": ["ill", None, "ill", "well"],
        "threshold": [0.3, None, 0.3, 0.3],
        "model_version": [7] * 4,
        "model_sha256": ["w" * 64] * 4,
        "status": ["scored", "set_aside:black", "scored", "scored"],
        "input": [1] * 4,
    }


def test_several_classes_and_findings_have_a_column_each(part: Any, output_of: Callable[..., Output]) -> None:
    """The likeliest class has no threshold; findings each have their own."""
    keys, thresholds = OUTPUTS["multiclass"]
    output = output_of(**keys)
    workspace, one = part(np.array([[0.2, 0.5, 0.3], [0.6, 0.2, 0.2], [0.1, 0.1, 0.8]]))
    table = answers(workspace, [one], candidate("x", output, thresholds), "x", output, 1).sort("label")
    assert table.columns[3:8] == ["score.mild", "score.middling", "score.grave", "label", "threshold"]
    assert table["label"].to_list() == [None, "grave", "middling", "mild"]
    assert table["threshold"].null_count() == 4
    keys, thresholds = OUTPUTS["multilabel"]
    output = output_of(**keys)
    workspace, one = part(np.array([[0.2, 0.7], [0.6, 0.7], [0.1, 0.1]]))
    table = answers(workspace, [one], candidate("x", output, thresholds), "x", output, 1)
    assert table.columns[3:8] == ["score.mass", "score.effusion", "label", "threshold.mass", "threshold.effusion"]
    assert dict(zip(table["id"], table["label"], strict=True)) == {
        "scan 10.png": "effusion", "scan 9.png": "mass; effusion", NAMES[2]: "", "black.png": None,
    }  # fmt: skip


def test_an_input_of_which_nobody_is_scored_is_answered_too(part: Any, output_of: Callable[..., Output]) -> None:
    """Beside another that is; ids may stand in both, told apart by the input."""
    keys, thresholds = OUTPUTS["binary"]
    output = output_of(**keys)
    workspace, one = part(np.array([[0.2], [0.3], [0.9]]))
    model = candidate("x", output, thresholds)
    both = answers(workspace, [one, one], model, "x", output, 1)
    assert both["input"].to_list() == [1] * 4 + [2] * 4
    rows = workspace.folder("select", one.cohort.key) / "rows.parquet"
    gone = pl.read_parquet(rows).with_columns(pl.lit("excluded:observed").alias("status"))
    write_table(rows, gone.to_arrow())
    table = answers(workspace, [one._replace(scores=None)], model, "x", output, 1)
    assert table["score"].dtype == pl.Float32
    assert table["status"].to_list() == ["excluded:observed"] * 4
    assert table["score"].null_count() == table["label"].null_count() == table["threshold"].null_count() == 4


def test_a_content_is_no_patients_name(part: Any, output_of: Callable[..., Output]) -> None:
    """Where a picture stands for itself the subject stays empty, also beside pictures of known patients."""
    keys, thresholds = OUTPUTS["binary"]
    output = output_of(**keys)
    names = ["a.png", "b.png", "c.png", "d.png"]
    for contents, told in (
        (("person 1", "scan 9.png", "person 1", "d"), [None] * 4),
        (("a", "scan 9.png", "c", "d"), ["person 1", None, "person 1", None]),
    ):
        scores = np.array([[0.2], [0.3], [0.9]]) + len(told[0] or "") / 1000
        workspace, one = part(scores, names=names, contents=contents)
        table = answers(workspace, [one], candidate("x", output, thresholds), "x", output, 1)
        assert table["subject"].to_list() == told


def test_two_rows_of_one_name_are_refused(part: Any, output_of: Callable[..., Output], refusal: Any) -> None:
    """Nobody could tell which answer is whose; the name itself is not told."""
    keys, thresholds = OUTPUTS["binary"]
    output = output_of(**keys)
    workspace, one = part(np.array([[0.2], [0.3], [0.9]]), names=["doe", "doe", "b", "c"])
    with pytest.raises(DataRefused) as caught:
        answers(workspace, [one], candidate("x", output, thresholds), "x", output, 1)
    assert "1 whose name is taken" in refusal(caught.value)
    assert "doe" not in str(caught.value)


def test_a_score_at_the_threshold_is_positive(output_of: Callable[..., Output]) -> None:
    """As the metrics count it, compared in double precision."""
    output = output_of(**OUTPUTS["binary"][0])
    scores = np.array([[0.1], [0.5], [np.nextafter(np.float32(0.5), np.float32(0))]], np.float32)
    assert labels_of(output, scores, (0.5,)) == ["well", "ill", "well"]
