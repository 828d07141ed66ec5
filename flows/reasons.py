"""What a person writes into the audit, where it stays: a name, and the reason of an act."""

from __future__ import annotations

import logging
import unicodedata

from flows.settings import user
from medai.disclosure import Guard
from medai.errors import ConfigurationError, MedaiError
from medai.monitoring.batches import batches
from medai.pruning import SEEN
from medai.records import Snapshot
from medai.workspace import Workspace

log = logging.getLogger("medai.run")

LONGEST_REASON, LONGEST_NAME = 2000, 100
UNWRITTEN = ("Cc", "Cs", "Zl", "Zp")
"""Categories of Unicode that no line of text has: controls, half characters, separators of lines and paragraphs."""
TURNING = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
"""Bidirectional controls (Unicode Standard Annex 9), by which a reader is shown another order of words than is signed
(Boucher and Anderson 2023, Trojan Source). Text of either direction needs none in one line."""
TAGS = frozenset(map(chr, range(0xE0000, 0xE0080)))
"""Unicode's tag characters: nobody sees them."""
FILLERS = frozenset("\u115f\u1160\u3164\uffa0")
"""Letters of Hangul that are blank: they hold the place of one (Unicode Standard, Default_Ignorable_Code_Point)."""


def who_acts() -> str:
    """The user's name as it stands in every line; LOGNAME may say anything, and a history prints it."""
    name = user()
    if strange := _strange(name[: LONGEST_NAME + 1]):
        received = f"the character {strange[0]!a}"
    elif not _is_seen(name):
        received = "nothing that can be seen"
    elif len(name) > LONGEST_NAME:
        received = f"more than {LONGEST_NAME} characters"
    else:
        return name
    raise ConfigurationError(
        "the name of who acts cannot be written in the audit",
        expected=f"one line of text, {LONGEST_NAME} characters at most",
        received=received,
        action="correct LOGNAME in the environment",
    )


def check_reason(reason: str, workspace: Workspace, problem: str | None = None) -> None:
    """Refuse what the audit cannot keep for good: no words, words that read otherwise than they are, or a patient's id.

    Args:
        workspace: whose patients are known: those of each problem's newest data.
        problem: of which the batches that were predicted are looked at, too.

    Raises:
        ConfigurationError: see above; the reason is not repeated.
    """
    if not _is_seen(reason[: LONGEST_REASON + 1]):
        raise ConfigurationError(
            "what the audit keeps needs a reason",
            expected="--reason with some words",
            received="nothing",
            action="say why: the auditor will ask",
        )
    strange = _strange(reason[:LONGEST_REASON])
    if strange or len(reason) > LONGEST_REASON:
        raise ConfigurationError(
            "the reason cannot be written in the audit",
            expected=f"one line of text, {LONGEST_REASON} characters at most",
            received=f"the character {strange[0]!a}" if strange else f"{len(reason)} characters",
            action="say it in plain words",
        )
    _refuse_names(reason, workspace, problem)


def _refuse_names(reason: str, workspace: Workspace, problem: str | None) -> None:
    """Refuse a reason by which an id of somebody would stand in the audit; what is damaged keeps nobody from acting."""
    try:
        receipts = (workspace.root / "receipts" / SEEN).glob("*.json")
        keys = {str(workspace.receipt(SEEN, path.stem).get("snapshot")) for path in receipts}
        keys |= {one.batch.snapshot for one in batches(workspace, problem)} if problem else set()
        found = (workspace.find("ingest", key, Snapshot) for key in sorted(keys))
        names = any(Guard.of(workspace, one).finds(reason) for one in found if one is not None)
    except (MedaiError, OSError) as failure:
        log.warning("whether the reason names a patient was not looked at: %s", failure)
        return
    if names:
        raise ConfigurationError(
            "the reason names a patient",
            expected="words without an id of the data, since the audit keeps them for good",
            received="one of the data's ids",
            action="say it without the id",
        )


def _is_seen(text: str) -> bool:
    """Whether a reader sees anything of it."""
    return any(unicodedata.category(sign)[0] in "LNPS" and sign not in FILLERS for sign in text)


def _strange(text: str) -> list[str]:
    """The characters that no line has, or by which it reads otherwise than it is."""
    return [
        sign
        for sign in text
        if unicodedata.category(sign) in UNWRITTEN or unicodedata.bidirectional(sign) in TURNING or sign in TAGS
    ]
