"""Records of data: what was read, judged, selected, split and prepared."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from medai.records.content import Frozen, Record


class Generated(Record):
    """Files that a generator wrote in a publisher's layout.

    Attributes:
        layout: the source kind that reads them.
        path: where to point the reader, below the stage's folder.
    """

    layout: str
    path: str


class Snapshot(Record):
    """Raw data read once into canonical, sorted Parquet; immutable.

    Attributes:
        shape: which canonical tables it holds: ``images`` or ``events``.
        source: the reader's kind.
        unit: what a subject stands for, printed with every interval (patient, stay or image).
        data_sha256: hash over the raw files' content, in a canonical order.
        tables: table → rows.
        counts: what the reader noticed and settled by a stated rule, by reason.
        dropped: table → rows that the reader left out because of a fault; they count against the tolerance.
    """

    shape: Literal["images", "events"]
    source: str
    unit: str
    data_sha256: str
    tables: dict[str, int]
    counts: dict[str, int] = Field(default_factory=dict)
    dropped: dict[str, int] = Field(default_factory=dict)


class Failure(Frozen):
    """One expectation that was not met.

    Attributes:
        expectation: the Great Expectations type.
        table: the table judged.
        column: the column or columns judged; empty for a rule on the table.
        reason: the rule's reason code.
        blocking: whether the run stops.
        unexpected: rows that break the rule.
        evaluated: rows that were judged.
    """

    expectation: str
    table: str
    column: str
    reason: str
    blocking: bool
    unexpected: int
    evaluated: int


class QualityReport(Record):
    """What Great Expectations found, and what was set aside, by reason.

    Attributes:
        passed: no blocking expectation failed.
        rows: rows of the suite's first table: the pictures or the readings.
        tables: table → rows judged.
        set_aside: reason → rows kept out. A row counts under the first reason that names it.
        warned: reason → rows that broke a rule which neither blocks nor sets aside.
        idle: reasons whose conditions meet no row of the data.
        failures: every rule not met, blocking ones first.
        rules: number of rules judged.
    """

    passed: bool
    rows: int
    tables: dict[str, int] = Field(default_factory=dict)
    set_aside: dict[str, int]
    warned: dict[str, int] = Field(default_factory=dict)
    idle: tuple[str, ...] = ()
    failures: tuple[Failure, ...]
    rules: int


class Exclusion(Frozen):
    """One line of the attrition table: a criterion, and how many stayed after it."""

    criterion: str
    samples: int
    subjects: int


class Cohort(Record):
    """One row a prediction.

    Attributes:
        unit: what a subject stands for.
        samples, subjects: how many were selected.
        classes: output → class label → samples.
        attrition: criteria in their order, each with what remained.
        data_sha256: of the snapshot it was selected from.
        groups: columns that evaluation may use as subgroups.
    """

    unit: str
    samples: int
    subjects: int
    classes: dict[str, dict[str, int]]
    attrition: tuple[Exclusion, ...]
    data_sha256: str
    groups: tuple[str, ...] = ()


Role = Literal["train", "validation", "gate", "test"]
ROLES: tuple[Role, ...] = ("train", "validation", "gate", "test")


class Splits(Record):
    """Who learns and who judges: an assignment table (sample, fold, role).

    Attributes:
        samples, subjects: role → count.
        test_sha256: hash of the sorted subject ids in test; the name under which openings are counted.
        straddling: subjects whom the publisher's list puts into several roles; they kept the most protected one.
        dropped: role → samples that lost it thereby and have none.
        joined: subjects with another role than their own, since their pictures look like somebody's there.
    """

    samples: dict[str, int]
    subjects: dict[str, int]
    folds: int = 1
    test_sha256: str
    straddling: int = 0
    dropped: dict[str, int] = Field(default_factory=dict)
    joined: int = 0


class ArrayFile(Frozen):
    """One memory-mapped array: its file, dtype and shape (first axis: rows of the index)."""

    file: str
    dtype: str
    shape: tuple[int, ...]
    names: tuple[str, ...] = ()


class Arrays(Record):
    """Pixels or series on disk, unstandardised, independent of the split.

    Attributes:
        kind: ``pixels`` (height, width, channels), ``volume`` (depth, height, width, channels) or ``series`` (steps,
            variables).
        layout: ``sample``: the first axis of each array is the sample. ``stay``: a stay's series is stored once, all
            behind each other, and samples are an index into them (``begin``, ``length``).
        steps: of a sample's window, where the layout is ``stay``.
        arrays: array name → file.
        samples: rows of ``samples.parquet``, the index from sample to array row.
    """

    kind: Literal["pixels", "volume", "series"]
    layout: Literal["sample", "stay"] = "sample"
    steps: int = 0
    arrays: dict[str, ArrayFile]
    samples: int
    counts: dict[str, int] = Field(default_factory=dict)
