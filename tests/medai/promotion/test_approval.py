"""A person's signature under a promotion."""

from pathlib import Path
from typing import Any

from medai.promotion.approval import holds, signed
from medai.signing import SiteKey

FACTS: dict[str, Any] = {"version": 3, "how": "person", "reason": "checked by the ward", "approves": "d"}


def test_a_signature_holds_for_its_facts_alone(tmp_path: Path) -> None:
    """Another reason, another problem, a fact left out, another site's key: none of them was signed."""
    key, other = SiteKey.of(tmp_path / "keys"), SiteKey.of(tmp_path / "other")
    facts = FACTS | signed(key, "sepsis", FACTS)
    assert facts["signed_by"] == key.fingerprint
    assert holds(key, "sepsis", facts)
    assert holds(key, "sepsis", facts | {"replaces": 2})  # what the ledger adds of itself its own chain guards
    assert not holds(key, "sepsis", facts | {"reason": "nobody checked"})
    assert not holds(key, "pneumonia", facts)
    assert not holds(key, "sepsis", {name: value for name, value in facts.items() if name != "approves"})
    assert not holds(key, "sepsis", facts | {"signed_by": other.fingerprint})
    assert not holds(other, "sepsis", facts)
    assert not holds(key, "sepsis", FACTS)
