"""Shapes that the templates draw inline: positions of whiskers on a forest plot, points of small curves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from medai.records import Measure, Subgroup

FOREST_WIDTH = 220
"""Units of the plot's own coordinates."""
CURVE_WIDTH, CURVE_HEIGHT = 200, 30
_MARGIN = 6
SMALL_CELL = 5
"""Counts of subjects below this are not told, so that a small group points at nobody."""
HIDDEN = "not told"
"""In place of a count from which, with the total, a smaller one could be worked out."""
KINDS = {
    "found": ("Found", "positive, and flagged"),
    "missed": ("Missed", "positive, but not flagged"),
    "alarm": ("False alarms", "negative, but flagged"),
    "cleared": ("Cleared", "negative, and not flagged"),
    "right": ("Right", "the answer is the truth"),
    "wrong": ("Wrong", "the answer is not the truth"),
    "best": ("Best", "highest Dice of the pictures with a finding"),
    "median": ("Middle", "around the median Dice"),
    "worst": ("Worst", "lowest Dice"),
    "vain": ("Marked in vain", "nothing is there; the largest marks"),
}


def forest(
    groups: Sequence[Subgroup], whole: Measure | None, levels: dict[str, dict[str, str]], metric: str = "auroc"
) -> dict[str, Any]:
    """Rows of a forest plot of a metric, their common axis, and the groups too small to be judged.

    Args:
        groups: of one output.
        whole: the figure of all rows together, drawn as a line.
        levels: group → level → what a reader calls it.
        metric: which one; its scale ends at 1.
    """
    judged = [one for one in groups if one.metrics]
    shown = [one.metrics[metric] for one in judged if metric in one.metrics]
    ends = [(one.low, one.high) for one in (*shown, *([whole] if whole else []))]
    low = math.floor(10 * min((end[0] for end in ends), default=0.0)) / 10
    high = math.ceil(10 * max((end[1] for end in ends), default=1.0)) / 10
    if high <= low:
        low, high = max(0.0, low - 0.1), min(1.0, high + 0.1)

    def at(value: float) -> float:
        return round(_MARGIN + (value - low) / (high - low) * (FOREST_WIDTH - 2 * _MARGIN), 2)

    given_away = _given_away(groups)
    rows = []
    for one in judged:
        measure = one.metrics.get(metric)
        rows.append(
            {
                "group": one.group,
                "level": levels.get(one.group, {}).get(one.level, one.level),
                "subgroup": one,
                "told": (one.group, one.level) not in given_away,
                "measure": measure,
                "place": None if measure is None else (at(measure.low), at(measure.value), at(measure.high)),
            }
        )
    ticks = [round(low + step / 10, 1) for step in range(round(10 * (high - low)) + 1)]
    ticks = ticks[:: math.ceil((len(ticks) - 1) / 5) or 1]
    return {
        "rows": rows,
        "small": [
            {
                "group": one.group,
                "level": levels.get(one.group, {}).get(one.level, one.level),
                "subjects": f"fewer than {SMALL_CELL}"
                if one.subjects < SMALL_CELL
                else HIDDEN
                if (one.group, one.level) in given_away
                else str(one.subjects),
            }
            for one in groups
            if not one.metrics
        ],
        "hidden": HIDDEN if given_away else "",
        "width": FOREST_WIDTH,
        "whole": None if whole is None else at(whole.value),
        "ticks": [(tick, at(tick)) for tick in ticks],
    }


def _given_away(groups: Sequence[Subgroup]) -> set[tuple[str, str]]:
    """(group, level) whose count, taken from the total, would give away the only small one of its group.

    Secondary suppression (Hundepool et al. 2012, Statistical Disclosure Control): the next smallest level of the group.
    """
    hidden = set()
    for group in {one.group for one in groups}:
        levels = sorted((one for one in groups if one.group == group), key=lambda one: (one.subjects, one.level))
        if len(levels) > 1 and levels[0].subjects < SMALL_CELL <= levels[1].subjects:
            hidden.add((group, levels[1].level))
    return hidden


def examples(shown: list[dict[str, Any]], kinds: list[str]) -> list[dict[str, Any]]:
    """Kinds of answer, each with its title and its examples; the curves of a variable share one scale."""
    scales: dict[str, tuple[float, float]] = {}
    for one in shown:
        for curve in one.get("series", ()):
            values = [value for _, value in curve["points"]]
            if values:
                low, high = scales.get(curve["name"], (math.inf, -math.inf))
                scales[curve["name"]] = (min(low, *values), max(high, *values))
    sections = []
    for kind in (kind for kind in KINDS if kind in kinds):
        mine = [dict(one) for one in shown if one["kind"] == kind]
        for one in mine:
            one["curves"] = [
                _curve(curve, one["hours"], scales.get(curve["name"], (0.0, 0.0))) for curve in one.get("series", ())
            ]
        sections.append({"kind": kind, "title": KINDS[kind][0], "says": KINDS[kind][1], "shown": mine})
    return sections


def _curve(curve: dict[str, Any], hours: int, scale: tuple[float, float]) -> dict[str, Any]:
    """A variable's points in the small plot's own coordinates, and its last value."""
    low, high = scale
    room = CURVE_HEIGHT - 8
    points = [
        (
            round(2 + hour / hours * (CURVE_WIDTH - 4), 1),
            round(4 + room * (0.5 if high == low else (high - value) / (high - low)), 1),
        )
        for hour, value in curve["points"]
    ]
    return {
        "name": curve["name"],
        "line": " ".join(f"{x},{y}" for x, y in points),
        "last": points[-1] if points else None,
        "value": f"{curve['points'][-1][1]:.3g}" if points else "",
        "range": f"{low:.3g} to {high:.3g}" if points else "",
        "readings": len(points),
        "width": CURVE_WIDTH,
        "height": CURVE_HEIGHT,
    }
