"""Decoded DICOM files as canonical tables: a row a frame, what is known of it, and what was mixed up."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from medai.errors import DataRefused
from medai.sources.dicom import decoding
from medai.sources.dicom.decoding import Answer, Picture, Target
from medai.sources.dicom.finding import Found
from medai.sources.dicom.headers import Facts as Told
from medai.sources.dicom.headers import Header
from medai.sources.dicom.labels import Labels, Values, key_of
from medai.sources.dicom.masks import MASKED, Masks, masks_of
from medai.sources.dicom.rendering import Window
from medai.sources.dicom.waiting import Laid, Place, Waiting, decode_aside
from medai.sources.pictures import tables
from medai.sources.pictures.filling import hash_of_file
from medai.sources.pictures.finishing import Decoded
from medai.sources.pictures.quality import Quality
from medai.sources.pictures.workers import Lost, each_decoded
from medai.tables import OWNER_ALONE, PICTURE_IDENTIFIERS, SPACING, Facts, new_pixels, table_of, write_table

if TYPE_CHECKING:
    import numpy as np

    from medai.sources.dicom import Dicom

SAID = {
    "frame": "int32",
    "time": "timestamp[us]",
    "known_time": "timestamp[us]",
    "study": "string",
    "series": "string",
    "modality": "string",
    "view": "string",
    "laterality": "string",
    "manufacturer": "string",
    "model": "string",
    "sex": "string",
    "age": "int16",
    **dict.fromkeys(SPACING, "float64"),
    "slice_position": "float64",
    "photometric": "string",
    "transfer_syntax": "string",
    "bits_allocated": "int16",
    "voi": "string",
    "burned_in": "bool",
    "view_asked": "bool",
    "modality_asked": "bool",
}
"""Column → type, beside those of every picture. ``voi`` says where the window came from: see ``rendering.levels_of``;
``spacing_…`` is of the working picture, and ``slice_position`` lies along the slices' normal, both in millimetres;
``model`` is a token; ``…_asked`` is false where the file says another than the source's ``views`` or ``modalities``,
and null where nothing was asked or said."""

DICOM_IDENTIFIERS = PICTURE_IDENTIFIERS | {
    "sop_instance_uid": "large_string",
    "series_instance_uid": "large_string",
    "study_instance_uid": "large_string",
    "accession_number": "large_string",
}
"""Column → type, for the owner alone. ``site_id`` is the file's place below the data, with #frame where it has several
rows."""

NO_PICTURE = "no_pixels"
MIXED, TWICE = "study_of_several_patients", "uid_of_several_pictures"


class Row(NamedTuple):
    """A picture, its file's place, what the file said, and where its pixels wait (None: nowhere)."""

    place: str
    picture: Picture
    told: Told | None
    header: Header | None
    syntax: str | None
    waiting: Place | None


class Taken(NamedTuple):
    """Every row in the order of files and frames; how many files are sound and no pictures: reports, plans, states of a
    display; and the segmentation objects.
    """

    rows: list[Row]
    no_pictures: int
    segmentations: list[Found]


def decode_all(config: Dicom, files: Sequence[Found], waiting: Path) -> Taken:
    """Decode each file once, in workers, which lay the pixels into a folder.

    Raises:
        DataRefused: no file holds a picture.
    """
    windowing = Window(*config.window, "LINEAR") if isinstance(config.window, tuple) else config.window
    target = Target(*config.size, config.channels, config.resize == "pad", windowing, config.frames)
    rows: list[Row] = []
    segmentations: list[Found] = []
    no_pictures = 0
    decode = partial(decode_aside, target=target, folder=waiting)
    answers = each_decoded(decode, [file.path for file in files], module=decoding.__name__)
    for file, answer in zip(files, answers, strict=True):
        if not isinstance(answer, Lost) and answer.answer.segments:
            segmentations.append(file)
            continue
        for row in _rows_of(file, answer):
            if row.picture.decoded.fault == NO_PICTURE:
                no_pictures += 1
            else:
                rows.append(row)
    if not rows:
        raise DataRefused(
            "no DICOM file holds a picture",
            expected="at least one file with pixels",
            received=f"{no_pictures} files of other kinds (reports, plans, states of a display) and"
            f" {len(segmentations)} segmentations",
            action="correct --data",
        )
    return Taken(rows, no_pictures, segmentations)


def _rows_of(file: Found, laid: Laid | Lost) -> Iterator[Row]:
    if isinstance(laid, Lost):
        lost = Answer((Picture(0, Decoded(hash_of_file(file.path), laid.reason), None),), None, None, None)
        laid = Laid(lost, (None,))
    answer, several = laid.answer, len(laid.places) > 1
    for picture, waiting in zip(answer.pictures, laid.places, strict=True):
        place = f"{file.place}#{picture.frame}" if several else file.place
        yield Row(place, picture, answer.facts, answer.header, answer.syntax, waiting)


def write(
    config: Dicom, taken: Taken, waiting: Path, labels: Labels | None, folder: Path, noticed: Mapping[str, int]
) -> Facts:
    """Write pixels and tables in the order of content.

    Args:
        waiting: the folder that pixels were laid into.
        noticed: what finding counted.
    """
    rows = _without_mixed(taken.rows) if config.labelled else taken.rows
    columns: Mapping[str, str] = dict.fromkeys(("label",) if config.labels is None else config.labels.names, "int64")
    masks = None
    if config.masks is not None:
        masks = masks_of(config, config.masks, taken.segmentations, rows, waiting / "masks.npy")
        rows = [_set_aside(row, masks.faults[at]) if at in masks.faults else row for at, row in enumerate(rows)]
        columns = MASKED
    entries = [_entry(config, row, labels, len(columns)) for row in rows]
    if masks is not None:
        entries = [entry._replace(labels=masks.labels(at)) for at, entry in enumerate(entries)]
    pictures = [row.picture.decoded for row in rows]
    order = tables.arrange(entries, pictures)
    _write_pixels(config, waiting, rows, order, folder)
    if masks is not None:
        _write_masks(masks, order, folder)
    facts = tables.write(
        "dicom",
        [entries[at] for at in order],
        [pictures[at] for at in order],
        folder,
        labels=columns,
        attributes=SAID,
        labelled=config.labelled,
        view="view",
    )
    _write_identifiers([rows[at] for at in order], folder)
    apart = taken.no_pictures + (0 if config.masks else len(taken.segmentations))
    counts = dict(noticed) | {"file_without_picture": apart} | _counted(rows, entries, labels, config)
    counts |= {} if masks is None else masks.counts
    return facts.model_copy(update={"counts": facts.counts | {why: many for why, many in counts.items() if many}})


def _write_pixels(config: Dicom, waiting: Path, rows: Sequence[Row], order: np.ndarray, folder: Path) -> None:
    shape = (*config.size, config.channels)
    pixels = new_pixels(folder / "pixels.npy", (len(rows), *shape))
    pictures = Waiting(waiting, shape, "uint8")
    for row, at in enumerate(order.tolist()):
        place = rows[at].waiting
        if place is not None:
            pixels[row] = pictures.at(place)
    pixels.flush()


def _write_masks(masks: Masks, order: np.ndarray, folder: Path) -> None:
    written = new_pixels(folder / "masks.npy", masks.levels.shape)
    for row, at in enumerate(order.tolist()):
        written[row] = masks.levels[at]
    written.flush()


def _without_mixed(rows: Sequence[Row]) -> list[Row]:
    """Rows with a fault for what was mixed up: a study of several patients, a UID of several pictures."""
    people: dict[str, set[str | None]] = defaultdict(set)
    contents: dict[tuple[str, int], set[str]] = defaultdict(set)
    for row in rows:
        if row.told is not None and row.told.study is not None:
            people[row.told.study].add(row.told.patient)
        if row.told is not None and row.told.sop is not None:
            contents[row.told.sop, row.picture.frame].add(row.picture.decoded.content_hash)
    twice = {sop for (sop, _), hashes in contents.items() if len(hashes) > 1}
    kept = []
    for row in rows:
        fault = None
        if row.told is not None and row.picture.decoded.fault is None:
            if row.told.study is not None and len(people[row.told.study]) > 1:
                fault = MIXED
            elif row.told.sop in twice:
                fault = TWICE
        kept.append(row if fault is None else _set_aside(row, fault))
    return kept


def _set_aside(row: Row, fault: str) -> Row:
    """The row without its pixels; its hash is another's, so that a sound copy is not taken for its twin."""
    was = row.picture.decoded
    digest = hashlib.sha256(f"{fault}\0{was.content_hash}".encode()).hexdigest()
    bare = was._replace(content_hash=digest, fault=fault, quality=Quality())
    return row._replace(picture=row.picture._replace(decoded=bare), waiting=None)


def _entry(config: Dicom, row: Row, labels: Labels | None, columns: int) -> tables.Entry:
    values: Values = (None,) * columns
    if labels is not None and config.labels is not None:
        key = key_of(config.labels.key, row.place.partition("#")[0], row.told)
        values = labels.values.get(key, values) if key is not None else values
    told = row.told
    said: dict[str, Any] = {
        "frame": row.picture.frame,
        "transfer_syntax": row.syntax if row.header is not None else None,
        "voi": row.picture.voi,
    }
    if row.header is not None:
        said |= {"photometric": row.header.photometric, "bits_allocated": row.header.allocated}
    if told is not None:
        down, across = _spacing(config, row)
        said |= {
            "time": told.time,
            "known_time": told.known_time,
            "study": _token("study", told.study),
            "series": _token("series", told.series),
            "modality": told.modality,
            "view": told.view,
            "laterality": told.laterality,
            "manufacturer": told.manufacturer,
            "model": _token("model", told.model),
            "slice_position": told.slice_position,
            "sex": told.sex,
            "age": told.age,
            "spacing_down": down,
            "spacing_across": across,
            "burned_in": told.burned_in,
            "view_asked": _asked(told.view, config.views),
            "modality_asked": _asked(told.modality, config.modalities),
        }
    subject = None if told is None else told.patient
    return tables.Entry(row.place, None, subject, values, tuple(said.get(name) for name in SAID))


def _spacing(config: Dicom, row: Row) -> tuple[float | None, float | None]:
    """Millimetres between the rows and between the columns of the working picture; see ``finishing`` for its sizes."""
    if row.told is None or row.told.spacing is None or row.header is None:
        return None, None
    scales = [row.header.rows / config.size[0], row.header.columns / config.size[1]]
    if config.resize == "pad":
        scales = [max(scales)] * 2
    return row.told.spacing[0] * scales[0], row.told.spacing[1] * scales[1]


def _token(what: str, uid: str | None) -> str | None:
    """What tells which pictures belong together, and nothing of their UID or of what was typed."""
    return None if uid is None else hashlib.blake2b(f"medai.{what}\0{uid}".encode(), digest_size=8).hexdigest()


def _asked(said: str | None, asked: Sequence[str]) -> bool | None:
    return None if not asked or said is None else said in asked


def _write_identifiers(rows: Sequence[Row], folder: Path) -> None:
    import numpy as np

    columns: dict[str, Any] = {
        "row_id": np.arange(len(rows), dtype=np.int64),
        "site_id": [row.place for row in rows],
        "sop_instance_uid": [row.told and row.told.sop for row in rows],
        "series_instance_uid": [row.told and row.told.series for row in rows],
        "study_instance_uid": [row.told and row.told.study for row in rows],
        "accession_number": [row.told and row.told.accession for row in rows],
    }
    path = folder / "picture_identifiers.parquet"
    write_table(path, table_of(columns, DICOM_IDENTIFIERS), mode=OWNER_ALONE)


def _counted(
    rows: Sequence[Row], entries: Sequence[tables.Entry], labels: Labels | None, config: Dicom
) -> dict[str, int]:
    """What was noticed, by reason, beside the faults."""
    if labels is None or config.labels is None:
        return {}
    keys = {key_of(config.labels.key, row.place.partition("#")[0], row.told) for row in rows}
    untold = Counter(None in entry.labels for entry in entries)
    return {
        "picture_without_label": untold[True],
        "label_without_picture": len(labels.values.keys() - keys),
        "label_told_twice_differently": labels.contradicted,
    }
