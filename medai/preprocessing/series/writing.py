"""The arrays of all shards, put together: nothing in a file tells how the table was cut or who worked on a shard."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from medai.preprocessing.series import Series
from medai.preprocessing.series.blocks import Order, block, spread_out
from medai.preprocessing.series.plan import Plan
from medai.preprocessing.series.readings import UNTIMED, Untimed
from medai.records import ArrayFile
from medai.shards import InTable, Place, Shard, Spread, cut, share
from medai.store import Store
from medai.tables import NewArray, read_table, write_array
from medai.threads import each_of

if TYPE_CHECKING:
    import polars as pl

_KINDS = {"last": "float32", "mask": "uint8", "elapsed": "uint8", "summaries": "float32"}
_ALWAYS = ("row_id", "subject_id", "time", "known_time", "numeric_value", "variable", "code")
"""Columns of events that a store is given: those that any preprocessing of series reads. No text is among them."""
_AT_ONCE = 2
"""Shards that are worked on at once in this process: while one is read, another is put on its grid."""


class Events(NamedTuple):
    """A snapshot's events as the stage finds them.

    Attributes:
        path: of the table.
        key: the snapshot's.
        aside: row_id of the rows that validation set aside; sorted.
    """

    path: Path
    key: str
    aside: np.ndarray

    @classmethod
    def of(cls, raw: Path, validated: Path, key: str) -> Events:
        """The events of a snapshot's folder that the validation's folder names as kept."""
        import polars as pl

        rows = pl.DataFrame(read_table(validated / "set_aside.parquet")).filter(pl.col("table") == "events")
        return cls(raw / "events.parquet", key, rows["row_id"].sort().to_numpy())


class Written(NamedTuple):
    """What was written of the readings.

    Attributes:
        arrays: name → file.
        untimed: kept events without a time of the samples' subjects: subject_id, known_time, code, numeric_value.
        empty: samples without a reading.
        later: readings that were taken inside a window and known only after it.
    """

    arrays: dict[str, ArrayFile]
    untimed: pl.DataFrame
    empty: int
    later: int


def write(
    events: Events,
    plan: Plan,
    layout: Literal["sample", "stay"],
    config: Series,
    folder: Path,
    spread: Spread | None,
    blocks: Store,
) -> Written:
    """Write the arrays of a plan.

    Args:
        spread: who works on the shards; threads of this process by default.
        blocks: where they put what comes of them.

    Raises:
        DataRefused, ServiceFailed: a shard cannot be read, or a block cannot be handed over.
    """
    names = dict.fromkeys(_KINDS, config.variables) | {"summaries": config.summary_names}
    placed = _placed(events, spread)
    chosen: list[slice] = []

    def orders() -> Iterator[Order]:
        for shard, place in placed:
            span, spans = plan.spans.of(shard.low, shard.high)
            if span.start == span.stop:
                continue
            chosen.append(span)
            least, largest = shard.row_ids
            low, high = events.aside.searchsorted(least), events.aside.searchsorted(largest, side="right")
            yield Order(place, layout, config, spans, events.aside[low:high])

    files: dict[str, NewArray] = {}
    untimed: list[Untimed] = []
    empty = later = 0
    made = spread_out(orders(), spread, blocks) if spread else each_of(orders(), block, most=_AT_ONCE)
    with contextlib.ExitStack() as closing:
        closing.callback(made.close)
        for name, shape in plan.shapes.items():
            files[name] = NewArray(folder / f"{name}.npy", _KINDS[name], shape)
            closing.callback(files[name].close)
        for number, found in enumerate(made):
            rows = plan.rows(chosen[number])
            for name, values in found.arrays.items():
                files[name].put(rows, values)
            untimed.append(found.untimed)
            empty, later = empty + found.empty, later + found.later
    arrays = {name: file.described(names[name]) for name, file in files.items()}
    arrays |= {name: write_array(folder / f"{name}.npy", values) for name, values in plan.of_samples.items()}
    return Written(arrays, _table(untimed, (*config.static, *config.categories)), empty, later)


def _placed(events: Events, spread: Spread | None) -> Sequence[tuple[Shard, Place]]:
    """The shards of the events, and where whoever works on them finds them."""
    if spread is None or spread.store is None:
        shards = cut(events.path, spread.rows) if spread else cut(events.path)
        return [(shard, InTable(events.path, shard)) for shard in shards]
    return share(events.path, events.key, _ALWAYS, spread.store, spread.rows)


def _table(untimed: Sequence[Untimed], codes: tuple[str, ...]) -> pl.DataFrame:
    """All shards' events without a time, in the snapshot's order."""
    import polars as pl

    parts = [Untimed(*(np.empty(0, kind) for kind in ("int64", "int64", "int64", "float32"))), *untimed]
    whole = Untimed(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
    known = pl.Series("known_time", whole.known_time)
    return pl.DataFrame(
        {
            "subject_id": whole.subject,
            "known_time": known.set(known == int(UNTIMED), None).cast(pl.Datetime("us")),
            "code": pl.Series("code", codes, pl.String).gather(whole.code),
            "numeric_value": whole.value,
        }
    )
