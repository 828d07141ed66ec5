"""The spool: what waits is whole or not there, in the order of its decisions."""

import json
from pathlib import Path

import pytest

from medai.errors import ServiceFailed
from medai.records import sha256_of
from medai.spool import Delivery, Spool
from medai.workspace import Workspace


def delivery(problem: str = "p", seed: int = 0) -> Delivery:
    """One of a problem."""
    keys = {name: f"{number:032x}" for number, name in enumerate(("candidate", "snapshot", "quality", "cohort"))}
    return Delivery.of(
        problem=problem,
        resolved={"name": problem, "b": 1, "a": [0.5, None]},
        run_key="r" * 32,
        splits="5" * 32,
        figures="6" * 32,
        decision="7" * 32,
        scorecards=("8" * 32,),
        rules="9" * 32,
        baselines={"logistic_regression": {"auroc": 0.5}},
        seed=seed,
        overrides=("training.epochs=3",),
        openings=1,
        **keys,
    )


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    """An empty one."""
    return Spool(Workspace(tmp_path))


def test_what_waits_is_read_in_the_order_of_the_decisions(spool: Spool) -> None:
    """Whatever the order in which it was put; dropped, it is gone, also when it was dropped before."""
    assert spool.numbers() == []
    assert spool.read(3) is None
    for number in (12, 3, 100):
        spool.put(number, delivery(seed=number))
    assert spool.numbers() == [3, 12, 100]
    assert spool.read(12) == delivery(seed=12)
    for _ in range(2):
        spool.drop(12)
    assert spool.numbers() == [3, 100]
    assert spool.read(12) is None


def test_equal_deliveries_have_equal_bytes_and_are_written_once(spool: Spool) -> None:
    """No clock, host or path is in them."""
    assert delivery().canonical() == delivery().canonical()
    assert delivery().intact
    assert delivery().key != delivery(seed=1).key
    spool.put(1, delivery())
    before = spool._path(1).stat().st_mtime_ns
    spool.put(1, delivery())
    assert spool._path(1).stat().st_mtime_ns == before


@pytest.mark.parametrize("how", ["another seed", "cut short", "empty", "a folder", "no object"])
def test_an_altered_delivery_is_refused_by_its_line(how: str, spool: Spool) -> None:
    """Its file and the audit's line are named; put again, it is whole."""
    spool.put(7, delivery())
    path = spool._path(7)
    data = path.read_bytes()
    if how == "a folder":
        path.unlink()
        path.mkdir()
    else:
        other = json.dumps(json.loads(data) | {"seed": 9}).encode()
        path.write_bytes({"another seed": other, "cut short": data[:50], "empty": b"", "no object": b"[]"}[how])
    with pytest.raises(ServiceFailed) as caught:
        spool.read(7)
    assert caught.value.wrong == "spool/000000007.json was altered"
    assert "line 7 of the audit" in caught.value.action
    if how != "a folder":
        spool.put(7, delivery())
        assert spool.read(7) == delivery()


def test_a_problem_that_is_a_path_is_refused(spool: Spool) -> None:
    """A lock is named by the problem: a forged one would be made elsewhere, under a hash that holds."""
    told = json.loads(delivery().canonical()) | {"problem": "../../p"}
    told["key"] = sha256_of({name: value for name, value in told.items() if name != "key"})
    spool.folder.mkdir()
    spool._path(3).write_text(json.dumps(told))
    with pytest.raises(ServiceFailed, match=r"spool/000000003\.json was altered"):
        spool.read(3)


def test_what_a_kill_left_beside_is_no_delivery(spool: Spool) -> None:
    """Nor is anything else of another name."""
    spool.put(1, delivery())
    (spool.folder / ".000000002.json.77.partial").write_bytes(b"{")
    (spool.folder / "notes.txt").touch()
    assert spool.numbers() == [1]
