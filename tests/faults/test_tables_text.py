"""Tables as text: cut short, ragged, misnamed columns, other alphabets and separators."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.faults import sets
from tests.faults.case import Case, Damage, Same, noticed, refused, uncovered
from tests.faults.conftest import Judge
from tests.faults.damage import cut, cut_by, on, outcomes, stay, stays, text
from tests.faults.sets import HOSPITALS, SETS

BOTH = ("stays", *HOSPITALS)
ROWS = {
    "cut short": BOTH,
    "ragged rows": BOTH,
    "columns": BOTH,
    "no plain text": BOTH,
}

EMPTY_LINES = {
    "chartevents": noticed(counts__impossible_time_chartevents=1, dropped__events=1),
    "icustays": noticed(counts__row_without_key=1, dropped__stays=1),
}


def _cut_short() -> Iterator[Case]:
    row = "cut short"
    for share in (0.3, 0.9):
        yield Case(
            row, "mimic4", f"csv.gz at {share:.0%}", on("mimic4", cut(share)), refused("table chartevents", "cut short")
        )
    for count in (1, 8, 9):
        yield Case(
            row,
            "mimic4",
            f"csv.gz without its last {count} bytes",
            on("mimic4", cut_by(count)),
            refused("table chartevents"),
        )
    yield Case(
        row,
        "mimic4",
        "gzip whole, text cut in mid-row",
        text("chartevents", lambda whole: whole[:-9]),
        refused("table chartevents is cut short", "breaks off"),
    )
    for table in ("patients", "admissions", "icustays", "d_items", "labevents", "chartevents"):
        yield Case(
            row, "mimic3", f"{table} in mid-row", text(table, lambda whole: whole[:-7]), refused(f"table {table}")
        )
    yield Case(
        row,
        "mimic3",
        "behind the header's first letters",
        text("chartevents", lambda whole: whole[:20]),
        refused("table chartevents has no header"),
    )
    yield Case(
        row,
        "stays",
        "a stay in mid-row",
        stays("stays", stay(7, lambda whole: whole[:-3])),
        refused("is cut short", "breaks off"),
    )
    yield Case(
        row,
        "stays",
        "the outcomes in mid-row",
        outcomes(lambda whole: whole[:-3]),
        refused("the outcomes table is cut short"),
    )
    yield Case(
        row,
        "stays",
        "a stay of its header alone",
        stays("stays", stay(7, lambda whole: whole.partition("\n")[0] + "\n")),
        refused("does not say whose it is"),
    )


def _of_their_headers_alone() -> Iterator[Case]:
    """Tables that name people, without any: what belongs to nobody is set aside, and that is all of it."""
    for source in HOSPITALS:
        for table in ("patients", "admissions"):
            yield Case(
                "cut short",
                source,
                f"{table} of its header alone",
                text(table, lambda whole: whole.partition("\n")[0] + "\n"),
                refused("the data failed validation: too_many_set_aside"),
            )


def _second_line(change: Callable[[str], str]) -> Callable[[str], str]:
    def act(whole: str) -> str:
        lines = whole.splitlines(keepends=True)
        lines[1] = change(lines[1])
        return "".join(lines)

    return act


def _ragged() -> Iterator[Case]:
    row = "ragged rows"
    ways = {
        "a field less": lambda line: line.rpartition(",")[0] + "\n",
        "a field more": lambda line: line.rstrip("\n") + ",Mustermann\n",
        "an empty line": lambda line: "\n" + line,
        "a quote that is never closed": lambda line: '"' + line,
    }
    for name, way in ways.items():
        for source in HOSPITALS:
            for table in ("chartevents", "icustays"):
                outcome: Any = refused(f"table {table}")
                if name == "an empty line":  # a row of a single column might be empty; it says nothing of anybody
                    outcome = EMPTY_LINES[table]
                yield Case(row, source, f"{name} in {table}", text(table, _second_line(way)), outcome)
    for name in ("a field less", "a field more", "an empty line"):
        yield Case(
            row, "stays", f"{name} in a stay", stays("stays", stay(7, _second_line(ways[name]))), refused("row 2")
        )
        yield Case(
            row,
            "stays",
            f"{name} in the outcomes",
            outcomes(_second_line(ways[name])),
            refused("the outcomes table, row 2 is ragged"),
        )


def _header(change: Callable[[list[str]], list[str]]) -> Callable[[str], str]:
    """Another first line over the same rows."""

    def act(whole: str) -> str:
        head, _, body = whole.partition("\n")
        return ",".join(change(head.split(","))) + "\n" + body

    return act


def _renamed(old: str, new: str) -> Callable[[str], str]:
    return _header(lambda names: [new if name.lower() == old else name for name in names])


def _reordered(folder: Path, table: str) -> None:
    source = SETS["mimic4" if (folder / "hosp").is_dir() else "mimic3"].config
    names = type(source).mapping().headers[table].split()  # type: ignore[union-attr]
    sets.write_table(folder, table, sets.read_table(folder, table), tuple(reversed(names)))


def _reversed_columns(whole: str) -> str:
    return "".join(",".join(reversed(line.split(","))) + "\n" for line in whole.splitlines())


def _second_survival(whole: str) -> str:
    return "".join(f"{line},{'9' if at else 'Survival'}\n" for at, line in enumerate(whole.splitlines()))


def _columns() -> Iterator[Case]:
    row = "columns"
    for source in HOSPITALS:
        for table, column in (
            ("chartevents", "charttime"),
            ("chartevents", "valuenum"),
            ("labevents", "itemid"),
            ("patients", "gender"),
            ("icustays", "intime"),
            ("d_items", "label"),
        ):
            yield Case(
                row,
                source,
                f"{table} without {column}",
                text(table, _renamed(column, "Mustermann")),
                refused(f"table {table} has no column {column}"),
            )
        yield Case(
            row,
            source,
            "charttime twice",
            text("chartevents", _renamed("warning", "charttime")),
            refused("table chartevents has a column charttime more than once"),
        )
        yield Case(
            row,
            source,
            "charttime twice, told apart by case",
            text("chartevents", _renamed("warning", "CHARTtime")),
            refused("table chartevents has a column charttime more than once"),
        )
        yield Case(
            row, source, "a column that nobody asked for", _extra_column, noticed(counts__table_with_extra_columns=1)
        )
        yield Case(
            row,
            source,
            "in another order",
            partial(_reordered, table="chartevents"),
            noticed(counts__table_with_reordered_columns=1),
        )
        yield Case(
            row,
            source,
            "in the other case",
            text("chartevents", _header(lambda names: [name.swapcase() for name in names])),
            Same(("events", "stays", "labels", "codes")),
        )
        yield Case(
            row,
            source,
            "no header at all",
            text("chartevents", lambda whole: whole.partition("\n")[2]),
            refused("table chartevents"),
        )
        yield Case(
            row,
            source,
            "a patient's value in the header twice",
            text("chartevents", _header(lambda names: ["Mustermann (1951)"] * len(names))),
            refused("more than once"),
        )
    for column in ("Time", "Parameter", "Value"):
        yield Case(
            row,
            "stays",
            f"a stay without {column}",
            stays("stays", stay(7, _renamed(column.lower(), "Mustermann"))),
            refused(f"has no column {column}"),
        )
    yield Case(
        row,
        "stays",
        "the outcomes without the outcome",
        outcomes(_renamed("in-hospital_death", "Mustermann")),
        refused("the outcomes table has no column In-hospital_death"),
    )
    yield Case(
        row,
        "stays",
        "a column twice",
        stays("stays", stay(7, _renamed("value", "TIME"))),
        refused("has column Time more than once"),
    )
    yield Case(
        row, "stays", "an outcome twice", outcomes(_second_survival), refused("has column Survival more than once")
    )
    yield Case(
        row, "stays", "in another order", stays("stays", stay(7, _reversed_columns)), noticed(counts__header_by_name=1)
    )
    yield Case(
        row,
        "stays",
        "in another case",
        stays("stays", stay(7, lambda whole: whole.replace("Value", "VALUE", 1))),
        noticed(counts__header_by_name=1),
    )
    yield Case(
        row,
        "stays",
        "an outcome more",
        outcomes(
            lambda whole: (
                "\n".join(line + (",9" if at else ",Extra") for at, line in enumerate(whole.splitlines())) + "\n"
            )
        ),
        noticed(counts__extra_outcome_column=1),
    )


def _extra_column(folder: Path) -> None:
    rows_now = sets.read_table(folder, "chartevents")
    names = list(rows_now[0])
    sets.write_table(folder, "chartevents", [one | {"mustermann": "9"} for one in rows_now], (*names, "mustermann"))


def _bytes(table: str, change: Callable[[bytes], bytes]) -> Damage:
    """Change a hospital's table as bytes, inflated."""

    def damage(folder: Path) -> None:
        file = sets.table_file(folder, table)
        import gzip

        data = file.read_bytes()
        data = change(gzip.decompress(data) if file.suffix == ".gz" else data)
        file.write_bytes(gzip.compress(data, 1, mtime=0) if file.suffix == ".gz" else data)

    return damage


def _no_text() -> Iterator[Case]:
    row = "no plain text"
    for source in HOSPITALS:
        for table in ("chartevents", "admissions"):
            yield Case(
                row,
                source,
                f"{table} in Latin-1",
                _bytes(table, lambda data: data[:-9] + b"M\xfcller" + data[-9:]),
                refused(f"table {table} is no UTF-8 text"),
            )
            yield Case(
                row,
                source,
                f"a NUL byte in {table}",
                _bytes(table, lambda data: data[:-9] + b"\0" + data[-9:]),
                refused(f"table {table} is no text", "NUL"),
            )
        yield Case(
            row,
            source,
            "UTF-16",
            _bytes("chartevents", lambda data: data.decode().encode("utf-16")),
            refused("table chartevents"),
        )
        for table in ("chartevents", "patients"):
            yield Case(
                row,
                source,
                f"line ends of old Macs in {table}",
                _bytes(table, lambda data: data.replace(b"\n", b"\r")),
                refused(f"table {table} has no header"),
            )
        yield Case(
            row,
            source,
            "a table twice, one behind the other",
            _bytes("chartevents", lambda data: data + data[data.index(b"\n") + 1 :]),
            noticed(counts__same_row_twice=288),
        )
        yield Case(
            row,
            source,
            "the mark of a file's end of DOS",
            _bytes("chartevents", lambda data: data + b"\x1a"),
            refused("table chartevents is cut short"),
        )
        yield Case(
            row,
            source,
            "300 columns more, without names",
            _bytes("chartevents", lambda data: data.replace(b"\n", b"," * 300 + b"\n")),
            refused("table chartevents has a column more than once"),
        )
        yield Case(
            row,
            source,
            "line ends inside quotes",
            text("d_items", lambda whole: whole.replace("Heart Rate", '"Heart\r\nRate"')),
            Same(("events", "stays", "labels")),
        )
        yield Case(
            row,
            source,
            "a text of two million letters",
            text("chartevents", lambda whole: whole.replace(",bpm,", f",{'b' * 2_000_000},", 1)),
            noticed(counts__unit_of_another_quantity=1),
        )
        yield Case(
            row,
            source,
            "a byte-order mark",
            _bytes("chartevents", lambda data: b"\xef\xbb\xbf" + data),
            Same(("events", "stays")),
        )
        yield Case(
            row,
            source,
            "line ends of Windows",
            _bytes("chartevents", lambda data: data.replace(b"\n", b"\r\n")),
            Same(("events", "stays")),
        )
        yield Case(
            row,
            source,
            "semicolons for commas",
            _bytes("chartevents", lambda data: data.replace(b",", b";")),
            refused("table chartevents has no column"),
        )
        yield Case(
            row,
            source,
            "tabs for commas",
            _bytes("patients", lambda data: data.replace(b",", b"\t")),
            refused("table patients has no column"),
        )
    yield Case(
        row,
        "stays",
        "a stay in Latin-1",
        stays("stays", stay(7, lambda whole: whole.replace("71.5", "71\udcfc"))),
        refused("is no text", "row 7"),
    )
    yield Case(
        row,
        "stays",
        "a NUL byte in a stay",
        stays("stays", stay(7, lambda whole: whole.replace("71.5", "71\0"))),
        refused("is no text", "NUL"),
    )
    yield Case(
        row,
        "stays",
        "a stay of semicolons",
        stays("stays", stay(7, lambda whole: whole.replace(",", ";"))),
        refused("has no column Time"),
    )
    yield Case(
        row,
        "stays",
        "line ends of Windows",
        stays("stays", stay(7, lambda whole: whole.replace("\n", "\r\n"))),
        Same(("events", "labels")),
    )


CASES = [
    case
    for cases in (
        _cut_short,
        _of_their_headers_alone,
        _ragged,
        _columns,
        _no_text,
    )
    for case in cases()
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_damaged_text_is_never_met_with_silence(case: Case, judge: Judge) -> None:
    """Refused, set aside, counted, or understood by a stated rule, as the case declares."""
    judge(case)


def test_every_row_has_a_case_for_every_source() -> None:
    """No row without a case where it makes sense, no case without a row."""
    assert uncovered(ROWS, CASES) == set()
