"""How a container's command begins: medai's settings, secrets from files."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from flows.entrypoint import environment
from flows.settings import Settings
from medai.errors import ConfigurationError


@pytest.fixture(autouse=True)
def here(bare: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No setting from outside; a folder with a secret."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret").write_text("ward:round\n")
    return tmp_path


def test_a_secret_setting_may_stand_in_a_file(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read when settings are; the setting itself comes first."""
    monkeypatch.setenv("MEDAI_PREFECT_AUTH_FILE", str(here / "secret"))
    found = Settings.load().prefect_auth
    assert found is not None
    assert found.get_secret_value() == "ward:round"
    assert Settings.load().environment()["PREFECT_API_AUTH_STRING"] == "ward:round"
    monkeypatch.setenv("MEDAI_PREFECT_AUTH", "other:one")
    found = Settings.load().prefect_auth
    assert found is not None
    assert found.get_secret_value() == "other:one"


@pytest.mark.parametrize(
    ("content", "told"),
    [(None, "nothing of that name"), (b"\xff\xfe", "bytes that are no text"), (b" \n", "an empty file")],
)
def test_a_secret_that_cannot_be_read(
    content: bytes | None, told: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Named by its variable, never shown."""
    if content is not None:
        (here / "broken").write_bytes(content)
    monkeypatch.setenv("MEDAI_TRACKING_PASSWORD_FILE", str(here / "broken"))
    with pytest.raises(ConfigurationError) as caught:
        Settings.load()
    assert caught.value.wrong == "the file that MEDAI_TRACKING_PASSWORD_FILE names cannot be read"
    assert caught.value.received == told


def test_a_server_is_told_its_secret_and_not_where_it_lies(here: Path) -> None:
    """What Prefect's server reads from its environment comes from a file; what pins a fit is there, too."""
    name = "PREFECT_SERVER_API_AUTH_STRING"
    told = environment({f"{name}_FILE": str(here / "secret"), "PATH": "/bin"})
    assert told[name] == "ward:round"
    assert f"{name}_FILE" not in told
    assert (told["PATH"], told["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"]) == ("/bin", "false")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        environment({f"{name}_FILE": str(here / "nothing")})
    for content in (b"\n", b"\xff"):  # a server that is told an empty secret asks for none
        (here / "broken").write_bytes(content)
        with pytest.raises(ConfigurationError, match=f"{name}_FILE names cannot be read"):
            environment({f"{name}_FILE": str(here / "broken")})


def test_the_command_takes_its_place(here: Path) -> None:
    """With its arguments and exit status; a wrong setting ends it with status 2 and no traceback."""
    begun = [sys.executable, "-m", "flows.entrypoint"]
    told = os.environ | {"MEDAI_THREADS": "1"}
    done = subprocess.run(
        [*begun, "sh", "-c", 'echo $OMP_NUM_THREADS "$0"; exit 7', "a b"],
        env=told,
        check=False,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (7, "1 a b\n")
    wrong = subprocess.run(
        [*begun, "true"], env=told | {"MEDAI_THREADZ": "1"}, check=False, capture_output=True, text=True
    )
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("medai: the variable MEDAI_THREADZ is no setting of medai")
    absent = subprocess.run([*begun, "no-such-command"], env=told, check=False, capture_output=True, text=True)
    assert (absent.returncode, absent.stderr.splitlines()[0]) == (2, "medai: the command cannot be run.")
