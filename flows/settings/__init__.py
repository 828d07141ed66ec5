"""Where things are: the one kind of configuration that belongs to the machine and not to the clinical question.

Settings come from the environment (``MEDAI_*``) and from ``.env`` in the working directory, the environment first.
They are read when a command or a task runs, never at import, and handed to the library as values.
"""

from __future__ import annotations

import getpass
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import AliasChoices, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from flows.settings.kinds import (
    Address,
    Blocks,
    DatabaseAddress,
    Folder,
    Home,
    Hosts,
    Login,
    TrackingAddress,
    WebAddress,
)
from flows.settings.variables import PREFIX, dotenv, from_files, named, refuse_unknown
from medai.errors import ConfigurationError

PINNED = frozenset(
    {
        # A fit's bytes depend on these; the Candidate records them.
        "TF_ENABLE_ONEDNN_OPTS",
        "TF_NUM_INTRAOP_THREADS",
        "TF_NUM_INTEROP_THREADS",
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "CUDA_VISIBLE_DEVICES",
        # A pickle in the registry would run code when it is loaded.
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION",
        # Nothing about a hospital's runs leaves the machine.
        "PREFECT_SERVER_ANALYTICS_ENABLED",
        "GX_ANALYTICS_ENABLED",
        "MLFLOW_DISABLE_TELEMETRY",
        "DO_NOT_TRACK",
    }
)
"""Variables that ``merged`` sets even where the user set them otherwise; MEDAI_THREADS and MEDAI_ONEDNN steer them."""

RUNS_KEPT_DAYS = 400
"""How long Prefect's server keeps a run that ended, so that this time last year can still be looked at."""


def _default_threads() -> int:
    return min(2, os.cpu_count() or 1)


class Settings(BaseSettings):
    """The settings of this machine. Build them with ``Settings.load()``.

    Attributes:
        home: state folder (MEDAI_HOME); relative paths are taken from the working directory.
        data: folder that holds the data sets (MEDAI_DATA).
        threads: threads of one fit (MEDAI_THREADS), 2 unless the machine has one core. The learnt weights depend on it:
            a CNN fitted with 1 and with 2 threads differs in its last bits, so the number is recorded with the model
            and does not grow with the machine.
        onednn: TensorFlow's oneDNN kernels (MEDAI_ONEDNN); the learnt weights depend on it too.
        tracking_uri: MLflow server (MEDAI_TRACKING_URI, or MLFLOW_TRACKING_URI); None is the database in ``home``.
        tracking_username, tracking_password: for an MLflow server that asks for them.
        artifacts: where a new MLflow experiment keeps its artifacts (MEDAI_ARTIFACTS); None is a folder in ``home``.
        prefect_api_url: Prefect server (MEDAI_PREFECT_API_URL, or PREFECT_API_URL); None starts one for the run.
        prefect_auth: ``user:password`` of a Prefect server that asks for them.
        prefect_own: each run keeps a Prefect server of its own, whatever else there is (MEDAI_PREFECT_OWN).
        shards: store in which Dask's workers find the events of a snapshot (MEDAI_SHARDS), an address as fsspec reads
            it; None is the workspace, which only this machine's workers reach.
        site_key: the site's private key, EC P-256 in PEM (MEDAI_SITE_KEY); None is ``keys/site.key`` in ``home``, made
            on first use.
        lock_database: PostgreSQL database whose advisory locks order the ledger's writers where several machines share
            ``home`` (MEDAI_LOCK_DATABASE); None is a file lock.
        notify: Prefect's notification blocks that are told what became of a retraining (MEDAI_NOTIFY), TYPE/NAME with
            commas between them; their addresses and secrets are kept by Prefect's server.
        stack: folder in which ``medai stack`` keeps PostgreSQL, artifacts, secrets and logs (MEDAI_STACK); None is a
            folder in ``home``.
        postgres: ``host:port`` of a stack's PostgreSQL (MEDAI_POSTGRES), for copies of its databases.
        secrets: folder of a stack's secrets (MEDAI_SECRETS); None is one in ``stack``.
        prefect_page, mlflow_page: addresses at which a browser finds these servers' pages (MEDAI_PREFECT_PAGE,
            MEDAI_MLFLOW_PAGE), where they are not those at which medai does.
        pages_auth: ``user:password`` that the pages' server asks for (MEDAI_PAGES_AUTH); None for nobody, on loopback.
        pages_hosts: names, with commas between them, by which the pages may be asked besides loopback's.
        lock_seconds: how long to wait for an equal run at work on the same stage.
        service_seconds: how long to wait for a server that starts.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_file=".env",
        env_file_encoding="utf-8-sig",
        env_ignore_empty=True,
        extra="ignore",
        validate_by_name=True,
        validate_by_alias=True,
        frozen=True,
    )

    home: Home = Field(Path(".medai"), validate_default=True)
    data: Folder | None = None
    threads: int = Field(default_factory=_default_threads, ge=1, le=1024)
    onednn: bool = True
    tracking_uri: TrackingAddress | None = Field(
        None, validation_alias=AliasChoices("MEDAI_TRACKING_URI", "MLFLOW_TRACKING_URI")
    )
    tracking_username: str | None = None
    tracking_password: SecretStr | None = None
    artifacts: Address | None = None
    prefect_api_url: WebAddress | None = Field(
        None, validation_alias=AliasChoices("MEDAI_PREFECT_API_URL", "PREFECT_API_URL")
    )
    prefect_auth: SecretStr | None = None
    prefect_own: bool = False
    shards: Address | None = None
    site_key: Folder | None = None
    lock_database: DatabaseAddress | None = None
    notify: Blocks = ""
    stack: Folder | None = None
    postgres: str | None = Field(None, pattern=r"^[\w.-]+:\d+$")
    secrets: Folder | None = None
    prefect_page: WebAddress | None = None
    mlflow_page: WebAddress | None = None
    pages_auth: Login | None = None
    pages_hosts: Hosts = ""
    lock_seconds: float = Field(4 * 3600, gt=0, allow_inf_nan=False)
    service_seconds: float = Field(120, gt=0, allow_inf_nan=False)

    @classmethod
    def load(cls, **given: Any) -> Self:
        """Read the environment and ``.env``.

        Args:
            given: settings that come before both, by attribute name.

        Raises:
            ConfigurationError: an unknown ``MEDAI_*`` variable, or a value of the wrong type; names the variable, and
                shows the value unless it may be a secret.
        """
        try:
            variables = {**dotenv(), **os.environ}
            refuse_unknown(variables, known_variables())
            return cls(**{**from_files(variables), **given})
        except ValidationError as error:
            raise named(error) from None
        except UnicodeDecodeError as error:
            raise ConfigurationError(
                "the file .env cannot be read",
                expected="lines NAME=value in UTF-8",
                received=f"a byte that is not UTF-8 at position {error.start}",
                action="save .env as UTF-8",
            ) from None

    @property
    def tracking_database(self) -> str:
        """MLflow's own database in ``home``, as an absolute address."""
        return f"sqlite:///{self.home / 'mlflow' / 'mlflow.db'}"

    @property
    def artifact_root(self) -> str:
        """Where a new experiment keeps its artifacts: an address, or a folder's file address."""
        return self.artifacts or (self.home / "mlflow" / "artifacts").as_uri()

    @property
    def stack_folder(self) -> Path:
        """Where ``medai stack`` keeps what it runs on."""
        return self.stack or self.home / "stack"

    @property
    def secrets_folder(self) -> Path:
        """Where a stack's secrets lie."""
        return self.secrets or self.stack_folder / "secrets"

    @property
    def prefect_home(self) -> Path:
        """Prefect's database, profiles and logs."""
        return self.home / "prefect"

    def environment(self) -> dict[str, str]:
        """What the libraries and the services that medai starts must find in their environment, secrets included."""
        threads = str(self.threads)
        variables = {
            "DO_NOT_TRACK": "1",
            # Prefect: state in our home, silent on the console below a warning, no results kept, bounded patience.
            "PREFECT_HOME": str(self.prefect_home),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
            "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "WARNING",
            "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
            "PREFECT_LOGGING_COLORS": "false",
            "PREFECT_LOGGING_INTERNAL_LEVEL": "CRITICAL",  # what it says of a server that is gone, our errors say
            "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
            # A look every five minutes is 100,000 runs a year; the audit and MLflow keep what became of them.
            "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
            "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": str(RUNS_KEPT_DAYS * 86_400),
            "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "false",
            "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",  # a failed flow's exception is kept all the same: no pickle
            # A database that restarts under the server is waited for; a server that is gone, half a minute.
            "PREFECT_CLIENT_MAX_RETRIES": "4",
            "PREFECT_CLIENT_RETRY_EXTRA_CODES": "500,504",
            "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",  # see flows.lost
            "PREFECT_CLI_PROMPT": "false",
            "PREFECT_CLI_COLORS": "false",
            # Great Expectations and MLflow.
            "GX_ANALYTICS_ENABLED": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
            "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
            "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
            "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",  # a server that is down costs seconds: what it is told can wait
            # TensorFlow and the numerical libraries.
            "TF_ENABLE_ONEDNN_OPTS": str(int(self.onednn)),
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "CUDA_VISIBLE_DEVICES": "-1",
            "TF_NUM_INTRAOP_THREADS": threads,
            "TF_NUM_INTEROP_THREADS": threads,
            "OMP_NUM_THREADS": threads,
            "OPENBLAS_NUM_THREADS": threads,
            "MKL_NUM_THREADS": threads,
        }
        addresses = {
            "MLFLOW_TRACKING_URI": self.tracking_uri,
            "MLFLOW_TRACKING_USERNAME": self.tracking_username,
            "MLFLOW_TRACKING_PASSWORD": self.tracking_password,
            "PREFECT_API_URL": self.prefect_api_url,
            "PREFECT_API_AUTH_STRING": self.prefect_auth,
        }
        # A child may work in another directory, out of sight of our .env: it gets every setting by name.
        ours = {PREFIX + name.upper(): getattr(self, name) for name in type(self).model_fields}
        variables |= {name: _plain(value) for name, value in (addresses | ours).items() if value is not None}
        return variables

    def merged(self, given: Mapping[str, str]) -> dict[str, str]:
        """A given environment with ours added: what the user set stays, but for ``PINNED`` and our own ``MEDAI_*``."""
        ours = self.environment()
        pinned = {name: value for name, value in ours.items() if name in PINNED or name.startswith(PREFIX)}
        return {**ours, **given, **pinned}

    def apply(self) -> None:
        """Put ``environment()`` into this process by ``merged``, before any heavy library is imported."""
        os.environ.update(self.merged(os.environ))


def user() -> str:
    """Who acts, for the audit: the login name, or the number of a user who has none (as in some containers)."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = f"uid {os.getuid()}"
    return name.encode(errors="replace").decode()


def _plain(value: object) -> str:
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)


def known_variables() -> list[str]:
    """Every ``MEDAI_*`` variable that is a setting."""
    return [PREFIX + name.upper() for name in Settings.model_fields]
