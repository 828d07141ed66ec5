"""What was known of a sample before its series: columns of its stay, and codes without a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medai.errors import ConfigurationError
from medai.preprocessing.series import Series
from medai.tables import STAYS

if TYPE_CHECKING:
    import numpy as np
    import polars as pl


def static_columns(untimed: pl.DataFrame, stays: pl.DataFrame, samples: pl.DataFrame, config: Series) -> np.ndarray:
    """(samples, static columns) float32; a number is NaN and a level is 0 where it is not known.

    Args:
        untimed: kept events without a time: subject_id, known_time, code, numeric_value; in the snapshot's order.
        stays: the stays table.
        samples: row, sample_id, subject_id, prediction_time; stay_id where a sample is not named after its stay.

    Raises:
        ConfigurationError: a column is no number, or a level of another type.
    """
    import numpy as np
    import polars as pl

    untimed = (
        untimed.join(samples, on="subject_id", how="inner", maintain_order="left")
        .filter(pl.col("known_time").is_null() | (pl.col("known_time") <= pl.col("prediction_time")))
        .unique(["row", "code"], keep="last", maintain_order=True)
    )
    stay = "stay_id" if "stay_id" in samples.columns else "sample_id"
    known_at_start = samples.join(stays, left_on=stay, right_on="stay_id", how="left", maintain_order="left")
    own = [column for column in stays.columns if column not in STAYS]
    columns = []
    for name in (*config.static, *config.categories):
        if name in own:
            values = known_at_start[name]
        else:
            levels = untimed.filter(pl.col("code") == name).select("row", "numeric_value")
            values = samples.join(levels, on="row", how="left", maintain_order="left")["numeric_value"]
        if name in config.categories:
            columns += [_is_level(values, level) for level in config.categories[name]]
        elif values.dtype.is_numeric() or values.dtype == pl.Boolean:
            columns.append(values.cast(pl.Float32).to_numpy())
        else:
            raise ConfigurationError(
                f"the static column {name} is no number",
                expected="a number a stay",
                received=f"a column of {values.dtype}",
                action=f"name its levels under preprocessing.categories.{name}",
            )
    return np.stack([np.where(np.isnan(column), np.float32(np.nan), column) for column in columns], axis=1)


def _is_level(values: pl.Series, level: int | str) -> np.ndarray:
    """float32 (samples): 1 where the value is this level."""
    import polars as pl

    if isinstance(level, str) != (values.dtype == pl.String):
        raise ConfigurationError(
            f"a level of the static column {values.name} is of another type than its values",
            expected=f"levels of {values.dtype}",
            received=type(level).__name__,
            action="correct preprocessing.categories in the Problem",
        )
    return (values == level).fill_null(False).cast(pl.Float32).to_numpy()
