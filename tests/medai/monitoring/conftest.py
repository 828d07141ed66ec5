"""A champion, its reference, and wards to compare with it: as they were, or with hearts that beat faster."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from medai.cohort import Stays
from medai.ingestion import ingest
from medai.monitoring.records import Reference
from medai.monitoring.reference import make_reference
from medai.outputs import Output
from medai.prediction import Part, score, select
from medai.preprocessing import prepare
from medai.records import Candidate
from medai.sources import Physionet2012, unlabelled
from medai.sources.synthetic import Synthetic, generate
from medai.validation import catalogue_suite, validate
from medai.workspace import Workspace

OTHERS = 77_700_000
"""Added to a stay's number, so that the champion does not know it."""


@dataclass(frozen=True)
class Watched:
    """A champion with its reference in a workspace.

    Attributes:
        part: a ward's stays on the road of prediction: (name, stays, factor of the heart rate) → part.
        outcomes: of the same ward: the site's id → 0 or 1.
    """

    workspace: Workspace
    champion: Candidate
    reference: Reference
    name: str
    output: Output
    part: Callable[[str, int, float], Part]
    outcomes: Callable[[str], dict[str, int]]


def rewrite(file: Path, faster: float) -> None:
    """Give a stay another number and another heart rate, where it has one."""
    number = str(int(file.stem) + OTHERS)
    lines = []
    for line in file.read_text().replace(file.stem, number).splitlines():
        time, variable, value = line.split(",")
        lines.append(f"{time},{variable},{float(value) * faster:g}" if variable == "HR" else line)
    file.unlink()
    file.with_name(f"{number}.txt").write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="package")
def watched(tmp_path_factory: pytest.TempPathFactory, stay_road: Any, calibrated_regression: Any) -> Watched:
    """A calibrated logistic regression on 150 stays, of whom some 60 are its reference."""
    folder = tmp_path_factory.mktemp("monitoring")
    store = folder / "home" / "store"
    for stage in ("ingest", "validate", "select", "split", "prepare"):
        (store / stage).mkdir(parents=True)
        for made in (stay_road.workspace.root / "store" / stage).glob("[0-9a-f]*"):
            (store / stage / made.name).symlink_to(made)
    workspace = Workspace(store.parent)
    champion: Candidate = calibrated_regression(workspace, 0.01)
    name, output = next(iter(stay_road.outputs.items()))
    definition = Stays(kind="stays", groups=("ICUType",))
    everybody = select(workspace, stay_road.snapshot, stay_road.quality, definition).record
    arrays = prepare(workspace, stay_road.snapshot, stay_road.quality, everybody, stay_road.preprocessing).record
    reference = make_reference(workspace, champion, stay_road.snapshot, everybody, arrays, name, output).record

    def part(ward: str, stays: int, faster: float) -> Part:
        raw = folder / ward
        if not raw.exists():
            raw.mkdir()
            seed = sum(ward.encode())
            made = Synthetic(
                kind="synthetic", layout="physionet2012", subjects=stays, prevalence=0.4, signal=0.8, seed=seed
            )
            generate(made, raw)
            (raw / "Outcomes-a.txt").rename(folder / f"{ward}.outcomes")
            for file in sorted((raw / "set-a").iterdir()):
                rewrite(file, faster)
        snapshot = ingest(workspace, unlabelled(Physionet2012(kind="physionet2012")), raw / "set-a").record
        quality = validate(workspace, snapshot, catalogue_suite("physionet2012")).record
        cohort = select(workspace, snapshot, quality, definition).record
        arrays = prepare(workspace, snapshot, quality, cohort, stay_road.preprocessing).record
        return Part(snapshot, cohort, score(workspace, champion, arrays, name, output).record, arrays, quality)

    def outcomes(ward: str) -> dict[str, int]:
        rows = [line.split(",") for line in (folder / f"{ward}.outcomes").read_text().splitlines()[1:]]
        return {str(int(row[0]) + OTHERS): int(row[-1]) for row in rows}

    return Watched(workspace, champion, reference, name, output, part, outcomes)
