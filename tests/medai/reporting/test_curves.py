"""``draw``: which figures a run has, and what their key holds."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from medai.outputs import Output
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


def test_many_classes_are_drawn_together(
    picture_road: Any, scored: Callable[..., Any], several_findings: Any, output_of: Callable[..., Output]
) -> None:
    """Eleven names would cover the plot: one bold curve of all, each behind it; the page says what it shows."""
    findings = {f"c{number}": f"finding {number}" for number in range(11)}
    many = scored(picture_road, output_of(kind="multilabel", classes=findings), "eleven")

    def words(run: Any, figure: str) -> set[str]:
        folder = run.workspace.folder("draw", run.figures().key)
        return set(re.findall(r"<!-- (.*?) -->", (folder / run.figures().files[figure]).read_text()))

    for figure in ("roc", "precision_recall"):
        assert "each class alone" in words(many, figure)
        assert "finding 3" not in words(many, figure)
        assert "each class alone" not in words(several_findings, figure)
    assert "all classes together" in words(many, "calibration")
    assert "effusion" in words(several_findings, "roc")


def test_a_reused_report_imports_no_plotting() -> None:
    """Reporting itself imports neither matplotlib, nor jinja2, nor polars, nor PIL."""
    code = "import medai.reporting, sys; print(sorted({'matplotlib', 'jinja2', 'polars', 'PIL'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
