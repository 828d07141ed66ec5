"""Masks as a reader sees them: the true and the predicted outline over the picture, and the Dice of all pictures.

Shown are, of the pictures with a finding, those with the best, the middle and the worst Dice, and of those without one
where most was marked in vain.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medai.evaluation import scored_batches
from medai.measurement import segmentation
from medai.measurement.overlap import MEASURES, dice, outline
from medai.outputs import Mask
from medai.records import Candidate, Measure, Scorecard
from medai.reporting.numbers import several
from medai.scores import measured_of, read_scores
from medai.workspace import Workspace

if TYPE_CHECKING:
    import numpy as np

KINDS = ("best", "median", "worst", "vain")
TRUE, ANSWER = (230, 159, 0), (86, 180, 233)
"""Orange for the truth and sky blue for the answer (Okabe & Ito 2008)."""
_LINE = 2
"""Pixels of an outline's width."""
_SIDE = 192
"""Pixels that a shown picture's longer side has at least, so that an outline hides none of what it encloses."""


def draw_masks(
    workspace: Workspace, folder: Path, name: str, output: Mask, models: Sequence[tuple[str, Scorecard]]
) -> dict[str, str]:
    """Draw which share of the pictures reaches which Dice, model by model, and the first one's Dice by size."""
    from medai.reporting import figures

    curves, sizes = [], None
    for label, card in models:
        area, alike = _of_pictures(measured_of(read_scores(workspace, card), name, output))
        shown = alike[area > 0]
        curves.append(figures.Curve(label, *_reaching(shown), _measure(card, name)))
        sizes = sizes or (area[area > 0], shown)
    assert sizes is not None  # noqa: S101 - there is a model
    figures.draw_reach(folder / "dice.svg", curves)
    figures.draw_sizes(folder / "sizes.svg", *sizes)
    return {"dice": "dice.svg", "sizes": "sizes.svg"}


def _measure(card: Scorecard, name: str) -> Measure | None:
    return card.metrics[name].get("dice_lesions")


def _of_pictures(measured: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(samples,) true pixels of all findings, and Dice as the mean over those that are there; 1 where none is."""
    import numpy as np

    true, marked, both = (measured[:, :, MEASURES.index(part)] for part in ("true", "marked", "both"))
    each, there = dice(true, marked, both), true > 0
    number = there.sum(axis=1)
    mean = np.divide((each * there).sum(axis=1), number, out=np.ones(len(each)), where=number > 0)
    return true.sum(axis=1), mean


def _reaching(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Dice, and the share of pictures that reach it."""
    import numpy as np

    levels = np.arange(101) / 100
    return levels, (values[None, :] >= levels[:, None]).mean(axis=1)


def choose(measured: np.ndarray, examples: int) -> dict[str, list[int]]:
    """Kind → places of the pictures that are shown, at most so many each; equal ones in their order."""
    import numpy as np

    area, alike = _of_pictures(measured)
    marked = measured[:, :, MEASURES.index("marked")].sum(axis=1)
    there = np.flatnonzero(area > 0)
    rising = there[np.argsort(alike[there], kind="stable")]
    middle = max(0, len(rising) // 2 - examples // 2)
    vain = np.flatnonzero((area == 0) & (marked > 0))
    chosen = {
        "best": rising[::-1][:examples],
        "median": rising[middle : middle + examples],
        "worst": rising[:examples],
        "vain": vain[np.argsort(-marked[vain], kind="stable")][:examples],
    }
    return {kind: places.tolist() for kind, places in chosen.items()}


def illustrated(
    workspace: Workspace,
    candidate: Candidate,
    scorecard: Scorecard,
    name: str,
    output: Mask,
    data: dict[str, Any],
    rows: np.ndarray,
    examples: int,
) -> dict[str, list[dict[str, Any]]]:
    """Kind → what is shown of its pictures: Dice as ``score``, how much is true and marked, picture and outlines.

    Args:
        data: arrays of all samples, memory-mapped.
        rows: (scored samples,) their places in them.
    """
    import numpy as np

    measured = measured_of(read_scores(workspace, scorecard), name, output)
    chosen = choose(measured, examples)
    places = sorted({place for some in chosen.values() for place in some})
    shown: dict[int, dict[str, Any]] = {}
    if places:
        picked = rows[places]
        some = {"pixels": np.asarray(data["pixels"][picked])}
        answers = [
            answer
            for _, scores in scored_batches(workspace, candidate, some)
            for answer in segmentation.decided(output, scores, candidate.thresholds[name])
        ]
        truths = np.asarray(data["masks"][picked])
        _, alike = _of_pictures(measured[places])
        for at, place in enumerate(places):
            either = bool(truths[at].any() or answers[at].any())
            shown[place] = {
                "score": round(float(alike[at]) if truths[at].any() or not either else 0.0, 6),
                "truth": _told(truths[at]),
                "answer": _told(answers[at]),
                "picture": encoded(enlarged(some["pixels"][at])),
                "outlined": encoded(outlined(some["pixels"][at], truths[at], answers[at])),
            }
    return {kind: [{"kind": kind, **shown[place]} for place in some_places] for kind, some_places in chosen.items()}


def _told(mask: np.ndarray) -> str:
    from scipy import ndimage

    parts = int(ndimage.label(mask > 0, [[1] * 3] * 3)[1])
    return f"{several(parts, 'part')}, {several(int((mask > 0).sum()), 'pixel')}" if parts else "none"


def _factor(shape: tuple[int, ...]) -> int:
    return max(1, -(-_SIDE // max(shape[:2])))


def enlarged(pixels: np.ndarray) -> np.ndarray:
    """A picture (height, width, channels) uint8 as RGB, each pixel repeated until it is large enough to be read."""
    factor = _factor(pixels.shape)
    large = pixels.repeat(factor, axis=0).repeat(factor, axis=1)
    return large.repeat(3, axis=-1) if large.shape[-1] == 1 else large


def outlined(pixels: np.ndarray, truth: np.ndarray, answer: np.ndarray) -> np.ndarray:
    """The same with two outlines: of what is true just outside its border, of the answer just inside."""
    import numpy as np
    from scipy import ndimage

    picture = enlarged(pixels).copy()
    factor = _factor(pixels.shape)
    for mask, colour in ((truth, TRUE), (answer, ANSWER)):
        for value in np.unique(mask[mask > 0]):
            large = (mask == value).repeat(factor, axis=0).repeat(factor, axis=1)
            if colour == TRUE:
                line = ndimage.binary_dilation(large, iterations=_LINE) & ~large
            else:
                line = large & ndimage.binary_dilation(outline(large), iterations=_LINE - 1)
            picture[line] = colour
    return picture


def encoded(picture: np.ndarray) -> str:
    """RGB (height, width, 3) uint8 as base64 PNG without metadata."""
    import numpy as np
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(file, format="PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()
