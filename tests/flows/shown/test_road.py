"""What ``medai run`` and ``check`` tell a person, case by case: no road is run."""

from __future__ import annotations

from typing import Any

import pytest

from flows.shown import road as shown

SURE = {"value": 1.0, "low": 1.0, "high": 1.0}


def outcome_of(**changes: Any) -> dict[str, Any]:
    """An outcome as ``Run.outcome`` gives it."""
    return {
        "question": "Will this stay end in death?",
        "problem": "death",
        "model": "net",
        "cohort": {"samples": 62, "subjects": 60, "unit": "image"},
        "metrics": {"death": {"auroc": SURE}},
        "folders": {},
        "drift": None,
        "baselines": {"logistic_regression": {"auroc": 0.5, "ppv": 0.25}},
        "test_openings": 1,
        "test_openings_when_decided": 1,
        "rarest": {"label": "died", "samples": 90, "subjects": 2, "unit": "patient"},
        "version": 1,
        "decision": "refused",
        "withdrawn": None,
        "waiting": [],
        "run_id": "r",
        "conditions": [],
        "reasons": [],
        "awaits_approval": False,
        "champion": None,
        "report": "report.html",
        "reproduce": "medai run death",
    } | changes


def test_a_figure_of_two_cases_has_a_caveat(capsys: pytest.CaptureFixture[str]) -> None:
    """Beside the figures; what the chosen model has not is shown for the others."""
    shown.run(outcome_of())
    told = capsys.readouterr().out
    assert "62 samples of 60 different images · net" in told
    assert "test, opened for 1 candidate\n" in told
    assert "only 2 patients with died: an interval cannot show the uncertainty of auroc\n" in told
    assert [line.split() for line in told.splitlines() if line.strip().startswith("ppv")] == [["ppv", "–", "0.250"]]
    shown.run(outcome_of(rarest={"label": "died", "samples": 10, "subjects": 10, "unit": "image"}))
    assert "uncertainty" not in capsys.readouterr().out


def test_of_many_findings_the_first_figure_of_each_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """Fourteen findings have 154 figures of their own; the terminal shows what fits, and says where the rest is."""
    figures = {name: SURE for name in ("auroc", "auroc/edema", "auroc/mass", "ece", "ece/edema", "ece/mass")}
    shown.run(outcome_of(metrics={"findings": figures}, baselines={}))
    told = capsys.readouterr().out
    firsts = [line.split()[0] for line in told.splitlines() if line.strip().startswith(("auroc", "ece"))]
    assert firsts == ["auroc", "auroc/edema", "auroc/mass", "ece"]
    assert "2 more figures of single findings are in the report\n" in told


def test_each_condition_has_its_mark_and_an_open_approval_its_command(capsys: pytest.CaptureFixture[str]) -> None:
    """Met, not asked, not met or not judged, and what only a person can meet."""
    conditions = [
        {"name": name, "passed": passed, "judged": judged, "awaits": awaits, "figure": "7", "required": "8"}
        for name, passed, judged, awaits in (
            ("a", True, True, False), ("b", True, False, False), ("c", False, True, False), ("d", False, False, False),
            ("e", False, False, True),
        )
    ]  # fmt: skip
    shown.run(outcome_of(conditions=conditions, decision="awaiting_approval", awaits_approval=True))
    told = capsys.readouterr().out
    assert [line[2] for line in told.splitlines() if line.endswith("7 (required: 8)")] == ["✓", "–", "✗", "✗", "…"]
    assert "decision: awaiting approval (version 1, run r)" in told
    assert "`medai promote death 1 --reason …` approves it\nchampion: none" in told


def test_too_little_evidence_tells_what_would_help(capsys: pytest.CaptureFixture[str]) -> None:
    """More patients, or a person; nothing where there is no version yet."""
    shown.run(outcome_of(decision="insufficient_evidence"))
    told = "data of more patients let the gate judge it; a person may `medai promote death 1 --reason …`\n"
    assert told in capsys.readouterr().out
    shown.run(outcome_of(decision="insufficient_evidence", version=None))
    assert "a person may" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        ({"column": "", "unexpected": 0, "evaluated": 0}, "blocking: why in images: no row to judge\n"),
        ({"column": "", "unexpected": 0, "evaluated": 7}, "blocking: why in images: a table of 7 rows\n"),
        (
            {"reason": "class_empty", "column": "death.died", "unexpected": 0, "evaluated": 7},
            "blocking: class_empty in images death.died: none of 7 samples is of it\n",
        ),
        ({"column": "mean", "unexpected": 3, "evaluated": 7}, "blocking: why in images mean: 3 of 7 rows\n"),
    ],
)
def test_a_blocking_rule_is_told_by_what_broke_it(
    failure: dict[str, Any], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rows, the table as a whole, or no row at all."""
    empty: dict[str, Any] = {"set_aside": {}, "warned": {}, "settled_by_reader": {}, "folders": {}, "drift": None}
    failure = {"table": "images", "reason": "why", "blocking": True} | failure
    shown.check(empty | {"passed": False, "rules": 1, "tables": {"images": 7}, "failures": [failure]})
    assert capsys.readouterr().out.endswith(told)


def test_each_folder_is_told_with_the_class_that_it_means(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing but a person's eye can tell that it is the right one."""
    pairs = [{"folder": "sick", "class": "pneumonia", "samples": 120}]
    shown.run(outcome_of(folders={"death": pairs}))
    assert "folder sick → pneumonia: 120\n" in capsys.readouterr().out
