"""The overview as HTML: the site's page and one a problem. Each is one file that needs no network and no script."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medai.overview.content import Judged, Overview, ProblemView, VersionPoint

TEMPLATES = Path(__file__).with_name("templates")
LIGHTS = {
    "steady": ("Steady", "met"),
    "unwatched": ("Not judged yet", "quiet"),
    "look": ("Worth a look", "once"),
    "act": ("A person is needed", "unmet"),
    "nobody": ("Nobody serves", "quiet"),
}
SHOWN = 24
"""Versions and verdicts on data that a drawing holds, the newest."""
WIDTH, HEIGHT, MARGIN = 420, 120, 14
SPARK = (120, 30, 4)
FULL = 0.05
"""Share of rows set aside that fills a bar's height; a gate's bound where it names none."""
WORST = 8
"""Measures of monitoring that a problem's page tells; the others stand on the page of the windows."""


def site(overview: Overview, links: bool = True) -> str:
    """The page of all problems.

    Args:
        links: whether a problem's page lies beside it, as ``problem-NAME.html``, or at ``problems/NAME`` of a server.
    """
    rows = [
        {
            "view": view,
            "light": LIGHTS[view.light],
            "figures": points(view.versions, view.champion, SPARK),
            "quality": bars(view.quality, SPARK),
        }
        for view in sorted(overview.problems, key=_urgency)
    ]
    return _filled("overview.html", {"overview": overview, "rows": rows, "beside": links})


def problem(overview: Overview, view: ProblemView, links: bool = True) -> str:
    """The page of one problem."""
    from medai.reporting.words import VERDICTS

    size = (WIDTH, HEIGHT, MARGIN)
    facts = {
        "overview": overview,
        "view": view,
        "light": LIGHTS[view.light],
        "figures": points(view.versions, view.champion, size),
        "quality": bars(view.quality, size),
        "measures": view.drifting.measures[:WORST],
        "outside": [one for one in view.drifting.measures if one["verdict"] == "outside" and not one["counts"]],
        "verdicts": {verdict: told.lower() for verdict, told in VERDICTS.items()} | {"": "not decided"},
        "beside": links,
    }
    return _filled("problem.html", facts)


def points(versions: Sequence[VersionPoint], champion: int | None, size: tuple[int, int, int]) -> dict[str, Any]:
    """Figures of versions as places in a drawing, the oldest first; only those of the newest metric are comparable."""
    width, height, margin = size
    known = [one for one in versions if one.value is not None]
    known = [one for one in known if one.metric == known[-1].metric][-SHOWN:]
    ends = [end for one in known for end in (one.value, one.low, one.high) if end is not None]
    low, high = min(ends, default=0.0), max(ends, default=1.0)
    spread = (high - low) or 1.0

    def down(value: float) -> float:
        return round(margin + (high - value) / spread * (height - 2 * margin), 2)

    step = (width - 2 * margin) / max(1, len(known) - 1)
    return {
        "width": width,
        "height": height,
        "metric": known[-1].metric if known else "",
        "low": low,
        "high": high,
        "points": [
            {
                "x": round(margin + place * step, 2) if len(known) > 1 else width / 2,
                "y": down(float(one.value or 0.0)),
                "interval": None if one.low is None or one.high is None else (down(one.low), down(one.high)),
                "version": one.version,
                "champion": one.version == champion,
            }
            for place, one in enumerate(known)
        ],
    }


def bars(quality: Sequence[Judged], size: tuple[int, int, int]) -> dict[str, Any]:
    """Shares of rows set aside as bars, the oldest first; a verdict that was not passed is marked.

    A full bar is ``FULL`` at least, so that a share that bothers nobody does not look like much.
    """
    width, height, margin = size
    shown = quality[-SHOWN:]
    highest = max((one.share for one in shown), default=0.0)
    full = max(highest, FULL)
    step = (width - 2 * margin) / max(1, len(shown))
    return {
        "width": width,
        "height": height,
        "floor": height - margin,
        "highest": highest,
        "bars": [
            {
                "x": round(margin + place * step + step * 0.15, 2),
                "width": round(min(step * 0.7, 26), 2),
                "height": round(max(1.0, one.share / full * (height - 2 * margin)), 2),
                "passed": one.passed,
            }
            for place, one in enumerate(shown)
        ],
    }


def _urgency(view: ProblemView) -> tuple[int, str]:
    return ("act", "look", "steady", "unwatched", "nobody").index(view.light), view.problem


def _filled(name: str, facts: dict[str, Any]) -> str:
    from medai.reporting.page import filled, shared_templates

    return filled(shared_templates() | {path.name: path.read_text() for path in TEMPLATES.iterdir()}, name, facts)
