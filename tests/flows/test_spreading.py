"""``--dask`` and ``--shards`` are judged before any work, in three parts and a next step."""

from __future__ import annotations

import importlib.util
import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from flows import cli, spreading
from flows.settings import Settings
from medai.errors import ConfigurationError, MedaiError, ServiceFailed
from medai.records import sha256_of_file
from medai.store import Store

Refusal = Callable[[MedaiError], str]


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Settings]:
    """Settings of a bare machine, with what is given."""
    monkeypatch.chdir(tmp_path)
    for name in ("PREFECT_API_URL", "MEDAI_PREFECT_API_URL", "MEDAI_SHARDS"):
        monkeypatch.delenv(name, raising=False)

    def load(**given: Any) -> Settings:
        return Settings.load(home=tmp_path / "home", **given)

    return load


@pytest.mark.parametrize(
    "address",
    [
        "",
        "Local",
        "host:8786",
        "tcp://host",
        "tcp://:8786",
        "tcp://host:port",
        "http://host:8786",
        "tcp://h:8786/x",
        "[",
    ],
)
def test_a_malformed_address_is_refused(address: str, settings: Callable[..., Settings], refusal: Refusal) -> None:
    """The form is told by an example."""
    with pytest.raises(ConfigurationError, match="--dask names no scheduler") as caught:
        spreading.check(address, None, settings())
    assert "tcp://HOST:8786" in refusal(caught.value)
    assert f"received: {address!r}" in str(caught.value)


def test_a_password_in_an_address_is_not_repeated(settings: Callable[..., Settings]) -> None:
    """Neither in the scheduler's nor in the store's."""
    for dask, shards in (("tcp://ward:round@host:8786", None), ("local", "s3://ward:round@bucket/medai")):
        with pytest.raises(ConfigurationError) as caught:
            spreading.check(dask, shards, settings())
        assert "round" not in str(caught.value)
        assert "it may hold a secret" in str(caught.value)


def test_nobody_at_the_address_is_the_services_failure(settings: Callable[..., Settings], refusal: Refusal) -> None:
    """Told at once, before hours of work."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert spreading.check(f"tcp://127.0.0.1:{port}", None, settings()) is None
    with pytest.raises(ServiceFailed, match="no Dask scheduler answers") as caught:
        spreading.check(f"tcp://127.0.0.1:{port}", None, settings())
    assert f"tcp://127.0.0.1:{port}" in refusal(caught.value)


def test_workers_elsewhere_need_a_store_and_a_server(
    settings: Callable[..., Settings], refusal: Refusal, tmp_path: Path
) -> None:
    """What other machines cannot reach is told; a store in this process's memory is none for anybody."""
    with pytest.raises(ConfigurationError, match="cannot read this workspace") as caught:
        spreading.check("tcp://192.0.2.1:8786", None, settings())
    assert "add --shards, or set MEDAI_SHARDS" in refusal(caught.value)
    for server in (None, "http://127.0.0.1:4200/api"):
        given = settings(shards=f"file://{tmp_path}/store", prefect_api_url=server)
        with pytest.raises(ConfigurationError, match="cannot reach this machine's own Prefect server") as caught:
            spreading.check("tcp://192.0.2.1:8786", None, given)
        assert "MEDAI_PREFECT_API_URL" in refusal(caught.value)
    with pytest.raises(ConfigurationError, match="cannot see this one's memory"):
        spreading.check("local", "memory://medai", settings())


@pytest.mark.parametrize(
    ("store", "wrong"),
    [
        ("/shared/medai", "no address that can be used"),
        ("s3://bucket?secret=1", "no address that can be used"),
        ("file://shared", "is no folder"),
        ("ward://shared", "an address of an unknown kind"),
        ("gs://bucket/medai", "a package that is not installed"),
    ],
)
def test_a_store_that_cannot_be_used_is_refused(
    store: str, wrong: str, settings: Callable[..., Settings], refusal: Refusal
) -> None:
    """By its option or by its setting."""
    for shards, given in ((store, {}), (None, {"shards": store})):
        with pytest.raises(ConfigurationError, match=wrong) as caught:
            spreading.check("local", shards, settings(**given))
        assert "secret=1" not in refusal(caught.value)


def test_a_store_that_cannot_be_written_is_told_before_any_work(
    settings: Callable[..., Settings], refusal: Refusal, tmp_path: Path
) -> None:
    """Where it could be, nothing stays of the trial."""
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(ServiceFailed, match="the store of shards cannot be written") as caught:
        spreading.check("local", f"file://{tmp_path}/taken", settings())
    assert "--shards" in refusal(caught.value)
    spreading.check("local", f"file://{tmp_path}/free", settings())
    assert list((tmp_path / "free").iterdir()) == []


def test_a_store_alone_is_a_slip_unless_it_is_a_setting(settings: Callable[..., Settings]) -> None:
    """MEDAI_SHARDS may stand there for runs with --dask; without it, nothing is spread."""
    with pytest.raises(ConfigurationError, match="--shards says where Dask's workers find the data"):
        spreading.check(None, "file:///shared", settings())
    assert spreading.spread(None, None, settings(shards="file:///shared")) is None


def test_medai_without_its_extra_says_how_to_get_it(
    settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch, refusal: Refusal
) -> None:
    """The extra's name is in the message."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(ConfigurationError, match="--dask needs the package prefect_dask") as caught:
        spreading.check("local", None, settings())
    assert "'.[dask]'" in refusal(caught.value)


def test_a_run_is_spread_as_its_options_say(settings: Callable[..., Settings], tmp_path: Path) -> None:
    """The option comes before the setting; workspaces on one store are told apart."""
    given = settings(shards=f"file://{tmp_path}/one", service_seconds=7)
    made = spreading.spread("local", f"file://{tmp_path}/two", given)
    assert made is not None
    assert made.store == Store.of(tmp_path / "two")
    assert (vars(made.each)["scheduler"], vars(made.each)["patience"]) == (None, 7)
    other = spreading.spread("local", None, given.model_copy(update={"home": tmp_path / "another"}))
    assert other is not None
    assert other.store == Store.of(tmp_path / "one")
    assert other.owner != made.owner


def test_the_command_refuses_before_it_starts_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Status 2 or 4, the message as JSON, and no state folder."""
    monkeypatch.setenv("MEDAI_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    for address, status in (("nowhere", 2), (f"tcp://127.0.0.1:{port}", 4)):
        answer = CliRunner().invoke(cli.app, ["run", "synthetic_stays", "--dask", address, "--json"])
        assert answer.exit_code == status
        assert json.loads(answer.stdout)["error"]["status"] == status
        assert "Traceback" not in answer.output
    assert not (tmp_path / "home").exists()


@pytest.mark.slow
def test_a_run_on_dask_ends_like_any_other(medai: Any, problems: Any, tmp_path: Path) -> None:
    """The same arrays, model and data; no record knows who made the arrays."""
    problem = problems.stays("spread_stays")
    homes = {"alone": tmp_path / "alone", "dask": tmp_path / "dask"}
    alone = medai.run(problem, home=homes["alone"])
    spread = medai.run(problem, "--dask", "local", "--shards", f"file://{tmp_path}/store", home=homes["dask"])
    assert alone["model_sha256"] == spread["model_sha256"]
    files = [
        {path.relative_to(home): sha256_of_file(path) for path in (home / "store" / "prepare").rglob("*.*")}
        for home in homes.values()
    ]
    assert files[0] == files[1]
    assert len(files[0]) > 5
    assert [path.name[:9] for path in (tmp_path / "store").iterdir()] == ["snapshot-"]
    audit = (homes["dask"] / "audit.jsonl").read_text()
    assert str(tmp_path / "store") not in audit
    assert (homes["dask"] / "scratch" / "dask").is_dir()  # and not where the machine keeps what is temporary
