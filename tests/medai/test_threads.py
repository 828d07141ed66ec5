"""Work by several threads comes back in order, faults too."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from medai.threads import each_of


def test_results_come_in_the_parts_order() -> None:
    """However long each takes."""

    def work(number: int) -> int:
        time.sleep((5 - number % 5) / 1000)
        return number * number

    assert list(each_of(range(20), work)) == [number * number for number in range(20)]
    assert list(each_of(range(3), work, most=1)) == [0, 1, 4]
    assert list(each_of([], work)) == []


def test_the_first_fault_is_raised_where_it_lies() -> None:
    """Results before it are given; a fault of a part comes before one of reading the parts behind it."""

    def parts() -> Iterator[int]:
        yield from (1, 0, 2)
        raise OSError("no more parts")

    found = each_of(parts(), lambda number: 2 // number)
    assert next(found) == 2
    with pytest.raises(ZeroDivisionError):
        next(found)
