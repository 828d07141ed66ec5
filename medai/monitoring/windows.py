"""Windows in the order in which they were taken, and what follows from them.

What a comparison found is content and lies in the store; that it was made for a problem, when and by whom, is a
receipt. A violation counts when it repeats: in so many of the last windows of its kind in which the measure had a
figure. Windows of an earlier champion are kept and told, and count for nothing: it is another reference.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

from medai.measurement.metrics import LOWER_IS_BETTER
from medai.monitoring.bounds import Monitoring
from medai.monitoring.records import KINDS, Compared, Figure, Kind
from medai.records import Frozen, Subgroup
from medai.workspace import Workspace

RECEIPTS = "windows"
BY_CHANCE = ("psi", "ks", "units", "codes")
"""Statistics without an interval: chance alone puts a bound to them, too."""
Verdict = Literal["within", "outside", "too_few"]


class Noted(Frozen):
    """The receipt of a window: what ``Window`` has, its content by its key."""

    window: str
    version: int
    how: str
    by: str
    bounds: Monitoring
    at: str


@dataclass(frozen=True)
class Window:
    """One comparison that was made for a problem.

    Attributes:
        content: what it found.
        version: of the champion.
        at, by: when it was first made, ISO 8601 in UTC, and by whom.
        how: which command made it: predict, run, monitor or label.
        bounds: those of that time.
    """

    content: Compared
    version: int
    at: str
    by: str
    how: str
    bounds: Monitoring

    @property
    def kind(self) -> Kind:
        """What was compared."""
        return self.content.kind


@dataclass(frozen=True)
class Seen:
    """A figure of a window, with what it is worth."""

    at: str
    window: str
    figure: Figure
    verdict: Verdict


@dataclass(frozen=True)
class Trend:
    """One measure over the windows of the standing champion, the oldest first.

    Attributes:
        bound: as the newest figure is judged.
        violations: among the last windows in which it had a figure.
        counts: whether they are enough.
    """

    kind: Kind
    measure: str
    statistic: str
    seen: tuple[Seen, ...]
    bound: str
    violations: int
    counts: bool

    @property
    def name(self) -> tuple[str, str, str]:
        """Kind, measure and statistic."""
        return self.kind, self.measure, self.statistic

    @property
    def newest(self) -> Seen:
        """The newest figure, or the reason why there is none."""
        return self.seen[-1]


@dataclass(frozen=True)
class Standing:
    """How a problem's champion stands.

    Attributes:
        candidate, version: the champion whose windows these are; None where there is no window.
        windows: how many of each kind; of performance those that had enough subjects.
        trends: every measure, those that count first, then those outside.
        groups: subgroups of the newest window of performance that had enough subjects; of the newest where none had.
        waiting: outcomes that are too few to be judged, and wait for the next ones; None where there are none.
    """

    candidate: str | None
    version: int | None
    windows: dict[Kind, int]
    trends: tuple[Trend, ...]
    bounds: Monitoring
    groups: tuple[Subgroup, ...] = ()
    waiting: Compared | None = None

    @property
    def counting(self) -> tuple[Trend, ...]:
        """Violations that repeated."""
        return tuple(trend for trend in self.trends if trend.counts)


def keep_window(
    workspace: Workspace, problem: str, content: Compared, *, version: int, how: str, by: str, bounds: Monitoring
) -> bool:
    """Note that a comparison was made for a problem, unless it was noted before; return whether it is new."""
    key = f"{problem}-{content.key}"
    if workspace.receipt(RECEIPTS, key):
        return False
    at = datetime.now(UTC).isoformat(timespec="microseconds")
    noted = Noted(window=content.key, version=version, how=how, by=by, bounds=bounds, at=at)
    workspace.keep_receipt(RECEIPTS, key, noted.model_dump(mode="json"))
    return True


def windows(workspace: Workspace, problem: str) -> list[Window]:
    """The windows of a problem that the store still has, oldest first.

    Of a batch that was compared anew, as when bounds changed or it was read with its labels, the newest comparison
    stands in the first one's place. Outcomes that were too few and wait for the next ones stand in the pool alone.
    """
    found = []
    for noted in workspace.receipts(RECEIPTS, problem, Noted):
        content = workspace.find("monitor", noted.window, Compared)
        if content is not None:
            found.append(Window(content, noted.version, noted.at, noted.by, noted.how, noted.bounds))
    found.sort(key=lambda window: (window.at, KINDS.index(window.kind), window.content.key))
    told = {one.content.batch: one.content.contents for one in found if one.content.contents is not None}
    of_batch: dict[tuple[str, str, str], Window] = {}
    for window in found:
        batch = window.content.batch
        name = (window.kind, window.content.candidate, told.get(batch, batch))
        before = of_batch.get(name)
        if window.kind == "performance" and before is not None and before.content.judged != window.content.judged:
            if before.content.judged:
                continue  # by other bounds the same outcomes were too few: what had enough stands
            del of_batch[name]  # it is as old as its figures
            before = None
        of_batch[name] = window if before is None else replace(window, at=before.at)
    return _without_lesser_pools(list(of_batch.values()))


def _without_lesser_pools(taken: list[Window]) -> list[Window]:
    """Windows without those of outcomes that were too few and stand in one that had enough, or in a larger pool."""
    over = {place for one in taken if one.content.judged for place in _places(one)}
    lesser = set()
    waiting = [one for one in taken if one.kind == "performance" and not one.content.judged]
    for one in sorted(waiting, key=lambda one: (len(one.content.parts), one.at), reverse=True):
        if over.isdisjoint(_places(one)):
            over.update(_places(one))
        else:
            lesser.add(one.content.key)
    return [one for one in taken if one.content.key not in lesser]


def _places(window: Window) -> list[tuple[str, str]]:
    """Of a performance: whose answers each of its outcomes is about."""
    if window.kind != "performance":
        return []
    return [(window.content.candidate, part) for part in window.content.parts]


def standing(
    workspace: Workspace, problem: str, candidate: str | None = None, bounds: Monitoring | None = None
) -> Standing:
    """How a champion stands by its windows.

    Args:
        candidate: key of the champion; that of the newest window when left out.
        bounds: by which figures are judged; those of the newest window when left out.
    """
    taken = windows(workspace, problem)
    if candidate is None and taken:
        candidate = taken[-1].content.candidate
    taken = [window for window in taken if window.content.candidate == candidate]
    bounds = bounds or (taken[-1].bounds if taken else Monitoring())
    performances = [window for window in taken if window.kind == "performance"]
    judged = [window for window in performances if window.content.judged]
    waiting = [window for window in performances if not window.content.judged]
    waiting_for_more = [window.content for window in waiting if window.content.subjects]
    seen: dict[tuple[Kind, str, str], list[Seen]] = {}
    for window in taken:
        if judged and window in waiting:
            continue  # they say nothing yet; what stands is the last window that had enough
        for figure in window.content.figures:
            one = Seen(window.at, window.content.key, figure, judge(figure, bounds))
            seen.setdefault((window.kind, *figure.name), []).append(one)
    trends = [_trend(name, of_name, bounds) for name, of_name in seen.items()]
    order = {"outside": 0, "within": 1, "too_few": 2}
    trends.sort(
        key=lambda one: (not one.counts, order[one.newest.verdict], KINDS.index(one.kind), one.measure, one.statistic)
    )
    return Standing(
        candidate=candidate if taken else None,
        version=taken[-1].version if taken else None,
        windows={kind: sum(window.kind == kind for window in taken if window not in waiting) for kind in KINDS},
        trends=tuple(trends),
        bounds=bounds,
        groups=next((window.content.groups for window in reversed(judged or performances)), ()),
        waiting=waiting_for_more[-1] if waiting_for_more else None,
    )


def judge(figure: Figure, bounds: Monitoring) -> Verdict:
    """What a figure is worth: outside where it passes its bound by more than chance explains."""
    value = figure.value
    if value is None:
        return "too_few"
    low, high = (value if end is None else end for end in (figure.low, figure.high))
    if figure.statistic in BY_CHANCE:
        outside = value > max(getattr(bounds, figure.statistic), figure.chance or 0.0)
    elif figure.statistic in ("missing", "alerts"):
        outside = abs(value) > getattr(bounds, figure.statistic) and (low > 0 or high < 0)
    elif figure.statistic == "intercept":
        outside = abs(value) > bounds.calibration_intercept and (low > 0 or high < 0)
    elif figure.statistic == "slope":
        smallest = bounds.calibration_slope
        outside = (value < smallest and high < 1) or (value > 1 / smallest and low > 1)
    else:
        outside = _worse(figure, low, high, bounds)
    return "outside" if outside else "within"


def bound_of(figure: Figure, bounds: Monitoring) -> tuple[float | None, float | None]:
    """The least and the largest value at which a figure is still within; None where it may go as far as it likes."""
    if figure.statistic in BY_CHANCE:
        return None, max(getattr(bounds, figure.statistic), figure.chance or 0.0)
    if figure.statistic in ("missing", "alerts"):
        return -getattr(bounds, figure.statistic), getattr(bounds, figure.statistic)
    if figure.statistic == "intercept":
        return -bounds.calibration_intercept, bounds.calibration_intercept
    if figure.statistic == "slope":
        return bounds.calibration_slope, 1 / bounds.calibration_slope
    if figure.measure in LOWER_IS_BETTER:
        return None, None if figure.reference is None else figure.reference + bounds.loss
    least = [] if figure.reference is None else [figure.reference - bounds.loss]
    least += [floor for metric, floor in (bounds.floors or {}).items() if metric == figure.measure]
    return max(least, default=None), None


def told_bound(figure: Figure, bounds: Monitoring) -> str:
    """The bound in words.

    >>> told_bound(Figure(measure="age", statistic="psi", value=0.1, subjects=50), Monitoring())
    'at most 0.25'
    """
    least, most = (None if end is None else _shown(figure, end) for end in bound_of(figure, bounds))
    if least is not None and most is not None:
        return f"{least} to {most}"
    if most is not None:
        return f"at most {most}"
    return "–" if least is None else f"at least {least}"


def _shown(figure: Figure, value: float) -> str:
    """A bound as a reader expects it: shares in percent, their changes in percentage points."""
    if figure.statistic in ("missing", "alerts"):
        return f"{100 * value:+.3g} points".replace("-", "−")
    return f"{100 * value:.3g} %" if figure.statistic in ("units", "codes") else f"{value:.3g}".replace("-", "−")


def _worse(figure: Figure, low: float, high: float, bounds: Monitoring) -> bool:
    """Whether even the favourable end of a metric's interval is too bad."""
    least, most = bound_of(figure, bounds)
    return (least is not None and high < least) or (most is not None and low > most)


def _trend(name: tuple[Kind, str, str], seen: list[Seen], bounds: Monitoring) -> Trend:
    said = [one for one in seen if one.verdict != "too_few"][-bounds.of_last :]
    violations = sum(one.verdict == "outside" for one in said)
    return Trend(*name, tuple(seen), told_bound(seen[-1].figure, bounds), violations, violations >= bounds.repeats)


def facts_of(trend: Trend) -> dict[str, Any]:
    """A trend as plain JSON: names and figures."""
    figure = trend.newest.figure
    return {
        "kind": trend.kind,
        "measure": trend.measure,
        "statistic": trend.statistic,
        "value": figure.value,
        "low": figure.low,
        "high": figure.high,
        "chance": figure.chance,
        "reference": figure.reference,
        "here": None if figure.here is None else figure.here.model_dump(),
        "subjects": figure.subjects,
        "bound": trend.bound,
        "verdict": trend.newest.verdict,
        "why": figure.why,
        "violations": trend.violations,
        "windows": len(trend.seen),
        "counts": trend.counts,
    }
