"""What is damage of a file, and what is a defect of ours."""

from __future__ import annotations

import pytest
from pydicom.values import convert_value

from medai.deidentification.outcomes import is_damage


@pytest.mark.parametrize("kind", [NotImplementedError, RuntimeError, TypeError, AttributeError])
def test_a_defect_of_ours_is_not_blamed_on_the_file(kind: type[Exception]) -> None:
    """The same exception is damage where a library raises it at bytes, and a defect where medai's own line does."""
    line = compile("raise kind", "ours.py", "exec")
    for module, damage in (("medai.deidentification.header", False), ("pydicom.values", True)):
        with pytest.raises(kind) as raised:
            exec(line, {"__name__": module, "kind": kind})  # noqa: S102 a line of that module
        assert is_damage(raised.value) is damage


def test_a_value_representation_that_nobody_knows_is_damage() -> None:
    """pydicom's own word for it."""
    with pytest.raises(NotImplementedError) as raised:
        convert_value("ZZ", None)  # type: ignore[arg-type]
    assert is_damage(raised.value)
