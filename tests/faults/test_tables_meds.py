"""MEDS data sets: shards, metadata, splits and labels that are damaged, missing, or against each other."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.faults import damage, sets
from tests.faults.case import Case, Damage, Right, Same, near, noticed, refused, uncovered
from tests.faults.conftest import Judge
from tests.faults.damage import all_of, cut, cut_by
from tests.faults.records import untried
from tests.faults.sets import MEDS_DESCRIPTION, MEDS_SCHEMAS, SHARDS, meds_file, subject, write_parquet

SOURCE = ("meds",)
ROWS = dict.fromkeys(
    (
        "cut short", "empty", "columns", "types", "other type than its name", "missing", "words for numbers",
        "impossible dates and numbers", "age over 89", "stay without events", "history, no fault",
        "records that contradict each other", "duplicate keys and ties", "splits", "labels", "description",
        "places of shards",
    ),
    SOURCE,
)  # fmt: skip
PARTS = ("0", "codes", "splits", "labels")
CALLED = {
    "0": "shard 1",
    "codes": "metadata/codes.parquet",
    "splits": "metadata/subject_splits.parquet",
    "labels": "label file 1",
}
"""Part → how messages name it."""
READING = 5
"""A reading's row in the first shard: the first patient's second temperature."""
ALL = ("events", "stays", "labels", "codes", "subjects")
PATIENT = int(subject(0))


def whole(part: str, change: Callable[[pa.Table], pa.Table], checksums: bool = True) -> Damage:
    """Change a part's table."""

    def act(folder: Path) -> None:
        file = meds_file(folder, part)
        write_parquet(file, change(pq.read_table(file)), checksums)

    return act


def column(part: str, name: str, change: Callable[[pa.ChunkedArray], pa.Array]) -> Damage:
    """Change one of its columns."""
    return whole(part, lambda rows: rows.set_column(rows.schema.names.index(name), name, change(rows[name])))


def cast(part: str, name: str, kind: pa.DataType) -> Damage:
    """Give a column another type."""
    return column(part, name, lambda values: values.cast(kind, safe=False))


def put(part: str, place: int = READING, **values: object) -> Damage:
    """Other values in one row."""

    def change(rows: pa.Table) -> pa.Table:
        found = rows.to_pylist()
        found[place] |= values
        return pa.Table.from_pylist(found, rows.schema)

    return whole(part, change)


def more(part: str, **values: object) -> Damage:
    """A row more."""
    return whole(part, lambda rows: pa.concat_tables([rows, pa.Table.from_pylist([values], rows.schema)]))


def again(part: str, place: int = 0) -> Damage:
    """A row twice, one behind the other."""
    return whole(part, lambda rows: pa.concat_tables([rows.slice(0, place + 1), rows.slice(place)]))


def further(part: str, name: str, values: Callable[[pa.Table], object]) -> Damage:
    """A column more."""
    return whole(part, lambda rows: rows.append_column(name, pa.array(values(rows))))


def file(part: str, act: Callable[[Path], object]) -> Damage:
    """Damage a part's file."""
    return lambda folder: act(meds_file(folder, part)) and None


def _files() -> Iterator[Case]:
    for part in PARTS:
        called = CALLED[part]
        for name, act in (
            ("a Parquet file at a third", cut(0.3)),
            ("a Parquet file without its last 40 bytes", cut_by(40)),
        ):
            yield Case("cut short", "meds", f"{name}: {called}", file(part, act), refused(called, "cannot be read"))
        for name, content, what in (
            ("a Git-LFS pointer", damage.LFS_POINTER, "a Git-LFS pointer"),
            ("a table of text", b"subject_id,code\n7700100,A\n", "a text file"),
        ):
            yield Case(
                "other type than its name",
                "meds",
                f"{name}: {called}",
                file(part, damage.holding(content)),
                refused(what),
            )
        if part != "0":
            yield Case("empty", "meds", f"0 bytes: {called}", file(part, damage.holding(b"")), refused("is empty"))
            for name, act in (("a pipe", damage.as_pipe), ("a folder", damage.as_folder)):
                outcome: Any = refused("a pipe, a socket") if name == "a pipe" else refused("is empty")
                if (part, name) == ("labels", "a folder"):
                    outcome = refused("holds no Parquet file")
                yield Case("places of shards", "meds", f"{name} for {called}", file(part, act), outcome)
            for name, act in (("elsewhere", damage.as_link_out), ("to nothing", damage.as_link_to_nothing)):
                yield Case(
                    "places of shards",
                    "meds",
                    f"a link {name}: {called}",
                    file(part, act),
                    refused("is not plain data"),
                )
        yield Case(
            "types",
            "meds",
            f"pages without checksums: {called}",
            whole(part, lambda rows: rows, False),
            noticed(counts__table_without_checksums=1),
        )
        yield Case(
            "columns",
            "meds",
            f"a column twice: {called}",
            whole(part, lambda rows: rows.append_column(rows.column_names[0], rows.column(0))),
            refused(called, "2 times"),
        )
        yield Case(
            "columns",
            "meds",
            f"in the other case: {called}",
            whole(part, lambda rows: rows.rename_columns([name.upper() for name in rows.column_names])),
            refused(called, "otherwise", "other letters or spaces"),
        )
        yield Case(
            "columns",
            "meds",
            f"without its first column: {called}",
            whole(part, lambda rows: rows.drop_columns(rows.column_names[0])),
            refused(called, "has no column"),
        )
        yield Case(
            "columns",
            "meds",
            f"in another order: {called}",
            whole(part, lambda rows: rows.select(rows.column_names[::-1])),
            Same(tuple(name for name in ALL if part != "codes" or name != "stays")),
        )
    yield Case("missing", "meds", "its codes", file("codes", Path.unlink), refused("metadata/codes.parquet is missing"))
    yield Case("missing", "meds", "its splits", file("splits", Path.unlink), noticed(counts__no_subject_splits=1))
    for name in ("data", "metadata", "labels"):
        yield Case("missing", "meds", f"the folder {name}", _gone(name), refused("is missing", "nothing at this path"))
    yield Case("empty", "meds", "the folder data", _emptied, refused("the folder data of the MEDS data set is empty"))
    yield Case(
        "empty",
        "meds",
        "every shard without rows",
        _all_shards(lambda rows: rows.slice(0, 0)),
        refused("holds no event"),
    )
    yield Case(
        "empty",
        "meds",
        "labels without rows: empty",
        whole("labels", lambda rows: rows.slice(0, 0)),
        refused("hold no row"),
    )
    yield Case(
        "empty",
        "meds",
        "a shard more, without rows: empty",
        lambda folder: write_parquet(meds_file(folder, "9"), MEDS_SCHEMAS["data"].empty_table()),
        noticed(counts__shard_without_rows=1),
    )
    yield Case(
        "empty",
        "meds",
        "splits without rows: empty",
        whole("splits", lambda rows: rows.slice(0, 0)),
        noticed(counts__subject_without_split=sets.PATIENTS),
    )
    yield Case(
        "empty",
        "meds",
        "codes without rows: empty",
        whole("codes", lambda rows: rows.slice(0, 0)),
        noticed(warned__unknown_code=7),
    )


def _gone(name: str) -> Damage:
    return lambda folder: shutil.rmtree(folder / name)


def _emptied(folder: Path) -> None:
    shutil.rmtree(folder / "data")
    (folder / "data").mkdir()


def _all_shards(change: Callable[[pa.Table], pa.Table]) -> Damage:
    return all_of(*(whole(str(shard), change) for shard in range(SHARDS)))


def _columns() -> Iterator[Case]:
    row = "columns"
    extra = noticed(counts__table_with_extra_columns=1)
    for part in ("0", "splits"):
        yield Case(
            row,
            "meds",
            f"a column more: {CALLED[part]}",
            further(part, "mustermann", lambda rows: ["9"] * len(rows)),
            extra,
        )
    yield Case(
        row,
        "meds",
        "a column more in the labels, whose schema allows none",
        further("labels", "mustermann", lambda rows: ["9"] * len(rows)),
        refused("label file 1 has further columns"),
    )
    for name in ("Numeric_Value", " text_value", "NUMERIC_VALUE "):
        known = name.strip().lower()
        yield Case(
            row,
            "meds",
            f"numbers or texts in other letters: {name!r}",
            whole(
                "0",
                lambda rows, known=known, name=name: rows.rename_columns(
                    [name if one == known else one for one in rows.column_names]
                ),
            ),
            refused(f"shard 1 writes column {known} otherwise"),
        )
    yield Case(
        row,
        "meds",
        "a shard without numbers",
        whole("0", lambda rows: rows.drop_columns("numeric_value")),
        refused("too_many_set_aside in table events"),
    )
    yield Case(
        row,
        "meds",
        "a shard without texts",
        whole("0", lambda rows: rows.drop_columns("text_value")),
        noticed(counts__shard_of_other_columns=SHARDS - 1),
    )
    yield Case(
        row,
        "meds",
        "codes without descriptions",
        whole("codes", lambda rows: rows.drop_columns("description")),
        noticed(counts__no_code_descriptions=1),
    )
    yield Case(
        row, "meds", "codes of MEDS 0.2, nested", whole("0", _nested), refused("shard 1 has no column subject_id")
    )
    for name, values in (
        ("known times of another type", lambda rows: rows["time"].cast(pa.timestamp("ns"))),
        ("known times in words", lambda rows: ["soon"] * len(rows)),
    ):
        yield Case(row, "meds", name, further("0", "known_time", values), noticed(counts__column_of_another_type=1))


def _nested(rows: pa.Table) -> pa.Table:
    return pa.table({"patient_id": rows["subject_id"], "events": [[{"code": "A"}]] * len(rows)})


def _types() -> Iterator[Case]:
    row = "types"
    for name, kinds in {
        "subject_id": (pa.int32(), pa.uint64(), pa.float64(), pa.string()),
        "time": (
            pa.timestamp("ns"),
            pa.timestamp("ms"),
            pa.timestamp("us", "UTC"),
            pa.date32(),
            pa.string(),
            pa.int64(),
        ),
        "numeric_value": (pa.float64(), pa.string(), pa.decimal128(9, 2)),
    }.items():
        for kind in kinds:
            yield Case(
                row,
                "meds",
                f"{name} as {kind}",
                cast("0", name, kind),
                refused(f"shard 1 has another type in column {name}"),
            )
    yield Case(
        row, "meds", "code as int64", column("0", "code", lambda one: pa.array([1] * len(one))), refused("column code")
    )
    yield Case(
        row, "meds", "a split's subject as int32", cast("splits", "subject_id", pa.int32()), refused("another type")
    )
    yield Case(
        row,
        "meds",
        "a label's time of a zone",
        cast("labels", "prediction_time", pa.timestamp("us", "UTC")),
        refused("label file 1 has another type"),
    )
    yield Case(row, "meds", "codes that are no UTF-8", column("0", "code", _no_utf8), refused("shard 1 cannot be read"))
    yield Case(
        row,
        "meds",
        "codes as a dictionary",
        column("0", "code", lambda one: one.combine_chunks().dictionary_encode()),
        Same(ALL),
    )


def _no_utf8(values: pa.ChunkedArray) -> pa.Array:
    raw = pa.array([b"M\xfcller"] * len(values), pa.binary())
    return pa.StringArray.from_buffers(len(values), *raw.buffers()[1:])


def _values() -> Iterator[Case]:
    row = "words for numbers"
    aside = noticed(set_aside__not_a_number=1)
    for word in ("120/80", "8,5", "ERROR-Q7", ""):
        yield Case(row, "meds", f"{word!r} in place of a number", put("0", numeric_value=None, text_value=word), aside)
    for word in ("<0.01731", " > 8417", "less than 7"):
        yield Case(row, "meds", f"{word!r} beside a number", put("0", text_value=word), aside)
    row = "impossible dates and numbers"
    for number in ("inf", "-inf", "nan"):
        yield Case(
            row,
            "meds",
            f"{number} for a temperature",
            put("0", numeric_value=float(number)),
            noticed(counts__number_not_finite=1, set_aside__not_a_number=1),
        )
    for number in (99999.0, -1.0, 0.0):
        yield Case(
            row,
            "meds",
            f"{number:g} for a temperature",
            put("0", numeric_value=number),
            noticed(set_aside__implausible_temperature=1),
        )
    lost = noticed(counts__impossible_time=1, dropped__events=1)
    for name, time in (("1", datetime(1, 1, 1)), ("30", datetime(30, 1, 1)), ("9999", datetime(9999, 12, 31))):
        yield Case(row, "meds", f"year {name} for a reading", put("0", time=time), lost)
    for name, ticks in (("before", 1 - (1 << 63)), ("behind", (1 << 63) - 1)):
        yield Case(row, "meds", f"a time {name} the calendar", column("0", "time", _ticks(ticks)), lost)
    yield Case(
        row,
        "meds",
        "a reading at no time",
        put("0", time=None),
        noticed(counts__subject_out_of_order=1, set_aside__variable_without_time=1),
    )
    yield Case(
        row,
        "meds",
        "a known time of year 9999",
        further(
            "0",
            "known_time",
            lambda rows: pa.array(
                [None] * READING + [datetime(9999, 1, 1)] + [None] * (len(rows) - READING - 1), pa.timestamp("us")
            ),
        ),
        noticed(counts__impossible_known_time=1, counts__shard_of_other_columns=SHARDS - 1),
    )
    yield Case(
        row,
        "meds",
        "known before it happened, at a time of its own",
        further(
            "0",
            "known_time",
            lambda rows: pa.array(
                [None] * READING + [datetime(2129, 1, 1)] + [None] * (len(rows) - READING - 1), pa.timestamp("us")
            ),
        ),
        noticed(set_aside__known_before_it_happened=1, counts__shard_of_other_columns=SHARDS - 1),
    )
    for reason, name in (("subject", "subject_id"), ("code", "code")):
        yield Case(
            row,
            "meds",
            f"a reading without {reason}: nothing",
            put("0", **{name: None}),
            noticed(**{f"counts__row_without_{reason}": 1, "dropped__events": 1}),
        )
    yield Case(
        "age over 89",
        "meds",
        "born 300 years before",
        put("0", 1, time=datetime(1830, 1, 1)),
        noticed(counts__age_over_89=1),
        then=_aged,
    )
    yield Case(
        "age over 89",
        "meds",
        "born 95 years before",
        put("0", 1, time=datetime(2035, 1, 1)),
        noticed(counts__age_over_89=1),
        then=_aged,
    )
    yield Case(
        "age over 89",
        "meds",
        "born 150 years before",
        put("0", 1, time=datetime(1980, 1, 1)),
        noticed(set_aside__implausible_age=1),
    )
    yield Case(
        "stay without events",
        "meds",
        "nothing before the prediction",
        put("labels", 0, prediction_time=datetime(2129, 1, 1)),
        noticed(warned__stay_without_series=1),
    )
    yield Case(
        "stay without events",
        "meds",
        "nothing in the hours before the prediction",
        put("labels", 0, prediction_time=datetime(2150, 1, 1)),
        noticed(warned__stay_without_series=1),
    )


def _aged(folder: Path) -> None:
    assert pl.read_parquet(folder / "stays.parquet")["age"].max() == 90


def _ticks(first: int) -> Callable[[pa.ChunkedArray], pa.Array]:
    def change(values: pa.ChunkedArray) -> pa.Array:
        ticks = values.cast(pa.int64()).to_pylist()
        return pa.array([*ticks[:READING], first, *ticks[READING + 1 :]], pa.timestamp("us"))

    return change


def _records() -> Iterator[Case]:
    row = "history, no fault"
    yield Case(
        row,
        "meds",
        "a reading before birth",
        put("0", time=datetime(1950, 1, 1)),
        noticed(counts__event_before_birth=1, counts__subject_out_of_order=1),
    )
    row = "records that contradict each other"
    yield Case(
        row,
        "meds",
        "a reading behind death",
        put("0", time=datetime(2140, 1, 1)),
        noticed(counts__event_after_death=1, counts__subject_out_of_order=1),
    )
    for name in ("dataset of medai that lacks its columns", "an etl that nobody knows"):
        etl, outcome = (
            ("medai", refused("shard 1 of an export of medai lacks column known_time"))
            if "medai" in name
            else ("x", Right())
        )
        yield Case(
            row,
            "meds",
            name,
            _described(f'{{"etl_name": "{etl}"}}'),
            outcome,
            then=near("events", "numeric_value", 36.5),
        )
    yield Case(
        row,
        "meds",
        "a code that nobody knows",
        whole("codes", lambda rows: rows.slice(1)),
        noticed(warned__unknown_code=1),
    )
    row = "duplicate keys and ties"
    yield Case(row, "meds", "two births", again("0", 1), noticed(counts__subject_born_twice=1))
    yield Case(
        row,
        "meds",
        "a subject in two shards",
        more("1", subject_id=PATIENT, time=datetime(2130, 1, 2), code="A"),
        refused("shard 2 holds subjects of another shard", "1 subjects"),
    )
    yield Case(
        row,
        "meds",
        "an unsorted shard",
        whole("0", lambda rows: rows.take(list(range(len(rows)))[::-1])),
        noticed(counts__subject_out_of_order=8),
    )
    yield Case(
        row,
        "meds",
        "a subject in two places of its shard",
        more("0", subject_id=PATIENT, time=datetime(2130, 1, 2), code="MEDS_DEATH"),
        noticed(counts__subject_in_several_places=1),
    )
    yield Case(
        row,
        "meds",
        "subjects in another order",
        whole("0", lambda rows: rows.take(sorted(range(len(rows)), key=lambda at: -rows["subject_id"][at].as_py()))),
        Same(ALL),
    )


def _splits() -> Iterator[Case]:
    row = "splits"
    yield Case(
        row,
        "meds",
        "a subject in two of them",
        more("splits", subject_id=PATIENT, split="tuning"),
        refused("gives subjects two splits", "1 subjects"),
    )
    yield Case(row, "meds", "a subject twice in one", again("splits"), Same(ALL))
    yield Case(
        row,
        "meds",
        "a subject that nobody knows",
        more("splits", subject_id=5, split="tuning"),
        noticed(counts__split_of_unknown_subject=1),
    )
    yield Case(
        row,
        "meds",
        "a split of another name",
        put("splits", split="Mustermann"),
        noticed(counts__subject_in_another_split=1),
    )
    for name in ("split", "subject_id"):
        yield Case(
            row,
            "meds",
            f"a row without {name}",
            put("splits", **{name: None}),
            noticed(counts__split_without_subject=1, counts__subject_without_split=1),
        )
    yield Case(
        row,
        "meds",
        "a subject of none",
        whole("splits", lambda rows: rows.slice(1)),
        noticed(counts__subject_without_split=1),
    )


def _labels() -> Iterator[Case]:
    row = "labels"
    for name, values, reason in (
        ("of a subject that nobody knows", {"subject_id": 5}, "label_of_unknown_subject"),
        ("at a time of year 9999", {"prediction_time": datetime(9999, 1, 1)}, "label_at_impossible_time"),
        ("at no time", {"prediction_time": None}, "label_without_prediction"),
        ("of nobody", {"subject_id": None}, "label_without_prediction"),
        ("without a value", {"boolean_value": None}, "label_without_value"),
    ):
        yield Case(
            row, "meds", name, put("labels", **values), noticed(**{f"counts__{reason}": 1, "dropped__labels": 1})
        )
    yield Case(
        row,
        "meds",
        "at a time before the calendar",
        column("labels", "prediction_time", _ticks(1 - (1 << 63))),
        noticed(counts__label_at_impossible_time=1, dropped__labels=1),
    )
    yield Case(
        row,
        "meds",
        "before birth",
        put("labels", prediction_time=datetime(1900, 1, 1)),
        noticed(set_aside__implausible_age=1, warned__stay_without_series=1),
    )
    yield Case(row, "meds", "twice", again("labels"), noticed(counts__same_label_twice=1))
    yield Case(
        row,
        "meds",
        "twice, with two values",
        more("labels", subject_id=PATIENT, prediction_time=datetime(2130, 1, 3, 8), boolean_value=False),
        noticed(counts__label_conflict=2, dropped__labels=2),
    )
    yield Case(
        row,
        "meds",
        "without a column of values",
        whole("labels", lambda rows: rows.drop_columns("boolean_value")),
        noticed(counts__no_label_values=1),
    )
    for number in ("inf", "nan"):
        yield Case(
            row,
            "meds",
            f"of {number}",
            whole("labels", lambda rows, number=number: _floats(rows, float(number))),
            noticed(counts__label_not_finite=1, dropped__labels=1),
        )
    yield Case(
        row,
        "meds",
        "in two files of two kinds",
        lambda folder: (
            shutil.copy(meds_file(folder, "labels"), folder / "labels/1.parquet")
            and whole("labels", lambda rows: _floats(rows, 1.0))(folder)
        ),
        refused("the label files have different columns"),
    )
    yield Case(
        row,
        "meds",
        "the same file twice",
        lambda folder: shutil.copy(meds_file(folder, "labels"), folder / "labels/1.parquet") and None,
        noticed(counts__same_label_twice=sets.PATIENTS),
    )


def _floats(rows: pa.Table, first: float) -> pa.Table:
    values = pa.array([first] + [1.0] * (len(rows) - 1), pa.float32())
    return rows.drop_columns("boolean_value").append_column("float_value", values)


def _described(text: str | bytes) -> Damage:
    def act(folder: Path) -> None:
        (folder / MEDS_DESCRIPTION).write_bytes(text if isinstance(text, bytes) else text.encode())

    return act


def _description() -> Iterator[Case]:
    row = "description"
    cannot = refused("metadata/dataset.json cannot be read", "one JSON object")
    yield Case(
        row,
        "meds",
        "missing",
        lambda folder: (folder / MEDS_DESCRIPTION).unlink(),
        noticed(counts__no_dataset_description=1),
    )
    yield Case(row, "meds", "a Git-LFS pointer", _described(damage.LFS_POINTER), refused("a Git-LFS pointer"))
    yield Case(row, "meds", "a page of HTML", _described(damage.HTML_PAGE), refused("an HTML page"))
    yield Case(row, "meds", "0 bytes", _described(b""), refused("metadata/dataset.json is empty"))
    yield Case(row, "meds", "binary", _described(b"\0\1"), refused("binary data"))
    for name, text in (("a list", "[1]"), ("a deep nest", "[" * 100_000), ("cut short", '{"meds_version": "0.')):
        yield Case(row, "meds", name, _described(text), cannot)
    for version in ('"0.3.3"', '"0.2"', '"1.0"', '["Mustermann"]', '"0.40"'):
        yield Case(
            row,
            "meds",
            f"of version {version}",
            _described(f'{{"meds_version": {version}}}'),
            noticed(counts__other_meds_version=1),
        )
    for version in ('"0.4"', '"0.4.1"', "0.4"):
        yield Case(row, "meds", f"of version {version}", _described(f'{{"meds_version": {version}}}'), Same(ALL))
    for name, act in (
        ("a pipe", damage.as_pipe),
        ("a folder", damage.as_folder),
        ("a link elsewhere", damage.as_link_out),
    ):
        yield Case(
            row,
            "meds",
            name,
            lambda folder, act=act: act(folder / MEDS_DESCRIPTION) and None,
            refused("metadata/dataset.json"),
        )


def _places() -> Iterator[Case]:
    row = "places of shards"
    yield Case(
        row,
        "meds",
        "a file beside that is no shard",
        lambda folder: (folder / "data/0.parquet.tmp").write_bytes(b"x") and None,
        noticed(counts__ignored_file=1),
    )
    yield Case(row, "meds", "shards as csv", _moved("data/{}.csv"), refused("holds no Parquet file", "3 other files"))
    yield Case(row, "meds", "shards in folders of their own", _moved("data/some {}/0.parquet"), Same(ALL))
    yield Case(row, "meds", "shards in other letters", _moved("data/{}.PARQUET"), Same(ALL))
    yield Case(
        row, "meds", "folders without end", _moved("data/a/b/c/d/e/f/g/h/i/{}.parquet"), refused("folders without end")
    )
    yield Case(row, "meds", "pointed at the shards", lambda folder: folder / "data", refused("is missing"))
    yield Case(
        row,
        "meds",
        "pointed at a shard",
        lambda folder: folder / "data/0.parquet",
        refused("a folder with data/ and metadata/", "a Parquet file"),
    )

    def linked(folder: Path) -> None:
        (folder / "data/again").mkdir()
        (folder / "data/more").symlink_to("again")

    yield Case(row, "meds", "a folder twice, by a link", linked, refused("is not plain data", "a link to a folder"))
    for name in ("data", "metadata"):

        def away(folder: Path, name: str = name) -> None:
            (folder / name).rename(folder.parent / "elsewhere" / name)
            (folder / name).symlink_to(folder.parent / "elsewhere" / name)

        yield Case(
            row, "meds", f"the folder {name} elsewhere", away, refused("is not plain data", "a link that leaves")
        )


def _moved(pattern: str) -> Damage:
    def act(folder: Path) -> None:
        for shard in range(SHARDS):
            place = folder / pattern.format(shard)
            place.parent.mkdir(parents=True, exist_ok=True)
            meds_file(folder, str(shard)).rename(place)

    return act


CASES = [
    case
    for cases in (_files, _columns, _types, _values, _records, _splits, _labels, _description, _places)
    for case in cases()
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_damaged_data_set_is_never_met_with_silence(case: Case, judge: Judge) -> None:
    """Refused, set aside, counted, or understood by a stated rule, as the case declares."""
    judge(case)


def test_every_row_has_a_case_for_every_source() -> None:
    """No row without a case where it makes sense, no case without a row."""
    assert uncovered(ROWS, CASES) == set()


def test_every_item_of_the_list_is_tried_on_every_reader() -> None:
    """Each bad input that is listed for records, on each reader that can meet it."""
    from tests.faults import (
        test_files_contents,
        test_files_places,
        test_tables_records,
        test_tables_text,
        test_tables_typed,
        test_tables_values,
    )

    modules = (
        test_files_contents,
        test_files_places,
        test_tables_records,
        test_tables_text,
        test_tables_typed,
        test_tables_values,
    )
    missing = untried([*CASES, *(case for module in modules for case in module.CASES)])
    byte_by_byte = {("byte-flipped Parquet", source) for source in ("parquet", "meds")}
    assert missing == byte_by_byte, "those are tried by a test of their own"
