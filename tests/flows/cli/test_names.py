"""Whose names the command line never shows."""

import contextlib
import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from medai.sources.synthetic import Synthetic, generate

PLANTED = 77_700_000
"""Added to the stays' identifiers: no other number of a run looks like them."""


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    """Generated stays whose identifiers are recognised anywhere."""
    raw = tmp_path / "raw"
    raw.mkdir()
    generate(Synthetic(kind="synthetic", layout="physionet2012", subjects=200, signal=2, seed=9), raw)

    def renamed(text: str) -> str:
        return re.sub(r"\b(900\d{3})\b", lambda found: str(int(found[1]) + PLANTED), text)

    for file in list((raw / "set-a").iterdir()):
        file.with_name(renamed(file.name)).write_text(renamed(file.read_text()))
        file.unlink()
    (raw / "Outcomes-a.txt").write_text(renamed((raw / "Outcomes-a.txt").read_text()))
    return raw


def test_a_patients_identifier_appears_nowhere(
    planted: Path, medai: Any, problems: Any, tmp_path: Path, prefect_home: Path
) -> None:
    """Not in what is printed, logged, tracked, reported or recorded; only in files that their owner alone may read."""
    home = tmp_path / "home"
    shown = [
        medai("run", problems.stays("planted"), "--data", str(planted), "--json", home=home),
        medai("run", problems.stays("planted"), "--data", str(planted), home=home),
        medai("history", problems.stays("planted"), home=home),
    ]
    assert [answer.status for answer in shown] == [0, 0, 0], shown[0].err
    victim = sorted((planted / "set-a").iterdir())[7]
    victim.write_text(victim.read_text() + "12:00,HR\n")
    shown.append(medai("run", problems.stays("planted"), "--data", str(planted), "--json", home=home))
    assert shown[-1].status == 3
    victim.write_text(victim.read_text().removesuffix("\n"))
    shown.append(medai("check", problems.stays("planted"), "--data", str(planted), home=home))
    assert shown[-1].status == 3

    pattern = re.compile(rb"78600[0-2]\d\d")
    token = re.compile(rb"[0-9a-f]78600\d{3}|78600\d{3}[0-9a-f]|\.\d*78600\d{3}")  # inside a hash or a fraction
    places = [path for path in [*home.rglob("*"), *prefect_home.rglob("*")] if path.is_file()]
    texts = {f"standard output {number}": answer.out.encode() for number, answer in enumerate(shown)}
    texts |= {f"standard error {number}": answer.err.encode() for number, answer in enumerate(shown)}
    for path in places:  # the page is its owner's alone, and yet the one that is handed on
        if path.stat().st_mode & 0o077 or path.name == "report.html":
            texts[str(path)] = path.read_bytes()
    assert any(path.endswith("mlflow.db") for path in texts)
    assert any(path.endswith("report.html") for path in texts)
    assert len(pattern.findall((planted / "Outcomes-a.txt").read_bytes())) == 200
    assert [place for place, text in texts.items() if pattern.search(token.sub(b"", text))] == []
    with contextlib.closing(sqlite3.connect(prefect_home / "prefect" / "prefect.db")) as database:
        logged = "\n".join(row[0] for row in database.execute("select message from log"))
    assert "row" in logged
    assert not pattern.search(logged.encode())
    people = [path for path in places if path.name == "identifiers.parquet"]
    assert people
    assert all(path.stat().st_mode & 0o077 == 0 for path in people)
