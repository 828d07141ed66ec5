"""``medai problems`` and ``show``."""

from pathlib import Path
from typing import Any

import yaml


def test_problems_and_show(medai: Any, home: Path) -> None:
    """The catalogue by name; one problem with every key, overrides applied."""
    listed = medai("problems", "--json", home=home).json["problems"]
    assert {"pneumonia_mnist", "breast_mnist", "physionet2012_mortality", "synthetic_pictures"} <= set(listed)
    assert "pneumonia_mnist" in medai("problems", home=home).out
    shown = medai("show", "synthetic_stays", "--set", "training.epochs=3", home=home)
    resolved = yaml.safe_load(shown.out)
    assert (resolved["training"]["epochs"], resolved["training"]["label_smoothing"]) == (3, 0.0)
    same = medai("show", "synthetic_stays", "--set", "training.epochs=3", "--json", home=home).json
    assert same["split"] == resolved["split"]
