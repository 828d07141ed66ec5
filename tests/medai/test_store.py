"""A store that several machines reach: whole files or none, and what is wrong with it in words."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from medai.errors import ConfigurationError, MedaiError, ServiceFailed
from medai.store import Store

Refusal = Callable[[MedaiError], str]


@pytest.mark.parametrize("kind", ["file", "memory"])
def test_a_file_is_found_again_until_it_is_removed(tmp_path: Path, kind: str) -> None:
    """What is put is read again as it was, in folders that need not be there; nothing else lies beside it."""
    store = Store(f"{kind}://{tmp_path}/a # folder").folder("within")
    assert store.find("round.bin") is None
    store.clear()
    sha256 = store.put("round.bin", b"vital")
    store.put("round.bin", b"vital")
    assert store.get("round.bin", sha256) == store.find("round.bin") == b"vital"
    if kind == "file":
        assert [path.name for path in (tmp_path / "a # folder" / "within").iterdir()] == ["round.bin"]
    store.remove("round.bin")
    assert store.find("round.bin") is None
    store.put("round.bin", b"")
    store.clear()
    assert store.find("round.bin") is None


def test_a_damaged_or_lost_file_is_noticed(tmp_path: Path, refusal: Refusal) -> None:
    """A reader says which content it wants."""
    store = Store.of(tmp_path)
    sha256 = store.put("round.bin", b"vital")
    (tmp_path / "round.bin").write_bytes(b"vitam")
    with pytest.raises(ServiceFailed, match="a file of the store of shards is damaged") as caught:
        store.get("round.bin", sha256)
    assert "it is written anew" in refusal(caught.value)
    (tmp_path / "round.bin").unlink()
    with pytest.raises(ServiceFailed, match="is missing"):
        store.get("round.bin", sha256)


def test_an_unknown_scheme_is_the_users_to_mend(refusal: Refusal) -> None:
    """It is told before anything is written, and so is a file system whose package is not there."""
    with pytest.raises(ConfigurationError, match="an address of an unknown kind") as caught:
        Store("ward://round").check()
    assert "received: ward://" in refusal(caught.value)
    with pytest.raises(ConfigurationError, match="a package that is not installed") as caught:
        Store("gs://bucket/medai").check()
    assert "on every worker" in refusal(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_store_without_permission_is_the_machines(tmp_path: Path, refusal: Refusal) -> None:
    """Status 4 and the next step, as for a full disk."""
    tmp_path.chmod(0o500)
    with pytest.raises(ServiceFailed, match="the store of shards cannot be written") as caught:
        Store.of(tmp_path).put("round.bin", b"vital")
    tmp_path.chmod(0o700)
    assert "permission was denied" in refusal(caught.value)


def test_a_file_in_the_way_of_a_store_is_told(tmp_path: Path, refusal: Refusal) -> None:
    """Where a folder should be, something else lies."""
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(ServiceFailed, match="the store of shards cannot be written") as caught:
        Store.of(tmp_path / "taken").put("round.bin", b"vital")
    assert "--shards" in refusal(caught.value)
