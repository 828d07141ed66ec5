"""A table of pictures: a CSV or Parquet file with a row a picture, and the pictures below its folder.

    pictures.csv        file,patient,diagnosis,sex,taken
    2024/a1.png …

The Problem says which column holds what. Each row becomes one picture, by these rules:

- A path is relative to the table's folder. One that is absolute, climbs (``..``) or follows a link out of the folder is
  refused with the whole table; one that leads to nothing, or has control characters, is left out and counted.
- Labels are whole numbers, or words that the Problem lists in the order of their numbers. Which output they are
  (binary, several classes in an order or none, several findings at once) is the output's to say.
- Attributes are columns of the images table, by which evaluation may group: few words, numbers, or ages (90 for all
  over 89, with a column ``NAME_band`` beside it).
- Without a column of subjects each distinct picture is one.

``listing`` reads the table.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from medai.records import Frozen, sha256_of
from medai.sources.ages import band_of
from medai.sources.files import token_of
from medai.sources.image_folder.finding import find_unlabelled
from medai.sources.image_table import listing
from medai.sources.image_table.listing import Attribute
from medai.sources.pictures.decoding import LIBRARIES
from medai.sources.pictures.listed import Cached, read_listed
from medai.sources.pictures.tables import FILE_IMAGES, Entry
from medai.tables import Facts

__all__ = ["LIBRARIES", "SHAPE", "VERSION", "Columns", "ImageTable", "raw_files", "read"]

VERSION = 2
SHAPE: Literal["images", "events"] = "images"

_TYPES = {"text": "string", "number": "float32", "age": "int32"}
_TIMES = {"time": "timestamp[us]", "known_time": "timestamp[us]"}


class Columns(Frozen):
    """Which column of the table holds what; names are compared without regard to case.

    Attributes:
        path: of the picture, relative to the table's folder.
        subject: whose picture it is; null: each distinct picture is a subject of its own.
        labels: label column → its words in the order of their numbers, 0 first; or ``number``: whole numbers.
        attributes: attribute column → ``text`` of few levels, ``number``, or ``age``.
        role: the publisher's role: train, val (or validation) or test.
        time: when the picture was taken, as ISO 8601; this is its time of prediction.
    """

    path: str
    subject: str | None = None
    labels: dict[str, tuple[str, ...] | Literal["number"]] = Field(min_length=1)
    attributes: dict[str, Attribute] = Field(default={})
    role: str | None = None
    time: str | None = None

    @property
    def all(self) -> tuple[str, ...]:
        """Every column that is read, each once; that of the paths first."""
        named = (self.path, self.subject, self.role, self.time)
        return (*(name for name in named if name is not None), *self.labels, *self.attributes)

    @field_validator("labels")
    @classmethod
    def _words_differ(cls, labels: dict[str, Any]) -> dict[str, Any]:
        for name, words in labels.items():
            if words != "number" and len({word.casefold() for word in words}) < max(2, len(words)):
                raise ValueError(f"{name}: name two words or more, each once, or say number")
        return labels

    @model_validator(mode="after")
    def _each_column_means_one_thing(self) -> Columns:
        names = [name.lower() for name in self.all]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"column {name!r} is named for two things")
        own = {*FILE_IMAGES} - {"time"}
        for name in (*self.labels, *self.attributes):
            if name in own or (name == "time" and self.time != name):
                raise ValueError(f"{name!r} is a column that every table of pictures has; rename it in the table")
        return self


class ImageTable(Cached):
    """Pictures that a table lists.

    Attributes:
        table: the table's file, directly in the data's folder: .csv, .csv.gz or .parquet.
        columns: which of its columns hold what.
        labelled: False for pictures to predict: the table without its labels where it is there, else any pictures.
    """

    kind: Literal["image_table"]
    table: str = Field(pattern=r"^[^/\\]*[^/\\.]\.(csv|csv\.gz|parquet)$")
    columns: Columns
    labelled: bool = True

    def unlabelled(self) -> ImageTable:
        """The same pictures without their labels."""
        return self.model_copy(update={"labelled": False})


def raw_files(config: ImageTable, path: Path) -> list[tuple[str, Path]]:
    """The table, and every picture that it names.

    Raises:
        DataRefused: as ``listing.read_listing``.
    """
    if _is_loose(config, path):
        found = find_unlabelled(path).files
        return [(f"{token_of(sha256_of(file.place.rpartition('/')[0]))}/*", file.path) for file in found]
    listed = listing.read_listing(config.table, _asked(config), path)
    pictures = [("pictures/*", row.path) for row in listed.rows]
    return [("table", listing.find_table(config.table, path)), *pictures]


def read(config: ImageTable, path: Path, folder: Path) -> Facts:
    """Write images, labels, identifiers, picture_identifiers and ``pixels.npy``.

    The pixels are uint8, pictures × height × width × channels, by row_id.

    Raises:
        DataRefused: as ``raw_files``.
    """
    columns = config.columns
    labels = dict.fromkeys(columns.labels, "int64")
    attributes = _attributes(columns)
    if _is_loose(config, path):
        found = find_unlabelled(path).files
        nothing = (None,) * len(labels), (None,) * len(attributes)
        entries = [Entry(file.place, file.role, None, *nothing) for file in found]
        files, counts, dropped = [file.path for file in found], dict[str, int](), 0
    else:
        listed = listing.read_listing(config.table, _asked(config), path)
        entries = [_entry(row, config) for row in listed.rows]
        files, counts, dropped = [row.path for row in listed.rows], listed.counts, listed.dropped
    facts = read_listed(
        config.kind,
        config,
        files,
        entries,
        folder,
        labels=labels,
        attributes=attributes,
        named=columns.subject is not None,
        labelled=config.labelled,
    )
    return facts.model_copy(update={"counts": facts.counts | counts, "dropped": {"images": dropped} if dropped else {}})


def _is_loose(config: ImageTable, path: Path) -> bool:
    """Whether these are pictures to predict without a table."""
    return not config.labelled and not (path.is_dir() and (path / config.table).exists())


def _asked(config: ImageTable) -> Columns:
    """The columns that are read; for prediction the labels are not."""
    return config.columns if config.labelled else config.columns.model_copy(update={"labels": {}, "role": None})


def _attributes(columns: Columns) -> dict[str, str]:
    """Attribute column → type; an age has its band beside it."""
    types = dict(_TIMES) if columns.time is not None else {}
    for name, kind in columns.attributes.items():
        types[name] = _TYPES[kind]
        if kind == "age":
            types[f"{name}_band"] = "string"
    return types


def _entry(row: listing.Listed, config: ImageTable) -> Entry:
    columns = config.columns
    values: list[Any] = [row.time, row.time] if columns.time is not None else []
    for name, kind in columns.attributes.items():
        value = row.attributes[name]
        values.append(value)
        if kind == "age":
            values.append(band_of(value if isinstance(value, int) else None))
    return Entry(
        place=row.place,
        role=row.role if config.labelled else "test",  # what is asked about is never thinned out
        subject=row.subject,
        labels=tuple(row.labels.get(name) for name in columns.labels),
        attributes=tuple(values),
    )
