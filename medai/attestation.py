"""The second place: a copy of the audit's signed head, in a tag of MLflow's registered model.

A tail that was cut off together with its head, or an older pair of both files, is a whole chain with a good signature;
only somebody who remembers a longer one can tell. Of each problem the registry remembers the head of the last time that
its champion was projected or a decision settled.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from medai.chain import AUDIT, HEAD, SIGNED, Entry, Head, altered
from medai.errors import ServiceFailed
from medai.signing import SiteKey

TAG = "medai.audit_head"


def text(head: Head) -> str:
    """A head as a tag holds it."""
    return head.line().decode().strip()


def contradiction(entries: list[Entry], told: Mapping[str, str], key: SiteKey | None) -> ServiceFailed | None:
    """What the audit and the copies of its head do not agree in; None if they do.

    A copy that an earlier key of the site signed stays good until the next is written, if it is of the lines before
    the one with which the key that followed began: a kill, or a server that is down, may come between.

    Args:
        entries: the audit's lines, whole by themselves.
        told: problem → what its tag says.
        key: the site's; None where it was lost, so that only counts and hashes can be compared.
    """
    heads: list[tuple[int, str]] = []
    for problem, tag in told.items():
        head = Head.parse(tag + "\n")
        if head is None or (key is not None and not (_by(key, head) or _by_earlier(entries, head, key))):
            return altered(
                f"MLflow's copy of {HEAD} on the model {problem} is not signed by this site",
                f"a signature of the site key {key.fingerprint[:12]}" if key else "a count, a hash and a signature",
                "no head" if head is None else f"one of the key {head.key[:12]} that does not hold here",
            )
        heads.append((head.count, head.hash))
    agreed = 0
    for count, last in sorted(heads):
        if count > len(entries):
            return altered(
                f"the audit ends before line {len(entries) + 1}, which MLflow's tags know",
                f"{count} lines or more",
                f"{len(entries)} lines",
            )
        if entries[count - 1].hash != last:
            where = f"line {count}" if agreed == count - 1 else f"one of the lines {agreed + 1} to {count}"
            return altered(
                f"{where} of {AUDIT} was written anew",
                f"the line {count} that MLflow's tags know, {last[:12]}",
                f"another line {count}, {entries[count - 1].hash[:12]}",
            )
        agreed = count
    return None


def _by(key: SiteKey, head: Head) -> bool:
    return key.verify(head.said(), head.signature)


def _by_earlier(entries: list[Entry], head: Head, key: SiteKey) -> bool:
    """Whether a key signed a head that was the site's then, as the line says with which the next began.

    As lines do, it passes unverified where the public half of that key is gone, and where the site had none.
    """
    for entry in entries:
        if entry.kind == SIGNED and entry.facts.get("before", "") == head.key and head.count < entry.number:
            earlier = SiteKey.retired(key.public_path.parent, head.key)
            return earlier is None or _by(earlier, head)
    return False


def unattested(entries: Iterable[Entry], told: Mapping[str, str]) -> list[str]:
    """Problems whose tag should be there and is not: it is written before the line that says the alias follows."""
    signed = {entry.problem for entry in entries if entry.kind == "projected" and entry.signature}
    return sorted(signed - told.keys())
