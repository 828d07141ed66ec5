"""Values: words for numbers, dates that cannot be, ages, units, and more of them than the tolerance."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pytest

from tests.faults.case import Case, Right, Same, near, noticed, refused, uncovered
from tests.faults.conftest import Judge
from tests.faults.damage import all_of, outcomes, put, replaced, rows, stay, stays
from tests.faults.sets import TABLES, Row, moment, record_id

BOTH = ("stays", *TABLES)
ROWS = {
    "words for numbers": BOTH,
    "impossible dates and numbers": BOTH,
    "age over 89": BOTH,
    "misspelt codes and items": BOTH,
    "units": BOTH,
    "marked as an error": ("mimic3",),
    "more than the tolerance": BOTH,
}

WORDS = ("123/77", "8417,5", "<0.01731", "> 8417", "ERROR-Q7", "?", "", "12 bpm7", "1_000", "٨٣", "0x41")


NO_NUMBERS = ("nan", "inf", "-Infinity", "1e400", "NaN")


THE_SAME_READER = ("123/77", "<0.01731", "?", "inf")
"""Words enough for the further sources that one engine reads."""


def _secret(word: str) -> tuple[str, ...]:
    return (word,) if len(word) > 5 else ()


def _words() -> Iterator[Case]:
    aside = noticed(set_aside__not_a_number=1)
    for row, words in (("words for numbers", WORDS), ("impossible dates and numbers", NO_NUMBERS)):
        for word in words:
            one_field_more = refused("row 8 is ragged") if "," in word else aside
            yield Case(
                row,
                "stays",
                f"{word!r} for a heart rate",
                stays("stays", stay(7, replaced("00:07,HR,77", f"00:07,HR,{word}"))),
                one_field_more,
                _secret(word),
            )
            for source in TABLES:
                if source != "mimic3" and word not in THE_SAME_READER:
                    continue
                yield Case(
                    row,
                    source,
                    f"{word!r} for a heart rate",
                    rows("chartevents", put(0, value=word, valuenum=word)),
                    aside,
                    _secret(word),
                )
    row = "words for numbers"
    for source in TABLES:
        yield Case(
            row,
            source,
            "'<0.01731' beside the number 0.01731",
            rows("labevents", put(0, value="<0.01731", valuenum="0.01731")),
            aside,
            ("<0.01731",),
        )
        yield Case(
            row,
            source,
            "an error in the text, no number",
            rows("labevents", put(0, value="ERROR-Q7", valuenum="")),
            aside,
            ("ERROR-Q7",),
        )
    for word in ("x", "1.5", "", "1e400", "<1"):
        yield Case(
            row,
            "stays",
            f"{word!r} for an outcome",
            outcomes(replaced(f"{record_id(3)},10,5,9,-1,0", f"{record_id(3)},10,5,9,-1,{word}")),
            noticed(counts__unreadable_outcome=1, dropped__labels=1),
        )
    yield Case(
        row,
        "stays",
        "2 for an outcome",
        outcomes(replaced(f"{record_id(3)},10,5,9,-1,0", f"{record_id(3)},10,5,9,-1,2")),
        refused("the data failed validation: outcome_not_binary"),
    )


def _impossible() -> Iterator[Case]:
    row = "impossible dates and numbers"
    for source in TABLES:
        for name, time in {
            "the 30th of February": "2130-02-30 10:00:00",
            "a month 13": "2130-13-01 10:00:00",
            "a two-digit year": "30-01-01 10:00:00",
            "an American date": "01/31/2130 10:00",
            "a year of our days": "1776-01-01 10:00:00" if source == "mimic3" else "1899-01-01 10:00:00",
            "a year far ahead": "9999-12-31 10:00:00",
            "a number of a spreadsheet": "84017.41",
            "nothing": "",
        }.items():
            yield Case(
                row,
                source,
                f"{name} for a reading",
                rows("chartevents", put(0, charttime=time)),
                noticed(counts__impossible_time_chartevents=1, dropped__events=1),
            )
        yield Case(
            row,
            source,
            "an unreadable time of storing",
            rows("chartevents", put(0, storetime="31/31/2130")),
            noticed(counts__impossible_stored_time_chartevents=1),
        )
        yield Case(
            row,
            source,
            "all times of a table as a spreadsheet writes them",
            rows("chartevents", _american),
            refused("table chartevents, column charttime", "most times cannot be read"),
        )
        yield Case(
            row,
            source,
            "an admission without a beginning",
            rows("admissions", put(3, admittime="2130-02-30 10:00:00")),
            noticed(counts__impossible_date=1, set_aside__stay_impossible_dates=1),
        )
        yield Case(
            row,
            source,
            "a stay that ends before it begins",
            rows("icustays", put(3, outtime=moment(0.5, 3))),
            noticed(set_aside__stay_impossible_dates=1, counts__stay_without_series=1, warned__stay_without_series=1),
        )
        yield Case(
            row,
            source,
            "an unreadable day of death",
            all_of(rows("patients", put(4, dod="2130-99-99")), rows("admissions", put(4, deathtime="2130-99-99"))),
            noticed(counts__impossible_date=2, set_aside__stay_unreadable_death=1),
        )
        if source != "parquet":  # a typed column has no time without an hour
            yield Case(
                row,
                source,
                "a reading with a day and no hour",
                rows("chartevents", put(0, charttime="2130-01-31")),
                noticed(counts__impossible_time_chartevents=1, dropped__events=1),
            )
        yield Case(
            row,
            source,
            "a flag of death without a time",
            rows("admissions", put(3, hospital_expire_flag="1")),
            noticed(set_aside__stay_death_without_its_time=1, warned__death_after_its_admission=1),
        )
        for name, number in (("99999", "99999"), ("-1", "-1"), ("0", "0"), ("1e38", "1e38")):
            yield Case(
                row,
                source,
                f"{name} for a heart rate",
                rows("chartevents", put(0, value=number, valuenum=number)),
                noticed(set_aside__implausible_heart_rate=1),
            )
        yield Case(
            row,
            source,
            "a reading of nobody",
            rows("chartevents", put(0, subject_id="Mustermann")),
            noticed(counts__row_without_subject_chartevents=1, dropped__events=1),
        )
        yield Case(
            row,
            source,
            "a reading of nothing",
            rows("chartevents", put(0, itemid="")),
            noticed(counts__row_without_item_chartevents=1, dropped__events=1),
        )
        yield Case(
            row,
            source,
            "a stay without a number",
            rows("icustays", put(3, icustay_id="", stay_id="")),
            noticed(counts__row_without_key=1, dropped__stays=1),
        )
        for name, table, values in (
            ("an admission that never ends", "admissions", {"dischtime": ""}),
            ("a stay that never ends", "icustays", {"outtime": ""}),
        ):
            yield Case(row, source, name, rows(table, put(3, **values)), noticed(counts__end_not_given=1))
        yield Case(
            row,
            source,
            "an admission that ends before it begins",
            rows("admissions", put(3, dischtime=moment(-5, 3))),
            noticed(set_aside__stay_impossible_dates=1, warned__unit_left_after_hospital=1),
        )
        yield Case(
            row,
            source,
            "all stored times with years of two digits",
            rows("chartevents", _every(1, storetime="01/02/30 10:00")),
            refused("table chartevents, column storetime", "most times cannot be read"),
        )
        for flag in ("yes", "2"):
            yield Case(
                row,
                source,
                f"{flag!r} for a flag of death",
                rows("admissions", put(3, hospital_expire_flag=flag)),
                noticed(counts__unreadable_death_flag=1),
            )
        yield Case(
            row,
            source,
            "a patient of 20 digits",
            rows("chartevents", put(0, subject_id="12345678901234567890")),
            noticed(counts__row_without_subject_chartevents=1, dropped__events=1),
        )
        yield Case(
            row,
            source,
            "a patient below 0",
            rows("chartevents", put(0, subject_id="-7700100")),
            noticed(set_aside__event_of_unknown_patient=1),
        )
        yield Case(
            row,
            source,
            "no gender",
            rows("patients", put(3, gender="")),
            noticed(counts__gender_not_given=1),
        )
    for time in ("48:01", "7:30", "-1:30", "24:60", "noon", "", "00:07:00"):
        yield Case(
            row,
            "stays",
            f"{time!r} for a time",
            stays("stays", stay(7, replaced("00:07,HR", f"{time},HR"))),
            noticed(counts__impossible_time=1, dropped__events=1),
        )
    for code, number in (("HR", "99999"), ("HR", "0"), ("Temp", "98.6"), ("Temp", "-17.8")):
        old = {"HR": "00:07,HR,77", "Temp": "00:30,Temp,36.5"}[code]
        yield Case(
            row,
            "stays",
            f"{number} for {code}",
            stays("stays", stay(7, replaced(old, f"{old[:5]},{code},{number}"))),
            noticed(**{f"set_aside__implausible_{code.lower()}": 1}),
        )
    yield Case(
        row,
        "stays",
        "-1 for a height",
        stays("stays", stay(7, replaced("Height,171", "Height,-1"))),
        noticed(counts__coded_missing=1),
    )
    yield Case(
        row,
        "stays",
        "an age of 250",
        stays("stays", stay(7, replaced("Age,47", "Age,250"))),
        noticed(set_aside__implausible_age=1),
    )


def _american(found: list[Row]) -> None:
    for one in found:
        one["charttime"] = "01/31/2130 10:00"


def _old(folder: Path) -> None:
    ages = pl.read_parquet(folder / "stays.parquet")["age"]
    assert ages.max() == 90


def _old_stay(folder: Path) -> None:
    events = pl.read_parquet(folder / "events.parquet")
    assert events.filter(pl.col("code") == "Age")["numeric_value"].max() == 90


def _ages() -> Iterator[Case]:
    row = "age over 89"
    counted = noticed(counts__age_over_89=1)
    yield Case(
        row, "mimic3", "born 300 years before", rows("patients", put(3, dob="1830-01-01 00:00:00")), counted, then=_old
    )
    for source in ("mimic4", "parquet"):
        yield Case(row, source, "an anchor of 91", rows("patients", put(3, anchor_age="91")), counted, then=_old)
    yield Case(
        row,
        "mimic3",
        "born after the admission",
        rows("patients", put(3, dob="2131-01-01 00:00:00")),
        noticed(set_aside__stay_born_after_admission=1),
    )
    for source in ("mimic4", "parquet"):
        for name, values in (("no anchor's year", {"anchor_year": ""}), ("no anchor's age", {"anchor_age": ""})):
            yield Case(row, source, name, rows("patients", put(3, **values)), noticed(warned__age_unknown=1))
        for name, values in (
            ("an anchor's year beyond all", {"anchor_year": str((1 << 63) - 1)}),
            ("an anchor's age below 0", {"anchor_age": "-5"}),
        ):
            yield Case(
                row, source, name, rows("patients", put(3, **values)), noticed(set_aside__stay_born_after_admission=1)
            )
        yield Case(
            row,
            source,
            "an anchor's years in words",
            rows("patients", put(3, anchor_year_group="2008 to 10")),
            noticed(counts__unreadable_anchor_group=1),
        )
    yield Case(
        row,
        "mimic4",
        "an anchor of 191",
        rows("patients", put(3, anchor_age="191")),
        noticed(set_aside__implausible_age=1),
    )
    yield Case(
        row,
        "mimic3",
        "born 150 years before",
        rows("patients", put(3, dob="1980-01-01 00:00:00")),
        noticed(set_aside__implausible_age=1),
    )
    for age in ("300", "95", "307"):
        yield Case(
            row,
            "stays",
            f"an age of {age}",
            stays("stays", stay(7, replaced("Age,47", f"Age,{age}"))),
            counted,
            then=_old_stay,
        )


def _misspelt() -> Iterator[Case]:
    row = "misspelt codes and items"
    for code in ("HRR", "hr"):
        yield Case(
            row,
            "stays",
            f"a variable {code}",
            stays("stays", stay(7, replaced("00:07,HR", f"00:07,{code}"))),
            noticed(set_aside__unknown_variable=1),
        )
    yield Case(
        row,
        "stays",
        "a variable without a name",
        stays("stays", stay(7, replaced("00:07,HR", "00:07,"))),
        noticed(counts__unnamed_variable=1, dropped__events=1),
    )
    for source in TABLES:
        yield Case(
            row,
            source,
            "an item that no dictionary knows",
            rows("chartevents", put(0, itemid="999999")),
            noticed(warned__unknown_item=1),
        )
        yield Case(
            row,
            source,
            "items as pandas writes whole numbers beside blanks",
            rows("chartevents", _decimal_items),
            Same(("events", "stays", "labels", "codes")),
        )


def _units() -> Iterator[Case]:
    row = "units"
    for source in TABLES:
        for unit in ("°F", "?F", "F"):
            yield Case(
                row,
                source,
                f"98.42 {unit}",
                rows("chartevents", put(1, itemid="223761", value="98.42", valuenum="98.42", valueuom=unit)),
                Right(),
                then=near("events", "numeric_value", 36.9),
            )
        yield Case(
            row,
            source,
            "98.6 under °C",
            rows("chartevents", put(1, value="98.6", valuenum="98.6")),
            noticed(set_aside__implausible_temperature=1),
        )
        yield Case(
            row,
            source,
            "a heart rate in kg",
            rows("chartevents", put(0, valueuom="kg")),
            noticed(counts__unit_of_another_quantity=1),
        )
        yield Case(
            row,
            source,
            "a pH of 740",
            rows("labevents", put(1, value="740", valuenum="740")),
            noticed(set_aside__implausible_ph=1),
        )
    yield Case(
        row,
        "stays",
        "98.6 for °C",
        stays("stays", stay(7, replaced("00:30,Temp,36.5", "00:30,Temp,98.6"))),
        noticed(set_aside__implausible_temp=1),
    )


def _marked() -> Iterator[Case]:
    yield Case(
        "marked as an error",
        "mimic3",
        "error = 1",
        rows("chartevents", put(0, error="1")),
        noticed(counts__marked_as_error_chartevents=1),
    )
    yield Case(
        "marked as an error",
        "mimic3",
        "error = 1.0",
        rows("chartevents", put(0, error="1.0")),
        noticed(counts__marked_as_error_chartevents=1),
    )
    yield Case(
        "marked as an error",
        "mimic3",
        "error = yes",
        rows("chartevents", put(0, error="yes")),
        noticed(counts__unknown_mark_chartevents=1),
    )


def _decimal_items(found: list[Row]) -> None:
    for one in found:
        one["itemid"] += ".0"


def _every(number: int, **values: str) -> Callable[[list[Row]], None]:
    def change(found: list[Row]) -> None:
        for one in found[::number]:
            one.update(values)

    return change


def _in_every_stay(old: str, new: str) -> Callable[[dict[str, bytes]], None]:
    def act(files: dict[str, bytes]) -> None:
        for name, content in files.items():
            files[name] = content.replace(old.encode(), new.encode())

    return act


def _too_many() -> Iterator[Case]:
    row, many = "more than the tolerance", "the data failed validation: too_many_set_aside in table "
    for source in TABLES:
        yield Case(
            row,
            source,
            "a third of the readings are no numbers",
            rows("chartevents", _every(3, value="?", valuenum="")),
            refused(many + "events"),
        )
        yield Case(
            row,
            source,
            "a fifth of the rows name nobody, and more are no numbers",
            all_of(rows("chartevents", _every(5, subject_id="")), rows("labevents", _every(1, value="?", valuenum=""))),
            refused(many + "events"),
        )
        yield Case(
            row,
            source,
            "a third of the stays without an admission",
            rows("admissions", lambda found: found[8:]),
            refused(many),
        )
        yield Case(
            row,
            source,
            "a third of the stays without a number",
            rows("icustays", _every(3, icustay_id="", stay_id="")),
            refused(many + "stays"),
        )
    yield Case(
        row,
        "stays",
        "a third of the readings are no numbers",
        stays("stays", _in_every_stay(",Temp,3", ",Temp,?")),
        refused(many + "events"),
    )
    yield Case(
        row,
        "stays",
        "a third of the readings at no time",
        stays("stays", _in_every_stay(":30,Temp", ":3x,Temp")),
        refused(many + "events"),
    )
    yield Case(
        row,
        "stays",
        "a quarter of the outcomes cannot be read",
        outcomes(lambda whole: whole.replace(",9,4,1\n", ",9,4,?\n")),
        refused(many + "labels"),
    )


CASES = [
    case
    for cases in (
        _words,
        _impossible,
        _ages,
        _misspelt,
        _units,
        _marked,
        _too_many,
    )
    for case in cases()
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_damaged_value_is_never_met_with_silence(case: Case, judge: Judge) -> None:
    """Refused, set aside, counted, or understood by a stated rule, as the case declares."""
    judge(case)


def test_every_row_has_a_case_for_every_source() -> None:
    """No row without a case where it makes sense, no case without a row."""
    assert uncovered(ROWS, CASES) == set()
