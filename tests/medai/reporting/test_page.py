"""``report``: one self-contained page, with every figure of the run and no patient in it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medai.records import (
    Candidate,
    Comparison,
    Condition,
    Decision,
    Environment,
    Figures,
    Measure,
    Member,
    Scorecard,
    Subgroup,
)
from medai.reporting import Content, write_page
from medai.workspace import Workspace

AUROC = Measure(value=0.8765, low=0.8012, high=0.9345)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A workspace with one drawn figure."""
    home = Workspace(tmp_path / "home")
    folder = home.folder("draw", "figures")
    folder.mkdir(parents=True)
    (folder / "roc.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"/>')
    return home


@pytest.fixture
def content(stay_road: Any) -> Callable[..., Content]:
    """A run's records: the stays' own, with a decision and figures made up."""

    def make(**changes: Any) -> Content:
        environment = Environment(threads=2, onednn=True, instruction_set="x86_64 AVX2", libraries={"keras": "3.15.1"})
        chosen = Candidate(
            key="c",
            name="net",
            members=(Member(kind="gru", weights_sha256="5" * 64, onnx_sha256="6" * 64),),
            thresholds={"death": (0.4321,)},
            calibration={},
            preprocessing={},
            outputs={},
            statistics={},
            trained_on={},
            seed=3,
            epochs=2,
            environment=environment,
        )
        group = Subgroup(group="ICUType", level="4", samples=33, positives=11, metrics={"auroc": AUROC})
        card = Scorecard(
            key="s",
            candidate="c",
            role="test",
            unit="stay",
            samples=31,
            subjects=31,
            confidence=0.95,
            resamples=200,
            classes={},
            metrics={"death": {"auroc": AUROC, "brier": Measure(value=0.1, low=0.05, high=0.15)}},
            confusion={},
            subgroups={"death": (group,)},
            rows_sha256="0",
            opens_test=True,
        )
        plain = card.model_copy(update={"metrics": {"death": {"auroc": AUROC}}, "subgroups": {}})
        keys: dict[str, Any] = {
            "problem": {"name": "synthetic_stays", "question": "Will <this> stay & that end in death?"},
            "seed": 3,
            "snapshot": stay_road.snapshot,
            "quality": stay_road.quality,
            "cohort": stay_road.cohort,
            "splits": stay_road.splits,
            "chosen": chosen,
            "scorecards": {"net": card, "logistic_regression": plain},
            "comparison": Comparison(
                key="d",
                scorecard="s",
                differences={"logistic_regression": {"auroc": Measure(value=0.0123, low=-0.01, high=0.03)}},
            ),
            "figures": Figures(key="figures", files={"roc": "roc.svg"}),
            "decision": Decision(
                key="e",
                verdict="refused",
                candidate="c",
                conditions=(
                    Condition(name="positives in gate", passed=True, figure="40", required="at least 30"),
                    Condition(name="death auroc in gate", passed=False, figure="0.60", required="at least 0.7"),
                ),
                reasons=("death auroc in gate: 0.60 (required: at least 0.7)",),
            ),
            "run_id": "run-1",
            "version": 7,
            "openings": 2,
        }
        return Content(**(keys | changes))

    return make


def page_of(workspace: Workspace, content: Content) -> str:
    """The page's text."""
    record = write_page(workspace, content).record
    return (workspace.folder("report", record.key) / record.file).read_text()


def rows_of(page: str) -> list[list[str]]:
    """Every table row as its cells' plain text."""
    cells = [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row) for row in re.findall(r"<tr>(.*?)</tr>", page, re.DOTALL)]
    return [[re.sub(r"<[^>]+>", "", cell) for cell in row] for row in cells]


def test_every_figure_of_the_run_stands_on_the_page(
    workspace: Workspace, content: Callable[..., Content], stay_road: Any
) -> None:
    """Decision, metrics with intervals, differences, subgroups, attrition, and how to make it again."""
    page = page_of(workspace, content())
    rows = rows_of(page)
    assert ["✓", "positives in gate", "40", "at least 30"] in rows
    assert ["✗", "death auroc in gate", "0.60", "at least 0.7"] in rows
    assert ["auroc", "0.876 [0.801, 0.934]", "0.876 [0.801, 0.934]"] in rows
    assert ["brier", "0.100 [0.050, 0.150]", "–"] in rows
    assert ["logistic regression", "auroc", "+0.0123 [-0.0100, +0.0300]"] in rows
    assert ["ICUType", "4", "33", "11", "0.876 [0.801, 0.934]", "–"] in rows
    for line in stay_road.cohort.attrition:
        assert [line.criterion, str(line.samples), str(line.subjects)] in rows
    assert ["model SHA-256", "5" * 64] in rows
    assert ["data SHA-256", stay_road.snapshot.data_sha256] in rows
    assert ["command", "medai run synthetic_stays --seed 3 on the same data"] in rows
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", page))
    assert "synthetic_stays · version 7 · seed 3" in text
    assert "Intervals: 95 % percentile bootstrap, 200 resamples of the stay." in text
    assert "opened for 2 candidates." in text
    assert "Threshold chosen on validation: 0.4321." in text
    assert '<span class="verdict refused">refused</span>' in page


def test_the_page_needs_no_network_and_runs_no_script(workspace: Workspace, content: Callable[..., Content]) -> None:
    """Figures are inside, text is escaped, and nothing is fetched."""
    page = page_of(workspace, content())
    assert page.count('src="data:image/svg+xml;base64,') == 1
    assert not re.findall(r"""(?:src|href)\s*=\s*["'](?!data:)""", page)
    assert "<script" not in page
    assert "url(" not in page
    assert "Will &lt;this&gt; stay &amp; that end in death?" in page


def test_the_page_names_no_patient(workspace: Workspace, content: Callable[..., Content], stay_road: Any) -> None:
    """Neither a subject id nor the site's own number of any stay stands on it."""
    import polars as pl

    page = page_of(workspace, content())
    identifiers = pl.read_parquet(stay_road.workspace.folder("ingest", stay_road.snapshot.key) / "identifiers.parquet")
    assert identifiers.height == 150
    for subject, site in identifiers.select("subject_id", "site_id").iter_rows():
        assert str(subject) not in page
        assert site not in page


def test_equal_runs_have_equal_pages(workspace: Workspace, content: Callable[..., Content]) -> None:
    """Found the second time; another decision is another page."""
    first, second = write_page(workspace, content()), write_page(workspace, content())
    assert (first.reused, second.reused) == (False, True)
    assert write_page(workspace, content(openings=3)).record.key != first.record.key


def test_without_a_gate_the_reason_stands_there(workspace: Workspace, content: Callable[..., Content]) -> None:
    """There is no table of conditions; one opening is one candidate, and nothing is compared."""
    reason = "the Problem has no gate, so nothing is promoted"
    page = page_of(
        workspace,
        content(
            decision=Decision(key="e", verdict="no_gate", candidate="c", reasons=(reason,)),
            comparison=Comparison(key="d", scorecard="s", differences={}),
            openings=1,
        ),
    )
    assert f"<p>{reason}</p>" in page
    assert "no gate</span>" in page
    assert "Paired differences" not in page
    text = re.sub(r"\s+", " ", page)
    assert "opened for 1 candidate." in text
