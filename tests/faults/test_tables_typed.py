"""Tables as Parquet: cut short, with bytes turned, of other types, and what else a typed column can hold."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from medai.errors import MedaiError
from medai.sources import reader
from tests.faults import damage, sets
from tests.faults.case import Case, Damage, Right, Same, noticed, refused, uncovered
from tests.faults.conftest import Judge, Undamaged, meets, tells_nothing
from tests.faults.damage import all_of, cut, cut_by
from tests.faults.sets import SETS, table_file, typed, write_parquet

CHART = "chartevents"
ROWS = {
    "cut short": ("parquet", "mimic3", "mimic4"),
    "columns": ("parquet",),
    "types": ("parquet", "mimic3"),
    "impossible dates and numbers": ("parquet",),
    "turned bytes": ("mimic3",),
}


def whole(table: str, change: Callable[[pa.Table], pa.Table], checksums: bool = True) -> Damage:
    """Change a Parquet table."""

    def act(folder: Path) -> None:
        file = table_file(folder, table)
        write_parquet(file, change(pq.read_table(file)), checksums)

    return act


def column(table: str, name: str, change: Callable[[pa.ChunkedArray], pa.Array]) -> Damage:
    """Change one of its columns."""

    def put(rows: pa.Table) -> pa.Table:
        return rows.set_column(rows.schema.names.index(name), name, change(rows[name]))

    return whole(table, put)


def cast(table: str, name: str, kind: pa.DataType) -> Damage:
    """Give a column another type."""
    return column(table, name, lambda values: values.cast(kind))


def first(value: object, kind: pa.DataType) -> Callable[[pa.ChunkedArray], pa.Array]:
    """Another first value, in a column of this type."""
    return lambda values: pa.array([value, *values.cast(kind).to_pylist()[1:]], kind)


def bytes_as_text(values: pa.ChunkedArray) -> pa.Array:
    """Texts that are no UTF-8: writers do not look."""
    raw = pa.array([b"M\xfcller"] * len(values), pa.binary())
    return pa.StringArray.from_buffers(len(values), *raw.buffers()[1:])


def _reform(suffix: str, folder: Path) -> None:
    """Chart rows under another suffix: ``.csv``, ``.csv.gz`` or ``.parquet``."""
    file = table_file(folder, CHART)
    text, names = sets.read_text(file), list(sets.read_table(folder, CHART)[0])
    found = sets.read_table(folder, CHART)
    file.unlink()
    file = file.with_name(file.name.partition(".")[0] + suffix)
    if suffix == ".parquet":
        write_parquet(file, pa.table({name: typed([row[name] for row in found]) for name in names}))
    else:
        sets.write_text(file, text)


def _reformed(suffix: str, act: Callable[[Path], object]) -> Damage:
    """The chart rows under another suffix, and then damaged."""

    def damage(folder: Path) -> None:
        name = table_file(folder, CHART).name.partition(".")[0] + suffix
        act(next(folder.rglob(name)))

    return all_of(partial(_reform, suffix), damage)


def _cut_short() -> Iterator[Case]:
    row, cannot = "cut short", refused("table chartevents cannot be read to its end")
    for share in (0.1, 0.6, 0.99):
        yield Case(row, "parquet", f"Parquet at {share:.0%}", damage.on("parquet", cut(share)), cannot)
    for count in (1, 4, 12):
        yield Case(
            row, "parquet", f"Parquet without its last {count} bytes", damage.on("parquet", cut_by(count)), cannot
        )
    for name, content in (
        ("PAR1", b"PAR1"),
        ("PAR1 twice", b"PAR1\0\0\0\0PAR1"),
        ("a long footer", b"PAR1\xff\xff\xff\x7fPAR1"),
    ):
        yield Case(row, "parquet", f"a Parquet file of {name}", damage.on("parquet", damage.holding(content)), cannot)
    for table in ("patients", "admissions", "icustays", "chartevents", "labevents", "outputevents"):
        outcome: Any = refused("the data failed validation")
        if table.endswith("events"):
            outcome = noticed(**{f"counts__no_rows_{table}": 1})
        yield Case(
            row, "parquet", f"{table} of its columns alone", whole(table, lambda rows: rows.slice(0, 0)), outcome
        )
    for source in ("mimic3", "mimic4"):
        for table in ("chartevents", "labevents", "outputevents"):
            yield Case(
                row,
                source,
                f"{table} of its header alone",
                damage.text(table, lambda text: text.partition("\n")[0] + "\n"),
                noticed(**{f"counts__no_rows_{table}": 1}),
            )
        yield Case(
            row,
            source,
            "icustays of its header alone",
            damage.text("icustays", lambda text: text.partition("\n")[0] + "\n"),
            refused("the data failed validation: no_stays"),
        )
        yield Case(
            row,
            source,
            "d_items of its header alone",
            damage.text("d_items", lambda text: text.partition("\n")[0] + "\n"),
            noticed(warned__unknown_item=3),
        )
    for share in (0.3, 0.9):
        yield Case(
            row,
            "mimic3",
            f"csv.gz at {share:.0%}",
            _reformed(".csv.gz", cut(share)),
            refused("table chartevents", "cut short"),
        )
    for count in (1, 8, 9):
        yield Case(
            row,
            "mimic3",
            f"csv.gz without its last {count} bytes",
            _reformed(".csv.gz", cut_by(count)),
            refused("chartevents"),
        )
    yield Case(
        row, "mimic4", "csv cut in mid-row", _reformed(".csv", cut_by(9)), refused("table chartevents is cut short")
    )
    yield Case(
        row, "mimic4", "csv.gz whose second member is cut", _members(cut=30), refused("table chartevents", "cut short")
    )
    yield Case(row, "mimic4", "csv.gz with bytes behind its end", _members(b"Mustermann"), refused("table chartevents"))
    yield Case(
        row,
        "mimic4",
        "csv.gz of nothing",
        damage.on("mimic4", damage.holding(gzip.compress(b"", mtime=0))),
        refused("table chartevents has no header", "an empty file"),
    )
    yield Case(row, "mimic4", "csv.gz of two members", _members(), Same(("events", "stays")))


def _members(behind: bytes = b"", cut: int = 0) -> Damage:
    def act(file: Path) -> None:
        data = gzip.decompress(file.read_bytes())
        half = data.index(b"\n", len(data) // 2) + 1
        packed = gzip.compress(data[:half], 1, mtime=0) + gzip.compress(data[half:], 1, mtime=0) + behind
        file.write_bytes(packed[: len(packed) - cut])

    return damage.on("mimic4", act)


def _columns() -> Iterator[Case]:
    row = "columns"

    def renamed(change: Callable[[str], str]) -> Callable[[pa.Table], pa.Table]:
        return lambda rows: rows.rename_columns([change(name) for name in rows.column_names])

    for name in ("charttime", "valuenum", "itemid", "subject_id"):
        yield Case(
            row,
            "parquet",
            f"chartevents without {name}",
            whole(CHART, lambda rows, name=name: rows.drop_columns([name])),
            refused(f"table chartevents has no column {name}"),
        )
    yield Case(
        row,
        "parquet",
        "charttime twice, told apart by case",
        whole(CHART, lambda rows: rows.append_column("CHARTTIME", rows["charttime"])),
        refused("table chartevents has a column more than once"),
    )
    same = Same(("events", "stays", "labels", "codes"))
    yield Case(row, "parquet", "in the other case", whole(CHART, renamed(str.upper)), same)
    yield Case(
        row, "parquet", "in other letters, with spaces", whole(CHART, renamed(lambda name: f" {name.title()} ")), same
    )
    yield Case(
        row,
        "parquet",
        "in another order",
        whole(CHART, lambda rows: rows.select(rows.column_names[::-1])),
        noticed(counts__table_with_reordered_columns=1),
    )
    for name, values in (("a column that nobody asked for", "9"), ("a nested column besides", {"itemid": 1})):
        yield Case(
            row,
            "parquet",
            name,
            whole(CHART, lambda rows, values=values: rows.append_column("mustermann", pa.array([values] * len(rows)))),
            noticed(counts__table_with_extra_columns=1),
        )


def _types() -> Iterator[Case]:
    row = "types"
    chart = "table chartevents, column "
    most = "most times cannot be read"
    zone, berlin = pa.timestamp("us", "UTC"), pa.timestamp("us", "Europe/Berlin")
    for name, act, outcome in (
        ("times of a zone", cast(CHART, "charttime", zone), refused(chart + "charttime", "a time zone")),
        ("times of a zone with summer time", cast(CHART, "charttime", berlin), refused("a time zone")),
        ("stored times of a zone", cast(CHART, "storetime", zone), refused(chart + "storetime", "a time zone")),
        ("admissions of a zone", cast("admissions", "admittime", zone), refused("column admittime", "a time zone")),
        ("days for times", cast(CHART, "charttime", pa.date32()), refused(chart + "charttime", most)),
        ("numbers for times", cast(CHART, "charttime", pa.int64()), refused(chart + "charttime", most)),
        ("numbers for stored times", cast(CHART, "storetime", pa.int64()), refused(chart + "storetime", most)),
        ("hours for times", cast(CHART, "charttime", pa.time64("us")), refused(chart + "charttime", most)),
        ("nothing for times", column(CHART, "charttime", lambda one: pa.nulls(len(one))), refused(most)),
        (
            "bytes for texts",
            column(CHART, "valueuom", lambda one: one.cast(pa.binary())),
            refused("valueuom", "binary"),
        ),
        ("lists for texts", column(CHART, "value", lambda one: pa.array([[1]] * len(one))), refused("value", "list")),
        ("texts that are no UTF-8", column(CHART, "value", bytes_as_text), refused("table chartevents cannot be read")),
        ("identifiers that fall together", _float_ids, refused("column hadm_id", "fall together")),
        (
            "yes and no for a flag",
            column("admissions", "hospital_expire_flag", _all_true),
            refused("too_many_set_aside"),
        ),
        ("ages in words", column("patients", "anchor_age", _in_words), noticed(warned__age_unknown=sets.PATIENTS)),
        (
            "no gender at all",
            column("patients", "gender", lambda one: pa.nulls(len(one))),
            noticed(counts__gender_not_given=24),
        ),
        ("pages without checksums", whole(CHART, lambda rows: rows, False), noticed(counts__table_without_checksums=1)),
        ("a pipe for it", damage.on("parquet", damage.as_pipe), refused("a pipe, a socket or a device")),
    ):
        yield Case(row, "parquet", name, act, outcome)
    same = Same(("events", "stays", "labels", "codes"))
    for name, act in (
        ("times of nanoseconds", cast(CHART, "charttime", pa.timestamp("ns"))),
        ("times of milliseconds", cast(CHART, "charttime", pa.timestamp("ms"))),
        ("times as texts", column(CHART, "charttime", lambda one: pa.array([str(time) for time in one.to_pylist()]))),
        ("decimal readings", cast(CHART, "valuenum", pa.decimal128(18, 4))),
        ("readings of 32 bits", cast(CHART, "valuenum", pa.float32())),
        ("identifiers as floats", cast(CHART, "subject_id", pa.float64())),
        ("small identifiers of 32 bits", cast(CHART, "itemid", pa.float32())),
        ("identifiers as decimals", cast(CHART, "hadm_id", pa.decimal128(21, 2))),
        ("identifiers without signs", cast(CHART, "subject_id", pa.uint64())),
        (
            "items as a dictionary",
            column(CHART, "itemid", lambda one: one.cast("string").combine_chunks().dictionary_encode()),
        ),
        ("units as long texts", cast(CHART, "valueuom", pa.large_string())),
        ("a death's day as a time", cast("patients", "dod", pa.timestamp("us"))),
        ("flags as yes and no", column("admissions", "hospital_expire_flag", _dead)),
    ):
        yield Case(
            row,
            "parquet",
            name,
            act,
            Right() if name.startswith("flags") else same,
            then=_flagged if name.startswith("flags") else None,
        )
    yield Case(row, "mimic3", "chart rows as Parquet", partial(_reform, ".parquet"), same)


def _float_ids(folder: Path) -> None:
    """Identifiers that 32 bits do not tell apart."""

    def change(values: pa.ChunkedArray) -> pa.Array:
        return pc.add(values, 40_000_001).cast(pa.float32(), safe=False)

    column("admissions", "hadm_id", change)(folder)


def _all_true(values: pa.ChunkedArray) -> pa.Array:
    return pa.array([True] * len(values))


def _dead(values: pa.ChunkedArray) -> pa.Array:
    return pa.array([patient % 4 == 0 for patient in range(len(values))])


def _flagged(folder: Path) -> None:
    """The flag of every admission was read, and agrees with the dates."""
    assert pl.read_parquet(folder / "labels.parquet")["death_disputed"].to_list() == [0] * sets.PATIENTS


def _in_words(values: pa.ChunkedArray) -> pa.Array:
    return pa.array([f"{age} y" for age in values.to_pylist()])


def _impossible() -> Iterator[Case]:
    row = "impossible dates and numbers"
    unplaced = noticed(counts__impossible_time_chartevents=1, dropped__events=1)
    for name, number, unit in (
        ("the beginning of all", 1 - (1 << 63), "us"),
        ("year 290,000", (1 << 63) - 1, "us"),
        ("year 9999", 253402300799, "s"),
    ):
        change = first(number, pa.int64())

        def act(values: pa.ChunkedArray, change: Any = change, unit: str = unit) -> pa.Array:
            return change(values.cast(pa.timestamp(unit))).cast(pa.timestamp(unit))

        yield Case(
            row, "parquet", f"a typed time beyond the calendar: {name}", column(CHART, "charttime", act), unplaced
        )
    yield Case(
        row,
        "parquet",
        "a typed inf",
        column(CHART, "valuenum", first(float("inf"), pa.float64())),
        noticed(set_aside__not_a_number=1),
    )
    yield Case(
        row,
        "parquet",
        "an identifier of 64 bits",
        column(CHART, "subject_id", first((1 << 64) - 1, pa.uint64())),
        noticed(counts__row_without_subject_chartevents=1, dropped__events=1),
    )


def _turned() -> Iterator[Case]:
    for place in (0.02, 0.2, 0.5):
        yield Case(
            "turned bytes",
            "mimic3",
            f"chart rows as Parquet, at {place:.0%}",
            _reformed(".parquet", damage.flipped(place)),
            refused("table chartevents cannot be read to its end"),
        )


CASES = [case for cases in (_cut_short, _columns, _types, _impossible, _turned) for case in cases()]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_damaged_table_is_never_met_with_silence(case: Case, judge: Judge) -> None:
    """Refused, set aside, counted, or understood by a stated rule, as the case declares."""
    judge(case)


def test_every_row_has_a_case_for_every_source() -> None:
    """No row without a case where it makes sense, no case without a row."""
    assert uncovered(ROWS, CASES) == set()


TRIED = 40
"""Places of a file at which a bit is turned."""


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("parquet", "icu/chartevents.parquet"),
        ("parquet", "hosp/admissions.parquet"),
        ("parquet", "hosp/d_labitems.parquet"),
        ("meds", "data/0.parquet"),
        ("meds", "metadata/subject_splits.parquet"),
        ("meds", "metadata/codes.parquet"),
        ("meds", "labels/0.parquet"),
    ],
)
def test_a_turned_bit_is_refused_or_told_or_changes_nothing(
    source: str, name: str, tmp_path: Path, undamaged: Undamaged, record_property: Callable[[str, object], None]
) -> None:
    """In pages and in the footer, which no checksum covers: refused, counted, or the same rows; never another reading.

    A bit in the footer must not end the process either: some readers abort on a description that contradicts itself.
    """
    path = undamaged.copy(source, tmp_path / "data")
    target, config = tmp_path / "data" / name, SETS[source].config
    sound, before = target.read_bytes(), undamaged.walked(source)[1]
    refusals = 0
    for step in range(TRIED):
        data = bytearray(sound)
        data[len(sound) * step // TRIED] ^= 1 << 3 * step % 8
        target.write_bytes(data)
        folder = tmp_path / f"read {step}"
        folder.mkdir()
        try:
            facts = reader(config).read(config, path, folder)
        except MedaiError as error:
            refusals += 1
            meets(error, refused())
            tells_nothing(folder, str(error).replace(str(path), ""), SETS[source].people, ())
        else:
            same = all(_rows(folder / file.name).equals(_rows(file)) for file in before.glob("*.parquet"))
            assert same or facts.counts, f"the bit in byte {len(sound) * step // TRIED} changed a reading"
        record_property("fault", ("turned bytes", source, "refused", False))
        record_property("record", ("byte-flipped Parquet", False))
    assert refusals > TRIED // 3


def _rows(file: Path) -> pl.DataFrame:
    """A table but for the token of the file that it came from."""
    return pl.read_parquet(file).drop("source_id", strict=False)
