"""``decide``: promoted, refused, or insufficient evidence; every condition with its figure.

Pure: it reads scores on the gate's rows and writes a Decision; what follows from it is done elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from medai.errors import DataRefused
from medai.evaluation import Evaluation, paired
from medai.measurement.evidence import rarest
from medai.measurement.evidence import told as amount
from medai.measurement.metrics import LOWER_IS_BETTER
from medai.outputs import Output
from medai.records import KEY_LENGTH, Candidate, Condition, Decision, Frozen, Scorecard, Verdict, sha256_of, stage_key
from medai.scores import read_scores
from medai.workspace import Made, Workspace

VERSION = 4


class NonInferiority(Frozen):
    """The candidate may be worse than the champion by less than a margin.

    Attributes:
        metric: compared on the same rows, resampled together (paired bootstrap over the unit).
        margin: largest tolerated loss; the interval's lower bound of candidate − champion must lie above −margin.
    """

    metric: str = "auroc"
    margin: float = Field(0.01, ge=0, le=1)


class Gate(Frozen):
    """What a candidate must show before it is promoted.

    Attributes:
        role: the rows that the gate reads; ``test`` where a Problem has only a test set, and each opening is counted.
        output: the output judged; the only one when left out.
        floors: metric → bound that the interval's lower bound must reach; every metric that has one ends at 1.
        non_inferiority: the comparison with the champion; None to promote whatever passes the floors.
        minimum_positives, minimum_negatives: fewest subjects (patients, where the source knows them) with a positive,
            and with a negative; below either, the evidence is insufficient. However many hours a patient is asked
            about, it is one. Of several classes or findings the rarest is counted. Of a mask only patients with a
            finding are asked for: overlap and distance speak of nobody else.
    """

    role: Literal["gate", "test"]
    output: str | None = None
    floors: dict[str, Annotated[float, Field(ge=0, le=1)]] = Field(default={})
    non_inferiority: NonInferiority | None = NonInferiority()
    minimum_positives: int = Field(30, ge=1)
    minimum_negatives: int = Field(30, ge=1)


class Rules(Frozen):
    """All that a decision depends on besides the models and the rows."""

    gate: Gate | None
    evaluation: Evaluation

    @property
    def key(self) -> str:
        """The name under which the ledger remembers decisions by these rules."""
        return sha256_of(self.model_dump(mode="json"))[:KEY_LENGTH]


class _Deciding(Frozen):
    rules: Rules
    withdrawn: bool


def decide(
    workspace: Workspace,
    rules: Rules,
    outputs: dict[str, Output],
    candidate: Candidate,
    scorecard: Scorecard,
    champion: Candidate | None,
    champion_scorecard: Scorecard | None,
    *,
    withdrawn: bool,
) -> Made[Decision]:
    """Judge a candidate on the gate's rows.

    Args:
        rules: without a gate the answer is ``no_gate``: nothing is promoted.
        scorecard, champion_scorecard: both on the gate's role; the champion has none when it cannot answer the
            question on these rows.
        withdrawn: a person rolled this candidate back; only a person may bring it back.
    """
    inputs = {"candidate": candidate.key, "scorecard": scorecard.key}
    if champion is not None:
        inputs["champion"] = champion.key
    if champion_scorecard is not None:
        inputs["champion_scorecard"] = champion_scorecard.key
    key = stage_key("decide", VERSION, inputs, _Deciding(rules=rules, withdrawn=withdrawn), ("numpy",))
    gate, evaluation = rules.gate, rules.evaluation

    def build(_folder: Path) -> Decision:
        if gate is None:
            return Decision(
                key=key,
                verdict="no_gate",
                candidate=candidate.key,
                champion=champion.key if champion else None,
                reasons=("the Problem has no gate, so nothing is promoted",),
            )
        name = gate.output or next(iter(outputs))
        evidence = _evidence(gate, name, outputs[name], scorecard)
        comparison: list[Condition] = []
        void: list[Condition] = []
        if champion is not None and champion.key != candidate.key:
            void = _comparable(workspace, gate, candidate, champion, scorecard, champion_scorecard)
            fair = all(condition.passed for condition in void)
            if gate.non_inferiority is not None and champion_scorecard is not None and fair:
                comparison = [
                    _non_inferior(
                        workspace,
                        gate.non_inferiority,
                        evaluation,
                        outputs[name],
                        name,
                        (candidate, scorecard),
                        (champion, champion_scorecard),
                    )
                ]
        floors = _floors(gate, name, scorecard)
        person = Condition(
            name="not rolled back by a person",
            passed=not withdrawn,
            figure="rolled back" if withdrawn else "not rolled back",
            required="only `medai promote` brings a withdrawn version back",
        )
        conditions = (*evidence, *void, *floors, *comparison, person)
        verdict: Verdict
        if not all(condition.passed for condition in (*evidence, *void)):
            verdict = "insufficient_evidence"
        elif all(condition.passed for condition in conditions):
            verdict = "promoted"
        else:
            verdict = "refused"
        return Decision(
            key=key,
            verdict=verdict,
            candidate=candidate.key,
            champion=champion.key if champion else None,
            conditions=conditions,
            reasons=_reasons(verdict, conditions),
        )

    return workspace.materialise("decide", key, Decision, build)


def _reasons(verdict: Verdict, conditions: tuple[Condition, ...]) -> tuple[str, ...]:
    told = [condition for condition in conditions if condition.passed == (verdict == "promoted")]
    return tuple(f"{condition.name}: {condition.figure} (required: {condition.required})" for condition in told)


def _evidence(gate: Gate, name: str, output: Output, scorecard: Scorecard) -> list[Condition]:
    """Enough subjects of every class to say anything."""
    each = scorecard.evidence[name]
    fewest = rarest(one for one in each if one.positive)
    alone = output.kind in ("binary", "mask")
    asked = [("positives" if alone else f"the rarest class, {fewest.label},", fewest)]
    least = [gate.minimum_positives, gate.minimum_negatives]
    if output.kind in ("binary", "multilabel"):
        absent = rarest(one for one in each if not one.positive)
        asked.append(("negatives" if output.kind == "binary" else f"the rarest absence, {absent.label},", absent))
    return [
        Condition(
            name=f"{what} in {scorecard.role}",
            passed=one.subjects >= minimum,
            figure=amount(one, scorecard.unit),
            required=f"at least {minimum}",
        )
        for (what, one), minimum in zip(asked, least, strict=False)
    ]


def _floors(gate: Gate, name: str, scorecard: Scorecard) -> list[Condition]:
    conditions = []
    for metric, floor in sorted(gate.floors.items()):
        measure = scorecard.metrics[name].get(metric)
        conditions.append(
            Condition(
                name=f"{name} {metric} in {scorecard.role}",
                passed=measure is not None and measure.low >= floor,
                figure="undefined"
                if measure is None
                else f"{measure.value:.4f} [{measure.low:.4f}, {measure.high:.4f}]",
                required=f"lower bound at least {floor:g}",
            )
        )
    return conditions


def _comparable(
    workspace: Workspace,
    gate: Gate,
    candidate: Candidate,
    champion: Candidate,
    scorecard: Scorecard,
    champion_scorecard: Scorecard | None,
) -> list[Condition]:
    """The comparison is void where a model has learnt from a subject it is judged on, or where the rows differ."""
    rows = set(read_scores(workspace, scorecard)["subject_id"].to_list())
    conditions = []
    for who, model in (("the candidate", candidate), ("the champion", champion)):
        learnt = rows & trained_subjects(workspace, model)
        conditions.append(
            Condition(
                name=f"no {scorecard.unit} in {gate.role} that {who} was fitted on",
                passed=not learnt,
                figure=f"{len(learnt)} of {len(rows)} subjects",
                required="0, or the comparison is void",
            )
        )
    same = champion_scorecard is not None and scorecard.rows_sha256 == champion_scorecard.rows_sha256
    conditions.append(
        Condition(
            name="the champion answers the same question on the same rows",
            passed=same,
            figure="equal" if same else "different",
            required="equal outputs and rows",
        )
    )
    conditions.append(_read_alike(candidate, champion))
    return conditions


def _read_alike(candidate: Candidate, champion: Candidate) -> Condition:
    """A champion that was fitted on data read otherwise would be judged on what it never learnt."""
    recorded = candidate.origin is not None and champion.origin is not None
    keys = candidate.reads_otherwise(champion.origin)
    return Condition(
        name="the champion reads the data as the candidate does",
        passed=not keys,
        figure=f"different {', '.join(keys)}" if keys else "equal" if recorded else "not recorded",
        required="equal source and time of prediction, or the comparison is void",
    )


def best(figures: Mapping[str, float | None], metric: str) -> str:
    """The name with the largest figure on validation; the first of equals, and so the net before its baselines.

    Raises:
        DataRefused: the metric is defined for nobody, as where validation holds one class alone.

    >>> best({"net": 0.8, "forest": 0.9, "line": None}, "auroc")
    'forest'
    """
    defined = {name: figure for name, figure in figures.items() if figure is not None}
    if not defined:
        raise DataRefused(
            f"choose_metric is undefined on validation: no candidate has a figure for {metric}",
            expected="validation samples of every class, by which the best candidate is chosen",
            received=f"{len(figures)} candidates without a figure",
            action="give more data, another split or choose_metric, or set choose: net",
        )
    return max(defined, key=lambda name: defined[name])


def trained_subjects(workspace: Workspace, candidate: Candidate) -> set[int]:
    """Subjects that a candidate was fitted on: train, and validation, which chose its threshold and calibration."""
    import polars as pl

    from medai.tables import read_table

    table = pl.DataFrame(read_table(workspace.folder("fit", candidate.key) / "subjects.parquet"))
    return set(table["subject_id"].to_list())


def _non_inferior(
    workspace: Workspace,
    rule: NonInferiority,
    evaluation: Evaluation,
    output: Output,
    name: str,
    ours: tuple[Candidate, Scorecard],
    theirs: tuple[Candidate, Scorecard],
) -> Condition:
    difference = paired(workspace, output, name, rule.metric, ours, theirs, evaluation)
    if difference is None:
        passed, figure = False, "undefined"
    else:
        loss = difference.high if rule.metric in LOWER_IS_BETTER else -difference.low
        passed = loss <= rule.margin
        figure = f"{difference.value:+.4f} [{difference.low:+.4f}, {difference.high:+.4f}]"
    return Condition(
        name=f"{name} {rule.metric}, candidate − champion",
        passed=passed,
        figure=figure,
        required=f"the interval excludes a loss of more than {rule.margin:g}",
    )
