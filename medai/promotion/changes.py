"""What a candidate differs in from the champion, and whether the gate foresaw it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from medai.lines import PARTS, Protocol
from medai.promotion.gate import Gate
from medai.records import Candidate, Condition

SHOWN = 4
"""Keys named of one change."""
_LONGEST = 40
"""Characters of a value that is shown whole."""
NAME = "changes against the champion"
LINE = "the line of champions"
_NOT_RECORDED = "not recorded of the champion"


def changes(candidate: Candidate, champion: Candidate, ours: Protocol, theirs: Protocol | None) -> dict[str, str]:
    """Change, as ``gate.changes`` calls it → what is different, empty where its name says it all.

    A model that the champion's own Problem named as another choice was foreseen when the champion was promoted: it is
    a change of neither architecture nor training.
    """
    found: dict[str, str] = {}
    snapshots = [None if one.origin is None else one.origin.snapshot for one in (champion, candidate)]
    if snapshots[0] != snapshots[1] or None in snapshots:
        found["data"] = ""
    if candidate.seed != champion.seed:
        found["seed"] = ""
    if [one.weights_sha256 for one in candidate.members] != [one.weights_sha256 for one in champion.members]:
        found["weights"] = ""
    new, old = candidate.recipe, champion.recipe
    if candidate.thresholds != champion.thresholds or (new and new.threshold) != (old and old.threshold):
        found["thresholds"] = ""
    if candidate.calibration != champion.calibration or (new and new.calibration) != (old and old.calibration):
        found["calibration"] = ""
    if candidate.environment != champion.environment:
        found["environment"] = ""
    if candidate.preprocessing != champion.preprocessing:
        found["preprocessing"] = _keys(champion.preprocessing, candidate.preprocessing)
    if new is None or old is None:
        found |= {"architecture": _NOT_RECORDED, "training": _NOT_RECORDED}
    elif not (ours.models and theirs is not None and ours.models == theirs.models):
        if new.model != old.model:
            found["architecture"] = _keys(old.model, new.model)
        if new.training != old.training:
            found["training"] = _keys(old.training or {}, new.training or {})
    return found


def permitted(
    gate: Gate,
    candidate: Candidate,
    champion: Candidate | None,
    ours: Protocol,
    theirs: Protocol | None,
    *,
    awaits: bool,
) -> Condition:
    """Retraining changed nothing but what ``gate.changes`` lists.

    Args:
        awaits: a person is asked about the line anyway, and approves or refuses what changed with it.
    """
    required = f"no more than {', '.join(gate.changes) or 'nothing'}"
    if champion is None or champion.key == candidate.key:
        why = "no champion to differ from" if champion is None else "it is the champion"
        return Condition(name=NAME, passed=True, judged=False, figure=why, required=required)
    found = changes(candidate, champion, ours, theirs)
    unlisted = {change: what for change, what in found.items() if change not in gate.changes}
    figure = ", ".join(change for change in found if change not in unlisted) or "nothing"
    if unlisted:
        named = "; ".join(f"{change} ({what})" if what else change for change, what in unlisted.items())
        figure = f"not foreseen: {named}"
    return Condition(name=NAME, passed=not unlisted, figure=figure, required=required, awaits=awaits)


def lined(gate: Gate, candidate: Candidate, champion: Candidate | None, begins: tuple[str, ...] | None) -> Condition:
    """The champion's line goes on, or another begins that the gate foresaw or a person is to approve.

    Args:
        begins: as in ``Decision``.
    """
    required = f"equal {', '.join(PARTS)}; another line does not replace a champion without a person"
    if listed := [part for part in PARTS if part in gate.changes]:
        required += f" unless it differs in {' or '.join(listed)} alone"
    if champion is None or champion.key == candidate.key:
        why = "the first of its line" if champion is None else "it is the champion"
        return Condition(name=LINE, passed=True, judged=False, figure=why, required=required)
    if begins is None:
        return Condition(name=LINE, passed=True, figure="goes on", required=required)
    return Condition(
        name=LINE,
        passed=bool(begins) and all(part in gate.changes for part in begins),
        figure=f"a new line begins: other {', '.join(begins)}" if begins else f"a new line begins: {_NOT_RECORDED}",
        required=required,
        awaits=True,
    )


def approved(gate: Gate, candidate: Candidate, champion: Candidate | None) -> Iterator[Condition]:
    """A person's approval, where the gate asks for one; nobody has given it when the gate decides."""
    if gate.approval == "required":
        stands = champion is not None and champion.key == candidate.key
        yield Condition(
            name="approved by a person",
            passed=stands,
            judged=not stands,
            figure="it is the champion" if stands else "not yet",
            required="`medai promote` with a reason",
            awaits=True,
        )


def _keys(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """The keys that differ, each with both values where they are short."""
    differing = [key for key in sorted({*old, *new}) if old.get(key) != new.get(key)]
    if "kind" in differing:  # the keys of two kinds have nothing to do with each other
        differing = ["kind"]
    told = [f"{key}{_values(old.get(key), new.get(key))}" for key in differing[:SHOWN]]
    return ", ".join(told) + (f" and {len(differing) - SHOWN} more" if len(differing) > SHOWN else "")


def _values(old: Any, new: Any) -> str:
    told = f" {json.dumps(old)} → {json.dumps(new)}"
    return told if len(told) <= _LONGEST else ""
