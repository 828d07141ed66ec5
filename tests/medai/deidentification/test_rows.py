"""Tables: each column's fate, whatever the format; nothing that is not named gets through."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from medai.deidentification import Key
from medai.deidentification.columns import Definition, read_definition
from medai.deidentification.rows import rewrite_table, rewrite_tables
from medai.errors import ConfigurationError, DataRefused

MAPPING: dict[str, Any] = {
    "subject": "Patient", "identifiers": {"stay": "stay"}, "uids": ["study"], "dates": ["seen"],
    "births": {"born": "1930-01-01"}, "years": ["year"], "ages": ["age"], "drop": ["note"], "empty": ["comment"],
    "keep": ["value"],
}  # fmt: skip
TEXT = """\
patient,stay,study,seen,born,year,age,note,comment,value
0017,5,1.2.3,2020-03-01 10:00:00,1920-05-06,2020,93,"Erika, ""M""\nnew line",Erika,1.50
 0017,6,1.2.4,20200301,1950-01-31,2020,089Y,x,,<5
0018,5,1.2.3,2020-03-01T10:00:00.5Z,1950-01-31,,45.5,x,,
0018,,,yesterday,05/06/1950,old,unknown,x,,"a ""b"" c"
,7,,2020-01-01,,,30,x,,2
"""


@pytest.fixture
def mapping() -> Definition:
    """A mapping that has every fate."""
    return Definition.model_validate(MAPPING)


def test_every_fate(key: Key, mapping: Definition, tmp_path: Path) -> None:
    """Ids, UIDs, dates, births, years, ages; what is not understood is emptied and counted; the rest as it stood."""
    (tmp_path / "in.csv").write_text(TEXT)
    report = rewrite_table(tmp_path / "in.csv", tmp_path / "out.csv", mapping, key)
    assert report["rows"] == 5
    assert report["emptied"] == {"age": 1, "birth": 1, "date": 2, "year": 1}
    table = pl.read_csv(tmp_path / "out.csv", infer_schema=False)
    assert table.columns == ["patient", "stay", "study", "seen", "born", "year", "age", "comment", "value"]
    one, two = key.subject("0017"), key.subject("0018")
    assert table["patient"].to_list() == [one, one, two, two, None]
    five, six = key.identifier("stay", "5"), key.identifier("stay", "6")
    assert table["stay"].to_list() == [five, six, five, None, key.identifier("stay", "7")]
    assert table["study"].to_list()[:3] == [key.uid("1.2.3"), key.uid("1.2.4"), key.uid("1.2.3")]
    days = pl.Series(["2020-03-01", "1930-01-01", "1950-01-31"]).str.to_date() + pl.duration(days=key.days("0017"))
    seen, oldest, born = (str(day) for day in pl.select(days).to_series())
    assert table["seen"].to_list()[:2] == [f"{seen} 10:00:00", seen.replace("-", "")]
    assert str(table["seen"][2]).endswith("T10:00:00.5Z")
    assert table["born"].to_list()[:2] == [oldest, born]
    assert str(table["year"][0]).isdigit()
    assert table["age"].to_list() == ["90", "089Y", "45.5", None, "30"]
    assert table["comment"].null_count() == 5
    assert table["value"].to_list() == ["1.50", "<5", None, 'a "b" c', "2"]
    assert b"Erika" not in (tmp_path / "out.csv").read_bytes()


@pytest.mark.parametrize("ending", [".csv.gz", ".parquet"])
def test_formats_say_the_same(ending: str, key: Key, mapping: Definition, tmp_path: Path) -> None:
    """A gzip stream without time and name, or Parquet with typed columns; equal tables give equal bytes."""
    plain = tmp_path / "in.csv"
    plain.write_text(TEXT)
    source = tmp_path / f"in{ending}"
    if ending == ".parquet":
        table = pl.read_csv(plain, infer_schema=False)
        table.with_columns(pl.col("stay").cast(pl.Float64)).write_parquet(source)
    else:
        source.write_bytes(gzip.compress(TEXT.encode()))
    rewrite_table(plain, tmp_path / "out.csv", mapping, key)
    for name in ("one", "two"):
        rewrite_table(source, tmp_path / f"{name}{ending}", mapping, key)
    assert (tmp_path / f"one{ending}").read_bytes() == (tmp_path / f"two{ending}").read_bytes()
    wanted = pl.read_csv(tmp_path / "out.csv", infer_schema=False)
    if ending == ".csv.gz":
        data = (tmp_path / f"one{ending}").read_bytes()
        assert data[3:10] == bytes(5) + b"\0\xff" or data[4:8] == bytes(4)
        assert gzip.decompress(data) == (tmp_path / "out.csv").read_bytes()
    else:
        assert pl.read_parquet(tmp_path / f"one{ending}").to_dicts() == wanted.to_dicts()


def test_numbers_stay_numbers(key: Key, tmp_path: Path) -> None:
    """For readers that want them; a picture's pseudonym is the same number in hexadecimal digits."""
    definition = Definition.model_validate({"subject": "id", "numbers": True, "keep": ["x"]})
    pl.DataFrame({"id": [17, 18, None], "x": [1.5, None, 2.0]}).write_parquet(tmp_path / "in.parquet")
    rewrite_table(tmp_path / "in.parquet", tmp_path / "out.parquet", definition, key)
    table = pl.read_parquet(tmp_path / "out.parquet")
    assert table["id"].to_list() == [int(key.subject("17")[1:], 16), int(key.subject("18")[1:], 16), None]
    assert table["x"].to_list() == [1.5, None, 2.0]


def test_a_folder_of_tables_by_the_mapping_that_medai_brings(key: Key, tmp_path: Path) -> None:
    """Tables join by their ids; a file that the mapping does not have is set aside, whatever its name."""
    source = tmp_path / "mimic"
    (source / "hosp").mkdir(parents=True)
    (source / "hosp" / "PATIENTS.csv").write_text(
        "subject_id,gender,anchor_age,anchor_year,anchor_year_group,dod\n10000032,F,91,2180,2014 - 2016,2180-09-09\n"
    )
    (source / "hosp" / "labevents.csv").write_text(
        "labevent_id,subject_id,hadm_id,itemid,charttime,value,valuenum,comments\n"
        "1,10000032,,50912,2180-05-06 22:25:00,told by Erika,0.4,Erika\n"
    )
    (source / "Erika.csv").write_text("name\nErika\n")
    report = rewrite_tables(source, tmp_path / "out", read_definition(Path("mimic4")), key)
    assert report["set_aside"] == {"no_table_of_the_mapping": 1}
    written = sorted((tmp_path / "out").iterdir())
    assert [path.name for path in written] == ["labevents.csv", "patients.csv", "report.json"]
    patients, labs = (pl.read_csv(tmp_path / "out" / f"{name}.csv") for name in ("patients", "labevents"))
    assert patients["subject_id"][0] == labs["subject_id"][0] == key.number("subject", "10000032")
    assert patients["anchor_age"][0] == 90
    assert labs.select("value", "comments").row(0) == (None, None)
    assert "Erika" not in str([path.read_text() for path in written])


@pytest.mark.parametrize(
    ("text", "error", "told"),
    [
        ("patient,ward\n1,2\n", ConfigurationError, "columns that the mapping does not name.*1 unnamed, at 2: ward"),
        ("Mustermann,2\nMeier,3\n", ConfigurationError, "2 unnamed, at 1, 2\n"),
        ("seen\n2020-01-01\n", ConfigurationError, "dates, but no column that says whose"),
        ("patient,Patient\n1,2\n", DataRefused, "the same column twice"),
        ("patient,value\n1\n", DataRefused, "cannot be read to its end"),
        ("", DataRefused, "cannot be read to its end|a table is empty"),
        ("patient,value\n\xff\xfe,1\n", DataRefused, "cannot be read to its end"),
    ],
)
def test_tables_that_are_refused(
    text: str, error: type[Exception], told: str, key: Key, mapping: Definition, tmp_path: Path
) -> None:
    """In three parts, with nothing left behind and no value repeated."""
    import re

    (tmp_path / "in.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(error) as raised:
        rewrite_table(tmp_path / "in.csv", tmp_path / "out.csv", mapping, key)
    assert re.search(told, str(raised.value), re.DOTALL)
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"drop": ["note", "VALUE"]}, "a column has one fate: value has two"),
        ({"identifiers": {"stay": "7"}}, "a kind of identifier begins with a letter"),
        ({"dropp": ["note"]}, "did you mean 'drop'"),
        ({"births": {"born": "long ago"}}, "births.born"),
    ],
)
def test_mappings_that_are_refused(change: dict[str, Any], told: str, tmp_path: Path) -> None:
    """With what is wrong."""
    import yaml

    (tmp_path / "columns.yaml").write_text(yaml.safe_dump(MAPPING | change))
    with pytest.raises(ConfigurationError, match=told):
        read_definition(tmp_path / "columns.yaml")
    with pytest.raises(ConfigurationError, match="did you mean 'mimic4'"):
        read_definition(Path("mimic5"))
