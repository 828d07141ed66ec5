"""``predict``: who can be scored, the champion's scores, and the user's file."""

from __future__ import annotations

import polars as pl
from prefect import task

from medai import prediction
from medai.prediction import Destination
from tasks.stage import UNCACHED, stage

select_unlabelled = stage(prediction.select)
score = stage(prediction.score, timeout_hours=6)


@task(name="write answers", **UNCACHED)
def write(destination: Destination, answers: pl.DataFrame) -> str:
    """Write the file; an effect, done each time. Returns its SHA-256."""
    return destination.write(answers)
