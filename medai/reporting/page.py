"""``report``: one self-contained HTML page of a run; it needs no network and names no patient."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medai.disclosure import Guard, page_text
from medai.measurement.metrics import LOWER_IS_BETTER
from medai.records import Page, sha256_of, stage_key
from medai.reporting import findings, limitations, numbers, population, shapes, story, words
from medai.reporting.content import Content
from medai.workspace import Made, Workspace, write_durably

if TYPE_CHECKING:
    from jinja2 import Environment

VERSION = 4
FILE = "report.html"
TEMPLATES = Path(__file__).with_name("templates")
FINDING = ("auroc", "auprc", "sensitivity", "specificity")
CARDS = {
    "binary": FINDING,
    "multiclass": ("auroc", "kappa", "auprc", "accuracy"),
    "multilabel": ("auroc", "micro_auroc", "auprc", "sensitivity"),
    "mask": ("dice", "dice_lesions", "lesion_sensitivity", "false_positive_share"),
}
"""Kind of output → its key figures, which all end at 1."""
BESIDE = {"mask": ("dice", "dice_lesions", "lesion_sensitivity")}
"""Kind of output → what subgroups show: a metric that is drawn and two beside it; of others AUROC, sensitivity and
specificity."""
FIGURES = {
    "roc": "Sensitivity against false alarms at every threshold. Further up and left is better.",
    "precision_recall": "How pure the flagged are at every sensitivity. Further up and right is better.",
    "calibration": "Of those given a risk, how many had the outcome. On the diagonal, risks mean what they say.",
    "net_benefit": "True positives minus false alarms, weighed by the risk from which one would act "
    "(Vickers & Elkin 2006). A model is of use where its line lies highest.",
    "confusion": "Counts at the threshold, and their share of the row.",
    "dice": "Of the pictures with a finding, how many reach a Dice. Further up and right is better.",
    "sizes": "Each picture with a finding: small ones are harder, since one pixel weighs more in them.",
}
"""Figure → what it shows, which is its caption and its alternative text."""


def write_page(workspace: Workspace, content: Content) -> Made[Page]:
    """Write the page of a run. It is its owner's alone where it holds patients' pictures or curves.

    Raises:
        MedaiError: the page would name a patient.
    """
    files = {path.name: path.read_text() for path in sorted(TEMPLATES.iterdir())}
    key = stage_key(
        "report",
        VERSION,
        {"content": sha256_of(content.model_dump(mode="json")), "templates": sha256_of(files)},
        None,
        ("jinja2", "polars"),
    )

    def build(folder: Path) -> Page:
        labels = words.labels(next(iter(content.problem["inputs"].values())))
        page = filled(files, "page.html", _facts(workspace, content, labels), labels)
        Guard.of(workspace, content.snapshot).refuse("the report", page_text(page))
        write_durably(folder / FILE, page.encode(), 0o600 if content.examples else 0o644)
        return Page(key=key, file=FILE)

    return workspace.materialise("report", key, Page, build)


def shared_templates() -> dict[str, str]:
    """Name → text of what the pages of other stages share with the report: the frame, its style, the macros."""
    return {name: (TEMPLATES / name).read_text() for name in ("base.html", "macros.html", "style.css")}


def filled(files: dict[str, str], name: str, facts: dict[str, Any], labels: dict[str, str] | None = None) -> str:
    """A page without blank lines.

    Args:
        files: templates by name, ``style.css`` among them.
        name: of the page's template.
        facts: all that it names but ``style`` and medai's ``version``.
        labels: variable → what people call it.
    """
    from medai import __version__

    told = facts | {"style": files["style.css"], "version": __version__}
    page = environment(files, labels or {}).get_template(name).render(told)
    return "\n".join(line for line in page.splitlines() if line.strip()) + "\n"


def environment(files: dict[str, str], labels: dict[str, str]) -> Environment:
    """How templates are filled: names and numbers by their filters; a name that nobody gave is an error."""
    from jinja2 import DictLoader, Environment, StrictUndefined

    environment = Environment(
        loader=DictLoader(files), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    shown = ("three", "signed", "between", "between_signed", "count", "percent", "minus", "several", "subjects")
    environment.filters |= {name: getattr(numbers, name) for name in shown}
    environment.filters |= {"spaced": words.spaced, "metric": words.metric, "in_text": words.in_text}
    environment.filters |= {"tone": lambda one: words.met(one)[0], "met": lambda one: words.met(one)[1]}
    environment.filters |= {"drifted": numbers.drifted, "upper_first": numbers.upper_first, "subject": words.subject}
    environment.filters |= {"drift": words.drift, "measure": words.measure, "statistic": words.STATISTICS.get}
    environment.filters |= {"column": lambda name: words.column(name, labels)}
    return environment


def _facts(workspace: Workspace, content: Content, labels: dict[str, str]) -> dict[str, Any]:
    """All that the templates name."""
    from pydantic import TypeAdapter

    from medai.measurement.metrics import in_order
    from medai.outputs import Output

    name, definition = next(iter(content.problem["outputs"].items()))
    output: Any = TypeAdapter(Output).validate_python(definition)
    card = content.scorecards[content.chosen.name]
    verdicts = findings.read_verdicts(workspace, content.quality)
    roles = population.roles(workspace, content.cohort, content.splits, {name: output})
    models = {label: content.called(label) for label in _order(content)}
    measures = card.metrics[name]
    return {
        "run": content,
        "problem": content.problem,
        "input": next(iter(content.problem["inputs"].values())),
        "name": name,
        "output": output,
        "card": card,
        "models": models,
        "verdict": words.VERDICTS[content.decision.verdict],
        "summary": story.summary(content, name, output),
        "gate_reads": story.rules_of(content.problem),
        "cards": [_key_figure(content, name, metric) for metric in CARDS[output.kind] if metric in measures],
        "metrics": [metric for metric in in_order(_measured(content, name)) if "/" not in metric],
        "explained": words.METRICS,
        "chosen_how": story.chosen_how(content.problem),
        "recipe": words.recipe(content.problem["training"]),
        "findings_of": _of_findings(output, measures),
        "steps": population.flow(content.cohort, findings.reasons(verdicts)),
        "roles": roles,
        "source": words.source(next(iter(content.problem["inputs"].values()))["source"]),
        "quality": findings.findings(content.quality, content.snapshot, verdicts),
        "verdicts": verdicts,
        "figures": _figures(workspace, content),
        "captions": FIGURES | {"training": story.trained(content)},
        "curves_of": story.curves_of(content),
        "thresholds": content.chosen.thresholds.get(name, ()),
        "threshold_choice": words.threshold(content.problem["threshold"]),
        "hundred": story.of_hundred(card.confusion[name]) if output.kind in ("binary", "mask") else None,
        "beside": (beside := BESIDE.get(output.kind, ("auroc", "sensitivity", "specificity"))),
        "forest": shapes.forest(card.subgroups.get(name, ()), measures.get(beside[0]), _levels(content), beside[0]),
        "lower_is_better": LOWER_IS_BETTER,
        "small_cell": shapes.SMALL_CELL,
        "minimum": content.problem["evaluation"]["minimum_subgroup"],
        "examples": _examples(workspace, content, labels),
        "limitations": limitations.limitations(content, name, output, roles),
        "environment": content.chosen.environment,
        "yaml": _yaml(content.problem),
    }


def _order(content: Content) -> list[str]:
    """The chosen model, then the others."""
    return [content.chosen.name, *(name for name in content.scorecards if name != content.chosen.name)]


def _measured(content: Content, name: str) -> set[str]:
    """Metrics that some model of the run has."""
    return {metric for card in content.scorecards.values() for metric in card.metrics[name]}


def _levels(content: Content) -> dict[str, dict[str, str]]:
    levels: dict[str, dict[str, str]] = content.problem.get("report", {}).get("levels", {})
    return levels


def _key_figure(content: Content, name: str, metric: str) -> dict[str, Any]:
    """One card: the chosen model's figure, and the best of the others."""
    measure = content.scorecards[content.chosen.name].metrics[name][metric]
    others = {
        label: card.metrics[name][metric].value
        for label, card in content.scorecards.items()
        if label != content.chosen.name and metric in card.metrics[name]
    }
    best = (min if metric in LOWER_IS_BETTER else max)(others, key=lambda label: others[label]) if others else None
    return {
        "metric": metric,
        "title": words.METRICS[metric][0],
        "says": words.METRICS[metric][1],
        "measure": measure,
        "other": None if best is None else {"name": content.called(best), "value": others[best]},
    }


def _of_findings(output: Any, measures: dict[str, Any]) -> list[tuple[str, list[Any]]]:
    """For several findings: each one's own figures, in the order of the columns AUROC … specificity."""
    if output.kind != "multilabel":
        return []
    return [(finding, [measures.get(f"{metric}/{finding}") for metric in FINDING]) for finding in output.names]


def _figures(workspace: Workspace, content: Content) -> dict[str, str]:
    """Figure → data URI."""
    drawn = workspace.folder("draw", content.figures.key)
    return {
        name: "data:image/svg+xml;base64," + base64.b64encode((drawn / file).read_bytes()).decode()
        for name, file in content.figures.files.items()
    }


def _examples(workspace: Workspace, content: Content, labels: dict[str, str]) -> list[dict[str, Any]]:
    """Kinds of answer with their examples, ready to be shown."""
    if content.examples is None:
        return []
    path = workspace.folder("illustrate", content.examples.key) / content.examples.file
    sections = shapes.examples(json.loads(path.read_bytes()), list(content.examples.shown))
    for curve in (curve for section in sections for one in section["shown"] for curve in one["curves"]):
        curve["name"] = words.column(curve["name"], labels)
    return sections


def _yaml(problem: dict[str, Any]) -> str:
    import yaml

    return yaml.safe_dump(problem, sort_keys=False, allow_unicode=True, width=100)
