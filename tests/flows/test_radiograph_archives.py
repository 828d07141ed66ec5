"""Fourteen findings from files of ChestX-ray14's layout to a champion, and the champion on another site."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow  # one process and server of its own: two minutes on a busy machine

UNSEEN = ("Fibrosis", "Infiltration", "Nodule", "Pneumonia")
SIZE = ("--set", "inputs.radiograph.source.size=[32,32]", "--set", "inputs.radiograph.preprocessing.size=[32,32]")
NET = (
    "--set", "training.epochs=10", "--set", "training.learning_rate=0.004", "--set", "gate.minimum_positives=5",
    "--set", "evaluation.resamples=100", "--set", "gate.subgroups=null",
    "--set", "inputs.radiograph.encoder.kind=small_cnn", "--set", "inputs.radiograph.encoder.filters=[16,32]",
)  # fmt: skip


def test_planted_findings_are_learnt_and_the_gap_elsewhere_is_told(medai: Any, tmp_path: Path) -> None:
    """Each planted finding is found, none of the others; on a darker site of other patients figures are lower; groups
    by view, sex and age band; the page tells the gap.
    """
    home, own, there = tmp_path / "home", tmp_path / "own", tmp_path / "there"
    size = ("--size", "64")
    medai("synth", "nih", str(own), "--patients", "800", "--seed", "1", *size, home=home)
    medai(
        "synth", "nih", str(there), "--patients", "250", "--seed", "2", "--first-patient", "900001",
        "--exposure", "0.15", "--contrast", "0.5", "--archives", "2", *size, home=home,
    )  # fmt: skip
    found = medai.run("nih_chest_xray", "--data", str(own), *SIZE, *NET, home=home)
    assert found["decision"] == "promoted", found["reasons"]
    assert found["cohort"]["unit"] == "patient"
    metrics = found["metrics"]["findings"]
    figures = {name.partition("/")[2]: one["value"] for name, one in metrics.items() if name.startswith("auroc/")}
    assert len(figures) == 14
    for finding, figure in figures.items():
        assert (0.35 < figure < 0.65) if finding in UNSEEN else figure >= 0.8, (finding, figure)
    site = tmp_path / "site.yaml"
    site.write_text("source: {kind: nih_chest_xray, size: [32, 32]}\ngroups: [sex]\n")
    answer = medai(
        "evaluate", "nih_chest_xray", "--data", str(there), "--source", str(site), *SIZE, *NET, "--json", home=home
    )
    assert answer.status == 0, answer.err
    told = answer.json
    assert told["missing"] == []
    assert told["gap"]["brier"]["difference"]["low"] > 0
    assert told["gap"]["auroc"]["difference"]["value"] < 0
    assert told["gap"]["auroc"]["own"] == pytest.approx(metrics["auroc"]["value"])
    assert {one["level"] for one in told["subgroups"]["findings"]} == {"F", "M"}
    assert "Gap to the champion" in Path(told["report"]).read_text()
