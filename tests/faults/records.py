"""What bad records may be, item by item, and which cases try each: the list whose count ``make test-faults`` prints."""

from __future__ import annotations

import re
from collections.abc import Iterable

from tests.faults.case import Case

READERS = ("mimic3", "mimic4", "parquet", "meds", "stays")
"""The readers of records; ``parquet`` is MIMIC-IV's tables as Parquet, ``stays`` the PhysioNet challenge of 2012."""
_TEXT, _TYPED = ("mimic3", "mimic4"), ("parquet", "meds")

ITEMS = {
    "truncated csv.gz": (_TEXT, "cut short", "csv.gz"),
    "cut in mid-row": ((*_TEXT, "stays"), "cut short", "mid-row|first letters"),
    "truncated Parquet": (_TYPED, "cut short", "Parquet"),
    "byte-flipped Parquet": (("mimic3", *_TYPED), "turned bytes", ""),
    "duplicate columns": (READERS, "columns", "twice"),
    "missing columns": (READERS, "columns", "without|no header"),
    "headers in another case": (READERS, "columns", "case|letters"),
    "other types of columns": (_TYPED, "types", ""),
    "text in a number column": (READERS, "words for numbers", ""),
    "mangled dates": (
        READERS,
        "impossible dates and numbers",
        "year|date|30th|month|spreadsheet|time|death|ahead|day|begin|end|beyond",
    ),
    "Git-LFS pointers": (READERS, "other type than its name", "Git-LFS"),
    "an empty required table": (
        READERS,
        "empty|cut short|stay without events",
        "0 bytes|(header|columns) alone|at all|empty|no row|without rows",
    ),
    "age 300": (READERS, "age over 89", ""),
    "99999 sentinels": (READERS, "impossible dates and numbers", "99999"),
    "infinite values": (READERS, "impossible dates and numbers", "inf|Inf|1e400"),
    "stays without events": (READERS, "stay without events", ""),
    "events before admission": (
        (*_TEXT, *_TYPED),
        "history, no fault|records that contradict each other",
        "before|outside|behind",
    ),
    "orphan ids": (READERS, "records that contradict each other", "nobody|somebody|without|other stays|known"),
    "the folder of another source": (READERS, "other type than its name", "another source|one of its folders"),
}
"""Item → the readers that it makes sense for, the rows of the fault table that hold its cases, and words of the cases'
names; both are regular expressions. A case counts under the first item that it fits."""


def item_of(row: str, source: str, name: str) -> str | None:
    """The item that a case tries; None for a case of none."""
    if source not in READERS:
        return None
    return next(
        (
            item
            for item, (_, rows, words) in ITEMS.items()
            if re.fullmatch(rows, row) is not None and re.search(words, name) is not None
        ),
        None,
    )


def untried(cases: Iterable[Case]) -> set[tuple[str, str]]:
    """(item, reader) pairs that no case tries."""
    wanted = {(item, reader) for item, (readers, _, _) in ITEMS.items() for reader in readers}
    return wanted - {(item_of(case.row, case.source, case.name), case.source) for case in cases}  # type: ignore[misc]
