"""What the overview tells, as plain values. Times are ISO 8601 in UTC."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from medai.records import Frozen

Light = Literal["steady", "look", "act", "unwatched", "nobody"]
"""Whether a problem needs a person: all is well, worth a look, act now, or nobody serves."""


class VersionPoint(Frozen):
    """A registered version with the figure by which candidates are chosen, on its own test.

    Attributes:
        verdict: what the gate last said of it; empty where it never did.
        withdrawn: a person rolled it back, and nobody promoted it since.
    """

    version: int
    at: str
    verdict: str
    withdrawn: bool = False
    metric: str = ""
    value: float | None = None
    low: float | None = None
    high: float | None = None


class Turn(Frozen):
    """Something that was decided: by whom, what, why."""

    at: str
    by: str
    what: str
    reason: str


class Judged(Frozen):
    """One verdict on data.

    Attributes:
        rows: handed over, of all tables together, as the gate counts them.
        set_aside: rows of them that the reader or validation left out, over all reasons.
    """

    at: str
    passed: bool
    rows: int
    set_aside: int

    @property
    def share(self) -> float:
        """Of the rows that were set aside."""
        return self.set_aside / self.rows if self.rows else 0.0


class Approval(Frozen):
    """A version that waits for a person.

    Attributes:
        wanted: conditions that a person is asked about.
    """

    version: int
    at: str
    wanted: tuple[str, ...]


class FlowRun(Frozen):
    """A run of a flow as Prefect's server tells it.

    Attributes:
        state: the state's name; ``kind`` its type, such as COMPLETED.
        seconds: that it took; None while it runs.
        address: of its page.
    """

    flow: str
    name: str
    state: str
    kind: str
    at: str
    seconds: float | None = None
    address: str | None = None


class Plan(Frozen):
    """What Prefect's server plans for a problem, and did.

    Attributes:
        schedules: as they were written: cron expressions with their time zone, and events.
        next: when the next retraining is due; None where nothing is planned.
    """

    schedules: tuple[str, ...] = ()
    next: str | None = None
    runs: tuple[FlowRun, ...] = ()


class Drifting(Frozen):
    """How the champion stands by its windows.

    Attributes:
        windows: kind → how many were compared.
        counting, outside: measures whose violation repeated, and those outside their bound once.
        measures: the newest figure of every measure, the worst first.
        broken: why nobody knows how it stands, in the words of the error; empty where it is known.
    """

    windows: dict[str, int] = Field(default={})
    counting: tuple[str, ...] = ()
    outside: tuple[str, ...] = ()
    measures: tuple[dict[str, Any], ...] = ()
    broken: str = ""

    @property
    def decided(self) -> bool:
        """Whether there were subjects enough to judge any measure."""
        return any(one["verdict"] != "too_few" for one in self.measures)


class ProblemView(Frozen):
    """One problem.

    Attributes:
        champion: version; None where nobody stands. ``since``, ``how`` and ``reason`` are of its promotion, or of the
            rollback that brought it back.
        after: the version that was withdrawn then.
        quality: newest last.
        decisions: verdict → how many.
        moved: MLflow's aliases that somebody moved by hand, how often.
        begun: versions with which a line of champions began.
    """

    problem: str
    question: str = ""
    champion: int | None = None
    candidate: str = ""
    since: str = ""
    by: str = ""
    how: str = ""
    reason: str = ""
    after: int | None = None
    versions: tuple[VersionPoint, ...] = ()
    turns: tuple[Turn, ...] = ()
    quality: tuple[Judged, ...] = ()
    drifting: Drifting = Drifting()
    approvals: tuple[Approval, ...] = ()
    plan: Plan = Plan()
    decisions: dict[str, int] = Field(default={})
    moved: int = 0
    last_run: str = ""
    links: dict[str, str] = Field(default={})

    @property
    def light(self) -> Light:
        """Whether a person is needed."""
        refused = bool(self.quality) and not self.quality[-1].passed
        if self.drifting.counting or self.drifting.broken or self.approvals or refused:
            return "act"
        if self.champion is None:
            return "nobody"
        if self.drifting.outside or self._failed:
            return "look"
        return "steady" if self.drifting.decided else "unwatched"

    @property
    def _failed(self) -> bool:
        return bool(self.plan.runs) and self.plan.runs[0].kind in ("FAILED", "CRASHED")

    @property
    def newest(self) -> VersionPoint | None:
        """The champion's own point."""
        return next((point for point in reversed(self.versions) if point.version == self.champion), None)


class Overview(Frozen):
    """A site.

    Attributes:
        at: when it was gathered.
        lines: of the audit.
        broken: what is wrong with the audit, in the words of its error; empty where it is whole.
        waiting: decisions that MLflow could not be told yet.
        services: name → address of its page; None where it does not answer.
    """

    at: str
    problems: tuple[ProblemView, ...]
    lines: int = 0
    broken: str = ""
    waiting: int = 0
    services: dict[str, str | None] = Field(default={})
