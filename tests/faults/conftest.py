"""Judges cases: each must change what is said as it declares, tell nothing of a patient, and leave nothing behind."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from medai.errors import MedaiError
from medai.ingestion import ingest
from medai.records import QualityReport, Snapshot
from medai.validation import catalogue_suite, judging, refuse_if_failed, stage, validate
from medai.workspace import Workspace
from tests.faults.case import Case, Noticed, Refused, Right, Same
from tests.faults.records import ITEMS, item_of
from tests.faults.sets import SETS

PARTS = ("files", "tables", "pictures", "configuration", "leaks")
Judge = Callable[[Case], None]


def told(snapshot: Snapshot, quality: QualityReport) -> Counter[str]:
    """All that the records say by reason."""
    said = Counter[str]()
    for part, reasons in (
        ("counts", snapshot.counts), ("dropped", snapshot.dropped),
        ("set_aside", quality.set_aside), ("warned", quality.warned),
    ):  # fmt: skip
        said.update({f"{part}.{reason}": count for reason, count in reasons.items()})
    return said


def walk(workspace: Workspace, source: str, path: Path, manifest: Path | None = None) -> tuple[Snapshot, QualityReport]:
    """Ingest and validate.

    Raises:
        MedaiError: the data are refused, by either.
    """
    config = SETS[source].config
    snapshot = ingest(workspace, config, path, manifest).record
    quality = validate(workspace, snapshot, catalogue_suite(config.kind)).record
    refuse_if_failed(quality)
    return snapshot, quality


class Undamaged:
    """The sound sets, each written and walked once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._places: dict[str, str] = {}
        self._walked: dict[str, tuple[Counter[str], Path]] = {}

    def copy(self, source: str, folder: Path) -> Path:
        """A copy of a set in a new folder; where the reader is pointed to."""
        kept = self.root / source
        if source not in self._places:
            self._places[source] = SETS[source].write(kept).relative_to(kept).as_posix()
        shutil.copytree(kept, folder, symlinks=True)
        return folder / self._places[source]

    def walked(self, source: str) -> tuple[Counter[str], Path]:
        """What the records of the sound set say, and the snapshot's folder."""
        if source not in self._walked:
            path = self.copy(source, self.root / f"{source} read")
            workspace = Workspace(self.root / f"{source} home")
            snapshot, quality = walk(workspace, source, path)
            self._walked[source] = told(snapshot, quality), workspace.folder("ingest", snapshot.key)
        return self._walked[source]


def _once(function: Callable[..., Any]) -> Callable[..., Any]:
    """Equal questions are answered once: a rule's verdict depends on nothing but the rule and its figures."""
    answers: dict[str, Any] = {}

    def ask(*asked: Any) -> Any:
        question = repr(asked)
        if question not in answers:
            answers[question] = function(*asked)
        return answers[question]

    return ask


@pytest.fixture(scope="session", autouse=True)
def _judged_once() -> Iterator[None]:
    """Great Expectations takes most of a case's time, and nearly all of its verdicts are those of the case before."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judging, "judge", _once(judging.judge))
        patch.setattr(judging, "load_expectations", _once(judging.load_expectations))
        patch.setattr(stage, "load_suite", _once(stage.load_suite))
        yield


@pytest.fixture(scope="session")
def undamaged(tmp_path_factory: pytest.TempPathFactory) -> Undamaged:
    """The sound sets."""
    return Undamaged(tmp_path_factory.mktemp("undamaged"))


def photograph(root: Path) -> dict[str, tuple[int, str]]:
    """Every entry below a folder: its mode, and its content or where it leads."""
    seen = {}
    for place, folders, names in os.walk(root):
        for name in (*folders, *names):
            path = Path(place, name)
            status = path.lstat()
            if path.is_symlink():
                content = str(path.readlink())
            elif path.is_file():
                content = f"{status.st_mtime_ns} {hashlib.sha256(path.read_bytes()).hexdigest()}"
            else:
                content = ""
            seen[str(path)] = (status.st_mode, content)
    return seen


_KEY = re.compile(r"[0-9a-f]{32}")


def nothing_half_done(home: Path) -> None:
    """Each folder of the store is whole, and an interrupted stage left nothing."""
    for folder in home.glob("store/*/*"):
        apart = ".altered-" in folder.name  # what was found damaged is kept beside for its owner
        assert _KEY.fullmatch(folder.name) or apart, f"{folder.name} was left in the store"
        assert apart or {"record.json", "manifest.json"} <= {path.name for path in folder.iterdir()}
    assert not list(home.glob("scratch/*/*")), "an interrupted stage left something"


def tells_nothing(home: Path, said: str, people: re.Pattern[bytes], secrets: tuple[str, ...]) -> None:
    """Nothing that was said, and no file that others may read, names a patient or repeats a planted value.

    Values of readings stand in the tables of events, which is what those are for; names and identifiers never.
    """
    assert not people.search(said.encode()), f"a name or an identifier was told: {said}"
    for secret in secrets:
        assert secret not in said, f"{secret!r} was told: {said}"
    for path in home.rglob("*"):
        if not path.is_file() or not path.stat().st_mode & 0o077:
            continue
        if path.suffix == ".parquet":
            table = pl.read_parquet(path)
            texts = table.select(pl.col(pl.String, pl.Int64).cast(pl.String)).rows()
            data = repr(texts).encode()
        else:
            data = path.read_bytes()
        assert not people.search(data), f"{path.name} names a patient and is no file of its owner alone"
        if path.suffix == ".json":
            for secret in secrets:
                assert secret.encode() not in data, f"{path.name} repeats {secret!r}"


@pytest.fixture
def judge(
    tmp_path: Path,
    undamaged: Undamaged,
    caplog: pytest.LogCaptureFixture,
    record_property: Callable[[str, object], None],
) -> Judge:
    """Damage a copy of the case's set, read it, and hold what follows against what the case declares."""
    caplog.set_level(logging.DEBUG, logger="medai")

    def run(case: Case) -> None:
        before, sound = undamaged.walked(case.source)
        machine, home = tmp_path / "machine", tmp_path / "home"
        path = undamaged.copy(case.source, machine / "data")
        (machine / "elsewhere").mkdir()
        (machine / "elsewhere" / "Mustermann.txt").write_text("of another project\n")
        path = case.damage(machine / "data") or path
        seen = photograph(machine)
        workspace = Workspace(home)
        error: MedaiError | None = None
        changes: dict[str, int] = {}

        def noted(silent: bool) -> None:
            record_property("fault", (case.row, case.source, case.outcome.kind, silent))
            item = item_of(case.row, case.source, case.name)
            if item is not None:
                record_property("record", (item, silent))

        try:
            snapshot, quality = walk(workspace, case.source, path, case.manifest and machine / "data" / case.manifest)
        except MedaiError as raised:
            error = raised
        except Exception:  # a defect: the case counts, as one that is not as declared
            noted(False)
            raise
        else:
            after = told(snapshot, quality)
            changes = {key: after[key] - before[key] for key in sorted({*after, *before}) if after[key] != before[key]}
        silent = error is None and not changes and not isinstance(case.outcome, Same | Right)
        noted(silent)
        log = "\n".join(record.getMessage() for record in caplog.records)
        said = f"{error or ''}\n{log}".replace(str(path), "the path that was given")
        assert not silent, "nothing was said"
        if isinstance(case.outcome, Refused):
            assert error is not None, f"accepted: {changes}"
            meets(error, case.outcome)
        else:
            assert error is None, str(error)
            assert changes == (case.outcome.changes if isinstance(case.outcome, Noticed) else {})
            folder = workspace.folder("ingest", snapshot.key)
            if isinstance(case.outcome, Same):
                for table in case.outcome.tables:
                    name = f"{table}.parquet"
                    assert (folder / name).read_bytes() == (sound / name).read_bytes(), f"{table} has other bytes"
            assert case.then is not None or not isinstance(case.outcome, Right)
            if case.then is not None:
                case.then(folder)
        assert photograph(machine) == seen, "something was written among the data or beside them"
        nothing_half_done(home)
        tells_nothing(home, said, SETS[case.source].people, case.secrets)

    return run


def meets(error: MedaiError, outcome: Refused) -> None:
    """An error of the declared status in three parts and a next step, with the declared words."""
    assert error.exit_status == outcome.status, f"status {error.exit_status}: {error}"
    assert all((error.wrong, error.expected, error.received, error.action))
    assert "Traceback" not in str(error)
    for word in outcome.words:
        assert word in str(error), f"{word!r} is not in: {error}"


def _properties(terminal: Any, wanted: str) -> Iterator[tuple[str, tuple[Any, ...], bool]]:
    for category, reports in terminal.stats.items():
        for report in reports:
            if getattr(report, "when", "") == "call":
                part = Path(report.nodeid.partition("::")[0]).stem.removeprefix("test_").partition("_")[0]
                for name, value in report.user_properties:
                    if name == wanted and part in PARTS:
                        yield part, tuple(value), category == "passed"


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """The number of cases by part and by outcome, of the record readers' by item, and how many met with silence."""
    found = list(_properties(terminalreporter, "fault"))
    if not found:
        return
    parts = Counter(part for part, _, _ in found)
    outcomes = Counter(outcome for _, (_, _, outcome, _), _ in found)
    sources = Counter(source for _, (_, source, _, _), _ in found)
    rows = len({(part, row) for part, (row, _, _, _), _ in found})
    silent = sum(value[3] for _, value, _ in found)
    unmet = sum(not passed for _, _, passed in found)
    named = ", ".join(f"{part} {parts[part]}" for part in PARTS if parts[part])
    terminalreporter.write_line(f"FAULTS: {named}: {len(found)} cases, {silent} silent, {unmet} not as declared")
    terminalreporter.write_line("  " + ", ".join(f"{kind} {count}" for kind, count in sorted(outcomes.items())))
    terminalreporter.write_line(
        f"  {rows} rows of the fault table; " + ", ".join(f"{name} {count}" for name, count in sorted(sources.items()))
    )
    items = list(_properties(terminalreporter, "record"))
    if items:
        tried = Counter(item for _, (item, _), _ in items)
        named = ", ".join(f"{item} {tried[item]}" for item in ITEMS if tried[item])
        unmet = sum(not passed for _, _, passed in items)
        silent = sum(value[1] for _, value, _ in items)
        terminalreporter.write_line(f"RECORDS: {named}: {len(items)} cases, {silent} silent, {unmet} not as declared")
