"""The services of a stack: one table of commands and settings, for containers and for plain processes alike.

``docker/compose.yaml`` states the same for containers, and a test compares the two. A secret is a file: what a service
must be told is the variable ``NAME_FILE``, and PostgreSQL's passwords stand in libpq's own password files, so that no
command line and no page of a container engine shows one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from flows.services.network import MLFLOW_PORT, PAGES_PORT, PREFECT_PORT
from flows.services.prefect_server import WORK_POOL
from medai.errors import ConfigurationError
from medai.paths import why

POSTGRES_PORT, WORKER_PORT, SCHEDULER_PORT = 5432, 8080, 8786
FILE = "_FILE"
SERVER_AUTH = "PREFECT_SERVER_API_AUTH_STRING"

DATABASES = ("prefect", "mlflow")
"""Each with an owner of the same name, as ``databases.sql`` makes them."""
PREFECT_AUTH = "prefect_auth"
POSTGRES_PASSWORD = "postgres_password"  # noqa: S105 the name of a secret
SECRETS = (POSTGRES_PASSWORD, *(f"{name}_database" for name in DATABASES), PREFECT_AUTH)
"""Files of the folder of secrets: the superuser's password; a libpq password file for each database's owner; the
``user:password`` that Prefect's server asks for."""

POSTGRES_SETTINGS = {
    "password_encryption": "scram-sha-256",
    "max_connections": "200",
    # Parameters of a statement may be figures of a run; neither they nor statements belong into a log.
    "log_statement": "none",
    "log_parameter_max_length_on_error": "0",
    "log_min_error_statement": "panic",
}


INITDB = ("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--data-checksums")
"""How PostgreSQL's data are made; the locale is the same wherever a copy is restored."""


@dataclass(frozen=True)
class Place:
    """Where a stack's services are, as they see one another.

    Attributes:
        listen: the address on which servers listen.
        postgres: ``host:port``.
        prefect, mlflow: ``http://host:port``.
        overview: where medai's own pages are, ``http://host:port``.
        prefect_page, mlflow_page: addresses as a browser sees them.
        worker: ``host:port`` of the worker's own health page.
        scheduler: ``host:port`` of Dask's scheduler.
        hosts: Host headers that MLflow's server answers to, besides loopback.
        secrets: the folder that holds ``SECRETS``.
        artifacts: what MLflow's server keeps artifacts in: a folder, or an address such as ``s3://bucket/path``.
        home: MEDAI_HOME; data: MEDAI_DATA, None when there is none.
        pages: a folder in which Prefect's server may write its page.
        runs: how many scheduled runs may be at work at once.
        shards: where Dask's workers find events, if anywhere.
    """

    listen: str
    postgres: str
    prefect: str
    mlflow: str
    overview: str
    prefect_page: str
    mlflow_page: str
    worker: str
    scheduler: str
    hosts: tuple[str, ...]
    secrets: str
    artifacts: str
    home: str
    data: str | None
    pages: str
    runs: int
    shards: str | None = None

    def database(self, name: str, driver: str) -> str:
        """The address of a database for SQLAlchemy, without its password."""
        return f"postgresql+{driver}://{name}@{self.postgres}/{name}"

    def secret(self, name: str) -> str:
        """The path of a secret."""
        return f"{self.secrets}/{name}"


CONTAINERS = Place(
    listen="0.0.0.0",  # noqa: S104 of a container, whose network is its own; published on loopback alone
    postgres=f"postgres:{POSTGRES_PORT}",
    prefect=f"http://prefect:{PREFECT_PORT}",
    mlflow=f"http://mlflow:{MLFLOW_PORT}",
    overview=f"http://pages:{PAGES_PORT}",
    prefect_page=f"http://127.0.0.1:{PREFECT_PORT}",
    mlflow_page=f"http://127.0.0.1:{MLFLOW_PORT}",
    worker=f"127.0.0.1:{WORKER_PORT}",
    scheduler=f"dask-scheduler:{SCHEDULER_PORT}",
    hosts=(f"mlflow:{MLFLOW_PORT}",),
    secrets="/run/secrets",
    artifacts="/var/lib/medai/artifacts",
    home="/var/lib/medai/home",
    data="/data",
    pages="/tmp/pages",  # noqa: S108 a container's own, in memory
    runs=2,
    shards="file:///var/lib/medai/shards",
)
"""As ``docker/compose.yaml`` places them."""


@dataclass(frozen=True)
class Service:
    """How one service is run.

    Attributes:
        command: the program and its arguments.
        environment: what it is told beyond medai's own settings; ``NAME_FILE`` names the file that holds NAME.
        health: the page that answers 200 once it serves; None where ``command`` is PostgreSQL's.
        needs: the services that must answer before it starts.
    """

    command: tuple[str, ...]
    environment: Mapping[str, str]
    health: str | None = None
    needs: tuple[str, ...] = ()


def recipe(place: Place) -> dict[str, Service]:
    """Every service of the stack by its name, each after those it needs."""
    prefect_port, mlflow_port = (address.rpartition(":")[2] for address in (place.prefect, place.mlflow))
    worker_host, _, worker_port = place.worker.rpartition(":")
    scheduler_port = place.scheduler.rpartition(":")[2]
    mlflow = ["mlflow", "server", "--host", place.listen, "--port", mlflow_port, "--workers", "1"]
    mlflow += ["--backend-store-uri", place.database("mlflow", "psycopg")]
    mlflow += ["--serve-artifacts", "--artifacts-destination", place.artifacts]
    mlflow += ["--allowed-hosts", ",".join([*place.hosts, "localhost:*", "127.0.0.1:*"])]
    worker = ["prefect", "worker", "start", "--pool", WORK_POOL, "--type", "process", "--install-policy", "never"]
    return {
        "postgres": Service(
            ("postgres", *(part for name, value in POSTGRES_SETTINGS.items() for part in ("-c", f"{name}={value}"))),
            databases_told(place),
        ),
        "prefect": Service(
            ("prefect", "server", "start", "--host", place.listen, "--port", prefect_port),
            {
                "PREFECT_SERVER_DATABASE_CONNECTION_URL": place.database("prefect", "asyncpg"),
                "PGPASSFILE": place.secret("prefect_database"),
                SERVER_AUTH + FILE: place.secret(PREFECT_AUTH),
                "PREFECT_UI_API_URL": f"{place.prefect_page}/api",
                "PREFECT_UI_STATIC_DIRECTORY": place.pages,
            },
            health=f"{_local(place.prefect)}/api/health",
            needs=("postgres",),
        ),
        "mlflow": Service(
            tuple(mlflow),
            {"PGPASSFILE": place.secret("mlflow_database"), "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            health=f"{_local(place.mlflow)}/health",
            needs=("postgres",),
        ),
        "worker": Service(
            (*worker, "--limit", str(place.runs), "--with-healthcheck"),
            {
                "PREFECT_WORKER_WEBSERVER_HOST": worker_host,
                "PREFECT_WORKER_WEBSERVER_PORT": worker_port,
                **clients(place),
            },
            health=f"http://{place.worker}/health",
            needs=("prefect", "mlflow"),
        ),
        "pages": Service(
            ("medai", "pages", "--host", place.listen, "--port", place.overview.rpartition(":")[2]),
            {
                "MEDAI_PAGES_AUTH" + FILE: place.secret(PREFECT_AUTH),
                "MEDAI_PREFECT_PAGE": place.prefect_page,
                "MEDAI_MLFLOW_PAGE": place.mlflow_page,
                **clients(place),
            },
            health=f"{_local(place.overview)}/health",
            needs=("prefect", "mlflow"),
        ),
        "dask-scheduler": Service(
            ("dask", "scheduler", "--host", place.listen, "--port", scheduler_port, "--no-dashboard"), {}
        ),
        "dask-worker": Service(
            ("dask", "worker", f"tcp://{place.scheduler}", "--nworkers", "1", "--nthreads", "1", "--no-dashboard"),
            {},
            needs=("dask-scheduler",),
        ),
    }


CORE = ("postgres", "prefect", "mlflow", "worker", "pages")
"""What a stack has at least; Dask's services are a profile of the compose file."""


def clients(place: Place) -> dict[str, str]:
    """What medai must be told to use a stack, as settings; the one secret among them as a file."""
    told = {
        "MEDAI_HOME": place.home,
        "MEDAI_PREFECT_API_URL": f"{place.prefect}/api",
        f"MEDAI_PREFECT_AUTH{FILE}": place.secret(PREFECT_AUTH),
        "MEDAI_TRACKING_URI": place.mlflow,
    }
    told |= {} if place.data is None else {"MEDAI_DATA": place.data}
    return told if place.shards is None else told | {"MEDAI_SHARDS": place.shards}


def copying(place: Place) -> dict[str, str]:
    """What ``medai backup`` and ``medai restore`` must be told beyond ``clients``."""
    return {"MEDAI_POSTGRES": place.postgres, "MEDAI_SECRETS": place.secrets, "MEDAI_ARTIFACTS": place.artifacts}


def databases_told(place: Place) -> dict[str, str]:
    """What ``databases.sql`` must be told."""
    return {f"{name.upper()}_DATABASE{FILE}": place.secret(f"{name}_database") for name in DATABASES}


def probe(service: Service) -> list[str]:
    """The command that fails while a service in a container does not answer."""
    if service.health is None:
        return ["pg_isready", "--quiet", "--host", "127.0.0.1"]
    return ["python", "-c", f"import urllib.request as web; web.urlopen('{service.health}', timeout=5)"]


def secrets_read(environment: Mapping[str, str], names: tuple[str, ...]) -> dict[str, str]:
    """An environment in which each ``NAME_FILE`` of these names became NAME, with what the file holds.

    Raises:
        ConfigurationError: a file cannot be read, or holds nothing: a server that is told so would ask for no password.
    """
    read = dict(environment)
    for name in names:
        path = read.pop(name + FILE, None)
        if path is None:
            continue
        try:
            read[name], received = Path(path).read_text().strip(), "an empty file"
        except (OSError, UnicodeDecodeError) as failure:
            read[name], received = "", why(failure) if isinstance(failure, OSError) else "bytes that are no text"
        if not read[name]:
            raise ConfigurationError(
                f"the file that {name}{FILE} names cannot be read",
                expected="a secret that this user may read",
                received=received,
                action="make the stack's secrets; a container runs as their owner (docker/.env)",
            )
    return read


def _local(address: str) -> str:
    """A server's address as its own machine or container reaches it."""
    return f"http://127.0.0.1:{address.rpartition(':')[2]}"
