"""Canonical tables: their columns, and Parquet files that have the same bytes everywhere and notice a flipped one.

Three shapes of data come out of ingestion as these tables; everything after it is written once against them.

    images.parquet       one row a picture, in the order of ``pixels.npy``
    events.parquet       the MEDS 0.4 data schema, one row a reading, with ``known_time`` and the line it came from
    codes.parquet        one row a code of a hospital's events: what its dictionary calls it, and how often it came
    stays.parquet        one row a stay of an events snapshot, with what was known of it at its start
    labels.parquet       what was observed, and what was known of a stay only later: by ``row_id`` for pictures, by
                         ``stay_id`` for stays
    identifiers.parquet  subject_id ↔ the site's own identifier; readable by its owner alone, never logged
    picture_identifiers.parquet, stay_identifiers.parquet
                         row_id or stay_id ↔ what the site calls that picture or stay (its file, row or record), so
                         that predictions can be joined to what they were made of; for the owner alone, too

Times are microseconds without a zone. A null ``time`` means that a row holds for the whole stay.
"""

from __future__ import annotations

from medai.tables.arrays import (
    NewArray,
    new_pixels,
    write_array,
)
from medai.tables.columns import (
    EVENTS,
    IDENTIFIERS,
    IMAGES,
    PICTURE_IDENTIFIERS,
    SPACING,
    STAY_IDENTIFIERS,
    STAYS,
    Facts,
    Names,
)
from medai.tables.parquet import (
    OWNER_ALONE,
    ROWS_IN_GROUP,
    has_columns,
    read_table,
    readable,
    scan,
    spans_of,
    table_of,
    write_groups,
    write_table,
    write_tables,
)
from medai.tables.subjects import (
    refuse_shared,
    subject_id,
    subject_ids,
)

__all__ = [
    "EVENTS",
    "IDENTIFIERS",
    "IMAGES",
    "OWNER_ALONE",
    "PICTURE_IDENTIFIERS",
    "ROWS_IN_GROUP",
    "SPACING",
    "STAYS",
    "STAY_IDENTIFIERS",
    "Facts",
    "Names",
    "NewArray",
    "has_columns",
    "new_pixels",
    "read_table",
    "readable",
    "refuse_shared",
    "scan",
    "spans_of",
    "subject_id",
    "subject_ids",
    "table_of",
    "write_array",
    "write_groups",
    "write_table",
    "write_tables",
]
