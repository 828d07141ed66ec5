"""The secret key of a site, and what is derived from it: pseudonyms, UIDs and the shift of a patient's dates.

Everything is HMAC-SHA256 (RFC 2104) of the key and a value, with a word before the value that says what it is for. So
the same patient has the same pseudonym and shift in every picture and table that was ever rewritten with this key,
without a list of patients being kept anywhere; and whoever has no key can neither undo a pseudonym nor guess one.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import stat
import unicodedata
from contextlib import suppress
from pathlib import Path

from medai.errors import ConfigurationError
from medai.paths import read_plain, why
from medai.workspace import make_folder, sync_directory

BYTES = 32
FILE = "deidentification.key"
"""Name of the key that is made in the state folder where none is given."""
LONGEST_SHIFT_DAYS = 3650
_OTHERS = 0o077
_LONGEST = 1024


class Key:
    """A secret of 32 bytes; neither printed nor pickled into a log by accident.

    Args:
        secret: the bytes.
    """

    def __init__(self, secret: bytes) -> None:
        self.secret = secret

    def __repr__(self) -> str:
        return "Key(…)"

    def derive(self, purpose: str, value: str | bytes) -> bytes:
        """32 bytes that stand for a value and one purpose."""
        data = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value
        return hmac.new(self.secret, purpose.encode() + b"\0" + data, hashlib.sha256).digest()

    @property
    def mark(self) -> str:
        """Which key it is, for whoever compares two; it tells nothing of the key."""
        return self.derive("mark of the key", b"").hex()[:12]

    def number(self, purpose: str, value: str) -> int:
        """A pseudonym as a whole number of 60 bits, for columns that hold numbers."""
        return int.from_bytes(self.derive(purpose, normal(value))[:8], "big") >> 4

    def subject(self, patient: str) -> str:
        """The pseudonym of a patient id: ``P`` and 15 hexadecimal digits of ``number("subject", …)``."""
        return f"P{self.number('subject', patient):015x}"

    def identifier(self, kind: str, value: str) -> str:
        """The pseudonym of another id (an admission's, an order's): its kind's first letter and 15 digits."""
        return f"{kind[0].upper()}{self.number(f'identifier {kind}', value):015x}"

    def days(self, patient: str) -> int:
        """By how many days all dates of a patient move: 1 to 3,650 into the past, so that none lies in the future."""
        drawn = int.from_bytes(self.derive("shift", normal(patient))[:8], "big")
        return -1 - drawn % LONGEST_SHIFT_DAYS

    def uid(self, uid: str) -> str:
        """A UID below 2.25 (DICOM PS3.5 B.2: a UUID as a decimal number; here one of version 8, RFC 9562)."""
        number = int.from_bytes(self.derive("uid", normal(uid))[:16], "big")
        number = number & ~(0xF << 76) | 0x8 << 76
        number = number & ~(0x3 << 62) | 0x2 << 62
        return f"2.25.{number}"


def normal(value: str) -> str:
    """A value as it is compared: composed Unicode without blanks or NULs around it.

    >>> normal(" 0017 ")
    '0017'
    """
    return unicodedata.normalize("NFC", value).strip(" \t\r\n\0")


def read_key(path: Path) -> Key:
    """A key from its file: 64 hexadecimal digits.

    Raises:
        ConfigurationError: it is missing, no plain file, open to others than its owner, or no key.
    """
    try:
        text = read_plain(path, _LONGEST)
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError as failure:
        raise _refused("cannot be read", "a file with 64 hexadecimal digits", why(failure)) from None
    if mode & _OTHERS:
        raise ConfigurationError(
            "the key of de-identification is open to others",
            expected="a file that its owner alone may read (mode 0600)",
            received=f"mode {mode:04o}",
            action="if nobody has read it: chmod 600; otherwise make a new key and rewrite what the old one wrote",
        )
    try:
        secret = bytes.fromhex(text.decode("ascii").strip())
    except ValueError:  # UnicodeDecodeError is one, too
        raise _refused("is no key", "64 hexadecimal digits", f"{len(text)} bytes of something else") from None
    if len(secret) != BYTES:
        raise _refused("has another length", "64 hexadecimal digits", f"{2 * len(secret)} digits")
    return Key(secret)


def kept_key(home: Path) -> Key:
    """The key of the state folder, made the first time; of two that make it at once, one is kept.

    Raises:
        ConfigurationError: as ``read_key``.
    """
    path = home / FILE
    if not os.path.lexists(path):
        make_folder(home)
        beside = home / f".{FILE}.{secrets.token_hex(8)}.partial"
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(secrets.token_bytes(BYTES).hex().encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
            with suppress(FileExistsError):
                os.link(beside, path)
        finally:
            beside.unlink(missing_ok=True)
        sync_directory(home)
    return read_key(path)


def _refused(wrong: str, expected: str, received: str) -> ConfigurationError:
    return ConfigurationError(
        f"the key of de-identification {wrong}",
        expected=expected,
        received=received,
        action="leave out --key to have one made in MEDAI_HOME, or make one: (umask 077; openssl rand -hex 32 > FILE)",
    )
