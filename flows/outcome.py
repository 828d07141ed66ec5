"""What a run gathers on its road, and the one object that ``medai run --json`` prints of it."""

from __future__ import annotations

import logging
import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from flows.drift import facts
from medai.drift import Drift
from medai.ledger import Ledger
from medai.measurement.evidence import rarest
from medai.measurement.metrics import in_order
from medai.problem import Problem
from medai.promotion.recorded import awaiting
from medai.records import (
    Candidate,
    Cohort,
    Comparison,
    Decision,
    Examples,
    Figures,
    Page,
    QualityReport,
    Record,
    Scorecard,
    Screening,
    Snapshot,
    Splits,
)
from medai.reporting import Content
from medai.tracking import Registered
from medai.workspace import Made, Workspace

R = TypeVar("R", bound=Record)

log = logging.getLogger("medai.run")


class Steps:
    """Stage → seconds and whether it was reused, in the order they ended; each is told in the log."""

    def __init__(self) -> None:
        self.taken: dict[str, dict[str, Any]] = {}
        self.keys: set[str] = set()
        """Of every record that was handed on."""

    def take(self, stage: str, made: Made[R]) -> R:
        """Note a pure stage and hand on its record."""
        self.note(stage, reused=made.reused, seconds=made.seconds)
        self.keys.add(made.record.key)
        return made.record

    def note(self, stage: str, *, reused: bool, seconds: float) -> None:
        """Note a stage."""
        self.taken[stage] = {"seconds": round(seconds, 3), "reused": reused}
        log.info("%-28s %s", stage, "reused" if reused else f"{seconds:.1f} s")

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Note an effect: it is never reused, it looks at the world each time."""
        started = time.perf_counter()
        yield
        self.note(stage, reused=False, seconds=time.perf_counter() - started)


@dataclass(frozen=True)
class Given:
    """What a person gave to ``medai run``, word for word."""

    problem: str
    data: str | None = None
    seed: int = 0
    overrides: tuple[str, ...] = ()

    def command(self, *, show_data: bool) -> str:
        """The command that makes the run again.

        >>> Given("sepsis", "/raw/one", 1, ("training.epochs=3", "gate=null")).command(show_data=False)
        'medai run sepsis --data PATH --seed 1 --set training.epochs=3 --set gate=null'

        Args:
            show_data: with the path of the data; a record holds none.
        """
        words = ["medai", "run", self.problem]
        if self.data is not None:
            words += ["--data", self.data if show_data else "PATH"]
        words += ["--seed", str(self.seed)]
        for override in self.overrides:
            words += ["--set", override]
        return shlex.join(words)


@dataclass
class Run:
    """The records of one run, filled in along the road."""

    problem: Problem
    seed: int
    steps: Steps
    given: Given
    snapshot: Snapshot = field(init=False)
    quality: QualityReport = field(init=False)
    cohort: Cohort = field(init=False)
    splits: Splits = field(init=False)
    screening: Screening = field(init=False)
    candidates: dict[str, Candidate] = field(default_factory=dict)
    chosen: str = "net"
    scorecards: dict[str, Scorecard] = field(default_factory=dict)
    comparison: Comparison = field(init=False)
    figures: Figures = field(init=False)
    examples: Examples | None = None
    drift: Drift | None = None
    generated: bool = False
    decision: Decision = field(init=False)
    registered: Registered = field(init=False)
    page: Page = field(init=False)
    openings: int = 0

    def baseline_figures(self) -> dict[str, dict[str, float]]:
        """Name → metric → figure on test, of every model that was not chosen. One output today."""
        return {
            name: {metric: measure.value for metric, measure in next(iter(scorecard.metrics.values())).items()}
            for name, scorecard in self.scorecards.items()
            if name != self.chosen
        }

    def main_figure(self) -> dict[str, Any] | None:
        """The metric by which candidates are chosen, on test; None where it is undefined."""
        metric = self.problem.choose_metric
        measure = next(iter(self.scorecards[self.chosen].metrics.values())).get(metric)
        return None if measure is None else {"metric": metric, **measure.model_dump(), "rarest": self.rarest()}

    def rarest(self) -> dict[str, Any]:
        """The class with the fewest subjects on test: ``label``, ``samples``, ``subjects`` and their ``unit``."""
        card = self.scorecards[self.chosen]
        fewest = rarest(card.evidence[next(iter(self.problem.outputs))])
        return fewest.model_dump(exclude={"positive"}) | {"unit": card.unit}

    def content(self) -> Content:
        """What the report is made of."""
        return Content(
            problem=self.problem.model_dump(mode="json"),
            seed=self.seed,
            generated=self.generated,
            snapshot=self.snapshot,
            quality=self.quality,
            cohort=self.cohort,
            splits=self.splits,
            screening=self.screening,
            chosen=self.candidates[self.chosen],
            scorecards=self.scorecards,
            comparison=self.comparison,
            figures=self.figures,
            examples=self.examples,
            decision=self.decision,
            run_id=self.registered.run_id,
            version=self.registered.version,
            openings=self.openings,
        )

    def outcome(self, workspace: Workspace, ledger: Ledger) -> dict[str, Any]:
        """The run as plain JSON."""
        chosen = self.candidates[self.chosen]
        champion = ledger.champion(self.problem.name)
        settled = ledger.settled(self.problem.name, chosen.key, self.problem.rules.key)
        withdrawal = ledger.withdrawal(self.problem.name, chosen.key)
        waiting = {entry.facts["candidate"] for entry in awaiting(ledger, self.problem.name)}
        return {
            "problem": self.problem.name,
            "question": self.problem.question,
            "run_id": self.registered.run_id,
            "version": self.registered.version,
            "seed": self.seed,
            "model": self.chosen,
            "decision": self.decision.verdict,
            "reasons": list(self.decision.reasons),
            "conditions": [condition.model_dump() for condition in self.decision.conditions],
            "withdrawn": None
            if withdrawal is None
            else {
                "decided": settled.at if settled else None,
                "at": withdrawal.at,
                "by": withdrawal.by,
                "reason": withdrawal.facts["reason"],
            },
            "awaits_approval": chosen.key in waiting,
            "champion": None if champion is None else champion.version,
            "cohort": {
                "unit": self.cohort.unit,
                "samples": self.cohort.samples,
                "subjects": self.cohort.subjects,
                "classes": self.cohort.classes,
                "attrition": [line.model_dump() for line in self.cohort.attrition],
            },
            "splits": self.splits.samples,
            "set_aside": self.quality.set_aside,
            "drift": facts(self.drift),
            "metrics": {
                output: {metric: metrics[metric].model_dump() for metric in in_order(metrics)}
                for output, metrics in self.scorecards[self.chosen].metrics.items()
            },
            "baselines": self.baseline_figures(),
            "differences": {
                name: {metric: measure.model_dump() for metric, measure in measures.items()}
                for name, measures in self.comparison.differences.items()
            },
            "test_openings": ledger.openings(self.splits.test_sha256),
            "test_openings_when_decided": self.openings,
            "rarest": self.rarest(),
            "model_sha256": chosen.model_sha256,
            "data_sha256": self.snapshot.data_sha256,
            "stages": self.steps.taken,
            "reproduce": self.given.command(show_data=True),
            "report": str(workspace.folder("report", self.page.key) / self.page.file),
        }
