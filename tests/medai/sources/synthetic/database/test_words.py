"""The words of the databases agree with the official tables and with medai's own vocabularies."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
import yaml

from medai.sources.synthetic.database.words import words
from medai.vocabularies.phenotypes import load_phenotypes

Database = Callable[..., Path]
Rows = Callable[[Path, str], pl.DataFrame]
DEFINITIONS = yaml.safe_load((Path(__file__).parents[2] / "mimic_definitions.yaml").read_text())
TIME = "%Y-%m-%d %H:%M:%S"


@pytest.mark.parametrize("layout", ["mimic3", "mimic4"])
def test_every_value_has_the_official_type(layout: str, database: Database, rows: Rows) -> None:
    """Columns and their order are the official definition's; each value can be what its column is."""
    folder = database(layout, 300)
    seen = 0
    for file in sorted(folder.rglob("*.csv.gz")):
        name = file.relative_to(folder).as_posix().removesuffix(".csv.gz")
        columns = dict(one.split(":") for one in DEFINITIONS[layout][name.lower()].split())
        table = rows(folder, name)
        assert table.columns == list(columns), name
        seen += table.height > 0
        for column, kind in columns.items():
            texts = table[column].drop_nulls()
            if kind == "integer":
                assert texts.cast(pl.Int64).is_not_null().all(), (name, column)
            elif kind == "numeric":
                assert texts.cast(pl.Float64).is_not_null().all(), (name, column)
            elif kind == "timestamp":
                assert texts.str.to_datetime(TIME).is_not_null().all(), (name, column)
            elif kind == "date":
                assert texts.str.to_date("%Y-%m-%d").is_not_null().all(), (name, column)
    assert seen == 13


def test_illnesses_are_the_benchmarks_phenotypes() -> None:
    """Each of the 25 has an illness; its codes of either version stand for that condition and for no other."""
    known = load_phenotypes("phenotypes25")
    labels = {one.label: name for name, one in known.phenotypes.items()}
    found = set()
    for illness in words().illnesses.values():
        expected = () if illness.group is None else (f"phenotype_{labels[illness.group]}",)
        assert known.columns_of(9, illness.icd9[0]) == expected, illness.icd9[1]
        assert known.columns_of(10, illness.icd10[0]) == expected, illness.icd10[1]
        found |= set(expected)
    assert found == set(known.columns)


def test_items_are_known_once() -> None:
    """No item id stands for two things, and what CareVue charts is charted at all."""
    known = words()
    chart = [item.itemid for item in (*known.chart.values(), *known.outputs.values(), *known.inputs.values())]
    chart += [one.itemid for one in known.routine]
    chart += list(known.carevue.items.values())
    assert len(set(chart)) == len(chart)
    assert set(known.carevue.items) == set(known.carevue.labels) <= {*known.chart, *known.outputs}
    assert all(len(known.carevue.coma_scale[name]) == len(texts) for name, texts in known.coma_scale.items())
    assert all(set(one.moves) <= set(known.courses) for one in known.illnesses.values())
