"""``prepare``: arrays for the models, unstandardised and independent of the split.

What is learnt from train (means, deviations) lives in Statistics, apart from the arrays: another split or seed leaves
these bytes alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from medai.preprocessing import pixels, series
from medai.preprocessing.pixels import Pixels
from medai.preprocessing.series import Series
from medai.records import Arrays, Cohort, QualityReport, Snapshot, stage_key
from medai.workspace import Made, Workspace

Preprocessing = Annotated[Pixels | Series, Field(discriminator="kind")]

__all__ = ["Pixels", "Preprocessing", "Series", "prepare"]


def prepare(
    workspace: Workspace, snapshot: Snapshot, quality: QualityReport, cohort: Cohort, config: Pixels | Series
) -> Made[Arrays]:
    """Write the arrays of a cohort, one row a sample in the order of ``sample_id``.

    Raises:
        DataRefused: the snapshot's shape does not fit the preprocessing.
    """
    version = pixels.VERSION if isinstance(config, Pixels) else series.VERSION
    key = stage_key(
        "prepare",
        version,
        {"snapshot": snapshot.key, "quality": quality.key, "cohort": cohort.key},
        config,
        ("numpy", "polars", "pyarrow"),
    )

    def build(folder: Path) -> Arrays:
        if isinstance(config, Pixels):
            return pixels.write(workspace, snapshot, cohort, config, key, folder)
        return series.write(workspace, snapshot, quality, cohort, config, key, folder)

    return workspace.materialise("prepare", key, Arrays, build)
