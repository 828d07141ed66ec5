"""Pictures with masks: which mask is whose, what is wrong with one, and how it comes to the working size."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from medai.errors import DataRefused
from medai.ingestion import ingest
from medai.sources import ImageMasks, elsewhere, reading, unlabelled
from medai.sources.image_masks import raw_files, read
from medai.sources.image_masks.decoding import inner, read_mask, resized
from medai.sources.pictures.decoding import Target, decode_file
from medai.tables import read_table
from medai.validation import catalogue_suite, validate
from medai.workspace import Workspace

SUBJECT = "^p(?P<subject>[0-9]+)_"


def source(**keys: Any) -> ImageMasks:
    """Pictures of 16 × 16, grey."""
    return ImageMasks.model_validate({"kind": "image_masks", "size": [16, 16], "subject": SUBJECT, **keys})


def picture(seed: int, height: int = 32, width: int = 32) -> Image.Image:
    """A noisy picture of its own."""
    levels = np.random.default_rng(seed).integers(40, 220, (height, width), np.uint8)
    return Image.fromarray(levels)


def box(top: int, left: int, bottom: int, right: int, value: int = 255, side: int = 32) -> Image.Image:
    """A mask with one box."""
    mask = np.zeros((side, side), np.uint8)
    mask[top:bottom, left:right] = value
    return Image.fromarray(mask)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three patients: united masks, 0 and 1, a JPEG with an empty mask; and what a computer leaves behind."""
    data = tmp_path / "data"
    for name in ("images", "Masks"):
        (data / name).mkdir(parents=True)
    for seed, name in enumerate(("p1_a.png", "p1_b.png", "p2_a.png", "p3_a.jpeg")):
        picture(seed).save(data / "images" / name)
    box(0, 0, 8, 8).save(data / "Masks" / "p1_a_mask1.png")
    box(16, 16, 24, 32).save(data / "Masks" / "p1_a_mask_second.png")
    box(8, 8, 16, 16, 1).save(data / "Masks" / "p1_b.png")
    box(0, 0, 32, 16).save(data / "Masks" / "p2_a.png")
    box(0, 0, 0, 0).save(data / "Masks" / "p3_a.png")
    (data / "images" / ".DS_Store").write_bytes(b"x")
    (data / "README.txt").write_text("read me")
    return data


def snapshot(config: ImageMasks, data: Path, out: Path) -> dict[str, Any]:
    """Picture's file name → its row and mask; ``counts`` and ``facts`` beside them."""
    out.mkdir()
    facts = read(config, data, out)
    images = pl.DataFrame(read_table(out / "images.parquet"))
    labels = pl.DataFrame(read_table(out / "labels.parquet"))
    places = pl.DataFrame(read_table(out / "picture_identifiers.parquet"))
    rows = images.join(labels, on="row_id").join(places, on="row_id").to_dicts()
    pixels = np.load(out / "pixels.npy")
    masks = np.load(out / "masks.npy") if config.labelled else np.zeros(pixels.shape[:3])
    found: dict[str, Any] = {
        Path(row["site_id"]).name: row | {"mask": masks[row["row_id"]], "pixels": pixels[row["row_id"]]} for row in rows
    }
    return found | {"facts": facts, "files": sorted(path.name for path in out.iterdir())}


def test_pictures_and_masks_are_paired_united_and_resized(folder: Path, tmp_path: Path) -> None:
    """Equal names and ``_mask`` behind one; 0/255 and 0/1; the labels say what is there; pixels are the picture's."""
    found = snapshot(source(spacing=0.5), folder, tmp_path / "out")
    expected = np.zeros((16, 16), np.uint8)
    expected[:4, :4] = 1
    expected[8:12, 8:] = 1
    assert np.array_equal(found["p1_a.png"]["mask"], expected)
    assert (found["p1_a.png"]["label"], found["p1_a.png"]["share"]) == (1, 48 / 256)
    assert found["p1_b.png"]["mask"][4:8, 4:8].all()
    assert found["p1_b.png"]["mask"].sum() == 16
    assert (found["p3_a.jpeg"]["label"], found["p3_a.jpeg"]["share"]) == (0, 0.0)
    assert found["p1_a.png"]["subject_id"] == found["p1_b.png"]["subject_id"] != found["p2_a.png"]["subject_id"]
    assert (found["p2_a.png"]["spacing_down"], found["p2_a.png"]["spacing_across"]) == (1.0, 1.0)
    plain = decode_file(folder / "images" / "p2_a.png", Target(16, 16, 1, False, 65535))
    assert np.array_equal(found["p2_a.png"]["pixels"], plain.pixels)
    assert found["p2_a.png"]["content_hash"] == plain.content_hash
    assert found["facts"].unit == "patient"
    assert found["files"] == [
        "identifiers.parquet", "images.parquet", "labels.parquet", "masks.npy", "picture_identifiers.parquet",
        "pixels.npy",
    ]  # fmt: skip
    snapshot(source(spacing=0.5), folder, tmp_path / "again")
    for file in found["files"]:
        assert (tmp_path / "out" / file).read_bytes() == (tmp_path / "again" / file).read_bytes()
    roles = {role for role, _ in raw_files(source(), folder)}
    assert roles == {"images/*", "masks/*"}


def test_a_picture_without_a_mask_is_refused_unless_the_problem_says_what_it_means(
    folder: Path, tmp_path: Path
) -> None:
    """``no_finding`` is an empty mask, and counted."""
    (folder / "Masks" / "p2_a.png").unlink()
    with pytest.raises(DataRefused, match="pictures have no mask") as told:
        raw_files(source(), folder)
    assert told.value.received == "1 of 4 pictures without one"
    found = snapshot(source(missing="no_finding"), folder, tmp_path / "out")
    assert (found["p2_a.png"]["label"], found["p2_a.png"]["mask"].max()) == (0, 0)
    assert found["facts"].counts["picture_without_mask"] == 1


def _stray(data: Path) -> None:
    box(0, 0, 1, 1).save(data / "Masks" / "nobody.png")


def _twice(data: Path) -> None:
    picture(9).save(data / "images" / "p1_a.jpeg")


def _third(data: Path) -> None:
    (data / "other").mkdir()


def _loose(data: Path) -> None:
    picture(9).save(data / "p9_a.png")


def _deep(data: Path) -> None:
    (data / "images" / "more").mkdir()


@pytest.mark.parametrize(
    ("spoil", "wrong", "received"),
    [
        (_stray, "masks belong to no picture", "1 masks of other names"),
        (_twice, "two pictures have one name", "the same name as png and jpeg"),
        (_third, "not laid out as pictures with masks", "3 folders, 2 of those names"),
        (_loose, "pictures lie outside images and masks", "1 pictures beside the folders"),
        (_deep, "the folder images does not hold files alone", "1 folders and 4 files"),
    ],
)
def test_layouts_that_cannot_be_paired_are_refused_without_a_name(
    folder: Path, spoil: Callable[[Path], None], wrong: str, received: str
) -> None:
    """What is wrong, how much of it, and no file's name, which may come from a patient."""
    spoil(folder)
    with pytest.raises(DataRefused, match=wrong) as told:
        raw_files(source(), folder)
    assert received in told.value.received
    assert "p1" not in str(told.value)
    assert "nobody" not in str(told.value)


def test_a_faulty_mask_takes_its_picture_with_it_and_validation_says_why(tmp_path: Path) -> None:
    """Another size, other values, no PNG, cut short; copies with two masks; all else stays."""
    data = tmp_path / "data"
    for name in ("images", "masks"):
        (data / name).mkdir(parents=True)
    for number in range(40):
        picture(number).save(data / "images" / f"p{number}_a.png")
        box(0, 0, 8 + number % 4, 8).save(data / "masks" / f"p{number}_a.png")
    box(0, 0, 8, 8, side=31).save(data / "masks" / "p0_a.png")
    box(0, 0, 8, 8, 128).save(data / "masks" / "p1_a.png")
    box(0, 0, 8, 8).save(data / "masks" / "p2_a.png", format="JPEG")
    whole = (data / "masks" / "p3_a.png").read_bytes()
    (data / "masks" / "p3_a.png").write_bytes(whole[: len(whole) // 2])
    for name in ("p5_a", "p5_b"):
        picture(99).save(data / "images" / f"{name}.png")
    box(0, 0, 20, 8).save(data / "masks" / "p5_b.png")
    workspace = Workspace(tmp_path / "home")
    made = ingest(workspace, source(), data).record
    report = validate(workspace, made, catalogue_suite("image_masks")).record
    assert report.passed, report.failures
    assert report.set_aside == {
        "unreadable_mask": 2,
        "mask_of_another_size": 1,
        "strange_mask_values": 1,
        "conflicting_labels": 2,
    }
    assert {name: made.counts[name] for name in ("unreadable_mask", "mask_of_another_size")} == {
        "unreadable_mask": 2,
        "mask_of_another_size": 1,
    }


def test_pictures_to_predict_need_no_mask_and_never_take_one_for_a_picture(folder: Path, tmp_path: Path) -> None:
    """The set's own layout gives its pictures; any other folder, or one file, is taken as it is."""
    plain = unlabelled(source())
    found = snapshot(plain, folder, tmp_path / "out")
    assert {name for name in found if name.startswith("p")} == {"p1_a.png", "p1_b.png", "p2_a.png", "p3_a.jpeg"}
    assert "masks.npy" not in found["files"]
    assert found["p1_a.png"]["label"] is None
    assert len(raw_files(plain, folder / "images")) == 4
    assert len(raw_files(plain, folder / "images" / "p1_a.png")) == 1
    assert elsewhere(source()) == source()
    assert set(reading(source())) == {"kind", "findings", "size", "channels", "resize", "white"}


@settings(max_examples=30, deadline=None)
@given(st.integers(5, 40), st.integers(5, 40), st.booleans(), st.integers(0, 1000))
def test_a_mask_lies_as_a_picture_of_it_would(height: int, width: int, pad: bool, seed: int) -> None:
    """At any size the pixels of a mask are those whose share in the resized picture is a half or more."""
    generator = np.random.default_rng(seed)
    mask = (generator.random((height, width)) < generator.random()).astype(np.uint8)
    import io

    from medai.sources.pictures.decoding import decode

    file = io.BytesIO()
    Image.fromarray(mask * 255).save(file, format="PNG")
    drawn = decode(file.getvalue(), Target(12, 16, 1, pad, 65535)).pixels
    assert drawn is not None
    small = resized(mask, (12, 16), 1, pad=pad)
    shares = drawn[..., 0] / 255
    assert not small[shares < 0.49].any() or small.sum() == 1
    assert small[shares > 0.51].all()
    high, wide = inner((height, width), (12, 16), pad=pad)
    assert (high, wide) == (12, 16) if not pad else high == 12 or wide == 16


def test_findings_are_numbers_and_none_is_lost(tmp_path: Path) -> None:
    """The largest share decides, the larger number of equals; what is too small keeps its best pixel."""
    mask = np.zeros((8, 8), np.uint8)
    mask[:4, :4], mask[4:, :] = 1, 2
    assert resized(mask, (2, 2), 2, pad=False).tolist() == [[1, 0], [2, 2]]
    speck = np.zeros((32, 32), np.uint8)
    speck[30, 3] = 1
    kept = resized(speck, (4, 4), 1, pad=False)
    assert (kept.sum(), kept[3, 0]) == (1, 1)
    Image.fromarray(mask).save(tmp_path / "mask.png")
    assert np.array_equal(read_mask(tmp_path / "mask.png", (8, 8), 2), mask)
    assert read_mask(tmp_path / "mask.png", (8, 8), 1) == "strange_mask_values"


@pytest.mark.parametrize(
    ("keys", "word"),
    [
        ({"subject": "p(?P<who>[0-9]+)"}, "group named subject"),
        ({"subject": "("}, "cannot be read"),
        ({"size": [0, 16]}, "between 1 and 4096"),
        ({"spacing": 0}, "greater than 0"),
        ({"findings": 0}, "greater than or equal to 1"),
    ],
)
def test_options_that_cannot_be_followed(keys: dict[str, Any], word: str) -> None:
    """Refused before any work."""
    with pytest.raises(ValidationError, match=word):
        source(**keys)
