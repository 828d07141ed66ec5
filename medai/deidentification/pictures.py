"""One DICOM file to one rewritten file, or to the reason why not."""

from __future__ import annotations

import copy
import hashlib
import io
import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from medai.deidentification import burned_in, pixels, regions
from medai.deidentification.attributes import PIXELS, meaning_of, rule_of
from medai.deidentification.header import STAMPS, rewrite, stamp_cleaned
from medai.deidentification.keys import Key
from medai.deidentification.outcomes import Outcome, SetAside
from medai.deidentification.told import reading, value_of
from medai.paths import NotPlain, read_plain
from medai.vocabularies.dicom import terms

if TYPE_CHECKING:
    from pydicom.dataset import Dataset, FileDataset

    from medai.deidentification.regions import Regions

VERSION = 3
IMPLEMENTATION = "2.25.241478531672894331206716380237041294753"
"""Who wrote the file: a UID of medai's own."""
_PREFIX, _LETTERS = 128, b"DICM"
LARGEST = 2 << 30
"""Bytes of a file that is read; an uncompressed volume takes a quarter of it."""
_NEEDED = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")


class Order(NamedTuple):
    """One file to rewrite.

    Attributes:
        source: the file.
        staged: where its new content goes, for whoever gave the order to put it in its place.
    """

    source: Path
    staged: Path


def rewrite_file(order: Order, secret: bytes, rules: Regions | None = None) -> Outcome:
    """Rewrite one file; never raises for what the file is.

    Args:
        secret: the key's bytes.
        rules: where the site vouches that its devices write.

    Raises:
        OSError: its new content cannot be written.
    """
    try:
        if order.source.stat().st_size > LARGEST:
            return Outcome(reason="too_large")
        data = read_plain(order.source)
    except NotPlain:
        return Outcome(reason="no_file")
    except OSError:
        return Outcome(reason="unreadable")
    try:
        content, place, named, actions = rewritten(data, Key(secret), rules)
    except SetAside as aside:
        return Outcome(reason=aside.reason)
    order.staged.write_bytes(content)
    return Outcome(place=place, sha256=hashlib.sha256(content).hexdigest(), named=named, actions=actions)


def prepare() -> None:
    """Import what each worker needs, once for all of them."""
    import cv2
    import pydicom.pixels  # noqa: F401 - imported for whoever imports it again

    meaning_of("DCM", "")
    rule_of(0x00100010, "PN")
    cv2.setNumThreads(1)


def rewritten(data: bytes, key: Key, rules: Regions | None = None) -> tuple[bytes, str, bool, dict[str, int]]:
    """A file's new bytes, its place, whether it named its patient, and what was done.

    Args:
        rules: a picture that one of them describes is blanked there; without one, text sets a picture aside.

    Raises:
        SetAside: it cannot be rewritten so that nothing is left.
    """
    if data[_PREFIX : _PREFIX + 4] != _LETTERS:
        raise SetAside("not_dicom")
    with _quietly():
        old = _parsed(data)
        syntax = pixels.syntax_of(old)
        if not any(tag in old for tag in PIXELS) or "Rows" not in old:
            raise SetAside("no_picture")
        _refuse_nameless(old)
        told = burned_in.told(old)
        region = rules.of(old) if told is not None and rules is not None else None
        if told is not None and region is None:
            raise SetAside(told)
        if region is not None:
            syntax = regions.plain(old, syntax, syntax not in pixels.NATIVE)
        done = rewrite(old, key)
        new = done.dataset
        _refuse_nameless(new)  # an attribute of another type than the standard's has gone
        pixels.clean(old, new, syntax)
        if region is not None:
            regions.blank(new, region, pixels.NATIVE[syntax])
            stamp_cleaned(new)
            done.actions["blank", "the site's regions"] += len(region.blank)
        content = _bytes_of(new, syntax)
        pixels.refuse_text(_parsed(content), content)
        _refuse_left(new, done.secrets)
    actions = {f"{what}: {why}": count for (what, why), count in sorted(done.actions.items())}
    return content, _place(new), done.patient is not None, actions


def _parsed(data: bytes) -> FileDataset:
    from pydicom import dcmread

    with reading():
        return dcmread(io.BytesIO(data))


def _refuse_nameless(dataset: Dataset) -> None:
    """Refuse a picture without its own UIDs, each of one value.

    Raises:
        SetAside: one is missing, or several stand in its place.
    """
    told = [value_of(dataset, name) for name in _NEEDED]
    if not all(isinstance(uid, str) and uid for uid in told):
        raise SetAside("damaged")


@contextmanager
def _quietly() -> Iterator[None]:
    """pydicom's warnings and log repeat values."""
    from pydicom import config

    before = config.settings.reading_validation_mode
    logger = logging.getLogger("pydicom")
    disabled = logger.disabled
    config.settings.reading_validation_mode, logger.disabled = config.IGNORE, True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        config.settings.reading_validation_mode, logger.disabled = before, disabled


def _bytes_of(dataset: Dataset, syntax: str) -> bytes:
    """The file: an empty preamble, a file meta of its own (PS3.10 7.1), the data set."""
    from pydicom import dcmwrite
    from pydicom.dataset import FileMetaDataset

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = syntax
    meta.ImplementationClassUID = IMPLEMENTATION
    meta.ImplementationVersionName = "MEDAI"
    dataset.file_meta, dataset.preamble = meta, b"\0" * _PREFIX
    buffer = io.BytesIO()
    with reading():  # a value that its type cannot hold shows only now
        dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def _place(dataset: Dataset) -> str:
    """Patient, study, series and instance, each by its pseudonym."""
    parts = (dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID)
    return "/".join([str(dataset.PatientID), *(_short(str(part)) for part in parts)]) + ".dcm"


def _short(uid: str) -> str:
    """The last 96 bits of a UID of ours, in hexadecimal digits."""
    return f"{int(uid.rpartition('.')[2]):x}"[-24:]


def _refuse_left(dataset: Dataset, secrets: frozenset[str]) -> None:
    """Look once more, at the bytes of the header, for what the file told of its patient.

    The stamps are medai's own words: a patient whose name is one of them (Test^Patient) is not left in them.

    Raises:
        SetAside: it is still there.
    """
    header = copy.copy(dataset)
    for tag in (*PIXELS, *STAMPS):
        if tag in header:
            del header[tag]
    text = _bytes_of(header, "1.2.840.10008.1.2.1")
    for secret in secrets:
        word = secret.encode("ascii", "ignore")
        if len(word) < len(secret) or secret.upper() in terms().codes or (word.isdigit() and len(word) < 6):
            continue
        if re.search(rb"(?<![\w.])" + re.escape(word) + rb"(?![\w.])", text, re.IGNORECASE):
            raise SetAside("identifier_left")
