"""The key: made once, kept for its owner, and what is derived from it."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from medai.deidentification import Key, kept_key, read_key
from medai.errors import ConfigurationError


def test_pseudonyms_follow_from_key_and_value_alone(key: Key) -> None:
    """Equal with blanks around or in another Unicode form; other patients, purposes and keys give others."""
    assert key.subject("0017") == key.subject(" 0017 ") == Key(bytes(range(32))).subject("0017")
    assert key.subject("M\u00fcller") == key.subject("Mu\u0308ller")
    assert len({key.subject("0017"), key.subject("17"), Key(b"x" * 32).subject("0017")}) == 3
    assert key.subject("0017")[0] == "P"
    assert int(key.subject("0017")[1:], 16) == key.number("subject", "0017") < 1 << 60
    assert key.identifier("admission", "5") != key.identifier("stay", "5")
    assert "0017" not in repr(key)
    assert "00010203" not in f"{key!r} {key}"


def test_shifts_lie_in_the_past_and_differ_between_patients(key: Key) -> None:
    """1 to 3,650 days, never none, and spread over all of them."""
    shifts = [key.days(str(patient)) for patient in range(5000)]
    assert -3650 <= min(shifts) < -3600
    assert -50 < max(shifts) <= -1
    assert len(set(shifts)) > 2500


def test_uids_are_valid_and_never_meet(key: Key) -> None:
    """Below 2.25, at most 64 characters, and a UUID of version 8 in RFC 9562's variant."""
    import uuid

    made = {key.uid(f"1.2.3.{number}") for number in range(2000)}
    assert len(made) == 2000
    for uid in list(made)[:50]:
        assert uid.startswith("2.25.")
        assert len(uid) <= 64
        number = uuid.UUID(int=int(uid.removeprefix("2.25.")))
        assert (number.version, number.variant) == (8, uuid.RFC_4122)


def test_the_key_of_the_state_folder_is_made_once(tmp_path: Path) -> None:
    """For its owner alone; the second time it is the same."""
    first = kept_key(tmp_path / "home")
    file = tmp_path / "home" / "deidentification.key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(bytes.fromhex(file.read_text())) == 32
    assert kept_key(tmp_path / "home").secret == first.secret == read_key(file).secret
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["deidentification.key"]


@pytest.mark.parametrize(
    ("content", "mode", "told"),
    [
        (None, 0o600, "the key of de-identification cannot be read.*nothing of that name.*leave out --key"),
        ("ab" * 31, 0o600, "has another length.*62 digits"),
        ("", 0o600, "has another length.*0 digits"),
        ("zz" * 32, 0o600, "is no key.*64 bytes of something else"),
        ("ab" * 32, 0o640, "is open to others.*mode 0600.*mode 0640"),
        ("ab" * 32, 0o604, "is open to others.*mode 0604"),
    ],
)
def test_a_key_that_cannot_be_trusted_is_refused(content: str | None, mode: int, told: str, tmp_path: Path) -> None:
    """Missing, short, no key, readable by others; its content is never repeated."""
    import re

    file = tmp_path / "key"
    if content is not None:
        file.write_text(content)
        file.chmod(mode)
    with pytest.raises(ConfigurationError) as raised:
        read_key(file)
    assert re.search(told, str(raised.value), re.DOTALL)
    assert "abab" not in str(raised.value)
    assert "zzzz" not in str(raised.value)
