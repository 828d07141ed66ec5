"""The outcomes: one row a stay, and nothing said twice in two ways."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from medai.sources.physionet2012.stays import File
from medai.sources.physionet2012.text import MISSING, columns_by_name, lines_of, number_of, refuse

OUTCOMES = ("SAPS-I", "SOFA", "Length_of_stay", "Survival", "In-hospital_death")
FAULTS = ("stay_without_outcome", "unreadable_outcome")
"""Reasons for which a stay has no row among the labels."""


def the_one_of(tables: Sequence[bytes], counts: Counter[str]) -> bytes | None:
    """The outcomes table, of which there may be equal copies; None where there is none.

    Raises:
        DataRefused: two of them differ, and either could be the true one.
    """
    if not tables:
        return None
    if any(table != tables[0] for table in tables):
        raise refuse(
            "two outcomes tables contradict each other",
            "one outcomes table, or copies that are equal",
            f"{len(tables)} tables, {len(set(tables))} of them different",
        )
    counts["same_outcomes_twice"] = len(tables) - 1
    return tables[0]


def labels_of(
    files: list[File], outcomes: bytes | None, counts: Counter[str]
) -> tuple[list[int], dict[str, list[int | None]]]:
    """Places of the stays that have a row of labels, and outcome → one whole number each, None where it is missing.

    A row with a value that cannot be read says nothing: it is left out whole.
    """
    names = [name.lower().replace("-", "_") for name in OUTCOMES]
    if outcomes is None:
        return list(range(len(files))), {name: [None] * len(files) for name in names}
    text = lines_of(outcomes, "the outcomes table").decode()
    header, *lines = text.removesuffix("\n").split("\n")
    places = columns_by_name(header, ("RecordID", *OUTCOMES), "the outcomes table")
    width = header.count(",") + 1
    counts["extra_outcome_column"] = width - len(places)
    table: dict[str, list[int | None] | None] = {}
    for row, line in enumerate(lines, start=2):
        fields = line.split(",")
        if len(fields) != width:
            raise refuse(f"the outcomes table, row {row} is ragged", f"{width} fields", f"{len(fields)} fields")
        site_id, *texts = (fields[place] for place in places)
        if site_id in table:
            raise refuse(
                f"the outcomes table, row {row} names a stay again", "one row a stay", "a second row of one stay"
            )
        table[site_id] = _numbers(texts)
    counts["orphan_outcome"] = len(table.keys() - {file.site_id for file in files})
    counts["stay_without_outcome"] = sum(file.site_id not in table for file in files)
    if counts["stay_without_outcome"] == len(files):
        raise refuse("the outcomes table is of other stays", "outcomes of the stays given", "not one stay in common")
    counts["unreadable_outcome"] = sum(table.get(file.site_id, []) is None for file in files)
    known = {place: values for place, file in enumerate(files) if (values := table.get(file.site_id)) is not None}
    return list(known), {name: [values[column] for values in known.values()] for column, name in enumerate(names)}


def _numbers(texts: Sequence[str]) -> list[int | None] | None:
    """Whole numbers, None for a missing one; None for the row where one cannot be read."""
    numbers = [number_of(text.strip()) for text in texts]
    known = [number for number in numbers if number is not None and number == math.floor(number)]
    if len(known) < len(numbers) or any(abs(number) >= 1 << 53 for number in known):
        return None
    return [None if number == MISSING else int(number) for number in known]
