"""What the publisher's table and lists say of each picture; no picture is opened.

Messages name a row by its number (the header is row 1), never a file or a patient.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from medai.errors import DataRefused, near_match
from medai.sources.ages import years_of
from medai.sources.files import look, other_kind, what_is

FINDINGS = (
    "Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Effusion", "Emphysema", "Fibrosis", "Hernia",
    "Infiltration", "Mass", "Nodule", "Pleural_Thickening", "Pneumonia", "Pneumothorax",
)  # fmt: skip
NO_FINDING = "No Finding"
COLUMNS = ("image index", "finding labels", "follow-up #", "patient id", "patient age", "view position")
SEX_COLUMNS = ("patient gender", "patient sex")
"""How the releases call it; a table has one of them."""
LISTS = {"train_val_list.txt": "train", "test_list.txt": "test"}
"""List → the publisher's role of the pictures on it."""
NAME = re.compile(r"(?P<subject>[0-9]{8})_[0-9]{3,}\.png")
_TEXT = what_is(b"text")
_HEADER_BYTES = 1 << 12


class Listed(NamedTuple):
    """A row of the table.

    Attributes:
        name: of the picture's file.
        role: train or test; None without lists.
        patient: the publisher's number.
        findings: which of ``FINDINGS`` it shows.
        age: whole years, 90 for all over 89; an impossible age as it is written; None for none.
        sex: F or M; view: AP or PA; None where it is neither.
        follow_up: number of the patient's earlier pictures.
    """

    name: str
    role: str | None
    patient: str
    findings: frozenset[str]
    age: int | None
    sex: str | None
    view: str | None
    follow_up: int | None


class Listing(NamedTuple):
    """The rows in the table's order, what was noticed, and how many rows were left out for a fault of theirs."""

    rows: list[Listed]
    counts: dict[str, int]
    dropped: int


def table_of_archive(folder: Path) -> Path:
    """The one ``Data_Entry_2017*.csv`` of the folder.

    Raises:
        DataRefused: there is none, several, or it is no text.
    """
    tables = sorted(folder.glob("Data_Entry_2017*.csv"))
    if len(tables) != 1:
        raise DataRefused(
            "the table of the pictures is not there" if not tables else "there are several tables of the pictures",
            expected="one Data_Entry_2017*.csv beside the folders of pictures",
            received=f"{len(tables)} of them",
            action="fetch it from the publisher" if not tables else "keep the release that is meant",
        )
    received = look(tables[0], "the table of the pictures")
    if received != _TEXT:
        raise other_kind("the table of the pictures", "a CSV file", received)
    return tables[0]


def lists_of_archive(folder: Path) -> dict[str, Path]:
    """The publisher's two lists, by role; none of them, where neither is there.

    Raises:
        DataRefused: one is missing, or is no text.
    """
    found = {role: folder / name for name, role in LISTS.items() if (folder / name).exists()}
    if len(found) == 1:
        raise DataRefused(
            "one of the publisher's two lists is missing",
            expected=" and ".join(LISTS),
            received="one of them",
            action="fetch the other one from the publisher, or remove both and use split kind keyed_hash",
        )
    for role, path in found.items():
        received = look(path, f"the publisher's list for {role}")
        if received != _TEXT:
            raise other_kind(f"the publisher's list for {role}", "a text file", received)
    return found


def read_listing(folder: Path) -> Listing:
    """Every row of the table that says clearly what it says.

    A row is left out and counted where it names no picture, where the patient is not the one of the picture's name, or
    where it says "No Finding" beside a finding. Rows that are equal in everything are one.

    Raises:
        DataRefused: the table is not as published, a finding is not known, a picture has two different rows, or stands
            on both lists.
    """
    from medai.sources.relational.csv_text import read_whole

    table = table_of_archive(folder)
    sex = _sex_column(table)
    frame = read_whole("Data_Entry_2017", table, (*COLUMNS, sex), "", Counter())
    roles = _roles(lists_of_archive(folder))
    rows: dict[str, Listed] = {}
    counts: Counter[str] = Counter()
    dropped = Counter[str]()
    for number, cells in enumerate(frame.iter_rows(), start=2):
        name, labels, follow_up, patient, age, view, gender = (cell.strip() for cell in cells)
        found = NAME.fullmatch(name)
        if found is None or not patient.isdecimal():
            dropped["row_without_picture_or_patient"] += 1
            continue
        if int(found["subject"]) != int(patient):
            dropped["patient_unlike_the_pictures_name"] += 1
            continue
        findings = _findings(labels, number)
        if findings is None:
            dropped["no_finding_beside_findings"] += 1
            continue
        row = Listed(
            name=name,
            role=roles.get(name),
            patient=str(int(patient)),
            findings=findings,
            age=years_of(age),
            sex=gender.upper() if gender.upper() in ("F", "M") else None,
            view=view.upper() if view.upper() in ("AP", "PA") else None,
            follow_up=int(follow_up) if follow_up.isdecimal() and len(follow_up) < 6 else None,
        )
        counts["same_row_twice"] += rows.get(name) == row
        if rows.setdefault(name, row) != row:
            raise DataRefused(
                f"row {number} of Data_Entry_2017 is a second one for a picture",
                expected="one row a picture",
                received="two that differ",
                action="fetch the table again from its publisher",
            )
    counts["picture_on_no_list"] = sum(row.role is None for row in rows.values()) if roles else 0
    for reason in ("age", "sex", "view"):
        counts[f"not_recorded_{reason}"] = sum(getattr(row, reason) is None for row in rows.values())
    told = {reason: count for reason, count in (counts + dropped).items() if count}
    return Listing(list(rows.values()), told, dropped.total())


def _sex_column(table: Path) -> str:
    """What this release calls the sex."""
    with table.open("rb") as file:
        header = file.read(_HEADER_BYTES).partition(b"\n")[0].decode("utf-8", "replace").lower()
    return next((name for name in SEX_COLUMNS if name in header), SEX_COLUMNS[0])


def _findings(labels: str, number: int) -> frozenset[str] | None:
    """The findings that a cell names; None where it denies them and names some.

    Raises:
        DataRefused: one is not known.
    """
    known = {_folded(finding): finding for finding in (*FINDINGS, NO_FINDING)}
    named = set()
    for word in labels.split("|"):
        finding = known.get(_folded(word))
        if finding is None:
            raise DataRefused(
                f"row {number} of Data_Entry_2017 names a finding that is not known",
                expected=f"{', '.join(FINDINGS)}, joined by |, or {NO_FINDING}",
                received=f"another word; {near_match(_folded(word), known)}",
                action="fetch the table again from its publisher, or correct the word",
            )
        named.add(finding)
    if NO_FINDING in named:
        return frozenset() if len(named) == 1 else None
    return frozenset(named)


def _folded(word: str) -> str:
    return word.strip().lower().replace(" ", "_")


def _roles(lists: dict[str, Path]) -> dict[str, str]:
    """Picture → the publisher's role."""
    roles: dict[str, str] = {}
    for role, path in lists.items():
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
            name = line.strip()
            if name and NAME.fullmatch(name) is None:
                raise _refused_line(role, number, "something else")
            if name and roles.setdefault(name, role) != role:
                raise _refused_line(role, number, "a picture that the other list names, too")
    return roles


def _refused_line(role: str, number: int, received: str) -> DataRefused:
    return DataRefused(
        f"line {number} of the publisher's list for {role} cannot be followed",
        expected="a picture's name a line, each on one list",
        received=received,
        action="fetch the list again from its publisher",
    )
