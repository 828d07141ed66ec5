"""Arrays of a series do not tell how its events were cut, nor who worked on them."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest

from medai.cohort import Stays, select
from medai.errors import ConfigurationError, ServiceFailed
from medai.preprocessing import Series, prepare
from medai.preprocessing.series import blocks
from medai.records import Cohort, QualityReport, Snapshot, sha256_of_file
from medai.shards import Spread
from medai.store import Store
from medai.workspace import Workspace

SUBJECTS = 40
GRID = Series(
    kind="series", hours=6, step_minutes=120, variables=("HR", "K"), static=("Age",), categories={"Unit": (1, 2)}
)
COHORTS = {
    "sample": Stays(kind="stays", observation_hours=8),
    "stay": Stays(kind="stays", every_hours=2, first_hours=4),
}
Given = tuple[Workspace, Snapshot, QualityReport, Cohort]


def pickled(work: Callable[[Any], Any], orders: Iterable[Any]) -> Iterator[Any]:
    """A ``medai.shards.Each`` that hands over what another process would get."""
    for order in orders:
        work_there, order_there = _as_received((work, order))
        yield _as_received(work_there(order_there))


def _as_received(sent: Any) -> Any:
    return pickle.loads(pickle.dumps(sent))  # noqa: S301 - our own words


@pytest.fixture
def ward(put: Callable[..., Any], event_tables: Callable[..., Any]) -> Callable[..., Given]:
    """Random readings of many subjects, some without any, in row groups of a given size; some rows set aside."""
    chance = np.random.default_rng(5)
    readings: list[Any] = []
    for subject in range(3, SUBJECTS - 2):
        for _ in range(int(chance.integers(0, 30))):
            hour = float(chance.integers(-4, 60)) / 4
            known = hour + float(chance.integers(0, 12)) / 4 if chance.random() < 0.5 else None
            readings.append((subject, hour, known, str(chance.choice(["HR", "K", "other"])), float(chance.random())))
        if chance.random() < 0.8:
            readings.append((subject, None, None, "Age", float(chance.integers(18, 90))))
            readings.append((subject, None, 3.0, "Unit", float(chance.integers(1, 4))))
            readings.append((subject, None, 5.0, "Unit", None))

    def make(layout: str, rows: int, home: str) -> Given:
        tables = event_tables(readings, subjects=SUBJECTS)
        tables["stays"] = tables["stays"].with_columns(end=pl.col("start") + timedelta(hours=14))
        aside = tuple(("events", row, "planted") for row in range(0, tables["events"].height, 7))
        workspace, snapshot, quality = put(tables, "events", aside, home=home)
        cohort = select(workspace, snapshot, quality, COHORTS[layout], {}).record
        path = workspace.folder("ingest", snapshot.key) / "events.parquet"
        table = pq.read_table(path)
        path.unlink()
        pq.write_table(table, path, row_group_size=rows, write_page_checksum=True)
        return workspace, snapshot, quality, cohort

    return make


def hashes(given: Given, spread: Spread | None) -> dict[str, Any]:
    """Of every file of the stage's folder, once it is made."""
    workspace, snapshot, quality, cohort = given
    made = prepare(workspace, snapshot, quality, cohort, GRID, spread)
    assert not made.reused
    folder = workspace.folder("prepare", made.record.key)
    return {path.name: sha256_of_file(path) for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("layout", ["sample", "stay"])
def test_no_cutting_shows_in_the_arrays(ward: Callable[..., Given], layout: str, tmp_path: Path) -> None:
    """One shard or many, in this process or handed over, by the workspace or a store: the same bytes and record."""
    whole = hashes(ward(layout, 1 << 17, "whole"), None)
    assert {"last.npy", "mask.npy", "elapsed.npy", "summaries.npy", "static.npy", "record.json"} <= whole.keys()
    for rows in (1, 7, 40):
        assert hashes(ward(layout, rows, f"groups-{rows}"), None) == whole
    stores = {"none": None, "memory": Store(f"memory://{layout}"), "file": Store.of(tmp_path / "store")}
    for name, store in stores.items():
        given = ward(layout, 7, f"spread-{name}")
        assert hashes(given, Spread(pickled, store, rows=20)) == whole
        left = list(given[0].root.glob("scratch/**/*.npz"))
        assert left == []
    assert [path.name[:9] for path in (tmp_path / "store").iterdir()] == ["snapshot-"]


def test_few_shards_are_held_at_once(ward: Callable[..., Given]) -> None:
    """The driver asks for a result before it makes many orders: memory does not grow with the table."""
    made, used = [], []

    def counting(work: Callable[[Any], Any], orders: Iterable[Any]) -> Iterator[Any]:
        for number, order in enumerate(orders):
            made.append(number)
            assert len(made) - len(used) <= 1
            yield work(order)
            used.append(number)

    hashes(ward("sample", 7, "few"), Spread(counting, rows=20))
    assert len(used) > 5


def test_a_damaged_block_is_noticed_and_the_run_can_be_repeated(ward: Callable[..., Given], tmp_path: Path) -> None:
    """Nothing half made stays behind, in the workspace or in the store; the next run gives the usual bytes."""
    given, store = ward("stay", 7, "damaged"), tmp_path / "store"

    def damaging(work: Callable[[Any], Any], orders: Iterable[Any]) -> Iterator[Any]:
        for number, delivered in enumerate(pickled(work, orders)):
            if number == 2:
                [path] = store.glob(f"blocks-*/{delivered.name}")
                data = bytearray(path.read_bytes())
                data[-200] ^= 1
                path.write_bytes(data)
            yield delivered

    with pytest.raises(ServiceFailed, match="a file of the store of shards is damaged"):
        hashes(given, Spread(damaging, Store.of(store), rows=20))
    assert list(store.glob("blocks-*")) == []
    assert list((given[0].root / "store" / "prepare").iterdir()) == []
    assert hashes(given, Spread(pickled, Store.of(store), rows=20)) == hashes(ward("stay", 7, "whole"), None)


def test_what_a_killed_run_left_is_removed(ward: Callable[..., Given], tmp_path: Path) -> None:
    """Blocks of the same arrays and workspace go before new ones come."""
    given = ward("sample", 7, "killed")

    def killed(work: Callable[[Any], Any], orders: Iterable[Any]) -> Iterator[Any]:
        assert not list((tmp_path / "store").glob("blocks-*"))
        yield from pickled(work, orders)

    _, snapshot, quality, cohort = given
    key = prepare(ward("sample", 7, "key")[0], snapshot, quality, cohort, GRID).record.key
    Store.of(tmp_path / "store").folder(f"blocks-{key}-alone").put("0.npz", b"left")
    hashes(given, Spread(killed, Store.of(tmp_path / "store"), rows=20))


def test_a_worker_with_other_libraries_is_refused(ward: Callable[..., Given], refusal: Callable[..., str]) -> None:
    """Its bytes might be others than the key promises."""

    def elsewhere(work: Callable[[Any], Any], orders: Iterable[Any]) -> Iterator[Any]:
        for delivered in pickled(work, orders):
            yield delivered._replace(made_with=delivered.made_with | {"numpy": "1.0"})

    with pytest.raises(ConfigurationError, match="a worker has other versions than this machine") as caught:
        hashes(ward("sample", 7, "versions"), Spread(elsewhere))
    assert f"expected: numpy {blocks.made_with()['numpy']}" in refusal(caught.value)
    assert "received: numpy 1.0" in str(caught.value)
