"""The page of an external evaluation: one self-contained HTML file; it needs no network and names no patient."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from medai.external.gaps import Gap
from medai.outputs import Output
from medai.records import Cohort, Frozen, Page, Scorecard, sha256_of, stage_key
from medai.workspace import Made, Workspace

VERSION = 2
FILE = "report.html"
TEMPLATE = Path(__file__).with_name("elsewhere.html")
FINDING = ("auroc", "auprc", "sensitivity", "specificity")


class OwnTest(Frozen):
    """How many the champion's own test held."""

    samples: int
    subjects: int


class Elsewhere(Frozen):
    """What the page tells.

    Attributes:
        version, model, model_sha256: of the champion.
        source: kind of the data's source.
        matched: class of the champion → the site's label column or word, where a site's file was given.
        missing: findings of the champion that the site has no label for.
        output: what was measured, as a definition.
        own: the champion's own test; None where the store no longer knows it.
        own_rows: samples that the own test held already; None where it is not known.
        gap: differences from the own test; None where there is none, or patients stand in both.
        reasons: why there are too few subjects for evidence; empty where there are enough.
        seen: samples of patients whom the champion was fitted on, left out unless ``includes_seen``.
    """

    problem: str
    question: str
    version: int
    model: str
    model_sha256: str
    source: str
    matched: dict[str, str]
    missing: tuple[str, ...]
    output: dict[str, Any]
    cohort: Cohort
    scorecard: Scorecard
    own: OwnTest | None
    own_rows: int | None
    gap: Gap | None
    reasons: tuple[str, ...]
    set_aside: dict[str, int]
    seen: int
    includes_seen: bool


def write_page(workspace: Workspace, told: Elsewhere) -> Made[Page]:
    """Write the page of an external evaluation."""
    from medai.reporting.page import filled, shared_templates

    files = shared_templates() | {TEMPLATE.name: TEMPLATE.read_text()}
    key = stage_key(
        "external report",
        VERSION,
        {"content": sha256_of(told.model_dump(mode="json")), "templates": sha256_of(files)},
        None,
        ("jinja2",),
    )

    def build(folder: Path) -> Page:
        (folder / FILE).write_text(filled(files, TEMPLATE.name, _facts(told)))
        return Page(key=key, file=FILE)

    return workspace.materialise("report", key, Page, build)


def _facts(told: Elsewhere) -> dict[str, Any]:
    """All that the template names."""
    from medai.measurement.metrics import in_order
    from medai.reporting import words
    from medai.reporting.shapes import forest

    output: Any = TypeAdapter(Output).validate_python(told.output)
    card = told.scorecard
    name = next(iter(card.metrics))
    measures = card.metrics[name]
    apart = told.gap.metrics if told.gap else {}
    metric = "dice" if output.kind == "mask" else "auroc"
    return {
        "told": told,
        "card": card,
        "name": name,
        "output": output,
        "metrics": [one for one in in_order(measures) if "/" not in one],
        "measures": measures,
        "apart": {one: apart[one] for one in in_order(apart) if "/" not in one},
        "of_findings": [
            (finding, card.classes[name][finding], measures.get(f"auroc/{finding}"), apart.get(f"auroc/{finding}"))
            for finding in (output.names if output.kind == "multilabel" else ())
        ],
        "explained": words.METRICS,
        "key_metric": metric,
        "forest": forest(card.subgroups.get(name, ()), measures.get(metric), {}, metric),
    }
