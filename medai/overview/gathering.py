"""What the overview tells, from the ledger, the store and the windows of monitoring; nothing is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime

from medai.audit import Entry
from medai.errors import MedaiError
from medai.ledger import Champion, Ledger
from medai.monitoring.windows import facts_of, standing
from medai.overview.content import Approval, Drifting, Judged, Overview, Plan, ProblemView, Turn, VersionPoint
from medai.problem import load_problem
from medai.promotion.recorded import awaiting
from medai.reporting.words import drift
from medai.spool import Spool

RUNS = 12
"""Turns and verdicts on data that a problem's page tells, the newest."""


def gather(
    ledger: Ledger,
    plans: Mapping[str, Plan] | None = None,
    links: Mapping[str, Mapping[str, str]] | None = None,
    services: Mapping[str, str | None] | None = None,
) -> Overview:
    """The site as it stands.

    A broken audit is told instead of raised: the page must say so, and nothing that rests on the audit is shown. So are
    windows of one problem that cannot be read.

    Args:
        plans: problem → what Prefect's server knows of it.
        links: problem → service → address of its page there.
        services: name → address; None where it does not answer.
    """
    at = datetime.now(UTC).isoformat(timespec="seconds")
    told = dict(services or {})
    waiting = len(Spool(ledger.workspace).numbers())
    try:
        entries = ledger.entries()
    except MedaiError as error:
        return Overview(at=at, problems=(), broken=error.wrong, waiting=waiting, services=told)
    names = sorted({entry.problem for entry in entries if entry.problem} | set(plans or ()))
    views = tuple(
        _view(ledger, name, entries, (plans or {}).get(name, Plan()), dict((links or {}).get(name, {})))
        for name in names
    )
    return Overview(at=at, problems=views, lines=len(entries), waiting=waiting, services=told)


def _view(ledger: Ledger, name: str, entries: list[Entry], plan: Plan, links: dict[str, str]) -> ProblemView:
    ours = [entry for entry in entries if entry.problem == name]
    champion = ledger.champion(name)
    settled = [entry for entry in ours if entry.kind == "settled"]
    return ProblemView(
        problem=name,
        question=_question(name),
        **_standing(champion),
        versions=_versions(ours, ledger.withdrawals(name)),
        turns=tuple(turn for entry in reversed(ours) if (turn := _turn(entry)) is not None)[:RUNS],
        quality=tuple(_judged(entry) for entry in ours if entry.kind == "judged")[-RUNS:],
        drifting=_drifting(ledger, name, champion),
        approvals=tuple(
            Approval(version=entry.facts["version"], at=entry.at, wanted=tuple(entry.facts.get("for", ())))
            for entry in awaiting(ledger, name)
        ),
        plan=plan,
        decisions=dict(sorted(Counter(entry.facts["verdict"] for entry in settled).items())),
        moved=sum(entry.kind == "moved" for entry in ours),
        last_run=settled[-1].at if settled else "",
        links=links,
    )


def _standing(champion: Champion | None) -> dict[str, str | int | None]:
    if champion is None:
        return {}
    return {
        "champion": champion.version,
        "candidate": champion.candidate,
        "since": champion.since,
        "how": champion.how,
        "reason": champion.reason,
        "by": champion.by,
        "after": champion.after,
    }


def _question(name: str) -> str:
    """Of a problem of the catalogue; a site's own is told by its name."""
    try:
        return load_problem(name).question
    except MedaiError:
        return ""


def _versions(entries: list[Entry], withdrawals: Mapping[str, Entry]) -> tuple[VersionPoint, ...]:
    verdicts = {entry.facts.get("version"): entry.facts for entry in entries if entry.kind == "settled"}
    points = []
    for entry in entries:
        if entry.kind != "registered":
            continue
        said = verdicts.get(entry.facts["version"], {})
        measure = entry.facts.get("figure") or {}
        points.append(
            VersionPoint(
                version=entry.facts["version"],
                at=entry.at,
                verdict=said.get("verdict", ""),
                withdrawn=entry.facts["candidate"] in withdrawals,
                metric=measure.get("metric", ""),
                value=measure.get("value"),
                low=measure.get("low"),
                high=measure.get("high"),
            )
        )
    return tuple(points)


def _turn(entry: Entry) -> Turn | None:
    """A line of the audit in words; None for lines that nobody decided."""
    facts = entry.facts
    if entry.kind == "champion" and facts["how"] == "rollback":
        what, reason = f"version {facts['withdrawn_version']} withdrawn", facts["reason"]
    elif entry.kind == "champion":
        what, reason = f"version {facts['version']} promoted by {_by(facts['how'])}", facts["reason"]
    elif entry.kind == "settled" and facts["verdict"] != "promoted":
        what = f"version {facts['version']}: {facts['verdict'].replace('_', ' ')}"
        reason = "; ".join(facts.get("reasons", ()))
    elif entry.kind == "detected":
        what = f"drift from version {facts['version']} that counts"
        reason = ", ".join(drift(one["measure"], one["statistic"]) for one in facts["measures"])
    elif entry.kind == "labelled":
        joined = sum(one["samples"] for one in facts["outcomes"])
        what, reason = "outcomes arrived", f"{joined} joined to predictions"
    elif entry.kind == "moved":
        found = facts["found"]
        what = "MLflow's alias was moved by hand, and put back"
        reason = "it was gone" if found is None else f"it pointed at version {found}"
    else:
        return None
    return Turn(at=entry.at, by=entry.by, what=what, reason=reason)


def _by(how: str) -> str:
    return {"gate": "the gate", "person": "a person"}.get(how, how)


def _judged(entry: Entry) -> Judged:
    facts = entry.facts
    dropped = facts.get("dropped", 0)
    rows = sum(facts["tables"].values()) if "tables" in facts else facts["rows"]  # older lines know the first table's
    aside = sum(facts["set_aside"].values())
    return Judged(at=entry.at, passed=facts["passed"], rows=rows + dropped, set_aside=aside + dropped)


def _drifting(ledger: Ledger, name: str, champion: Champion | None) -> Drifting:
    if champion is None:
        return Drifting()
    try:
        now = standing(ledger.workspace, name, champion.candidate)
    except MedaiError as error:
        return Drifting(broken=error.wrong)
    return Drifting(
        windows={str(kind): number for kind, number in now.windows.items()},
        counting=tuple(_named(trend.measure, trend.statistic) for trend in now.counting),
        outside=tuple(
            _named(trend.measure, trend.statistic)
            for trend in now.trends
            if trend.newest.verdict == "outside" and not trend.counts
        ),
        measures=tuple(facts_of(trend) for trend in now.trends),
    )


def _named(measure: str, statistic: str) -> str:
    return measure if statistic == "metric" else f"{measure} ({statistic})"
