"""Outcomes that come later: what their file may look like, and what becomes of each row."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from medai.disclosure import Guard
from medai.errors import ConfigurationError, DataRefused
from medai.monitoring.labels import REASONS, join, read_labels, without_named_patients

NOW = datetime(2026, 5, 1)
KNOWN = pl.DataFrame(schema={"candidate": pl.String, "id": pl.String, "truth": pl.String})
PREDICTIONS = pl.DataFrame(
    {
        "id": ["s1", "s2", "s3", "t1", "t2"],
        "subject": ["p1", "p1", "p3", None, None],
        "subject_id": [1, 1, 3, 4, 5],
        "candidate": ["c"] * 5,
        "prediction_time": [datetime(2026, 4, 1)] * 4 + [datetime(2150, 1, 1)],
    },
    schema_overrides={"prediction_time": pl.Datetime("us")},
)


@pytest.fixture
def ill(output_of: Any) -> Any:
    """Well or ill."""
    return output_of(kind="binary", classes={0: "well", 1: "Ill"}, positive="Ill")


@pytest.fixture
def findings(output_of: Any) -> Any:
    """Two findings."""
    return output_of(kind="multilabel", classes={"m": "Mass", "e": "Edema"})


def written(folder: Path, *lines: str, name: str = "late.csv") -> Path:
    """A file of these lines."""
    path = folder / name
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def told(path: Path, name: str, output: Any, known: pl.DataFrame = KNOWN) -> tuple[dict[str, str], dict[str, int]]:
    """id → truth of what was joined, and what was set aside."""
    joined = join(read_labels(path, name, output), PREDICTIONS, known, NOW)
    return dict(zip(joined.rows["id"], joined.rows["truth"], strict=True)), joined.set_aside


@pytest.mark.parametrize("column", ["illness", "outcome", "label"])
def test_classes_by_name_or_value(tmp_path: Path, ill: Any, column: str) -> None:
    """In whatever case, with blanks around; what is no class is set aside, and so is what is missing."""
    path = written(tmp_path, f"id,{column}", "s1,ill", "s2, 0", "s3,1.0", "t1,maybe", "t2,")
    assert told(path, "illness", ill) == (
        {"s1": "Ill", "s2": "well", "s3": "Ill"}, {"missing_outcome": 1, "unknown_outcome": 1},
    )  # fmt: skip


def test_rows_that_cannot_be_used(tmp_path: Path, ill: Any) -> None:
    """Each for one reason, with counts; a repeated row counts once, and one that contradicts itself not at all."""
    path = written(
        tmp_path, "id,outcome", "s1,1", "s1,1", "s2,1", "s2,0", "nobody,1", ",1", "s3,0",
    )  # fmt: skip
    assert told(path, "x", ill) == (
        {"s1": "Ill", "s3": "well"}, {"without_id": 1, "duplicate": 1, "contradicts_itself": 2, "unknown_id": 1},
    )  # fmt: skip


def test_what_was_told_before_stands(tmp_path: Path, ill: Any) -> None:
    """Another outcome is set aside; the same one is joined, and known."""
    known = pl.DataFrame({"candidate": ["c", "c"], "id": ["s1", "s3"], "truth": ["well", "well"]})
    path = written(tmp_path, "id,outcome", "s1,1", "s3,0")
    assert told(path, "x", ill, known) == ({"s3": "well"}, {"contradicts_earlier": 1})


def test_times(tmp_path: Path, ill: Any) -> None:
    """A future date is no outcome, unless the dates are shifted as the prediction's are; others must be ISO 8601."""
    lines = ("s1,1,2026-04-30T10:00:00+02:00", "s2,1,2026-06-01", "s3,1,1.4.2026", "t2,1,2150-01-03")
    path = written(tmp_path, "id,outcome,time", *lines)
    assert told(path, "x", ill) == ({"s1": "Ill", "t2": "Ill"}, {"unreadable_time": 1, "future": 1})


def test_by_subject(tmp_path: Path, ill: Any) -> None:
    """Where one row alone was predicted for him; a stay that names no other patient is its own."""
    path = written(tmp_path, "subject,outcome", "p1,1", "p3,0", "t1,1")
    assert told(path, "x", ill) == ({"s3": "well", "t1": "Ill"}, {"several_predictions": 1})


def test_an_id_that_names_two_patients_joins_neither(tmp_path: Path, ill: Any) -> None:
    """As where each file of pictures counts its own; predicted twice, or by two champions, a patient is one."""
    other = PREDICTIONS.filter(pl.col("id") == "s1").with_columns(pl.lit(9, pl.Int64).alias("subject_id"))
    again = PREDICTIONS.filter(pl.col("id") == "s2").with_columns(pl.lit("d").alias("candidate"))
    path = written(tmp_path, "id,outcome", "s1,1", "s2,1")
    joined = join(read_labels(path, "x", ill), pl.concat([PREDICTIONS, other, again]), KNOWN, NOW)
    assert joined.rows.select("id", "candidate").rows() == [("s2", "c"), ("s2", "d")]
    assert joined.set_aside == {"several_predictions": 1}


def test_findings_in_columns_or_together(tmp_path: Path, findings: Any) -> None:
    """One column each, by name or label column, of 0 and 1; or their names in one."""
    path = written(tmp_path, "id,Mass,e", "s1,1,0", "s2,0,0", "s3,1,true", "t1,1,", "t2,2,0")
    assert told(path, "x", findings) == (
        {"s1": "Mass", "s2": "none", "s3": "Mass; Edema"}, {"missing_outcome": 1, "unknown_outcome": 1},
    )  # fmt: skip
    path = written(tmp_path, "id,outcome", "s1,edema; mass", "s2,none", "s3,Hernia")
    assert told(path, "x", findings) == ({"s1": "Mass; Edema", "s2": "none"}, {"unknown_outcome": 1})
    with pytest.raises(DataRefused, match="a column for each finding, Edema"):
        read_labels(written(tmp_path, "id,Mass", "s1,1"), "x", findings)


def test_parquet_with_sites_and_dates(tmp_path: Path, ill: Any) -> None:
    """Numbers and dates of their own types; a site goes with its row."""
    path = tmp_path / "late.parquet"
    pl.DataFrame(
        {"id": ["s1", "s2"], "outcome": [1, 0], "time": [datetime(2026, 4, 2)] * 2, "site": ["north", None]}
    ).write_parquet(path)
    joined = join(read_labels(path, "x", ill), PREDICTIONS, KNOWN, NOW)
    assert joined.rows.select("id", "truth", "site").rows() == [("s1", "Ill", "north"), ("s2", "well", None)]
    assert joined.set_aside == {}


def parquet_of(folder: Path, *columns: tuple[str, Any, pa.DataType | None]) -> Path:
    """A Parquet file of one row, with columns that may be named alike."""
    path = folder / "odd.parquet"
    arrays = [pa.array([cell], kind) for _, cell, kind in columns]
    pq.write_table(pa.Table.from_arrays(arrays, names=[name for name, _, _ in columns]), path)
    return path


def test_odd_columns_of_parquet_are_refused_in_words(
    tmp_path: Path, ill: Any, refusal: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    """Lists, bytes, wide decimals, times of no calendar, and one name twice; and polars's panic is not heard."""
    odd = "received: columns of lists, of bytes, of numbers with more than 38 digits or of an unknown time zone"
    times = "received: times that are in no calendar: before the year 1, or after 9999"
    cells: list[tuple[Any, pa.DataType | None, str]] = [
        ([1, 0], None, odd),
        (b"\xff", None, odd),
        (Decimal("1.0"), pa.decimal256(60, 1), odd),
        (0, pa.timestamp("us", "Nowhere/City"), odd),
        (2**62, pa.timestamp("ms"), times),
        (253_402_300_800_000, pa.timestamp("ms"), times),
        (-62_135_596_800_000_001, pa.timestamp("us", "UTC"), times),
        (2**31 - 1, pa.date32(), times),
        (-(2**31), pa.date32(), times),
    ]
    for cell, kind, message in cells:
        path = parquet_of(tmp_path, ("id", "s1", None), ("outcome", 1, None), ("time", cell, kind))
        with pytest.raises(DataRefused) as caught:
            read_labels(path, "x", ill)
        assert message in refusal(caught.value), kind
    path = parquet_of(tmp_path, ("id", "s1", None), ("outcome", 1, None), ("outcome", 0, None))
    with pytest.raises(DataRefused, match="received: a name that two columns have"):
        read_labels(path, "x", ill)
    path = parquet_of(tmp_path, ("patient", "s1", None), ("illness", 1, None))
    with pytest.raises(DataRefused, match="received: 2 columns of other names"):
        read_labels(path, "x", ill)
    assert "panicked" not in capfd.readouterr().err


def test_times_of_every_kind_in_parquet(tmp_path: Path, ill: Any) -> None:
    """Up to the calendar's ends; a time of day or a span is no time, and costs its row alone."""
    last = 253_402_300_799
    cells: list[tuple[Any, pa.DataType, datetime | None]] = [
        (last * 1000, pa.timestamp("ms"), datetime(9999, 12, 31, 23, 59, 59)),
        (-62_135_596_800_000_000, pa.timestamp("us"), datetime(1, 1, 1)),
        (2**63 - 1, pa.timestamp("ns"), datetime(2262, 4, 11, 23, 47, 16, 854775)),
        (0, pa.timestamp("us", "Europe/Berlin"), datetime(1970, 1, 1)),
        (2_932_896, pa.date32(), datetime(9999, 12, 31)),
        (-719_162, pa.date32(), datetime(1, 1, 1)),
        (86_400_000, pa.date64(), datetime(1970, 1, 2)),
        (10, pa.time32("s"), None),
        (2**60, pa.duration("us"), None),
    ]
    for cell, kind, time in cells:
        path = parquet_of(tmp_path, ("id", "s1", None), ("outcome", 1, None), ("time", cell, kind))
        (row,) = read_labels(path, "x", ill).table.select("time", "reason").rows()
        assert row == (time, None if time else "unreadable_time"), kind


def test_columns_that_are_not_needed_are_not_read(tmp_path: Path, ill: Any, findings: Any) -> None:
    """Lists or bytes beside the outcomes harm nobody, even under a name that begins like a needed one's."""
    path = parquet_of(
        tmp_path,
        ("notes", ["a"], None),
        ("id", "s1", None),
        ("id.1", [1], None),
        ("x", 1, None),
        ("scan", b"\xff", None),
    )
    assert told(path, "x", ill) == ({"s1": "Ill"}, {})
    path = parquet_of(tmp_path, ("id", "s1", None), ("Mass", 1, None), ("e", 0, None), ("scan", b"\xff", None))
    assert told(path, "x", findings) == ({"s1": "Mass"}, {})


def test_a_machine_that_fails_is_not_the_file_s_fault(tmp_path: Path, ill: Any, monkeypatch: Any) -> None:
    """A sound file is not refused where polars panics, as without memory or threads."""
    path = parquet_of(tmp_path, ("id", "s1", None), ("outcome", 1, None))

    def panic(*_given: Any) -> Any:
        raise pl.exceptions.PanicException("could not spawn threads")

    monkeypatch.setattr(pl.Expr, "cast", panic)
    with pytest.raises(pl.exceptions.PanicException):
        read_labels(path, "x", ill)


def test_what_other_outputs_answered_is_set_aside(tmp_path: Path, ill: Any) -> None:
    """An id that only such a champion predicted is counted; of one that both predicted the other's is joined.

    What was told of it by other classes contradicts nothing; and a name that means two ids means them still.
    """
    older = PREDICTIONS.with_columns(pl.lit("old").alias("candidate"))
    gone = PREDICTIONS.filter(pl.col("id") == "t2").with_columns(pl.lit("gone").alias("candidate"))
    newer = PREDICTIONS.filter(pl.col("id").is_in(["s1", "s2"]))
    predictions = pl.concat([older.filter(pl.col("id") != "t2"), gone, newer])
    aside = {"old": "other_outputs", "gone": "model_missing"}
    known = pl.DataFrame({"candidate": ["old"], "id": ["s1"], "truth": ["dead"]})
    path = written(tmp_path, "id,outcome", "s1,1", "s2,0", "s3,1", "t1,1", "t2,1")
    joined = join(read_labels(path, "x", ill), predictions, known, NOW, aside)
    assert joined.rows.select("id", "candidate", "truth").rows() == [("s1", "c", "Ill"), ("s2", "c", "well")]
    assert joined.set_aside == {"other_outputs": 2, "model_missing": 1}
    assert list(joined.set_aside) == [one for one in REASONS if one in joined.set_aside]
    assert set(joined.rows.columns) == {*PREDICTIONS.columns, "truth", "site"}

    path = written(tmp_path, "subject,outcome", "p1,1", "p3,1")
    by_subject = join(read_labels(path, "x", ill), pl.concat([older, newer.head(1)]), KNOWN, NOW, aside)
    assert (by_subject.rows.height, by_subject.set_aside) == (0, {"several_predictions": 1, "other_outputs": 1})


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (("id,when", "s1,1"), "the outcome in a column x or outcome"),
        (("patient,outcome", "s1,1"), "a column id or subject"),
        (("id,outcome",), "received: no row"),
        ((), "received: no row"),
        (("id,outcome", "s1,1,2,3"), "rows that are longer than the line of names"),
        (("id,outcome,outcome", "s1,1,0"), "a name that two columns have"),
        (("id,id,outcome", "s1,t1,1"), "a name that two columns have"),
        (("id,x,outcome", "s1,1,0"), "received: 2 columns of outcomes"),
        (("s1,1", "s2,0"), "received: 2 columns of other names"),  # no header: its names are a patient's
    ],
)
def test_files_that_are_refused(tmp_path: Path, ill: Any, lines: tuple[str, ...], message: str, refusal: Any) -> None:
    """With what is expected, and without a word of what stands in them."""
    with pytest.raises(DataRefused) as caught:
        read_labels(written(tmp_path, *lines), "x", ill)
    assert message in refusal(caught.value)
    assert "s1" not in str(caught.value)


def test_files_that_are_not_there(tmp_path: Path, ill: Any, output_of: Any) -> None:
    """Or are of another format; masks have no outcomes in a table."""
    with pytest.raises(ConfigurationError, match="no such file"):
        read_labels(tmp_path / "late.csv", "x", ill)
    with pytest.raises(ConfigurationError, match="another suffix"):
        read_labels(written(tmp_path, "id", name="late.txt"), "x", ill)
    with pytest.raises(ConfigurationError, match="no such file"):
        read_labels(tmp_path / ("x" * 300 + ".csv"), "x", ill)
    (tmp_path / "miller.parquet").write_bytes(b"PAR1 and no more PAR1")
    with pytest.raises(DataRefused, match="a file that is damaged, or is no Parquet") as caught:
        read_labels(tmp_path / "miller.parquet", "x", ill)
    assert "miller" not in str(caught.value)
    (tmp_path / "bytes.csv").write_bytes(b"id,outcome\n\xff,1\n")
    with pytest.raises(DataRefused, match="bytes that are not UTF-8"):
        read_labels(tmp_path / "bytes.csv", "x", ill)
    mask = output_of(kind="mask", classes={0: "background", 1: "lesion"})
    with pytest.raises(ConfigurationError, match="outcomes of masks are pictures"):
        read_labels(tmp_path / "late.csv", "x", mask)


def test_a_site_that_names_a_patient_is_no_site(tmp_path: Path, ill: Any) -> None:
    """Sites are told on pages, where nobody may be named; the outcome counts all the same."""
    lines = ("id,outcome,site", "s1,1,north", "s2,0,10000032", "s3,1,of MRN-0012345", "t1,0,")
    file = read_labels(written(tmp_path, *lines), "ill", ill)
    guarded, rows = without_named_patients(file, [Guard(["10000032"]), Guard(["MRN-0012345"])])
    assert (guarded.table["site"].to_list(), rows) == (["north", None, None, None], 2)
    assert guarded.table.drop("site").equals(file.table.drop("site"))
    assert without_named_patients(file, [])[1] == 0
