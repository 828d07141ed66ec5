"""Batches beside the reference: stays as they were, stays that changed, and stays that are too few."""

from __future__ import annotations

import stat
from typing import Any

import numpy as np
import polars as pl
import pytest

from medai.errors import DataRefused
from medai.monitoring import Monitoring
from medai.monitoring.comparing import CAME, WENT, Comparing, compare_data, compare_scores, compared, of_codes
from medai.monitoring.observing import Observed
from medai.monitoring.records import Compared, Figure
from medai.monitoring.reference import make_reference, standing_reference
from medai.monitoring.windows import judge

BOUNDS = Monitoring()
CONFIG = Comparing.of("data", BOUNDS)


def both(watched: Any, ward: str, stays: int, faster: float) -> tuple[Compared, Compared]:
    """The two windows of a ward."""
    part = watched.part(ward, stays, faster)
    data = compare_data(
        watched.workspace, watched.reference, watched.champion, part.snapshot, part.cohort, part.arrays, BOUNDS
    )
    scores = compare_scores(
        watched.workspace,
        watched.reference,
        watched.champion,
        part.snapshot,
        part.cohort,
        part.arrays,
        part.scores.key,
        watched.name,
        watched.output,
        BOUNDS,
    )
    return data.record, scores.record


def figure(content: Compared, measure: str, statistic: str) -> Figure:
    """One figure of a window."""
    return next(one for one in content.figures if one.name == (measure, statistic))


def outside(content: Compared) -> set[tuple[str, str]]:
    """Figures that pass their bounds."""
    return {one.name for one in content.figures if judge(one, BOUNDS) == "outside"}


def test_the_reference_is_of_those_whom_the_champion_learnt_from(watched: Any, stay_road: Any) -> None:
    """Data of train and scores of validation, nobody of gate or test; no id, for the owner's eyes; found again."""
    reference, met = watched.reference, watched.champion.trained_on
    assert (reference.subjects, reference.scored, reference.role) == (met["train"], met["validation"], "validation")
    assert (reference.unit, reference.features_sha256) == ("stay", None)
    folder = watched.workspace.folder("reference", reference.key)
    assert sorted(path.name for path in folder.glob("*.parquet")) == [
        "answered.parquet", "codes.parquet", "observed.parquet",
    ]  # fmt: skip
    table = pl.read_parquet(folder / "observed.parquet")
    assert table.columns == ["kind", "column", "number", "level"]
    assert table.filter(pl.col("column") == "HR").height == reference.subjects
    assert stat.S_IMODE((folder / "observed.parquet").stat().st_mode) == 0o600
    assert standing_reference(watched.workspace, watched.champion) == reference


@pytest.mark.parametrize("noted", [{}, {"version": 2}])
def test_a_reference_of_another_version_is_made_anew(watched: Any, stay_road: Any, noted: dict[str, int]) -> None:
    """It counted otherwise than a batch is counted now, so the two are never compared."""
    from medai.cohort import Stays
    from medai.prediction import select
    from medai.preprocessing import prepare

    workspace, champion = watched.workspace, watched.champion
    workspace.keep_receipt("reference", champion.key, {"reference": watched.reference.key} | noted)
    assert standing_reference(workspace, champion) is None
    definition = Stays(kind="stays", groups=("ICUType",))
    cohort = select(workspace, stay_road.snapshot, stay_road.quality, definition).record
    arrays = prepare(workspace, stay_road.snapshot, stay_road.quality, cohort, stay_road.preprocessing).record
    made = make_reference(workspace, champion, stay_road.snapshot, cohort, arrays, watched.name, watched.output)
    assert standing_reference(workspace, champion) == made.record == watched.reference


def test_a_ward_like_the_champions_own_is_within(watched: Any) -> None:
    """Everything is compared; nothing passes its bound."""
    data, scores = both(watched, "same", 60, 1)
    assert (data.kind, data.samples, data.subjects, data.known, data.unit) == ("data", 60, 60, 0, "stay")
    assert {one.measure for one in data.figures} >= {"HR", "GCS", "Lactate", "Age", "ICUType", WENT, CAME}
    assert {one.measure for one in scores.figures} == {"score", "alerts"}
    assert outside(data) | outside(scores) == set()


def test_hearts_that_beat_faster_are_seen(watched: Any) -> None:
    """In the heart rate alone, by both statistics; the same batch again is the same content."""
    data, _ = both(watched, "faster", 60, 1.4)
    assert outside(data) == {("HR", "psi"), ("HR", "ks")}
    assert figure(data, "HR", "ks").value > 0.5  # type: ignore[operator]
    assert figure(data, "GCS", "psi").value < BOUNDS.psi * 2  # type: ignore[operator]
    part = watched.part("faster", 60, 1.4)
    again = compare_data(
        watched.workspace, watched.reference, watched.champion, part.snapshot, part.cohort, part.arrays, BOUNDS
    )
    assert (again.reused, again.record) == (True, data)


def test_a_few_stays_get_no_verdict(watched: Any) -> None:
    """However far off they are: every figure of twelve stays says why there is none."""
    data, scores = both(watched, "few", 12, 2)
    assert data.subjects == 12
    assert {one.why for one in (*data.figures, *scores.figures)} == {"too few"}
    assert {judge(one, BOUNDS) for one in (*data.figures, *scores.figures)} == {"too_few"}


def test_whom_the_champion_was_fitted_on_is_left_out(watched: Any, stay_road: Any) -> None:
    """Its own hospital once more: train and validation are the reference, the rest is compared."""
    from medai.cohort import Stays
    from medai.prediction import score, select
    from medai.preprocessing import prepare

    cohort = select(
        watched.workspace, stay_road.snapshot, stay_road.quality, Stays(kind="stays", groups=("ICUType",))
    ).record
    arrays = prepare(watched.workspace, stay_road.snapshot, stay_road.quality, cohort, stay_road.preprocessing).record
    score(watched.workspace, watched.champion, arrays, watched.name, watched.output)
    found = compare_data(
        watched.workspace, watched.reference, watched.champion, stay_road.snapshot, cohort, arrays, BOUNDS
    ).record
    assert found.known == sum(watched.champion.trained_on.values())
    assert found.subjects == 150 - found.known


def test_a_batch_of_nobody_new(watched: Any, stay_road: Any) -> None:
    """Stays that the champion was all fitted on leave nothing to compare, and that is said of each figure."""
    from medai.monitoring.observing import Rows, observe_data, observe_scores

    part = watched.part("same", 60, 1)
    nobody = pl.DataFrame(schema={"sample_id": pl.Int64, "subject_id": pl.Int64})
    rows = Rows(np.empty(0, np.int64), nobody, np.empty(0, np.int64), known=60)
    data = observe_data(watched.workspace, part.snapshot, part.arrays, rows)
    scores = pl.DataFrame(schema={"sample_id": pl.Int64, "death.score.0": pl.Float32})
    said = observe_scores(scores, watched.name, watched.output, (0.5,), rows)
    folder = watched.workspace.folder("reference", watched.reference.key)
    for before, here in (("observed.parquet", data), ("answered.parquet", said)):
        found = list(compared(Observed.read(folder / before), here, rows.subjects, CONFIG))
        assert found
        assert {one.value for one in found} == {None}


def test_a_reference_of_strangers_is_refused(watched: Any, refusal: Any) -> None:
    """Data in which nobody is whom the champion learnt from are not its own."""
    part = watched.part("same", 60, 1)
    with pytest.raises(DataRefused) as caught:
        make_reference(
            watched.workspace, watched.champion, part.snapshot, part.cohort, part.arrays, watched.name, watched.output
        )
    assert "60 samples, none of such a patient" in refusal(caught.value)


# -- columns by hand -----------------------------------------------------------------------------------------------


def column(values: Any, **levels: Any) -> Observed:
    """One number, and levels."""
    return Observed(
        numbers={"value": np.asarray(values, float)},
        levels={name: np.array(said, object) for name, said in levels.items()},
    )


def figures(before: Observed, here: Observed, subjects: int) -> dict[tuple[str, str], Figure]:
    """Name → figure."""
    return {one.name: one for one in compared(before, here, subjects, CONFIG)}


def test_a_column_that_is_no_longer_recorded() -> None:
    """Nothing recorded, or a column that is gone: no distribution, and the missing share says it."""
    before = column(np.arange(100), view=["PA"] * 100)
    for here in (column([np.nan] * 50, view=[None] * 50), Observed()):
        found = figures(before, here, 50)
        assert (found["value", "psi"].value, found["value", "psi"].why) == (None, "nothing recorded")
        missing = found["value", "missing"]
        assert (missing.value, missing.reference, missing.here.value) == (1, 0, 1)  # type: ignore[union-attr]
        assert judge(missing, BOUNDS) == judge(found["view", "missing"], BOUNDS) == "outside"


def test_infinite_values_are_no_values() -> None:
    """They count as missing, and move no distribution."""
    before = column(np.arange(100))
    found = figures(before, column([np.inf, -np.inf, *np.arange(98)]), 100)
    assert found["value", "missing"].here.value == 0.02  # type: ignore[union-attr]
    assert {judge(one, BOUNDS) for one in found.values()} == {"within"}


def test_constant_columns() -> None:
    """One value on both sides is within; another value is outside, and distance needs more than few values."""
    found = figures(column([1.0] * 60), column([1.0] * 60), 60)
    assert (found["value", "psi"].value, judge(found["value", "psi"], BOUNDS)) == (0, "within")
    assert ("value", "ks") not in found
    assert judge(figures(column([1.0] * 60), column([2.0] * 60), 60)["value", "psi"], BOUNDS) == "outside"


def test_another_device() -> None:
    """A level that nobody had, for all of them."""
    found = figures(column([0.0] * 60, model=["A"] * 60), column([0.0] * 60, model=["B"] * 60), 60)
    assert judge(found["model", "psi"], BOUNDS) == "outside"
    found = figures(column([0.0] * 60, model=["A", "B"] * 30), column([0.0] * 60, model=["B", "A"] * 30), 60)
    assert found["model", "psi"].value == 0


def test_alerts_have_wilsons_interval() -> None:
    """A rate that doubled, with the interval of the change and of the rate."""
    before, here = (Observed(alerts={"alerts": np.arange(100) < number}) for number in (20, 40))
    found = figures(before, here, 100)["alerts", "alerts"]
    assert (found.value, found.reference, found.here.value) == (0.2, 0.2, 0.4)  # type: ignore[union-attr]
    assert (round(found.here.low, 3), round(found.here.high, 3)) == (0.309, 0.498)  # type: ignore[union-attr]
    assert judge(found, BOUNDS) == "outside"
    shifted = figures(before, Observed(alerts={"alerts": np.arange(100) < 31}), 100)["alerts", "alerts"]
    assert (shifted.value, judge(shifted, BOUNDS)) == (pytest.approx(0.11), "within")  # as chance would have it


def test_codes_and_units() -> None:
    """A laboratory that goes over to mmol/L, and a code that nobody knew."""
    before = pl.DataFrame([("L//1//mg", "glucose", 900, 180), ("L//2", None, 100, 50)], schema=SCHEMA, orient="row")
    moved = [("L//1//mmol", "glucose", 450, 25), ("L//1//mg", "glucose", 450, 25), ("L//3", None, 100, 20)]
    after = pl.DataFrame(moved, schema=SCHEMA, orient="row")
    found = {one.name: one for one in of_codes(before, after, 200, 50, CONFIG)}
    assert found[WENT, "codes"].value == 0.1
    assert found[CAME, "codes"].value == 0.55
    assert found["glucose", "units"].value == 0.5
    assert {judge(one, BOUNDS) for one in found.values()} == {"outside"}
    assert {one.why for one in of_codes(before, after, 200, 5, CONFIG)} == {"too few"}
    empty = of_codes(before, after.clear(), 200, 50, CONFIG)
    assert {one.measure: one.why for one in empty} == {WENT: "", CAME: "nothing recorded"}


def test_many_shares_are_no_more_often_outside_than_one() -> None:
    """Of 60 batches of 50 subjects and 20 alerts of half of them, drawn as the reference was, hardly any has one."""
    stream = np.random.default_rng(2)

    def drawn(subjects: int) -> Observed:
        return Observed(alerts={f"alerts, {number}": stream.random(subjects) < 0.5 for number in range(20)})

    before = drawn(1000)
    windows = [figures(before, drawn(50), 50).values() for _ in range(60)]
    assert sum(any(judge(one, BOUNDS) == "outside" for one in window) for window in windows) <= 2
    gone = Observed(alerts=before.alerts | {"alerts, 0": np.zeros(50, bool)})
    assert judge(figures(before, gone, 50)["alerts, 0", "alerts"], BOUNDS) == "outside"


SCHEMA = {"code": pl.String, "variable": pl.String, "readings": pl.Int64, "subjects": pl.Int64}


def test_a_small_batch_lacks_rare_codes() -> None:
    """And a small reference lacked some of them, too; a code that most had is missed, and so is one that is new."""
    common = [("L//0", None, 5000, 950)]
    rare = [(f"L//{number}", None, 5, 5) for number in range(1, 301)]
    here = pl.DataFrame(
        [("L//0", None, 250, 48), *[(*row[:2], 1, 1) for row in rare[:15]]], schema=SCHEMA, orient="row"
    )
    before = pl.DataFrame(common + rare, schema=SCHEMA, orient="row")
    found = {one.name: one for one in of_codes(before, here, 1000, 50, CONFIG)}
    went = found[WENT, "codes"]
    assert (went.value, went.chance) == (pytest.approx(0.219, abs=1e-3), pytest.approx(1500 / 6500))
    assert {judge(one, BOUNDS) for one in found.values()} == {"within"}
    assert judge(found[WENT, "codes"].model_copy(update={"chance": None}), BOUNDS) == "outside"
    without = {one.name: one for one in of_codes(before, here.filter(pl.col("code") != "L//0"), 1000, 50, CONFIG)}
    assert judge(without[WENT, "codes"], BOUNDS) == "outside"

    new = pl.concat([here, pl.DataFrame([("L//new", None, 90, 40)], schema=SCHEMA, orient="row")])
    others = [(*row[:2], 1, 1) for row in rare[100:115]]
    small = pl.DataFrame([("L//0", None, 250, 48), *others], schema=SCHEMA, orient="row")
    assert judge({one.name: one for one in of_codes(small, here, 50, 50, CONFIG)}[CAME, "codes"], BOUNDS) == "within"
    found = {one.name: one for one in of_codes(before, new, 1000, 50, CONFIG)}
    assert judge(found[CAME, "codes"], BOUNDS) == "outside"


def test_units_of_few_subjects_differ_by_chance() -> None:
    """Half of the subjects have each unit: ten of them show six of one; of two hundred a fifth more is no chance."""

    def mix(first: int, second: int, each: int) -> pl.DataFrame:
        rows = [("L//1//mg", "glucose", first * each, first), ("L//1//mmol", "glucose", second * each, second)]
        return pl.DataFrame(rows, schema=SCHEMA, orient="row")

    for here, verdict in ((mix(22, 13, 10), "within"), (mix(140, 60, 10), "outside"), (mix(35, 0, 10), "outside")):
        (units,) = (one for one in of_codes(mix(100, 100, 10), here, 200, 40, CONFIG) if one.statistic == "units")
        assert units.value > BOUNDS.units  # type: ignore[operator]
        assert judge(units, BOUNDS) == verdict, units


def test_the_table_of_columns_is_read_back(tmp_path: Any) -> None:
    """In the order of the values: nobody's place among the subjects is told."""
    from medai.tables import write_table

    made = Observed(
        numbers={"a": np.array([3.0, np.nan, 1.0])},
        levels={"b": np.array(["y", None, "x"], object)},
        alerts={"c": np.array([True, False])},
    )
    write_table(tmp_path / "observed.parquet", made.table().to_arrow())
    found = Observed.read(tmp_path / "observed.parquet")
    assert found.numbers["a"].tolist()[:2] == [1, 3]
    assert found.levels["b"].tolist() == ["x", "y", None]
    assert found.alerts["c"].tolist() == [False, True]
