"""Timestamps from text, a block at a time: what the plain parser says, of any text."""

from __future__ import annotations

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medai.sources.mimic3 import Mimic3
from medai.sources.relational.times import MISSING, moments, seconds_of

MAPPING = Mimic3.mapping()
ODD = [
    "2101-02-29 00:00:00", "2104-02-29 23:59:59", "", "2101-01-01", "2101-1-5 3:04:05", "2101-01-01T00:00:00",
    "2101-13-01 00:00:00", "2101-00-01 00:00:00", "2101-01-00 00:00:00", "2101-01-32 00:00:00", "2101-01-01 24:00:00",
    "2101-01-01 23:60:00", "2101-01-01 23:59:60", "1779-12-31 23:59:59", "1780-01-01 00:00:00", "2230-12-31 23:59:59",
    "2231-01-01 00:00:00", "9999-12-31 00:00:00", "2101-01-01 00:00:0a", "21o1-01-01 00:00:00", "2101/01/01 00:00:00",
    "2101-01-01 00:00:00 ", "2101-01-01\xa000:00:0", " 101-01-01 00:00:00", "2101-01-01 00-00:00",
    "::::::::::::::::::/",
]  # fmt: skip


def agree(texts: list[str]) -> None:
    """Both readers say the same of these texts, and the unreadable ones are counted."""
    plain = moments(pl.Series(texts, dtype=pl.String), MAPPING).dt.epoch("s").fill_null(int(MISSING)).to_list()
    seconds, unreadable = seconds_of(pa.array(texts, pa.string()), MAPPING)
    assert seconds.tolist() == plain
    assert unreadable == sum(text != "" and second == MISSING for text, second in zip(texts, plain, strict=True))


@pytest.mark.parametrize("text", ODD)
def test_an_odd_text_is_read_as_by_the_plain_parser(text: str) -> None:
    """Days and hours that cannot be, other forms, years out of bounds: alone, and among sound times."""
    agree([text])
    agree(["2150-05-06 07:08:09", text, "2099-12-31 23:59:59", ""])


def test_any_mixture_is_read(tmp_path: object) -> None:
    """All of them in one block; no text at all; a slice of a longer column."""
    agree(ODD)
    agree([])
    whole = pa.array(["x", *ODD, "y"], pa.string())
    assert seconds_of(whole.slice(1, len(ODD)), MAPPING)[0].tolist() == seconds_of(pa.array(ODD), MAPPING)[0].tolist()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.datetimes().map(lambda one: one.strftime("%Y-%m-%d %H:%M:%S").rjust(19, "0")),
            st.text("0123456789-: T", min_size=19, max_size=19),
            st.text(max_size=20).filter(lambda text: "\0" not in text),
        ),
        max_size=6,
    )
)
def test_both_readers_agree(texts: list[str]) -> None:
    """Of any texts, sound or not."""
    agree(texts)
