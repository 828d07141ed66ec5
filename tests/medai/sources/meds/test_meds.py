"""MEDS data sets become canonical events; what breaks the standard is refused, what cannot be trusted is counted."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import meds
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from medai.cohort import Windows, select
from medai.errors import DataRefused, MedaiError
from medai.ingestion import ingest
from medai.outputs import Binary
from medai.records import sha256_of_file
from medai.sources import names
from medai.sources.meds import Meds, raw_files, read, snapshot
from medai.sources.meds.layout import find
from medai.sources.meds.variables import Codes
from medai.tables import EVENTS as EVENT_COLUMNS
from medai.tables import Facts, read_table
from medai.validation import catalogue_suite, load_suite, validate
from medai.vocabularies import Vocabulary, load_vocabulary, vocabularies
from medai.workspace import Workspace

CONFIG = Meds(kind="meds")
TABLES = ("events", "stays", "labels", "codes", "identifiers", "stay_identifiers")
Write = Callable[..., Path]
Shard = Callable[..., pa.Table]


def at(hour: int, minute: int = 0, day: int = 1) -> datetime:
    """A moment of January 2150."""
    return datetime(2150, 1, day, hour, minute)


def read_to(path: Path, folder: Path, config: Meds = CONFIG) -> tuple[Facts, dict[str, pl.DataFrame]]:
    """Read into a new folder; events and stays carry the data set's own subject (``site``)."""
    folder.mkdir()
    facts = read(config, path, folder)
    tables = {name: pl.DataFrame(read_table(folder / f"{name}.parquet")) for name in TABLES}
    people = tables["identifiers"].with_columns(pl.col("site_id").cast(pl.Int64).alias("site"))
    for name in ("events", "stays"):
        tables[name] = tables[name].join(people, on="subject_id", how="left", maintain_order="left")
    return facts, tables


def test_rows_become_events(tmp_path: Path, write_meds: Write) -> None:
    """Codes as they are; clinical variables in their units, whoever wrote the code; scores as numbers."""
    facts, tables = read_to(write_meds(), tmp_path / "out")
    assert facts.unit == "patient"
    assert facts.tables == {"events": 9, "stays": 0, "labels": 0, "codes": 8, "subjects": 2}
    assert facts.counts == facts.dropped == {}
    assert list(EVENT_COLUMNS) == tables["events"].columns[: len(EVENT_COLUMNS)]
    measured = tables["events"].sort("site", "time").drop_nulls("variable")
    assert measured.select("site", "time", "variable", "numeric_value", "text_value").rows() == [
        (1, at(1), "heart_rate", 88.0, None),
        (1, at(2), "temperature", 37.0, None),
        (1, at(3), "gcs_eye", 2.0, "To Pain"),
        (2, at(2), "glucose", 100.0, None),
        (2, at(4), "glucose", pytest.approx(180.156, rel=1e-5), None),
    ]
    assert tables["events"].filter(pl.col("time").is_null())["code"].to_list() == ["GENDER//F"]
    assert tables["identifiers"]["subject_id"].is_sorted()
    assert not set(tables["identifiers"]["subject_id"]) & {1, 2}


def test_codes_are_described_by_the_data_set(tmp_path: Path, write_meds: Write) -> None:
    """Description and whether the metadata know the code."""
    _, tables = read_to(write_meds(), tmp_path / "out")
    codes = {row["code"]: row for row in tables["codes"].iter_rows(named=True)}
    assert codes["LAB//220045//bpm"]["description"] == "Heart Rate"
    assert codes["LAB//220045//bpm"]["named"] is True
    assert codes["LAB//223761//°F"]["named"] is False
    assert (codes["LAB//50931//mg/dL"]["readings"], codes["LAB//50931//mg/dL"]["variable"]) == (1, "glucose")


def test_when_it_was_known(tmp_path: Path, write_meds: Write, shard: Shard) -> None:
    """The data set's own column; without it the stated delay of the longest beginning of the code."""
    config = Meds(kind="meds", delay_minutes={"": 5, "LAB//": 60, "LAB//220045": 0})
    _, tables = read_to(write_meds(), tmp_path / "delays", config)
    delays = tables["events"].with_columns((pl.col("known_time") - pl.col("time")).alias("delay"))
    assert dict(delays.drop_nulls("time").select("code", "delay").rows()) == {
        "MEDS_BIRTH": timedelta(minutes=5),
        "LAB//220045//bpm": timedelta(0),
        "LAB//223761//°F": timedelta(minutes=60),
        "CHART//220739//UNK": timedelta(minutes=5),
        "LAB//50931//mg/dL": timedelta(minutes=60),
        "LAB//50931//mmol/L": timedelta(minutes=60),
        "DIAGNOSIS//ICD//10//A419": timedelta(minutes=5),
    }
    rows = [(1, at(1), "LAB//220045//bpm", 88.0, None), (1, at(2), "LAB//220045//bpm", 89.0, None)]
    known = pa.array([at(1, 30), None], pa.timestamp("us"))
    _, tables = read_to(write_meds(shard(rows, known_time=known), folder="own"), tmp_path / "known", config)
    assert tables["events"]["known_time"].to_list() == [at(1, 30), at(2)]


def test_roles_come_from_the_publisher(tmp_path: Path, write_meds: Write, labels: Callable[..., pa.Table]) -> None:
    """train, tuning and held_out; a split of another name gives none and is counted."""
    rows = [(1, at(5), True), (2, at(6), False)]
    for splits, roles, counts in (
        ({1: "train", 2: "held_out"}, ["train", "test"], {}),
        ({1: "tuning", 2: "other"}, ["validation", None], {"subject_in_another_split": 1}),
        ({2: "tuning"}, [None, "validation"], {"subject_without_split": 1}),
    ):
        folder = f"set{len(list(tmp_path.iterdir()))}"
        path = write_meds(folder=folder, splits=splits, labels=[labels(rows)])
        facts, tables = read_to(path, tmp_path / f"{folder}.out", Meds(kind="meds", labels="labels"))
        assert tables["stays"].sort("site")["publisher_role"].to_list() == roles
        assert facts.counts == counts | {"age_over_89": 1}


@pytest.fixture
def labels() -> Callable[..., pa.Table]:
    """A label table of the standard's schema from (subject, prediction time, value)."""

    def table(rows: list[tuple[Any, ...]], column: str = "boolean_value") -> pa.Table:
        schema = meds.LabelSchema.schema()
        names = ("subject_id", "prediction_time", column)
        made = pa.table(
            {name: pa.array([row[at] for row in rows], schema.field(name).type) for at, name in enumerate(names)}
        )
        meds.LabelSchema.validate(made)
        return made

    return table


def test_a_label_is_a_stay(tmp_path: Path, write_meds: Write, labels: Callable[..., pa.Table]) -> None:
    """It begins the stated hours before its prediction and ends with it; age and gender come from codes."""
    rows = [(1, at(5), True), (1, at(7), False), (2, at(6), False)]
    config = Meds(kind="meds", labels="labels", observation_hours=4)
    facts, tables = read_to(write_meds(labels=[labels(rows[:1]), labels(rows[1:])]), tmp_path / "out", config)
    stays = tables["stays"].join(tables["labels"].drop("row_id"), on="stay_id").sort("site", "start")
    assert stays.select("site", "start", "end", "boolean_value").rows() == [
        (1, at(1), at(5), 1),
        (1, at(3), at(7), 0),
        (2, at(2), at(6), 0),
    ]
    assert stays["age"].to_list() == [pytest.approx(60.0, abs=0.01)] * 2 + [90.0]
    assert stays["age_group"].to_list() == ["45 to 64"] * 2 + ["80 and over"]
    assert stays["gender"].to_list() == ["F", "F", None]
    assert stays["has_series"].to_list() == [True, True, True]
    assert stays["stay_id"].n_unique() == 3
    assert facts.tables["labels"] == 3
    assert facts.counts == {"age_over_89": 1}


def test_labels_that_cannot_be_trusted(tmp_path: Path, write_meds: Write, labels: Callable[..., pa.Table]) -> None:
    """Equal rows are one; contradictions, strangers and unknown words are left out, and counted."""
    rows = [(1, at(5), "ill"), (1, at(5), "ill"), (1, at(6), "ill"), (1, at(6), "well"), (2, at(7), "odd"),
            (3, at(7), "ill"), (2, at(8), "well")]  # fmt: skip
    config = Meds(kind="meds", labels="labels/0.parquet", categories=("well", "ill"))
    path = write_meds(labels=[labels(rows, "categorical_value")])
    facts, tables = read_to(path, tmp_path / "out", config)
    assert facts.counts == {
        "age_over_89": 1,
        "label_conflict": 2,
        "label_of_unknown_subject": 1,
        "same_label_twice": 1,
        "unknown_category": 1,
    }
    assert facts.dropped == {"labels": 4}
    both = tables["stays"].join(tables["labels"], on="stay_id").sort("site")
    assert both.select("site", "end", "categorical_value").rows() == [(1, at(5), 1), (2, at(8), 0)]


FAULTY = [
    ("row_without_subject", (None, at(1), "A", 1.0, None)),
    ("row_without_code", (1, at(1), None, 1.0, None)),
    ("row_without_code", (1, at(1), "", 1.0, None)),
    ("impossible_time", (1, datetime(1, 1, 1), "A", 1.0, None)),
    ("impossible_time", (1, datetime(2900, 1, 1), "A", 1.0, None)),
]


@pytest.mark.parametrize(("reason", "row"), FAULTY)
def test_rows_that_cannot_be_placed_are_counted(
    reason: str, row: tuple[Any, ...], tmp_path: Path, write_meds: Write
) -> None:
    """They are left out, against the tolerance."""
    names = ("subject_id", "time", "code", "numeric_value", "text_value")
    schema = pa.schema([field.with_nullable(True) for field in meds.DataSchema.schema()])
    good = (1, at(1), "A", 1.0, None)
    table = pa.Table.from_pylist([dict(zip(names, one, strict=True)) for one in (good, row)], schema)
    facts, tables = read_to(write_meds(table), tmp_path / "out")
    assert facts.counts == {reason: 1}
    assert facts.dropped == {"events": 1}
    assert tables["events"].height == 1


def test_a_number_that_is_none(tmp_path: Path, write_meds: Write, shard: Shard) -> None:
    """Infinities and NaN are no readings; what was written stays as text."""
    rows = [(1, at(1), "LAB//220045//bpm", value, None) for value in (float("inf"), float("nan"), 80.0)]
    facts, tables = read_to(write_meds(shard(rows)), tmp_path / "out")
    assert facts.counts == {"number_not_finite": 2}
    assert sorted(tables["events"].select("numeric_value", "text_value").rows(), key=str) == [
        (80.0, None),
        (None, "NaN"),
        (None, "inf"),
    ]


def test_rows_out_of_order_are_sorted_and_counted(tmp_path: Path, write_meds: Write, shard: Shard) -> None:
    """One subject's times run backwards; a row without a time comes first."""
    rows = [
        (1, at(3), "A", 1.0, None),
        (1, at(2), "A", 2.0, None),
        (2, at(1), "A", 1.0, None),
        (2, None, "B", None, None),
    ]
    facts, tables = read_to(write_meds(shard(rows)), tmp_path / "out")
    assert facts.counts == {"subject_out_of_order": 2}
    assert tables["events"].sort("site", maintain_order=True).select("site", "time").rows() == [
        (1, at(2)),
        (1, at(3)),
        (2, None),
        (2, at(1)),
    ]


def remade(table: pa.Table, name: str, kind: pa.DataType) -> pa.Table:
    """The table with a column of another type."""
    position = table.schema.names.index(name)
    return table.set_column(position, name, table[name].cast(kind, safe=False))


REFUSED: list[tuple[str, Callable[[pa.Table], list[pa.Table]], str]] = [
    ("subject as text", lambda t: [remade(t, "subject_id", pa.string())], "another type in column subject_id"),
    ("time in ns", lambda t: [remade(t, "time", pa.timestamp("ns"))], "another type in column time"),
    ("time with a zone", lambda t: [remade(t, "time", pa.timestamp("us", "UTC"))], "another type in column time"),
    ("number as float64", lambda t: [remade(t, "numeric_value", pa.float64())], "another type in column numeric_value"),
    ("no code", lambda t: [t.drop_columns(["code"])], "has no column code"),
    ("code twice", lambda t: [t.append_column("code", t["code"])], "has column code 2 times"),
    ("a subject in two shards", lambda t: [t, t.slice(3, 2)], "shard 2 holds subjects of another shard"),
    ("nothing", lambda t: [t.slice(0, 0)], "the data set holds no event"),
]


@pytest.mark.parametrize(("change", "wrong"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_what_breaks_the_standard_is_refused(
    change: Callable[[pa.Table], list[pa.Table]],
    wrong: str,
    tmp_path: Path,
    write_meds: Write,
    shard: Shard,
    refusal: Callable[[MedaiError], str],
) -> None:
    """With the column and the type that the standard asks for; no value is shown."""
    rows = [(101, at(1), "LAB//220045//bpm", 88.0, None), (101, at(2), "Secret", 1.0, None)] * 3
    rows = [(101 + position // 3, *row[1:]) for position, row in enumerate(rows)]
    path = write_meds(*change(shard(rows)))
    with pytest.raises(DataRefused) as caught:
        read_to(path, tmp_path / "out")
    told = refusal(caught.value)
    assert wrong in told
    assert "Secret" not in told
    assert "101" not in told


def test_further_columns_are_allowed(tmp_path: Path, write_meds: Write, shard: Shard) -> None:
    """As the standard says; one of another type than medai's own of the same name is passed over."""
    rows = [(1, at(1), "A", 1.0, None)]
    table = shard(rows, ward=pa.array(["x"]), known_time=pa.array(["soon"]), variable=pa.array(["heart_rate"]))
    facts, tables = read_to(write_meds(table), tmp_path / "out")
    assert tables["events"].select("known_time", "variable").rows() == [(at(1), None)]
    assert facts.counts == {"column_of_another_type": 1, "table_with_extra_columns": 1}


@pytest.mark.parametrize("missing", ["data", "metadata/codes.parquet"])
def test_a_part_that_is_missing(missing: str, write_meds: Write, refusal: Callable[[MedaiError], str]) -> None:
    """Its name is told."""
    path = write_meds()
    (path / missing).rename(path / "elsewhere")
    with pytest.raises(DataRefused) as caught:
        raw_files(CONFIG, path)
    assert missing in refusal(caught.value)


@pytest.mark.parametrize("damage", ["cut", "flipped", "text"])
def test_a_damaged_shard(
    damage: str, tmp_path: Path, write_meds: Write, shard: Shard, refusal: Callable[[MedaiError], str]
) -> None:
    """Cut short, a flipped byte under a page checksum, or no Parquet at all."""
    path = write_meds()
    file = path / "data" / "train" / "0.parquet"
    rows = [(1, at(1), f"A{number}", float(number), None) for number in range(2000)]
    pq.write_table(shard(rows), file, write_page_checksum=True, compression="none")
    data = bytearray(file.read_bytes())
    if damage == "cut":
        data = data[:-100]
    elif damage == "flipped":
        data[1000] ^= 1
    else:
        data = bytearray(b"subject_id,time,code\n")
    file.write_bytes(data)
    with pytest.raises(DataRefused) as caught:
        read_to(path, tmp_path / "out")
    assert "PAR1" not in refusal(caught.value)


def test_labels_of_another_schema(
    tmp_path: Path, write_meds: Write, labels: Callable[..., pa.Table], refusal: Callable[[MedaiError], str]
) -> None:
    """The label schema allows no further column, and the files of one task are alike."""
    config = Meds(kind="meds", labels="labels")
    plain = labels([(1, at(5), True)])
    wide = plain.append_column("ward", pa.array(["x"]))
    for position, (tables, wrong) in enumerate(
        (([wide], "further columns"), ([plain, labels([(2, at(5), 3)], "integer_value")], "different columns"))
    ):
        path = write_meds(folder=f"set{position}", labels=tables)
        with pytest.raises(DataRefused) as caught:
            read_to(path, tmp_path / f"out{position}", config)
        assert wrong in refusal(caught.value)


def test_two_splits_of_one_subject(tmp_path: Path, write_meds: Write, refusal: Callable[[MedaiError], str]) -> None:
    """Nobody stands on both sides."""
    path = write_meds(splits={1: "train"})
    twice = pa.table({"subject_id": pa.array([1, 1]), "split": pa.array(["train", "held_out"])})
    pq.write_table(twice, path / "metadata" / "subject_splits.parquet")
    with pytest.raises(DataRefused) as caught:
        read_to(path, tmp_path / "out")
    assert "two splits" in refusal(caught.value)


def test_shards_and_parts_change_no_byte(
    tmp_path: Path, write_meds: Write, shard: Shard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same subjects in one shard or five, sorted at once or in nine parts."""
    rows = [
        (subject, at(hour, minute), code, float(minute), None)
        for subject in range(1, 41)
        for hour in range(5)
        for minute, code in ((0, "LAB//220045//bpm"), (0, "LAB//50931//mg/dL"), (7, "A"))
    ]
    whole = write_meds(shard(rows), folder="whole")
    cut = write_meds(*(shard(rows[at * 120 : (at + 1) * 120]) for at in (3, 0, 4, 1, 2)), folder="cut")
    read_to(whole, tmp_path / "one")
    monkeypatch.setattr(snapshot, "ROWS_A_PART", 70)
    (tmp_path / "nine").mkdir()
    snapshot.write_snapshot(CONFIG, find(cut, None), tmp_path / "nine", rows_a_part=70)
    for name in TABLES:
        one, nine = (sha256_of_file(tmp_path / folder / f"{name}.parquet") for folder in ("one", "nine"))
        assert one == nine, name


def test_a_vocabulary_may_name_codes() -> None:
    """Items of the source ``meds`` are codes, whole or before the unit; the longest beginning counts."""
    data = load_vocabulary("benchmark17").model_dump()
    data["variables"]["glucose"]["items"]["meds"] = [
        {"table": "data", "codes": ["LOINC//2345-7"]},
        {"table": "data", "codes": ["GLU"], "unit": "mmol/L"},
    ]
    codes = Codes(Vocabulary.model_validate(data), None)
    whole, unit, short = (codes.recipe(code) for code in ("LOINC//2345-7", "LOINC//2345-7//mmol/L", "GLU"))
    assert whole.variable == unit.variable == short.variable == "glucose"
    assert (whole.multiply, unit.multiply, short.multiply) == (1.0, 18.0156, 18.0156)
    assert whole.priority > short.priority
    assert codes.recipe("LOINC//9").variable is None
    data["variables"]["glucose"]["items"]["meds"] = [{"table": "data", "codes": ["A"], "ids": [1]}]
    with pytest.raises(ValidationError, match="by ids or by codes"):
        Vocabulary.model_validate(data)


def test_item_numbers_may_be_those_of_one_source() -> None:
    """CareVue's heart rate is an item of MIMIC-III; MIMIC-IV has none of that number."""
    vocabulary = load_vocabulary("benchmark17")
    assert Codes(vocabulary, "mimic3").recipe("CHART//211//BPM").variable == "heart_rate"
    assert Codes(vocabulary, "mimic4").recipe("CHART//211//BPM").variable is None
    assert Codes(vocabulary, None).recipe("CHART//211//BPM").variable == "heart_rate"
    assert Codes(vocabulary, None).recipe("DIAGNOSIS//211").variable is None


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({"vocabulary": "benchmark71"}, "did you mean 'benchmark17'"),
        ({"delay_minutes": {"LAB": -1}}, "0 minutes or more"),
        ({"labels": "../labels"}, "below the data folder"),
        ({"categories": ["a", "a"]}, "named once"),
    ],
)
def test_a_misspelt_source_is_refused(change: dict[str, Any], wrong: str) -> None:
    """Before any data is read."""
    with pytest.raises(ValidationError, match=wrong):
        Meds(kind="meds", **change)


def test_what_a_problem_may_speak_of() -> None:
    """The vocabulary's variables, and the stays' own columns."""
    known = names(CONFIG)
    assert known is not None
    assert set(known.variables) == set(load_vocabulary("benchmark17").variables)
    assert known.static["gender"] == ("F", "M")
    assert "record_fault" not in known.static


def test_the_suite_passes_events_without_stays(tmp_path: Path, write_meds: Write) -> None:
    """A data set without stays is sound: predictions can be placed by windows."""
    workspace = Workspace(tmp_path / "home")
    made = ingest(workspace, CONFIG, write_meds()).record
    report = validate(workspace, made, catalogue_suite("meds")).record
    assert report.passed
    assert report.tables == {"events": 9, "stays": 0, "labels": 0, "codes": 8}
    assert report.set_aside == {}
    assert report.warned == {"unknown_code": 7}


def test_the_suite_has_every_variables_limits() -> None:
    """The ranges of both vocabularies, in their words."""
    judged = {
        rule.reason.removeprefix("implausible_"): (rule.kwargs["min_value"], rule.kwargs["max_value"])
        for rule in load_suite(catalogue_suite("meds")).rules
        if rule.reason.startswith("implausible_") and rule.table == "events"
    }
    assert judged == {
        name: (variable.plausible.min, variable.plausible.max)
        for vocabulary in vocabularies()
        for name, variable in load_vocabulary(vocabulary).variables.items()
    }


@pytest.mark.parametrize("source", ["mimic3", "mimic4"])
def test_the_suite_knows_every_fault_of_a_stay(source: str) -> None:
    """An exported stay whose record contradicts itself is set aside here as it was there."""
    faults: dict[str, dict[str, str]] = {}
    for suite in (source, "meds"):
        rules = load_suite(catalogue_suite(suite)).rules
        faults[suite] = {rule.kwargs["value_set"][0]: rule.reason for rule in rules if rule.column == "record_fault"}
    assert faults[source] == faults["meds"]
    assert faults["meds"]


def test_predictions_are_placed_by_windows(tmp_path: Path, write_meds: Write, shard: Shard) -> None:
    """A data set without stays answers a cohort of windows, and each subject's side is at hand."""
    rows = [
        (subject, at(hour), code, 80.0, None)
        for subject in range(1, 6)
        for hour, code in ((1, "ADMISSION"), (3, "LAB//220045//bpm"), (9, "MEDS_DEATH" if subject % 2 else "DISCHARGE"))
    ]
    splits = {1: "train", 2: "train", 3: "tuning", 4: "held_out"}
    workspace = Workspace(tmp_path / "home")
    made = ingest(workspace, CONFIG, write_meds(shard(rows), splits=splits)).record
    quality = validate(workspace, made, catalogue_suite("meds")).record
    definition = Windows.model_validate(
        {
            "kind": "windows",
            "predicates": {"admission": {"code": "ADMISSION"}, "death": {"code": "MEDS_DEATH"}},
            "trigger": "admission",
            "windows": {
                "input": {
                    **{"start": "trigger", "end": "start + 4h", "start_inclusive": True, "end_inclusive": True},
                    "index_timestamp": "end",
                },
                "target": {
                    **{"start": "input.end", "end": None, "start_inclusive": False, "end_inclusive": True},
                    "label": "death",
                },
            },
        }
    )
    output = Binary(kind="binary", label="label", classes={0: "left", 1: "died"}, positive="died")
    cohort = select(workspace, made, quality, definition, {"death": output}).record
    assert cohort.classes == {"death": {"left": 2, "died": 3}}
    subjects = read_table(workspace.folder("ingest", made.key) / "subjects.parquet")
    assert sorted(map(str, subjects["publisher_role"].to_pylist())) == ["None", "test", "train", "train", "validation"]
