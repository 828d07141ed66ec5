"""The compose file: it keeps to the specification, and runs what ``make stack`` runs."""

from __future__ import annotations

import re
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

import flows
from flows.recipe import CONTAINERS, INITDB, SECRETS, clients, copying, databases_told, probe, recipe
from flows.stack import make_secrets
from medai import __version__

ROOT = Path(flows.__file__).parents[1]
DOCKER = ROOT / "docker"
COMPOSE = yaml.safe_load((DOCKER / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = recipe(CONTAINERS)
COMMANDS = ("medai", "backup")


@pytest.mark.parametrize("name", ["compose.yaml", "compose.s3.yaml"])
def test_a_file_keeps_to_the_compose_specification(name: str) -> None:
    """As Compose's own schema judges it."""
    checker = Path(sys.executable).with_name("check-jsonschema")
    judged = subprocess.run(
        [checker, "--builtin-schema", "vendor.compose-spec", DOCKER / name],
        check=False,
        capture_output=True,
        text=True,
    )
    assert judged.returncode == 0, judged.stdout + judged.stderr


@pytest.mark.parametrize("name", OURS)
def test_a_service_runs_as_make_stack_runs_it(name: str) -> None:
    """The same command, told the same, after the same services; asked whether it answers by the same page."""
    service, ours = SERVICES[name], OURS[name]
    assert service["command"] == list(ours.command)
    of_image = ("POSTGRES_", "PGDATA")
    told = {key: value for key, value in service.get("environment", {}).items() if not key.startswith(of_image)}
    assert told == dict(ours.environment)
    assert tuple(service.get("depends_on", {})) == ours.needs
    if ours.health is not None:
        assert service["healthcheck"]["test"] == ["CMD", *probe(ours)]


def test_every_service_is_in_the_table() -> None:
    """Those that carry out a command apart, which are told what a user of the stack must be told."""
    assert set(SERVICES) == {*OURS, *COMMANDS}
    assert SERVICES["medai"]["environment"] == clients(CONTAINERS)
    assert SERVICES["backup"]["environment"] == {"MEDAI_HOME": CONTAINERS.home, **copying(CONTAINERS)}


def test_postgres_is_made_as_make_stack_makes_it() -> None:
    """The same ``initdb``, the same statements for the databases, and asked on its port, not on its first socket."""
    postgres = SERVICES["postgres"]
    assert postgres["environment"]["POSTGRES_INITDB_ARGS"].split() == list(INITDB)
    assert databases_told(CONTAINERS).items() <= postgres["environment"].items()
    assert postgres["healthcheck"]["test"] == ["CMD", *probe(OURS["postgres"])]
    (statements,) = [mount for mount in postgres["volumes"] if "initdb" in mount]
    source, target, mode = statements.split(":")
    assert (DOCKER / source).resolve() == ROOT / "flows" / "databases.sql"
    assert postgres["environment"]["PGDATA"].startswith(f"{postgres['volumes'][0].partition(':')[2]}/")
    assert (target, mode) == ("/docker-entrypoint-initdb.d/databases.sql", "ro")


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_kept_small(name: str) -> None:
    """Not root, no capability, a read-only system, bounded memory; nothing published but on loopback."""
    service = SERVICES[name]
    assert service["user"].startswith("${MEDAI_UID:?")
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert {"cpus", "memory", "pids"} <= set(service["deploy"]["resources"]["limits"])
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    assert service["restart"] == ("no" if name in COMMANDS else "unless-stopped")
    assert re.fullmatch(r"(medai|postgres):[\d.]+", service["image"])
    assert "init" in service or service["image"].startswith("medai:")
    for needed in service.get("depends_on", {}).values():
        assert needed == {"condition": "service_healthy"}


def test_who_asks_for_no_password_is_published_on_loopback_alone() -> None:
    """PostgreSQL, Dask and the worker are on the inner network only, which leads nowhere."""
    assert COMPOSE["networks"]["inner"] == {"internal": True}
    open_ = {"prefect", "mlflow", "pages"}
    assert {name for name, service in SERVICES.items() if "pages" in service["networks"]} == open_
    assert {name for name, service in SERVICES.items() if "ports" in service} == open_
    assert "MEDAI_PAGES_AUTH_FILE" in SERVICES["pages"]["environment"]
    assert "PREFECT_SERVER_API_AUTH_STRING_FILE" in SERVICES["prefect"]["environment"]


def test_no_secret_stands_in_the_file() -> None:
    """Each is a file of ``docker/secrets``, mounted where it is needed only."""
    assert COMPOSE["secrets"] == {name: {"file": f"./secrets/{name}"} for name in SECRETS}
    for name, service in SERVICES.items():
        named = {path.rpartition("/")[2] for path in map(str, service.get("environment", {}).values())}
        needed = set(SECRETS) & named | ({"prefect_database", "mlflow_database"} if name == "backup" else set())
        assert set(service.get("secrets", [])) == needed


def test_the_image_is_of_this_version_and_of_the_servers() -> None:
    """``pg_dump`` must not be older than the server; the image bears medai's version."""
    image = (DOCKER / "Dockerfile").read_text()
    assert SERVICES["worker"]["image"] == f"medai:{__version__}"
    assert f"postgresql-client-{SERVICES['postgres']['image'].partition(':')[2]}" in image
    assert "--require-hashes requirements.lock" in image
    assert re.search(r"^USER 10001:10001$", image, re.MULTILINE)
    assert '"tini", "--", "python", "-m", "flows.entrypoint"' in image
    assert SERVICES["medai"]["entrypoint"] == ["tini", "--", "python", "-m", "flows.entrypoint", "medai"]
    for folder in ("home", "artifacts", "shards"):
        assert folder in image


def test_both_ways_to_make_secrets_make_the_same(tmp_path: Path) -> None:
    """Files of the same names and forms, 0600, never made twice; the containers run as their owner."""
    script = tmp_path / "docker" / "secrets.sh"
    script.parent.mkdir()
    script.write_bytes((DOCKER / "secrets.sh").read_bytes())
    subprocess.run(["sh", script], check=True, capture_output=True)
    first = {path.name: path.read_bytes() for path in (script.parent / "secrets").iterdir()}
    again = subprocess.run(["sh", script], check=True, capture_output=True, text=True)
    assert again.stdout == ""
    assert {path.name: path.read_bytes() for path in (script.parent / "secrets").iterdir()} == first
    (script.parent / "secrets" / SECRETS[-1]).write_bytes(b"")  # by a full disk
    again = subprocess.run(["sh", script], check=True, capture_output=True, text=True)
    assert again.stdout == f"made docker/secrets/{SECRETS[-1]}\n"
    first = {path.name: path.read_bytes() for path in (script.parent / "secrets").iterdir()}
    assert make_secrets(tmp_path / "ours") == list(SECRETS)
    assert make_secrets(tmp_path / "ours") == []
    assert set(first) == set(SECRETS)
    for name, content in first.items():
        path = script.parent / "secrets" / name
        ours = (tmp_path / "ours" / name).read_bytes()
        assert re.sub(rb"[\w-]{32,}", b"?", content) == re.sub(rb"[\w-]{32,}", b"?", ours), name
        assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((tmp_path / "ours" / name).stat().st_mode) == 0o600
    owner = (script.parent / "secrets" / SECRETS[0]).stat()
    settings = dict(line.split("=") for line in (script.parent / ".env").read_text().split())
    assert settings == {"MEDAI_UID": str(owner.st_uid), "MEDAI_GID": str(owner.st_gid)}
    assert owner.st_uid != 0


def test_artifacts_in_an_object_store_change_nothing_else() -> None:
    """The same server with another destination, in an image that has the locked client, of the same versions."""
    other = yaml.safe_load((DOCKER / "compose.s3.yaml").read_text())
    server = other["services"]["mlflow"]
    bucket = "${MEDAI_S3:?s3://bucket/path}"
    assert server["command"] == list(recipe(replace(CONTAINERS, artifacts=bucket))["mlflow"].command)
    assert set(server["secrets"]) == set(other["secrets"]) == {"s3_credentials"}
    versions = dict(re.findall(r"^([\w-]+)==(\S+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE))
    client = dict(re.findall(r"^([\w-]+)==(\S+)", (DOCKER / "s3.lock").read_text(), re.MULTILINE))
    assert "boto3" in client
    assert {name: version for name, version in client.items() if versions.get(name, version) != version} == {}


def test_secrets_are_not_in_the_repository() -> None:
    """Nor are copies, nor the numbers of whoever made them."""
    ignored = (ROOT / ".gitignore").read_text().split()
    assert {"docker/secrets/", "docker/backups/", "docker/.env"} <= set(ignored)
    sent = (ROOT / ".dockerignore").read_text().split("\n")
    assert "*" in sent
    assert [line for line in sent if line.startswith("!docker")] == ["!docker/s3.lock"]
