"""Decoded pictures to canonical tables: the order of rows, subjects, and which pictures are the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from medai.sources.files import token_of
from medai.sources.pictures.decoding import FAULTS, Decoded
from medai.sources.pictures.likeness import likeness_of, near_groups, near_marks, near_pairs
from medai.sources.pictures.quality import SIDE, Quality
from medai.sources.pictures.sameness import STANDING, conflicts_of, copies_of, twins_of
from medai.sources.pictures.workers import REASONS
from medai.tables import (
    IDENTIFIERS,
    IMAGES,
    OWNER_ALONE,
    PICTURE_IDENTIFIERS,
    Facts,
    subject_ids,
    table_of,
    write_table,
)

if TYPE_CHECKING:
    import numpy as np

QUALITY = {"black": "float32", "white": "float32", "entropy": "float32", "sharpness": "float32", "phash": "int64"}
"""Column → type, of ``quality.Quality``."""
FILE_IMAGES = (
    IMAGES
    | QUALITY
    | {
        "aspect": "float32",
        "fault": "string",
        "of_another_subject": "bool",
        "likeness": "float32",
        "near_twin_of": "string",
        "near_another_subject": "bool",
        "near_group": "int64",
    }
)
"""Column → type. ``aspect`` is the longer side over the shorter one; ``fault`` is why a picture was not read, null
where it was; ``of_another_subject`` marks a copy whose pixels stand earlier in the role under another subject.
``label_conflict`` marks pixels that carry another label anywhere in the set. ``black``, ``white``, ``entropy``,
``sharpness`` and ``phash`` are of ``quality.Quality``, ``likeness`` of ``likeness.likeness_of``. ``near_twin_of`` names
the role of higher standing that holds a near-duplicate, ``near_another_subject`` marks that one stands earlier in the
role under another subject; copies of equal pixels are not meant. ``near_group`` is the first row of the pictures, equal
or nearly so, that are filed under several subjects; null for most."""

NOBODY = "unknown_subject"
ONE_LABEL = {"label": "int64"}
"""Label column → type, where each picture has one class."""


class Entry(NamedTuple):
    """What a reader knows of a picture before it is decoded.

    Attributes:
        place: where it lies below the data, with its frame where a file holds several; for the owner alone.
        role: the publisher's role; None where there is none.
        subject: the site's own subject; None where nobody can tell.
        labels: a value a label column; None where untold.
        attributes: a value an attribute column (age, sex, view, …); None where unknown.
    """

    place: str
    role: str | None
    subject: str | None
    labels: tuple[Any, ...]
    attributes: tuple[Any, ...] = ()


def arrange(entries: Sequence[Entry], pictures: Sequence[Decoded]) -> np.ndarray:
    """The order of rows, (rows,) int64: row → place as found.

    By role, content, labels, subject and attributes; rows still equal are equal in every column.
    """
    import numpy as np

    def place(at: int) -> tuple[object, ...]:
        entry, picture = entries[at], pictures[at]
        return (
            STANDING[entry.role], picture.content_hash, _known_last(entry.labels), entry.subject or "",
            picture.height, picture.width, picture.channels, picture.bits, _known_last(entry.attributes),
        )  # fmt: skip

    return np.array(sorted(range(len(entries)), key=place), np.int64)  # stable: what is equal stays in the order found


def _known_last(values: Sequence[Any]) -> tuple[tuple[bool, Any], ...]:
    """Values that can be compared though some are None: those first."""
    return tuple((value is not None, 0 if value is None else value) for value in values)


def write(
    kind: str,
    entries: Sequence[Entry],
    pictures: Sequence[Decoded],
    folder: Path,
    *,
    labels: Mapping[str, str] = ONE_LABEL,
    attributes: Mapping[str, str] | None = None,
    named: bool = True,
    labelled: bool = True,
    view: str | None = None,
) -> Facts:
    """Write images, labels, identifiers and picture_identifiers.

    Args:
        kind: of the source; a subject's number is known by it and the site's own subject.
        entries, pictures: in the order of rows.
        folder: where the tables go.
        labels: label column → type.
        attributes: attribute column → type; columns of ``IMAGES`` that are null otherwise (``time``, ``known_time``,
            ``frame``) may be among them.
        named: whether entries tell subjects; otherwise each distinct content is one.
        labelled: without labels, for prediction, an entry that tells nobody makes its content a subject; and nothing is
            marked that is a fault only of what is learnt or judged.
        view: the attribute whose values tell pictures apart that cannot look alike; None: all are peers.
    """
    import numpy as np

    attributes = attributes or {}
    roles = [entry.role for entry in entries]
    hashes = [picture.content_hash for picture in pictures]
    told = [entry.labels for entry in entries]
    known = named and (labelled or any(entry.subject for entry in entries))
    people = [
        entry.subject if (named and labelled) or entry.subject is not None else content
        for entry, content in zip(entries, hashes, strict=True)
    ]
    faults = [
        picture.fault or (NOBODY if person is None else None) for picture, person in zip(pictures, people, strict=True)
    ]
    within = list(zip(roles, hashes, strict=True))
    twins, copies, conflicts = twins_of(roles, hashes), copies_of(within), conflicts_of(hashes, told)
    first = dict(reversed(list(zip(within, people, strict=True))))
    others = [labelled and first[key] != person for key, person in zip(within, people, strict=True)]
    readable = [at for at, fault in enumerate(faults) if fault is None]
    thumbnails = _thumbnails(pictures)
    views = [entry.attributes[list(attributes).index(view)] if view else None for entry in entries]
    likeness = likeness_of(thumbnails, views, [fault is None for fault in faults])
    near_twins, near_others, groups = _near(hashes, roles, people, pictures, thumbnails, readable if labelled else [])
    site_ids = sorted({person for person in people if person is not None})
    ids = dict(zip(site_ids, subject_ids(kind, site_ids), strict=True))
    count = len(hashes)
    rows = np.arange(count, dtype=np.int64)
    columns = {
        "row_id": rows,
        "subject_id": [None if person is None else ids[person] for person in people],
        "source_id": [
            f"{role or 'pictures'}/{token_of(content)}/{copy}"
            for role, content, copy in zip(roles, hashes, copies, strict=True)
        ],
        "publisher_role": roles,
        "frame": np.zeros(count, np.int32),
        "height": [picture.height for picture in pictures],
        "width": [picture.width for picture in pictures],
        "channels": [picture.channels for picture in pictures],
        "bits": [picture.bits for picture in pictures],
        "mean": np.array([picture.levels[0] for picture in pictures], np.float32),
        "std": np.array([picture.levels[1] for picture in pictures], np.float32),
        "minimum": [int(picture.levels[2]) for picture in pictures],
        "maximum": [int(picture.levels[3]) for picture in pictures],
        "content_hash": hashes,
        "twin_of": twins,
        "copy_number": copies,
        "label_conflict": conflicts,
        "aspect": np.array([_aspect(picture) for picture in pictures], np.float32),
        "fault": faults,
        "of_another_subject": others,
        **quality_columns([picture.quality for picture in pictures]),
        "likeness": likeness,
        "near_twin_of": near_twins,
        "near_another_subject": near_others,
        "near_group": groups,
    }
    columns |= {name: [entry.attributes[at] for entry in entries] for at, name in enumerate(attributes)}
    label_columns = {name: [values[at] for values in told] for at, name in enumerate(labels)}
    tables = {
        "images": write_table(folder / "images.parquet", table_of(columns, FILE_IMAGES | dict(attributes))),
        "labels": write_table(
            folder / "labels.parquet", table_of({"row_id": rows, **label_columns}, {"row_id": "int64", **labels})
        ),
    }
    identifiers = {"subject_id": [ids[person] for person in site_ids], "site_id": site_ids}
    write_table(
        folder / "identifiers.parquet", table_of(identifiers, IDENTIFIERS).sort_by("subject_id"), mode=OWNER_ALONE
    )
    places = {"row_id": rows, "site_id": [entry.place for entry in entries]}
    write_table(folder / "picture_identifiers.parquet", table_of(places, PICTURE_IDENTIFIERS), mode=OWNER_ALONE)
    noticed: Counter[str] = Counter(fault for fault in faults if fault is not None)
    order = (*FAULTS, *REASONS, NOBODY)
    counts = {fault: noticed[fault] for fault in (*order, *sorted(set(noticed) - set(order)))}
    counts |= {
        "twin_in_another_role": sum(twins[at] is not None for at in readable),
        "copy_in_same_role": sum(copies[at] > 0 for at in readable),
        "copy_of_another_subject": sum(others[at] for at in readable),
        "label_conflict": sum(conflicts[at] for at in readable),
        "near_twin_in_another_role": sum(twin is not None for twin in near_twins),
        "near_copy_of_another_subject": sum(near_others),
    }
    counts = {reason: number for reason, number in counts.items() if number}
    if any(roles) and labelled:  # said even when nobody straddles: whoever asks for the publisher's split must know
        counts["subjects_straddling_publisher_roles"] = _straddling([(people[at], roles[at]) for at in readable])
    return Facts(unit="patient" if known else "image", tables=tables, counts=counts)


def quality_columns(qualities: Sequence[Quality]) -> dict[str, Any]:
    """The columns of ``QUALITY``, a row a picture; one that was not read has no perceptual hash."""
    import numpy as np

    columns: dict[str, Any] = {
        name: np.array([getattr(quality, name) for quality in qualities], np.float32)
        for name in ("black", "white", "entropy", "sharpness")
    }
    return columns | {"phash": [quality.phash if quality.thumbnail else None for quality in qualities]}


def _thumbnails(pictures: Sequence[Decoded]) -> np.ndarray:
    """(pictures, SIDE, SIDE) uint8; black for those that were not read."""
    import numpy as np

    blank = bytes(SIDE * SIDE)
    joined = b"".join(picture.quality.thumbnail or blank for picture in pictures)
    return np.frombuffer(joined, np.uint8).reshape(-1, SIDE, SIDE)


def _near(
    hashes: Sequence[str],
    roles: Sequence[str | None],
    people: Sequence[str | None],
    pictures: Sequence[Decoded],
    thumbnails: np.ndarray,
    readable: Sequence[int],
) -> tuple[list[str | None], list[bool], list[int | None]]:
    """``near_twin_of``, ``near_another_subject`` and ``near_group`` of each row; each content is compared once."""
    import numpy as np

    contents = sorted({hashes[at]: at for at in reversed(readable) if pictures[at].levels[1] > 0}.values())
    pairs = near_pairs([pictures[at].quality.phash for at in contents], thumbnails[contents])
    places = np.array(contents, np.int64)[pairs].tolist()
    twins: list[str | None] = [None] * len(hashes)
    others = [False] * len(hashes)
    marked = near_marks(places, hashes, roles, people)
    for at in readable:
        twins[at], others[at] = marked[0][at], marked[1][at]
    meant = set(readable)
    subjects = [person if at in meant else None for at, person in enumerate(people)]
    return twins, others, near_groups(places, hashes, subjects)


def _aspect(picture: Decoded) -> float:
    shorter, longer = sorted((picture.height, picture.width))
    return longer / shorter if shorter else 0.0


def _straddling(stands: Sequence[tuple[str | None, str | None]]) -> int:
    """How many subjects stand in more than one of the publisher's roles."""
    return sum(number > 1 for number in Counter(person for person, _ in set(stands)).values())
