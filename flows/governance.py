"""What a person decides: promotion by hand and rollback. The ledger first, then MLflow's alias follows.

Whoever acts on a problem holds its lock, so that between a look at the champion and the alias that follows nobody else
moves either.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

from flows.announcing import announce_line
from flows.reasons import check_reason, who_acts
from flows.settings import Settings
from medai.attestation import TAG, contradiction, text
from medai.errors import ChampionMoved, ConfigurationError, ServiceDown, ServiceFailed
from medai.integrity import damage
from medai.ledger import Champion, Ledger, no_champion
from medai.locks import DatabaseLocks
from medai.promotion.approval import signed
from medai.promotion.recorded import awaiting, last_protocol, line_facts
from medai.records import Candidate, QualityReport, Snapshot
from medai.tracking import Tracking
from medai.workspace import Workspace

log = logging.getLogger("medai.run")

MLFLOW = "mlflow"
"""What an outcome's ``waiting`` names."""


def ledger_of(settings: Settings, workspace: Workspace | None = None) -> Ledger:
    """The ledger as the settings have it: whose key signs, and where its writers take their turn."""
    database = settings.lock_database
    return Ledger(
        workspace or Workspace(settings.home, settings.lock_seconds),
        by=who_acts(),
        site_key=settings.site_key,
        locks=DatabaseLocks(database.get_secret_value(), settings.lock_seconds) if database else None,
    )


def tracking_of(ledger: Ledger, settings: Settings) -> Tracking:
    """MLflow as the settings name it: a server, or the database in the state folder; the ledger's key signs for it."""
    return Tracking(
        settings.tracking_uri or settings.tracking_database,
        settings.artifact_root,
        ledger.workspace,
        partial(ledger.audit.key, make=True),
    )


def note_data(ledger: Ledger, problem: str, snapshot: Snapshot, quality: QualityReport) -> None:
    """Audit which data a problem read and what was found in them, once a snapshot and once a report."""
    ledger.note(
        "ingested",
        problem,
        {
            "snapshot": snapshot.key,
            "source": snapshot.source,
            "data_sha256": snapshot.data_sha256,
            "tables": snapshot.tables,
            "dropped": sum(snapshot.dropped.values()),
        },
        by=("snapshot",),
    )
    ledger.note(
        "judged",
        problem,
        {
            "report": quality.key,
            "snapshot": snapshot.key,
            "passed": quality.passed,
            "rules": quality.rules,
            "rows": quality.rows,
            "tables": quality.tables,
            "dropped": sum(snapshot.dropped.values()),
            "set_aside": quality.set_aside,
            "blocking": sorted({failure.reason for failure in quality.failures if failure.blocking}),
        },
        by=("report", "snapshot"),
    )


def promote_by_hand(
    ledger: Ledger, tracking: Tracking, problem: str, version: int, reason: str, expected: int | None = None
) -> dict[str, Any]:
    """Make a registered version champion, signed with the site's key; what awaits approval is approved thereby.

    Args:
        expected: the version that it is to replace, 0 for nobody; the champion that stands when this is called, when
            left out. Whoever was promoted or withdrawn since then wins, and this promotion is refused.

    Returns:
        ``problem``; ``champion``, the version; ``recorded``, false when it was champion already; ``gate``, what the
        gate last said of it: ``verdict`` and ``reasons``, None when it never did; ``approved``, whether it waited for
        this; ``waiting``: see ``follow``.

    Raises:
        ConfigurationError: there is no such version, its files are not intact, or no reason was given.
        ChampionMoved: another version stands than the expected one.
        ServiceFailed: the audit is not whole, or not the one whose head MLflow remembers.
    """
    check_reason(reason, ledger.workspace, problem)
    meant = ledger.champion(problem)
    with ledger.acting(problem):
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
        if expected is not None and (_version(now) or 0) != expected and _version(now) != version:
            raise ChampionMoved(
                f"version {expected} is not the champion of {problem}" if expected else f"{problem} has a champion",
                expected=f"version {expected}" if expected else "none",
                received=now.told() if now else "no champion",
                action=f"nothing was changed; see `medai history {problem}`",
            )
        try:
            refuse_unattested(ledger, tracking, problem)
        except ServiceDown as down:  # compared before MLflow is told, and the promotion is shown by then
            log.warning("%s (%s): the audit is compared with its copy there later", down.wrong, down.received)
        waiting = [entry.facts for entry in awaiting(ledger, problem) if entry.facts["version"] == version]
        candidate, run_id = facts["candidate"], facts["run_id"]
        more = line_facts(ledger, problem, last_protocol(ledger, problem, candidate))
        if waiting:
            more["approves"] = waiting[-1]["decision"]
        said = {"version": version, "candidate": candidate, "run_id": run_id, "how": "person", "reason": reason}
        more |= signed(ledger.audit.key(make=True), problem, said | more)
        recorded = ledger.promote(
            problem,
            version=version,
            candidate=candidate,
            run_id=run_id,
            how="person",
            reason=reason,
            expected=meant.candidate if meant else None,
            facts=more,
        )
        spoken = [entry.facts for entry in ledger.entries(problem, "settled") if entry.facts["version"] == version]
        told = follow(ledger, tracking, problem, changed=recorded) | {
            "recorded": recorded,
            "approved": recorded and bool(waiting),
            "gate": {"verdict": spoken[-1]["verdict"], "reasons": spoken[-1].get("reasons", [])} if spoken else None,
        }
    return told


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
    check_reason(reason, ledger.workspace, problem)
    meant = expected if expected is not None else _version(ledger.champion(problem))
    if meant is None:  # nobody was meant, and whoever is promoted while this waits for its turn is not
        raise no_champion(problem)
    with ledger.acting(problem):
        before = ledger.before(problem)
        if before is not None and _version(ledger.champion(problem)) == meant:
            _refuse_damaged(ledger, problem, before.version, before.candidate)
        ledger.rollback(problem, reason, meant)
        return follow(ledger, tracking, problem, changed=True) | {"withdrawn": meant}


def project(ledger: Ledger, tracking: Tracking, problem: str, *, changed: bool = False) -> dict[str, Any]:
    """Let MLflow's alias follow the ledger; one that somebody moved by hand is told, audited and put back.

    ``challenger`` is dropped from a version that a person withdrew: it challenges nobody. What a person decided is
    announced once the alias shows it, and before the line that says so: a kill in between costs a delay.

    Args:
        changed: a person changed the ledger just now, also where the alias shows that already.

    Returns:
        ``problem``; ``champion``, the version; ``moved``, where the alias was found, if somebody had moved it.
    """
    version = _version(ledger.champion(problem))
    model = tracking.model(problem)
    aliases = model.aliases if model else {}
    found = aliases.get("champion")
    told: dict[str, Any] = {"problem": problem, "champion": version}
    noted = ledger.moved(problem)
    if found != version and found not in ledger.shown(problem):
        facts = {"alias": "champion", "found": found, "version": version}
        if facts not in noted:  # a kill came between the line and the alias
            ledger.append("moved", problem, facts)
            noted.append(facts)
        where = "was gone" if found is None else f"pointed at version {found}"
        stands = "nobody" if version is None else f"version {version}"
        log.warning("%s: MLflow's alias champion %s, moved by hand; the ledger says %s", problem, where, stands)
        told["moved"] = found
    if found != version:
        if version is None:
            tracking.drop_alias(problem, "champion")
        else:
            tracking.set_alias(problem, "champion", version)
    challenger = ledger.registered(problem).get(aliases.get("challenger", 0))
    if challenger is not None and ledger.withdrawn(problem, challenger["candidate"]):
        tracking.drop_alias(problem, "challenger")
    behind = changed or not ledger.projected(problem)
    if noted or behind:
        refuse_unattested(ledger, tracking, problem)
        attest(ledger, tracking, problem)
        if behind:
            _announce_by_hand(ledger, problem)
        ledger.append("projected", problem, {"version": version})
    return told


def attest(ledger: Ledger, tracking: Tracking, problem: str) -> None:
    """Keep the audit's signed head in the second place: a tag of the registered model."""
    if tracking.model(problem) is not None:
        tracking.tag(problem, TAG, text(ledger.audit.state()[1]))


def refuse_unattested(ledger: Ledger, tracking: Tracking, problem: str) -> None:
    """Refuse to promote on an audit that is not the one whose head MLflow remembers, or beside another MLflow.

    Raises:
        ServiceFailed: the audit was cut or written anew, or this MLflow never had the versions that the audit knows: it
            would number other models from 1 anew.
    """
    model = tracking.model(problem)
    if model is None and (versions := ledger.registered(problem)):
        raise ServiceFailed(
            f"MLflow knows no version of {problem}",
            expected=f"the MLflow in which version {max(versions)} was registered, or a copy of it",
            received="an MLflow without a model of that name",
            action="let MEDAI_TRACKING_URI name that one (without it: the one in MEDAI_HOME), or restore its copy; what"
            " was decided waits for `medai sync`",
        )
    told = {problem: model.tags[TAG]} if model and TAG in model.tags else {}
    if told and (wrong := contradiction(ledger.entries(), told, ledger.audit.key(make=True))):
        raise wrong


def _announce_by_hand(ledger: Ledger, problem: str) -> None:
    """What a person did to the champion last; what a gate did is announced when its decision is settled."""
    lines = ledger.entries(problem, "champion")
    if not lines or (how := lines[-1].facts["how"]) == "gate":
        return
    facts = lines[-1].facts
    if how == "rollback":
        event, payload = "medai.champion.withdrawn", {"version": facts["withdrawn_version"]}
        payload["champion"] = facts["version"]
    else:
        event, payload = "medai.champion.promoted", {"version": facts["version"], "how": how}
    announce_line(ledger.workspace, event, lines[-1], payload)


def follow(ledger: Ledger, tracking: Tracking, problem: str, *, changed: bool) -> dict[str, Any]:
    """``project`` where MLflow answers; where it does not, the ledger's entry stands and its alias is moved later.

    Returns:
        ``problem``; ``champion``, its version; ``waiting``: empty, or ``mlflow`` where the alias is still to be moved.
    """
    try:
        return project(ledger, tracking, problem, changed=changed) | {"waiting": []}
    except ServiceDown as down:
        if changed:
            _announce_by_hand(ledger, problem)
        log.warning("%s (%s): the ledger's entry stands; its alias in MLflow waits", down.wrong, down.received)
        return {"problem": problem, "champion": _version(ledger.champion(problem)), "waiting": [MLFLOW]}


def _version(champion: Champion | None) -> int | None:
    return champion.version if champion else None


def _refuse_damaged(ledger: Ledger, problem: str, version: int, candidate: str) -> None:
    folder = ledger.workspace.folder("fit", candidate)
    known = ledger.registered(problem).get(version, {}).get("files_sha256")
    if ledger.workspace.find("fit", candidate, Candidate) is None or damage(folder, known) is not None:
        raise ConfigurationError(
            f"version {version} of {problem} cannot serve",
            expected="its files as they were registered",
            received="a folder that is gone or was altered",
            action="restore it from a copy, run the command that made it again, or promote another version",
        )
