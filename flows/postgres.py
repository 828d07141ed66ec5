"""PostgreSQL as a plain process: found where Debian puts it, its data made once, never run as root.

The cluster's passwords are those of the stack's secrets, checked by SCRAM; it listens on loopback alone, on no socket
of the file system.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from flows.child import PROGRAM
from flows.recipe import INITDB, POSTGRES_PASSWORD, Service
from flows.services.network import LOOPBACK
from flows.services.process import Child
from medai.errors import ConfigurationError, ServiceFailed
from medai.workspace import make_folder

SUPERUSER = "postgres"
DEBIAN = Path("/usr/lib/postgresql")
DATABASES_MADE = Path(__file__).with_name("databases.sql")
ACCOUNTS = ("postgres", "nobody")
"""Accounts that the server may run as when medai is root, which PostgreSQL refuses: the first that there is."""
LAST_LINES = 6


@dataclass(frozen=True)
class Account:
    """The account that PostgreSQL runs as."""

    name: str
    user: int
    group: int

    @classmethod
    def of(cls) -> Account | None:
        """Another one where medai is root; else None, medai's own."""
        if os.geteuid() != 0:
            return None
        for name in ACCOUNTS:
            try:
                found = pwd.getpwnam(name)
            except KeyError:
                continue
            return cls(name, found.pw_uid, found.pw_gid)
        raise ConfigurationError(
            "PostgreSQL cannot run as root",
            expected=f"an account {' or '.join(ACCOUNTS)}",
            received="neither",
            action="install PostgreSQL by the system's packages, or run medai as another person",
        )


def program(name: str) -> Path:
    """One of PostgreSQL's programs: where PATH leads to, else the newest of Debian's.

    Raises:
        ConfigurationError: there is none.
    """
    on_path = shutil.which(name)
    newest_first = sorted(DEBIAN.glob("[0-9]*/bin"), key=lambda folder: int(folder.parent.name), reverse=True)
    # Debian's /usr/bin/pg_dump is a link to a wrapper of another name, which asks for clusters of its own.
    for folder in [*([] if on_path is None else [Path(on_path).resolve().parent]), *newest_first]:
        if (folder / name).is_file():
            return folder / name
    raise ConfigurationError(
        "PostgreSQL is not installed",
        expected=f"its program {name} on PATH or in {DEBIAN}",
        received="nothing there",
        action="install it, on Debian by `apt-get install postgresql`; `medai up` needs none",
    )


@dataclass(frozen=True)
class Cluster:
    """A PostgreSQL server's data.

    Args:
        folder: what its account alone may enter; made when it is not there.
        secrets: the folder with the superuser's password and the databases' password files.
        port: on which it listens.
        service: its settings (``flows.recipe``).
    """

    folder: Path
    secrets: Path
    port: int
    service: Service

    @property
    def data(self) -> Path:
        """PostgreSQL's own data directory."""
        return self.folder / "data"

    def make(self) -> None:
        """Make the cluster, with its databases, unless it is there: beside its name, renamed when it is whole.

        Raises:
            ConfigurationError: PostgreSQL is not installed, or its account cannot reach the folder.
            ServiceFailed: one of its programs failed.
        """
        account = Account.of()
        make_folder(self.folder, 0o700)
        if account is not None:
            os.chown(self.folder, account.user, account.group)
            self._refuse_unreachable(account)
        if self.data.exists():
            return
        beside = self.folder / "data.partial"
        shutil.rmtree(beside, ignore_errors=True)  # left by a kill
        self._initialise(beside, account)
        server = self.start(self.folder / "making.log", beside)
        try:
            self.wait(server)
            self._make_databases()
        finally:
            server.stop()
        beside.rename(self.data)
        (self.folder / "making.log").unlink()

    def start(self, log: Path, data: Path | None = None) -> Child:
        """Start the server."""
        name, *settings = self.service.command
        command = [str(program(name)), "-D", str(data or self.data), *settings]
        command += ["-c", f"listen_addresses={LOOPBACK}", "-c", f"port={self.port}", "-c", "unix_socket_directories="]
        account = Account.of()
        arguments = ["" if account is None else f"{account.user}:{account.group}", *command]
        return Child("postgres", PROGRAM, arguments, _plain_environment(), log)

    def wait(self, server: Child, patience: float = 60) -> None:
        """Wait until it takes connections.

        Raises:
            ServiceFailed: it ended, or does not answer in time.
        """
        deadline = time.monotonic() + patience
        while not self.answers():
            if not server.watch():
                raise server.failed()
            if time.monotonic() > deadline:
                raise ServiceFailed(
                    "PostgreSQL does not answer",
                    expected=f"a server on port {self.port} within {patience:.0f} seconds",
                    received=f"nothing; its last lines:\n{server.last_lines()}",
                    action="mend what its last lines name, then run the same command again",
                )
            time.sleep(0.1)

    def answers(self) -> bool:
        """Whether it takes connections."""
        ready: list[str | Path] = [program("pg_isready"), "-q", "-h", LOOPBACK, "-p", str(self.port)]
        return subprocess.run(ready, check=False, env=_plain_environment()).returncode == 0

    def _initialise(self, beside: Path, account: Account | None) -> None:
        password = self.folder / "password"
        descriptor = os.open(password, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write((self.secrets / POSTGRES_PASSWORD).read_bytes())
        command: list[str | Path] = [program("initdb"), "--pgdata", beside]
        command += ["--username", SUPERUSER, "--pwfile", password]
        command += [*INITDB, "--no-instructions"]
        if account is not None:
            os.chown(password, account.user, account.group)
        try:
            call(command, "make PostgreSQL's data", account=account)
        finally:
            password.unlink()

    def _make_databases(self) -> None:
        told = dict(self.service.environment)
        told["PGPASSWORD"] = (self.secrets / POSTGRES_PASSWORD).read_text().strip()
        command: list[str | Path] = [program("psql"), "-X", "-q", "-U", SUPERUSER]
        command += ["-h", LOOPBACK, "-p", str(self.port)]
        command += ["-v", "ON_ERROR_STOP=1", "-f", DATABASES_MADE, "postgres"]
        call(command, "make the stack's databases", environment=told)

    def _refuse_unreachable(self, account: Account) -> None:
        reach = subprocess.run(
            ["/usr/bin/test", "-w", str(self.folder)],
            user=account.user,
            group=account.group,
            extra_groups=[],
            check=False,
        )
        if reach.returncode != 0:
            raise ConfigurationError(
                f"PostgreSQL's account {account.name} cannot reach {self.folder}",
                expected="folders above it that every account may pass (mode o+x)",
                received="one that is closed",
                action="let MEDAI_STACK name a folder elsewhere, or run medai as another person than root",
            )


def call(
    command: list[str | Path],
    what: str,
    *,
    environment: dict[str, str] | None = None,
    account: Account | None = None,
    accepted: tuple[int, ...] = (0,),
) -> str:
    """Run one of PostgreSQL's programs to its end; what it wrote on standard output.

    Args:
        what: what it is to do, for the message.
        environment: what it is told beyond the plain environment.

    Raises:
        ServiceFailed: it failed; with its last lines, which hold no password.
    """
    done = subprocess.run(
        [str(part) for part in command],
        env=_plain_environment() | (environment or {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        cwd="/",
        check=False,
        user=None if account is None else account.user,
        group=None if account is None else account.group,
        extra_groups=None if account is None else [],
    )
    if done.returncode not in accepted:
        raise ServiceFailed(
            f"PostgreSQL's {Path(command[0]).name} could not {what}",
            expected="exit status 0",
            received=f"{done.returncode}; its last lines:\n" + "\n".join(done.stderr.splitlines()[-LAST_LINES:]),
            action="mend what its last lines name, then run the same command again",
        )
    return done.stdout


def _plain_environment() -> dict[str, str]:
    """Nothing of the caller's: no variable of libpq's may turn a program to another server. Messages are English."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}
