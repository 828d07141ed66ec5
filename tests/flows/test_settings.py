"""The settings: read late, judged strictly, secrets never shown."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import flows
from flows.settings import Settings, known_variables
from flows.settings.variables import SECRET_FILES
from medai.errors import ConfigurationError


@pytest.fixture(autouse=True)
def here(bare: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty working directory, and no setting in the environment."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_defaults(here: Path) -> None:
    """Without any setting the state lies in .medai of the working directory, wherever one goes later."""
    settings = Settings.load()
    assert settings.home == here / ".medai"
    assert settings.threads == min(2, os.cpu_count() or 1)
    assert settings.onednn
    assert settings.tracking_database == f"sqlite:///{here}/.medai/mlflow/mlflow.db"
    assert settings.artifact_root == f"file://{here}/.medai/mlflow/artifacts"


def test_environment_comes_before_dotenv_and_arguments_before_both(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """.env < environment < what the command line gives; an empty variable counts as unset."""
    (here / ".env").write_text("MEDAI_THREADS=3\nMEDAI_DATA=sets\nMEDAI_LOCK_SECONDS=5\nOTHER=1\n")
    monkeypatch.setenv("MEDAI_THREADS", "4")
    monkeypatch.setenv("MEDAI_ARTIFACTS", "")
    settings = Settings.load(lock_seconds=6)
    assert (settings.threads, settings.data, settings.lock_seconds) == (4, here / "sets", 6)
    assert settings.artifacts is None


@pytest.mark.parametrize(
    ("ours", "theirs", "attribute"),
    [
        ("MEDAI_PREFECT_API_URL", "PREFECT_API_URL", "prefect_api_url"),
        ("MEDAI_TRACKING_URI", "MLFLOW_TRACKING_URI", "tracking_uri"),
    ],
)
def test_the_libraries_own_variables_count(
    ours: str, theirs: str, attribute: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server named as Prefect or MLflow name it is used; medai's own variable wins."""
    monkeypatch.setenv(theirs, "http://one:1/api")
    assert getattr(Settings.load(), attribute) == "http://one:1/api"
    monkeypatch.setenv(ours, "http://two:2/api")
    assert getattr(Settings.load(), attribute) == "http://two:2/api"


@pytest.mark.parametrize("place", ["environment", "dotenv"])
def test_unknown_variable_is_refused_with_the_near_match(
    place: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A misspelt setting never passes silently."""
    if place == "dotenv":
        (here / ".env").write_text("MEDAI_THREAD=1\n")
    else:
        monkeypatch.setenv("MEDAI_THREAD", "1")
    with pytest.raises(ConfigurationError) as caught:
        Settings.load()
    assert caught.value.wrong == "the variable MEDAI_THREAD is no setting of medai"
    assert caught.value.expected == "did you mean 'MEDAI_THREADS'?"


def test_the_test_suites_variable_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """MEDAI_TEST_DATA belongs to the tests."""
    monkeypatch.setenv("MEDAI_TEST_DATA", "/somewhere")
    Settings.load()


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("MEDAI_THREADS", "two", "'two'"),
        ("MEDAI_THREADS", "0", "'0'"),
        ("MEDAI_ONEDNN", "perhaps", "'perhaps'"),
        ("MEDAI_LOCK_SECONDS", "nan", "'nan'"),
        ("MEDAI_PREFECT_API_URL", "ftp://host", "'ftp://host'"),
        ("MEDAI_PREFECT_API_URL", "http://host:42OO/api", "'http://host:42OO/api'"),
    ],
)
def test_a_wrong_value_names_its_variable(name: str, value: str, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says which variable, what was expected and what it holds."""
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as caught:
        Settings.load()
    assert caught.value.wrong == f"the setting {name} cannot be used"
    assert caught.value.received == shown
    assert caught.value.exit_status == 2


@pytest.mark.parametrize("name", ["MEDAI_TRACKING_URI", "PREFECT_API_URL"])
def test_credentials_in_an_address_are_refused_and_not_shown(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """They would be logged with the address; they have variables of their own."""
    monkeypatch.setenv(name, "http://ward:hunter2@host/api")
    with pytest.raises(ConfigurationError) as caught:
        Settings.load()
    assert "hunter2" not in str(caught.value)
    assert "without a user name or password" in caught.value.expected


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("PREFECT_API_URL", "http://host:99999/api", "an address whose port is a number from 0 to 65535"),
        ("MEDAI_PREFECT_API_URL", "http://host:abc", "an address whose port is a number from 0 to 65535"),
        ("MEDAI_MLFLOW_PAGE", "http://host /x", "an address without blanks and control characters"),
        ("MLFLOW_TRACKING_URI", "http://host:99999", "an address whose port is a number from 0 to 65535"),
        ("MEDAI_TRACKING_URI", "mlruns", "an address that begins with http:// or https://, or sqlite:/// and a file"),
        ("MEDAI_TRACKING_URI", "sqlite://", "an absolute path after sqlite:///, as in sqlite:////srv/mlflow.db"),
        ("MEDAI_TRACKING_URI", "sqlite:///:memory:", "an absolute path after sqlite:///"),
        ("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db", "an absolute path after sqlite:///"),
        ("MEDAI_TRACKING_URI", "sqlite:////", "an absolute path after sqlite:///"),
        ("MEDAI_TRACKING_URI", "ftp://host", "an address that begins with http:// or https://, or sqlite:/// and"),
        ("MEDAI_TRACKING_URI", "postgresql://host/d?password=hunter2", "an address without a password in it"),
        ("MEDAI_TRACKING_URI", "http://host/?token=hunter2", "an address without a query"),
        ("MEDAI_PAGES_AUTH", " ", "user:password, neither of them empty"),
        ("MEDAI_PAGES_AUTH", "hunter2", "user:password, neither of them empty"),
        ("MEDAI_PAGES_AUTH", "anna: ", "user:password, neither of them empty"),
        ("MEDAI_PAGES_HOSTS", "*", "names of hosts with commas between them"),
        ("MEDAI_PAGES_HOSTS", "ward.example,a*b", "names of hosts with commas between them"),
        ("MEDAI_PAGES_HOSTS", "http://ward.example", "names of hosts with commas between them"),
    ],
)
def test_what_no_client_or_server_could_use_is_refused_before_any_work(
    name: str, value: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An address, a login or a list of hosts; a secret in one is not shown."""
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as caught:
        Settings.load()
    assert caught.value.expected.startswith(expected)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MEDAI_TRACKING_URI", "sqlite:////srv/mlflow.db"),
        ("MEDAI_TRACKING_URI", "postgresql+psycopg://host/mlflow?sslmode=require"),
        ("MEDAI_TRACKING_URI", "https://mlflow.example:8443/base"),
        ("MEDAI_PAGES_HOSTS", "ward.example,*.site.example,[2001:db8::1],10.0.0.1"),
        ("MEDAI_PAGES_AUTH", "anna:p:ä ß"),
    ],
)
def test_what_they_can_use_is_taken_as_it_is(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Databases that MLflow speaks to by a driver, subdomains, addresses, colons in a password."""
    monkeypatch.setenv(name, value)
    assert Settings.load().environment()[name] == value


def test_a_long_value_is_shown_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message stays one that can be read."""
    monkeypatch.setenv("MEDAI_THREADS", "9" * 100_000)
    with pytest.raises(ConfigurationError) as caught:
        Settings.load()
    assert caught.value.received.startswith("'999")
    assert len(str(caught.value)) < 1000


def test_secrets_are_redacted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Printing or dumping settings shows no secret; the libraries receive it."""
    monkeypatch.setenv("MEDAI_TRACKING_PASSWORD", "hunter2")
    monkeypatch.setenv("MEDAI_PREFECT_AUTH", "ward:hunter2")
    settings = Settings.load()
    assert "hunter2" not in repr(settings) + str(settings.model_dump()) + settings.model_dump_json()
    assert settings.environment()["MLFLOW_TRACKING_PASSWORD"] == "hunter2"  # noqa: S105
    assert settings.environment()["PREFECT_API_AUTH_STRING"] == "ward:hunter2"


def test_a_child_reads_the_same_settings(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Environment() carries every setting, so that a worker in another directory sees what .env said."""
    (here / ".env").write_text("MEDAI_HOME=state\nMEDAI_ONEDNN=no\nMEDAI_SERVICE_SECONDS=7\nMEDAI_PREFECT_AUTH=a:b\n")
    settings = Settings.load()
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    elsewhere = here / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert Settings.load() == settings
    assert settings.home == here / "state"


def test_a_users_variable_stays_unless_reproducibility_or_safety_needs_ours() -> None:
    """PREFECT_HOME and log levels are the user's; thread counts, oneDNN, pickles and telemetry are ours."""
    given = {"TF_CPP_MIN_LOG_LEVEL": "0", "OMP_NUM_THREADS": "64", "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "true"}
    merged = Settings.load(threads=1).merged(given)
    assert merged["TF_CPP_MIN_LOG_LEVEL"] == "0"
    assert merged["OMP_NUM_THREADS"] == "1"
    assert merged["TF_NUM_INTRAOP_THREADS"] == "1"
    assert merged["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] == "false"
    assert merged["TF_ENABLE_ONEDNN_OPTS"] == "1"


def test_prefect_forgets_runs_that_ended_long_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    """As Prefect itself reads what its server is told: runs go after 400 days, events sooner."""
    from prefect.settings.models.server.services import ServerServicesDBVacuumSettings

    for name, value in Settings.load().environment().items():
        if "_DB_VACUUM_" in name:
            monkeypatch.setenv(name, value)
    told = ServerServicesDBVacuumSettings()
    assert told.enabled_vacuum_types == {"events", "flow_runs", "orphans"}
    assert told.retention_period.days == 400


def test_dotenv_that_is_not_text(here: Path) -> None:
    """A .env of another encoding is refused in plain words."""
    (here / ".env").write_bytes(b"MEDAI_HOME=\xff\xfe\n")
    with pytest.raises(ConfigurationError) as caught:
        Settings.load()
    assert caught.value.wrong == "the file .env cannot be read"


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"MEDAI_THREADS=2\nMEDAI THREADS=4\n", 2),
        (b"# ours\n\nMEDAI_THREADS\n", 3),
        (b"MEDAI_DATA=a\0b\n", 1),
        (b"MEDAI_HOME='open\nX=1\n", 1),
    ],
)
def test_a_line_of_dotenv_that_cannot_be_read_is_named(content: bytes, line: int, here: Path) -> None:
    """By its number, and not shown: it may hold a secret."""
    (here / ".env").write_bytes(content)
    with pytest.raises(ConfigurationError) as caught:
        Settings.load()
    assert caught.value.wrong == f"line {line} of .env cannot be read"
    assert "THREADS" not in caught.value.received


def test_dotenv_of_another_kind(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe is refused without waiting; a byte order mark hides nothing; a folder (an environment) is not ours."""
    os.mkfifo(here / ".env")
    with pytest.raises(ConfigurationError) as caught:
        Settings.load()
    assert caught.value.received == "a pipe, a socket or a device"
    (here / ".env").unlink()
    (here / ".env").write_bytes(b"\xef\xbb\xbfMEDAI_THREADZ=4\n")
    with pytest.raises(ConfigurationError, match="MEDAI_THREADZ is no setting"):
        Settings.load()
    (here / ".env").write_bytes(b"\xef\xbb\xbfMEDAI_THREADS=3\n")
    assert Settings.load().threads == 3
    (here / ".env").unlink()
    (here / ".env").mkdir()
    assert Settings.load().threads <= 2


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("file", "it is a file"),
        ("file/below", "through something that is no folder"),
        ("loop", "links that lead round in a circle"),
        ("x" * 300, "a name that is too long"),
        ("~nosuchuser/home", "~ for your own home"),
        ("what?/home", "a folder whose path has no question mark in it, as no database's address could name it"),
    ],
)
def test_a_home_that_can_be_none_is_refused(place: str, told: str, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Status 2, by the variable and the path, in words."""
    (here / "file").touch()
    (here / "loop").symlink_to("loop")
    monkeypatch.setenv("MEDAI_HOME", place)
    with pytest.raises(ConfigurationError) as caught:
        Settings.load()
    assert caught.value.wrong == "the setting MEDAI_HOME cannot be used"
    assert told in caught.value.expected
    assert place in caught.value.received
    assert "rrno" not in str(caught.value)


@pytest.mark.parametrize("address", ["ftp://host/?token=hunter2", "https://host/api?apikey=hunter2"])
def test_a_secret_in_an_addresss_query_is_not_shown(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor taken: it would be logged by the libraries."""
    monkeypatch.setenv("MEDAI_PREFECT_API_URL", address)
    with pytest.raises(ConfigurationError) as caught:
        Settings.load()
    assert "hunter2" not in str(caught.value) + str(caught.value.as_dict()) + repr(caught.value)


def test_somebody_without_a_name_is_a_number() -> None:
    """A user of a container who stands in no list of users."""
    if os.getuid() != 0:
        pytest.skip("only root may become somebody else")
    script = "import os; from flows.settings import user; os.setuid(54321); print(user())"
    kept = {name: value for name, value in os.environ.items() if name not in ("USER", "LOGNAME", "LNAME", "USERNAME")}
    root = str(Path(sys.modules["flows.settings"].__file__ or "").parents[1])
    answer = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, env=kept | {"PYTHONPATH": root}
    )
    assert answer.stdout == "uid 54321\n"


def test_known_variables() -> None:
    """Every attribute has its variable."""
    assert {"MEDAI_HOME", "MEDAI_DATA", "MEDAI_THREADS", "MEDAI_ONEDNN"} <= set(known_variables())


def test_every_setting_is_told() -> None:
    """docker/README.md names each variable, and none that is no setting."""
    page = (Path(flows.__file__).parents[1] / "docker" / "README.md").read_text()
    section = page.partition("## Settings")[2].partition("\n## ")[0]
    named = set(re.findall(r"`(MEDAI_[A-Z_]+)", section))
    assert named == {*known_variables(), *SECRET_FILES}


def test_nothing_heavy_is_imported() -> None:
    """The command line reads settings before it knows what it needs."""
    script = "import sys, flows.settings, flows.services; print(sorted(set(sys.argv[1:]) & set(sys.modules)))"
    heavy = ["prefect", "mlflow", "tensorflow", "great_expectations", "polars", "pandas", "numpy", "httpx"]
    root = str(Path(sys.modules["flows.settings"].__file__ or "").parents[1])
    answer = subprocess.run(
        [sys.executable, "-c", script, *heavy],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": root},
    )
    assert answer.stdout.strip() == "[]"
