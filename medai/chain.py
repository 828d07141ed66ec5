"""The form of the audit's lines and of its head, and what breaks the chain.

A line's signature is of all that it says; its hash covers both, and stands in the next line.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medai.errors import ServiceFailed
from medai.records import canonical_json, sha256_of
from medai.signing import SiteKey

AUDIT, HEAD = "audit.jsonl", "audit.head"
SIGNED = "signed"
"""The kind of line with which a new site key begins."""
NOTHING_BEFORE = "0" * 64


@dataclass(frozen=True)
class Entry:
    """One line of the audit."""

    number: int
    kind: str
    problem: str
    facts: dict[str, Any]
    at: str
    by: str
    previous: str
    hash: str
    signature: str = ""
    """Of all but the hash, which covers it; empty in lines of before the site had a key."""

    def said(self) -> dict[str, Any]:
        """What the signature is of."""
        return {name: value for name, value in vars(self).items() if name not in ("hash", "signature")}


@dataclass(frozen=True)
class Head:
    """How many lines the audit has, and the hash of the last one.

    Attributes:
        key: fingerprint of the key that signed it.
        signature: of count and hash; empty in a head of before the site had a key.
    """

    count: int = 0
    hash: str = NOTHING_BEFORE
    key: str = ""
    signature: str = ""

    def said(self) -> bytes:
        """What the signature is of."""
        return canonical_json({"count": self.count, "hash": self.hash})

    @classmethod
    def parse(cls, data: bytes | str) -> Head | None:
        """A head in the only form it is written in; None for anything else."""
        try:
            head = cls(**json.loads(data))
            texts = all(isinstance(text, str) for text in (head.hash, head.key, head.signature))
            plain = type(head.count) is int and head.count > 0 and texts
            return head if plain and head.line() == (data.encode() if isinstance(data, str) else data) else None
        except (ValueError, TypeError, RecursionError):
            return None

    def line(self) -> bytes:
        """The only form in which a head is written."""
        return canonical_json(_without_empty(vars(self))) + b"\n"


def unsigned(entries: list[Entry], key: SiteKey, folder: Path) -> int | None:
    """The first line that the site's keys did not sign; None where all are signed.

    A line of kind ``signed`` tells which key was the site's before; lines of before it are that key's. They pass
    unverified where its public half is gone, and where the site had none.

    Args:
        key: the site's present key.
        folder: where the public halves of earlier keys are kept.
    """
    first = None
    now: SiteKey | None = key
    for entry in reversed(entries):
        if now is not None and not signed(entry, now):
            first = entry.number
        if entry.kind == SIGNED:
            now = SiteKey.retired(folder, str(entry.facts.get("before", "")))
    return first


def signed(entry: Entry, key: SiteKey) -> bool:
    """Whether a line is signed by a key."""
    return bool(entry.signature) and key.verify(canonical_json(entry.said()), entry.signature)


def _without_empty(fields: dict[str, Any]) -> dict[str, Any]:
    """Without the signature that files of before the site had a key do not have."""
    return {name: value for name, value in fields.items() if value != "" or name not in ("signature", "key")}


def line_of(entry: Entry) -> bytes:
    """The only form in which a line stands in the audit."""
    return canonical_json(_without_empty(vars(entry))) + b"\n"


def checked(data: bytes, head: Head | None) -> list[Entry]:
    """The audit's lines, each intact, as many as the head says; one more where a kill came before the head."""
    entries: list[Entry] = []
    previous = NOTHING_BEFORE
    *lines, rest = data.split(b"\n")
    known = head or Head()
    for number, line in enumerate([*lines, rest] if rest else lines, start=1):
        entry = _entry(line, number, previous)
        if entry is None:
            if number > len(lines) and number > known.count:
                break  # cut short by a kill before anybody relied on it
            raise altered(
                f"line {number} of {AUDIT} was altered, removed or moved",
                "each line to carry the hash of its content and of the line before",
                f"a line {number} that does not",
            )
        previous = entry.hash
        entries.append(entry)
    if len(entries) < known.count:
        raise altered(
            f"line {len(entries) + 1} of {AUDIT} was removed",
            f"{known.count} lines, as {HEAD} says",
            f"{len(entries)} lines",
        )
    if len(entries) > known.count + 1:
        raise altered(
            f"line {known.count + 2} of {AUDIT} is unknown to {HEAD}" if head else f"{HEAD} is missing",
            f"{AUDIT} and {HEAD} as medai left them",
            f"{len(entries)} lines, of which {HEAD} knows {known.count}",
        )
    if known.count and entries[known.count - 1].hash != known.hash:
        raise altered(
            f"line {known.count} of {AUDIT} was altered, removed or moved",
            f"the line that {HEAD} names",
            "another line",
        )
    return entries


def _entry(line: bytes, number: int, previous: str) -> Entry | None:
    """The line if it is intact, byte for byte."""
    try:
        entry = Entry(**json.loads(line))
        body = {name: value for name, value in _without_empty(vars(entry)).items() if name != "hash"}
        intact = entry.hash == sha256_of(body) and entry.previous == previous and entry.number == number
        return entry if intact and isinstance(entry.facts, dict) and line_of(entry) == line + b"\n" else None
    except (ValueError, TypeError, RecursionError):
        return None


def altered(wrong: str, expected: str, received: str) -> ServiceFailed:
    """The error for an audit that is not as medai left it."""
    return ServiceFailed(
        wrong,
        expected=expected,
        received=received,
        action=f"nothing is promoted until {AUDIT} and {HEAD} are restored from one copy",
    )
