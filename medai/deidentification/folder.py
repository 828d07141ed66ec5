"""A folder of DICOM files to a folder of rewritten ones: whole under its name, or not there.

    OUT/report.json                               what was done, in counts
    OUT/files/PATIENT/STUDY/SERIES/INSTANCE.dcm   names are pseudonyms

It is written beside its name and renamed last. What an interrupted run had written is kept there with a journal, and
the next run with the same key and version goes on from it: a file of the same path, size, time and inode is not read
again.
"""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from medai.deidentification import attributes, header
from medai.deidentification.keys import Key
from medai.deidentification.outcomes import REASONS, Outcome
from medai.deidentification.pictures import VERSION, Order, rewrite_file
from medai.deidentification.regions import Regions
from medai.errors import ConfigurationError, DataRefused
from medai.records import canonical_json, sha256_of, sha256_of_file
from medai.sources.pictures.workers import each_decoded
from medai.workspace import make_folder, sync_directory, write_durably

FILES, REPORT, _JOURNAL, _STAGED = "files", "report.json", "journal.jsonl", "staged"
_OWNER_ALONE = 0o600
_SYNC_EVERY = 256

Spread = Callable[[Callable[[Order], Outcome], Sequence[Order]], Iterable[Any]]
"""Calls a function of many orders and gives its answers in their order. Where a process was lost to a file, the answer
is something else, with a ``reason``."""


class Found(NamedTuple):
    """An entry of the folder.

    Attributes:
        name: below the folder, as the system gives it; it may come from a patient.
        path: the file.
        reason: why it is not even read.
    """

    name: str
    path: Path
    reason: str | None


def rewrite_folder(
    source: Path,
    out: Path,
    key: Key,
    *,
    rules: Regions | None = None,
    private: Path | None = None,
    spread: Spread = each_decoded,
) -> dict[str, Any]:
    """Rewrite every DICOM file of a folder, or one file.

    Args:
        source: a folder with everything below it, or a file.
        out: a folder that is absent or empty.
        rules: where the site vouches that its devices write into pictures.
        private: where the list of what was set aside goes, by name, readable by its owner alone; no list without it.
        spread: how the work is done; in worker processes, so that a file which fells its parser costs itself alone.

    Returns:
        The report: files, rewritten, patients, without_patient_id, set_aside by reason, actions by kind.

    Raises:
        ConfigurationError: ``out`` holds something, or lies in ``source``.
        DataRefused: ``source`` is missing or holds no file.
    """
    source, out = source.resolve(), out.absolute()
    refuse_place(source, out)
    found = list(entries(source))
    if not found:
        raise DataRefused(
            "there is nothing to rewrite",
            expected="DICOM files in the folder or below it",
            received="no file",
            action="correct the path",
        )
    ruled = "" if rules is None else f"-{sha256_of(rules.model_dump(mode='json'))[:16]}"
    beside = out.with_name(f".{out.name}.{key.mark}-{VERSION}{ruled}.partial")
    make_folder(beside / FILES)
    make_folder(beside / _STAGED, 0o700)
    told = _rewrite_all(found, beside, key, rules, spread)
    report = _report([outcome for _, outcome in told], key, rules)
    if private is not None:
        write_durably(private, _list_of(told), mode=_OWNER_ALONE)
    write_durably(beside / REPORT, canonical_json(report) + b"\n")
    shutil.rmtree(beside / _STAGED)
    (beside / _JOURNAL).unlink()
    for folder, _, _ in os.walk(beside):
        sync_directory(Path(folder))
    beside.replace(out)  # takes the place of an empty folder
    sync_directory(out.parent)
    return report


def refuse_place(source: Path, out: Path) -> None:
    """Refuse a place for the results that is taken, or inside of what is read.

    Raises:
        ConfigurationError: it is.
        DataRefused: there is nothing at ``source``.
    """
    if not source.exists():
        raise DataRefused(
            "the data to rewrite are missing",
            expected="a folder, a DICOM file or a table",
            received="nothing at this path",
            action="correct the path",
        )
    place = out.parent.resolve() / out.name
    if place.is_relative_to(source) or source.is_relative_to(place):
        raise ConfigurationError(
            "the results would lie in the data, or the data in the results",
            expected="two places apart",
            received="one inside the other",
            action="name another place for the results",
        )
    if os.path.lexists(out) and not (out.is_dir() and not out.is_symlink() and not any(out.iterdir())):
        raise ConfigurationError(
            "the place to write to is taken",
            expected="one that is absent, or an empty folder",
            received="something is there",
            action="name another place; what is there may be de-identified already",
        )


def entries(source: Path) -> Iterator[Found]:
    """Every file below a folder, in the order of names; hidden ones, too."""
    if source.is_file():
        yield Found(source.name, source, None)
        return
    waiting = [source]
    while waiting:
        folder = waiting.pop()
        try:
            listed = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError:
            yield Found(str(folder.relative_to(source)), folder, "unreadable")
            continue
        below = []
        for entry in listed:
            path = Path(entry.path)
            name = str(path.relative_to(source))
            if entry.is_symlink() and not _stays(path, source):
                yield Found(name, path, "link")
            elif entry.is_dir():
                below.append(path)
            else:
                yield Found(name, path, None if entry.is_file() else "no_file")
        waiting += reversed(below)


def _stays(link: Path, root: Path) -> bool:
    """Whether a link leads to a file of the folder."""
    try:
        target = link.resolve(strict=True)
    except (OSError, RuntimeError):
        return False
    return target.is_relative_to(root) and target.is_file()


def _rewrite_all(
    found: Sequence[Found], beside: Path, key: Key, rules: Regions | None, spread: Spread
) -> list[tuple[Found, Outcome]]:
    """Each entry with what became of it, in order; done before is not done again."""
    marks = [_mark(entry, key) for entry in found]
    before = _journal(beside)
    todo = [at for at, entry in enumerate(found) if entry.reason is None and marks[at] not in before]
    orders = [Order(found[at].path, beside / _STAGED / marks[at]) for at in todo]
    answers = iter(spread(partial(rewrite_file, secret=key.secret, rules=rules), orders))
    told: list[tuple[Found, Outcome]] = []
    taken: set[str] = set()
    with (beside / _JOURNAL).open("ab") as journal:
        for entry, mark in zip(found, marks, strict=True):
            if entry.reason is not None:
                outcome = Outcome(reason=entry.reason)
            elif mark in before:
                outcome = before[mark]
            else:
                outcome = _settled(next(answers), beside, mark, taken)
                line = json.dumps([mark, outcome.model_dump(mode="json")]).encode() + b"\n"
                journal.write(line)
                if len(told) % _SYNC_EVERY == 0:
                    journal.flush()
                    os.fsync(journal.fileno())
            if outcome.place is not None:
                taken.add(outcome.place)
            told.append((entry, outcome))
    return told


def _settled(answer: Any, beside: Path, mark: str, taken: set[str]) -> Outcome:
    """Put a file into its place; of one instance the first stays."""
    staged = beside / _STAGED / mark
    outcome = answer if isinstance(answer, Outcome) else Outcome(reason=str(answer.reason))
    if outcome.place is None:
        return outcome
    if outcome.place in taken:
        staged.unlink()
        return Outcome(reason="same_instance")
    path = beside / FILES / outcome.place
    make_folder(path.parent)
    descriptor = os.open(staged, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    staged.replace(path)
    return outcome


def _journal(beside: Path) -> dict[str, Outcome]:
    """What an interrupted run had done, as far as its files are whole; the rest is done again."""
    done: dict[str, Outcome] = {}
    path = beside / _JOURNAL
    lines = path.read_bytes().splitlines() if path.exists() else []
    for line in lines:
        try:
            mark, kept = json.loads(line)
            outcome = Outcome.model_validate(kept)
        except (ValueError, TypeError):  # the line that a kill cut short
            continue
        if outcome.place is None:
            done[mark] = outcome
            continue
        file = beside / FILES / outcome.place
        if file.is_file() and sha256_of_file(file) == outcome.sha256:
            done[mark] = outcome
    return done


def _mark(entry: Found, key: Key) -> str:
    """What stands for a file as it was found; it tells nobody its name."""
    try:
        status = entry.path.stat()
        facts = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
    except OSError:
        facts = (0, 0, 0, 0)
    return key.derive("file", f"{entry.name}\0{facts}").hex()[:32]


def _report(outcomes: Sequence[Outcome], key: Key, rules: Regions | None) -> dict[str, Any]:
    """Counts alone; equal files and keys give equal reports."""
    rewritten = [outcome for outcome in outcomes if outcome.place is not None]
    aside = Counter(outcome.reason for outcome in outcomes if outcome.reason is not None)
    actions: Counter[str] = Counter()
    for outcome in rewritten:
        actions.update(outcome.actions)
    return {
        "kind": "pictures",
        "files": len(outcomes),
        "rewritten": len(rewritten),
        "patients": len({str(outcome.place).partition("/")[0] for outcome in rewritten}),
        "without_patient_id": sum(not outcome.named for outcome in rewritten),
        "set_aside": {reason: aside[reason] for reason in REASONS if aside[reason]},
        "actions": dict(sorted(actions.items())),
        "profile": [f"{code} {meaning}" for code, meaning in header.CODES],
        "regions": None if rules is None else sha256_of(rules.model_dump(mode="json")),
        "table": attributes.TABLE,
        "key": key.mark,
        "version": VERSION,
    }


def _list_of(told: Sequence[tuple[Found, Outcome]]) -> bytes:
    """Names of what was set aside, with the reason, for the owner of the data."""
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(["reason", "file"])
    rows.writerows((outcome.reason, ascii(entry.name)[1:-1]) for entry, outcome in told if outcome.reason is not None)
    return text.getvalue().encode()
