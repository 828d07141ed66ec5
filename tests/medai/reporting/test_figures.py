"""Figures as files."""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from medai.records import Measure
from medai.reporting.figures import (
    Curve,
    Reliability,
    draw_calibration,
    draw_confusion,
    draw_net_benefit,
    draw_precision_recall,
    draw_roc,
    draw_training,
)

MEASURE = Measure(value=0.93, low=0.9, high=0.96)
CURVES = [Curve("net", [0, 0.1, 1], [0, 0.9, 1], MEASURE), Curve("costs $5 & <more>", [0, 1], [0, 1])]
NAN = float("nan")

FIGURES: dict[str, Callable[[Path], None]] = {
    "roc": lambda path: draw_roc(path, CURVES),
    "precision_recall": lambda path: draw_precision_recall(path, CURVES, prevalence=0.4),
    "calibration": lambda path: draw_calibration(
        path, [Reliability("net", [0.1, NAN, 0.9], [0.2, NAN, 0.8], [5, 0, 7], MEASURE)]
    ),
    "net_benefit": lambda path: draw_net_benefit(
        path,
        [Curve("net", [0.1, 0.5, 0.9], [0.3, 0.2, -0.4])],
        everybody=Curve("act on everybody", [0.1, 0.5, 0.9], [0.3, 0.0, -4.0]),
        threshold=0.8,
    ),
    "confusion": lambda path: draw_confusion(path, ((8, 2), (0, 0)), ("normal", "a rather long name of a finding")),
    "findings": lambda path: draw_confusion(
        path, ((8, 2, 1, 4), (1, 2, 3, 4), (0, 0, 0, 15)), ("effusion", "oedema", "mass"), ("TN", "FP", "FN", "TP")
    ),
    "training": lambda path: draw_training(
        path, {"loss": [0.7, 0.5, 0.4], "val_loss": [0.7, 0.6, NAN], "auroc": [0.7, 0.8, 0.9]}, kept=2
    ),
    "one_epoch": lambda path: draw_training(path, {"loss": [0.7]}),
}


@pytest.mark.parametrize("name", FIGURES)
def test_svg_is_well_formed_dateless_and_the_same_twice(name: str, tmp_path: Path) -> None:
    """Each figure is valid SVG without a date or a version, and drawn again it is the same file."""
    paths = tmp_path / "one.svg", tmp_path / "two.svg"
    for path in paths:
        FIGURES[name](path)
    data = paths[0].read_bytes()
    assert data == paths[1].read_bytes()
    assert ElementTree.fromstring(data).tag == "{http://www.w3.org/2000/svg}svg"  # noqa: S314  our own file
    assert b"dc:date" not in data
    assert b"Matplotlib v" not in data
    assert len(data) < 150_000


def test_png_is_the_same_twice(tmp_path: Path) -> None:
    """PNG files carry no software tag and are the same each time."""
    paths = tmp_path / "one.png", tmp_path / "two.png"
    for path in paths:
        FIGURES["roc"](path)
    data = paths[0].read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert data == paths[1].read_bytes()
    assert b"Software" not in data


def test_settings_of_the_process_stay_as_they_were(tmp_path: Path) -> None:
    """A user's own matplotlib settings neither change a figure nor are changed by one; pyplot is not imported."""
    code = f"""
import sys, pathlib, matplotlib
from medai.reporting.figures import Curve, draw_roc
folder = pathlib.Path({str(tmp_path)!r})
draw_roc(folder / "plain.svg", [Curve("net", [0, 1], [0, 1])])
matplotlib.rcParams["font.size"] = 30
matplotlib.rcParams["lines.linewidth"] = 9
draw_roc(folder / "other.svg", [Curve("net", [0, 1], [0, 1])])
print(matplotlib.rcParams["font.size"], "matplotlib.pyplot" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "30.0 False\n"
    assert (tmp_path / "plain.svg").read_bytes() == (tmp_path / "other.svg").read_bytes()


def test_curves_of_two_models_look_different(tmp_path: Path) -> None:
    """Another curve, another measure: another file."""
    for name, y in (("a", 0.9), ("b", 0.8)):
        draw_roc(tmp_path / f"{name}.svg", [Curve("net", np.array([0, 0.1, 1]), np.array([0, y, 1]), MEASURE)])
    assert (tmp_path / "a.svg").read_bytes() != (tmp_path / "b.svg").read_bytes()


def test_importing_the_module_does_not_import_matplotlib() -> None:
    """matplotlib takes a second to import: only drawing does it."""
    code = "import medai.reporting.figures, sys; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_without_a_positive_the_decision_curve_has_a_height(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    """Nothing is gained anywhere: the figure is drawn, and no warning reaches the terminal."""
    thresholds, nothing = np.array([0.1, 0.5, 0.9]), np.zeros(3)
    curves = [Curve("net", thresholds, nothing)]
    everybody = Curve("act on everybody", thresholds, np.array([-0.1, -1.0, -9.0]))
    draw_net_benefit(tmp_path / "none.svg", curves, everybody=Curve("all", thresholds, nothing), threshold=0.5)
    draw_net_benefit(tmp_path / "less.svg", curves, everybody=everybody, threshold=0.5)
    assert (tmp_path / "none.svg").stat().st_size > 1000
    assert not recwarn.list
