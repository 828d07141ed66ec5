"""Windows in their order, what repeats, and the line in the audit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from medai.ledger import Ledger
from medai.locks import StillHeld
from medai.monitoring import Monitoring
from medai.monitoring.detection import detect
from medai.monitoring.page import drawn, write_page
from medai.monitoring.records import Compared, Figure, Statistic
from medai.monitoring.windows import bound_of, judge, keep_window, standing, told_bound, windows
from medai.records import Measure, Subgroup
from medai.workspace import Workspace

BOUNDS = Monitoring()


def psi(value: float | None) -> Figure:
    """The index of one column."""
    return Figure(measure="age", statistic="psi", value=value, chance=0.1, subjects=50, why="" if value else "too few")


def take(
    workspace: Workspace,
    *figures: Figure,
    batch: str = "",
    candidate: str = "c",
    kind: Any = "data",
    version: int = 1,
    **more: Any,
) -> Compared:
    """Put a window where ``monitor`` would have left it, and note it for the problem."""
    number = len(list((workspace.root / "store" / "monitor").glob("[0-9a-f]*")))
    content = Compared(
        key=f"{number:032x}",
        kind=kind,
        candidate=candidate,
        batch=batch or str(number),
        unit="patient",
        samples=60,
        **{"subjects": 50, **more},
        figures=figures,
    )
    workspace.materialise("monitor", content.key, Compared, lambda _folder: content)
    keep_window(workspace, "ward", content, version=version, how="monitor", by="nurse", bounds=BOUNDS)
    return content


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """An empty one."""
    return Workspace(tmp_path / "home")


def test_windows_stand_in_the_order_in_which_they_were_taken(workspace: Workspace) -> None:
    """With who took them, and once; a problem whose name begins alike has none."""
    contents = [take(workspace, psi(0.1)) for _ in range(3)]
    assert [window.content for window in windows(workspace, "ward")] == contents
    assert not keep_window(workspace, "ward", contents[0], version=1, how="run", by="x", bounds=BOUNDS)
    first = windows(workspace, "ward")[0]
    assert (first.by, first.how, first.version, first.kind, first.bounds) == ("nurse", "monitor", 1, "data", BOUNDS)
    assert windows(workspace, "war") == windows(workspace, "ward_2") == []


def test_a_batch_that_is_compared_anew_keeps_its_place(workspace: Workspace) -> None:
    """As after a change of bounds: the newer figures, at the time of the first."""
    take(workspace, psi(0.1), batch="first")
    take(workspace, psi(0.2), batch="second")
    before = windows(workspace, "ward")
    take(workspace, psi(0.3), batch="first")
    after = windows(workspace, "ward")
    assert [window.content.figures[0].value for window in after] == [0.3, 0.2]
    assert [window.at for window in after] == [window.at for window in before]


def test_a_batch_that_is_read_with_labels_and_without_is_one_window(workspace: Workspace) -> None:
    """The newest figures in the first one's place, of each kind and champion; other contents are another batch."""
    for kind in ("data", "predictions"):
        take(workspace, psi(0.5), batch="with labels", contents="a", kind=kind)
        take(workspace, psi(0.6), batch="without", contents="a", kind=kind)
    take(workspace, psi(0.7), batch="others", contents="b")
    assert [(window.kind, window.content.figures[0].value) for window in windows(workspace, "ward")] == [
        ("data", 0.6), ("predictions", 0.6), ("data", 0.7),
    ]  # fmt: skip
    assert standing(workspace, "ward").windows == {"data": 2, "predictions": 1, "performance": 0}
    take(workspace, psi(0.8), batch="without", contents="a", candidate="d")
    assert len(windows(workspace, "ward")) == 4


def test_windows_that_tell_no_contents_are_known_by_their_batch(workspace: Workspace) -> None:
    """Such as those of performance, or of an earlier medai, until their batch is compared anew."""
    take(workspace, psi(0.1), batch="stays")
    take(workspace, psi(0.2), batch="pictures")
    take(workspace, psi(0.3), batch="stays")
    assert [window.content.figures[0].value for window in windows(workspace, "ward")] == [0.3, 0.2]
    take(workspace, psi(0.4), batch="pictures", contents="a")
    take(workspace, psi(0.5), batch="labelled pictures", contents="a")
    assert [window.content.figures[0].value for window in windows(workspace, "ward")] == [0.3, 0.5]


def test_a_violation_counts_when_it_repeats(workspace: Workspace) -> None:
    """Once is not enough, nor twice in eight windows; two of the last five are."""
    for value, counts in ((0.5, False), *[(0.1, False)] * 4, (0.5, False), (0.5, True), (0.1, True)):
        take(workspace, psi(value))
        (trend,) = standing(workspace, "ward").trends
        assert trend.counts == counts
    assert (trend.violations, len(trend.seen), trend.newest.verdict, trend.bound) == (2, 8, "within", "at most 0.25")
    assert standing(workspace, "ward").windows == {"data": 8, "predictions": 0, "performance": 0}


def test_windows_of_too_few_take_nobodys_place(workspace: Workspace) -> None:
    """The last five are those in which the measure had a figure."""
    for value in (0.5, None, None, None, None, None, 0.5):
        take(workspace, psi(value))
    now = standing(workspace, "ward")
    assert [(one.measure, one.violations) for one in now.counting] == [("age", 2)]


def auroc(value: float | None) -> Figure:
    """A performance, or one of too few."""
    low, high = (None, None) if value is None else (value - 0.05, value + 0.05)
    why = "" if value else "too few"
    return Figure(
        measure="auroc", statistic="metric", value=value, low=low, high=high, reference=0.9, subjects=50, why=why
    )


def site(level: str) -> Subgroup:
    """A site of a window."""
    found = {"auroc": Measure(value=0.8, low=0.7, high=0.9)}
    return Subgroup(group="site", level=level, samples=50, subjects=50, positives=9, positive_subjects=9, metrics=found)


def test_outcomes_that_wait_stand_in_their_pool_alone(workspace: Workspace) -> None:
    """Each larger pool takes the smaller one's place, until it has enough; another champion's is its own."""
    take(workspace, auroc(None), batch="a", kind="performance")
    take(workspace, auroc(None), batch="ab", pooled=("a", "b"), kind="performance")
    take(workspace, auroc(None), batch="a", kind="performance", candidate="d")
    assert [window.content.parts for window in windows(workspace, "ward")] == [("a", "b"), ("a",)]
    take(workspace, auroc(0.8), batch="abc", pooled=("a", "b", "c"), kind="performance")
    take(workspace, auroc(None), batch="e", kind="performance")
    take(workspace, auroc(0.8), batch="f", kind="performance")
    assert [window.content.parts for window in windows(workspace, "ward")] == [("a",), ("a", "b", "c"), ("e",), ("f",)]


def test_a_pool_by_earlier_bounds_hides_no_window_that_had_enough(workspace: Workspace) -> None:
    """What was too few together is judged in parts, once fewer are asked for."""
    take(workspace, auroc(None), batch="ab", pooled=("a", "b"), kind="performance")
    take(workspace, auroc(0.8), batch="a", kind="performance")
    take(workspace, auroc(None), batch="b", kind="performance")
    assert [window.content.parts for window in windows(workspace, "ward")] == [("a",), ("b",)]


def test_by_other_bounds_no_window_that_had_enough_is_hidden(workspace: Workspace) -> None:
    """The same outcomes, too few by the bounds of somebody else: whichever of the two was noted first."""
    for batch, values in (("ab", (0.8, None)), ("ef", (None, 0.7))):
        for value in values:
            take(workspace, auroc(value), batch=batch, pooled=tuple(batch), kind="performance")
    taken = windows(workspace, "ward")
    assert [(window.content.batch, window.content.figures[0].value) for window in taken] == [("ab", 0.8), ("ef", 0.7)]
    assert standing(workspace, "ward").windows["performance"] == 2


def test_a_pool_that_is_judged_is_as_old_as_its_figures(workspace: Workspace) -> None:
    """It stands where it was judged, not where it was too few."""
    take(workspace, auroc(None), batch="a", kind="performance")
    take(workspace, auroc(0.8), batch="b", kind="performance")
    take(workspace, auroc(0.7), batch="a", kind="performance")
    taken = windows(workspace, "ward")
    assert [window.content.batch for window in taken] == ["b", "a"]
    assert taken[0].at < taken[1].at


def test_of_pools_that_share_outcomes_one_waits(workspace: Workspace) -> None:
    """As after outcomes were lost: the newest of two that are as large."""
    take(workspace, auroc(None), batch="abc", pooled=("a", "b", "c"), kind="performance")
    take(workspace, auroc(None), batch="bcd", pooled=("b", "c", "d"), kind="performance")
    assert [window.content.batch for window in windows(workspace, "ward")] == ["bcd"]
    assert standing(workspace, "ward").windows["performance"] == 0


def test_whom_the_champion_was_fitted_on_does_not_wait(workspace: Workspace) -> None:
    """Outcomes of nobody else can never be enough."""
    nobody = auroc(None).model_copy(update={"subjects": 0})
    take(workspace, nobody, batch="a", kind="performance", known=7, subjects=0)
    assert standing(workspace, "ward").waiting is None
    take(workspace, auroc(None), batch="b", kind="performance", known=7, subjects=3)
    waiting = standing(workspace, "ward").waiting
    assert waiting is not None
    assert waiting.subjects == 3


def test_what_stands_is_the_last_performance_that_had_enough(workspace: Workspace) -> None:
    """Those who wait say nothing of it: neither of its figures nor of its sites; before there is any they are told."""
    take(workspace, auroc(None), kind="performance", groups=(site("north"),), pooled=("a", "b"))
    now = standing(workspace, "ward", "c")
    assert [trend.newest.verdict for trend in now.trends] == ["too_few"]
    assert (now.groups, now.waiting and now.waiting.parts) == ((site("north"),), ("a", "b"))
    take(workspace, auroc(0.7), kind="performance", groups=(site("south"),))
    take(workspace, auroc(None), kind="performance", groups=(site("west"),), pooled=("e", "f"))
    now = standing(workspace, "ward", "c")
    assert [(trend.newest.verdict, len(trend.seen)) for trend in now.trends] == [("outside", 1)]
    assert (now.groups, now.waiting and now.waiting.parts) == ((site("south"),), ("e", "f"))


def test_what_is_outside_stands_first_of_whatever_kind(workspace: Workspace) -> None:
    """A performance that is outside comes before data that are within, and what counts before both."""
    for _ in range(2):
        take(workspace, Figure(measure="weight", statistic="psi", value=0.5, subjects=50), psi(0.1))
    take(workspace, auroc(0.6), kind="performance")
    assert [trend.measure for trend in standing(workspace, "ward").trends] == ["weight", "auroc", "age"]


def test_another_champion_begins_anew(workspace: Workspace) -> None:
    """What the earlier one met counts for it alone."""
    for _ in range(2):
        take(workspace, psi(0.5))
    take(workspace, psi(0.5), candidate="d", version=2)
    now = standing(workspace, "ward")
    assert (now.candidate, now.version, now.counting) == ("d", 2, ())
    assert len(standing(workspace, "ward", "c").counting) == 1
    nobody = standing(workspace, "ward", "e")
    assert (nobody.candidate, nobody.trends) == (None, ())


def test_bounds_of_the_day_judge_figures_of_yesterday(workspace: Workspace) -> None:
    """A bound that is raised takes its violations back."""
    for _ in range(2):
        take(workspace, psi(0.5))
    assert standing(workspace, "ward").counting
    assert not standing(workspace, "ward", bounds=Monitoring(psi=0.6)).counting


@pytest.mark.parametrize(
    ("statistic", "value", "low", "high", "verdict"),
    [
        ("psi", 0.26, None, None, "outside"),
        ("ks", 0.2, None, None, "within"),
        ("ks", 0.21, None, None, "outside"),
        ("missing", 0.2, 0.1, 0.3, "outside"),
        ("missing", 0.2, -0.1, 0.5, "within"),
        ("missing", 0.05, 0.01, 0.1, "within"),
        ("alerts", -0.2, -0.3, -0.1, "outside"),
        ("units", 0.11, None, None, "outside"),
        ("codes", 0.05, None, None, "within"),
        ("intercept", 0.6, 0.1, 1.1, "outside"),
        ("intercept", 0.6, -0.1, 1.3, "within"),
        ("slope", 0.4, 0.2, 0.6, "outside"),
        ("slope", 0.4, -0.4, 1.2, "within"),
        ("slope", 2.5, 1.5, 3.5, "outside"),
    ],
)  # fmt: skip
def test_what_a_figure_is_worth(
    statistic: Statistic, value: float, low: float | None, high: float | None, verdict: str
) -> None:
    """Outside the bound by more than chance explains."""
    figure = Figure(measure="x", statistic=statistic, value=value, low=low, high=high, subjects=50)
    assert judge(figure, BOUNDS) == verdict


def test_chance_may_lie_above_the_bound() -> None:
    """With few subjects the limit is what chance reaches."""
    assert judge(psi(0.3).model_copy(update={"chance": 0.4}), BOUNDS) == "within"
    assert told_bound(psi(0.3).model_copy(update={"chance": 0.4}), BOUNDS) == "at most 0.4"


def test_a_performance_is_judged_by_the_favourable_end() -> None:
    """Against its own test less the loss, or the floor, whichever is higher; of an error the other way round."""
    bounds = Monitoring(floors={"auroc": 0.78})

    def metric(name: str, low: float, high: float, own: float | None) -> Figure:
        middle = (low + high) / 2
        return Figure(measure=name, statistic="metric", value=middle, low=low, high=high, reference=own, subjects=90)

    assert judge(metric("auroc", 0.6, 0.79, 0.8), bounds) == "within"
    assert judge(metric("auroc", 0.6, 0.77, 0.8), bounds) == "outside"
    assert judge(metric("auroc", 0.7, 0.84, 0.9), bounds) == "outside"
    assert judge(metric("auroc", 0.7, 0.84, 0.9), Monitoring(loss=0.1)) == "within"
    assert judge(metric("ppv", 0.1, 0.2, None), bounds) == "within"
    assert told_bound(metric("ppv", 0.1, 0.2, None), bounds) == "–"
    assert judge(metric("brier", 0.3, 0.4, 0.2), bounds) == "outside"
    assert bound_of(metric("brier", 0.3, 0.4, 0.2), bounds) == (None, 0.25)
    assert (
        told_bound(Figure(measure="x", statistic="missing", value=0, subjects=1), bounds) == "−10 points to +10 points"
    )


def test_what_counts_stands_once_in_the_audit(workspace: Workspace) -> None:
    """One line for a champion and measure; a further measure gets its own; another champion, too."""
    ledger = Ledger(workspace, by="nurse")
    take(workspace, psi(0.5))
    assert detect(ledger, "ward", standing(workspace, "ward")) is None
    second = take(workspace, psi(0.5))
    found = detect(ledger, "ward", standing(workspace, "ward"))
    assert found is not None
    assert (found["candidate"], found["version"], len(found["windows"])) == ("c", 1, 2)
    (told,) = found["measures"]
    assert (told["kind"], told["measure"], told["statistic"], told["value"], told["bound"], told["violations"]) == (
        "data", "age", "psi", 0.5, "at most 0.25", 2,
    )  # fmt: skip
    assert second.key in found["windows"]
    take(workspace, psi(0.5))
    assert detect(ledger, "ward", standing(workspace, "ward")) is None
    for _ in range(2):
        take(workspace, Figure(measure="age", statistic="units", value=0.5, subjects=50))
    further = detect(ledger, "ward", standing(workspace, "ward"))
    assert [one["statistic"] for one in (further or {})["measures"]] == ["units"]
    for _ in range(2):
        take(workspace, psi(0.5), candidate="d", version=2)
    assert detect(ledger, "ward", standing(workspace, "ward")) is not None
    assert [(entry.problem, entry.kind) for entry in ledger.entries()] == [("ward", "detected")] * 3


def test_of_two_who_find_the_same_drift_at_once_one_writes_it(workspace: Workspace) -> None:
    """Nobody comes between the look at the audit and the line: no other lock is relied on, which might be lost."""
    for _ in range(2):
        take(workspace, psi(0.5))
    now, other = standing(workspace, "ward"), Ledger(Workspace(workspace.root, lock_seconds=1), by="other")
    found = []

    class Overtaken:
        """What happens right before it is this one's turn to write."""

        @contextmanager
        def hold(self, name: str, seconds: float | None = None) -> Iterator[StillHeld]:
            if name == "ledger":
                found.append(detect(other, "ward", now))
            yield lambda: None

    found.append(detect(Ledger(workspace, by="nurse", locks=Overtaken()), "ward", now))
    assert [one is not None for one in found] == [True, False]
    assert [(entry.by, entry.kind) for entry in other.entries()] == [("other", "detected")]


def test_bounds_that_cannot_be_met_are_refused() -> None:
    """Six violations do not fit in five windows."""
    with pytest.raises(ValueError, match="so many violations do not fit"):
        Monitoring(repeats=6)


# -- the page ------------------------------------------------------------------------------------------------------


def test_the_page_tells_what_counts_and_what_to_do(workspace: Workspace) -> None:
    """Offline, self-contained, the same bytes again; a measure that counts stands first, with its advice."""
    figure = Measure(value=0.8, low=0.7, high=0.9)
    small = Subgroup(group="site", level="south", samples=3, subjects=3, positives=1, positive_subjects=1, metrics={})
    north = Subgroup(
        group="site",
        level="north",
        samples=57,
        subjects=50,
        positives=9,
        positive_subjects=9,
        metrics={"auroc": figure},
    )
    for _ in range(2):
        take(workspace, psi(0.5), Figure(measure="heart_rate", statistic="psi", value=0.1, subjects=50))
    auroc = Figure(measure="auroc", statistic="metric", value=0.6, low=0.5, high=0.7, reference=0.9, subjects=50)
    take(workspace, auroc, kind="performance", groups=(north, small))
    fewer = Figure(measure="alerts", statistic="alerts", value=-0.05, low=-0.1, high=0.0, reference=0.4, subjects=50)
    take(workspace, fewer, Figure(measure="ph", statistic="psi", value=0.1, subjects=50), kind="predictions")
    made = write_page(workspace, "ward", "Who is ill?", [], standing(workspace, "ward"))
    page = (workspace.folder("report", made.record.key) / "monitor.html").read_text()
    assert "Drift that counts" in page
    assert page.index("Look at how this is measured") < page.index("Measure on more outcomes")
    assert page.index('<th scope="row">Age') < page.index('<th scope="row">Heart rate')
    assert "0.900 on its own test" in page
    assert ">−5.0 points<" in page
    assert '<th scope="row">pH<' in page
    assert "1 measure within its bound or undecided" in page
    assert "site south (fewer than 5)" in page
    assert "http" not in page.replace("http-equiv", "")
    assert "<script" not in page
    assert write_page(workspace, "ward", "Who is ill?", [], standing(workspace, "ward")).reused


def test_the_page_tells_who_waits_to_be_judged(workspace: Workspace) -> None:
    """Too few are not within all bounds; and beside a window that could be judged those who wait are told, too."""

    def page() -> str:
        made = write_page(workspace, "ward", "Who is ill?", [], standing(workspace, "ward"))
        return (workspace.folder("report", made.record.key) / "monitor.html").read_text()

    take(workspace, auroc(None), kind="performance", groups=(site("north"),), batch="a")
    told = page()
    assert "<h2>Too few to be judged</h2>" in told
    assert "Within all bounds" not in told
    assert (
        "Outcomes of 50 patients wait for the next ones: a performance is judged once there are at least 10 subjects"
        " with and 10 without each outcome." in told
    )
    assert "newest window<" in told
    take(workspace, auroc(0.9), kind="performance", groups=(site("south"),), batch="ab", pooled=("a", "b"))
    assert "wait for the next ones" not in page()
    take(workspace, auroc(None), kind="performance", groups=(site("west"),), batch="ef", pooled=("e", "f"))
    told = page()
    assert "<h2>Within all bounds</h2>" in told
    assert "Outcomes of 50 patients, of 2 files, wait for the next ones" in told
    assert "newest window that could be judged<" in told
    assert '<th scope="row">south<' in told
    assert 'row">west<' not in told


def test_a_page_of_nothing(workspace: Workspace) -> None:
    """Says so."""
    made = write_page(workspace, "ward", "Who is ill?", [], standing(workspace, "ward"))
    page = (workspace.folder("report", made.record.key) / "monitor.html").read_text()
    assert "Nothing was compared yet" in page


def test_a_trend_is_drawn_inside_its_frame(workspace: Workspace) -> None:
    """Points, intervals and bounds; of many windows the newest."""
    for number in range(30):
        value = -0.3 if number % 2 else 0.02
        take(
            workspace,
            Figure(measure="x", statistic="missing", value=value, low=value - 0.1, high=value + 0.1, subjects=50),
        )
    now = standing(workspace, "ward")
    drawing = drawn(now.trends[0], now)
    assert len(drawing["points"]) == 24
    heights = [end for point in drawing["points"] for end in (point["y"], *point["interval"])] + drawing["bounds"]
    assert 0 <= min(heights) < max(heights) <= drawing["height"]
    assert max(point["x"] for point in drawing["points"]) <= drawing["width"]
    assert [point["outside"] for point in drawing["points"]][-2:] == [False, True]
