"""What a run will need for certain is loaded while Prefect's server starts: that wait is there anyway."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

from medai.generation import key_of
from medai.ingestion import unread
from medai.workspace import Workspace

if TYPE_CHECKING:
    from flows.settings import Settings
    from medai.problem import Problem


def load_ahead(question: Problem, data: str | None, command: str, settings: Settings) -> None:
    """Import the tables' libraries and Great Expectations when these data were never read, and have to be judged.

    Args:
        command: named in messages.

    Raises:
        ConfigurationError, DataRefused: as the run would, where a look at the files is enough to know.
    """
    if _are_new(question, data, command, settings):
        import polars  # noqa: F401
        import pyarrow.csv
        import pyarrow.parquet  # noqa: F401

        from medai.validation.judging import load_engine

        load_engine()
        gc.freeze()  # what was imported stays: looking at all of it again took a fifth of reading a small data set


def _are_new(question: Problem, data: str | None, command: str, settings: Settings) -> bool:
    from flows.reading import data_path, manifest_path

    workspace = Workspace(settings.home, settings.lock_seconds)
    try:
        if data is None and question.data is not None:
            return not workspace.folder("generate", key_of(question.data)).is_dir()
        path = data_path(question, data, settings, command)
        return unread(workspace, question.input.source, path, manifest_path(question, path))
    except OSError:
        return False  # the run will meet the same and say so
