"""Outputs: how a label column becomes a truth array, and which definitions are refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from medai.outputs import Output, answering
from medai.records import canonical_json


@pytest.mark.parametrize(
    ("positive", "truth", "names"), [("ill", [0, 1, 1], ("well", "ill")), ("well", [1, 0, 0], ("ill", "well"))]
)
def test_the_positive_class_is_1_whatever_its_label(
    output_of: Callable[..., Output], positive: str, truth: list[int], names: tuple[str, str]
) -> None:
    """BreastMNIST labels malignant 0: the score is still the probability of the class named positive."""
    output = output_of(kind="binary", classes={0: "well", 7: "ill"}, positive=positive)
    found = output.truth([np.array([0, 7, 7])])
    assert found.tolist() == truth
    assert found.dtype == np.int8
    assert (output.names, output.columns, output.labels) == (names, 1, ("label",))


def test_multiclass_counts_positions_of_the_sorted_labels(output_of: Callable[..., Output]) -> None:
    """Labels need not begin at 0 nor be written in order."""
    output = output_of(kind="multiclass", label="grade", classes={9: "high", 2: "low", 5: "middle"})
    assert output.truth([np.array([9, 2, 5, 2])]).tolist() == [2, 0, 1, 0]
    assert (output.names, output.columns, output.labels) == (("low", "middle", "high"), 3, ("grade",))


def test_multilabel_keeps_the_findings_order(output_of: Callable[..., Output]) -> None:
    """One column a finding, in the order of the Problem."""
    output = output_of(kind="multilabel", classes={"b": "effusion", "a": "mass"})
    truth = output.truth([np.array([1, 0, 1]), np.array([0, 0, 1])])
    assert truth.tolist() == [[1, 0], [0, 0], [1, 1]]
    assert (output.names, output.columns, output.labels) == (("effusion", "mass"), 2, ("b", "a"))


def test_findings_stand_in_their_order_whatever_json_makes_of_it(output_of: Callable[..., Output]) -> None:
    """A record sorts its keys, and a model's columns must not move; another order is another output."""
    given = output_of(kind="multilabel", classes={"label_2": "mass", "label_10": "effusion"})
    record = json.loads(canonical_json(given.model_dump(mode="json")))
    assert list(record["classes"]) == ["label_10", "label_2"]
    assert output_of(**record) == given
    assert output_of(**record).names == ("mass", "effusion")
    turned = output_of(kind="multilabel", classes={"label_10": "effusion", "label_2": "mass"})
    assert canonical_json(turned.model_dump(mode="json")) != canonical_json(given.model_dump(mode="json"))
    with pytest.raises(ValidationError, match="order names each column"):
        output_of(kind="multilabel", classes={"a": "mass", "b": "effusion"}, order=["a"])


def test_a_model_answers_some_of_its_findings_and_nothing_else(output_of: Callable[..., Output]) -> None:
    """Findings go by name, in the asker's order; one alone is a binary output; classes must be the model's own."""
    own = output_of(kind="multilabel", classes={"a": "mass", "b": "effusion", "c": "edema"})
    some = output_of(kind="multilabel", classes={"x": "edema", "y": "mass"})
    one = output_of(kind="binary", classes={0: "none", 1: "effusion"}, positive="effusion")
    other = output_of(kind="binary", classes={0: "none", 1: "hernia"}, positive="hernia")
    stages = output_of(kind="multiclass", classes={0: "mass", 1: "effusion", 2: "edema"})
    assert [answering(asked, own) for asked in (own, some, one, other, stages)] == [(0, 1, 2), (2, 0), (1,), None, None]
    assert answering(stages, stages) == (0, 1, 2)
    assert answering(one, one) == (0,)
    assert answering(other, one) is None
    assert answering(own, some) is None


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"kind": "binary", "classes": {0: "a", 1: "b"}, "positive": "c"}, r"positive must be one of \['a', 'b'\]"),
        ({"kind": "binary", "classes": {0: "a"}, "positive": "a"}, "at least 2"),
        ({"kind": "binary", "classes": {0: "a", 1: "b", 2: "c"}, "positive": "a"}, "at most 2"),
        ({"kind": "binary", "classes": {0: "a", 1: "a"}, "positive": "a"}, "named once"),
        ({"kind": "multiclass", "classes": {0: "a", 1: "b"}}, "at least 3"),
        ({"kind": "multiclass", "classes": {0: "a", 1: "b", 2: "a"}}, "named once"),
        ({"kind": "multilabel", "classes": {"a": "mass"}}, "at least 2"),
        ({"kind": "multilabel", "classes": {"a": "mass", "b": "mass"}}, "named once"),
        ({"kind": "ordinal", "classes": {0: "a", 1: "b"}}, "does not match any of the expected tags"),
    ],
)
def test_a_definition_that_means_nothing_is_refused(
    output_of: Callable[..., Output], keys: dict[str, Any], message: str
) -> None:
    """Too few classes, an unknown positive, two classes of one name, a kind that medai does not know."""
    with pytest.raises(ValidationError, match=message):
        output_of(**keys)
