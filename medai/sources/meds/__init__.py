"""MEDS 0.4: a folder in the field's own standard for records, to canonical events.

McDermott MBA, Xu J, Bergamaschi TS, Jeong H, Lee SA, Oufattole N, et al. MEDS: building models and tools in a
reproducible health AI ecosystem (2025), and the schemas of the package ``meds`` 0.4. By these rules a data set is read:

- Shards have the columns and types of the data schema; another type is refused, and so is a column that is written in
  other letters. A subject in two shards is refused: one of them is a copy or a cut. Rows of a subject out of order are
  counted (``subject_out_of_order``, ``subject_in_several_places``) and sorted.
- Counted besides: shards that have columns of their own or not those of the first, files without page checksums, files
  that are not read, a version of MEDS that is not 0.4, no list of splits, one that names others than the data do, and
  events more than a day before their subject's birth or after its death.
- MEDS says when something happened and not when it was known. A column ``known_time`` of the data set counts; without
  it a row is known after the delay that the Problem states for its code.
- Codes become clinical variables by the vocabulary: by its items for the source ``meds``, which are codes, and by those
  of MIMIC, where the codes are written as ``PREFIX//item//unit``. Numbers are then converted to the variable's unit.
- What medai itself has exported carries variables, known times, ids and stays, and comes back as it was.
- A data set has subjects and no stays. A label file makes one stay of each of its rows, which ends when the prediction
  is made; an export of medai has its stays in codes of their own; else the stays table is empty, and predictions are
  placed by the cohort's windows.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Literal

from pydantic import Field, field_validator, model_validator

from medai.errors import near_match
from medai.records import Frozen
from medai.sources.meds.layout import find
from medai.sources.relational.stays import AGE_GROUPS, AGED
from medai.tables import Facts, Names
from medai.vocabularies import load_vocabulary, vocabularies

VERSION = 3
SHAPE: Literal["images", "events"] = "events"


class Meds(Frozen):
    """A folder with ``data/`` and ``metadata/``.

    Attributes:
        vocabulary: the clinical variables to recognise.
        items_of: whose item numbers the codes hold, where they are written as ``PREFIX//item//unit``.
        delay_minutes: beginning of a code → minutes after which its rows count as known, where the data set has no
            ``known_time``; the longest beginning counts, and "" stands for all codes.
        labels: a label file, or a folder of them, below the data folder.
        categories: the words of ``categorical_value``, in the order of their class numbers.
        observation_hours: how long before its prediction a label's stay begins.
    """

    kind: Literal["meds"]
    vocabulary: str = "benchmark17"
    items_of: Literal["mimic3", "mimic4"] | None = None
    delay_minutes: dict[str, int] = Field(default={})
    labels: str | None = None
    categories: tuple[str, ...] = ()
    observation_hours: int = Field(48, ge=1, le=24 * 365)

    @field_validator("labels")
    @classmethod
    def _labels_lie_below(cls, labels: str | None) -> str | None:
        if labels is not None:
            path = PurePosixPath(labels)
            if path.is_absolute() or ".." in path.parts or not path.parts:
                raise ValueError("labels are named by a relative path without '..', below the data folder")
        return labels

    @model_validator(mode="after")
    def _is_sound(self) -> Meds:
        if self.vocabulary not in vocabularies():
            raise ValueError(
                f"there is no vocabulary {self.vocabulary!r}; {near_match(self.vocabulary, vocabularies())}"
            )
        if any(minutes < 0 for minutes in self.delay_minutes.values()):
            raise ValueError("a reading is not known before it was taken: delays are 0 minutes or more")
        if len(set(self.categories)) < len(self.categories):
            raise ValueError("each category is named once")
        return self


def names(config: Meds) -> Names:
    """What a Problem may speak of: the vocabulary's variables that codes can name, and the stays' own columns."""
    from medai.sources.meds.stays import OWN

    known = {"meds", "mimic3", "mimic4"} if config.items_of is None else {"meds", config.items_of}
    variables = load_vocabulary(config.vocabulary).variables
    ages = tuple(dict.fromkeys((*(name for _, name in AGE_GROUPS), AGED)))
    levels = {"gender": ("F", "M"), "age_group": ages}
    return Names(
        variables=tuple(name for name, variable in variables.items() if known & variable.items.keys()),
        static={name: levels.get(name, ()) for name in OWN if name != "record_fault"},
    )


def raw_files(config: Meds, path: Path) -> list[tuple[str, Path]]:
    """The shards, the metadata and the label files.

    Raises:
        DataRefused: a part is missing, empty, or no Parquet file.
    """
    found = find(path, config.labels)
    named = {"codes": found.codes, "subject_splits": found.splits, "dataset": found.description}
    shards = [("data/*", file) for file in found.shards]
    return [
        *shards,
        *((role, file) for role, file in named.items() if file),
        *(("labels/*", one) for one in found.labels),
        *(("ignored/*", one) for one in found.ignored),
    ]


def read(config: Meds, path: Path, folder: Path) -> Facts:
    """Write events, stays, labels, codes, subjects and identifiers.

    Raises:
        DataRefused: a file is damaged or has other columns or types than MEDS 0.4, or a subject stands in two shards.
    """
    from medai.sources.meds.snapshot import write_snapshot

    return write_snapshot(config, find(path, config.labels), folder)
