"""``medai synth``: generated data in a folder of one's own, to point any Problem at."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from medai.errors import ConfigurationError, from_machine_failure, near_match
from medai.paths import expanded, why
from medai.problem import catalogue
from medai.sources.synthetic import AnySynthetic, Generator, generate
from medai.yaml_files import read_yaml

_READ_WHOLE = {"mimic3": "mimic3", "mimic4": "mimic4", "nih": "nih_chest_xray"}
"""Layout → the source whose problems read the whole of such a folder."""
KINDS = ("ct", "dicom", "hospital", "lesions", "medmnist", "mimic3", "mimic4", "nih", "physionet2012")


def synth(kind: str, out: Path, options: dict[str, Any], workers: int | None = None) -> dict[str, Any]:
    """Write generated data; nothing half-written is ever seen under its name.

    Args:
        kind: the layout, one of KINDS.
        out: a folder that is absent or empty.
        options: fields of ``Synthetic``, ``SyntheticHospital``, ``SyntheticLesions`` or ``SyntheticDatabase``.
        workers: processes that write a large database; they change no byte.

    Returns:
        What ``medai synth --json`` prints: kind, path, patients, seed, files, bytes, the planted faults, and the
        commands that read it.

    Raises:
        ConfigurationError: no such kind, an option that does not fit it, a folder that holds something, or a place
            where none can be made.
        ServiceFailed: the disk has no space for so many patients, or failed otherwise.
    """
    config = _config(kind, options)
    with _possible():
        out = expanded(out).resolve()
        _refuse_taken(out)
        out.parent.mkdir(parents=True, exist_ok=True)
        beside = out.with_name(f".medai-{os.getpid()}.partial")
        shutil.rmtree(beside, ignore_errors=True)  # left by a killed process of the same number
        beside.mkdir()
    try:
        reader = generate(config, beside, workers).relative_to(beside)
        files = [path for path in beside.rglob("*") if path.is_file()]
        size = sum(path.stat().st_size for path in files)
        os.sync()
        with _possible():
            _refuse_taken(out)
            beside.replace(out)  # takes the place of an empty folder
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    faults = out / "planted_faults.json"
    return {
        "kind": kind,
        "path": str(out),
        "patients": config.subjects,
        "seed": config.seed,
        "files": len(files),
        "bytes": size,
        "faults": json.loads(faults.read_text())["faults"] if faults.exists() else {},
        "next": [f"medai run {name} --data {out / reader / location}" for name, location in _problems_of(config)],
    }


def rates(texts: list[str]) -> dict[str, float]:
    """The shares of single faults, from ``unit_mix=0.1`` and the like.

    Raises:
        ConfigurationError: another form.
    """
    shares = {}
    for text in texts:
        name, _, share = text.partition("=")
        try:
            shares[name.strip()] = float(share)
        except ValueError:
            raise ConfigurationError(
                "a fault's share cannot be read",
                expected="NAME=SHARE with a share from 0 to 0.5",
                received=repr(text),
                action="for example --fault unit_mix=0.1",
            ) from None
    return shares


def _config(kind: str, options: dict[str, Any]) -> AnySynthetic:
    if kind not in KINDS:
        raise ConfigurationError(
            f"nothing is generated of the kind {kind!r}",
            expected=" or ".join(KINDS),
            received=f"{kind!r}; {near_match(kind, KINDS)}",
            action="for example medai synth hospital OUT",
        )
    try:
        return TypeAdapter[AnySynthetic](Generator).validate_python({"kind": "synthetic", "layout": kind, **options})
    except ValidationError as error:
        faults = [
            f"{'.'.join(map(str, fault['loc'][1:])) or kind}: {fault['msg'].removeprefix('Value error, ')}"
            for fault in error.errors(include_url=False)
        ]
        raise ConfigurationError(
            f"{kind} cannot be generated like this",
            expected="options that fit it, within their bounds",
            received="; ".join(faults),
            action="`medai synth --help` describes them, and says to which kinds each belongs",
        ) from None


@contextmanager
def _possible() -> Iterator[None]:
    """Say what stands in the way of a folder, wherever somebody wants it."""
    try:
        yield
    except (OSError, RuntimeError) as failure:  # the latter: pathlib's word for a circle of links, before Python 3.13
        blocked = failure if isinstance(failure, OSError) else OSError(errno.ELOOP, "")
        machine = None if isinstance(failure, PermissionError) else from_machine_failure(failure)
        raise machine or ConfigurationError(
            "the folder to write to cannot be made",
            expected="a folder that is absent or empty, in a place where we may make one",
            received=why(blocked),
            action="name another folder",
        ) from None


def _refuse_taken(out: Path) -> None:
    """Refuse a place that holds anything."""
    try:
        os.lstat(out)
    except FileNotFoundError:
        return
    if out.is_dir() and not any(out.iterdir()) and not out.is_mount():
        return
    raise ConfigurationError(
        "the place to write to is taken",
        expected="a folder that is absent or empty",
        received="a folder that holds something" if out.is_dir() and not out.is_mount() else "something else",
        action="name another folder, or empty that one",
    )


def _problems_of(config: AnySynthetic) -> list[tuple[str, str]]:
    """Problems of the catalogue that read such data, each with the part of the folder that it reads.

    One that generates such data for itself says where in it; another reads the whole of its source's folder.
    """
    kind = config.layout
    found = []
    for name, path in catalogue().items():
        problem = read_yaml(path)
        read = next(iter(problem["inputs"].values()))
        own = problem.get("data") or {}
        if own.get("layout") == kind:
            if own.get("volumes", False) != getattr(config, "volumes", False):
                continue
            found.append((name, read.get("location") or "."))
        elif read["source"]["kind"] == _READ_WHOLE.get(kind):
            found.append((name, "."))
    return found
