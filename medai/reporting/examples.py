"""``illustrate``: the most confident answers of a candidate, right and wrong, as a reader would want to see them.

What is kept of a row is its truth, its score and its picture or curves, never who it is or when it was: no identifier,
file name, date or text. They are patients' data all the same, so the file is its owner's alone, and it is embedded in
the page and logged nowhere.
"""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medai.measurement.metrics import Scored
from medai.outputs import Mask, Output
from medai.records import Arrays, Candidate, Examples, Frozen, Scorecard, canonical_json, stage_key
from medai.reporting.outlines import illustrated
from medai.scores import read_scores, truth_and_scores
from medai.workspace import Made, Workspace, write_durably

if TYPE_CHECKING:
    import numpy as np

VERSION = 1
FILE = "examples.json"
LARGEST = 96
"""Pixels of a thumbnail's longer side."""
VARIABLES = 6
"""Variables of a series that are drawn: those measured most often on the scored rows."""
_COUNTED = 4096
"""Scored rows on which that is counted: evenly spaced ones where there are more."""


class _Shown(Frozen):
    outputs: dict[str, Output]
    examples: int


def illustrate(
    workspace: Workspace,
    outputs: dict[str, Output],
    candidate: Candidate,
    scorecard: Scorecard,
    arrays: Arrays,
    examples: int,
) -> Made[Examples]:
    """Choose the most confident answers of each kind on the scored rows; equal ones in the order of sample_id.

    Args:
        arrays: prepared with the candidate's own preprocessing.
        examples: shown of each kind. Binary: found, missed, alarm, cleared. Otherwise right and wrong: the highest
            class score, or the finding whose score lies farthest from its threshold. Of masks: best, median and worst
            Dice, and what was marked in vain.
    """
    inputs = {"scorecard": scorecard.key, "candidate": candidate.key, "arrays": arrays.key}
    key = stage_key("illustrate", VERSION, inputs, _Shown(outputs=outputs, examples=examples), ("numpy", "pillow"))

    def build(folder: Path) -> Examples:
        import numpy as np

        from medai.training.gathering import open_arrays

        name, output = next(iter(outputs.items()))
        table = read_scores(workspace, scorecard)
        rows = _rows_of_array(workspace, arrays, table["sample_id"].to_numpy())
        data = open_arrays(workspace.folder("prepare", arrays.key), arrays)
        if isinstance(output, Mask):
            shown = illustrated(workspace, candidate, scorecard, name, output, data, rows, examples)
            _keep(folder, [one for some in shown.values() for one in some])
            return Examples(key=key, file=FILE, shown={kind: len(some) for kind, some in shown.items()})
        truth, scores = truth_and_scores(table, name, output)
        thresholds = candidate.thresholds[name]
        variables = _most_measured(data, rows) if arrays.kind == "series" else []
        kinds = _chosen(output, truth, np.asarray(scores, np.float64), thresholds, examples)
        kept = []
        for kind, answers in kinds.items():
            for place, column, score in answers:
                one: dict[str, Any] = {"kind": kind, "score": round(score, 6)}
                one["truth"], one["answer"] = _told(output, truth, place, column, score, thresholds)
                if arrays.kind == "pixels":
                    one["picture"] = thumbnail(data["pixels"][rows[place]])
                elif arrays.kind == "volume":
                    one["picture"] = thumbnail(middles(data["volume"][rows[place]]))
                elif arrays.kind == "series":
                    one["hours"] = int(candidate.preprocessing["hours"])
                    one["series"] = _curves(data, rows[place], variables, arrays, candidate.preprocessing)
                kept.append(one)
        _keep(folder, kept)
        return Examples(key=key, file=FILE, shown={kind: len(answers) for kind, answers in kinds.items()})

    return workspace.materialise("illustrate", key, Examples, build)


def _keep(folder: Path, shown: list[dict[str, Any]]) -> None:
    write_durably(folder / FILE, canonical_json(shown), 0o600)


def _chosen(
    output: Scored, truth: np.ndarray, scores: np.ndarray, thresholds: tuple[float, ...], examples: int
) -> dict[str, list[tuple[int, int, float]]]:
    """Kind of answer → (row, score column, score), the most confident first."""
    import numpy as np

    from medai.measurement.metrics import predict

    answered = predict(output, scores, thresholds)
    if output.kind == "binary":
        score = scores[:, 0]
        sides = {
            "found": (answered == 1) & (truth == 1),
            "missed": (answered == 0) & (truth == 1),
            "alarm": (answered == 1) & (truth == 0),
            "cleared": (answered == 0) & (truth == 0),
        }
        chosen = {}
        for kind, some in sides.items():
            places = np.flatnonzero(some)
            surest = -score[places] if kind in ("found", "alarm") else score[places]
            order = places[np.argsort(surest, kind="stable")][:examples]
            chosen[kind] = [(int(place), 0, float(score[place])) for place in order]
        return chosen
    if output.kind == "multiclass":
        column = answered
        sure, right = scores.max(axis=1), answered == truth
        cells = np.stack([np.arange(len(truth)), column], axis=1)
    else:
        sure = np.abs(scores - np.asarray(thresholds)).ravel()
        right = (answered == truth).ravel()
        cells = np.stack([index.ravel() for index in np.indices(scores.shape)], axis=1)
    chosen = {}
    for kind, some in (("right", right), ("wrong", ~right)):
        places = np.flatnonzero(some)
        order = places[np.argsort(-sure[places], kind="stable")][:examples]
        chosen[kind] = [(int(cells[at, 0]), int(cells[at, 1]), float(scores[tuple(cells[at])])) for at in order]
    return chosen


def _told(
    output: Output, truth: np.ndarray, place: int, column: int, score: float, thresholds: tuple[float, ...]
) -> tuple[str, str]:
    """What is true and what was answered, in the Problem's words."""
    if output.kind == "binary":
        return output.names[int(truth[place])], output.names[int(score >= thresholds[0])]
    if output.kind == "multiclass":
        return output.names[int(truth[place])], output.names[column]
    finding = output.names[column]
    said = (f"no {finding}", finding)
    return said[int(truth[place, column])], said[int(score >= thresholds[column])]


def _rows_of_array(workspace: Workspace, arrays: Arrays, samples: np.ndarray) -> np.ndarray:
    """(samples,) position of each sample in the arrays, whose index is in the order of sample_id."""
    import numpy as np
    import polars as pl

    from medai.tables import read_table

    index = pl.DataFrame(read_table(workspace.folder("prepare", arrays.key) / "samples.parquet"))
    return np.asarray(index["row"].to_numpy()[np.searchsorted(index["sample_id"].to_numpy(), samples)])


def middles(volume: np.ndarray) -> np.ndarray:
    """The middle planes of a volume across its depth, height and width, side by side on black.

    Args:
        volume: (depth, height, width, channels) uint8.
    """
    import numpy as np

    planes = [np.take(volume, volume.shape[axis] // 2, axis=axis) for axis in range(3)]
    tall = max(plane.shape[0] for plane in planes)
    padded = [np.pad(plane, ((0, tall - plane.shape[0]), (0, 1), (0, 0))) for plane in planes]
    return np.concatenate(padded, axis=1)[:, :-1]


def thumbnail(pixels: np.ndarray) -> str:
    """A picture (height, width, channels) uint8 as base64 PNG, its longer side at most ``LARGEST``; no metadata."""
    import numpy as np
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels))
    if max(picture.size) > LARGEST:
        picture.thumbnail((LARGEST, LARGEST))
    file = io.BytesIO()
    picture.save(file, format="PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()


def _most_measured(data: dict[str, Any], rows: np.ndarray) -> list[int]:
    """Columns of the variables that were measured in most bins of the scored rows, in the Problem's order."""
    import numpy as np

    if len(rows) > _COUNTED:
        rows = rows[np.linspace(0, len(rows) - 1, _COUNTED).astype(np.int64)]
    share = np.asarray(data["mask"][rows]).mean(axis=(0, 1))
    return sorted(np.argsort(-share, kind="stable")[:VARIABLES].tolist())


def _curves(
    data: dict[str, Any], row: int, variables: list[int], arrays: Arrays, preprocessing: dict[str, Any]
) -> list[dict[str, Any]]:
    """Each variable's name and its measured points (hour, value)."""
    import numpy as np

    names = arrays.arrays["last"].names
    width = int(preprocessing["step_minutes"]) / 60
    curves = []
    for variable in variables:
        steps = np.flatnonzero(data["mask"][row, :, variable])
        values = data["last"][row, steps, variable]
        points = [
            [round((step + 0.5) * width, 3), float(f"{value:.5g}")]
            for step, value in zip(steps.tolist(), values.tolist(), strict=True)
        ]
        curves.append({"name": names[variable], "points": points})
    return curves
