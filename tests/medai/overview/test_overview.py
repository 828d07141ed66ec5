"""The overview: what is told of a site, as values, as pages and as figures."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from medai.ledger import Ledger
from medai.monitoring import Monitoring
from medai.monitoring.records import Compared, Figure
from medai.monitoring.windows import keep_window
from medai.overview import FlowRun, Judged, Overview, Plan, ProblemView, VersionPoint
from medai.overview.content import Drifting
from medai.overview.gathering import gather
from medai.overview.metrics import exposition
from medai.overview.page import WORST, bars, points, problem, site

NAME = "hospital_mortality"
WIDE = (120, 30, 4)


def plan(kind: str = "COMPLETED") -> Plan:
    """A schedule, and a run that ended."""
    run = FlowRun(flow="retrain", name="r", state=kind.title(), kind=kind, at="2026-11-20T03:00:00+00:00", seconds=61.2)
    return Plan(schedules=("retrains at 0 3 * * 1 UTC",), next="2026-11-23T03:00:00+00:00", runs=(run,))


def test_a_problem_is_told_from_the_ledger(ledger: Ledger) -> None:
    """Champion, each version with its figure and verdict, verdicts on data, approvals, aliases moved by hand."""
    overview = gather(ledger, {NAME: plan()}, {NAME: {"report": "/x"}}, {"Prefect": "http://127.0.0.1:4200"})
    (view,) = overview.problems
    assert (view.problem, view.champion, view.how, view.by) == (NAME, 3, "gate", "anna")
    assert view.question.startswith("Will this generated patient")
    assert [(one.version, one.verdict, one.value) for one in view.versions] == [
        (1, "promoted", 0.8),
        (2, "refused", 0.7),
        (3, "promoted", 0.85),
        (4, "awaiting_approval", 0.9),
    ]
    assert view.newest is not None
    assert view.newest.version == 3
    assert [(one.rows, one.set_aside, one.passed) for one in view.quality] == [(1000, 10, True), (1000, 40, True)]
    assert [(one.version, one.wanted) for one in view.approvals] == [(4, ("approved by a person",))]
    assert view.decisions == {"awaiting_approval": 1, "promoted": 2, "refused": 1}
    assert (view.moved, view.light, overview.waiting, overview.broken) == (1, "act", 0, "")
    assert [(turn.what, turn.reason) for turn in view.turns[:3]] == [
        ("version 4: awaiting approval", "because awaiting_approval"),
        ("MLflow's alias was moved by hand, and put back", "it pointed at version 2"),
        ("version 3 promoted by the gate", "enough"),
    ]
    assert overview.lines == len(ledger.entries())


def test_data_are_counted_as_the_gate_counts_them(ledger: Ledger) -> None:
    """All tables and what the reader dropped; of a line of before there were those, the first table stands alone."""
    facts = {"report": "q3", "snapshot": "s3", "passed": True, "rows": 1576, "rules": 9, "blocking": []}
    facts |= {"set_aside": {"constant": 30}}
    ledger.append("judged", NAME, facts | {"tables": {"pictures": 1576, "labels": 1576}, "dropped": 8})
    ledger.append("judged", NAME, facts | {"report": "q4"})
    (view,) = gather(ledger).problems
    assert [(one.rows, one.set_aside) for one in view.quality[-2:]] == [(3160, 38), (1576, 30)]


def test_a_version_that_a_person_withdrew_says_so(ledger: Ledger) -> None:
    """Until a person promotes it again; what the gate had said of it stays."""
    ledger.rollback(NAME, reason="the ward distrusts it")
    (view,) = gather(ledger).problems
    assert [(one.version, one.verdict) for one in view.versions if one.withdrawn] == [(3, "promoted")]
    page = problem(gather(ledger), view)
    assert 'promoted, then <span class="mark unmet">withdrawn</span>' in page
    assert "UTC (again, since version 3 was withdrawn by anna): the ward distrusts it</p>" in page
    ledger.promote(NAME, version=3, candidate="c3", run_id="r", how="person", reason="the scanner was", expected="c1")
    (view,) = gather(ledger).problems
    assert not any(one.withdrawn for one in view.versions)


def test_drift_is_told_in_the_units_of_its_bound() -> None:
    """Changes of a share in percentage points, a share in percent, statistics by their names on the windows' page."""
    told = {"kind": "data", "subjects": 50, "verdict": "outside", "counts": False, "why": ""}
    twice = told | {"measure": "heart_rate", "statistic": "ks", "value": 0.1, "bound": "at most 0.2", "counts": True}
    measures = (
        told | {"measure": "alerts", "statistic": "alerts", "value": -0.05, "bound": "−10 points to +10 points"},
        told | {"measure": "new_codes", "statistic": "codes", "value": 0.07, "bound": "at most 5 %"},
        told | {"measure": "ph", "statistic": "psi", "value": 0.3, "bound": "at most 0.25"},
        twice,
    )
    drifting = Drifting(counting=("heart_rate (ks)",), measures=measures)
    view = ProblemView(problem=NAME, champion=1, drifting=drifting)
    page = problem(Overview(at="2026-11-22T04:00:00+00:00", problems=(view,)), view)
    assert "<p>Drift that counts: heart rate (distance of distributions).</p>" in page
    assert ">−5.0 points</td>" in page
    assert ">7.0 %</td>" in page
    assert '<th scope="row">pH<span class="says">stability index</span>' in page


def test_a_damaged_window_of_one_problem_hides_no_other(ledger: Ledger) -> None:
    """Its page says what is wrong, and calls nothing within its bounds; the others, and the metrics, are told."""
    ledger.promote("other", version=1, candidate="d1", run_id="r", how="gate", reason="enough", expected=None)
    ledger.workspace.keep_receipt("windows", f"{NAME}-w", {"window": "w", "bounds": 7})
    overview = gather(ledger)
    broken, other = overview.problems
    wrong = f"receipts/windows/{NAME}-w.json was altered"
    assert (broken.problem, broken.drifting.broken, broken.light) == (NAME, wrong, "act")
    assert (other.problem, other.drifting.broken) == ("other", "")
    assert f"Nobody knows how it stands by its windows: {wrong}." in problem(overview, broken)
    assert '<span class="unmet">not known</span>' in site(overview)
    figures = exposition(overview).decode()
    assert 'medai_drift_counting_measures{problem="other"} 0.0' in figures
    assert f'medai_drift_counting_measures{{problem="{NAME}"}}' not in figures


def test_a_broken_audit_is_told_and_nothing_that_rests_on_it(ledger: Ledger) -> None:
    """The page says which line is broken; no champion is shown, and nothing is raised."""
    data = ledger.path.read_bytes()
    ledger.path.write_bytes(data.replace(b'"version":3', b'"version":2', 1))
    overview = gather(ledger)
    assert overview.problems == ()
    assert re.match(r"line \d+ of audit.jsonl was altered", overview.broken)
    page = site(overview)
    assert "The audit is not whole" in page
    assert "medai audit verify" in page
    assert b"medai_audit_whole 0.0" in exposition(overview)


@pytest.mark.parametrize(
    ("view", "light"),
    [
        (ProblemView(problem="x"), "nobody"),
        (ProblemView(problem="x", champion=1), "unwatched"),
        (ProblemView(problem="x", champion=1, drifting=Drifting(measures=({"verdict": "too_few"},))), "unwatched"),
        (ProblemView(problem="x", champion=1, drifting=Drifting(measures=({"verdict": "within"},))), "steady"),
        (ProblemView(problem="x", champion=1, plan=plan("CRASHED")), "look"),
        (ProblemView(problem="x", champion=1, drifting=Drifting(outside=("age (psi)",))), "look"),
        (ProblemView(problem="x", champion=1, drifting=Drifting(counting=("age (psi)",))), "act"),
        (ProblemView(problem="x", quality=(Judged(at="", passed=False, rows=9, set_aside=9),)), "act"),
    ],
)
def test_a_person_is_called_when_one_is_needed(view: ProblemView, light: str) -> None:
    """Drift that counts, refused data and approvals call; what is outside once, or a failed run, is worth a look; and
    nobody is called steady before anything could be judged.
    """
    assert view.light == light


def test_what_is_worth_a_look_is_named_whatever_else_is_within(ledger: Ledger) -> None:
    """The one measure that is outside stands in the words above, with its bound, and among the few that are told."""
    within = [
        Figure(measure=f"variable_{number}", statistic="psi", value=0.1, subjects=50) for number in range(2 * WORST)
    ]
    auroc = Figure(measure="auroc", statistic="metric", value=0.6, low=0.5, high=0.7, reference=0.9, subjects=50)
    for kind, figures in (("data", within), ("performance", [auroc])):
        content = Compared(
            key=kind * 4, kind=kind, candidate="c3", batch="b", unit="patient", samples=50, subjects=50,
            figures=tuple(figures),
        )  # fmt: skip
        ledger.workspace.materialise("monitor", content.key, Compared, partial(_given, content))
        keep_window(ledger.workspace, NAME, content, version=3, how="label", by="x", bounds=Monitoring())
    overview = gather(ledger)
    (view,) = overview.problems
    assert view.drifting.outside == ("auroc",)
    page = problem(overview, view)
    assert "<p>Outside its bound, drift if it repeats: AUROC 0.600 (at least 0.85).</p>" in page
    assert '<th scope="row">AUROC</th>' in page
    assert page.count(">within<") == WORST - 1


def _given(content: Compared, _folder: Path) -> Compared:
    return content


def test_what_nobody_could_judge_is_not_within_bounds(ledger: Ledger) -> None:
    """Neither steady nor within: too few to be judged; and not monitored where nothing was compared."""
    figure = {"measure": "auroc", "statistic": "metric", "kind": "performance", "value": None, "why": "too few"}
    figure |= {"bound": "–", "subjects": 3, "verdict": "too_few", "counts": False}
    few = ProblemView(problem="few", champion=1, drifting=Drifting(measures=(figure,)))
    none = ProblemView(problem="none", champion=1)
    within = ProblemView(problem="within", champion=1, drifting=Drifting(measures=(figure | {"verdict": "within"},)))
    page = site(Overview(at="2026-11-22T04:00:00+00:00", problems=(few, none, within)))
    assert page.count("Not judged yet") == 2
    assert (page.count("too few to be judged"), page.count("not monitored"), page.count("within bounds")) == (1, 1, 1)


def test_bars_of_few_rows_set_aside_are_low() -> None:
    """A share of no account does not fill the drawing; a large one does, and no other is as high."""
    one, two, three = (
        bars([Judged(at="", passed=True, rows=100_000, set_aside=aside)], (120, 30, 4))["bars"][0]["height"]
        for aside in (30, 2_500, 40_000)
    )
    assert (one, two, three) == (1.0, 11.0, 22.0)
    assert bars([], (120, 30, 4))["highest"] == 0.0


def test_pages_hold_all_that_is_told_and_no_script(ledger: Ledger) -> None:
    """Links, the approval's command, the schedule; names are escaped, and nothing is fetched from anywhere."""
    overview = gather(ledger, {NAME: plan(), "<b>&": Plan()}, {NAME: {"report": "/problems/x/report"}})
    front, (view, *_) = site(overview), [one for one in overview.problems if one.problem == NAME]
    assert "A person is needed" in front
    assert "1 approval open" in front
    assert f'href="problem-{NAME}.html"' in front
    assert f'href="/problems/{NAME}"' in site(overview, links=False)
    assert "&lt;b&gt;&amp;" in front
    page = problem(overview, view)
    for told in ("medai promote hospital_mortality 4 --reason", "0 3 * * 1 UTC", "2026-11-23 03:00", "61.2", "refused"):
        assert told in page
    for text in (front, page):
        assert "default-src 'none'" in text
        assert not re.search(r"<script|src=|@import|url\(", text)


def test_figures_are_read_back_by_prometheus_own_parser(ledger: Ledger) -> None:
    """Names and labels as its conventions ask; a figure that nobody knows has no sample."""
    overview = gather(ledger, {NAME: plan("FAILED")}, services={"Prefect": None, "MLflow": "http://127.0.0.1:5000"})
    samples = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(exposition(overview).decode())
        for sample in family.samples
    }
    assert samples["medai_champion_version", NAME] == 3
    assert samples["medai_champion_metric", "auroc", NAME, "value"] == 0.85
    assert samples["medai_decisions_total", NAME, "promoted"] == 2
    assert samples["medai_quality_set_aside_rows", NAME] == 40
    assert samples["medai_approvals_open", NAME] == 1
    assert samples["medai_alias_moved_total", NAME] == 1
    assert samples["medai_last_run_failed", NAME] == 1
    assert samples["medai_service_up", "Prefect"] == 0
    assert samples["medai_service_up", "MLflow"] == 1
    assert samples["medai_next_run_timestamp_seconds", NAME] == 1795402800
    assert not [name for name, *_ in samples if name.endswith("_created")]
    nobody = exposition(Overview(at="", problems=(ProblemView(problem="x"),))).decode()
    assert "medai_champion_version" in nobody
    assert "medai_champion_since_timestamp_seconds{" not in nobody


def test_a_drawing_holds_only_figures_that_compare() -> None:
    """Versions judged by another metric are left out; the newest 24 remain; the champion is marked."""
    older = [VersionPoint(version=n, at="", verdict="", metric="dice", value=0.1) for n in range(5)]
    newer = [VersionPoint(version=n, at="", verdict="", metric="auroc", value=n / 100) for n in range(60, 90)]
    drawn = points([*older, *newer], 70, WIDE)
    assert [one["version"] for one in drawn["points"]] == list(range(66, 90))
    assert [one["version"] for one in drawn["points"] if one["champion"]] == [70]
    assert (drawn["metric"], drawn["low"], drawn["high"]) == ("auroc", 0.66, 0.89)
    assert drawn["points"][0]["y"] > drawn["points"][-1]["y"]
    assert points([], None, WIDE)["points"] == []


def test_bars_are_shares_of_the_highest() -> None:
    """A verdict without rows set aside still shows; one that was not passed is marked."""
    drawn = bars([Judged(at="", passed=n < 2, rows=100, set_aside=n * 10) for n in range(3)], WIDE)
    assert [one["height"] for one in drawn["bars"]] == [1.0, 11.0, 22.0]
    assert [one["passed"] for one in drawn["bars"]] == [True, True, False]
    assert drawn["highest"] == 0.2


def test_an_empty_home_says_what_to_do(tmp_path: Path) -> None:
    """Nothing was run: no error, and the first command."""
    from medai.workspace import Workspace

    overview = gather(Ledger(Workspace(tmp_path), by="anna"))
    assert "medai demo" in site(overview)
    assert not (tmp_path / "keys").exists()
