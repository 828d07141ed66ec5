"""``prepare``: arrays for the models, unstandardised and independent of the split.

What is learnt from train (means, deviations) lives in Statistics, apart from the arrays: another split or seed leaves
these bytes alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from medai.preprocessing import pixels, series, volume
from medai.preprocessing.pixels import Pixels
from medai.preprocessing.series import Series
from medai.preprocessing.volume import Volume
from medai.records import Arrays, Cohort, QualityReport, Snapshot, stage_key
from medai.workspace import Made, Workspace

if TYPE_CHECKING:
    from medai.shards import Spread

Preprocessing = Annotated[Pixels | Series | Volume, Field(discriminator="kind")]

__all__ = ["Pixels", "Preprocessing", "Series", "Volume", "prepare", "refuse_unfit"]


def refuse_unfit(workspace: Workspace, snapshot: Snapshot, config: Pixels | Series | Volume) -> None:
    """Refuse data of another size than the Problem expects before anything is made of them.

    Raises:
        DataRefused: they are.
    """
    if isinstance(config, Pixels):
        pixels.refuse_unfit(workspace, snapshot, config)
    elif isinstance(config, Volume):
        volume.refuse_unfit(workspace, snapshot, config)


def prepare(
    workspace: Workspace,
    snapshot: Snapshot,
    quality: QualityReport,
    cohort: Cohort,
    config: Pixels | Series | Volume,
    spread: Spread | None = None,
) -> Made[Arrays]:
    """Write the arrays of a cohort, one row a sample in the order of ``sample_id``.

    Args:
        spread: who works on the shards of a series' events; it enters neither key nor bytes.

    Raises:
        DataRefused: the snapshot's shape does not fit the preprocessing.
    """
    libraries: tuple[str, ...] = series.LIBRARIES
    if isinstance(config, Series):
        version = series.VERSION
    else:
        kind = pixels if isinstance(config, Pixels) else volume
        version, libraries = kind.VERSION, (*libraries, *config.libraries)
        if isinstance(config, Volume):
            volume.need_libraries(config)
    key = stage_key(
        "prepare",
        version,
        {"snapshot": snapshot.key, "quality": quality.key, "cohort": cohort.key},
        config,
        libraries,
    )

    def build(folder: Path) -> Arrays:
        if isinstance(config, Pixels):
            return pixels.write(workspace, snapshot, cohort, config, key, folder)
        if isinstance(config, Volume):
            return volume.write(workspace, snapshot, quality, cohort, config, key, folder)
        return series.write(workspace, snapshot, quality, cohort, config, key, folder, spread)

    return workspace.materialise("prepare", key, Arrays, build)
