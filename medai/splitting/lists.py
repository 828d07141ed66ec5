"""Lists of subjects, as CSV files of the site's own ids. What is refused is named by its line, never by an id."""

from __future__ import annotations

import csv
import hashlib
import io

from medai.errors import ConfigurationError, DataRefused
from medai.paths import expanded, read_plain, why
from medai.records import Frozen, Role
from medai.splitting.definition import Listed

LARGEST_BYTES = 1 << 28


class Lists(Frozen):
    """What the files of a split say, for its key.

    Attributes:
        sha256: role → hash of the list.
        unlisted: as in ``Listed``.
    """

    sha256: dict[str, str]
    unlisted: str


def read_lists(config: Listed) -> tuple[dict[str, Role], Lists]:
    """The site's id → role of every listed subject, and what enters the key.

    Raises:
        ConfigurationError: a list cannot be read.
        DataRefused: a line is no id with 0 or 1, or a subject stands on two lists.
    """
    roles: dict[str, Role] = {}
    hashes = {}
    for role, text in sorted(config.files.items()):
        path = expanded(text)
        try:
            data = read_plain(path, LARGEST_BYTES + 1)
        except OSError as failure:
            raise ConfigurationError(
                f"the list of subjects for {role} cannot be read",
                expected="a CSV file",
                received=why(failure),
                action="correct split.files in the Problem",
            ) from None
        if len(data) > LARGEST_BYTES:
            raise DataRefused(
                f"the list of subjects for {role} is too large",
                expected=f"at most {LARGEST_BYTES >> 20} MiB",
                received="more",
                action="give a list of subject ids",
            )
        hashes[role] = hashlib.sha256(data).hexdigest()
        for site_id in _listed(data, role):
            if roles.setdefault(site_id, role) != role:
                raise DataRefused(
                    "a subject stands on two lists",
                    expected="each subject on one list at most",
                    received=f"a subject for {roles[site_id]} and for {role}",
                    action="correct the lists",
                )
    return roles, Lists(sha256=hashes, unlisted=config.unlisted)


def _listed(data: bytes, role: Role) -> list[str]:
    """The ids that one list means."""
    try:
        rows = list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as failure:
        raise DataRefused(
            f"the list of subjects for {role} is no CSV",
            expected="text in UTF-8, an id a line",
            received=type(failure).__name__,
            action="write the list anew",
        ) from None
    named = []
    for number, row in enumerate(rows, 1):
        cells = [cell.strip() for cell in row]
        if not any(cells):
            continue
        if not cells[0] or len(cells) > 2 or (len(cells) == 2 and cells[1] not in ("0", "1")):
            if number == 1 and cells[0] and len(cells) <= 2:
                continue  # a header
            raise DataRefused(
                f"the list of subjects for {role} has a line that cannot be read",
                expected="an id, or an id and 0 or 1",
                received=f"line {number} with {len(cells)} fields",
                action="correct the list",
            )
        if number == 1 and len(cells) == 1 and cells[0].lower() in ("subject_id", "id", "subject", "patient_id"):
            continue
        if len(cells) == 1 or cells[1] == "1":
            named.append(cells[0])
    return named
