"""Decoded pictures to canonical tables: the order of rows, subjects, and which pictures are the same."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from medai.sources.files import token_of
from medai.sources.image_folder.decoding import FAULTS, Decoded
from medai.sources.image_folder.finding import Found, composed
from medai.sources.pictures import STANDING, conflicts_of, copies_of, twins_of
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

FILE_IMAGES = IMAGES | {"aspect": "float32", "fault": "string", "of_another_subject": "bool"}
"""Column → type. ``aspect`` is the longer side over the shorter one; ``fault`` is why a picture was not read, null
where it was; ``of_another_subject`` marks a copy whose pixels stand earlier in the role under another subject.
``label_conflict`` marks pixels that carry another label anywhere in the set."""

NOBODY = "unknown_subject"


class Rows(NamedTuple):
    """Files, pictures and the site's own subjects in the order of rows, and that order: row → place as found."""

    files: list[Found]
    pictures: list[Decoded]
    subjects: list[str | None]
    order: np.ndarray


def subjects_of(pattern: str | None, names: Sequence[str]) -> list[str | None]:
    """The site's own subject of each file; None where the pattern does not match, or there is no pattern.

    Names are composed first: one patient's name in two of Unicode's spellings is one subject.

    >>> subjects_of("(?P<subject>person[0-9]+)_", ["person7_virus_2.jpeg", "scan.jpeg"])
    ['person7', None]
    """
    if pattern is None:
        return [None] * len(names)
    search = re.compile(composed(pattern)).search
    matches = [search(composed(name)) for name in names]
    return [(match["subject"] or None) if match else None for match in matches]


def arrange(files: Sequence[Found], pictures: Sequence[Decoded], subjects: Sequence[str | None]) -> Rows:
    """Order rows by role, content, label and subject; rows still equal are equal in every column."""
    import numpy as np

    def place(at: int) -> tuple[object, ...]:
        file, picture = files[at], pictures[at]
        return (
            STANDING[file.role], picture.content_hash, -1 if file.label is None else file.label, subjects[at] or "",
            picture.height, picture.width, picture.channels, picture.bits,
        )  # fmt: skip

    order = sorted(range(len(files)), key=place)  # stable: what is equal stays in the order of names
    return Rows(
        [files[at] for at in order],
        [pictures[at] for at in order],
        [subjects[at] for at in order],
        np.array(order, np.int64),
    )


def rearrange(pixels: np.ndarray, order: np.ndarray) -> None:
    """Put row ``order[k]`` at row k, in place: along each cycle of the order, with one row to spare."""
    done = [False] * len(order)
    for start in range(len(order)):
        if done[start]:
            continue
        spare, at = pixels[start].copy(), start
        while not done[at]:
            done[at] = True
            source = int(order[at])
            pixels[at] = spare if source == start else pixels[source]
            at = source


def write(rows: Rows, folder: Path, *, named: bool, labelled: bool) -> Facts:
    """Write images, labels, identifiers and picture_identifiers.

    Args:
        rows: from ``arrange``.
        named: whether file names tell the subject; otherwise each distinct content is one.
        labelled: without labels, for prediction, a name that tells nobody makes its content a subject; and nothing is
            marked that is a fault only of what is learnt or judged.
    """
    import numpy as np

    roles = [file.role for file in rows.files]
    hashes = [picture.content_hash for picture in rows.pictures]
    labels = [file.label for file in rows.files]
    known = named and (labelled or any(rows.subjects))
    people = [
        person if (named and labelled) or person is not None else content
        for person, content in zip(rows.subjects, hashes, strict=True)
    ]
    faults = [
        picture.fault or (NOBODY if person is None else None)
        for picture, person in zip(rows.pictures, people, strict=True)
    ]
    within = list(zip(roles, hashes, strict=True))
    twins, copies, conflicts = twins_of(roles, hashes), copies_of(within), conflicts_of(hashes, labels)
    first = dict(reversed(list(zip(within, people, strict=True))))
    others = [labelled and first[key] != person for key, person in zip(within, people, strict=True)]
    site_ids = sorted({person for person in people if person is not None})
    ids = dict(zip(site_ids, subject_ids("image_folder", site_ids), strict=True))
    count = len(hashes)
    pictures = rows.pictures
    columns = {
        "row_id": np.arange(count, dtype=np.int64),
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
    }
    tables = {
        "images": write_table(folder / "images.parquet", table_of(columns, FILE_IMAGES)),
        "labels": write_table(
            folder / "labels.parquet",
            table_of({"row_id": columns["row_id"], "label": labels}, {"row_id": "int64", "label": "int64"}),
        ),
    }
    identifiers = {"subject_id": [ids[person] for person in site_ids], "site_id": site_ids}
    write_table(
        folder / "identifiers.parquet", table_of(identifiers, IDENTIFIERS).sort_by("subject_id"), mode=OWNER_ALONE
    )
    places = {"row_id": columns["row_id"], "site_id": [file.place for file in rows.files]}
    write_table(folder / "picture_identifiers.parquet", table_of(places, PICTURE_IDENTIFIERS), mode=OWNER_ALONE)
    noticed = Counter(fault for fault in faults if fault is not None)
    counts = {fault: noticed[fault] for fault in (*FAULTS, NOBODY)}
    readable = [at for at in range(count) if faults[at] is None]
    counts |= {
        "twin_in_another_role": sum(twins[at] is not None for at in readable),
        "copy_in_same_role": sum(copies[at] > 0 for at in readable),
        "copy_of_another_subject": sum(others[at] for at in readable),
        "label_conflict": sum(conflicts[at] for at in readable),
    }
    counts = {reason: number for reason, number in counts.items() if number}
    if (
        any(roles) and None not in labels
    ):  # said even when nobody straddles: whoever asks for the publisher's split must know
        counts["subjects_straddling_publisher_roles"] = _straddling([(people[at], roles[at]) for at in readable])
    return Facts(unit="patient" if known else "image", tables=tables, counts=counts)


def _aspect(picture: Decoded) -> float:
    shorter, longer = sorted((picture.height, picture.width))
    return longer / shorter if shorter else 0.0


def _straddling(stands: Sequence[tuple[str | None, str | None]]) -> int:
    """How many subjects stand in more than one of the publisher's roles."""
    return sum(number > 1 for number in Counter(person for person, _ in set(stands)).values())
