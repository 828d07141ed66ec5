"""``medai backup`` and ``medai restore``: a home with the databases of its servers, wherever these run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flows.databases import DUMP, SQLITE, Postgres, Sqlite
from flows.governance import ledger_of
from flows.recipe import DATABASES
from flows.settings import Settings
from flows.stack import postgres_alone, running
from medai import backup
from medai.errors import ConfigurationError
from medai.paths import expanded


def back_up(settings: Settings, out: str) -> dict[str, Any]:
    """Copy the home, the databases and the artifacts, while others may work in them.

    PostgreSQL is the one that MEDAI_POSTGRES names, else that of this home's stack, running or not; databases in files
    of the home are copied, too.

    Returns:
        ``out``; ``sha256`` of the whole copy; ``files`` and ``bytes``, how many; ``audit``, its lines and last hash;
        ``databases``, the files of each.

    Raises:
        ConfigurationError, ServiceFailed: see ``medai.backup.back_up``.
    """
    if not settings.home.is_dir():
        raise ConfigurationError(
            "there is nothing to copy",
            expected="MEDAI_HOME with results",
            received=f"{settings.home}, which is not there",
            action="correct MEDAI_HOME",
        )
    ours = [Sqlite(name, path) for name, path in _in_files(settings).items() if path.is_file()]
    path = expanded(out).absolute()
    with _postgres(settings, (settings.stack_folder / "postgres" / "data").is_dir()) as address:
        served = [Postgres(name, address, settings.secrets_folder) for name in DATABASES] if address else []
        copied = backup.back_up(ledger_of(settings), path, [*served, *ours], _artifacts(settings))
    return _said(copied) | {
        "out": str(path),
        "databases": [each.name for each in served] + [each.name for each in ours],
    }


def restore(settings: Settings, source: str) -> dict[str, Any]:
    """Put a copy back into an empty home and empty databases, before any server is started on them.

    Returns:
        As ``back_up``, with ``home`` in place of ``out``.

    Raises:
        ConfigurationError, DataRefused, ServiceFailed: see ``medai.backup.restore``.
    """
    path = expanded(source).absolute()
    names = [name.rpartition("/")[2] for name in backup.read_backup(path).files if name.startswith(backup.DATABASES)]
    ours = [Sqlite(name, file) for name, file in _in_files(settings).items() if name + SQLITE in names]
    ledger = ledger_of(settings)
    with _postgres(settings, any(name.endswith(DUMP) for name in names)) as address:
        served = [Postgres(name, address, settings.secrets_folder) for name in DATABASES] if address else []
        copied = backup.restore(ledger.workspace, path, [*served, *ours], _artifacts(settings))
    backup.refuse_broken(ledger, copied)
    return _said(copied) | {"home": str(settings.home), "databases": names}


def _said(copied: backup.Backup) -> dict[str, Any]:
    return {
        "sha256": copied.sha256,
        "at": copied.at,
        "files": len(copied.files),
        "bytes": sum(file.size for file in copied.files.values()),
        "audit": {"lines": copied.lines, "head": copied.head},
    }


@contextmanager
def _postgres(settings: Settings, wanted: bool) -> Iterator[str | None]:
    """Where PostgreSQL answers; None where there is none to ask."""
    if settings.postgres is not None:
        yield settings.postgres
        return
    found = running(settings)
    if found is not None:
        yield found.postgres
    elif wanted:
        with postgres_alone(settings) as address:
            yield address
    else:
        yield None


def _in_files(settings: Settings) -> dict[str, Path]:
    return {"prefect": settings.prefect_home / "prefect.db", "mlflow": settings.home / "mlflow" / "mlflow.db"}


def _artifacts(settings: Settings) -> Path | None:
    """The folder in which an MLflow server keeps artifacts; an object store is copied by its own means."""
    if settings.postgres is None:
        return settings.stack_folder / "artifacts"
    named = settings.artifacts
    return Path(named) if named is not None and named.startswith("/") else None
