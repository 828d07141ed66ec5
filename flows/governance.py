"""What a person decides: promotion by hand and rollback. The ledger first, then MLflow's alias follows.

Whoever acts on a problem holds its lock, so that between a look at the champion and the alias that follows nobody else
moves either.
"""

from __future__ import annotations

import logging
import unicodedata
from typing import Any

from medai.errors import ConfigurationError, ServiceDown
from medai.ledger import Champion, Ledger
from medai.records import Candidate
from medai.tracking import Tracking

log = logging.getLogger("medai.governance")

LONGEST_REASON = 2000
MLFLOW = "mlflow"
"""What an outcome's ``waiting`` names."""


def promote_by_hand(ledger: Ledger, tracking: Tracking, problem: str, version: int, reason: str) -> dict[str, Any]:
    """Make a registered version champion.

    Returns:
        ``problem``; ``champion``, the version; ``recorded``, false when it was champion already; ``gate``, what the
        gate last said of it: ``verdict`` and ``reasons``, None when it never did; ``waiting``: see ``follow``.

    Raises:
        ConfigurationError: there is no such version, its files are not intact, or no reason was given.
    """
    _check_reason(reason)
    with ledger.workspace.lock(f"act-{problem}"):
        registered = ledger.registered(problem)
        if version not in registered:
            raise ConfigurationError(
                f"{problem} has no version {version}",
                expected=f"one of {', '.join(map(str, sorted(registered)))}" if registered else "a registered version",
                received=str(version),
                action=f"`medai history {problem}` lists the versions" if registered else "run the problem first",
            )
        facts = registered[version]
        _refuse_damaged(ledger, problem, version, facts["candidate"])
        now = ledger.champion(problem)
        recorded = ledger.promote(
            problem,
            version=version,
            candidate=facts["candidate"],
            run_id=facts["run_id"],
            how="person",
            reason=reason,
            expected=now.candidate if now else None,
        )
        spoken = [entry.facts for entry in ledger.entries(problem, "settled") if entry.facts["version"] == version]
        return follow(ledger, tracking, problem) | {
            "recorded": recorded,
            "gate": {"verdict": spoken[-1]["verdict"], "reasons": spoken[-1].get("reasons", [])} if spoken else None,
        }


def roll_back(
    ledger: Ledger, tracking: Tracking, problem: str, reason: str, expected: int | None = None
) -> dict[str, Any]:
    """Withdraw the champion; the one before it stands again.

    Args:
        expected: the version to withdraw; the champion that stands when this is called, when left out.

    Returns:
        ``problem``; ``champion``, the version that stands now; ``withdrawn``, the one that no longer does;
        ``waiting``: see ``follow``.

    Raises:
        NotChampion: another version stands, or somebody else has withdrawn it already.
        ConfigurationError: no reason was given, there is no champion, or the version before it is not intact.
    """
    _check_reason(reason)
    meant = expected if expected is not None else _version(ledger.champion(problem))
    with ledger.workspace.lock(f"act-{problem}"):
        before = ledger.before(problem)
        if before is not None and _version(ledger.champion(problem)) == meant:
            _refuse_damaged(ledger, problem, before.version, before.candidate)
        ledger.rollback(problem, reason, meant)
        return follow(ledger, tracking, problem) | {"withdrawn": meant}


def project(ledger: Ledger, tracking: Tracking, problem: str) -> dict[str, Any]:
    """Let MLflow's alias follow the ledger, whoever moved the one or the other."""
    version = _version(ledger.champion(problem))
    if tracking.alias(problem, "champion") != version:
        if version is None:
            tracking.drop_alias(problem, "champion")
        else:
            tracking.set_alias(problem, "champion", version)
    if not ledger.projected(problem):
        ledger.append("projected", problem, {"version": version})
    return {"problem": problem, "champion": version}


def follow(ledger: Ledger, tracking: Tracking, problem: str) -> dict[str, Any]:
    """``project`` where MLflow answers; where it does not, the ledger's entry stands and its alias is moved later.

    Returns:
        ``problem``; ``champion``, its version; ``waiting``: empty, or ``mlflow`` where the alias is still to be moved.
    """
    try:
        return project(ledger, tracking, problem) | {"waiting": []}
    except ServiceDown as down:
        log.warning("%s (%s): the ledger's entry stands; its alias in MLflow waits", down.wrong, down.received)
        return {"problem": problem, "champion": _version(ledger.champion(problem)), "waiting": [MLFLOW]}


def _version(champion: Champion | None) -> int | None:
    return champion.version if champion else None


def _refuse_damaged(ledger: Ledger, problem: str, version: int, candidate: str) -> None:
    if ledger.workspace.find("fit", candidate, Candidate) is None:
        raise ConfigurationError(
            f"version {version} of {problem} cannot serve",
            expected="its files as they were registered",
            received="a folder that is gone or was altered",
            action="restore it from a copy, run the command that made it again, or promote another version",
        )


def _check_reason(reason: str) -> None:
    if not any(unicodedata.category(sign)[0] in "LNPS" for sign in reason[: LONGEST_REASON + 1]):
        raise ConfigurationError(
            "a promotion or rollback needs a reason",
            expected="--reason with some words",
            received="nothing",
            action="say why: the auditor will ask",
        )
    strange = [sign for sign in reason[:LONGEST_REASON] if unicodedata.category(sign) in ("Cc", "Cs")]
    if strange or len(reason) > LONGEST_REASON:
        raise ConfigurationError(
            "the reason cannot be written in the audit",
            expected=f"one line of text, {LONGEST_REASON} characters at most",
            received=f"the character {strange[0]!a}" if strange else f"{len(reason)} characters",
            action="say it in plain words",
        )
