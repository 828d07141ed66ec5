"""The road in small: synthetic sets on the library's own stages, and hand-made tables put in their place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import settings

from medai.cohort import Pictures, Stays, select
from medai.errors import MedaiError
from medai.ingestion import ingest
from medai.measurement.calibration import CalibrationChoice
from medai.measurement.thresholds import Threshold
from medai.models.baselines import LogisticRegression
from medai.outputs import Output
from medai.preprocessing import Pixels, Series, prepare
from medai.records import Arrays, Candidate, Cohort, QualityReport, Snapshot, Splits
from medai.sources import MedMNIST, Physionet2012
from medai.sources.synthetic import Synthetic, generate
from medai.splitting import KeyedHash, Publisher, split
from medai.tables import EVENTS, write_table
from medai.training import Execution, fit
from medai.validation import catalogue_suite, validate
from medai.workspace import Workspace

ADMITTED = datetime(2020, 1, 1)
# How long an example takes is the machine's matter; and a change must not be refused for an example that only today's
# dice gave: `make search` looks for new ones.
settings.register_profile("medai", deadline=None, print_blob=True, derandomize=True)
settings.register_profile("search", deadline=None, print_blob=True)
settings.load_profile("medai")


@dataclass(frozen=True)
class Road:
    """One set on its way from raw files to arrays."""

    workspace: Workspace
    raw: Path
    snapshot: Snapshot
    quality: QualityReport
    cohort: Cohort
    splits: Splits
    arrays: Arrays
    outputs: dict[str, Output]
    preprocessing: Pixels | Series

    def load(self, name: str) -> np.ndarray:
        """An array of the prepared ones."""
        array: np.ndarray = np.load(self.workspace.folder("prepare", self.arrays.key) / self.arrays.arrays[name].file)
        return array

    def table(self, stage: str) -> pl.DataFrame:
        """The cohort (``select``) or the assignment (``split``)."""
        key, file = {
            "select": (self.cohort.key, "cohort.parquet"),
            "split": (self.splits.key, "splits.parquet"),
        }[stage]
        return pl.read_parquet(self.workspace.folder(stage, key) / file)


def _walk(
    workspace: Workspace,
    raw: Path,
    source: MedMNIST | Physionet2012,
    definition: Pictures | Stays,
    outputs: dict[str, Output],
    division: Publisher | KeyedHash,
    preprocessing: Pixels | Series,
) -> Road:
    snapshot = ingest(workspace, source, raw).record
    quality = validate(workspace, snapshot, catalogue_suite(source.kind)).record
    cohort = select(workspace, snapshot, quality, definition, outputs).record
    splits = split(workspace, snapshot, cohort, division).record
    arrays = prepare(workspace, snapshot, quality, cohort, preprocessing).record
    return Road(workspace, raw, snapshot, quality, cohort, splits, arrays, outputs, preprocessing)


OPACITY: dict[str, Any] = {"kind": "binary", "classes": {0: "absent", 1: "present"}, "positive": "present"}
DEATH: dict[str, Any] = {
    "kind": "binary",
    "label": "in_hospital_death",
    "classes": {0: "survived", 1: "died"},
    "positive": "died",
}


@pytest.fixture(scope="session")
def output_of() -> Callable[..., Output]:
    """An output from its keys, as a Problem reads it."""
    from pydantic import TypeAdapter

    def make(**keys: Any) -> Output:
        output: Output = TypeAdapter(Output).validate_python(keys)
        return output

    return make


@pytest.fixture(scope="session")
def walk_pictures(output_of: Callable[..., Output]) -> Callable[[Path, Path], Road]:
    """Walk an ``.npz`` of synthetic pictures in a workspace."""

    def walk(home: Path, raw: Path) -> Road:
        return _walk(
            Workspace(home),
            raw,
            MedMNIST(kind="medmnist"),
            Pictures(kind="pictures"),
            {"opacity": output_of(**OPACITY)},
            Publisher(kind="publisher"),
            Pixels(kind="pixels", size=(16, 16)),
        )

    return walk


@pytest.fixture(scope="session")
def walk_stays(output_of: Callable[..., Output]) -> Callable[[Path, Path], Road]:
    """Walk a folder of synthetic stays in a workspace."""

    def walk(home: Path, raw: Path) -> Road:
        return _walk(
            Workspace(home),
            raw,
            Physionet2012(kind="physionet2012"),
            Stays(kind="stays", groups=("ICUType",)),
            {"death": output_of(**DEATH)},
            KeyedHash(
                kind="keyed_hash", key="tests", fractions={"train": 0.4, "validation": 0.2, "gate": 0.2, "test": 0.2}
            ),
            Series(
                kind="series",
                step_minutes=240,
                variables=("GCS", "HR", "Lactate"),
                static=("Age", "Height"),
                categories={"ICUType": (1, 2, 3, 4)},
            ),
        )

    return walk


@pytest.fixture(scope="session")
def picture_road(tmp_path_factory: pytest.TempPathFactory, walk_pictures: Callable[[Path, Path], Road]) -> Road:
    """120 synthetic pictures of 16 × 16 on the whole pure road; nobody writes in it."""
    folder = tmp_path_factory.mktemp("pictures")
    raw = generate(Synthetic(kind="synthetic", layout="medmnist", subjects=120, size=16), folder)
    return walk_pictures(folder / "home", raw)


@pytest.fixture(scope="session")
def stay_road(tmp_path_factory: pytest.TempPathFactory, walk_stays: Callable[[Path, Path], Road]) -> Road:
    """150 synthetic stays on the whole pure road; nobody writes in it."""
    folder = tmp_path_factory.mktemp("stays")
    (folder / "raw").mkdir()
    raw = generate(
        Synthetic(kind="synthetic", layout="physionet2012", subjects=150, prevalence=0.4, signal=0.8), folder / "raw"
    )
    return walk_stays(folder / "home", raw)


@pytest.fixture(scope="session")
def calibrated_regression(stay_road: Road) -> Callable[[Workspace, float], Candidate]:
    """A calibrated logistic regression of a given penalty on the stays, in a workspace that shares their stages."""

    def make(workspace: Workspace, inverse_penalty: float) -> Candidate:
        return fit(
            workspace,
            name="logistic_regression",
            model=LogisticRegression(inverse_penalty=inverse_penalty),
            training=None,
            arrays=stay_road.arrays,
            cohort=stay_road.cohort,
            splits=stay_road.splits,
            outputs=stay_road.outputs,
            preprocessing=stay_road.preprocessing,
            threshold=Threshold(),
            calibration=CalibrationChoice(method="platt"),
            execution=Execution(),
            seed=0,
        ).record

    return make


@pytest.fixture
def put(tmp_path: Path) -> Callable[..., tuple[Workspace, Snapshot, QualityReport]]:
    """Put hand-made tables where ``ingest`` and ``validate`` would have left them.

    ``aside`` are (table, row_id, reason); ``home`` names the workspace.
    """

    def write(
        tables: dict[str, pl.DataFrame],
        shape: str,
        aside: tuple[tuple[str, int, str], ...] = (),
        home: str = "home",
        pixels: np.ndarray | None = None,
    ) -> tuple[Workspace, Snapshot, QualityReport]:
        workspace = Workspace(tmp_path / home)
        number = len(list((workspace.root / "store" / "ingest").glob("*")))
        snapshot = Snapshot.model_validate(
            {
                "key": f"{number:032x}",
                "shape": shape,
                "source": "fixture",
                "unit": "patient",
                "data_sha256": "0" * 64,
                "tables": {name: table.height for name, table in tables.items()},
            }
        )
        folder = workspace.folder("ingest", snapshot.key)
        folder.mkdir(parents=True)
        for name, table in tables.items():
            write_table(folder / f"{name}.parquet", table.to_arrow())
        if pixels is not None:
            np.save(folder / "pixels.npy", pixels)
        quality = QualityReport(key=f"{number:032x}", passed=True, rows=0, set_aside={}, failures=(), rules=0)
        folder = workspace.folder("validate", quality.key)
        folder.mkdir(parents=True)
        rows = pl.DataFrame(
            list(aside), schema={"table": pl.String, "row_id": pl.Int64, "reason": pl.String}, orient="row"
        )
        write_table(folder / "set_aside.parquet", rows.to_arrow())
        return workspace, snapshot, quality

    return write


Reading = tuple[int, float | None, float | None, str, float | None]
"""Subject, hour (None: static), hour it was known (None: not recorded), code, value."""


@pytest.fixture(scope="session")
def event_tables() -> Callable[..., dict[str, pl.DataFrame]]:
    """Events, stays and labels of a few subjects from readings, in the snapshot's order."""

    def make(
        readings: list[Reading], subjects: int = 2, labels: list[int | None] | None = None
    ) -> dict[str, pl.DataFrame]:
        def at(hour: float | None) -> datetime | None:
            return None if hour is None else ADMITTED + timedelta(hours=hour)

        events = (
            pl.DataFrame(
                {
                    "subject_id": [one[0] for one in readings],
                    "time": [at(one[1]) for one in readings],
                    "code": [one[3] for one in readings],
                    "variable": [one[3] for one in readings],
                    "numeric_value": [one[4] for one in readings],
                    "text_value": [None] * len(readings),
                    "known_time": [at(one[2]) for one in readings],
                    "source_row": range(len(readings)),
                },
                schema_overrides={
                    "subject_id": pl.Int64,
                    "time": pl.Datetime("us"),
                    "known_time": pl.Datetime("us"),
                    "code": pl.String,
                    "variable": pl.String,
                    "numeric_value": pl.Float32,
                    "text_value": pl.String,
                    "source_row": pl.Int32,
                },
            )
            .sort("subject_id", "time", "known_time", "code", "numeric_value", maintain_order=True)
            .with_row_index("row_id")
            .cast({"row_id": pl.Int64})
            .select(*EVENTS)
        )
        timed = set(events.filter(pl.col("time").is_not_null())["subject_id"])
        stays = pl.DataFrame(
            {
                "row_id": range(subjects),
                "subject_id": range(subjects),
                "stay_id": range(subjects),
                "admission_id": range(subjects),
                "start": [ADMITTED] * subjects,
                "end": [ADMITTED + timedelta(hours=72)] * subjects,
                "publisher_role": [None] * subjects,
                "has_series": [subject in timed for subject in range(subjects)],
            },
            schema_overrides={"start": pl.Datetime("us"), "end": pl.Datetime("us"), "publisher_role": pl.String},
        )
        truth = pl.DataFrame(
            {
                "stay_id": range(subjects),
                "label": labels if labels is not None else [subject % 2 for subject in range(subjects)],
            },
            schema_overrides={"label": pl.Int64},
        )
        return {"events": events, "stays": stays, "labels": truth}

    return make


@pytest.fixture(scope="session")
def refusal() -> Callable[[MedaiError], str]:
    """All three parts and the next step of an error, checked to be there."""

    def read(error: MedaiError) -> str:
        assert all((error.wrong, error.expected, error.received, error.action))
        return str(error)

    return read


@pytest.fixture(scope="session")
def pinned() -> None:
    """TensorFlow with two threads, as medai's own fits pin it; whoever comes first in this process decides."""
    from medai.training import Execution
    from medai.training.nets import pin_execution

    pin_execution(Execution(threads=2))
