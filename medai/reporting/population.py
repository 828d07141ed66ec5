"""Who was in it: the attrition of the cohort as a flow, and each role's size and prevalence (TRIPOD+AI items 20a-b)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from medai.cohort import truth_columns
from medai.outputs import Output
from medai.records import ROLES, Cohort, Evidence, Splits
from medai.reporting.words import spaced
from medai.workspace import Workspace

_ASIDE = "not set aside: "
WORK = {
    "train": "the models learnt from these",
    "validation": "chose threshold and calibration",
    "gate": "decided on promotion",
    "test": "gives the figures of this page",
}


@dataclass(frozen=True)
class Step:
    """One box of the flow: who remained, and who left before it, and why."""

    criterion: str
    samples: int
    subjects: int
    left: int
    why: str


@dataclass(frozen=True)
class RoleCount:
    """One role: its size, its samples by class, and how much speaks for each class."""

    role: str
    work: str
    samples: int
    subjects: int
    classes: dict[str, int]
    evidence: tuple[Evidence, ...]


def flow(cohort: Cohort, reasons: dict[str, str]) -> list[Step]:
    """The attrition table as boxes.

    Args:
        reasons: reason of the validation → why it matters.
    """
    steps: list[Step] = []
    for line in cohort.attrition:
        reason = line.criterion.removeprefix(_ASIDE)
        aside = line.criterion != reason
        before = steps[-1].samples if steps else line.samples
        steps.append(
            Step(
                criterion=f"without: {spaced(reason)}" if aside else spaced(line.criterion),
                samples=line.samples,
                subjects=line.subjects,
                left=max(0, before - line.samples),  # stays become hours: then there are more than before
                why=reasons.get(reason, "") if aside else "",
            )
        )
    return steps


def roles(workspace: Workspace, cohort: Cohort, splits: Splits, outputs: dict[str, Output]) -> list[RoleCount]:
    """Each role's samples, subjects and classes, counted in the cohort's own table."""
    import polars as pl

    from medai.measurement.evidence import evidence_of
    from medai.tables import read_table

    name, output = next(iter(outputs.items()))
    columns = truth_columns(name, output)
    table: Any = pl.DataFrame(read_table(workspace.folder("select", cohort.key) / "cohort.parquet"))
    sides = pl.DataFrame(read_table(workspace.folder("split", splits.key) / "splits.parquet"))
    table = table.join(sides.select("sample_id", "role"), on="sample_id", how="left")
    counted = []
    for role in ROLES:
        if role not in splits.samples:
            continue
        part = table.filter(pl.col("role") == role)
        truth = part.select(columns).to_numpy()
        evidence = evidence_of(
            output, truth if output.kind == "multilabel" else truth[:, 0], part["subject_id"].to_numpy()
        )
        classes = {one.label: one.samples for one in evidence[: len(output.names)]}
        counted.append(RoleCount(role, WORK[role], splits.samples[role], splits.subjects[role], classes, evidence))
    return counted
