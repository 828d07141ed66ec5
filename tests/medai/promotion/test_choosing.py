"""Which model goes to the gate."""

import pytest

from medai.errors import DataRefused
from medai.promotion import best


def test_the_best_on_validation_is_one_that_has_a_figure() -> None:
    """The first of equals; where validation holds one class, nobody has a figure, and nobody is picked in silence."""
    assert best({"net": 0.7, "forest": 0.7, "line": None}, "auroc") == "net"
    assert best({"net": None, "forest": 0.1}, "auroc") == "forest"
    with pytest.raises(DataRefused, match="choose_metric is undefined on validation") as raised:
        best({"net": None, "forest": None}, "auroc")
    assert raised.value.exit_status == 3
    assert "choose: net" in raised.value.action
