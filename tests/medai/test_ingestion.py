"""``ingest``: keys, reuse, manifests and files that change."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from medai import ingestion
from medai.errors import DataRefused, ServiceFailed
from medai.ingestion import ingest
from medai.records import sha256_of_file
from medai.sources import MedMNIST, Physionet2012, physionet2012, reader
from medai.sources.synthetic import Synthetic, generate
from medai.tables import Facts, read_table
from medai.workspace import Workspace

PICTURES = MedMNIST(kind="medmnist")
STAYS = Physionet2012(kind="physionet2012")

GOLDEN: dict[str, dict[str, str]] = {
    "medmnist": {"images": "1cbcf4110cfe7b02", "labels": "95ec9cd654bb47c7"},
    "physionet2012": {"events": "59ad7bea903e8bd5", "stays": "edaef182af36d0a1", "labels": "a5ef95696440f7d3"},
}
"""Table → hash of its content, for version 3 of medmnist, 4 of physionet2012 and the synthetic sets below."""


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """An empty workspace."""
    return Workspace(tmp_path / "home")


@pytest.fixture
def npz(tmp_path: Path) -> Path:
    """Forty synthetic pictures."""
    (tmp_path / "data").mkdir()
    return generate(Synthetic(kind="synthetic", layout="medmnist", subjects=40), tmp_path / "data")


@pytest.fixture
def stays(tmp_path: Path) -> Path:
    """Twelve synthetic stays."""
    (tmp_path / "stays").mkdir()
    return generate(Synthetic(kind="synthetic", layout="physionet2012", subjects=12), tmp_path / "stays")


def test_the_same_bytes_are_read_once_wherever_they_lie(tmp_path: Path, workspace: Workspace, npz: Path) -> None:
    """A copy under another name is the same snapshot."""
    first = ingest(workspace, PICTURES, npz)
    other = tmp_path / "other.npz"
    other.write_bytes(npz.read_bytes())
    second = ingest(workspace, PICTURES, other)
    assert (first.reused, second.reused) == (False, True)
    assert second.record == first.record
    assert first.record.shape == "images"
    assert first.record.unit == "image"
    assert first.record.source == "medmnist"
    assert first.record.tables == {"images": 40, "labels": 40}


def test_two_workspaces_hold_the_same_bytes(tmp_path: Path, npz: Path, stays: Path) -> None:
    """Every file, the record among them, is equal; identifiers stay their owner's alone."""
    for source, path in ((PICTURES, npz), (STAYS, stays)):
        folders = []
        for name in ("a", "b"):
            workspace = Workspace(tmp_path / name)
            folders.append(workspace.folder("ingest", ingest(workspace, source, path).record.key))
        names = sorted(file.name for file in folders[0].iterdir())
        assert names == sorted(file.name for file in folders[1].iterdir())
        for name in names:
            assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes()
        assert stat.S_IMODE((folders[0] / "identifiers.parquet").stat().st_mode) == 0o600


def test_threads_leave_no_trace(tmp_path: Path, stays: Path) -> None:
    """One thread and four give the same snapshot."""
    script = (
        "import sys; from pathlib import Path; from medai.sources import physionet2012 as p;"
        "p.read(p.Physionet2012(kind='physionet2012'), Path(sys.argv[1]), Path(sys.argv[2]))"
    )
    for threads in ("1", "4"):
        (tmp_path / threads).mkdir()
        environment = os.environ | {
            "POLARS_MAX_THREADS": threads,
            "PYTHONPATH": str(Path(ingestion.__file__).parents[1]),
        }
        subprocess.run(
            [sys.executable, "-c", script, str(stays), str(tmp_path / threads)],
            env=environment,
            check=True,
            timeout=120,
        )
    for name in ("events", "stays", "labels", "identifiers"):
        one, four = (tmp_path / threads / f"{name}.parquet" for threads in ("1", "4"))
        assert one.read_bytes() == four.read_bytes()


def test_another_content_is_another_snapshot(workspace: Workspace, stays: Path) -> None:
    """One more stay changes the key; a renamed file too, because its name says whose it is."""
    first = ingest(workspace, STAYS, stays).record
    file = min((stays / "set-a").iterdir())
    file.rename(file.with_name("5.txt"))
    with pytest.raises(DataRefused, match="names another stay"):
        ingest(workspace, STAYS, stays)
    (stays / "set-a" / "5.txt").unlink()
    second = ingest(workspace, STAYS, stays).record
    assert second.key != first.key
    assert second.data_sha256 != first.data_sha256
    assert second.counts["orphan_outcome"] == 1


def test_records_hold_no_path_and_no_identifier(workspace: Workspace, stays: Path, tmp_path: Path) -> None:
    """What is printed and logged about a snapshot names nobody."""
    text = ingest(workspace, STAYS, stays).record.canonical().decode()
    assert "90000" not in text
    assert str(tmp_path) not in text


def test_a_file_that_changes_while_it_is_read_is_refused(
    workspace: Workspace, stays: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of what was read is kept."""
    honest = physionet2012.read

    def read_while_written(config: Physionet2012, path: Path, folder: Path) -> Facts:
        facts = honest(config, path, folder)
        with (stays / "Outcomes-a.txt").open("a") as file:
            file.write("1,1,1,1,1,1\n")
        return facts

    monkeypatch.setattr(physionet2012, "read", read_while_written)
    with pytest.raises(DataRefused, match="the data changed while they were read"):
        ingest(workspace, STAYS, stays)
    assert not [path for path in (workspace.root / "store").rglob("*") if path.is_file()]


def test_a_full_disk_is_the_machine_s_failure(
    workspace: Workspace, stays: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Status 4, nothing half-written is left, and the same command works once there is space."""

    def full(*_: object) -> Facts:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(physionet2012, "read", full)
        with pytest.raises(ServiceFailed, match="the disk is full"):
            ingest(workspace, STAYS, stays)
    assert not [path for path in (workspace.root / "store").rglob("*") if path.is_file()]
    assert ingest(workspace, STAYS, stays).record.tables["stays"] == 12


def _sums(*files: Path, root: Path) -> str:
    return "".join(f"{sha256_of_file(file)}  {file.relative_to(root).as_posix()}\n" for file in files)


def test_what_differs_from_a_manifest_beside_is_counted(workspace: Workspace, npz: Path) -> None:
    """A right sum passes, whatever else the manifest names; a wrong one is counted, in a snapshot of its own."""
    manifest = npz.parent / "SHA256SUMS.txt"
    manifest.write_text(f"{'0' * 64} *other.npz\n" + _sums(npz, root=npz.parent))
    right = ingest(workspace, PICTURES, npz).record
    assert (right.tables["images"], right.counts.get("file_differs_from_manifest")) == (40, None)
    manifest.write_text(f"{'0' * 64}  ./{npz.name}\n")
    wrong = ingest(workspace, PICTURES, npz).record
    assert wrong.counts["file_differs_from_manifest"] == 1
    assert wrong.key != right.key
    assert wrong.data_sha256 == right.data_sha256
    manifest.write_text(f"{'0' * 64}  another.npz\n")
    assert ingest(workspace, PICTURES, npz).record.counts["file_not_in_manifest"] == 1
    with pytest.raises(DataRefused, match="the manifest does not name every file of the data"):
        ingest(workspace, PICTURES, npz, manifest)


def test_a_manifest_as_physionet_writes_it(workspace: Workspace, npz: Path) -> None:
    """One space between sum and name, and lines that end as on Windows."""
    manifest = npz.parent / "SHA256SUMS.txt"
    manifest.write_bytes(f"{sha256_of_file(npz)} {npz.name}\r\n".encode())
    ingest(workspace, PICTURES, npz, manifest)
    manifest.write_bytes(f"{'0' * 64} {npz.name}\r\n".encode())
    with pytest.raises(DataRefused, match=r"a file of the data \(pictures\) is not the one that its manifest names"):
        ingest(workspace, PICTURES, npz, manifest)


def test_a_given_manifest_must_name_every_file(tmp_path: Path, workspace: Workspace, stays: Path) -> None:
    """Files in folders are named by their path from the manifest."""
    files = sorted(file for file in stays.rglob("*") if file.is_file())
    manifest = stays / "sums.txt"
    manifest.write_text(_sums(*files, root=stays))
    assert ingest(workspace, STAYS, stays, manifest).record.tables["stays"] == 12
    manifest.write_text(_sums(*files[:-1], root=stays))
    with pytest.raises(DataRefused, match="does not name every file") as refusal:
        ingest(workspace, STAYS, stays, manifest)
    assert refusal.value.received == "1 of them are not"
    manifest.write_text(_sums(*files, root=stays).replace(sha256_of_file(files[3]), "f" * 64))
    with pytest.raises(DataRefused, match="is not the one that its manifest names") as refusal:
        ingest(workspace, STAYS, stays, manifest)
    assert files[3].stem not in str(refusal.value)


def test_a_file_that_the_manifest_misses_is_told(workspace: Workspace, stays: Path) -> None:
    """A stay that was lost on the way is missed; another set that nobody fetched is not."""
    files = sorted(file for file in stays.rglob("*") if file.is_file())
    manifest = stays / "SHA256SUMS.txt"
    manifest.write_text(_sums(*files, root=stays) + f"{'0' * 64}  set-b/142675.txt\n")
    whole = ingest(workspace, STAYS, stays, manifest).record
    assert (whole.tables["stays"], whole.counts.get("file_missing_beside_manifest")) == (12, None)
    next((stays / "set-a").iterdir()).unlink()
    assert ingest(workspace, STAYS, stays).record.counts["file_missing_beside_manifest"] == 1
    with pytest.raises(DataRefused, match="files that the manifest names are missing") as refusal:
        ingest(workspace, STAYS, stays, manifest)
    assert refusal.value.received == "1 of them are not there"


def test_a_folder_in_place_of_the_manifest_is_refused(workspace: Workspace, npz: Path) -> None:
    """Sums that were meant to be there are not passed over."""
    (npz.parent / "SHA256SUMS.txt").mkdir()
    with pytest.raises(DataRefused, match="the manifest cannot be read"):
        ingest(workspace, PICTURES, npz)


def test_a_file_changed_and_set_back_in_time_is_hashed_anew(workspace: Workspace, npz: Path) -> None:
    """Size, inode and modification time may be kept by whoever changes a file; the change itself leaves its time."""
    status = npz.stat()
    before = ingestion._marks(reader(PICTURES), PICTURES, npz)
    data = bytearray(npz.read_bytes())
    data[-1] ^= 1
    npz.write_bytes(data)
    os.utime(npz, ns=(status.st_atime_ns, status.st_mtime_ns))
    after = ingestion._marks(reader(PICTURES), PICTURES, npz)
    (old,), (new,) = before.values(), after.values()
    assert (old[:2], old[3]) == (new[:2], new[3])
    assert before != after


@pytest.mark.parametrize("text", ["not a sum at all\n", f"{'a' * 64}  x\n{'b' * 64}  x\n", None])
def test_a_manifest_that_cannot_be_followed_is_refused(workspace: Workspace, npz: Path, text: str | None) -> None:
    """Damaged, contradicting itself, or missing."""
    manifest = npz.parent / "sums.txt"
    if text is not None:
        manifest.write_text(text)
    with pytest.raises(DataRefused, match="manifest cannot be"):
        ingest(workspace, PICTURES, npz, manifest)


def test_missing_data_leave_no_trace(tmp_path: Path, workspace: Workspace) -> None:
    """A refusal before reading writes nothing."""
    with pytest.raises(DataRefused, match="is missing"):
        ingest(workspace, PICTURES, tmp_path / "nothing.npz")
    assert not workspace.root.exists()


def test_sources_import_nothing_heavy() -> None:
    """The catalogue of sources is read by the command line: NumPy, polars and pyarrow wait for the first file."""
    script = (
        "import sys, medai.sources, medai.sources.synthetic, medai.ingestion, medai.tables;"
        "print([name for name in ('numpy', 'polars', 'pyarrow') if name in sys.modules])"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(ingestion.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_golden_snapshot(workspace: Workspace, npz: Path, stays: Path) -> None:
    """A reader whose tables change must raise its VERSION: these are the contents of the versions named above."""
    for source, path, tables in (
        (PICTURES, npz, ("images", "labels")),
        (STAYS, stays, ("events", "stays", "labels")),
    ):
        made = ingest(workspace, source, path)
        folder = workspace.folder("ingest", made.record.key)
        assert {name: golden_of(folder / f"{name}.parquet") for name in tables} == GOLDEN[source.kind], source.kind


def golden_of(path: Path) -> str:
    """Hash of a table's content, whatever the Parquet writer's version."""
    return hashlib.sha256(pl.DataFrame(read_table(path)).write_csv(float_precision=4).encode()).hexdigest()[:16]
