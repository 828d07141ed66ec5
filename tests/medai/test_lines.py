"""Which Problems' champions may be compared."""

import pytest

from medai.problem import load_problem


@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        ([], ()),
        (["data.subjects=5000", "training.epochs=9", "question=What?"], ()),
        (["inputs.stay.preprocessing.step_minutes=30"], ()),
        (["inputs.stay.source.outcomes=Outcomes-b.txt"], ("source",)),
        (["cohort.observation_hours=24", "inputs.stay.preprocessing.hours=24"], ("cohort",)),
        (["cohort.groups=[]"], ("cohort",)),
        (["outputs.death.positive=survived"], ("outputs",)),
        (["gate.floors.auroc=0.71"], ("gate",)),
        (["evaluation.confidence=0.9"], ("gate",)),
        (["cohort.groups=[]", "gate=null"], ("cohort", "gate")),
    ],
)
def test_a_line_is_the_source_the_cohort_the_outputs_and_the_gate(overrides: list[str], parts: tuple[str, ...]) -> None:
    """Data may grow and models change; each of the four parts is told apart by the names of two lines."""
    assert load_problem("synthetic_stays", overrides).protocol.differences(
        load_problem("synthetic_stays").protocol
    ) == (parts)


def test_counts_of_a_publishers_set_are_no_part_of_the_question() -> None:
    """``expect`` says which set it is; a set that grew has others."""
    known = load_problem("pneumonia_mnist")
    assert known.protocol == load_problem("pneumonia_mnist", ["inputs.radiograph.source.expect=null"]).protocol


def test_the_models_among_which_a_problem_chooses_have_a_name() -> None:
    """Another net, training, baseline or choice is another; another threshold or split is not."""
    own = load_problem("synthetic_stays").protocol.models
    for override in (
        "inputs.stay.encoder.units=17",
        "training.epochs=7",
        "baselines.gradient_boosting.leaves=4",
        "choose=best_on_validation",
    ):
        assert load_problem("synthetic_stays", [override]).protocol.models != own
    assert load_problem("synthetic_stays", ["split.key=other", "threshold.method=f1"]).protocol.models == own
