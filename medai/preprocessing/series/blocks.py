"""The work on one shard: its events become the block of arrays of its subjects' samples. Pure, and done anywhere."""

from __future__ import annotations

import io
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Literal, NamedTuple

import numpy as np

from medai.errors import ConfigurationError
from medai.preprocessing.series import LIBRARIES, SUMMARIES, VERSION, Series, grid, stays
from medai.preprocessing.series.readings import Spans, Untimed, columns_of, readings
from medai.shards import Place, Spread
from medai.store import Store


@dataclass(frozen=True)
class Order:
    """What is to be done for a shard.

    Attributes:
        place: of its events.
        spans: of its subjects.
        aside: row_id of the rows in it that validation set aside; sorted.
    """

    place: Place
    layout: Literal["sample", "stay"]
    config: Series
    spans: Spans
    aside: np.ndarray


class Block(NamedTuple):
    """What came of a shard.

    Attributes:
        arrays: name → the rows of its spans, span after span.
        untimed: what its subjects' static columns are made of.
        empty: samples without a reading.
        later: readings that were taken inside a window and known only after it.
    """

    arrays: dict[str, np.ndarray]
    untimed: Untimed
    empty: int
    later: int


def block(order: Order) -> Block:
    """Read a shard and make its arrays.

    Raises:
        DataRefused, ServiceFailed: the shard cannot be read.
    """
    config, spans = order.config, order.spans
    seen, untimed = readings(order.place.read(*columns_of(config)), spans, order.aside, config)
    arrays, later = (stays if order.layout == "stay" else grid).arrays(seen, spans, config)
    told = arrays["summaries"].reshape(len(arrays["summaries"]), len(config.variables), len(SUMMARIES))
    ends = (np.cumsum(spans.rows) - spans.rows)[spans.sample] + spans.sample_row
    return Block(arrays, untimed, int((told[ends, :, -1].sum(axis=1) == 0).sum()), later)


@dataclass(frozen=True)
class Delivery:
    """An order whose block goes into a store.

    Attributes:
        name: of the file there.
    """

    order: Order
    store: Store
    name: str


class Delivered(NamedTuple):
    """A block in a store.

    Attributes:
        sha256: of the file.
        empty, later: as ``Block`` says them.
        made_with: what its bytes depend on besides the order.
    """

    name: str
    sha256: str
    empty: int
    later: int
    made_with: dict[str, str]


def deliver(delivery: Delivery) -> Delivered:
    """Make a block and put it into the store; only its name and counts come back."""
    made = block(delivery.order)
    data = io.BytesIO()
    untimed = {f"untimed.{name}": values for name, values in made.untimed._asdict().items()}
    np.savez(data, allow_pickle=False, **made.arrays, **untimed)
    sha256 = delivery.store.put(delivery.name, data.getvalue())
    return Delivered(delivery.name, sha256, made.empty, made.later, made_with())


def fetch(delivered: Delivered, store: Store) -> Block:
    """A delivered block, which is removed from the store.

    Raises:
        ConfigurationError: it was made with other libraries than those here.
        ServiceFailed: it is gone or damaged.
    """
    here = made_with()
    if delivered.made_with != here:
        differing = sorted(name for name in here if delivered.made_with.get(name) != here[name])
        raise ConfigurationError(
            "a worker has other versions than this machine",
            expected=", ".join(f"{name} {here[name]}" for name in differing),
            received=", ".join(f"{name} {delivered.made_with.get(name)}" for name in differing),
            action="install requirements.lock on every worker",
        )
    with np.load(io.BytesIO(store.get(delivered.name, delivered.sha256)), allow_pickle=False) as file:
        arrays = dict(file)
    store.remove(delivered.name)
    untimed = Untimed(*(arrays.pop(f"untimed.{name}") for name in Untimed._fields))
    return Block(arrays, untimed, delivered.empty, delivered.later)


def spread_out(orders: Iterable[Order], spread: Spread, store: Store) -> Generator[Block]:
    """The blocks of some orders that are worked on elsewhere; nothing is left in the store.

    Args:
        store: where workers put them; what a run that was killed left there goes first.
    """
    store.clear()
    try:
        deliveries = (Delivery(order, store, f"{number}.npz") for number, order in enumerate(orders))
        for delivered in spread.each(deliver, deliveries):
            yield fetch(delivered, store)
    finally:
        store.clear()


def made_with() -> dict[str, str]:
    """The versions that a block's bytes depend on."""
    return {"medai's series": str(VERSION)} | {name: version(name) for name in LIBRARIES}
