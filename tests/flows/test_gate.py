"""The gate on the whole road: what a person approves, where a line of champions begins, and what is served."""

from pathlib import Path
from typing import Any

import pytest

from medai.audit import Audit
from medai.promotion.approval import holds
from medai.signing import SiteKey

GATE: dict[str, Any] = {
    "role": "gate",
    "floors": {"auroc": 0.5},
    "non_inferiority": {"metric": "auroc", "margin": 1.0},
    "minimum_positives": 2,
    "minimum_negatives": 2,
    "quality": {"set_aside": 0.2},
    "parity": {"samples": 10},
}


def figure(outcome: dict[str, Any], name: str) -> str:
    """The figure of a condition whose name begins so."""
    return str(next(one["figure"] for one in outcome["conditions"] if one["name"].startswith(name)))


@pytest.fixture(scope="module")
def asked(problems: Any) -> str:
    """A question on generated stays whose gate asks for approval."""
    path: str = problems.stays("approved", gate=GATE | {"approval": "required"})
    return path


@pytest.mark.slow
def test_what_passes_waits_for_a_person_whose_approval_is_signed(medai: Any, asked: str, tmp_path: Path) -> None:
    """Nothing is promoted before; the approval names the decision, and its signature holds for these facts alone."""
    home = tmp_path / "home"
    first = medai.run(asked, home=home)
    assert (first["decision"], first["champion"], first["awaits_approval"]) == ("awaiting_approval", None, True)
    assert first["reasons"] == ["approved by a person: not yet (required: `medai promote` with a reason)"]
    assert "in 10 samples" in figure(first, "scores of the served path on a sample of gate")
    assert figure(first, "rows set aside").endswith("%)")
    shown = medai("run", asked, home=home).out
    assert "decision: awaiting approval (version 1" in shown
    assert "… approved by a person: not yet" in shown
    assert "`medai promote approved 1 --reason …` approves it" in shown

    answer = medai("promote", asked, "1", "--reason", "read by the ward's board", home=home)
    assert answer.out == "approved: version 1 is champion, approved and signed\n"
    again = medai.run(asked, home=home)
    assert (again["decision"], again["champion"], again["awaits_approval"]) == ("awaiting_approval", 1, False)
    lines = {entry.kind: entry for entry in Audit(home, by="").read()}
    assert (lines["wanted"].facts["version"], lines["wanted"].facts["for"]) == (1, ["approved by a person"])
    facts = lines["champion"].facts
    assert (facts["how"], facts["approves"]) == ("person", lines["wanted"].facts["decision"])
    assert facts["line"] == lines["decided"].facts["line"]
    assert facts["begins"] == []
    key = SiteKey.of(home / "keys", make=False)
    assert holds(key, "approved", facts)
    assert not holds(key, "approved", facts | {"reason": "nobody read it"})
    told = medai("history", asked, home=home).out
    assert "version 1 judged by the gate: awaiting approval\n    approved by a person: not yet" in told
    assert (
        "version 1 approved and made champion by a person: read by the ward's board; a line of champions begins" in told
    )


@pytest.mark.slow
def test_a_question_that_changed_begins_a_new_line(medai: Any, problems: Any, tmp_path: Path) -> None:
    """The standing champion stays until a person says so; a change of the net alone is refused."""
    home = tmp_path / "home"
    problem = problems.stays("lined", gate=GATE)
    first = medai.run(problem, home=home)
    assert (first["decision"], first["champion"]) == ("promoted", 1)
    wide = medai.run(problem, "--set", "inputs.stay.encoder.units=5", home=home)
    assert (wide["decision"], wide["champion"]) == ("refused", 1)
    assert figure(wide, "changes against the champion") == "not foreseen: architecture (units 4 → 5)"
    assert figure(wide, "the line of champions") == "goes on"
    older = medai.run(problem, "--set", "cohort.criteria=[{name: ill, where: saps_i >= 1}]", home=home)
    assert (older["decision"], older["champion"]) == ("awaiting_approval", 1)
    assert figure(older, "the line of champions") == "a new line begins: other cohort"
    assert figure(older, "death auroc, candidate − champion") == "not judged: a new line of champions begins"
    answer = medai("promote", problem, str(older["version"]), "--reason", "the ill alone", "--json", home=home)
    assert (answer.json["champion"], answer.json["approved"]) == (older["version"], True)
    told = medai("history", problem, home=home).out
    assert "version 1 made champion by the gate; a line of champions begins\n" in told
    assert "by a person: the ill alone; a line of champions begins (other cohort)\n" in told
    back = medai("rollback", problem, "--reason", "the others, too", "--json", home=home).json
    assert back["champion"] == 1
