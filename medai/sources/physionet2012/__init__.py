"""PhysioNet/Computing in Cardiology Challenge 2012: 48 hours of an intensive-care stay, one small text file a stay.

A stay's file has the columns ``Time,Parameter,Value``; the outcomes stand in a table of their own. Silva I, Moody G,
Scott DJ, Celi LA, Mark RG. Predicting in-hospital mortality of ICU patients. Comput Cardiol 2012. Identifiers are
stays, not patients. By these rules the files become canonical events:

- Times are hours and minutes since admission. The nominal origin of every stay is 2000-01-01T00:00, and a reading is
  known when it was taken: the challenge records no other time.
- Age, Gender, Height, ICUType and Weight at 00:00 describe the whole stay: their ``time`` is null, and they are known
  from the origin. Weight is a series as well, so its reading at 00:00 stays too.
- -1 is the publisher's code for missing: such rows are dropped and counted (``coded_missing``).
- Ages over 89, written as they are or shifted to 300 and more, become 90 (``age_over_89``).
- A reading that is no plain decimal number, or none that 32 bits can hold, keeps its text and no number: validation
  sets it aside.
- A time that is not HH:MM or lies beyond 48:00 cannot be placed: the row is set aside (``impossible_time``).
- RecordID names the stay and is no reading.
- An outcomes row with a value that cannot be read is left out whole (``unreadable_outcome``). Equal outcomes tables are
  read once (``same_outcomes_twice``); different ones are refused.
- The same readings under another RecordID are the same stay: the plainest RecordID stays (``same_stay_other_id``).
- Files among the stays that are not named as stays are not read (``ignored_file``).
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Literal

from pydantic import Field

from medai.records import Frozen
from medai.sources.physionet2012 import outcomes, stays
from medai.sources.physionet2012.finding import contents, locate, stay_files
from medai.sources.physionet2012.outcomes import labels_of, the_one_of
from medai.sources.physionet2012.stays import ORIGIN_US, STATIC, distinct_stays, events_of, is_static, write_events
from medai.sources.physionet2012.text import HOURS
from medai.tables import (
    IDENTIFIERS,
    OWNER_ALONE,
    STAY_IDENTIFIERS,
    STAYS,
    Facts,
    Names,
    subject_ids,
    table_of,
    write_table,
)

VERSION = 4
SHAPE: Literal["images", "events"] = "events"

VARIABLES = (
    "Albumin", "ALP", "ALT", "AST", "Bilirubin", "BUN", "Cholesterol", "Creatinine", "DiasABP", "FiO2", "GCS",
    "Glucose", "HCO3", "HCT", "HR", "K", "Lactate", "MAP", "MechVent", "Mg", "Na", "NIDiasABP", "NIMAP", "NISysABP",
    "PaCO2", "PaO2", "pH", "Platelets", "RespRate", "SaO2", "SysABP", "Temp", "TroponinI", "TroponinT", "Urine", "WBC",
    "Weight",
)  # fmt: skip
"""The challenge's 37 time series."""
LEVELS: dict[str, tuple[int | str, ...]] = {"Gender": (0, 1), "ICUType": (1, 2, 3, 4)}
"""Descriptor → its levels, as the challenge describes them."""


class Physionet2012(Frozen):
    """A set of the challenge: a folder that holds the stays (a folder or an archive) and the outcomes, or the stays
    themselves with the outcomes inside or beside them.

    Attributes:
        outcomes: file name of the outcomes; None for stays without known outcomes.
    """

    kind: Literal["physionet2012"]
    outcomes: str | None = Field("Outcomes-a.txt", pattern=r"^[^/\\]*[^/\\.][^/\\]*$")

    def unlabelled(self) -> Physionet2012:
        """The same files without their outcomes."""
        return self.model_copy(update={"outcomes": None})


def names(_config: Physionet2012) -> Names:
    """What a Problem on the challenge's stays may speak of."""
    return Names(variables=VARIABLES, static={name: LEVELS.get(name, ()) for name in STATIC}, hours=HOURS)


def raw_files(config: Physionet2012, path: Path) -> list[tuple[str, Path]]:
    """The outcomes, the archive of stays or each stay's file, and what lies among these files and is not read.

    Raises:
        DataRefused: a part is missing, empty, unreadable, ambiguous, or another type than its name says.
    """
    located = locate(config.outcomes, path)
    named = list(zip(("outcomes", "outcomes again"), located.outcomes, strict=False))
    if located.archive is not None:
        return [*named, ("stays", located.stays)]
    every_stay = [("stays/*", file) for file in stay_files(located.stays)]
    return [*named, *every_stay, *(("ignored/*", file) for file in located.ignored)]


def read(config: Physionet2012, path: Path, folder: Path) -> Facts:
    """Write events, stays, labels and identifiers; a stay is called by its RecordID.

    Raises:
        DataRefused: a file is damaged, cut, ragged, or contradicts another; nothing is guessed.
    """
    import numpy as np

    content = contents(locate(config.outcomes, path), config.outcomes)
    counts = Counter({"ignored_file": content.ignored})
    table = the_one_of(content.outcomes, counts)
    files = distinct_stays(content.stays, counts)
    del content
    subjects = np.array(subject_ids("physionet2012", [file.site_id for file in files]), np.int64)
    order = np.argsort(subjects)  # from here on a stay is known by its place among the sorted subject ids
    files, subjects = [files[row] for row in order], subjects[order]

    events = events_of(files, counts)
    has_series = np.zeros(len(files), bool)
    has_series[events.filter(~is_static(events))["stay"].unique().to_numpy()] = True
    tables = {"events": write_events(folder, events, subjects)}
    start = np.full(len(files), ORIGIN_US, "datetime64[us]")
    rows = {
        "row_id": np.arange(len(files)),
        "subject_id": subjects,
        "stay_id": subjects,
        "start": start,
        "end": start + np.timedelta64(HOURS, "h"),
        "has_series": has_series,
        "source_id": [file.token for file in files],
        "content_hash": [file.sha256 for file in files],
    }
    tables["stays"] = write_table(folder / "stays.parquet", table_of(rows, STAYS))
    labelled, values = labels_of(files, table, counts)
    labels: dict[str, object] = {"row_id": np.array(labelled, np.int64), "stay_id": subjects[labelled], **values}
    tables["labels"] = write_table(folder / "labels.parquet", table_of(labels, dict.fromkeys(labels, "int64")))
    people = {"subject_id": subjects, "site_id": [file.site_id for file in files]}
    write_table(folder / "identifiers.parquet", table_of(people, IDENTIFIERS), mode=OWNER_ALONE)
    records = {"stay_id": subjects, "site_id": people["site_id"]}
    write_table(folder / "stay_identifiers.parquet", table_of(records, STAY_IDENTIFIERS), mode=OWNER_ALONE)
    counts["stay_without_series"] = int((~has_series).sum())
    dropped = {
        "events": sum(counts[reason] for reason in stays.FAULTS),
        "labels": sum(counts[reason] for reason in outcomes.FAULTS),
    }
    return Facts(
        unit="stay",
        tables=tables,
        counts={reason: count for reason, count in sorted(counts.items()) if count},
        dropped={name: count for name, count in dropped.items() if count},
    )
