"""The guard over Prefect and the logs: once the data are read, nobody in them is named."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from medai.errors import DataRefused, MedaiError
from medai.records import Snapshot
from medai.sources.pictures.workers import DecoderDefect
from medai.tables import IDENTIFIERS, table_of, write_table
from medai.workspace import Workspace
from tasks import watch

PERSON = "Mustermann-0042"


@pytest.fixture(autouse=True)
def watched(tmp_path: Path) -> Iterator[None]:
    """Data in which there is one patient."""
    before = logging.getLogRecordFactory()
    workspace = Workspace(tmp_path)
    snapshot = Snapshot(key="0" * 32, shape="images", source="x", unit="patient", data_sha256="0" * 64, tables={})
    workspace.folder("ingest", snapshot.key).mkdir(parents=True)
    table = table_of({"subject_id": [1], "site_id": [PERSON]}, IDENTIFIERS)
    write_table(workspace.folder("ingest", snapshot.key) / "identifiers.parquet", table)
    watch.watch(workspace, snapshot)
    yield
    logging.setLogRecordFactory(before)
    watch._guards.clear()


def test_a_line_that_names_a_patient_is_withheld(caplog: pytest.LogCaptureFixture) -> None:
    """In its text, its arguments or its failure, of any library; other lines stay as they are."""
    caplog.set_level(logging.INFO)
    log = logging.getLogger("another.library")
    log.info("picture of %s", PERSON)
    log.warning(f"cannot read mustermann_0042.png: {1}")
    try:
        raise KeyError(PERSON)
    except KeyError:
        log.exception("failed")
    log.info("%d pictures of %s", 3, "somebody")
    assert caplog.messages == [watch.WITHHELD] * 3 + ["3 pictures of somebody"]
    assert "ustermann" not in caplog.text


def test_a_table_that_names_a_patient_is_refused() -> None:
    """Before Prefect is told."""
    with pytest.raises(MedaiError, match="Prefect's artifact attrition would name a patient") as raised:
        watch.show_table([{"criterion": "known", "rows": 3}, {"criterion": f"not {PERSON}", "rows": 3}], "attrition")
    assert "rows.1.criterion" in raised.value.received


def test_a_failure_that_names_a_patient_loses_its_message() -> None:
    """Prefect keeps a failed task's message; another failure, and one of medai's own, stay what they are."""
    with pytest.raises(MedaiError, match="whose message names a patient") as raised, (
        watch.nameless()
    ):  # fmt: skip
        raise KeyError(PERSON)
    assert raised.value.__suppress_context__
    with pytest.raises(ValueError, match="another"), watch.nameless():
        raise ValueError("another")
    refused = DataRefused("x", expected="y", received="z", action="a")
    with pytest.raises(DataRefused), watch.nameless():
        raise refused


def test_a_failure_before_anybody_is_known_loses_its_message() -> None:
    """While the data are read any message may quote them: a defect keeps type and place, the machine its number."""
    watch._guards.clear()
    with pytest.raises(MedaiError, match=r"a defect of ours \(KeyError\) while the data were read") as raised, (
        watch.nameless(strangers=True)
    ):  # fmt: skip
        raise KeyError("Okonkwo^Ada")
    assert "Okonkwo" not in str(raised.value)
    assert "test_watch.py:" in raised.value.received
    with pytest.raises(PermissionError) as denied, watch.nameless(strangers=True):
        raise PermissionError(13, "Permission denied", "Okonkwo.dcm")
    assert (denied.value.errno, denied.value.filename) == (13, None)
    with pytest.raises(DecoderDefect, match="ValueError in a decoder"), watch.nameless(strangers=True):
        raise DecoderDefect.of(ValueError("Okonkwo"))
