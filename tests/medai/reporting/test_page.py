"""``report``: one self-contained page, with every figure of the run, that tells whose data it holds."""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import pytest
import yaml

import medai.sources
from medai.problem import Problem
from medai.records import Comparison, Condition, Decision, Evidence, Failure, Measure, Screening, SingleColumn, Subgroup
from medai.reporting import Content, write_page
from medai.reporting.numbers import between, three
from medai.reporting.settled import FALLBACK, sentence
from medai.sources.physionet2012.stays import FAULTS as STAY_FAULTS
from medai.sources.pictures.decoding import FAULTS
from medai.sources.pictures.workers import REASONS

Page = Callable[[Any, Content], str]


def text_of(page: str) -> str:
    """What a reader sees, in one line."""
    body = re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", body))).replace("\u00a0", " ")


def rows_of(page: str) -> list[list[str]]:
    """Every table row as its cells' plain text."""
    rows = []
    for row in re.findall(r"<tr>(.*?)</tr>", page, re.DOTALL):
        cells = re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row, re.DOTALL)
        plain = [
            unescape(re.sub(r"<[^>]+>", " ", re.sub(r"<svg.*?</svg>", "", cell, flags=re.DOTALL))) for cell in cells
        ]
        rows.append([re.sub(r"\s+", " ", cell).strip() for cell in plain])
    return rows


def test_every_figure_of_the_run_stands_on_the_page(stays: Any, page_of: Page) -> None:
    """Decision, metrics with intervals, differences, subgroups, attrition, and how to make it again."""
    page = page_of(stays, stays.content(figures=stays.figures()))
    rows, text = rows_of(page), text_of(page)
    assert ["positives in gate", "40 stays", "at least 30", "✓ met"] in rows
    assert ["death AUROC in gate", "0.6000 [0.5000, 0.7000]", "lower bound at least 0.7", "✗ not met"] in rows
    auroc = stays.scorecards["net"].metrics["answer"]["auroc"]
    row = next(row for row in rows if row[0].startswith("AUROC chance"))
    assert row[1] == f"{auroc.value:.3f} ({auroc.low:.3f} to {auroc.high:.3f})"
    assert ["logistic regression", "AUROC", "+0.0123 (−0.0100 to +0.0300)", "no clear difference"] in rows
    group = next(row for row in rows if row[0] == "medical ICUType")
    assert group[1:] == ["33", "11 33.3 %", "", "0.876 (0.801 to 0.934)", "undefined", "undefined"]
    assert "ICUType: surgical (not told), ICUType: not recorded (fewer than 5)." in text
    assert "synthetic_stays · version 7 · seed 3" in text
    assert "95 % bootstrap, 100 resamples of the stay, percentiles; those of the ECE are centred" in text
    assert "opened for 2 candidates, this one included." in text
    assert "at least 0.500. It was chosen on the validation rows" in text
    for role, samples in stays.splits.samples.items():
        assert any(row[:3] == [role.capitalize(), str(samples), str(stays.splits.subjects[role])] for row in rows)
    for line in stays.cohort.attrition[:-1]:
        assert line.criterion in text
    for told in ("5" * 64, "6" * 64, stays.snapshot.data_sha256, stays.splits.test_sha256, "run-1", "keras 3.15.1"):
        assert told in text
    assert {"roc", "precision_recall", "calibration", "net_benefit", "confusion", "training"} == set(
        stays.figures().files
    )
    assert page.count('src="data:image/svg+xml;base64,') == 6


def test_the_summary_is_worked_out_from_the_run(stays: Any, page_of: Page) -> None:
    """What was asked, on how many, AUROC beside the best baseline, the verdict and the condition that decided."""
    net, other = (stays.scorecards[name].metrics["answer"]["auroc"] for name in ("net", "logistic_regression"))
    text = text_of(page_of(stays, stays.content()))
    card = stays.scorecards["net"]
    died = card.classes["answer"]["died"]
    assert (
        f"Asked “Will <this> stay & that end in death?”, the recurrent network (GRU) answered for {card.samples} stays"
        f" that it had not learnt from ({died} died, {100 * died / card.samples:.1f} %): AUROC {net.value:.3f}"
    ) in text
    assert f"no clear difference from the best baseline, logistic regression, at {other.value:.3f}" in text
    assert "It was refused, because of death AUROC in gate, at 0.6000 [0.5000, 0.7000] where the gate" in text
    assert "1 of 2 conditions are met." in text


@pytest.mark.parametrize(
    ("verdict", "failing", "told"),
    [
        ("promoted", None, "It was promoted, because all 2 conditions of the gate are met; the deciding one was floor"),
        ("refused", 1, "It was refused, because of floor, at 0.8 where the gate requires: lower bound at least 0.7"),
        ("insufficient_evidence", 0, "There is not enough evidence to promote or refuse it, because of positives"),
        ("awaiting_approval", 1, "It awaits a person's approval, because of floor, at 0.8"),
    ],
)
def test_each_verdict_names_what_decided_it(
    verdict: str, failing: int | None, told: str, stays: Any, page_of: Page
) -> None:
    """The first condition not met; of a promotion, the floor."""
    conditions = [
        Condition(name="positives", passed=failing != 0, figure="4", required="at least 30"),
        Condition(name="floor", passed=failing != 1, figure="0.8", required="lower bound at least 0.7"),
    ]
    decision = Decision(key="e", verdict=verdict, candidate="c", conditions=tuple(conditions))
    page = page_of(stays, stays.content(decision=decision))
    assert told in text_of(page)
    assert f'<div class="verdict {verdict}">' in page


def test_all_that_is_not_met_is_named(stays: Any, page_of: Page) -> None:
    """A refusal of two reasons tells both."""
    conditions = tuple(
        Condition(name=name, passed=passed, figure=figure, required="as asked")
        for name, passed, figure in (("floor", False, "0.1"), ("positives", True, "40"), ("a person", False, "no"))
    )
    decision = Decision(key="e", verdict="refused", candidate="c", conditions=conditions)
    assert (
        "It was refused, because of floor, at 0.1 where the gate requires: as asked; and because of a person, at no"
        " where the gate requires: as asked; 1 of 3 conditions are met."
    ) in text_of(page_of(stays, stays.content(decision=decision)))


def test_each_condition_is_marked_by_what_became_of_it(stays: Any, page_of: Page) -> None:
    """What there was nothing to judge by is not counted among those that are met."""
    standing = {"met": (True, True, False), "unasked": (True, False, False), "unmet": (False, False, False)}
    standing |= {"awaited": (False, True, True)}
    conditions = tuple(
        Condition(name=name, passed=passed, judged=judged, awaits=awaits, figure="7", required="as asked")
        for name, (passed, judged, awaits) in standing.items()
    )
    decision = Decision(key="e", verdict="insufficient_evidence", candidate="c", conditions=conditions)
    page = page_of(stays, stays.content(decision=decision))
    for tone, said in (
        ("met", "✓ met"), ("unasked", "– not asked"), ("unmet", "✗ not judged"), ("awaited", "… awaits a person")
    ):  # fmt: skip
        assert f'<span class="mark {tone}">{said}</span>' in page
    assert "1 of 3 conditions are met." in text_of(page)


def limits_of(page: str) -> list[str]:
    """The headings of the limitations, in their order."""
    return re.findall(r"<li><b>([^<]*)</b>", page)


def test_an_operating_point_that_misses_its_target_stands_first(stays: Any, page_of: Page) -> None:
    """Chosen for a specificity that the interval on test excludes; not where the interval holds it."""
    card = stays.scorecards["net"]
    measures = card.metrics["answer"] | {"specificity": Measure(value=0.833, low=0.787, high=0.88)}
    cards = stays.scorecards | {"net": card.model_copy(update={"metrics": {"answer": measures}})}

    def page(target: float) -> str:
        problem = stays.problem | {"threshold": {"method": "specificity_at_least", "target": target, "value": None}}
        return page_of(stays, stays.content(problem=problem, scorecards=cards))

    missed = page(0.99)
    assert limits_of(missed)[0] == "The operating point misses its target"
    assert (
        "for a specificity of at least 0.99. On test specificity is 0.833 (0.787 to 0.880): the interval excludes"
        in text_of(missed)
    )
    assert "misses its target" not in page(0.85)


@pytest.mark.parametrize(
    ("gate", "test", "told"),
    [
        ((0.1282, 0.0, 0.4286), (1.0, 1.0, 1.0), "on test: the intervals do not overlap."),
        ((0.78, 0.69, 0.87), (0.90, 0.85, 0.95), "on test: the one lies outside the interval of the other."),
        ((0.88, 0.80, 0.94), (0.90, 0.85, 0.95), None),
    ],
)
def test_a_gate_that_says_otherwise_than_test_is_remarked(
    gate: tuple[float, ...], test: tuple[float, ...], told: str | None, stays: Any, page_of: Page
) -> None:
    """From the gate's condition and the scorecard, where the gate has rows of its own."""
    card = stays.scorecards["net"]
    measure = Measure(value=test[0], low=test[1], high=test[2])
    card = card.model_copy(update={"metrics": {"answer": card.metrics["answer"] | {"auroc": measure}}})
    figure = f"{gate[0]:.4f} [{gate[1]:.4f}, {gate[2]:.4f}]"
    condition = Condition(name="answer auroc in gate", passed=False, figure=figure, required="lower bound at least 0.7")
    content = stays.content(
        scorecards=stays.scorecards | {"net": card},
        decision=Decision(key="e", verdict="refused", candidate="c", conditions=(condition,)),
        problem=stays.problem | {"gate": stays.problem["gate"] | {"role": "gate"}},
    )
    text = text_of(page_of(stays, content))
    assert ("Gate and test differ" in text) == (told is not None)
    assert told is None or told in text


def test_too_few_cases_are_a_limitation(stays: Any, page_of: Page) -> None:
    """Two deaths on test: the interval cannot show the uncertainty; nor can one of no width; nor a small validation."""
    card = stays.scorecards["net"]
    sure = card.metrics["answer"] | {"auroc": Measure(value=1, low=1, high=1)}

    def text(died: int, metrics: dict[str, Measure]) -> str:
        evidence = tuple(
            Evidence(label=label, positive=label == "died", samples=number, subjects=number)
            for label, number in (("survived", 40), ("died", died))
        )
        changed = card.model_copy(update={"evidence": {"answer": evidence}, "metrics": {"answer": metrics}})
        return text_of(page_of(stays, stays.content(scorecards=stays.scorecards | {"net": changed})))

    few = text(2, sure)
    assert "Test holds died in 2 stays. With fewer than 10 the resamples repeat the same few" in few
    assert "cannot show the uncertainty (AUROC 1.00, 1.00 to 1.00)." in few
    assert "Every resample gave the same figure" in text(30, sure)
    plain = text(30, card.metrics["answer"])
    assert "show the uncertainty" not in plain
    validation = stays.splits.samples["validation"]
    assert re.search(
        rf"Validation holds {validation} samples of \d+ stays, died in \d+ stays?; below 30, the threshold hangs on",
        plain,
    )


def test_a_metric_that_only_another_model_has_is_shown(stays: Any, page_of: Page) -> None:
    """Undefined for the chosen one, and the other's figure beside it."""
    card = stays.scorecards["net"]
    metrics = {name: measure for name, measure in card.metrics["answer"].items() if name != "ppv"}
    cards = stays.scorecards | {"net": card.model_copy(update={"metrics": {"answer": metrics}})}
    row = next(row for row in rows_of(page_of(stays, stays.content(scorecards=cards))) if row[0].startswith("PPV"))
    other = stays.scorecards["logistic_regression"].metrics["answer"]["ppv"]
    assert row[1:] == ["undefined", f"{three(other.value)} ({between(other)})"]


def test_curves_say_whose_weights_they_are(stays: Any, page_of: Page) -> None:
    """Averaged weights are drawn by no curve; and another model may have been chosen than the one drawn."""
    figures = stays.figures()
    plain = text_of(page_of(stays, stays.content(figures=figures)))
    assert "the weights of the marked epoch were kept." in plain
    assert "The curves are those of" not in plain
    training = stays.problem["training"] | {"weight_averaging": 0.99}
    content = stays.content(
        figures=figures,
        problem=stays.problem | {"training": training},
        chosen=stays.candidates["logistic_regression"],
    )
    text = text_of(page_of(stays, content))
    assert "weights of the marked epoch were kept" not in text
    assert "a moving average of the weights over the steps (momentum 0.99), which no curve shows." in text
    assert (
        "those of the recurrent network (GRU); the model put before the gate is another, logistic regression." in text
    )


def test_without_a_gate_the_reason_stands_there(stays: Any, page_of: Page) -> None:
    """There is no table of conditions; one opening is one candidate, and nothing is compared."""
    reason = "the Problem has no gate, so nothing is promoted"
    page = page_of(
        stays,
        stays.content(
            decision=Decision(key="e", verdict="no_gate", candidate="c", reasons=(reason,)),
            comparison=Comparison(key="d", scorecard="s", differences={}),
            problem=stays.problem | {"gate": None},
            openings=1,
        ),
    )
    text = text_of(page)
    assert f"Nothing was promoted: {reason}." in text
    assert "Beside" not in text
    assert "opened for 1 candidate, this one included." in text
    assert "Test was opened before" not in text


def test_a_hundred_patients_add_up(stays: Any, page_of: Page) -> None:
    """The dots are a hundred, and the words count the same."""
    page = page_of(stays, stays.content())
    parts = re.search(r"A hundred dots: (\d+) found, (\d+) missed, (\d+) false alarms, (\d+) rightly", page)
    assert parts is not None
    found, missed, alarms, cleared = map(int, parts.groups())
    assert found + missed + alarms + cleared == 100
    (tn, fp), (fn, tp) = stays.scorecards["net"].confusion["answer"]
    whole = tn + fp + fn + tp
    for shown, count in ((found, tp), (missed, fn), (alarms, fp), (cleared, tn)):
        assert abs(shown - 100 * count / whole) <= 1
    assert f"The model flags {found + alarms}: {found} of them rightly, {alarms} as false alarms." in text_of(page)


def test_telling_columns_are_named(stays: Any, page_of: Page) -> None:
    """The strongest single columns stand in a table; a strong one is a limitation too."""

    def told(auroc: float) -> str:
        column = SingleColumn(column="lactate.last", output="answer", label="died", auroc=auroc)
        screening = Screening(key="s", columns=12, strongest=(column,), leaking=(), largest_auroc=0.995)
        return text_of(page_of(stays, stays.content(screening=screening)))

    assert "12 columns of the training rows were ranked alone." in told(0.31)
    assert "lactate, last died 0.690" in " ".join(told(0.31).split())
    assert "One column tells much" not in told(0.31)
    assert "Lactate, last alone separates died on train with an AUROC of 0.930." in told(0.07)


def test_limitations_follow_from_the_facts(stays: Any, page_of: Page) -> None:
    """Each stands there when its fact does, and not otherwise."""
    slope = {"slope": Measure(value=0.6, low=0.4, high=0.8), "intercept": Measure(value=0, low=-0.1, high=0.1)}
    card = stays.scorecards["net"].model_copy(update={"calibration": {"answer": slope}})
    cards = stays.scorecards | {"net": card}
    text = text_of(page_of(stays, stays.content(generated=True, scorecards=cards)))
    for what in (
        "Generated data",
        "The unit is not a patient",
        "Test was opened before",
        "Little of a class",
        "The calibration slope is 0.600 (0.400 to 0.800), its interval excludes 1: the probabilities are too extreme",
        "No clear gain over another model",
        "2 of 3 subgroups are too small to be judged.",
        "No external validation",
    ):
        assert what in text, what
    for what in ("The gate reads test", "off on average", "Many exclusions", "No subgroup was looked at"):
        assert what not in text, what
    better = Comparison(
        key="d",
        scorecard="s",
        differences={"logistic_regression": {"auroc": Measure(value=0.1, low=0.05, high=0.15)}},
    )
    good = {"slope": Measure(value=1, low=0.9, high=1.1), "intercept": Measure(value=0.5, low=0.3, high=0.8)}
    changed = card.model_copy(update={"calibration": {"answer": good}, "unit": "patient", "subgroups": {}})
    problem = stays.problem | {"gate": stays.problem["gate"] | {"role": "test"}}
    text = text_of(
        page_of(
            stays,
            stays.content(
                comparison=better, problem=problem, openings=1, scorecards=stays.scorecards | {"net": changed}
            ),
        )
    )
    for what in ("The gate reads test", "its interval excludes 0: the probabilities are too low on average"):
        assert what in text, what
    for what in ("Generated data", "The unit is not a patient", "No clear gain", "in spread", "opened before"):
        assert what not in text, what


def test_what_the_reader_settled_is_told_in_sentences(stays: Any, page_of: Page) -> None:
    """A file that its publisher's list does not know stands first, as a warning; others say what was done."""
    counts = {"age_over_89": 4, "file_differs_from_manifest": 1, "never_heard_of": 2, "stay_without_series": 0}
    page = page_of(stays, stays.content(snapshot=stays.snapshot.model_copy(update={"counts": counts})))
    rows = [
        row
        for row in rows_of(page)
        if len(row) == 4 and row[2] in ("settled by the reader", "! read as it is: a warning")
    ]
    assert [row[:2] for row in rows] == [
        ["a file is not the one its publisher's list names", "1"], ["age over 89", "4"], ["never heard of", "2"]
    ]  # fmt: skip
    assert "altered, damaged or exchanged" in rows[0][3]
    assert rows[1][3].endswith("they are read as 90.")
    assert rows[2][3] == FALLBACK


def test_every_reason_of_a_reader_has_a_sentence() -> None:
    """Whatever a reader counts by name is told in words."""
    sources = Path(medai.sources.__file__).parent
    code = "\n".join(path.read_text() for path in sorted(sources.rglob("*.py")) if "synthetic" not in path.parts)
    reasons = set(re.findall(r'counts\["([a-z0-9_]+)"\]', code)) | {*FAULTS, *REASONS, *STAY_FAULTS}
    reasons |= {f"{start}_labevents" for start in re.findall(r'f"([a-z_]+)_\{self\._name\}"', code)}
    assert len(reasons) > 40
    assert [reason for reason in sorted(reasons) if sentence(reason) == FALLBACK] == []


def test_reasons_are_told_in_the_words_of_the_suite(stays: Any, page_of: Page) -> None:
    """Set aside and warned with rows, place and clinical reason; all rules stand in the fold."""
    rows = 2000
    quality = stays.quality.model_copy(
        update={
            "tables": stays.quality.tables | {"events": rows},
            "set_aside": {"implausible_hr": 7},
            "failures": (
                Failure(
                    expectation="e",
                    table="events",
                    column="numeric_value",
                    reason="implausible_hr",
                    blocking=False,
                    unexpected=7,
                    evaluated=100,
                ),
            ),
        }
    )
    verdicts = json.loads((stays.workspace.folder("validate", quality.key) / "verdicts.json").read_bytes())
    broken = [one | {"success": one["reason"] != "implausible_hr", "evaluated": 11} for one in verdicts]
    quality = quality.model_copy(update={"key": "told"})
    folder = stays.workspace.folder("validate", quality.key)
    folder.mkdir(parents=True)
    (folder / "verdicts.json").write_text(json.dumps(broken))
    page = page_of(stays, stays.content(quality=quality))
    row = next(row for row in rows_of(page) if row[0].startswith("implausible hr"))
    assert row[1:3] == ["7 of 2,000 (0.35 %)", "set aside"]  # of the table, not of what the condition left over
    assert "A heart rate" in row[3]
    assert f"All {stays.quality.rules} rules, one by one" in text_of(page)


def test_the_problem_on_the_page_is_the_problem(stay_road: Any, stays: Any, page_of: Page) -> None:
    """The folded YAML, saved and read again, is the same Problem."""
    from medai.problem import load_problem

    problem = load_problem("synthetic_stays")
    resolved = problem.model_dump(mode="json")
    content = stays.content(problem=resolved | {"outputs": stays.problem["outputs"]})
    page = page_of(stays, content)
    folded = re.search(r"<summary>The Problem, resolved</summary><pre>(.*?)</pre>", page, re.DOTALL)
    assert folded is not None
    read = yaml.safe_load(unescape(folded[1]))
    again = Problem.model_validate(read | {"outputs": resolved["outputs"]})
    assert (again.model_dump(), again.sha256) == (problem.model_dump(), problem.sha256)


def test_several_classes(classes: Any, page_of: Page) -> None:
    """Macro figures, no threshold, one curve a class, a wide confusion matrix, right and wrong examples."""
    page = page_of(classes, classes.content(figures=classes.figures(), examples=classes.examples()))
    text = text_of(page)
    assert "macro AUROC" in text
    assert "The answer is the class with the highest probability; no threshold is chosen." in text
    assert "class 5" in text
    assert "Right the answer is the truth" in text
    assert "Wrong the answer is not the truth" in text
    assert '<figure class="wide">' in page
    assert set(classes.figures().files) == {"roc", "precision_recall", "calibration", "confusion", "training"}
    assert page.count('src="data:image/png;base64,') == 4


def test_several_findings(several_findings: Any, page_of: Page) -> None:
    """Each finding has its own figures and threshold; an example names the finding it is about."""
    run = several_findings
    page = page_of(run, run.content(figures=run.figures(), examples=run.examples()))
    rows, text = rows_of(page), text_of(page)
    measures = run.scorecards["net"].metrics["answer"]
    for finding in ("oedema", "effusion", "mass"):
        shown = next(row for row in rows if row[0] == finding and len(row) == 5)
        assert shown[1].startswith(f"{measures[f'auroc/{finding}'].value:.3f} (")
        assert [finding, "0.500"] in rows
    assert "Each finding has a threshold of its own." in text
    assert re.search(r"answer (no )?(oedema|effusion|mass) truth (no )?(oedema|effusion|mass)", text)


def test_the_page_needs_no_network_and_runs_no_script(stays: Any, page_of: Page) -> None:
    """Figures are inside, text is escaped, links stay on the page, and nothing is fetched."""
    page = page_of(stays, stays.content(figures=stays.figures(), examples=stays.examples()))
    assert not re.findall(r"""(?:src|href)\s*=\s*["'](?!data:|#)""", page)
    targets = set(re.findall(r'href="#([a-z]+)"', page))
    assert targets <= set(re.findall(r'id="([a-z]+)"', page))
    for forbidden in ("<script", "url(", "@import", "http:", "https:", "<link"):
        assert forbidden not in page, forbidden
    assert "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\"" in page
    assert "Will &lt;this&gt; stay &amp; that end in death?" in page
    assert len(page) < 2_000_000


def test_the_page_can_be_read_by_a_machine(stays: Any, page_of: Page) -> None:
    """Language, one first heading, alternative texts on every picture, headers with a scope."""
    page = page_of(stays, stays.content(figures=stays.figures(), examples=stays.examples()))
    assert '<html lang="en">' in page
    assert page.count("<h1") == 1
    assert all(re.search(r'alt="[^"]{10,}"', image) for image in re.findall(r"<img[^>]*>", page))
    assert all("aria-label=" in svg or 'aria-hidden="true"' in svg for svg in re.findall(r"<svg[^>]*>", page))
    assert not re.findall(r"<th(?![^>]*scope)[ >]", page)
    opened = re.findall(r"<(section|table|figure|ul|ol|dl|details|div|svg)\b", page)
    closed = re.findall(r"</(section|table|figure|ul|ol|dl|details|div|svg)>", page)
    assert sorted(opened) == sorted(closed)


def test_equal_runs_have_equal_pages(stays: Any, tmp_path: Path) -> None:
    """Found the second time; another decision is another page; made again, the bytes are the same."""
    content = stays.content(figures=stays.figures(), examples=stays.examples())
    first, second = write_page(stays.workspace, content), write_page(stays.workspace, content)
    assert second.reused
    path = stays.workspace.folder("report", first.record.key)
    before = (path / "report.html").read_bytes()
    path.rename(tmp_path / "aside")
    assert not write_page(stays.workspace, content).reused
    assert (path / "report.html").read_bytes() == before
    assert write_page(stays.workspace, stays.content(openings=3)).record.key != first.record.key


def test_a_page_with_patients_data_says_so_and_is_its_owners_alone(stays: Any, page_of: Page) -> None:
    """Curves of patients: a notice, and no rights for others. Generated ones need no notice; without examples none."""

    def rights(content: Content) -> int:
        page = write_page(stays.workspace, content).record
        return stat.S_IMODE((stays.workspace.folder("report", page.key) / page.file).stat().st_mode)

    notice = "This page holds patients' curves."
    shown = stays.content(examples=stays.examples())
    assert notice in text_of(page_of(stays, shown))
    assert rights(shown) == 0o600
    assert notice not in text_of(page_of(stays, stays.content(examples=stays.examples(), generated=True)))
    plain = stays.content()
    assert "None are shown: the page holds no patient's picture or curve." in text_of(page_of(stays, plain))
    assert rights(plain) & 0o077 == rights(plain) & 0o044


def test_a_small_cell_cannot_be_worked_out(stays: Any, page_of: Page) -> None:
    """Three men beside 60 women: the women's counts are withheld too. Two small levels hide each other."""
    auroc = {"auroc": Measure(value=0.8, low=0.7, high=0.9)}

    def text(*levels: tuple[str, int], hours: int = 1) -> str:
        groups = tuple(
            Subgroup(
                group="gender",
                level=level,
                samples=hours * number,
                subjects=number,
                positives=1,
                positive_subjects=1,
                metrics=auroc if number > 30 else {},
            )
            for level, number in levels
        )
        card = stays.scorecards["net"].model_copy(update={"subgroups": {"answer": groups}})
        page = page_of(stays, stays.content(scorecards=stays.scorecards | {"net": card}))
        return page[page.index('<section id="subgroups">') : page.index('<section id="examples">')]

    hidden = text(("F", 60), ("M", 3))
    assert ["F gender", "not told", "not told"] in [row[:3] for row in rows_of(hidden)]
    assert "gender: M (fewer than 5)." in text_of(hidden)
    assert "A count is not told where, taken from the total, it would give away one of fewer than 5." in text_of(hidden)
    assert ["F gender", "60", "1 1.7 %"] in [row[:3] for row in rows_of(text(("F", 60), ("M", 3), ("X", 2)))]
    assert "not told" not in text(("F", 60), ("M", 8))
    # A hundred hours of three men are three men.
    assert "gender: M (fewer than 5)." in text_of(text(("F", 60), ("M", 3), hours=100))
    assert ["F gender", "6,000 60 stays"] in [row[:2] for row in rows_of(text(("F", 60), ("M", 8), hours=100))]
