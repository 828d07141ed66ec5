"""The page of a problem's windows: one self-contained HTML file; it needs no network and names no patient."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from medai.disclosure import Guard, page_text
from medai.monitoring.records import KINDS
from medai.monitoring.windows import Seen, Standing, Trend, bound_of, facts_of
from medai.records import Page, Snapshot, sha256_of, stage_key
from medai.reporting.words import STATISTICS
from medai.workspace import Made, Workspace

VERSION = 1
FILE = "monitor.html"
TEMPLATE = Path(__file__).with_name("monitor.html")
WIDTH, HEIGHT, MARGIN = 220, 54, 6
"""Of a trend's drawing, in its own units."""
SHOWN = 24
"""Windows that a trend's drawing holds, the newest ones."""
TITLES = {"data": "Data", "predictions": "Answers", "performance": "Performance"}
_SHIFT = "Look at how this is measured and coded now, and at who is in the batch; retrain if the change stays."
ADVICE = {
    "psi": _SHIFT,
    "ks": _SHIFT,
    "missing": "Ask the source why this is recorded more, or less, often; a broken interface looks like this.",
    "units": "A unit changed: correct the vocabulary or the export before anything is retrained.",
    "codes": "Codes were renamed or a device exchanged: map the new codes before anything is retrained.",
    "alerts": "Tell the ward what its alert load is now; recalibrate, or choose another threshold, by a new version.",
    "metric": "Measure on more outcomes; retrain, and roll back if an earlier version did better on the same patients.",
    "intercept": "Risks are too high or too low throughout: recalibrate by a new version.",
    "slope": "Risks are too extreme or too narrow: recalibrate by a new version.",
}


def write_page(
    workspace: Workspace, problem: str, question: str, known: Sequence[Snapshot], now: Standing
) -> Made[Page]:
    """Write the page.

    Args:
        known: snapshots whose patients it must not name.

    Raises:
        MedaiError: it would name a patient.
    """
    from medai.reporting.page import filled, shared_templates

    files = shared_templates() | {TEMPLATE.name: TEMPLATE.read_text()}
    told = [
        facts_of(trend) | {"seen": [vars(one) | {"figure": one.figure.model_dump()} for one in trend.seen]}
        for trend in now.trends
    ]
    content: dict[str, Any] = {"problem": problem, "question": question, "trends": told, "windows": dict(now.windows)}
    content |= {
        "bounds": now.bounds.model_dump(mode="json"),
        "version": now.version,
        "known": [one.key for one in known],
        "waiting": now.waiting and now.waiting.key,
    }
    key = stage_key(
        "monitor report", VERSION, {"content": sha256_of(content), "templates": sha256_of(files)}, None, ("jinja2",)
    )

    def build(folder: Path) -> Page:
        page = filled(files, TEMPLATE.name, _facts(problem, question, now))
        for snapshot in known:
            Guard.of(workspace, snapshot).refuse("the page of monitoring", page_text(page))
        (folder / FILE).write_text(page)
        return Page(key=key, file=FILE)

    return workspace.materialise("report", key, Page, build)


def drawn(trend: Trend, now: Standing) -> dict[str, Any]:
    """A trend as places in a drawing: its points, the last windows that decide, and its bounds as lines."""
    seen = [one for one in trend.seen if one.figure.value is not None][-SHOWN:]
    least, most = bound_of(trend.newest.figure, now.bounds)
    values = [one.figure.value for one in seen if one.figure.value is not None]
    ends = [end for end in (*values, least, most) if end is not None]
    ends += [end for one in seen for end in (one.figure.low, one.figure.high) if end is not None]
    low, high = (
        min((*ends, 0.0) if trend.statistic not in ("metric", "slope") else ends, default=0.0),
        max(ends, default=1.0),
    )
    if high <= low:
        high = low + 1.0

    def down(value: float) -> float:
        return round(MARGIN + (high - value) / (high - low) * (HEIGHT - 2 * MARGIN), 2)

    step = (WIDTH - 2 * MARGIN) / max(1, SHOWN - 1)
    points = [
        {
            "x": round(MARGIN + place * step, 2),
            "y": down(float(one.figure.value)),
            "interval": None
            if one.figure.low is None or one.figure.high is None
            else (down(one.figure.low), down(one.figure.high)),
            "outside": one.verdict == "outside",
        }
        for place, one in enumerate(seen)
        if one.figure.value is not None
    ]
    return {
        "points": points,
        "line": " ".join(f"{point['x']},{point['y']}" for point in points),
        "bounds": [down(end) for end in (least, most) if end is not None],
        "width": WIDTH,
        "height": HEIGHT,
    }


def _facts(problem: str, question: str, now: Standing) -> dict[str, Any]:
    """All that the template names."""
    rows = [_row(trend, now) for trend in now.trends]
    return {
        "problem": problem,
        "question": question,
        "now": now,
        "decided": any(trend.newest.verdict != "too_few" for trend in now.trends),
        "performance_judged": any(
            trend.kind == "performance" and trend.newest.verdict != "too_few" for trend in now.trends
        ),
        "counting": _advised(row for row in rows if row["trend"].counts),
        "outside": _advised(row for row in rows if _outside(row) and not row["trend"].counts),
        "kinds": [
            (
                kind,
                TITLES[kind],
                [row for row in rows if row["trend"].kind == kind and (_outside(row) or kind != "data")],
                [row for row in rows if row["trend"].kind == kind and not _outside(row) and kind == "data"],
            )
            for kind in KINDS
        ],
        "groups": _groups(now),
        "latest": max((one.at for trend in now.trends for one in trend.seen), default=""),
    }


def _outside(row: dict[str, Any]) -> bool:
    return bool(row["trend"].counts or row["newest"].verdict == "outside")


def _advised(rows: Iterable[dict[str, Any]]) -> dict[str, list[str]]:
    """Advice → the measures that it is for, each once."""
    from medai.reporting import words

    found: dict[str, list[str]] = {}
    for row in rows:
        measure = row["trend"].measure
        named = found.setdefault(row["advice"], [])
        name = words.metric(measure) if row["trend"].statistic == "metric" else words.spaced(measure)
        if name not in named:
            named.append(name)
    return found


def _groups(now: Standing) -> dict[str, Any]:
    """Subgroups of the newest window of performance, as the report shows them; small ones are not counted out."""
    from medai.reporting.shapes import forest

    return forest(now.groups, None, {})


def _row(trend: Trend, now: Standing) -> dict[str, Any]:
    newest: Seen = trend.newest
    return {
        "trend": trend,
        "newest": newest,
        "figure": newest.figure,
        "statistic": STATISTICS[trend.statistic],
        "advice": ADVICE[trend.statistic],
        "drawing": drawn(trend, now),
    }
