"""The workspace: whole or not there, made once, noticed when altered."""

from __future__ import annotations

import errno
import json
import logging
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from medai.errors import ServiceFailed, from_machine_failure
from medai.records import Frozen, Page, sha256_of_file
from medai.workspace import Made, Workspace, write_durably

KEY = "0123456789abcdef"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """An empty workspace."""
    return Workspace(tmp_path / "home")


def page(folder: Path) -> Page:
    """A stage of two files, one of them in a folder."""
    (folder / "page.html").write_text("content")
    (folder / "parts").mkdir()
    (folder / "parts" / "figure.svg").write_text("drawn")
    return Page(key=KEY, file="page.html")


def make(workspace: Workspace) -> Made[Page]:
    """Materialise the stage."""
    return workspace.materialise("report", KEY, Page, page)


def stored(workspace: Workspace) -> list[str]:
    """Everything below the stage's folder of the store, dot files and all."""
    root = workspace.root / "store" / "report"
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*")) if root.exists() else []


LOCK = f"locks/report-{KEY}.lock"


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        *((place, kind) for place in (".", "store", "locks", "store/report") for kind in ("file", "loop", "pipe")),
        *((LOCK, kind) for kind in ("folder", "loop", "pipe")),
    ],
)
def test_something_else_where_the_state_belongs_is_named(workspace: Workspace, place: str, kind: str) -> None:
    """Status 4, by its path and MEDAI_HOME, in words; what stands there is left alone."""
    path = workspace.root / place
    path.parent.mkdir(parents=True, exist_ok=True)
    {"file": Path.touch, "folder": Path.mkdir, "loop": lambda it: it.symlink_to(it), "pipe": os.mkfifo}[kind](path)
    with pytest.raises(ServiceFailed) as raised:
        make(workspace)
    assert str(path) in raised.value.wrong
    assert "MEDAI_HOME" in raised.value.action
    assert "rrno" not in str(raised.value)
    assert path.is_symlink() or path.exists()


@pytest.mark.parametrize("kind", ["file", "loop", "pipe", "deep"])
def test_a_stage_that_is_something_else_is_set_apart_and_made_again(workspace: Workspace, kind: str) -> None:
    """The folder itself or its record: never a wait, never a defect."""
    folder = workspace.folder("report", KEY)
    folder.parent.mkdir(parents=True)
    if kind == "file":
        folder.touch()
    elif kind == "loop":
        folder.symlink_to(folder)
    else:
        folder.mkdir()
        (folder / "manifest.json").write_text("{}")
        if kind == "pipe":
            os.mkfifo(folder / "record.json")
        else:
            (folder / "record.json").write_text("[" * 200_000)
    assert not make(workspace).reused
    assert make(workspace).reused


def test_a_file_of_any_name_is_hashed(workspace: Workspace, tmp_path: Path) -> None:
    """Also one whose name is not UTF-8."""
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    path.write_bytes(b"a")
    assert [workspace.hash_file(path) for _ in range(2)] == [sha256_of_file(path)] * 2


def test_a_stage_is_made_once_and_then_found(workspace: Workspace) -> None:
    """The second time nothing is built: the record is read back, equal, and the receipt is the first's."""
    first = make(workspace)
    receipt = workspace.receipt("report", KEY)

    def never(_folder: Path) -> Page:
        raise AssertionError("built again")

    second = workspace.materialise("report", KEY, Page, never)
    assert (first.reused, second.reused) == (False, True)
    assert first.record == second.record
    assert workspace.receipt("report", KEY) == receipt
    assert receipt["seconds"] >= 0
    assert workspace.receipt("report", "other") == {}
    assert stored(workspace) == [
        KEY,
        *(f"{KEY}/{name}" for name in ("manifest.json", "page.html", "parts", "parts/figure.svg", "record.json")),
    ]


@pytest.mark.parametrize("kind", ["list", "deep", "pipe", "folder"])
def test_a_receipt_that_is_none_counts_as_missing(kind: str, workspace: Workspace) -> None:
    """Receipts only make things faster or plainer: what lies in the place of one is neither waited for nor believed."""
    path = workspace.root / "receipts" / "report" / f"{KEY}.json"
    path.parent.mkdir(parents=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.write_text("[1]" if kind == "list" else "[" * 100_000)
    assert workspace.receipt("report", KEY) == {}


def test_the_manifest_names_every_file_with_its_hash(workspace: Workspace) -> None:
    """The record is among them, so that a changed threshold is noticed as a changed weight is."""
    make(workspace)
    folder = workspace.folder("report", KEY)
    manifest = json.loads((folder / "manifest.json").read_bytes())
    assert sorted(manifest) == ["page.html", "parts/figure.svg", "record.json"]
    for name, (size, sha256) in manifest.items():
        assert (size, sha256) == ((folder / name).stat().st_size, sha256_of_file(folder / name))


@pytest.mark.parametrize("failure", [RuntimeError("a defect"), OSError(errno.ENOSPC, "full"), KeyboardInterrupt()])
def test_what_breaks_off_leaves_nothing_to_see(workspace: Workspace, failure: BaseException) -> None:
    """Whatever ends a build in mid-write, no folder is left, and the next run makes it."""

    def broken(folder: Path) -> Page:
        (folder / "half.html").write_text("half")
        raise failure

    with pytest.raises(type(failure)) as raised:
        workspace.materialise("report", KEY, Page, broken)
    assert raised.value is failure
    assert stored(workspace) == []
    assert workspace.find("report", KEY, Page) is None
    assert make(workspace).reused is False


def test_a_full_disk_has_status_4(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the commit itself finds no space, nothing is visible and the error says what to do."""

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left") as raised:
            make(workspace)
    assert stored(workspace) == []
    failure = from_machine_failure(raised.value)
    assert isinstance(failure, ServiceFailed)
    assert (failure.wrong, failure.exit_status) == ("the disk is full", 4)
    assert make(workspace).reused is False


def test_what_a_kill_left_behind_is_cleared(workspace: Workspace) -> None:
    """A half-written folder of a killed run is not taken for content and does not stay."""
    beside = workspace.folder("report", KEY).with_name(f".{KEY}.partial")
    beside.mkdir(parents=True)
    (beside / "stray.html").write_text("left by a kill")
    assert workspace.find("report", KEY, Page) is None
    make(workspace)
    assert not any("stray" in name or "partial" in name for name in stored(workspace))


@pytest.mark.parametrize("name", ["page.html", "parts/figure.svg", "record.json", "manifest.json"])
@pytest.mark.parametrize("how", ["one byte", "cut short", "deleted"])
def test_an_altered_file_is_set_apart_and_made_again(
    workspace: Workspace, caplog: pytest.LogCaptureFixture, name: str, how: str
) -> None:
    """Any file of the folder, in any way; the altered one is kept aside for whoever wants to look."""
    make(workspace)
    path = workspace.folder("report", KEY) / name
    data = path.read_bytes()
    if how == "deleted":
        path.unlink()
    else:
        path.write_bytes(data[:-2] if how == "cut short" else data[:-3] + bytes([data[-3] ^ 1]) + data[-2:])
    with caplog.at_level(logging.WARNING):
        again = make(workspace)
    assert again.reused is False
    assert path.read_bytes() == data
    assert "set apart and made again" in caplog.text
    apart = [entry for entry in stored(workspace) if "altered" in entry and "/" not in entry]
    assert len(apart) == 1
    assert make(workspace).reused is True


def test_a_hash_is_remembered_until_the_file_changes(workspace: Workspace, tmp_path: Path) -> None:
    """A file that nobody touched answers from memory; one that was changed and set back in time is looked at."""
    file = tmp_path / "raw"
    file.write_bytes(b"one")
    first = workspace.hash_file(file)
    assert first == sha256_of_file(file)
    with sqlite3.connect(workspace.root / "hashes.sqlite") as memory:
        memory.execute("update remembered set sha256 = 'remembered'")
    assert workspace.hash_file(file) == "remembered"
    status = file.stat()
    file.write_bytes(b"two")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert workspace.hash_file(file) == sha256_of_file(file) != first


def test_a_damaged_memory_costs_time_and_nothing_else(
    workspace: Workspace, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The file of hashes is only a memory: when it cannot be read, the hash is computed."""
    make(workspace)
    (workspace.root / "hashes.sqlite").write_bytes(b"this is no database, however long it is read" * 9)
    file = tmp_path / "raw"
    file.write_bytes(b"one")
    assert workspace.hash_file(file) == sha256_of_file(file)
    assert make(workspace).reused is True
    assert "cannot be remembered" in caplog.text


def test_write_durably_replaces_whole_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The old bytes stand until the new ones are whole; the mode is as asked."""
    path = tmp_path / "sub" / "facts.json"
    write_durably(path, b"old", mode=0o600)
    assert path.stat().st_mode & 0o777 == 0o600
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(errno.EIO, "lost")))
        with pytest.raises(OSError, match="lost"):
            write_durably(path, b"new")
    assert path.read_bytes() == b"old"
    write_durably(path, b"new")
    assert [(file.name, file.read_bytes()) for file in path.parent.iterdir()] == [("facts.json", b"new")]


def test_scratch_survives_a_failed_build_and_goes_with_the_finished_one(workspace: Workspace) -> None:
    """What a stage may resume from is dropped once it is committed."""
    (workspace.scratch("report", KEY) / "epoch").write_text("2")

    def broken(_folder: Path) -> Page:
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        workspace.materialise("report", KEY, Page, broken)
    assert (workspace.scratch("report", KEY) / "epoch").read_text() == "2"
    make(workspace)
    assert not (workspace.root / "scratch" / "report" / KEY).exists()


BUILD = """
import sys, time
from pathlib import Path
from medai.records import Page
from medai.workspace import Workspace
def build(folder):
    time.sleep(0.5)
    with Path(sys.argv[2]).open("a") as built:
        built.write("built\\n")
    (folder / "page.html").write_text("content")
    return Page(key="k", file="page.html")
made = Workspace(Path(sys.argv[1])).materialise("report", "k", Page, build)
print(made.reused, made.record.file)
"""


def test_two_processes_build_once(tmp_path: Path) -> None:
    """Equal runs at once: one makes it, the other waits and finds it."""
    command = [sys.executable, "-c", BUILD, str(tmp_path / "home"), str(tmp_path / "built")]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    answers = sorted(process.communicate(timeout=300)[0] for process in processes)
    assert answers == ["False page.html\n", "True page.html\n"]
    assert (tmp_path / "built").read_text() == "built\n"


def test_a_lock_that_is_never_released_is_told(workspace: Workspace) -> None:
    """Patience is bounded: the second comer is told who to wait for, with status 4."""
    with (
        workspace.lock("ledger"),
        pytest.raises(ServiceFailed, match="another run still holds ledger") as raised,
        Workspace(workspace.root).lock("ledger", seconds=0.3),
    ):
        raise AssertionError("both held it")
    assert raised.value.exit_status == 4
    with workspace.lock("ledger", seconds=0.3):
        pass


class Told(Frozen):
    """What a receipt holds."""

    batch: str
    version: int


@pytest.mark.parametrize("damaged", ["", '{"batch"', "[1]", "{}", '{"batch":"b"}', '{"batch":"b","version":"no"}'])
def test_receipts_of_a_problem_are_read_together_and_none_is_lost_in_silence(
    workspace: Workspace, damaged: str
) -> None:
    """Each in its order; one that is not as it was written is named."""
    for name in ("p-2", "p-1", "p_q-1"):
        workspace.keep_receipt("batches", name, {"batch": name, "version": 1})
    assert [told.batch for told in workspace.receipts("batches", "p", Told)] == ["p-1", "p-2"]
    assert workspace.receipts("batches", "nobody", Told) == []
    (workspace.root / "receipts" / "batches" / "p-1.json").write_text(damaged)
    with pytest.raises(ServiceFailed, match=r"receipts/batches/p-1\.json was altered"):
        workspace.receipts("batches", "p", Told)
