"""Records: keys twice, ties, orphans, overlaps, deaths before birth; what is history and no fault."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pytest

from tests.faults import sets
from tests.faults.case import Case, Right, Same, near, noticed, refused, uncovered
from tests.faults.conftest import Judge
from tests.faults.damage import all_of, outcomes, put, replaced, rows, stay, stays
from tests.faults.sets import TABLES, Row, moment, record_id

BOTH = ("stays", *TABLES)
ROWS = {
    "duplicate keys and ties": BOTH,
    "records that contradict each other": BOTH,
    "history, no fault": TABLES,
    "stay without events": BOTH,
}

EVENTS = 15
"""Rows of one patient in the event tables of a hospital."""


def _again(place: int, **values: str) -> Callable[[list[Row]], None]:
    """A row once more, with other values."""

    def change(found: list[Row]) -> None:
        found.append(found[place] | values)

    return change


def _keys() -> Iterator[Case]:
    row = "duplicate keys and ties"
    for source in TABLES:
        yield Case(row, source, "a reading twice", rows("chartevents", _again(0)), noticed(counts__same_row_twice=1))
        for table, values in (
            ("patients", {"gender": "M"}),
            ("admissions", {"insurance": "Self"}),
            ("icustays", {"los": "4"}),
        ):
            yield Case(
                row, source, f"a row of {table} twice", rows(table, _again(2, **values)), noticed(counts__key_twice=1)
            )
        yield Case(
            row,
            source,
            "an item twice in the dictionary",
            rows("d_items", _again(0, label="Mustermann")),
            noticed(counts__key_twice=1),
        )
        yield Case(
            row,
            source,
            "rows in another order",
            all_of(
                *(
                    rows(table, lambda found: found[::-1])
                    for table in ("chartevents", "labevents", "icustays", "patients")
                )
            ),
            Same(("events", "labels", "codes")),
        )
        yield Case(
            row,
            source,
            "two readings at one time",
            rows("chartevents", _again(0, value="99", valuenum="99", row_id="7001")),
            Right(),
            then=_both_stand,
        )
    yield Case(
        row,
        "stays",
        "a reading twice at one time",
        stays("stays", stay(7, lambda whole: whole + "05:30,Temp,36.9\n")),
        Right(),
        then=near("events", "numeric_value", 36.9),
    )
    yield Case(
        row,
        "stays",
        "an outcome twice",
        outcomes(lambda whole: whole + whole.splitlines()[5] + "\n"),
        refused("the outcomes table, row 42 names a stay again"),
    )
    yield Case(
        row,
        "stays",
        "another RecordID than the file's name",
        stays("stays", stay(7, replaced(f"RecordID,{record_id(7)}", f"RecordID,{record_id(9)}"))),
        refused("names another stay than the file's name"),
    )
    yield Case(
        row,
        "stays",
        "two different files of one stay",
        stays(
            "stays",
            lambda files: files.update({f"{record_id(7)}.TXT": files[f"{record_id(7)}.txt"] + b"06:07,HR,70\n"}),
        ),
        refused("two files of one stay differ"),
    )


def _both_stand(folder: Path) -> None:
    """Two readings of one item at one time are in the order of their values: the larger one comes last."""
    events = pl.read_parquet(folder / "events.parquet").filter(pl.col("variable") == "heart_rate")
    tied = events.filter(pl.struct("subject_id", "time").is_duplicated())
    assert tied.height == 2
    assert tied["numeric_value"].to_list() == sorted(tied["numeric_value"].to_list())
    assert tied["numeric_value"].max() == 99


def _without(place: int) -> Callable[[list[Row]], list[Row]]:
    return lambda found: found[:place] + found[place + 1 :]


def _contradictions() -> Iterator[Case]:
    row = "records that contradict each other"
    for source in TABLES:
        yield Case(
            row,
            source,
            "a stay of a patient that nobody knows",
            rows("patients", _without(3)),
            noticed(
                set_aside__stay_orphan_patient=1, set_aside__event_of_unknown_patient=EVENTS, warned__age_unknown=1
            ),
        )
        yield Case(
            row,
            source,
            "a stay of an admission that nobody knows",
            rows("admissions", _without(3)),
            noticed(set_aside__stay_orphan_admission=1, set_aside__event_of_unknown_admission=EVENTS),
        )
        yield Case(
            row,
            source,
            "a stay of somebody else's admission",
            rows("icustays", put(3, hadm_id=sets.admission(4))),
            noticed(set_aside__stay_orphan_admission=1),
        )
        yield Case(
            row,
            source,
            "admissions that overlap",
            rows("admissions", _again(3, hadm_id="8800199", admittime=moment(50, 3), dischtime=moment(150, 3))),
            noticed(set_aside__stay_overlapping_admissions=1),
        )
        yield Case(
            row,
            source,
            "stays that overlap",
            rows(
                "icustays",
                _again(3, icustay_id="9900199", stay_id="9900199", intime=moment(50, 3), outtime=moment(90, 3)),
            ),
            noticed(set_aside__stay_overlapping_stays=2, counts__stay_without_series=1, warned__stay_without_series=1),
        )
        yield Case(
            row,
            source,
            "a stay two days before its admission",
            rows("icustays", put(3, intime=moment(-48, 3))),
            noticed(set_aside__stay_outside_admission=1),
        )
        yield Case(
            row,
            source,
            "death before admission",
            all_of(rows("patients", put(3, dod="2129-01-01 00:00:00" if source == "mimic3" else "2129-01-01"))),
            noticed(set_aside__stay_death_before_admission=1),
        )
        yield Case(
            row,
            source,
            "a reading 25 hours behind discharge",
            rows("chartevents", put(0, charttime=moment(125.1), storetime=moment(126))),
            noticed(set_aside__event_outside_admission=1),
        )
        yield Case(
            row,
            source,
            "a reading 23 hours behind discharge",
            rows("chartevents", put(0, charttime=moment(123), storetime=moment(124))),
            Right(),
            then=_nobody_lost,
        )
        yield Case(
            row,
            source,
            "a reading in somebody else's admission",
            rows("chartevents", put(0, hadm_id=sets.admission(5))),
            noticed(set_aside__event_of_another_patient=1),
        )
        yield Case(
            row,
            source,
            "a reading in an admission that nobody knows",
            rows("chartevents", put(0, hadm_id="8800198")),
            noticed(set_aside__event_of_unknown_admission=1),
        )
    yield Case(
        row,
        "mimic3",
        "death before birth",
        rows("patients", put(4, dob="2140-01-01 00:00:00")),
        noticed(set_aside__stay_death_before_birth=1),
    )
    yield Case(
        row,
        "mimic4",
        "death before birth",
        rows("patients", put(4, dod="1950-01-01")),
        noticed(set_aside__stay_death_before_birth=1),
    )
    yield Case(
        row,
        "stays",
        "an outcome without a stay",
        stays("stays", lambda files: files.pop(f"{record_id(7)}.txt")),
        noticed(counts__orphan_outcome=1),
    )
    yield Case(
        row,
        "stays",
        "a stay without an outcome",
        outcomes(
            lambda whole: "".join(line for line in whole.splitlines(keepends=True) if not line.startswith(record_id(7)))
        ),
        noticed(counts__stay_without_outcome=1, dropped__labels=1),
    )
    yield Case(
        row,
        "stays",
        "outcomes of other stays",
        outcomes(lambda whole: whole.replace("19773", "19774")),
        refused("the outcomes table is of other stays"),
    )
    yield Case(
        row,
        "stays",
        "a death in hospital after discharge",
        outcomes(replaced(f"{record_id(4)},10,5,9,4,1", f"{record_id(4)},10,5,9,40,1")),
        noticed(warned__death_after_discharge=1),
    )


def _nobody_lost(folder: Path) -> None:
    assert pl.read_parquet(folder / "events.parquet")["hours_outside_admission"].max() == pytest.approx(23)


def _history() -> Iterator[Case]:
    row = "history, no fault"
    for source in TABLES:
        yield Case(
            row,
            source,
            "a result from before the admission",
            rows("labevents", put(0, charttime=moment(-10), storetime=moment(-9))),
            noticed(warned__lab_before_admission=1),
        )
        yield Case(
            row,
            source,
            "a result without an admission",
            rows("labevents", put(0, hadm_id="")),
            noticed(warned__event_without_admission=1),
        )
        yield Case(
            row,
            source,
            "a chart's reading from two days before",
            rows("chartevents", put(0, charttime=moment(-48), storetime=moment(-47))),
            noticed(set_aside__event_outside_admission=1),
        )


def _of_others(found: list[Row]) -> list[Row]:
    return [one for one in found if one["subject_id"] != sets.subject(3)]


def _quiet() -> Iterator[Case]:
    row = "stay without events"
    for source in TABLES:
        yield Case(
            row,
            source,
            "no reading",
            all_of(*(rows(table, _of_others) for table in ("chartevents", "labevents", "outputevents"))),
            noticed(counts__stay_without_series=1, warned__stay_without_series=1),
        )
        yield Case(
            row,
            source,
            "no reading at all in any table",
            _no_events,
            refused("hold no event"),
        )
    yield Case(
        row,
        "stays",
        "descriptors alone",
        stays(
            "stays",
            stay(
                7,
                lambda whole: "".join(
                    line for line in whole.splitlines(keepends=True) if "HR" not in line and "Temp" not in line
                ).replace("00:00,Weight,71.5\n", ""),
            ),
        ),
        noticed(counts__stay_without_series=1, warned__stay_without_series=1),
    )


def _no_events(folder: Path) -> None:
    for table in ("chartevents", "labevents", "outputevents"):
        sets.write_table(folder, table, [])


CASES = [
    case
    for cases in (
        _keys,
        _contradictions,
        _history,
        _quiet,
    )
    for case in cases()
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_damaged_record_is_never_met_with_silence(case: Case, judge: Judge) -> None:
    """Refused, set aside, counted, or understood by a stated rule, as the case declares."""
    judge(case)


def test_every_row_has_a_case_for_every_source() -> None:
    """No row without a case where it makes sense, no case without a row."""
    assert uncovered(ROWS, CASES) == set()
