"""The overview as figures for Prometheus, in its text format (version 0.0.4), for the dashboards a hospital has.

Names follow Prometheus' conventions: base units, a prefix, ``_total`` for counters, ``_timestamp_seconds`` for times.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from medai.overview.content import Overview, ProblemView

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def exposition(overview: Overview) -> bytes:
    """All figures of a site, as a scrape reads them.

    A figure that is not known has no sample, rather than a zero that would be taken for one.
    """
    from prometheus_client import CollectorRegistry, Counter, Gauge, disable_created_metrics, generate_latest

    disable_created_metrics()  # type: ignore[no-untyped-call]  # the time of this look is not when counting began
    registry = CollectorRegistry()

    def gauge(name: str, help_: str, *labels: str) -> Callable[..., None]:
        family = Gauge(f"medai_{name}", help_, labels, registry=registry)

        def put(value: float, *of: str) -> None:
            (family.labels(*of) if labels else family).set(value)

        return put

    def counter(name: str, help_: str, *labels: str) -> Callable[..., None]:
        family = Counter(f"medai_{name}", help_, labels, registry=registry)

        def put(value: float, *of: str) -> None:
            (family.labels(*of) if labels else family).inc(value)

        return put

    gauge("audit_lines", "Lines of the audit.")(overview.lines)
    gauge("audit_whole", "1 if the audit's chain is whole, 0 if it is broken.")(float(not overview.broken))
    gauge("waiting_deliveries", "Decisions that MLflow could not be told yet.")(overview.waiting)
    up = gauge("service_up", "1 if the service answers.", "service")
    for name, address in overview.services.items():
        up(float(address is not None), name)
    champion = gauge("champion_version", "Version that is champion; 0 for none.", "problem")
    since = gauge("champion_since_timestamp_seconds", "When the champion was promoted.", "problem")
    metric = gauge("champion_metric", "Figure on its own test; bound: value, low, high.", "problem", "metric", "bound")
    decisions = counter("decisions", "Decisions of the gate.", "problem", "verdict")
    passed = gauge("quality_passed", "1 if the newest data passed their rules.", "problem")
    rows = gauge("quality_rows", "Rows of the newest data, of all tables.", "problem")
    aside = gauge("quality_set_aside_rows", "Rows of the newest data that were left out.", "problem")
    windows = gauge("monitoring_windows", "Windows compared with the champion's reference.", "problem", "kind")
    counting = gauge("drift_counting_measures", "Measures whose violation repeated.", "problem")
    outside = gauge("drift_outside_measures", "Measures outside their bound, not yet repeated.", "problem")
    drift = gauge("monitoring_figure", "Newest figure of a measure.", "problem", "kind", "measure", "statistic")
    approvals = gauge("approvals_open", "Versions that wait for a person.", "problem")
    moved = counter("alias_moved", "Times that an alias in MLflow was moved by hand.", "problem")
    last = gauge("last_decision_timestamp_seconds", "When the gate last decided.", "problem")
    due = gauge("next_run_timestamp_seconds", "When the next retraining is due.", "problem")
    runs = gauge("last_run_failed", "1 if the newest run of the flows failed or crashed.", "problem")
    for view in overview.problems:
        name = view.problem
        champion(view.champion or 0, name)
        if view.since:
            since(_seconds(view.since), name)
        _figures(view, metric)
        for verdict, number in view.decisions.items():
            decisions(number, name, verdict)
        if view.quality:
            newest = view.quality[-1]
            passed(float(newest.passed), name)
            rows(newest.rows, name)
            aside(newest.set_aside, name)
        for kind, number in view.drifting.windows.items():
            windows(number, name, kind)
        if not view.drifting.broken:
            counting(len(view.drifting.counting), name)
            outside(len(view.drifting.outside), name)
        for one in view.drifting.measures:
            if one["value"] is not None:
                drift(one["value"], name, one["kind"], one["measure"], one["statistic"])
        approvals(len(view.approvals), name)
        moved(view.moved, name)
        if view.last_run:
            last(_seconds(view.last_run), name)
        if view.plan.next:
            due(_seconds(view.plan.next), name)
        if view.plan.runs:
            runs(float(view.plan.runs[0].kind in ("FAILED", "CRASHED")), name)
    return generate_latest(registry)


def _figures(view: ProblemView, metric: Callable[..., None]) -> None:
    newest = view.newest
    if newest is None:
        return
    for bound in ("value", "low", "high"):
        value = getattr(newest, bound)
        if value is not None:
            metric(value, view.problem, newest.metric, bound)


def _seconds(at: str) -> float:
    return datetime.fromisoformat(at).timestamp()
