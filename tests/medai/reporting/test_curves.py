"""``draw``: which figures a run has, and what their key holds."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from medai.reporting import draw


def test_the_key_holds_scores_candidates_outputs_and_the_choice(stays: Any) -> None:
    """Change one of them, and other figures are drawn; drawn again, they are found."""

    def key(**changes: Any) -> str:
        given = {
            "outputs": stays.outputs,
            "chosen": "net",
            "candidates": stays.candidates,
            "scorecards": stays.scorecards,
        }
        return draw(stays.workspace, **(given | changes)).record.key

    first = key()
    assert draw(stays.workspace, stays.outputs, "net", stays.candidates, stays.scorecards).reused
    renamed = stays.outputs["answer"].model_copy(update={"classes": {0: "alive", 1: "died"}})
    assert key(outputs={"answer": renamed}) != first
    assert key(chosen="logistic_regression") != first


def test_a_decision_curve_is_drawn_for_two_classes_only(stays: Any, several_findings: Any) -> None:
    """Several findings have no one threshold to act at."""
    assert "net_benefit" in stays.figures().files
    assert "net_benefit" not in several_findings.figures().files
    folder = stays.workspace.folder("draw", stays.figures().key)
    assert {path.name for path in folder.glob("*.svg")} == set(stays.figures().files.values())


def test_a_reused_report_imports_no_plotting() -> None:
    """Reporting itself imports neither matplotlib, nor jinja2, nor polars, nor PIL."""
    code = "import medai.reporting, sys; print(sorted({'matplotlib', 'jinja2', 'polars', 'PIL'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
