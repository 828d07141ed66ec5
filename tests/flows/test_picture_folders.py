"""The two problems on folders of radiographs, from JPEG and PNG files to the decision, on small generated ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image

pytestmark = pytest.mark.slow  # one process and server of its own: a minute on a busy machine

CHILDREN = 60  # of whom the test set has at least the five without pneumonia that GATE asks for
VIEWS = 3
SIZE = ("--set", "inputs.radiograph.source.size=[32,32]", "--set", "inputs.radiograph.preprocessing.size=[32,32]")
GATE = ("--set", "gate.minimum_positives=5", "--set", "gate.minimum_negatives=5")


def radiograph(rng: np.random.Generator, ill: bool) -> Image.Image:
    """A noisy field with an opacity in its left or right half: below where the child is ill, else above.

    Exposure and colours vary in both, so that no single column tells.
    """
    height, width = rng.integers(60, 90), rng.integers(60, 100)
    down, across = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    levels = 90 + rng.normal(0, 12) + rng.normal(0, 10, (height, width))
    place, side = 0.4 if ill else -0.4, 0.4 * rng.choice([-1, 1])
    levels += 80 * np.exp(-((down - place) ** 2 + (across - side) ** 2) / 0.08)
    image = Image.fromarray(np.clip(levels, 0, 255).astype(np.uint8))
    return image.convert("RGB") if rng.random() < 0.5 else image


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder that holds ``chest_xray`` as published: three views of each child, one child in two roles, one
    file that is no picture, and what a computer leaves behind.
    """
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(8)
    for child in range(CHILDREN):
        role = ("train", "train", "train", "val", "test")[child % 5]
        for label in ("NORMAL", "PNEUMONIA"):
            (root / "chest_xray" / role / label).mkdir(parents=True, exist_ok=True)
        for view in range(VIEWS):
            normal = ("IM", "NORMAL2-IM")[child % 2] + f"-{child:04d}-{view:04d}"
            ill = f"person{child}_{('virus', 'bacteria')[child % 2]}_{view}"
            kind = ".png" if view == 2 else ".jpeg"
            radiograph(rng, ill=False).save(root / "chest_xray" / role / "NORMAL" / (normal + kind))
            radiograph(rng, ill=True).save(root / "chest_xray" / role / "PNEUMONIA" / (ill + kind))
    radiograph(rng, ill=True).save(root / "chest_xray" / "train" / "PNEUMONIA" / "person4_virus_9.jpeg")
    (root / "chest_xray" / "train" / "NORMAL" / "IM-0777-0001.jpeg").write_bytes(b"<html>404</html>")
    (root / "chest_xray" / ".DS_Store").write_bytes(b"x")
    return root


def stored(home: Path, stage: str, **wanted: Any) -> Path:
    """The folder of the one record of a stage with these fields."""
    found = []
    for path in (home / "store" / stage).glob("*/record.json"):
        record = json.loads(path.read_bytes())
        if all(record.get(name) == value for name, value in wanted.items()):
            found.append(path.parent)
    assert len(found) == 1
    return found[0]


def test_grey_radiographs_split_by_child(medai: Any, folders: Path, tmp_path: Path) -> None:
    """Found below MEDAI_DATA, split 80/20 whatever the folders say, judged by test accuracy, promoted."""
    found = medai.run(
        "chest_xray_pneumonia", *SIZE, *GATE, "--set", "training.epochs=8", "--set", "training.learning_rate=0.002",
        home=tmp_path, environment={"MEDAI_DATA": str(folders)},
    )  # fmt: skip
    assert found["decision"] == "promoted", found["reasons"]
    assert found["cohort"]["classes"] == {"pneumonia": {"normal": VIEWS * CHILDREN, "pneumonia": VIEWS * CHILDREN + 1}}
    assert found["cohort"]["unit"] == "patient"
    assert found["cohort"]["subjects"] == 2 * CHILDREN
    assert found["set_aside"] == {"not_a_picture": 1}
    assert found["metrics"]["pneumonia"]["accuracy"]["low"] >= 0.85
    assert sum(found["splits"].values()) == 2 * VIEWS * CHILDREN + 1
    cohort = pl.read_parquet(stored(tmp_path, "select", samples=found["cohort"]["samples"]) / "cohort.parquet")
    roles = cohort.join(pl.read_parquet(stored(tmp_path, "split") / "splits.parquet"), on="sample_id")
    assert roles.group_by("subject_id").agg(pl.col("role").n_unique())["role"].max() == 1
    assert (roles["role"] != roles["publisher_role"]).any()


def test_colour_radiographs_split_by_their_publisher(medai: Any, folders: Path, tmp_path: Path) -> None:
    """Epochs of so many steps; the child in two folders leaves train; curves of accuracy and loss are drawn."""
    found = medai.run(
        "chest_xray_pneumonia_rgb", *SIZE, *GATE, "--data", str(folders / "chest_xray"), "--set", "training.epochs=4",
        "--set", "training.steps_per_epoch=10", "--set", "training.learning_rate=0.001", home=tmp_path,
    )  # fmt: skip
    assert found["decision"] == "promoted", found["reasons"]
    assert found["splits"] == {"train": 216, "validation": 72, "test": 72}
    assert json.loads((stored(tmp_path, "ingest") / "record.json").read_bytes())["counts"] == {
        "not_a_picture": 1,
        "subjects_straddling_publisher_roles": 1,
    }
    splits = json.loads((stored(tmp_path, "split") / "record.json").read_bytes())
    assert (splits["straddling"], splits["dropped"]) == (1, {"train": 1})
    history = json.loads((stored(tmp_path, "fit", name="net") / "history.json").read_bytes())
    assert {name: len(curve) for name, curve in history.items()} == {
        "accuracy": 4, "loss": 4, "val_accuracy": 4, "val_loss": 4,
    }  # fmt: skip
    figure = (stored(tmp_path, "draw") / "training.svg").read_text()
    assert "Accuracy" in figure
    assert "Loss" in figure


def test_pictures_of_the_fit_are_known_again_and_folders_are_told(medai: Any, folders: Path, tmp_path: Path) -> None:
    """By the child that their names tell; under other names by their pixels, and whose they are nobody can say."""
    given = [*SIZE, *GATE, "--set", "training.epochs=1", "--set", "gate.floors={}"]
    found = medai.run("chest_xray_pneumonia", *given, "--data", str(folders / "chest_xray"), home=tmp_path / "home")
    assert found["champion"] == 1
    assert found["folders"] == {
        "pneumonia": [
            {"folder": "NORMAL", "class": "normal", "samples": VIEWS * CHILDREN},
            {"folder": "PNEUMONIA", "class": "pneumonia", "samples": VIEWS * CHILDREN + 1},
        ]
    }
    named, renamed = tmp_path / "named", tmp_path / "renamed"
    for folder in (named, renamed):
        folder.mkdir()
    for place, file in enumerate(sorted((folders / "chest_xray").glob("train/PNEUMONIA/*"))):
        (named / file.name).write_bytes(file.read_bytes())
        (renamed / f"scan {place}{file.suffix}").write_bytes(file.read_bytes())
    answers = {}
    for folder in (named, renamed):
        out = str(tmp_path / f"{folder.name}.csv")
        answers[folder] = medai(
            "predict", "chest_xray_pneumonia", *SIZE, str(folder), "--out", out, "--json", home=tmp_path / "home"
        ).json
    assert answers[named]["seen_in_training"] > 0
    assert answers[renamed]["seen_in_training"] is None
    assert answers[renamed]["seen_pictures"] == answers[named]["seen_pictures"] > 0
    shown = medai(
        "predict", "chest_xray_pneumonia", *SIZE, str(renamed), "--out", str(tmp_path / "x.csv"), home=tmp_path / "home"
    ).out
    assert "unknown: whether the champion was fitted on these patients" in shown
    other = medai(
        "predict", "chest_xray_pneumonia", *SIZE, str(named), "--out", str(tmp_path / "y.csv"), "--json",
        "--set", "inputs.radiograph.source.resize=pad", "--set", "inputs.radiograph.source.white=4095",
        home=tmp_path / "home",
    )  # fmt: skip
    assert other.status == 2
    assert other.error["expected"] == 'source.resize: "stretch"; source.white: 65535'


def test_a_class_of_unreadable_pictures_does_not_pass_the_check(medai: Any, tmp_path: Path) -> None:
    """Seven files, seven faults, few enough to be tolerated: the check fails as the run would."""
    rng = np.random.default_rng(4)
    for child in range(60):
        folder = tmp_path / "data" / "NORMAL"
        folder.mkdir(parents=True, exist_ok=True)
        radiograph(rng, ill=False).save(folder / f"IM-{child:04d}-0001.png")
    (tmp_path / "data" / "PNEUMONIA").mkdir()
    for child in range(7):
        (tmp_path / "data" / "PNEUMONIA" / f"person{child}_virus_1.png").write_bytes(b"pointer")
    given = [*SIZE, "--data", str(tmp_path / "data")]
    answer = medai("check", "chest_xray_pneumonia", *given, "--json", home=tmp_path / "home")
    assert (answer.status, answer.json["passed"]) == (3, False)
    assert [(one["table"], one["column"], one["reason"]) for one in answer.json["failures"] if one["blocking"]] == [
        ("cohort", "pneumonia.pneumonia", "class_empty")
    ]
    shown = medai("check", "chest_xray_pneumonia", *given, home=tmp_path / "home").out
    assert "blocking: class_empty in cohort pneumonia.pneumonia: none of 60 samples is of it" in shown
    assert "folder PNEUMONIA → pneumonia: 0" in shown


def test_a_straddling_child_is_refused_unless_told(medai: Any, folders: Path, tmp_path: Path) -> None:
    """The publisher's split keeps the law by default: status 3, and the number."""
    answer = medai(
        "run", "chest_xray_pneumonia_rgb", *SIZE, "--data", str(folders / "chest_xray"), "--set",
        "split.straddling=refuse", "--json", home=tmp_path,
    )  # fmt: skip
    assert answer.status == 3
    assert answer.error["wrong"] == "the same patient stands on two sides of the split"
    assert answer.error["received"] == f"1 of {2 * CHILDREN} subjects in several roles"
