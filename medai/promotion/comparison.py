"""What the gate asks of candidate and champion together: whether they may be compared, and the comparison."""

from __future__ import annotations

from collections.abc import Iterator

from medai.evaluation import Evaluation, paired
from medai.measurement.metrics import LOWER_IS_BETTER
from medai.outputs import Output
from medai.promotion.gate import Gate, NonInferiority
from medai.records import Candidate, Condition, Scorecard
from medai.scores import read_scores
from medai.workspace import Workspace


def trained_subjects(workspace: Workspace, candidate: Candidate) -> set[int]:
    """Subjects that a candidate was fitted on: train, and validation, which chose its threshold and calibration."""
    import polars as pl

    from medai.tables import read_table

    table = pl.DataFrame(read_table(workspace.folder("fit", candidate.key) / "subjects.parquet"))
    return set(table["subject_id"].to_list())


def unseen(workspace: Workspace, gate: Gate, who: str, model: Candidate, scorecard: Scorecard) -> Condition:
    """Nobody is judged on a subject that it learnt from: the comparison would be void."""
    rows = set(read_scores(workspace, scorecard)["subject_id"].to_list())
    learnt = rows & trained_subjects(workspace, model)
    return Condition(
        name=f"no {scorecard.unit} in {gate.role} that {who} was fitted on",
        passed=not learnt,
        figure=f"{len(learnt)} of {len(rows)} subjects",
        required="0, or the comparison is void",
    )


def same_rows(ours: Scorecard, theirs: Scorecard | None) -> Condition:
    """Both answer for the same rows."""
    same = theirs is not None and ours.rows_sha256 == theirs.rows_sha256
    return Condition(
        name="the champion answers the same question on the same rows",
        passed=same,
        figure="equal" if same else "different",
        required="equal outputs and rows",
    )


def not_compared(rule: NonInferiority | None, name: str, why: str, *, passed: bool) -> Iterator[Condition]:
    """The comparison that was not made, and why."""
    if rule is not None:
        yield Condition(
            name=_called(rule, name), passed=passed, judged=False, figure=f"not judged: {why}", required=_required(rule)
        )


def non_inferior(
    workspace: Workspace,
    rule: NonInferiority | None,
    evaluation: Evaluation,
    output: Output,
    name: str,
    ours: tuple[Candidate, Scorecard],
    theirs: tuple[Candidate, Scorecard],
) -> Iterator[Condition]:
    """The paired interval, over the same resamples of the unit, excludes a loss of more than the margin.

    A one-sided test of non-inferiority as in the CONSORT extension (Piaggio et al. 2012): not the difference but the
    far end of its interval is held against the margin.
    """
    if rule is None:
        return
    difference = paired(workspace, output, name, rule.metric, ours, theirs, evaluation)
    if difference is None:
        passed, figure = False, "undefined"
    else:
        loss = difference.high if rule.metric in LOWER_IS_BETTER else -difference.low
        passed = loss <= rule.margin
        figure = f"{difference.value:+.4f} [{difference.low:+.4f}, {difference.high:+.4f}]"
    yield Condition(name=_called(rule, name), passed=passed, figure=figure, required=_required(rule))


def _called(rule: NonInferiority, name: str) -> str:
    return f"{name} {rule.metric}, candidate − champion"


def _required(rule: NonInferiority) -> str:
    return f"the interval excludes a loss of more than {rule.margin:g}"
