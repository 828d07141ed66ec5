"""``medai label`` on champions and answers that are put in their place: what it joins, keeps and measures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zlib import crc32

import polars as pl
import pytest

from flows import label as flow
from medai.errors import DataRefused, ServiceFailed
from medai.evaluation import Evaluation
from medai.ledger import Ledger
from medai.monitoring import Monitoring, performance
from medai.monitoring.batches import PREDICTIONS, note_batch
from medai.monitoring.records import Batch
from medai.monitoring.windows import windows
from medai.outputs import Output
from medai.records import Candidate, sha256_of_file
from medai.scores import score_columns
from medai.tables import write_table
from medai.workspace import Workspace

OLD, NEW = "a" * 32, "b" * 32


class Shared(Ledger):
    """A ledger that notes which of its locks were held."""

    lost = False

    @contextmanager
    def acting(self, problem: str) -> Iterator[Callable[[], None]]:
        """Hold the lock, which may be lost at once."""
        held.append(problem)

        def still_held() -> None:
            if self.lost:
                raise ServiceFailed("the lock was lost", expected="it", received="none", action="again")

        with super().acting(problem):
            yield still_held


held: list[str] = []


@dataclass
class Ward:
    """A problem ``ward`` in a state folder: its champions, what they answered, and ``medai label`` on it."""

    workspace: Workspace
    ledger: Shared
    output_of: Callable[..., Output]
    fitted: Callable[[str], Candidate]
    folder: Path
    versions: dict[str, int] = field(default_factory=dict)
    outputs: dict[str, Output] = field(default_factory=dict)
    announced: list[Any] = field(default_factory=list)
    bounds: Monitoring = field(default_factory=Monitoring)

    def champion(self, key: str, **output: Any) -> None:
        """Let a champion stand whose output is this."""
        own = self.output_of(**output)
        cuts = (0.5,) * own.columns

        def build(folder: Path) -> Candidate:
            write_table(folder / "subjects.parquet", pl.DataFrame({"subject_id": [99], "role": ["train"]}).to_arrow())
            facts = {"outputs": {"death": own.model_dump(mode="json")}, "thresholds": {"death": cuts}}
            return self.fitted(key).model_copy(update=facts)

        self.workspace.materialise("fit", key, Candidate, build)
        self.versions[key], self.outputs[key] = len(self.versions) + 1, own

    def predicted(self, key: str, names: Sequence[str], groups: dict[str, str] | None = None) -> Batch:
        """Keep a champion's answers for these ids."""
        batch = f"{len(list(self.workspace.root.glob('store/keep/*'))):032x}"
        own = self.outputs[key]
        table = pl.DataFrame(
            {
                "sample_id": range(len(names)),
                "id": names,
                "subject": [f"MRN-{name}" for name in names],
                "subject_id": [crc32(name.encode()) for name in names],
                "prediction_time": [datetime(2026, 4, 1)] * len(names),
            }
            | {column: [0.3] * len(names) for column in score_columns("death", own)}
            | {group: [level] * len(names) for group, level in (groups or {}).items()}
        )

        def build(folder: Path) -> Batch:
            write_table(folder / PREDICTIONS, table.to_arrow())
            return Batch(key=batch, candidate=key, snapshot="c" * 32, samples=len(names), groups=tuple(groups or ()))

        record = self.workspace.materialise("keep", batch, Batch, build).record
        note_batch(self.workspace, "ward", record, self.versions[key], f"2026-05-01T{batch[-2:]}")
        return record

    def label(self, *lines: str) -> dict[str, Any]:
        """``medai label`` with a file of these lines, while the newest champion stands."""
        path = self.folder / "late.csv"
        path.write_text("\n".join(lines) + "\n")
        return flow.label.fn("ward", str(path))

    @property
    def truths(self) -> list[tuple[str, str, str]]:
        """Candidate, id and truth of all that was kept."""
        return sorted(performance.known_outcomes(self.workspace, "ward").rows())


@pytest.fixture
def ward(
    tmp_path: Path, output_of: Callable[..., Output], fitted: Callable[[str], Candidate], monkeypatch: Any
) -> Ward:
    """A problem without a champion; stages are the library's own, and nothing is announced or drawn."""
    held.clear()
    workspace = Workspace(tmp_path / "home")
    found = Ward(workspace, Shared(workspace, by="nurse"), output_of, fitted, tmp_path)

    def ask(_problem: str, _overrides: Any) -> Any:
        key = list(found.versions)[-1]
        question = SimpleNamespace(
            name="ward",
            outputs={"death": found.outputs[key]},
            evaluation=Evaluation(resamples=100),
            bounds=found.bounds,
        )
        champion = workspace.find("fit", key, Candidate)
        return None, workspace, found.ledger, question, SimpleNamespace(version=found.versions[key]), champion

    monkeypatch.setattr(flow, "ask", ask)
    monkeypatch.setattr(flow, "keep_outcomes", performance.keep_outcomes)
    monkeypatch.setattr(flow, "measure", performance.measure)
    monkeypatch.setattr(flow, "announce_line", lambda *given: found.announced.append(given[1:]))
    monkeypatch.setattr(flow, "concluded", lambda *_given: {"page": "monitor.html"})
    return found


ALIVE = {"kind": "binary", "classes": {0: "alive", 1: "dead"}, "positive": "dead"}
SURVIVED = {"kind": "binary", "classes": {0: "survived", 1: "died"}, "positive": "died"}


def test_outcomes_are_joined_to_answers_of_today_s_outputs_alone(ward: Ward) -> None:
    """Classes that were renamed since: what the older champion alone predicted is counted, and nothing ends in a
    traceback, now or later; what was told of it by its own classes contradicts nothing.
    """
    ward.champion(OLD, **ALIVE)
    ward.predicted(OLD, ["s1", "s2", "s3"])
    assert ward.label("id,outcome", "s1,dead")["joined"] == 1
    ward.champion(NEW, **SURVIVED)
    ward.predicted(NEW, ["s1", "t1"])
    found = ward.label("id,outcome", "s1,died", "s2,died", "s3,survived", "t1,1")
    assert (found["joined"], found["new"], found["set_aside"]) == (2, 2, {"other_outputs": 2})
    assert [(one["version"], one["samples"]) for one in found["windows"]] == [(2, 2)]
    assert ward.truths == [(OLD, "s1", "dead"), (NEW, "s1", "died"), (NEW, "t1", "died")]
    again = ward.label("id,outcome", "t1,died")
    assert (again["known_already"], again["windows"]) == (1, [])
    with pytest.raises(DataRefused, match="received: other outputs: 1"):
        ward.label("id,outcome", "s2,died")


def test_a_finding_that_is_asked_no_more_is_not_taken_as_absent(ward: Ward) -> None:
    """A file that no longer tells a finding says nothing of the older champion, who answered it."""
    ward.champion(OLD, kind="multilabel", classes={"m": "Mass", "e": "Edema", "h": "Hernia"})
    ward.predicted(OLD, ["s1"])
    ward.champion(NEW, kind="multilabel", classes={"m": "Mass", "e": "Edema"})
    ward.predicted(NEW, ["s1", "t1"])
    found = ward.label("id,Mass,Edema", "s1,1,0", "t1,0,0")
    assert (found["joined"], found["set_aside"], len(found["windows"])) == (2, {}, 1)
    assert ward.truths == [(NEW, "s1", "Mass"), (NEW, "t1", "none")]


def test_one_window_that_cannot_be_measured_keeps_no_other_from_it(ward: Ward) -> None:
    """Answers or a model that are gone: the others are measured first, then it is told; later calls work on."""
    ward.champion(OLD, **ALIVE)
    lost = ward.predicted(OLD, ["s1"])
    ward.champion(NEW, **ALIVE)
    ward.predicted(NEW, ["s1", "t1"])
    kept = performance.keep_outcomes

    def killed(*given: Any) -> Any:
        """Keep outcomes, and lose the older champion's answers right after."""
        made = kept(*given)
        if given[2] == OLD:
            ward.workspace.folder("keep", lost.key).rename(ward.folder / "answers")
        return made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flow, "keep_outcomes", killed)
        patch.setattr(flow, "outcomes_of", lambda *_given: [])  # killed before it measured
        ward.label("id,outcome", "s1,1")
    with pytest.raises(ServiceFailed, match="or what it answered, is missing") as caught:
        ward.label("id,outcome", "t1,0")
    assert caught.value.expected == "its answers as they were kept"
    assert caught.value.action == "restore the workspace's store from a copy; the outcomes are kept"
    assert [(one.content.candidate, one.content.samples) for one in windows(ward.workspace, "ward")] == [(NEW, 2)]
    (ward.folder / "answers").rename(ward.workspace.folder("keep", lost.key))
    assert [one["version"] for one in ward.label("id,outcome", "t1,0")["windows"]] == [1]


def test_each_file_has_a_line_of_its_own_though_a_kill_came_before_it(ward: Ward) -> None:
    """Outcomes that a killed command kept are told by the next one, as of the file that they are from."""
    ward.champion(OLD, **ALIVE)
    ward.predicted(OLD, ["s1", "s2", "s3"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Shared, "append", lambda *_given: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            ward.label("id,outcome", "s1,1", "s2,0", "s9,0")
    first = sha256_of_file(ward.folder / "late.csv")
    assert ward.ledger.entries("ward") == []
    assert [one["files"] for one in ward.label("id,outcome", "s3,1")["windows"]] == [2]
    told = [entry.facts for entry in ward.ledger.entries("ward")]
    assert [(one["file_sha256"], one["rows"], one["set_aside"]) for one in told] == [
        (first, 3, {"unknown_id": 1}),
        (sha256_of_file(ward.folder / "late.csv"), 1, {}),
    ]
    assert [[one["samples"] for one in line["outcomes"]] for line in told] == [[2], [1]]
    assert ward.announced == [("medai.labels.arrived", ward.ledger.entries("ward")[-1], told[-1])]
    ward.label("id,outcome", "s3,1")
    assert len(ward.ledger.entries("ward")) == 2


def test_outcomes_of_small_files_are_judged_together(ward: Ward) -> None:
    """A ward that learns of three a day: they wait until there are ten of each class, and then the next ones begin.

    Whoever stands, each champion's outcomes wait for its own; a file that suffices makes a window of itself.
    """
    ward.champion(OLD, **ALIVE)
    names = [f"s{number:02}" for number in range(60)]
    ward.predicted(OLD, names)
    told = []
    for day in range(8):
        rows = [f"{names[number]},{number % 2}" for number in range(3 * day, 3 * day + 3)]
        (window,) = ward.label("id,outcome", *rows)["windows"]
        told.append((window["files"], window["samples"], window["judged"], window["too_few"] < window["measures"]))
    assert told == [
        *[(day, 3 * day, False, False) for day in range(1, 7)],
        (7, 21, True, True),
        (1, 3, False, False),
    ]
    assert [window.content.samples for window in windows(ward.workspace, "ward")] == [21, 3]
    ward.champion(NEW, **ALIVE)
    ward.predicted(NEW, [*names[24:], "t1"])
    both = ward.label("id,outcome", *(f"{name},{number % 2}" for number, name in enumerate(names[24:])))["windows"]
    assert [(one["version"], one["files"], one["samples"], one["judged"]) for one in both] == [
        (1, 2, 39, True),
        (2, 1, 36, True),
    ]
    assert ward.label("id,outcome", "t1,1")["windows"][0]["samples"] == 1


def test_pools_are_the_same_though_a_command_was_killed(ward: Ward) -> None:
    """Their order is that of the audit: what was kept and not measured is measured as if it had been at once."""
    ward.champion(OLD, **ALIVE)
    names = [f"s{number:02}" for number in range(48)]
    ward.predicted(OLD, names)
    parts = [names[:12], names[12:24], names[24:36], names[36:]]
    for place, part in enumerate(parts):
        rows = [f"{name},{number % 2}" for number, name in enumerate(part)]
        with pytest.MonkeyPatch.context() as patch:
            if place < 3:
                patch.setattr(flow, "outcomes_of", lambda *_given: [])  # killed before it measured
            made = ward.label("id,outcome", *rows)["windows"]
    assert [(one["files"], one["samples"], one["judged"]) for one in made] == [(2, 24, True), (2, 24, True)]
    keys = [entry.facts["outcomes"][0]["key"] for entry in ward.ledger.entries("ward")]
    assert [set(one.content.parts) for one in windows(ward.workspace, "ward")] == [set(keys[:2]), set(keys[2:])]


def test_outcomes_that_wait_are_judged_by_the_bounds_of_the_day(ward: Ward) -> None:
    """Fewer are asked for: those that wait are measured by the next command; no outcome counts in two windows."""
    ward.champion(OLD, **ALIVE)
    names = [f"s{number:02}" for number in range(16)]
    ward.predicted(OLD, names)
    for part in (names[:6], names[6:10]):
        ward.label("id,outcome", *(f"{name},{number % 2}" for number, name in enumerate(part)))
    assert [window.content.judged for window in windows(ward.workspace, "ward")] == [False]
    ward.bounds = Monitoring(minimum_positives=3, minimum_negatives=3)
    made = ward.label("id,outcome", *(f"{name},{number % 2}" for number, name in enumerate(names[10:])))["windows"]
    assert [(one["files"], one["samples"], one["judged"]) for one in made] == [(1, 6, True), (2, 10, True)]
    assert [window.content.samples for window in windows(ward.workspace, "ward")] == [6, 10]


def test_a_bound_that_asks_for_nothing_else_changes_nothing(ward: Ward) -> None:
    """Only how many subjects are asked for decides what waits; and nothing that is known is told as new."""
    ward.champion(OLD, **ALIVE)
    ward.predicted(OLD, ["s1", "s2"])
    ward.label("id,outcome", "s1,1")
    for bounds in (Monitoring(psi=0.3), Monitoring(minimum_positives=11), Monitoring()):
        ward.bounds = bounds
        ward.label("id,outcome", "s1,1")
    assert ward.label("id,outcome", "s1,1")["windows"] == []
    assert [window.content.samples for window in windows(ward.workspace, "ward")] == [1]


def test_of_two_who_measure_at_once_neither_hides_the_other_s(ward: Ward) -> None:
    """They take turns; whoever asks for more later finds the window of whoever asked for less, and leaves it."""
    ward.champion(OLD, **ALIVE)
    names = [f"s{number:02}" for number in range(26)]
    ward.predicted(OLD, names)
    rows = [f"{name},{number % 2}" for number, name in enumerate(names)]
    measured = performance.measure

    def other(*given: Any) -> Any:
        """Another command waits for the lock that this one holds."""
        assert held == ["label-ward"] * 2
        return measured(*given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flow, "measure", other)
        assert ward.label("id,outcome", *rows[:24])["windows"][0]["judged"]
    ward.bounds = Monitoring(minimum_positives=20)
    assert ward.label("id,outcome", *rows[:24])["windows"] == []
    assert [one["samples"] for one in ward.label("id,outcome", *rows[24:])["windows"]] == [2]
    assert [window.content.samples for window in windows(ward.workspace, "ward")] == [24, 2]


def test_pools_are_found_without_measuring_each_prefix(ward: Ward) -> None:
    """What waits is counted, and measured once: as a pool that has enough, and as what is left over."""
    ward.champion(OLD, **ALIVE)
    names = [f"s{number:02}" for number in range(50)]
    ward.predicted(OLD, names)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flow, "outcomes_of", lambda *_given: [])  # killed each time before it measured
        for number, name in enumerate(names[:49]):
            ward.label("id,outcome", f"{name},{number % 2}")
    made: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flow, "measure", lambda *given: made.append(len(given[2])) or performance.measure(*given))
        told = ward.label("id,outcome", f"{names[49]},1")["windows"]
    assert made == [20, 20, 10]
    assert [(one["files"], one["judged"]) for one in told] == [(20, True), (20, True), (10, False)]


def test_nothing_is_joined_to_the_answers_of_a_model_that_is_gone(ward: Ward) -> None:
    """Its classes are not known; whoever else predicted is measured, and restored it is labelled by the same file."""
    ward.champion(OLD, **ALIVE)
    ward.predicted(OLD, ["s1", "s2"])
    ward.champion(NEW, **ALIVE)
    ward.predicted(NEW, ["s1"])
    ward.workspace.folder("fit", OLD).rename(ward.folder / "model")
    found = ward.label("id,outcome", "s1,1", "s2,1")
    assert (found["joined"], found["set_aside"]) == (1, {"model_missing": 1})
    with pytest.raises(ServiceFailed, match="a model that predicted some of these patients") as caught:
        ward.label("id,outcome", "s2,1")
    assert caught.value.action == "restore the workspace's store from a copy; then give the file again"
    (ward.folder / "model").rename(ward.workspace.folder("fit", OLD))
    again = ward.label("id,outcome", "s1,1", "s2,1")
    assert (again["joined"], again["set_aside"]) == (2, {})
    assert ward.truths == [(OLD, "s1", "dead"), (OLD, "s2", "dead"), (NEW, "s1", "dead")]


def test_machines_that_share_the_ledger_label_one_after_the_other(ward: Ward) -> None:
    """The ledger's lock is held, as by `detect`; where it is lost nothing is kept."""
    ward.champion(OLD, **ALIVE)
    ward.predicted(OLD, ["s1"])
    ward.ledger.lost = True
    with pytest.raises(ServiceFailed, match="the lock was lost"):
        ward.label("id,outcome", "s1,1")
    assert held == ["label-ward"]
    assert (ward.truths, ward.ledger.entries("ward")) == ([], [])
    ward.ledger.lost = False
    ward.label("id,outcome", "s1,1")
    assert [entry.kind for entry in ward.ledger.entries("ward")] == ["labelled"]


def test_sites_that_name_who_was_predicted_are_none_after_pruning(ward: Ward) -> None:
    """The batch's data are gone, and with them their list of names: the answers have them, too."""
    ward.champion(OLD, **ALIVE)
    ward.predicted(OLD, ["north/IM-0117.png", "s-4711-x", "s3"])
    sites = ("MRN-s-4711-x", "IM-0117", "south")
    names = ("north/IM-0117.png", "s-4711-x", "s3")
    ward.label("id,outcome,site", *(f"{name},1,{site}" for name, site in zip(names, sites, strict=True)))
    (outcomes,) = ward.workspace.root.glob("store/label/*/outcomes.parquet")
    assert dict(pl.read_parquet(outcomes).select("id", "site").rows()) == {
        "north/IM-0117.png": None, "s-4711-x": None, "s3": "south",
    }  # fmt: skip


def test_a_group_of_the_data_replaces_neither_site_nor_truth(ward: Ward) -> None:
    """Groups that are called as what outcomes bring are told under a name of their own."""
    ward.champion(OLD, **ALIVE)
    names = [f"s{number}" for number in range(6)]
    groups = {"site": "G1", "truth": "G2", "batch": "G3", "ICUType": "4"}
    ward.predicted(OLD, names, groups)
    (window,) = ward.label("id,outcome,site", *(f"{name},1,north" for name in names))["windows"]
    assert {one["group"]: one["level"] for one in window["groups"]} == {
        "ICUType": "4",
        "batch of the data": "G3",
        "site": "north",
        "site of the data": "G1",
        "truth of the data": "G2",
    }
    assert {truth for _, _, truth in ward.truths} == {"dead"}
