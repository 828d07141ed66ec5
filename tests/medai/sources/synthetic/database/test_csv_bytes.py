"""Columns to CSV text: what the csv module reads back is what went in."""

from __future__ import annotations

import csv
import gzip
import io
import math

import numpy as np
import pytest

from medai.sources.synthetic.database.csv_bytes import (
    NEVER,
    choice,
    date,
    decimal,
    first_of,
    joined,
    member,
    moment,
    number,
    signed,
    table,
    year_of,
)
from medai.sources.synthetic.database.population import exponential


def texts(cells: np.ndarray) -> list[str]:
    """Cells without what fills them up."""
    return [bytes(cell).replace(b"\0", b"").decode() for cell in cells.astype("S")]


def test_whole_numbers_are_written_as_python_writes_them() -> None:
    """From one digit to nine, noughts within, nothing where unknown."""
    values = np.array([0, 7, 10, 100, 1005, 20030, 900_000_000])
    assert texts(number(values)) == [str(value) for value in values]
    assert texts(number(values, values != 1005))[4] == ""
    assert texts(number(np.array([], np.int64))) == []


def test_decimal_fractions_keep_their_noughts() -> None:
    """As f-strings format them."""
    values = np.array([0, 5, 100, 1234, 70_008])
    assert texts(decimal(values, 2)) == [f"{value / 100:.2f}" for value in values]
    assert texts(decimal(values, 1, values != 5)) == ["0.0", "", "10.0", "123.4", "7000.8"]
    assert texts(signed(decimal(values, 2), values == 5)) == ["0.00", "-0.05", "1.00", "12.34", "700.08"]


def test_times_and_dates_of_every_century() -> None:
    """Before 1970 and after 2200; nothing for what never was."""
    minutes = np.array(["2150-03-01T14:05", "1830-12-31T23:59", "1970-01-01T00:00"], "M8[m]").astype(np.int64)
    assert texts(moment(minutes)) == ["2150-03-01 14:05:00", "1830-12-31 23:59:00", "1970-01-01 00:00:00"]
    assert texts(moment(np.array([NEVER]))) == texts(date(np.array([NEVER]))) == [""]
    days = minutes // 1440
    assert texts(date(days)) == ["2150-03-01", "1830-12-31", "1970-01-01"]
    assert year_of(days).tolist() == [2150, 1830, 1970]
    assert year_of(first_of(np.array([2150, 1830]))).tolist() == [2150, 1830]


def test_a_table_is_what_the_csv_module_reads() -> None:
    """Commas and quotes within words, constants, empty columns, cells that were joined before."""
    cells = [
        joined([number(np.arange(3)), choice(["a,b", 'say "no"', None], np.array([0, 1, 2]))]),
        b"",
        b"same",
        choice(["x"], np.array([0, -1, 0])),
        b"",
    ]
    read = list(csv.reader(io.StringIO(table(cells).decode())))
    assert read == [
        ["0", "a,b", "", "same", "x", ""],
        ["1", 'say "no"', "", "same", "", ""],
        ["2", "", "", "same", "x", ""],
    ]
    assert table([number(np.array([], np.int64)), b"same"]) == b""


def test_members_follow_each_other_in_one_file() -> None:
    """A gzip file of several members is their texts; no text is no member; neither name nor time is in it."""
    data = member(b"one\n") + member(b"") + member(b"two\n")
    assert gzip.decompress(data) == b"one\ntwo\n"
    assert data[:10] == b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x04\xff"
    assert member(b"one\n") == member(b"one\n")


@pytest.mark.parametrize("x", [-3.0, -1.0, 0.0, 0.5, 3.5])
def test_the_exponential_by_products_is_close(x: float) -> None:
    """To a hundredth, within what is asked of it."""
    assert exponential(np.array([x]))[0] == pytest.approx(math.exp(x), rel=0.01)
