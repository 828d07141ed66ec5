"""What becomes of a retraining, and what people read of it."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.arrivals import BEGUN
from flows.retrain import SETTLED, Retraining, body_of, retrain, subject_of
from flows.turns import turn
from medai.errors import ConfigurationError, DataRefused, ServiceFailed
from medai.workspace import Workspace


@pytest.fixture
def served(environment: dict[str, str]) -> Iterator[str]:
    """The session's Prefect server for this process; what a flow puts into the environment is taken back."""
    before = dict(os.environ)
    with temporary_settings({PREFECT_API_URL: environment["PREFECT_API_URL"]}):
        yield environment["PREFECT_API_URL"]
    os.environ.clear()
    os.environ.update(before)


def became(outcome: str, **facts: Any) -> Retraining:
    """A retraining of ``sepsis`` on a schedule."""
    return Retraining.model_validate({"problem": "sepsis", "causes": ("schedule",), "outcome": outcome, **facts})


@pytest.mark.parametrize(
    ("outcome", "line"),
    [
        ("promoted", "sepsis: version 3 is champion"),
        ("refused", "sepsis: version 3 was refused"),
        ("insufficient_evidence", "sepsis: too few patients to judge version 3"),
        ("awaiting_approval", "sepsis: version 3 waits for a person's approval"),
        ("no_gate", "sepsis: version 3 was made; there is no gate"),
        ("waiting", "sepsis: a decision waits for MLflow; who serves stays meanwhile"),
        ("nothing_new", "sepsis: nothing new to learn from"),
        ("data_refused", "sepsis: the data were refused"),
        ("failed", "sepsis: the retraining failed"),
    ],
)
def test_each_outcome_has_its_line(outcome: str, line: str) -> None:
    """One line says what became of it."""
    assert subject_of(became(outcome, version=3)) == line


def test_a_message_says_who_serves_why_and_where_to_look() -> None:
    """Champion before and now, the causes, each reason, the page of the run and of the version."""
    text = body_of(
        became(
            "promoted",
            version=3,
            causes=("medai.drift.detected", "schedule"),
            reasons=("auroc 0.91 [0.88, 0.94]", "positives in gate: 210 patients"),
            champion=3,
            champion_before=2,
            report="/state/store/report/k/report.html",
            links={"prefect": "http://p/runs/flow-run/1", "mlflow": "http://m/#/models/sepsis/versions/3"},
        )
    )
    assert text.splitlines() == [
        "sepsis: version 3 is champion",
        "champion: version 3 (before: version 2)",
        "cause: medai.drift.detected, schedule",
        "- auroc 0.91 [0.88, 0.94]",
        "- positives in gate: 210 patients",
        "report: /state/store/report/k/report.html",
        "prefect: http://p/runs/flow-run/1",
        "mlflow: http://m/#/models/sepsis/versions/3",
    ]


def test_a_refusal_is_told_with_its_next_step() -> None:
    """The error's three parts and what to do, in place of reasons; nobody stands, and that is said."""
    error = DataRefused("rows are missing", expected="100", received="3", action="look at the export")
    assert body_of(became("data_refused", reasons=(error.wrong,)), error).splitlines() == [
        "sepsis: the data were refused",
        "champion: nobody",
        "cause: schedule",
        "rows are missing.",
        "  expected: 100",
        "  received: 3",
        "  next step: look at the export",
    ]


def test_a_run_of_no_deployment_takes_nobody_s_turn() -> None:
    """Called by a person or a test, there is no queue to look at."""
    with turn() as others:
        assert others == []


@pytest.mark.usefixtures("served")
def test_what_ends_a_retraining_is_raised(
    problems: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Gone data refuse, an unknown recipient is a mistake of whoever named it, and that it began is on record."""
    monkeypatch.setenv("MEDAI_HOME", str(tmp_path / "home"))
    problem = problems.pictures("vanishing", data=None)
    with pytest.raises(DataRefused, match="is missing"):
        retrain(problem, str(tmp_path / "gone.npz"))
    workspace = Workspace(tmp_path / "home")
    assert "began" in workspace.receipt(BEGUN, "vanishing")
    assert workspace.receipt(SETTLED, "vanishing") == {}
    with pytest.raises(ConfigurationError, match="the list of whom to notify"):
        retrain(problem, str(tmp_path), notify="https://hooks.ward.example")
    with caplog.at_level(logging.WARNING), pytest.raises(ConfigurationError, match="nobody said where"):
        retrain(problem, notify="slack-webhook/nobody")
    assert "slack-webhook/nobody was not notified" in caplog.text


@pytest.mark.usefixtures("served")
def test_one_retraining_of_a_problem_at_a_time(problems: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of two deployments: the second waits for the first, for as long as MEDAI_LOCK_SECONDS says."""
    monkeypatch.setenv("MEDAI_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MEDAI_LOCK_SECONDS", "0.3")
    with (
        Workspace(tmp_path / "home").lock("retrain-deployed_twice"),
        pytest.raises(ServiceFailed, match="another run still holds retrain-deployed_twice"),
    ):
        retrain(problems.pictures("deployed_twice"))


@pytest.mark.usefixtures("served")
def test_a_full_disk_is_told_as_the_machine_s_failure(
    problems: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """People are told even of what medai did not raise itself, by its kind and without its text."""
    told: list[Retraining] = []
    monkeypatch.setenv("MEDAI_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("flows.retrain.tell", lambda became, *_: told.append(became) or {})
    for failure in (OSError(errno.ENOSPC, "No space left on device"), KeyError("doe john")):

        def fail(*_: object, failure: Exception = failure) -> None:
            raise failure

        monkeypatch.setattr("flows.retrain.retrained", fail)
        with pytest.raises(type(failure)):
            retrain(problems.pictures("on_a_full_disk"))
    assert [one.outcome for one in told] == ["failed", "failed"]
    assert [one.reasons for one in told] == [
        ("the disk is full",),
        ("KeyError; its traceback is in the run's log",),
    ]
    assert told[0].problem == "on_a_full_disk"


@pytest.mark.slow
def test_what_a_person_ran_is_nothing_new(
    medai: Any, problems: Any, home: Path, served: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same question on the same data, judged by hand before: nobody is promoted twice, and the second look is
    shorter. Another seed is something new.
    """
    problem = problems.pictures("run_by_hand")
    assert medai.run(problem, home=home)["decision"] == "promoted"
    monkeypatch.setenv("MEDAI_HOME", str(home))
    first, second = retrain(problem), retrain(problem)
    assert first["outcome"] == second["outcome"] == "nothing_new"
    assert (first["champion_before"], first["champion"], first["version"]) == (1, 1, 1)
    assert first["steps"]["train"] == "reused"
    assert second["steps"] == {"data": "settled", "check": "passed"}
    assert second["reasons"] == ["version 1 was made of these data and this question, and was judged"]
    made_of = Workspace(home).receipt(SETTLED, "run_by_hand")["made_of"]
    medai.run(problem, "--seed", "1", home=home)
    assert retrain(problem, seed=1)["version"] == 2
    assert Workspace(home).receipt(SETTLED, "run_by_hand")["made_of"] != made_of


@pytest.mark.slow
def test_a_retraining_while_mlflow_is_down_ends_and_its_promotion_is_told_once_it_holds(
    medai: Any, problems: Any, home: Path, served: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no failure, and nobody is called champion who is not; after the delivery the next run tells of it, once."""
    problem = problems.pictures("retrained_without_mlflow")
    told: list[str] = []
    monkeypatch.setattr("flows.retrain.notify", lambda _names, subject, _body: told.append(subject) or {})
    monkeypatch.setenv("MEDAI_HOME", str(home))
    monkeypatch.setenv("MEDAI_NOTIFY", "slack-webhook/ward")
    monkeypatch.setenv("MEDAI_TRACKING_URI", "http://127.0.0.1:9")
    for waiting in (retrain(problem), retrain(problem)):
        assert (waiting["outcome"], waiting["version"], waiting["champion"]) == ("waiting", None, None)
        assert waiting["steps"]["gate"] == "promoted"
        assert waiting["steps"]["champion"] == "none"
    monkeypatch.delenv("MEDAI_TRACKING_URI")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert medai("sync", home=home).status == 0
    assert (retrain(problem)["outcome"], retrain(problem)["outcome"]) == ("promoted", "nothing_new")
    waits = "medai: retrained_without_mlflow: a decision waits for MLflow; who serves stays meanwhile"
    assert told == [waits, waits, "medai: retrained_without_mlflow: version 1 is champion"]
