"""The audit: an append-only file of lines, each chained to the one before.

``audit.jsonl`` holds one JSON object a line in its canonical form, each carrying the hash of the line before and signed
with the site's key, each synced before its writer goes on. ``audit.head`` beside it holds the number of lines and the
hash of the last one, signed, synced after each: a tail that was cut off is missed, and nobody without the key can write
either. An older pair of both files, put in their place, is told by a copy of the head in a second place
(``medai.attestation``).

    key          signs                                              who without it cannot
    a line       its number, kind, problem, facts, time, person     add one
    the head     count and last hash                                cut lines off, write the chain anew
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from medai.chain import AUDIT, HEAD, NOTHING_BEFORE, SIGNED, Entry, Head, altered, checked, line_of, signed
from medai.errors import ConfigurationError, MedaiError, ServiceFailed
from medai.paths import read_plain
from medai.records import canonical_json, sha256_of
from medai.signing import PRIVATE, PUBLIC, SiteKey
from medai.workspace import blocked, sync_directory, write_durably

__all__ = ["AUDIT", "HEAD", "KEYS", "Audit", "Entry", "Head"]

KEYS = "keys"
_LOOKS = 1000
"""Times that a reader looks for a moment in which nobody writes."""


def _nobody_else() -> None:
    """Nothing to ask: a file lock is held until it is let go."""


def _meanwhile(received: str) -> ServiceFailed:
    """The error for an audit that is no longer the one that was read before a line was to be written."""
    return ServiceFailed(
        f"somebody else wrote {AUDIT} meanwhile",
        expected="nobody else to write while this command holds the ledger's lock",
        received=received,
        action="nothing was written; run the same command again. If machines share the state folder, every one"
        " of them needs MEDAI_LOCK_DATABASE",
    )


class Audit:
    """Reads and appends the audit of one state folder.

    Args:
        folder: where ``audit.jsonl`` and ``audit.head`` lie.
        by: who acts, written in every line.
        site_key: where the site's private key lies; in ``keys`` of the folder when left out.
    """

    def __init__(self, folder: Path, by: str, site_key: Path | None = None) -> None:
        self.by = by
        self.path = folder / AUDIT
        self._private = site_key

    def key(self, *, make: bool = False) -> SiteKey:
        """The key that signs.

        Raises:
            ConfigurationError: see ``SiteKey.of``.
        """
        return SiteKey.of(self.path.parent / KEYS, self._private, make=make)

    def key_is_there(self) -> bool:
        """Whether the site has a key, or has had one: a half of it is there."""
        key = SiteKey(self._private or self.path.parent / KEYS / PRIVATE, self.path.parent / KEYS / PUBLIC)
        return key.private_path.exists() or key.public_path.exists()

    def read(self) -> list[Entry]:
        """The whole lines, oldest first, checked against each other and against the signed head.

        Raises:
            ServiceFailed: a line was altered, removed or moved; it is named. Or the head is not signed by the site.
        """
        return self.state()[0]

    def state(self) -> tuple[list[Entry], Head]:
        """The lines as ``read``, with the head that was found beside them."""
        data, head = self._look()
        if head is not None:  # first of all: what the lines are measured by
            self._ours(head)
        entries = checked(data, head)
        if len(entries) > (head.count if head else 0):
            self._ours(entries[-1])
        return entries, head or Head()

    def lines(self) -> tuple[list[Entry], Head | None]:
        """The lines and their head as ``state``, whoever signed them: for whoever looks at what cannot be verified."""
        data, head = self._look()
        return checked(data, head), head

    def _look(self) -> tuple[bytes, Head | None]:
        """The audit's bytes and its head, of one moment.

        A last line that a kill cut short was never acknowledged and does not count. A writer syncs its line and then
        the head. A reader that holds no lock looks until both heads around its look are one; the audit is then at most
        one line ahead, as a kill between the two leaves it.
        """
        for _ in range(_LOOKS):
            head = self._head()
            data = self._bytes(self.path)
            if self._head() == head:
                return data or b"", head
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
        head = Head.parse(data)
        if head is None:
            raise altered(f"{HEAD} was altered", "the number of lines and the last one's hash", "something else")
        return head

    def _ours(self, found: Head | Entry) -> None:
        """The head, or a line that a kill left ahead of it, is signed by this site."""
        if isinstance(found, Head) and not found.signature:
            raise ServiceFailed(
                f"{HEAD} is not signed",
                expected="the signature of this site's key",
                received="a head of before the site had a key, or one whose signature was taken away",
                action="look whether the lines are those that you know; then `medai audit sign --reason …`",
            )
        try:
            key = self.key()
            if isinstance(found, Entry):
                what, good = f"line {found.number} of {AUDIT}", signed(found, key)
                other = "none that holds, on a line that the head does not know"
            else:
                what, good = HEAD, found.key == key.fingerprint and key.verify(found.said(), found.signature)
                other = (
                    "one that does not hold" if found.key == key.fingerprint else f"that of the key {found.key[:12]}"
                )
            if not good:
                raise altered(
                    f"{what} is not signed by this site", f"a signature of the site key {key.fingerprint[:12]}", other
                )
        except ConfigurationError as error:
            raise ServiceFailed(
                f"the audit's signature cannot be checked: {error.wrong}",
                expected=error.expected,
                received=error.received,
                action=f"{error.action}; if it is lost, `medai audit sign --reason …` begins with a new one",
            ) from error

    @staticmethod
    def _bytes(path: Path) -> bytes | None:
        try:
            return read_plain(path)
        except FileNotFoundError:
            return None
        except OSError as failure:
            raise blocked(path, failure) from failure

    def append(
        self, kind: str, problem: str, facts: dict[str, Any], still_held: Callable[[], None] = _nobody_else
    ) -> Entry:
        """Append one line and sync it; the caller holds the ledger's lock. Facts hold no patient's value.

        Args:
            still_held: raises where the lock was lost; asked right before the line is written.

        Raises:
            ServiceFailed: the audit is not whole, another wrote meanwhile, or the line cannot be written.
        """
        return self._append(*self.state(), kind, problem, facts, still_held)

    def _append(
        self,
        entries: list[Entry],
        head: Head,
        kind: str,
        problem: str,
        facts: dict[str, Any],
        still_held: Callable[[], None],
    ) -> Entry:
        key = self.key(make=not entries)
        said: dict[str, Any] = {
            "number": len(entries) + 1,
            "kind": kind,
            "problem": problem,
            "facts": facts,
            "at": datetime.now(UTC).isoformat(timespec="microseconds"),
            "by": self.by,
            "previous": entries[-1].hash if entries else NOTHING_BEFORE,
        }
        body = said | {"signature": key.sign(canonical_json(said))}
        entry = Entry(**body, hash=sha256_of(body))
        new = not self.path.exists()
        still_held()
        if (self._head() or Head()) != head:
            raise _meanwhile(f"another {HEAD} than a moment ago")
        if not new:
            self._mend_end(entries, head, key)
        with self.path.open("ab") as file:
            file.write(line_of(entry))
            file.flush()
            os.fsync(file.fileno())
        if new:
            sync_directory(self.path.parent)
        self._keep_head(entry, key)
        return entry

    def sign_anew(self, reason: str, still_held: Callable[[], None] = _nobody_else) -> Entry:
        """Begin with a new key, or sign an audit that never was: one line of kind ``signed`` says so.

        The caller vouches for the lines: they must be a whole chain that agrees with its head, whoever signed it. A
        public half that is still there is kept under its fingerprint, so that older lines can be verified.

        Raises:
            ServiceFailed: the chain is broken.
            ConfigurationError: the key is there and signs as it should.
        """
        entries, head = self.lines()
        try:
            self.state()
            self.key().sign(b"")
        except MedaiError:
            pass
        else:
            raise ConfigurationError(
                "the audit needs no new signature",
                expected="a head without a signature, or a site key that is lost",
                received="a head that the site's key signed",
                action="nothing was changed",
            )
        key, known = SiteKey.renewed(self.path.parent / KEYS, self._private), head or Head()
        last = entries[-1] if entries else None
        if last is not None and last.kind == SIGNED and last.number > known.count and signed(last, key):
            still_held()  # a kill came between this line and its head: the key that is before it signed no other
            self._mend_end(entries, known, key)
            return last
        facts = {"reason": reason, "before": known.key, "key": key.fingerprint}
        return self._append(entries, known, SIGNED, "", facts, still_held)

    def _mend_end(self, entries: list[Entry], head: Head, key: SiteKey) -> None:
        """Leave whole lines alone, each with its newline, and a head that knows them.

        What a kill cut short never happened, as its writer never went on; a whole last line without its newline did.

        Raises:
            ServiceFailed: there are more lines than were read: another's, who may have been told that it is written.
        """
        whole = b"".join(line_of(entry) for entry in entries)
        with self.path.open("rb+") as file:
            data = file.read()
            if b"\n" in data[len(whole) :]:
                raise _meanwhile("a line that was not there a moment ago")
            if data != whole:
                file.write(whole[len(data) :])
                file.truncate(len(whole))
                file.flush()
                os.fsync(file.fileno())
        if entries and head.count < len(entries):
            self._keep_head(entries[-1], key)

    def _keep_head(self, last: Entry, key: SiteKey) -> None:
        head = Head(last.number, last.hash, key.fingerprint)
        head = replace(head, signature=key.sign(head.said()))
        write_durably(self.path.with_name(HEAD), head.line())
