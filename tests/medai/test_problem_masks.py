"""A Problem of masks is refused before any work where its parts do not fit together."""

from __future__ import annotations

from pathlib import Path

import pytest

from medai.errors import ConfigurationError
from medai.problem import load_problem

TWO = "outputs.lesion.classes={0: background, 1: core, 2: rim}"


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["threshold.method=youden"], "threshold.method 'youden' does not fit a mask; use dice or fixed"),
        (["calibration.method=platt"], "the pixels of a mask are not calibrated; use 'none'"),
        (["training.class_weights=balanced"], "the Dice loss of a mask weighs its classes alike"),
        (["baselines.forest={kind: gradient_boosting}"], "'gradient_boosting' does not fit the output"),
        (["inputs.picture.encoder={kind: small_cnn}"], "'small_cnn' does not fit a source of pictures with masks"),
        (["choose_metric=auroc"], "there is no metric 'auroc'"),
        (["gate.floors={hd95: 0.5}"], "lower is better for hd95"),
        ([TWO], "2 findings, but the source's masks hold 1"),
        ([TWO, "inputs.picture.source.findings=2"], "one grey level marks one finding"),
        (["outputs.lesion.classes={1: lesion, 2: rim}"], "numbered from 0, the background"),
        (
            ["inputs.picture.source.size=[62, 64]", "inputs.picture.preprocessing.size=[62, 64]"],
            "must be a multiple of 4",
        ),
        (["inputs.picture.preprocessing.size=[32, 32]"], "size and channels must be the source's own"),
        (["inputs.picture.source={kind: medmnist}"], "needs a source with masks, not 'medmnist'"),
    ],
)
def test_what_does_not_fit_a_mask_is_named(overrides: list[str], words: str) -> None:
    """The key, what it holds, and what would fit."""
    with pytest.raises(ConfigurationError) as told:
        load_problem("synthetic_lesions", overrides)
    assert words in str(told.value)


def test_what_is_of_masks_alone_is_refused_elsewhere() -> None:
    """A whole picture has no Dice threshold, no grey level and no U-Net."""
    for override, words in (
        ("threshold={method: dice}", "threshold.method 'dice' does not fit scores of whole samples"),
        ("baselines.level={kind: global_threshold}", "'global_threshold' does not fit the output"),
        ("inputs.picture.encoder={kind: unet}", "'unet' does not fit a source of pictures"),
    ):
        with pytest.raises(ConfigurationError) as told:
            load_problem("synthetic_pictures", [override])
        assert words in str(told.value)


def test_several_findings_and_a_whole_picture_question_can_be_asked_of_masks(tmp_path: Path) -> None:
    """Classes numbered on from the background; or a binary output: does the picture show any lesion?"""
    several = load_problem("synthetic_lesions", [TWO, "inputs.picture.source.findings=2", "baselines={}"])
    output = several.outputs["lesion"]
    assert (output.columns, output.names) == (3, ("no core or rim", "core or rim"))
    whole = load_problem(
        "synthetic_lesions",
        [
            "outputs.lesion={kind: binary, classes: {0: none, 1: lesion}, positive: lesion}",
            "inputs.picture.encoder={kind: residual_cnn}",
            "baselines={}",
            "threshold={}",
            "choose_metric=auroc",
            "gate={role: test, floors: {auroc: 0.7}}",
        ],
    )
    assert whole.outputs["lesion"].kind == "binary"
