"""Synthetic pictures and stays in the publishers' layouts."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from medai.sources import MedMNIST, Physionet2012, medmnist, physionet2012
from medai.sources.synthetic import Synthetic, generate
from medai.tables import read_table


def config(layout: str, subjects: int, **fields: Any) -> Synthetic:
    """A configuration from its layout, size and other fields."""
    return Synthetic.model_validate({"kind": "synthetic", "layout": layout, "subjects": subjects, **fields})


def made(folder: Path, layout: str, subjects: int, **fields: Any) -> Path:
    """Generate into a new folder."""
    folder.mkdir()
    return generate(config(layout, subjects, **fields), folder)


def auroc(scores: np.ndarray, truth: np.ndarray) -> float:
    """The share of pairs (positive, negative) that the score puts in order."""
    order = np.argsort(np.argsort(scores)) + 1
    positives = int(truth.sum())
    negatives = len(truth) - positives
    return float((order[truth == 1].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def direction(features: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The weights of a linear score: ridge regression on standardised features."""
    scale = features.std(axis=0)
    standard = (features - features.mean(axis=0)) / scale
    gram = standard.T @ standard + len(truth) * np.eye(len(scale))
    return np.asarray(np.linalg.solve(gram, standard.T @ (truth - truth.mean())) / scale)


@pytest.mark.parametrize(
    ("fields", "images", "labels"),
    [
        ({}, (140, 28, 28), (140, 1)),
        ({"channels": 3, "size": 32}, (140, 32, 32, 3), (140, 1)),
        ({"classes": 5, "multilabel": True}, (140, 28, 28), (140, 5)),
    ],
)
def test_pictures_are_read_by_medmnist_s_reader(
    tmp_path: Path, fields: dict[str, Any], images: tuple[int, ...], labels: tuple[int, ...]
) -> None:
    """The layout is the publisher's, in grey and colour, with one label and with several."""
    path = made(tmp_path / "a", "medmnist", 200, **fields)
    with np.load(path) as arrays:
        assert arrays["train_images"].shape == images
        assert arrays["train_labels"].shape == labels
    facts = medmnist.read(MedMNIST(kind="medmnist"), path, tmp_path)
    assert (facts.tables, facts.counts) == ({"images": 200, "labels": 200}, {})


def test_all_classes_occur(tmp_path: Path) -> None:
    """Ten classes give labels 0 to 9."""
    with np.load(made(tmp_path / "a", "medmnist", 500, classes=10)) as arrays:
        assert set(arrays["train_labels"].ravel().tolist()) == set(range(10))


def test_stays_are_read_by_the_challenge_s_reader(tmp_path: Path) -> None:
    """Stays have series, coded missings, one stay of descriptors alone, and outcomes for all."""
    path = made(tmp_path / "a", "physionet2012", 400, prevalence=0.3)
    facts = physionet2012.read(Physionet2012(kind="physionet2012"), path, tmp_path)
    assert facts.tables["stays"] == 400
    assert facts.counts.keys() == {"coded_missing", "stay_without_series"}
    assert facts.counts["stay_without_series"] == 1
    labels = pl.DataFrame(read_table(tmp_path / "labels.parquet"))
    assert labels["in_hospital_death"].null_count() == 0
    assert 0.22 < labels["in_hospital_death"].sum() / 400 < 0.38
    events = pl.DataFrame(read_table(tmp_path / "events.parquet", ["code", "text_value"]))
    assert events["code"].n_unique() == 29
    assert events["text_value"].null_count() == events.height


@pytest.mark.parametrize("layout", ["medmnist", "physionet2012"])
def test_equal_configurations_write_equal_bytes(tmp_path: Path, layout: str) -> None:
    """And another seed writes others."""

    def contents(name: str, seed: int) -> dict[str, bytes]:
        made(tmp_path / name, layout, 30, seed=seed)
        folder = tmp_path / name
        return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}

    first = contents("a", 1)
    assert contents("b", 1) == first
    assert contents("c", 2) != first


def test_growing_stays_leaves_the_earlier_ones_as_they_are(tmp_path: Path) -> None:
    """5 % more stays: every earlier file is the same, byte by byte, and the outcomes only grow."""
    small, large = made(tmp_path / "a", "physionet2012", 100), made(tmp_path / "b", "physionet2012", 105)
    files = sorted(file.name for file in (small / "set-a").iterdir())
    assert len(files) == 100
    for name in files:
        assert (small / "set-a" / name).read_bytes() == (large / "set-a" / name).read_bytes()
    assert len(list((large / "set-a").iterdir())) == 105
    assert (large / "Outcomes-a.txt").read_bytes().startswith((small / "Outcomes-a.txt").read_bytes())


def test_growing_pictures_leaves_the_earlier_ones_as_they_are(tmp_path: Path) -> None:
    """Across blocks as well: every role of the larger set begins with the smaller one's pictures."""
    with (
        np.load(made(tmp_path / "a", "medmnist", 300)) as small,
        np.load(made(tmp_path / "b", "medmnist", 315)) as large,
    ):
        for name in small:
            assert np.array_equal(large[name][: len(small[name])], small[name])
        assert len(large["train_images"]) > len(small["train_images"])


def test_without_signal_the_pictures_do_not_know_their_label(tmp_path: Path) -> None:
    """Signal 0 gives the same pictures, whatever share of them is called positive."""
    few = made(tmp_path / "a", "medmnist", 60, signal=0, prevalence=0.2)
    many = made(tmp_path / "b", "medmnist", 60, signal=0, prevalence=0.8)
    with np.load(few) as left, np.load(many) as right:
        assert np.array_equal(left["train_images"], right["train_images"])
        assert not np.array_equal(left["train_labels"], right["train_labels"])


def test_without_signal_the_stays_do_not_know_their_outcome(tmp_path: Path) -> None:
    """Signal 0 gives the same stays, whatever share of them ends in death."""
    few = made(tmp_path / "a", "physionet2012", 30, signal=0, prevalence=0.1)
    many = made(tmp_path / "b", "physionet2012", 30, signal=0, prevalence=0.9)
    for file in (few / "set-a").iterdir():
        assert file.read_bytes() == (many / "set-a" / file.name).read_bytes()
    assert (few / "Outcomes-a.txt").read_bytes() != (many / "Outcomes-a.txt").read_bytes()


@pytest.mark.parametrize(("signal", "low", "high"), [(1.0, 0.8, 1.0), (0.0, 0.35, 0.65)])
def test_pictures_carry_the_planted_signal(tmp_path: Path, signal: float, low: float, high: float) -> None:
    """Even a straight line through the pixels finds it, and finds nothing where there is none."""
    with np.load(made(tmp_path / "a", "medmnist", 1500, signal=signal)) as arrays:
        train, test = (arrays[f"{split}_images"].reshape(-1, 784).astype(float) for split in ("train", "test"))
        weights = direction(train, arrays["train_labels"][:, 0])
        assert low < auroc(test @ weights, arrays["test_labels"][:, 0]) < high


@pytest.mark.parametrize(("signal", "low", "high"), [(1.0, 0.8, 1.0), (0.0, 0.35, 0.65)])
def test_stays_carry_the_planted_signal(tmp_path: Path, signal: float, low: float, high: float) -> None:
    """The means of five variables tell who dies at signal 1, and nothing at 0."""
    path = made(tmp_path / "a", "physionet2012", 600, signal=signal)
    physionet2012.read(Physionet2012(kind="physionet2012"), path, tmp_path)
    codes = ["HR", "GCS", "Lactate", "Urine", "MAP"]
    events = pl.DataFrame(read_table(tmp_path / "events.parquet"))
    table = (
        events.filter(pl.col("code").is_in(codes))
        .group_by("subject_id", "code")
        .agg(pl.col("numeric_value").mean())
        .pivot("code", index="subject_id", values="numeric_value")
        .drop_nulls()
        .join(pl.DataFrame(read_table(tmp_path / "stays.parquet", ["subject_id", "stay_id"])), on="subject_id")
        .join(pl.DataFrame(read_table(tmp_path / "labels.parquet")), on="stay_id")
        .sort("subject_id")
    )
    features, truth = table.select(codes).to_numpy(), table["in_hospital_death"].to_numpy()
    weights = direction(features[:300], truth[:300])
    assert low < auroc(features[300:] @ weights, truth[300:]) < high


def test_stays_have_one_outcome() -> None:
    """Classes belong to pictures."""
    with pytest.raises(ValidationError, match="stays have one binary outcome"):
        config("physionet2012", 100, classes=3)


@pytest.mark.parametrize(
    ("layout", "fields", "digest"),
    [
        ("medmnist", {}, "2544a84e2bbb2e367032174d36a12d51245e83e5b284a8c726830acb5ac94375"),
        (
            "medmnist",
            {"channels": 3, "size": 32, "classes": 5, "multilabel": True},
            "fca440d757de262929e67dd9521992f3d24615a23fbdbea960b68c909e787619",
        ),
        ("physionet2012", {}, "c2406d241467aa2ae202bb2fd1c39d99538dde08385457a8b2a4fee307bbe581"),
    ],
)
def test_the_bytes_are_those_of_this_version(tmp_path: Path, layout: str, fields: dict[str, Any], digest: str) -> None:
    """Golden: whoever changes what is drawn raises the stage's VERSION."""
    path = made(tmp_path / "a", layout, 60, seed=5, **fields)
    found = hashlib.sha256()
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            for name in arrays:
                found.update(name.encode() + arrays[name].tobytes())
    else:
        for file in sorted(path.rglob("*.txt")):
            found.update(file.name.encode() + file.read_bytes())
    assert found.hexdigest() == digest
