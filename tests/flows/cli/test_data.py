"""``medai synth``: what it writes and says."""

import re
from pathlib import Path
from typing import Any

import pytest


@pytest.mark.slow
def test_synth_writes_a_hospital_and_says_what_it_holds(medai: Any, tmp_path: Path, home: Path) -> None:
    """For a person in sentences, with --json as one object; the same folder is not written to twice."""
    out = tmp_path / "hospital"
    answer = medai("synth", "hospital", str(out), "--patients", "20", "--faults", "0.2", home=home)
    assert answer.status == 0, answer.err
    assert f"{out}: " in answer.out
    assert re.search(r"\d+ planted faults of \d+ kinds, counted in planted_faults.json", answer.out)
    again = medai("synth", "hospital", str(out), "--json", home=home)
    assert again.status == 2
    assert again.json["error"]["wrong"] == "the place to write to is taken"
    plain = medai(
        "synth", "hospital", str(tmp_path / "plain"), "--patients", "20", "--faults", "0", "--mimic-version", "2.2",
        "--seed", "3", "--signal", "0", "--json", home=home,
    )  # fmt: skip
    assert plain.status == 0, plain.err
    assert (plain.json["kind"], plain.json["patients"], plain.json["seed"]) == ("hospital", 20, 3)
    assert set(plain.json["faults"].values()) == {0}
    assert "MIMIC-IV v2.2" in (tmp_path / "plain" / "README.txt").read_text()
