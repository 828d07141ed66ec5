"""Prefect's and MLflow's databases, as ``medai.backup`` copies them: PostgreSQL by its programs, sqlite by its call."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from flows.postgres import call, program
from medai.errors import ConfigurationError, ServiceFailed
from medai.workspace import make_folder, sync_directory, sync_file

DUMP, SQLITE = ".dump", ".sqlite"
CONNECT_SECONDS = 10


def driver() -> Any:
    """The package psycopg.

    Raises:
        ConfigurationError: it is not installed.
    """
    try:
        import psycopg
    except ImportError:
        raise ConfigurationError(
            "PostgreSQL cannot be spoken to",
            expected="the package psycopg",
            received="none",
            action="pip install '.[postgres]' in the folder that medai was cloned to; `medai up` needs none",
        ) from None
    return psycopg


class Postgres:
    """A stack's database in PostgreSQL.

    Args:
        database: ``prefect`` or ``mlflow``; its owner's name, too.
        address: ``host:port``.
        secrets: the folder of its password file.
    """

    def __init__(self, database: str, address: str, secrets: Path) -> None:
        self.database = database
        self.name = database + DUMP
        self.host, _, self.port = address.rpartition(":")
        self.passwords = secrets / f"{database}_database"
        self._connection: Any = None
        self._snapshot = ""

    def freeze(self, path: Path) -> None:  # noqa: ARG002 written later
        """Export a snapshot, which ``pg_dump`` will read."""
        self._connection = self._connect()
        self._connection.execute("begin transaction isolation level repeatable read read only")
        self._snapshot = self._connection.execute("select pg_export_snapshot()").fetchone()[0]

    def dump(self, path: Path) -> None:
        """Write the snapshot in PostgreSQL's custom format."""
        how: list[str | Path] = ["--format=custom", f"--snapshot={self._snapshot}", "--no-comments", f"--file={path}"]
        self._call("pg_dump", how, f"copy the database {self.database}")

    def load(self, path: Path, *, again: bool) -> None:
        """Put a copy back, in one transaction.

        Raises:
            ConfigurationError: the database holds tables already.
            ServiceFailed: it was not taken.
        """
        if not again and self._tables():
            raise ConfigurationError(
                f"the database {self.database} is not empty",
                expected="a new one: servers make their tables when they first start",
                received=f"{self._tables()} tables",
                action="restore before Prefect's and MLflow's servers are first started",
            )
        how: list[str | Path] = ["--single-transaction", "--exit-on-error", "--no-owner", "--no-privileges"]
        how += ["--clean", "--if-exists"] if again else []
        self._call("pg_restore", [*how, path], f"fill the database {self.database}")

    def close(self) -> None:
        """End the transaction that keeps the snapshot."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _tables(self) -> int:
        with self._connect() as connection:
            row = connection.execute("select count(*) from pg_tables where schemaname = 'public'").fetchone()
        return int(row[0])

    def _connect(self) -> Any:
        psycopg = driver()
        try:
            return psycopg.connect(
                host=self.host,
                port=self.port,
                user=self.database,
                dbname=self.database,
                passfile=str(self.passwords),
                connect_timeout=CONNECT_SECONDS,
                autocommit=True,
            )
        except psycopg.OperationalError:
            raise ServiceFailed(
                f"the database {self.database} does not answer",
                expected=f"PostgreSQL on {self.host}:{self.port}, and a password that it takes",
                received="no connection",
                action="start it, or correct MEDAI_POSTGRES and MEDAI_SECRETS",
            ) from None

    def _call(self, name: str, arguments: list[str | Path], what: str) -> None:
        where = ["--host", self.host, "--port", self.port, "--username", self.database, "--dbname", self.database]
        told = {"PGPASSFILE": str(self.passwords)}
        call([program(name), "--no-password", *where, *arguments], what, environment=told)


class Sqlite:
    """A database in a file of the state folder, as ``medai up`` keeps it.

    Args:
        database: ``prefect`` or ``mlflow``.
        file: where it lies.
    """

    def __init__(self, database: str, file: Path) -> None:
        self.name = database + SQLITE
        self.file = file

    def freeze(self, path: Path) -> None:
        """Copy it at once, in one step: sqlite exports no snapshot. A writer waits meanwhile.

        Raises:
            ServiceFailed: it is damaged, held by a writer, or the disk does not take its copy.
        """
        try:
            with closing(sqlite3.connect(self.file, timeout=60)) as source, closing(sqlite3.connect(path)) as copy:
                source.backup(copy)
        except sqlite3.Error as failure:
            raise ServiceFailed(
                f"the database {self.name.removesuffix(SQLITE)} cannot be copied",
                expected="a whole database of SQLite, and room for its copy",
                received=getattr(failure, "sqlite_errorname", type(failure).__name__),
                action="make room, or end what writes in it, then run the same command again",
            ) from None

    def dump(self, path: Path) -> None:
        """Nothing is left to do."""

    def load(self, path: Path, *, again: bool) -> None:
        """Put a copy back.

        Raises:
            ConfigurationError: there is a database already.
        """
        if self.file.exists() and not again:
            raise ConfigurationError(
                "there is a database already",
                expected=f"nothing at {self.file}",
                received="a file",
                action="let MEDAI_HOME name another folder",
            )
        make_folder(self.file.parent, 0o700)
        beside = self.file.with_name(f".{self.file.name}.partial")
        shutil.copyfile(path, beside)
        sync_file(beside)
        beside.rename(self.file)
        sync_directory(self.file.parent)

    def close(self) -> None:
        """Nothing is held."""
