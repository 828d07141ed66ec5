"""The audit: an append-only file of lines, each chained to the one before.

``audit.jsonl`` holds one JSON object a line in its canonical form, each carrying the hash of the line before, each
synced before its writer goes on. ``audit.head`` beside it holds the number of lines and the hash of the last one,
synced after each, so that a tail that was cut off is missed.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from medai.errors import ServiceFailed
from medai.paths import read_plain
from medai.records import canonical_json, sha256_of
from medai.workspace import blocked, sync_directory, write_durably

AUDIT, HEAD = "audit.jsonl", "audit.head"
_NOTHING_BEFORE = "0" * 64
_LOOKS = 1000
"""Times that a reader looks for a moment in which nobody writes."""


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


@dataclass(frozen=True)
class Head:
    """How many lines the audit has, and the hash of the last one."""

    count: int = 0
    hash: str = _NOTHING_BEFORE


class Audit:
    """Reads and appends the audit of one state folder.

    Args:
        folder: where ``audit.jsonl`` and ``audit.head`` lie.
        by: who acts, written in every line.
    """

    def __init__(self, folder: Path, by: str) -> None:
        self.by = by
        self.path = folder / AUDIT

    def read(self) -> list[Entry]:
        """The whole lines, oldest first, checked against each other and against the head.

        A last line that a kill cut short was never acknowledged and does not count. A writer syncs its line and then
        the head. A reader that holds no lock looks until both heads around its look are one; the audit is then at most
        one line ahead, as a kill between the two leaves it.

        Raises:
            ServiceFailed: a line was altered, removed or moved; it is named.
        """
        for _ in range(_LOOKS):
            head = self._head()
            data = self._bytes(self.path)
            if self._head() == head:
                return _checked(data or b"", head)
        raise ServiceFailed(
            f"{AUDIT} does not come to rest",
            expected="a moment in which nobody writes",
            received=f"a change at each of {_LOOKS} looks",
            action="run the same command again",
        )

    def _head(self) -> Head | None:
        data = self._bytes(self.path.with_name(HEAD))
        if data is None:
            return None
        try:
            head = Head(**json.loads(data))
            if _head_line(head) == data and type(head.count) is int:
                return head
        except (ValueError, TypeError, RecursionError):
            pass
        raise _altered(f"{HEAD} was altered", "the number of lines and the last one's hash", "something else")

    @staticmethod
    def _bytes(path: Path) -> bytes | None:
        try:
            return read_plain(path)
        except FileNotFoundError:
            return None
        except OSError as failure:
            raise blocked(path, failure) from failure

    def append(self, kind: str, problem: str, facts: dict[str, Any]) -> Entry:
        """Append one line and sync it; the caller holds the ledger's lock. Facts hold no patient's value."""
        entries = self.read()
        body: dict[str, Any] = {
            "number": len(entries) + 1,
            "kind": kind,
            "problem": problem,
            "facts": facts,
            "at": datetime.now(UTC).isoformat(timespec="microseconds"),
            "by": self.by,
            "previous": entries[-1].hash if entries else _NOTHING_BEFORE,
        }
        line = canonical_json({**body, "hash": sha256_of(body)}) + b"\n"
        new = not self.path.exists()
        if not new:
            self._mend_end(entries)
        with self.path.open("ab") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        if new:
            sync_directory(self.path.parent)
        entry = Entry(**body, hash=sha256_of(body))
        self._keep_head([*entries, entry])
        return entry

    def _mend_end(self, entries: list[Entry]) -> None:
        """Leave whole lines alone, each with its newline, and a head that knows them.

        What a kill cut short never happened, as its writer never went on; a whole last line without its newline did.
        """
        whole = b"".join(_line(entry) for entry in entries)
        with self.path.open("rb+") as file:
            data = file.read()
            if data != whole:
                file.write(whole[len(data) :])
                file.truncate(len(whole))
                file.flush()
                os.fsync(file.fileno())
        head = self._head()
        if entries and (head is None or head.count < len(entries)):
            self._keep_head(entries)

    def _keep_head(self, entries: list[Entry]) -> None:
        write_durably(self.path.with_name(HEAD), _head_line(Head(len(entries), entries[-1].hash)))


def _line(entry: Entry) -> bytes:
    """The only form in which a line stands in the audit."""
    return canonical_json(vars(entry)) + b"\n"


def _head_line(head: Head) -> bytes:
    return canonical_json(vars(head)) + b"\n"


def _checked(data: bytes, head: Head | None) -> list[Entry]:
    """The audit's lines, each intact, as many as the head says; one more where a kill came before the head."""
    entries: list[Entry] = []
    previous = _NOTHING_BEFORE
    *lines, rest = data.split(b"\n")
    known = head or Head()
    for number, line in enumerate([*lines, rest] if rest else lines, start=1):
        entry = _entry(line, number, previous)
        if entry is None:
            if number > len(lines) and number > known.count:
                break  # cut short by a kill before anybody relied on it
            raise _altered(
                f"line {number} of {AUDIT} was altered, removed or moved",
                "each line to carry the hash of its content and of the line before",
                f"a line {number} that does not",
            )
        previous = entry.hash
        entries.append(entry)
    if len(entries) < known.count:
        raise _altered(
            f"line {len(entries) + 1} of {AUDIT} was removed",
            f"{known.count} lines, as {HEAD} says",
            f"{len(entries)} lines",
        )
    if len(entries) > known.count + 1:
        raise _altered(
            f"line {known.count + 2} of {AUDIT} is unknown to {HEAD}" if head else f"{HEAD} is missing",
            f"{AUDIT} and {HEAD} as medai left them",
            f"{len(entries)} lines, of which {HEAD} knows {known.count}",
        )
    if known.count and entries[known.count - 1].hash != known.hash:
        raise _altered(
            f"line {known.count} of {AUDIT} was altered, removed or moved",
            f"the line that {HEAD} names",
            "another line",
        )
    return entries


def _entry(line: bytes, number: int, previous: str) -> Entry | None:
    """The line if it is intact, byte for byte."""
    try:
        entry = Entry(**json.loads(line))
        body = {name: value for name, value in vars(entry).items() if name != "hash"}
        intact = entry.hash == sha256_of(body) and entry.previous == previous and entry.number == number
        return entry if intact and isinstance(entry.facts, dict) and _line(entry) == line + b"\n" else None
    except (ValueError, TypeError, RecursionError):
        return None


def _altered(wrong: str, expected: str, received: str) -> ServiceFailed:
    return ServiceFailed(
        wrong,
        expected=expected,
        received=received,
        action=f"nothing is promoted until {AUDIT} and {HEAD} are restored from one copy",
    )
