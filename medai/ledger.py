"""The ledger: who became champion, when, why and by whom; medai's own authority.

It is read from the audit's lines. MLflow's alias is only the projection of what stands here. Every change is made under
one lock and says which champion it expects to find (compare-and-set).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any

from medai.audit import Audit, Entry
from medai.errors import ChampionMoved, ConfigurationError, NotChampion
from medai.locks import FileLocks, Locks, StillHeld
from medai.workspace import Workspace

_LOCK_SECONDS = 120
HASHES = ("model_sha256", "data_sha256", "files_sha256")
"""Facts of a version's registration that its promotion repeats."""


@dataclass(frozen=True)
class Champion:
    """What stands in production for a problem.

    Attributes:
        since, by, reason, how: of the line that made it champion, or brought it back.
        after: the version whose withdrawal brought it back, which ``reason`` speaks of; None where it was promoted.
        facts: all facts of the line that promoted it.
    """

    version: int
    candidate: str
    run_id: str
    since: str
    reason: str
    how: str
    by: str
    after: int | None = None
    facts: Mapping[str, Any] = field(default_factory=dict, compare=False)

    def told(self) -> str:
        """Who stands, since when and by whom, in a message."""
        how = self.how if self.after is None else f"version {self.after} withdrawn"
        return f"version {self.version}, champion since {self.since[:19]} UTC by {self.by} ({how}: {self.reason})"


def moment(text: str) -> str:
    """An ISO 8601 date or time as the ledger writes times; a date alone means its last moment, UTC.

    >>> moment("2026-05-01"), moment("2026-05-01T12:00:00+02:00")
    ('2026-05-01T23:59:59.999999+00:00', '2026-05-01T10:00:00.000000+00:00')
    """
    try:
        try:
            parsed = datetime.combine(date.fromisoformat(text), time.max)
        except ValueError:
            parsed = datetime.fromisoformat(text)
        return (
            (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).astimezone(UTC).isoformat(timespec="microseconds")
        )
    except (ValueError, OverflowError):
        raise ConfigurationError(
            "a date cannot be read",
            expected="an ISO 8601 date or time, such as 2026-05-01 or 2026-05-01T12:00:00Z",
            received=f"{text!r}",
            action="write the date that way",
        ) from None


class Ledger:
    """Reads and appends the audit of one workspace.

    Args:
        workspace: where ``audit.jsonl`` lies.
        by: who acts, written in every line.
        site_key: where the site's private key lies; in the workspace when left out.
        locks: in which changes take their turn among machines; the workspace's own, which reach this machine's
            processes alone, are held with them.
    """

    def __init__(self, workspace: Workspace, by: str, site_key: Path | None = None, locks: Locks | None = None) -> None:
        self.workspace = workspace
        self.by = by
        self.audit = Audit(workspace.root, by, site_key)
        self.path: Path = self.audit.path
        self._locks = locks
        self._own = FileLocks(workspace)

    # -- reading ---------------------------------------------------------------------------------------------------

    def entries(self, problem: str | None = None, kind: str | None = None) -> list[Entry]:
        """All lines, oldest first; a last line cut by a kill was never acknowledged and does not count.

        Raises:
            ServiceFailed: a line was altered, removed or moved; it is named.
        """
        return [
            entry
            for entry in self.audit.read()
            if (problem is None or entry.problem == problem) and (kind is None or entry.kind == kind)
        ]

    def champion(self, problem: str, at: str | None = None) -> Champion | None:
        """The champion now, or at an ISO 8601 time in UTC."""
        stack = self.champions(problem, at)
        return stack[-1] if stack else None

    def champions(self, problem: str, at: str | None = None) -> list[Champion]:
        """Promotions that were not rolled back, oldest first.

        A version that was withdrawn is none of them, however often it had been promoted: a later rollback skips it.
        """
        stack: list[Champion] = []
        for entry in self.entries(problem, "champion"):
            if at is not None and entry.at > at:
                continue  # not the end: a clock that ran ahead was set back, and later lines bear earlier times
            facts = entry.facts
            if facts["how"] == "rollback":
                stack = _without(stack, facts["withdrawn"])
                if stack:  # it stands since the rollback, for the rollback's reason
                    stack[-1] = replace(
                        stack[-1],
                        since=entry.at,
                        by=entry.by,
                        reason=facts["reason"],
                        how="rollback",
                        after=facts["withdrawn_version"],
                    )
            else:
                stack.append(
                    Champion(
                        version=facts["version"],
                        candidate=facts["candidate"],
                        run_id=facts["run_id"],
                        since=entry.at,
                        reason=facts["reason"],
                        how=facts["how"],
                        by=entry.by,
                        facts=facts,
                    )
                )
        return stack

    def withdrawn(self, problem: str, candidate: str) -> bool:
        """Whether a person rolled this candidate back and nobody promoted it by hand since."""
        return self.withdrawal(problem, candidate) is not None

    def withdrawal(self, problem: str, candidate: str) -> Entry | None:
        """The rollback by which a person withdrew this candidate, if it still holds."""
        return self.withdrawals(problem).get(candidate)

    def withdrawals(self, problem: str) -> dict[str, Entry]:
        """Candidate → the rollback by which a person withdrew it; of those that still hold."""
        holding: dict[str, Entry] = {}
        for entry in self.entries(problem, "champion"):
            if entry.facts["how"] == "rollback":
                holding[entry.facts["withdrawn"]] = entry
            elif entry.facts["how"] == "person":
                holding.pop(entry.facts["candidate"], None)
        return holding

    def registered(self, problem: str) -> dict[int, dict[str, Any]]:
        """Version → facts of its registration."""
        return {entry.facts["version"]: entry.facts for entry in self.entries(problem, "registered")}

    def settled(self, problem: str, candidate: str, rules: str) -> Entry | None:
        """The decision that was made and carried out for this candidate under these rules, if any.

        A command that is run again finds it and decides nothing anew, so that what a person did since then stays.
        """
        return self._last(problem, "settled", candidate, rules)

    def decided(self, problem: str, candidate: str, rules: str) -> Entry | None:
        """A decision that was made but not carried out to its end, and that still holds.

        It no longer holds when the champion it was made against is gone, when a person withdrew the candidate, or once
        it lapsed, whoever is champion since.
        """
        entry = self._last(problem, "decided", candidate, rules)
        if entry is None or self.withdrawn(problem, candidate) or self.lapsed(problem, entry.number):
            return None
        champion = self.champion(problem)
        now = champion.candidate if champion else None
        return entry if now in (candidate, entry.facts["champion"]) else None

    def lapsed(self, problem: str, decided: int) -> Entry | None:
        """The line that says that a decision no longer held when it was to be carried out.

        Args:
            decided: number of the decision's own line.
        """
        return next((one for one in self.entries(problem, "lapsed") if one.facts["decided"] == decided), None)

    def _last(self, problem: str, kind: str, candidate: str, rules: str) -> Entry | None:
        for entry in reversed(self.entries(problem, kind)):
            if entry.facts["candidate"] == candidate and entry.facts["rules"] == rules:
                return entry
        return None

    def projected(self, problem: str) -> bool:
        """Whether the registry's alias was last set to the version that is champion now."""
        champion = self.champion(problem)
        projections = self.entries(problem, "projected")
        shown = projections[-1].facts.get("version") if projections else None
        return shown == (champion.version if champion else None)

    def shown(self, problem: str) -> set[int | None]:
        """Versions that the registry's alias may point at without anybody's hand: None is no alias.

        The one it was last set to, and every champion since: a kill may come between the alias and its line.
        """
        may: set[int | None] = {None}
        for entry in self.entries(problem):
            if entry.kind == "projected":
                may = {entry.facts["version"]}
            elif entry.kind == "champion":
                may.add(entry.facts["version"])
        return may

    def moved(self, problem: str) -> list[dict[str, Any]]:
        """What was noted of an alias that somebody moved, and not yet confirmed to be put back."""
        noted: list[dict[str, Any]] = []
        for entry in self.entries(problem):
            if entry.kind == "projected":
                noted = []
            elif entry.kind == "moved":
                noted.append(entry.facts)
        return noted

    def openings(self, test_sha256: str) -> int:
        """How many candidates were ever scored on this test set."""
        return len({entry.facts["candidate"] for entry in self._openings(test_sha256)})

    def _openings(self, test_sha256: str) -> list[Entry]:
        return [entry for entry in self.entries(kind="opened") if entry.facts["test_sha256"] == test_sha256]

    # -- writing ---------------------------------------------------------------------------------------------------

    @contextmanager
    def _hold(self, name: str, seconds: float) -> Iterator[StillHeld]:
        """The lock of the machines, then this machine's own, always in this order.

        A shell that was not told of the machines' locks, and one that lost such a lock, are kept out by the other.
        """
        if self._locks is None:
            with self._own.hold(name, seconds) as still_held:
                yield still_held
        else:
            with self._locks.hold(name, seconds) as still_held, self._own.hold(name, seconds):
                yield still_held

    def acting(self, problem: str) -> AbstractContextManager[StillHeld]:
        """Let nobody else decide, promote or withdraw anything of a problem meanwhile."""
        return self._hold(f"act-{problem}", self.workspace.lock_seconds)

    @contextmanager
    def _changing(self) -> Iterator[Callable[[str, str, dict[str, Any]], Entry]]:
        """Nobody else changes the ledger meanwhile; yields what appends a line while that still holds."""
        with self._hold("ledger", _LOCK_SECONDS) as still_held:
            yield lambda kind, problem, facts: self.audit.append(kind, problem, facts, still_held)

    @contextmanager
    def at_rest(self) -> Iterator[None]:
        """Nobody appends meanwhile."""
        with self._hold("ledger", _LOCK_SECONDS):
            yield

    def append(self, kind: str, problem: str, facts: dict[str, Any]) -> Entry:
        """Append one line and sync it; facts hold no patient's value."""
        with self._changing() as append:
            return append(kind, problem, facts)

    def note(self, kind: str, problem: str, facts: dict[str, Any], *, by: tuple[str, ...]) -> bool:
        """Append a line unless one of this kind and problem says the same of these facts; whether it was appended.

        Args:
            by: names of the facts that tell two lines apart.
        """

        def unless_told(lines: list[Entry]) -> dict[str, Any] | None:
            known = any(all(entry.facts.get(name) == facts[name] for name in by) for entry in lines)
            return None if known else facts

        if unless_told(self.entries(problem, kind)) is None:  # a run that is reused as a whole waits for nobody
            return False
        return self.note_new(kind, problem, unless_told) is not None

    def note_new(self, kind: str, problem: str, new: Callable[[list[Entry]], dict[str, Any] | None]) -> Entry | None:
        """Append a line of what the lines of this kind and problem do not say yet; nobody else appends meanwhile.

        Args:
            new: the line's facts, from the lines that are there; None where there is nothing to say.
        """
        with self._changing() as append:
            facts = new(self.entries(problem, kind))
            return None if facts is None else append(kind, problem, facts)

    def settle(self, problem: str, facts: dict[str, Any]) -> Entry:
        """The line that says that a decision was carried out; appended unless the last one of its candidate says so."""
        with self._changing() as append:
            told = self.settled(problem, facts["candidate"], facts["rules"])
            if told is not None and told.facts["decision"] == facts["decision"]:
                return told
            return append("settled", problem, facts)

    def sign_anew(self, reason: str) -> Entry:
        """Begin with a new site key, or sign an audit that never was; see ``Audit.sign_anew``."""
        with self._hold("ledger", _LOCK_SECONDS) as still_held:
            return self.audit.sign_anew(reason, still_held)

    def opened(self, problem: str, test_sha256: str, candidate: str) -> int:
        """Count that this candidate was scored on this test set, once; return how many candidates were."""
        with self._changing() as append:
            seen = {entry.facts["candidate"] for entry in self._openings(test_sha256)}
            if candidate not in seen:
                append("opened", problem, {"test_sha256": test_sha256, "candidate": candidate})
            return len(seen | {candidate})

    def evaluated(self, problem: str, candidate: str, scorecard: str, facts: dict[str, Any]) -> int:
        """Note that a champion was measured on other labelled data, once a scorecard; return how many there are."""
        with self._changing() as append:
            looks = {
                entry.facts["scorecard"]
                for entry in self.entries(problem, "evaluated")
                if entry.facts["candidate"] == candidate
            }
            if scorecard not in looks:
                append("evaluated", problem, {**facts, "candidate": candidate, "scorecard": scorecard})
            return len(looks | {scorecard})

    def promote(
        self,
        problem: str,
        *,
        version: int,
        candidate: str,
        run_id: str,
        how: str,
        reason: str,
        expected: str | None,
        facts: Mapping[str, Any] | None = None,
    ) -> bool:
        """Make a version champion if the champion is still the expected one.

        Args:
            how: ``gate`` or ``person``.
            expected: candidate key of the champion that the decision was made against, None for no champion.
            facts: more facts for the line, such as the decision or an approval.

        Returns:
            False when it is champion already: nothing is recorded then.

        Raises:
            ChampionMoved: somebody else was faster, or has withdrawn what the gate would promote.
        """
        with self._changing() as append:
            now = self.champion(problem)
            if now is not None and now.candidate == candidate:
                return False
            self._compare(problem, now, expected)
            if how == "gate" and (withdrawal := self.withdrawal(problem, candidate)):
                raise self._withdrawn(problem, withdrawal)
            hashes = self.registered(problem).get(version, {})
            append(
                "champion",
                problem,
                {
                    **(facts or {}),
                    **{name: hashes[name] for name in HASHES if name in hashes},
                    "version": version,
                    "candidate": candidate,
                    "run_id": run_id,
                    "how": how,
                    "reason": reason,
                    "replaces": now.version if now else None,
                },
            )
            return True

    def before(self, problem: str) -> Champion | None:
        """The champion that would stand again after a rollback."""
        stack = self.champions(problem)
        rest = _without(stack, stack[-1].candidate) if stack else []
        return rest[-1] if rest else None

    def rollback(self, problem: str, reason: str, expected: int | None = None) -> Champion | None:
        """Withdraw the champion; the one before it stands again (None when there was none).

        Args:
            expected: the version that is meant; None for whichever stands now.

        Raises:
            NotChampion: another version stands now, or the one that is meant was withdrawn already.
            ConfigurationError: there is no champion to withdraw.
        """
        with self._changing() as append:
            stack = self.champions(problem)
            if expected is not None and (not stack or stack[-1].version != expected):
                raise self._not_champion(problem, expected, stack[-1] if stack else None)
            if not stack:
                raise no_champion(problem)
            rest = _without(stack, stack[-1].candidate)
            append(
                "champion",
                problem,
                {
                    "how": "rollback",
                    "reason": reason,
                    "withdrawn": stack[-1].candidate,
                    "withdrawn_version": stack[-1].version,
                    "version": rest[-1].version if rest else None,
                },
            )
            return self.champion(problem)

    def _not_champion(self, problem: str, version: int, now: Champion | None) -> NotChampion:
        standing = "no champion" if now is None else now.told()
        candidate = self.registered(problem).get(version, {}).get("candidate", "")
        withdrawal = self.withdrawal(problem, candidate)
        if withdrawal is None:
            wrong = f"version {version} of {problem} is not champion"
        else:
            standing += f"; {withdrawal.by} withdrew it at {withdrawal.at[:19]} UTC: {withdrawal.facts['reason']}"
            wrong = f"version {version} of {problem} is already withdrawn"
        return NotChampion(
            wrong,
            expected=f"version {version} as champion",
            received=standing,
            action=f"nothing was changed; see `medai history {problem}`",
        )

    @staticmethod
    def _withdrawn(problem: str, withdrawal: Entry) -> ChampionMoved:
        return ChampionMoved(
            f"a candidate of {problem} was withdrawn while the decision on it was carried out",
            expected="a candidate that nobody has withdrawn",
            received=f"version {withdrawal.facts['withdrawn_version']}, withdrawn at {withdrawal.at[:19]} UTC by"
            f" {withdrawal.by}: {withdrawal.facts['reason']}",
            action=f"nothing was changed; only a person promotes it again, see `medai history {problem}`",
        )

    @staticmethod
    def _compare(problem: str, now: Champion | None, expected: str | None) -> None:
        if (now.candidate if now else None) != expected:
            raise ChampionMoved(
                f"the champion of {problem} changed while this decision was made",
                expected="the champion that the candidate was compared with",
                received="no champion" if now is None else now.told(),
                action=f"nothing was changed; see `medai history {problem}`, then run the same command again: the"
                " comparison is made with the new champion",
            )


def no_champion(problem: str) -> ConfigurationError:
    """Nobody stands whom a rollback could withdraw."""
    return ConfigurationError(
        f"{problem} has no champion to roll back",
        expected="a promoted version",
        received="none in the ledger",
        action="run the problem until its gate, or a person, promotes a version",
    )


def _without(stack: list[Champion], candidate: str) -> list[Champion]:
    return [one for one in stack if one.candidate != candidate]
