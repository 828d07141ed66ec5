"""``illustrate``: the most confident answers, of whom nothing is told but picture or curves, truth and score."""

from __future__ import annotations

import base64
import io
import json
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image

from medai.outputs import Output
from medai.records import Examples
from medai.reporting import Content, illustrate
from medai.reporting.examples import middles, thumbnail
from medai.scores import read_scores
from medai.splitting import KeyedHash

NAME, WORD = "DOE^JANE", "DOE"


def shown_of(run: Any, examples: Examples) -> list[dict[str, Any]]:
    """What the stage kept."""
    path = run.workspace.folder("illustrate", examples.key) / examples.file
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    shown: list[dict[str, Any]] = json.loads(path.read_bytes())
    return shown


def test_the_surest_answers_of_each_kind_are_shown(pictures: Any) -> None:
    """Found and false alarms from the highest score down, missed and cleared from the lowest up."""
    examples = pictures.examples(3)
    shown = shown_of(pictures, examples)
    table = read_scores(pictures.workspace, pictures.scorecards["net"]).with_columns(
        (pl.col("answer.score.0").cast(pl.Float64) >= 0.5).alias("flagged")
    )
    for kind, truth, flagged in (("found", 1, True), ("missed", 1, False), ("alarm", 0, True), ("cleared", 0, False)):
        side = table.filter((pl.col("answer") == truth) & (pl.col("flagged") == flagged))["answer.score.0"]
        surest = side.sort(descending=flagged)[:3].to_list()
        mine = [one for one in shown if one["kind"] == kind]
        assert [one["score"] for one in mine] == pytest.approx(surest, abs=1e-6)
        assert examples.shown[kind] == len(mine)
        assert {one["truth"] for one in mine} <= {("absent", "present")[truth]}
        assert {one["answer"] for one in mine} <= {("absent", "present")[flagged]}


def test_a_picture_is_that_of_its_row(pictures: Any, picture_road: Any) -> None:
    """The surest found one's thumbnail has the pixels of its sample."""
    first = next(one for one in shown_of(pictures, pictures.examples(3)) if one["kind"] == "found")
    table = read_scores(pictures.workspace, pictures.scorecards["net"]).filter(pl.col("answer") == 1)
    sample = table.sort("answer.score.0", descending=True)["sample_id"][0]
    row = picture_road.table("select")["sample_id"].to_list().index(sample)
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(first["picture"]))))
    np.testing.assert_array_equal(picture, picture_road.load("pixels")[row, :, :, 0])


def test_a_large_picture_is_made_small_and_carries_no_note() -> None:
    """At most 96 pixels a side, in colour too; PNG without text chunks."""
    for shape in ((300, 200, 3), (128, 256, 1)):
        data = base64.b64decode(thumbnail(np.arange(np.prod(shape), dtype=np.uint32).reshape(shape).astype(np.uint8)))
        picture = Image.open(io.BytesIO(data))
        assert max(picture.size) == 96
        assert picture.info == {}
        assert b"tEXt" not in data


def test_curves_are_the_measured_points(stays: Any, stay_road: Any) -> None:
    """Hours from the window's start and values of the bins that hold a reading, nothing carried forward."""
    for one in shown_of(stays, stays.examples(2)):
        assert one["hours"] == 48
        assert [curve["name"] for curve in one["series"]] == ["GCS", "HR", "Lactate"]
    first = next(one for one in shown_of(stays, stays.examples(2)) if one["kind"] == "found")
    table = read_scores(stays.workspace, stays.scorecards["net"]).filter(pl.col("answer") == 1)
    sample = table.sort("answer.score.0", descending=True)["sample_id"][0]
    row = stay_road.table("select")["sample_id"].to_list().index(sample)
    mask, last = stay_road.load("mask")[row, :, 1], stay_road.load("last")[row, :, 1]
    steps = np.flatnonzero(mask)
    assert first["series"][1]["points"] == [[step * 4 + 2, float(f"{last[step]:.5g}")] for step in steps.tolist()]


def test_none_are_kept_where_none_are_wanted_and_another_number_is_another_key(pictures: Any) -> None:
    """Zero keeps an empty list; the number enters the key."""
    assert shown_of(pictures, pictures.examples(0)) == []
    assert pictures.examples(1).key != pictures.examples(2).key
    again = illustrate(
        pictures.workspace,
        pictures.outputs,
        pictures.candidates["net"],
        pictures.scorecards["net"],
        pictures.arrays,
        2,
    )
    assert again.reused or again.record.key == pictures.examples(2).key


def test_names_and_numbers_of_the_source_are_not_on_the_page(
    tmp_path: Path,
    stay_road: Any,
    walk_stays: Callable[[Path, Path], Any],
    scored: Callable[..., Any],
    output_of: Callable[..., Output],
    page_of: Callable[[Any, Content], str],
) -> None:
    """A patient with a planted record number and a name among the readings is an example, yet nobody can be named."""
    raw = tmp_path / "raw"
    shutil.copytree(stay_road.raw, raw)
    division = KeyedHash(
        kind="keyed_hash", key="tests", fractions={"train": 0.4, "validation": 0.2, "gate": 0.2, "test": 0.2}
    )
    numbers = [number for number in range(12345678, 12346678) if division.role(str(number)) == "test"]
    stays = sorted(path for path in raw.rglob("*.txt") if path.stem.isdigit())
    outcomes = next(path for path in raw.rglob("*.txt") if path.stem.startswith("Outcomes"))
    table = outcomes.read_text()
    planted = []
    for path, number in zip(stays[:40], numbers, strict=False):
        lines = path.read_text().replace(f"RecordID,{path.stem}", f"RecordID,{number}").splitlines()
        path.unlink()
        path.with_name(f"{number}.txt").write_text("\n".join([*lines, f"40:00,HR,{NAME}"]) + "\n")
        table = table.replace(f"\n{path.stem},", f"\n{number},")
        planted.append(str(number))
    outcomes.write_text(table)
    road = walk_stays(tmp_path / "home", raw)
    assert road.quality.passed
    death = output_of(kind="binary", label="died", classes={0: "survived", 1: "died"}, positive="died")
    run = scored(road, death, "planted")
    identifiers = pl.read_parquet(run.workspace.folder("ingest", road.snapshot.key) / "identifiers.parquet")
    assert set(planted) <= set(identifiers["site_id"].to_list())
    page = page_of(run, run.content(figures=run.figures(), examples=run.examples(12)))
    assert page.count('class="score"') > 20
    assert WORD not in page
    for subject, site in identifiers.select("subject_id", "site_id").iter_rows():
        assert str(subject) not in page
        assert site not in page


def test_a_volume_is_shown_by_its_middle_planes() -> None:
    """Across depth, height and width, side by side, the shorter ones on black."""
    volume = np.random.default_rng(0).integers(1, 256, (4, 6, 8, 1), dtype=np.uint8)
    shown = middles(volume)
    assert shown.shape == (6, 8 + 1 + 8 + 1 + 6, 1)
    np.testing.assert_array_equal(shown[:, :8], volume[2])
    np.testing.assert_array_equal(shown[:4, 9:17], volume[:, 3])
    np.testing.assert_array_equal(shown[:4, 18:], volume[:, :, 4])
    assert shown[4:, 8:].max() == 0
    assert len(base64.b64decode(thumbnail(shown))) > 0
