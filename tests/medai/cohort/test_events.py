"""Events are read in blocks of whole subjects."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest

from medai import tables
from medai.cohort import events
from medai.errors import DataRefused

Folders = Callable[[list[int]], tuple[Path, Path]]


@pytest.fixture
def folders(put: Callable[..., Any], event_tables: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Folders:
    """A snapshot and its validation with an event of each subject in this order, stored three to a row group."""

    def make(subjects: list[int]) -> tuple[Path, Path]:
        monkeypatch.setattr("medai.tables.parquet.ROWS_IN_GROUP", 3)
        monkeypatch.setattr(events, "ROWS", 4)
        made = event_tables([(0, hour, hour, "HR", float(hour)) for hour in range(len(subjects))])
        named = made["events"].with_columns(subject_id=pl.Series(subjects, dtype=pl.Int64))
        workspace, snapshot, quality = put({**made, "events": named}, "events", (("events", 0, "odd"),))
        return workspace.folder("ingest", snapshot.key), workspace.folder("validate", quality.key)

    return make


def test_a_subject_is_never_cut(folders: Folders) -> None:
    """Blocks end between subjects, however the row groups lie; what was set aside is in none."""
    subjects = [1, 1, 2, 2, 2, 2, 2, 2, 2, 3, 4, 4, 4, 4, 5]
    blocks = list(events.kept_events(*folders(subjects), ["subject_id", "numeric_value"]))
    found = [block["subject_id"].unique().to_list() for block in blocks]
    assert len(blocks) > 2
    assert sorted(subject for block in found for subject in block) == [1, 2, 3, 4, 5]
    assert pl.concat(blocks)["numeric_value"].to_list() == [float(hour) for hour in range(1, 15)]


def test_a_snapshot_without_events_is_one_empty_block(
    put: Callable[..., Any], event_tables: Callable[..., Any]
) -> None:
    """So that whatever is asked of events has an answer of the right columns."""
    workspace, snapshot, quality = put(event_tables([]), "events")
    folders = workspace.folder("ingest", snapshot.key), workspace.folder("validate", quality.key)
    blocks = list(events.kept_events(*folders, ["subject_id", "time"]))
    assert [(block.height, block.columns) for block in blocks] == [(0, ["subject_id", "time"])]


def test_a_table_that_cannot_be_read_is_refused(folders: Folders) -> None:
    """Missing, without a column, or damaged, as for every table."""
    raw, aside = folders([1, 2, 3, 4, 5, 6, 7])
    with pytest.raises(DataRefused, match="table events lacks column no_such_column"):
        list(events.kept_events(raw, aside, ["no_such_column"]))
    whole = (raw / "events.parquet").read_bytes()
    page = pq.ParquetFile(raw / "events.parquet").metadata.row_group(1).column(0)
    data = bytearray(whole)
    data[page.data_page_offset + page.total_compressed_size - 1] ^= 1
    (raw / "events.parquet").write_bytes(data)
    with pytest.raises(DataRefused, match="table events cannot be read"):
        list(events.kept_events(raw, aside, events_columns()))
    (raw / "events.parquet").unlink()
    with pytest.raises(DataRefused, match="table events cannot be read"):
        list(events.kept_events(raw, aside, ["time"]))


def events_columns() -> list[str]:
    """All columns of a snapshot's events."""
    return list(tables.EVENTS)
