"""Records: frozen, canonical, strict; keys that change with what matters and with nothing else."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from medai.records import (
    KEY_LENGTH,
    Candidate,
    Environment,
    Exclusion,
    Frozen,
    Measure,
    Member,
    Splits,
    canonical_json,
    sha256_of,
    stage_key,
)

LEAVES = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    LEAVES | st.text(), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
)


class _Config(Frozen):
    epochs: int = 3


def splits(**changes: Any) -> Splits:
    """A small record."""
    return Splits.model_validate(
        {"key": "k", "samples": {"train": 2, "test": 1}, "subjects": {"train": 2}, "test_sha256": "0"} | changes
    )


@given(VALUES)
def test_canonical_json_is_one_form_that_reads_back(value: Any) -> None:
    """Reading and writing again gives the same bytes, and the same value."""
    data = canonical_json(value)
    assert json.loads(data) == value
    assert canonical_json(json.loads(data)) == data


def test_the_order_of_keys_does_not_matter() -> None:
    """Two mappings that are equal have equal bytes and hashes, whatever order they were filled in."""
    assert splits(samples={"test": 1, "train": 2}).canonical() == splits().canonical()
    assert sha256_of({"a": 1, "b": 2}) == sha256_of({"b": 2, "a": 1}) != sha256_of({"a": 2, "b": 1})


def test_a_record_reads_what_it_wrote() -> None:
    """canonical and parse are inverse; the bytes end in one newline."""
    record = splits()
    assert Splits.parse(record.canonical()) == record
    assert record.canonical().endswith(b"}\n")


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_none_are_refused(number: float) -> None:
    """Neither a record nor canonical JSON holds NaN or an infinity."""
    with pytest.raises(ValidationError, match="finite"):
        Measure(value=number, low=0, high=1)
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical_json([number])


def test_a_record_cannot_be_changed() -> None:
    """Frozen means frozen."""
    line = Exclusion(criterion="all", samples=1, subjects=1)
    with pytest.raises(ValidationError, match="frozen"):
        line.samples = 2  # type: ignore[misc]


def test_an_unknown_key_is_named_with_the_one_meant() -> None:
    """The near match stands in the message, at whatever depth."""
    with pytest.raises(ValidationError, match=r"unknown key 'sampels'; did you mean 'samples'\?"):
        Exclusion.model_validate({"criterion": "all", "sampels": 1, "subjects": 1})


def test_a_key_changes_with_each_of_its_parts() -> None:
    """Stage, version, inputs, configuration and library each make another key; equal parts make the same."""
    base = stage_key("fit", 1, {"arrays": "a"}, _Config(), ("numpy",))
    others = [
        stage_key("split", 1, {"arrays": "a"}, _Config(), ("numpy",)),
        stage_key("fit", 2, {"arrays": "a"}, _Config(), ("numpy",)),
        stage_key("fit", 1, {"arrays": "b"}, _Config(), ("numpy",)),
        stage_key("fit", 1, {"cohort": "a"}, _Config(), ("numpy",)),
        stage_key("fit", 1, {"arrays": "a"}, _Config(epochs=4), ("numpy",)),
        stage_key("fit", 1, {"arrays": "a"}, None, ("numpy",)),
        stage_key("fit", 1, {"arrays": "a"}, _Config(), ("numpy", "polars")),
    ]
    assert len({base, *others}) == 8
    assert stage_key("fit", 1, {"arrays": "a"}, _Config(epochs=3), ("numpy",)) == base
    assert len(base) == KEY_LENGTH


def test_a_models_hash_is_its_members() -> None:
    """One member gives its own weights' hash; several give one over all, in their order."""
    one, two = (Member(kind="gru", weights_sha256=name, onnx_sha256="o") for name in ("a", "b"))

    def candidate(*members: Member) -> Candidate:
        return Candidate(
            key="k",
            name="net",
            members=members,
            thresholds={},
            calibration={},
            preprocessing={},
            outputs={},
            statistics={},
            trained_on={},
            seed=0,
            epochs=1,
            environment=Environment(threads=1, onednn=True, instruction_set="x", libraries={}),
        )

    assert candidate(one).model_sha256 == "a"
    assert candidate(one, two).model_sha256 == sha256_of(["a", "b"]) != candidate(two, one).model_sha256
