"""Damaged files by the hundred: each is read, or set aside for a reason that the suite explains."""

from __future__ import annotations

from collections import Counter

from tests.medai.sources.dicom.mutants import de_identified, mutant, read


def test_a_damaged_file_is_read_or_set_aside_with_a_reason() -> None:
    """Bits, lengths, representations, tags and values changed, pieces lost, moved and put in: never an exception."""
    told = Counter(read(mutant(seed)) for seed in range(300))
    assert not [said for said in told if said.startswith("DEFECT")]
    assert told["read"] > 50
    assert len(told) >= 8, "mutants that end all alike show little"


def test_a_damaged_file_is_rewritten_or_set_aside_with_a_reason() -> None:
    """By the road that de-identifies, too."""
    told = Counter(de_identified(mutant(seed)) for seed in range(60))
    assert not [said for said in told if said.startswith("DEFECT")]
    assert told["rewritten"] > 5
    assert len(told) >= 4
