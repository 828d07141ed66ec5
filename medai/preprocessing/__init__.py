"""``prepare``: arrays for the models, unstandardised and independent of the split.

What is learnt from train (means, deviations) lives in Statistics, apart from the arrays: another split or seed leaves
these bytes alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from medai.preprocessing import pixels, series
from medai.preprocessing.pixels import Pixels
from medai.preprocessing.series import Series
from medai.records import Arrays, Cohort, QualityReport, Snapshot, stage_key
from medai.workspace import Made, Workspace

if TYPE_CHECKING:
    from medai.shards import Spread

Preprocessing = Annotated[Pixels | Series, Field(discriminator="kind")]

__all__ = ["Pixels", "Preprocessing", "Series", "prepare"]


def prepare(
    workspace: Workspace,
    snapshot: Snapshot,
    quality: QualityReport,
    cohort: Cohort,
    config: Pixels | Series,
    spread: Spread | None = None,
) -> Made[Arrays]:
    """Write the arrays of a cohort, one row a sample in the order of ``sample_id``.

    Args:
        spread: who works on the shards of a series' events; it enters neither key nor bytes.

    Raises:
        DataRefused: the snapshot's shape does not fit the preprocessing.
    """
    if isinstance(config, Pixels):
        pixels.need_libraries(config)
    version = pixels.VERSION if isinstance(config, Pixels) else series.VERSION
    key = stage_key(
        "prepare",
        version,
        {"snapshot": snapshot.key, "quality": quality.key, "cohort": cohort.key},
        config,
        (*series.LIBRARIES, *(config.libraries if isinstance(config, Pixels) else ())),
    )

    def build(folder: Path) -> Arrays:
        if isinstance(config, Pixels):
            return pixels.write(workspace, snapshot, cohort, config, key, folder)
        return series.write(workspace, snapshot, quality, cohort, config, key, folder, spread)

    return workspace.materialise("prepare", key, Arrays, build)
