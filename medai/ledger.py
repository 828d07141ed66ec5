"""The ledger: who became champion, when, why and by whom; medai's own authority.

It is read from the audit's lines. MLflow's alias is only the projection of what stands here. Every change is made under
one lock and says which champion it expects to find (compare-and-set).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any

from medai.audit import Audit, Entry
from medai.errors import ChampionMoved, ConfigurationError, NotChampion
from medai.workspace import Workspace

_LOCK_SECONDS = 120


@dataclass(frozen=True)
class Champion:
    """What stands in production for a problem."""

    version: int
    candidate: str
    run_id: str
    since: str
    reason: str
    how: str


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
    """

    def __init__(self, workspace: Workspace, by: str) -> None:
        self.workspace = workspace
        self.by = by
        self.audit = Audit(workspace.root, by)
        self.path: Path = self.audit.path

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
        stack = self._champions(problem, at)
        return stack[-1] if stack else None

    def _champions(self, problem: str, at: str | None = None) -> list[Champion]:
        """Promotions that were not rolled back, oldest first."""
        stack: list[Champion] = []
        for entry in self.entries(problem, "champion"):
            if at is not None and entry.at > at:
                break
            facts = entry.facts
            if facts["how"] == "rollback":
                stack.pop()
                if stack:  # it stands since the rollback, for the rollback's reason
                    stack[-1] = Champion(
                        **{**vars(stack[-1]), "since": entry.at, "reason": facts["reason"], "how": "rollback"}
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
                    )
                )
        return stack

    def withdrawn(self, problem: str, candidate: str) -> bool:
        """Whether a person rolled this candidate back and nobody promoted it by hand since."""
        return self.withdrawal(problem, candidate) is not None

    def withdrawal(self, problem: str, candidate: str) -> Entry | None:
        """The rollback by which a person withdrew this candidate, if it still holds."""
        withdrawal = None
        for entry in self.entries(problem, "champion"):
            if entry.facts["how"] == "rollback":
                withdrawal = entry if entry.facts["withdrawn"] == candidate else withdrawal
            elif entry.facts["how"] == "person" and entry.facts["candidate"] == candidate:
                withdrawal = None
        return withdrawal

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

        It no longer holds when the champion it was made against is gone, or a person withdrew the candidate.
        """
        entry = self._last(problem, "decided", candidate, rules)
        if entry is None or self.withdrawn(problem, candidate):
            return None
        champion = self.champion(problem)
        now = champion.candidate if champion else None
        return entry if now in (candidate, entry.facts["champion"]) else None

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

    def openings(self, test_sha256: str) -> int:
        """How many candidates were ever scored on this test set."""
        return len({entry.facts["candidate"] for entry in self._openings(test_sha256)})

    def _openings(self, test_sha256: str) -> list[Entry]:
        return [entry for entry in self.entries(kind="opened") if entry.facts["test_sha256"] == test_sha256]

    # -- writing ---------------------------------------------------------------------------------------------------

    @contextmanager
    def at_rest(self) -> Iterator[None]:
        """Nobody appends meanwhile."""
        with self.workspace.lock("ledger", _LOCK_SECONDS):
            yield

    def append(self, kind: str, problem: str, facts: dict[str, Any]) -> Entry:
        """Append one line and sync it; facts hold no patient's value."""
        with self.workspace.lock("ledger", _LOCK_SECONDS):
            return self.audit.append(kind, problem, facts)

    def opened(self, problem: str, test_sha256: str, candidate: str) -> int:
        """Count that this candidate was scored on this test set, once; return how many candidates were."""
        with self.workspace.lock("ledger", _LOCK_SECONDS):
            seen = {entry.facts["candidate"] for entry in self._openings(test_sha256)}
            if candidate not in seen:
                self.audit.append("opened", problem, {"test_sha256": test_sha256, "candidate": candidate})
            return len(seen | {candidate})

    def evaluated(self, problem: str, candidate: str, scorecard: str, facts: dict[str, Any]) -> int:
        """Note that a champion was measured on other labelled data, once a scorecard; return how many there are."""
        with self.workspace.lock("ledger", _LOCK_SECONDS):
            looks = {
                entry.facts["scorecard"]
                for entry in self.entries(problem, "evaluated")
                if entry.facts["candidate"] == candidate
            }
            if scorecard not in looks:
                self.audit.append("evaluated", problem, {**facts, "candidate": candidate, "scorecard": scorecard})
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
    ) -> bool:
        """Make a version champion if the champion is still the expected one.

        Args:
            how: ``gate`` or ``person``.
            expected: candidate key of the champion that the decision was made against, None for no champion.

        Returns:
            False when it is champion already: nothing is recorded then.

        Raises:
            ChampionMoved: somebody else was faster.
        """
        with self.workspace.lock("ledger", _LOCK_SECONDS):
            now = self.champion(problem)
            if now is not None and now.candidate == candidate:
                return False
            self._compare(problem, now, expected)
            self.audit.append(
                "champion",
                problem,
                {"version": version, "candidate": candidate, "run_id": run_id, "how": how, "reason": reason},
            )
            return True

    def before(self, problem: str) -> Champion | None:
        """The champion that would stand again after a rollback."""
        stack = self._champions(problem)
        return stack[-2] if len(stack) > 1 else None

    def rollback(self, problem: str, reason: str, expected: int | None = None) -> Champion | None:
        """Withdraw the champion; the one before it stands again (None when there was none).

        Args:
            expected: the version that is meant; None for whichever stands now.

        Raises:
            NotChampion: another version stands now, or the one that is meant was withdrawn already.
            ConfigurationError: there is no champion to withdraw.
        """
        with self.workspace.lock("ledger", _LOCK_SECONDS):
            stack = self._champions(problem)
            if expected is not None and (not stack or stack[-1].version != expected):
                raise self._not_champion(problem, expected, stack[-1] if stack else None)
            if not stack:
                raise ConfigurationError(
                    f"{problem} has no champion to roll back",
                    expected="a promoted version",
                    received="none in the ledger",
                    action="run the problem until its gate, or a person, promotes a version",
                )
            self.audit.append(
                "champion",
                problem,
                {
                    "how": "rollback",
                    "reason": reason,
                    "withdrawn": stack[-1].candidate,
                    "withdrawn_version": stack[-1].version,
                    "version": stack[-2].version if len(stack) > 1 else None,
                },
            )
            return self.champion(problem)

    def _not_champion(self, problem: str, version: int, now: Champion | None) -> NotChampion:
        standing = "no champion" if now is None else f"version {now.version}, champion since {now.since[:19]} UTC"
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
    def _compare(problem: str, now: Champion | None, expected: str | None) -> None:
        if (now.candidate if now else None) != expected:
            raise ChampionMoved(
                f"the champion of {problem} changed while this decision was made",
                expected="the champion that the candidate was compared with",
                received="no champion" if now is None else f"version {now.version}, champion since {now.since}",
                action="run the same command again: the comparison is made with the new champion",
            )
