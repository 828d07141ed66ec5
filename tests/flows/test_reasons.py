"""What a person writes into the audit: a name, and a reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.drift import remember
from flows.governance import ledger_of
from flows.reasons import check_reason
from flows.settings import Settings
from medai.errors import ConfigurationError
from medai.records import Snapshot
from medai.tables import IDENTIFIERS, table_of, write_table
from medai.workspace import Workspace


@pytest.mark.parametrize("sign", ["\u202e", "\u2066", "\u2028", "\u2029", "\U000e0041", "\0"])
def test_a_reason_that_reads_otherwise_than_it_is_signed_is_refused(sign: str, tmp_path: Path) -> None:
    """Turned words, hidden tags and separators of lines; whatever language it is in otherwise."""
    workspace = Workspace(tmp_path)
    check_reason(
        "better on the ward's patients; \u0628\u0647\u062a\u0631 \u0645\u06cc\u200c\u0634\u0648\u062f", workspace
    )
    with pytest.raises(ConfigurationError, match="the reason cannot be written in the audit") as refused:
        check_reason(f"better {sign}on the ward", workspace)
    assert refused.value.received == f"the character {sign!a}"


@pytest.mark.parametrize(
    "name", ["anna\n2026-05-01T12:00:00  board  version 2 approved", "anna\x1b[2J", "\u202eanna", "x" * 101]
)
def test_a_name_that_is_no_line_of_text_acts_for_nobody(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LOGNAME says who acts, and a history prints it: a second line in it would be a turn that nobody took."""
    settings = Settings(home=tmp_path)
    monkeypatch.setenv("LOGNAME", "anna o'neill, \u0628\u0647\u062a\u0631")
    assert ledger_of(settings).by == "anna o'neill, \u0628\u0647\u062a\u0631"
    monkeypatch.setenv("LOGNAME", name)
    with pytest.raises(ConfigurationError, match="the name of who acts cannot be written in the audit") as refused:
        ledger_of(settings)
    assert name not in str(refused.value)


@pytest.mark.parametrize("name", ["\u200b", "\xad\u2060", "\u3164", "\uffa0 \u115f"])
def test_a_name_that_nobody_sees_acts_for_nobody(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is it a reason: a history would show turns of nobody, and for nothing."""
    monkeypatch.setenv("LOGNAME", name)
    with pytest.raises(ConfigurationError, match="the name of who acts cannot be written in the audit") as refused:
        ledger_of(Settings(home=tmp_path))
    assert refused.value.received == "nothing that can be seen"
    with pytest.raises(ConfigurationError, match="what the audit keeps needs a reason"):
        check_reason(name, Workspace(tmp_path))


def test_a_reason_names_no_patient(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Ids of the newest data are looked for, and not repeated; data that cannot be read keep nobody from acting."""
    workspace = Workspace(tmp_path)
    key = "0" * 32

    def build(folder: Path) -> Snapshot:
        table = table_of({"subject_id": [1], "site_id": ["Mustermann-0042"]}, IDENTIFIERS)
        write_table(folder / "identifiers.parquet", table)
        return Snapshot(key=key, shape="events", source="x", unit="patient", data_sha256="0" * 64, tables={})

    check_reason("it missed the sepsis of mustermann_0042", workspace)
    workspace.materialise("ingest", key, Snapshot, build)
    remember(workspace, "wards", workspace.find("ingest", key, Snapshot) or pytest.fail("no snapshot"))
    with pytest.raises(ConfigurationError, match="the reason names a patient") as refused:
        check_reason("it missed the sepsis of mustermann_0042", workspace, "wards")
    assert "0042" not in str(refused.value)
    check_reason("it missed the sepsis of 42 patients", workspace, "wards")
    workspace.keep_receipt("batches", "wards-b", {})
    check_reason("it missed the sepsis of mustermann_0042", workspace, "wards")
    assert "whether the reason names a patient was not looked at: receipts/batches/wards-b.json was" in caplog.text
