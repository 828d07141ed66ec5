"""``medai audit``: is the audit whole, is it ours, and is what it tells of still there?

chain        each line carries the hash of the one before               audit.jsonl
head         as many lines as were written, signed by the site          audit.head
signatures   each line signed by the site's key, or by an earlier one   keys/
second place the head that MLflow remembers is one of this chain        tag medai.audit_head
champions    the files of each version that ever was champion           store/fit/
approvals    what a person promoted is signed by the site
aliases      MLflow's alias is where medai put it
versions     what was promoted is in MLflow, as the same candidate
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from flows.governance import attest, project
from flows.reasons import check_reason
from medai.attestation import TAG, contradiction, unattested
from medai.audit import AUDIT, Entry
from medai.chain import Head, altered, unsigned
from medai.errors import ConfigurationError, MedaiError, ServiceFailed
from medai.integrity import damage
from medai.ledger import Ledger
from medai.promotion.approval import SIGNATURE, SIGNED_BY, holds
from medai.signing import SiteKey
from medai.tracking import Model, Tracking


def verify(ledger: Ledger, tracking: Tracking) -> dict[str, Any]:
    """Compare the audit's lines, its head, their signatures, MLflow's copy and the champions' files; change nothing.

    Returns:
        ``intact``; ``lines`` and ``kinds``, how many there are; ``key``, the fingerprint; ``second_place``, problem →
        lines that MLflow knows; ``champions``, how many versions' files were looked at; ``findings``, each in the three
        parts of an error with the next step, the broken line first.
    """
    findings: list[MedaiError] = []
    outcome: dict[str, Any] = {"lines": 0, "kinds": {}, "key": None, "second_place": {}, "champions": 0}
    try:
        entries = ledger.entries()
        if entries:
            key = ledger.audit.key()
            outcome |= {"lines": len(entries), "kinds": dict(Counter(entry.kind for entry in entries))}
            outcome["key"] = key.fingerprint
            if (number := unsigned(entries, key, key.public_path.parent)) is not None:
                findings.append(
                    altered(f"line {number} of {AUDIT} is not signed by this site", "the site key's signature", "none")
                )
    except MedaiError as error:
        findings.append(error)
        entries = []
    else:
        findings += _champions(ledger, entries, outcome)
        findings += _approvals(ledger, entries)
    try:
        models = tracking.models(TAG)
        findings += _second_place(ledger, entries, models, outcome) if not findings or entries else []
        findings += _aliases(ledger, models) if entries else []
        findings += _versions(tracking, entries)
    except MedaiError as error:
        findings.append(error)
    return {"intact": not findings, **outcome, "findings": [error.as_dict() for error in findings]}


def _second_place(
    ledger: Ledger, entries: list[Entry], models: dict[str, Model], outcome: dict[str, Any]
) -> list[MedaiError]:
    told = {problem: model.tags[TAG] for problem, model in models.items()}
    heads = {problem: Head.parse(tag + "\n") for problem, tag in told.items()}
    outcome["second_place"] = {problem: head.count for problem, head in sorted(heads.items()) if head is not None}
    if not entries and not ledger.audit.key_is_there():
        return []  # another site's state folder on the same server: nothing here was ever audited
    key = ledger.audit.key()
    mine = _remembered(entries, told, key)
    wrong = contradiction(entries, mine, key)
    if wrong is not None:
        return [wrong]
    return [
        ServiceFailed(
            f"MLflow does not know the audit of {problem}",
            expected=f"a tag {TAG} on its registered model",
            received="none",
            action="see whether MEDAI_TRACKING_URI names the MLflow that registered it, or who took the tag away;"
            " `medai audit sign` writes it again",
        )
        for problem in unattested(entries, told)
    ]


def _remembered(entries: list[Entry], told: dict[str, str], key: SiteKey) -> dict[str, str]:
    """Problem → tag, of those in which MLflow remembers this audit: it tells of the problem, or its key signed."""
    ours = {entry.problem for entry in entries}
    return {
        problem: tag
        for problem, tag in told.items()
        if problem in ours or ((head := Head.parse(tag + "\n")) is not None and head.key == key.fingerprint)
    }


def _champions(ledger: Ledger, entries: list[Entry], outcome: dict[str, Any]) -> list[MedaiError]:
    """The files of whoever was ever promoted, as the audit has their hash."""
    findings: list[MedaiError] = []
    promoted = {
        (entry.problem, entry.facts["version"]): entry
        for entry in entries
        if entry.kind == "champion" and entry.facts["how"] != "rollback"
    }
    for (problem, version), entry in promoted.items():
        folder = ledger.workspace.folder("fit", entry.facts["candidate"])
        outcome["champions"] += 1
        if wrong := damage(folder, entry.facts.get("files_sha256")):
            findings.append(
                ServiceFailed(
                    f"version {version} of {problem}, promoted in line {entry.number}, is not as it was registered",
                    expected="its files, byte for byte",
                    received=wrong,
                    action="restore them from a copy; until then it cannot serve",
                )
            )
    return findings


def _versions(tracking: Tracking, entries: list[Entry]) -> list[MedaiError]:
    """Versions that were promoted and that MLflow has no more, or has of another candidate.

    By their tags; that the files are the candidate's is checked whenever they are loaded.
    """
    findings: list[MedaiError] = []
    promoted = {
        (entry.problem, int(entry.facts["version"])): entry
        for entry in entries
        if entry.kind == "champion" and entry.facts["how"] != "rollback"
    }
    known = {problem: tracking.candidates(problem) for problem in sorted({problem for problem, _ in promoted})}
    for (problem, version), entry in promoted.items():
        found = known[problem].get(version)
        if found != entry.facts["candidate"]:
            findings.append(
                ServiceFailed(
                    f"version {version} of {problem}, promoted in line {entry.number}, is not in MLflow as it was",
                    expected=f"a version of the candidate {entry.facts['candidate'][:12]}…",
                    received="no such version" if found is None else f"one of {found[:12] + '…' if found else 'none'}",
                    action="ask who may write to MLflow, and restore its database from a copy; the ledger stands",
                )
            )
    return findings


def _approvals(ledger: Ledger, entries: list[Entry]) -> list[MedaiError]:
    """What a person promoted, as it was signed then, by this key of the site or an earlier one.

    As a line does, an approval passes unverified where the public half of an earlier key is gone.
    """
    findings: list[MedaiError] = []
    for entry in entries:
        if entry.kind != "champion" or SIGNATURE not in entry.facts:
            continue
        key = ledger.audit.key()
        by = str(entry.facts.get(SIGNED_BY))
        own = key if by == key.fingerprint else SiteKey.retired(key.public_path.parent, by)
        if own is not None and not holds(own, entry.problem, entry.facts):
            findings.append(
                ServiceFailed(
                    f"the approval in line {entry.number} of {AUDIT} is not signed by this site",
                    expected="the facts of the promotion, as the person signed them",
                    received="a signature of other facts",
                    action="restore the audit and keys/ from one copy",
                )
            )
    return findings


def _aliases(ledger: Ledger, models: dict[str, Model]) -> list[MedaiError]:
    """Aliases that somebody moved by hand."""
    findings: list[MedaiError] = []
    for problem, model in sorted(models.items()):
        found = model.aliases.get("champion")
        if ledger.entries(problem) and found not in ledger.shown(problem):
            champion = ledger.champion(problem)
            findings.append(
                ServiceFailed(
                    f"MLflow's alias champion of {problem} was moved by hand",
                    expected=f"version {champion.version}, as the ledger says"
                    if champion
                    else "none, as in the ledger",
                    received="no alias" if found is None else f"version {found}",
                    action="ask who moved it; `medai audit sign` notes it and puts it back",
                )
            )
    return findings


def sign(ledger: Ledger, tracking: Tracking, reason: str | None = None) -> dict[str, Any]:
    """Bring the second place up to date: each registered problem's alias, and the head of the audit in its tag.

    Args:
        reason: begin with a new site key, where the old one is lost, or sign an audit that never was.

    Returns:
        ``lines``; ``key``, the fingerprint; ``problems``, those whose tag was written; ``moved``, problem → where its
        alias was found, if by somebody's hand.

    Raises:
        ServiceFailed: the audit is not whole; or it is not the one whose head MLflow remembers.
        ConfigurationError: a reason was given and the audit needs no new signature, or there is none.
    """
    if reason is not None:
        check_reason(reason, ledger.workspace)
    entries = ledger.entries() if reason is None else ledger.audit.lines()[0]
    if reason is not None and not entries:
        raise ConfigurationError(
            "there is no audit to sign",
            expected=f"the lines of {AUDIT}",
            received="none",
            action="restore it from a copy, if there was one; a new state folder signs by itself",
        )
    problems = sorted({entry.problem for entry in entries if entry.kind == "registered"})
    tags = {problem: model.tags[TAG] for problem, model in tracking.models(TAG).items()}
    if reason is not None:
        wrong = contradiction(entries, {problem: tag for problem, tag in tags.items() if problem in problems}, None)
    elif entries or ledger.audit.key_is_there():
        key = ledger.audit.key()
        wrong = contradiction(entries, _remembered(entries, tags, key), key)
    else:
        wrong = None
    if wrong is not None:
        raise wrong
    if reason is not None:
        ledger.sign_anew(reason)
    moved = {}
    for problem in problems:
        with ledger.acting(problem):
            answer = project(ledger, tracking, problem)
            attest(ledger, tracking, problem)
        if "moved" in answer:
            moved[problem] = answer["moved"]
    lines = len(ledger.entries())
    fingerprint = ledger.audit.key().fingerprint if lines else None
    return {"lines": lines, "key": fingerprint, "problems": problems, "moved": moved}
