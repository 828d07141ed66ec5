"""The columns of canonical tables, and what readers and sources say of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from medai.records import Frozen

if TYPE_CHECKING:
    pass


IMAGES = {
    "row_id": "int64",
    "subject_id": "int64",
    "time": "timestamp[us]",
    "known_time": "timestamp[us]",
    "source_id": "large_string",
    "publisher_role": "string",
    "frame": "int32",
    "height": "int32",
    "width": "int32",
    "channels": "int8",
    "bits": "int8",
    "mean": "float32",
    "std": "float32",
    "minimum": "int32",
    "maximum": "int32",
    "content_hash": "string",
    "twin_of": "string",
    "copy_number": "int32",
    "label_conflict": "bool",
}
"""Column → type. ``twin_of`` names the publisher's role of higher standing (test, then validation) that holds the same
pixels; ``copy_number`` counts repeats inside one role from 0; ``label_conflict`` marks pixels that carry another label
elsewhere in the same role. Grey levels (mean, std, minimum, maximum) are over all channels."""

SPACING = ("spacing_down", "spacing_across")
"""Columns, float64, of an images table whose source knows them: millimetres between the centres of two neighbouring
pixels of the picture as it lies in ``pixels.npy``; null where they are not known."""

EVENTS = {
    "subject_id": "int64",
    "time": "timestamp[us]",
    "code": "string",
    "variable": "string",
    "numeric_value": "float32",
    "text_value": "large_string",
    "known_time": "timestamp[us]",
    "row_id": "int64",
    "source_row": "int32",
}
"""Column → type; a source may add columns of its own. ``variable`` names the clinical variable that the code measures,
null where it is none of the source's vocabulary; ``numeric_value`` is then in the variable's unit. ``text_value`` holds
a reading that is no number; ``source_row`` is the line in the source's file, the header being line 1; where the
publisher numbers the rows (MIMIC's ``row_id``), it is that number, so that it stays when the file is reordered."""

STAYS = {
    "row_id": "int64",
    "subject_id": "int64",
    "stay_id": "int64",
    "admission_id": "int64",
    "start": "timestamp[us]",
    "end": "timestamp[us]",
    "publisher_role": "string",
    "has_series": "bool",
    "source_id": "large_string",
    "content_hash": "string",
}
"""Column → type. ``source_id`` is the token of the file it came from: the first digits of its content's hash. A source
may add columns of its own, each known at the stay's start (age, gender, first unit): these may be features and groups.
What was known later (length of stay, discharge, death) belongs into ``labels``, which features cannot reach."""

IDENTIFIERS = {"subject_id": "int64", "site_id": "large_string"}
PICTURE_IDENTIFIERS = {"row_id": "int64", "site_id": "large_string"}
STAY_IDENTIFIERS = {"stay_id": "int64", "site_id": "large_string"}
"""Column → type. One row for every picture, or stay, each with a ``site_id`` of its own within the snapshot."""


class Facts(Frozen):
    """What a reader wrote.

    Attributes:
        unit: what a subject stands for.
        tables: table → rows, of the tables that may be read by every stage.
        counts: what the reader noticed and settled by a stated rule, by reason.
        dropped: table → rows that were handed over for it and left out because of a fault of theirs (a time that
            cannot be, a label that cannot be read); not what a stated rule of the format leaves out (a code for
            missing, an equal copy). Validation counts them against the tolerance, as rows that it sets aside itself.
    """

    unit: str
    tables: dict[str, int]
    counts: dict[str, int] = Field(default_factory=dict)
    dropped: dict[str, int] = Field(default_factory=dict)


class Names(Frozen):
    """What a source of events can give, whatever its files hold: a Problem that speaks of anything else is misspelt.

    Attributes:
        variables: clinical variables, as in the column ``variable``.
        static: columns of the source's own in the stays table, and codes without a time, each with its levels; none
            where it is a number or its levels are open.
        hours: how long after its start a stay is observed at most; None where a stay has no such bound.
    """

    variables: tuple[str, ...]
    static: dict[str, tuple[int | str, ...]]
    hours: int | None = None
