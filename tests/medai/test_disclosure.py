"""The guard on the way out: it finds a snapshot's identifiers, and takes no figure for one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from medai.disclosure import Guard, leaves, page_text
from medai.errors import MedaiError
from medai.records import Snapshot
from medai.tables import IDENTIFIERS, PICTURE_IDENTIFIERS, table_of, write_table
from medai.workspace import Workspace

IDS = (
    "person17",
    "Mustermann-0042/b",
    "10000032",
    "132539",
    "Okonkwo",
    "17",
    "train/3",
    "unknown",
    "Zo\u00eb Li\u00e9nard",
    "IM-0117",
)


@pytest.fixture(scope="module")
def guard() -> Guard:
    """Knows some ids."""
    return Guard(IDS)


@pytest.mark.parametrize(
    "text",
    [
        "PERSON17", "a file person17.png of many", "mustermann_0042:B", "subject 10000032 died",
        "x=10000032", "/a/132539.txt",
        "Okonkwo's", "of ZO\u00cb LI\u00c9NARD, 3 pictures",
        "im_0117.png", '{"level": "person17"}', "10000032.",
        "patient 17", "the subject_id=17 was", "Subject: 132539", '{"hadm_id": 132539}', "stay #17.",
    ],
)  # fmt: skip
def test_identifiers_are_found(text: str, guard: Guard) -> None:
    """In any case, with other signs between their words, in sentences, paths and JSON."""
    assert guard.finds(text)


@pytest.mark.parametrize(
    "text",
    [
        "person1", "person177", "mustermann 42 b", "0042 b mustermann", "132539 of 400000 rows", "132539", "1.10000032",
        "10000032.5",
        "train/3 and unknown: 17", "12,10000032", "zoe lienard", "", "Okonkwos", "a10000032b",
        "im 117", "0117",
        "17 patients", "subjects: 17", "patient 17 of 40", "patient 18", "patient 1", "patient 170", "subject 17.5",
        "inpatient 17", "patients 132539",
    ],
)  # fmt: skip
def test_figures_and_other_words_pass(text: str, guard: Guard) -> None:
    """Counts, decimals, other ids, and ids that are too short to be told from anything else, which are counted."""
    assert not guard.finds(text)
    assert (guard.blind, guard.size) == (3, 7)


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ({"levels": [{"name": "a"}, {"name": "of Okonkwo"}]}, "levels.1.name"),
        ({"rows": {"subject_id": 10000032}}, "rows.subject_id"),
        ({"levels": {"person17": 3}}, "levels"),
        ({"person17": {"name": "person17"}}, "the text"),
        (b"\xff person17", "the text"),
    ],
)
def test_what_names_somebody_is_refused(value: Any, field: str, guard: Guard) -> None:
    """As a defect of ours, status 1, by its field; the value is never repeated."""
    with pytest.raises(MedaiError) as raised:
        guard.refuse("the page", value)
    assert raised.value.exit_status == 1
    assert raised.value.received == f"one of the snapshot's identifiers in {field}"
    assert not guard.finds(str(raised.value))


def test_numbers_that_are_no_ids_pass(guard: Guard) -> None:
    """A count or a score may be any number."""
    guard.refuse("a record", {"counts": {"rows": 10000032, "subjects": 132539}, "value": 0.5, "on": True, "of": None})
    assert list(leaves({"a": [1, "b"]})) == [("", "a"), ("a.1", "b")]


def test_a_page_is_read_without_pictures_and_coordinates(guard: Guard) -> None:
    """A data URI or a path of a drawing may hold any signs; what is said, and a title or a link, is looked at."""
    drawn = '<style>.person17{}</style><img src="data:image/png;base64,person17/"><path d="10000032 1" x="10000032"/>'
    assert not guard.finds(page_text(drawn))
    assert guard.finds(page_text('<a title="person17">x</a>'))
    assert guard.finds(page_text("<td>person17</td>"))


def test_a_snapshot_says_whom_to_look_for(tmp_path: Path) -> None:
    """Ids, and names of pictures' files with and without their folders; a content's hash is nobody's name."""
    workspace = Workspace(tmp_path)
    snapshot = Snapshot(key="0" * 32, shape="images", source="x", unit="patient", data_sha256="0" * 64, tables={})
    folder = workspace.folder("ingest", snapshot.key)
    folder.mkdir(parents=True)
    assert not Guard.of(workspace, snapshot).finds("anything")
    people = {"subject_id": [1, 2], "site_id": ["Okonkwo", "ab" * 32]}
    places = {"row_id": [0], "site_id": ["train/NORMAL/IM-0117-0001.jpeg"]}
    write_table(folder / "identifiers.parquet", table_of(people, IDENTIFIERS))
    write_table(folder / "picture_identifiers.parquet", table_of(places, PICTURE_IDENTIFIERS))
    guard = Guard.of(workspace, snapshot)
    assert guard.finds("Okonkwo")
    assert not guard.finds("ab" * 32)
    assert not guard.finds("NORMAL")
    assert guard.finds("IM-0117-0001.png")


def test_many_patients_cost_little() -> None:
    """100,000 ids, and a page of 200,000 words, in seconds on a busy machine."""
    import time

    start = time.process_time()
    guard = Guard(f"patient{number:06d}" for number in range(100_000))
    assert not guard.finds("word 12 0.345 " * 60_000)
    assert guard.finds("word " * 1000 + "patient099999")
    assert time.process_time() - start < 5
