"""A person's signature under a promotion: the facts that the ledger keeps, signed with the site's key.

Whoever holds the site's public key can check later that these facts, and no others, were approved here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medai.records import canonical_json
from medai.signing import SiteKey

SIGNATURE, SIGNED_BY = "signature", "signed_by"
SIGNED = (
    "version", "candidate", "run_id", "how", "reason", "line", "models", "begins", "approves", SIGNED_BY
)  # fmt: skip
"""Facts of a promotion that are signed; those that are absent are signed as absent."""


def signed(key: SiteKey, problem: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    """``signature`` (base64) under the facts of a promotion, and ``signed_by``, the key's fingerprint.

    Raises:
        ConfigurationError: the site's key cannot be used.
    """
    by = {SIGNED_BY: key.fingerprint}
    return by | {SIGNATURE: key.sign(_message(problem, {**facts, **by}))}


def holds(key: SiteKey, problem: str, facts: Mapping[str, Any]) -> bool:
    """Whether the facts of a promotion are those that were signed with this key."""
    signature = facts.get(SIGNATURE)
    return isinstance(signature, str) and key.verify(_message(problem, facts), signature)


def _message(problem: str, facts: Mapping[str, Any]) -> bytes:
    """Canonical JSON of what is signed: the problem and the facts."""
    return canonical_json({"problem": problem, "facts": {name: facts[name] for name in SIGNED if name in facts}})
