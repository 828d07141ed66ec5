"""Small MEDS data sets, written through the standard's own schemas: nobody's."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import meds
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

Rows = list[tuple[Any, ...]]


def at(hour: int, minute: int = 0, day: int = 1) -> datetime:
    """A moment of January 2150."""
    return datetime(2150, 1, day, hour, minute)


EVENTS: Rows = [
    (1, None, "GENDER//F", None, None),
    (1, datetime(2090, 1, 1), "MEDS_BIRTH", None, None),
    (1, at(1), "LAB//220045//bpm", 88.0, None),
    (1, at(2), "LAB//223761//°F", 98.6, None),
    (1, at(3), "CHART//220739//UNK", None, "To Pain"),
    (2, datetime(2050, 1, 1), "MEDS_BIRTH", None, None),
    (2, at(2), "LAB//50931//mg/dL", 100.0, None),
    (2, at(4), "LAB//50931//mmol/L", 10.0, None),
    (2, at(5), "DIAGNOSIS//ICD//10//A419", None, None),
]


@pytest.fixture
def shard() -> Callable[..., pa.Table]:
    """A shard of the standard's data schema from (subject, time, code, number, text)."""

    def table(rows: Rows, **further: pa.Array) -> pa.Table:
        names = ("subject_id", "time", "code", "numeric_value", "text_value")
        made = pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in rows], meds.DataSchema.schema())
        for name, column in further.items():
            made = made.append_column(name, column)
        return made

    return table


@pytest.fixture
def write_meds(tmp_path: Path, shard: Callable[..., pa.Table]) -> Callable[..., Path]:
    """Write a data set: one table a shard, splits (all subjects in train, where none are given), and label tables."""

    def write(
        *shards: pa.Table,
        folder: str = "set",
        splits: dict[int, str] | None = None,
        labels: list[pa.Table] | None = None,
        described: tuple[str, ...] = ("LAB//220045//bpm",),
        dataset: str | None = '{"dataset_name": "small"}',
    ) -> Path:
        root = tmp_path / folder
        (root / "data" / "train").mkdir(parents=True)
        (root / "metadata").mkdir()
        shards = shards or (shard(EVENTS),)
        for number, table in enumerate(shards):
            pq.write_table(table, root / "data" / "train" / f"{number}.parquet", write_page_checksum=True)
        codes = [{"code": code, "description": "Heart Rate", "parent_codes": None} for code in described]
        metadata = pa.Table.from_pylist(codes, meds.CodeMetadataSchema.schema())
        meds.CodeMetadataSchema.validate(metadata)
        pq.write_table(metadata, root / "metadata" / "codes.parquet", write_page_checksum=True)
        if splits is None:
            met = [one for table in shards for one in table["subject_id"].drop_null().to_pylist()]
            splits = {one: "train" for one in met if isinstance(one, int)}
        if splits:
            rows = [{"subject_id": subject, "split": split} for subject, split in splits.items()]
            pq.write_table(
                pa.Table.from_pylist(rows, meds.SubjectSplitSchema.schema()),
                root / "metadata" / "subject_splits.parquet",
                write_page_checksum=True,
            )
        if dataset is not None:
            (root / "metadata" / "dataset.json").write_text(dataset)
        for number, table in enumerate(labels or ()):
            (root / "labels").mkdir(exist_ok=True)
            pq.write_table(table, root / "labels" / f"{number}.parquet", write_page_checksum=True)
        return root

    return write
