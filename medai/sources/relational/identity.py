"""The site's identifiers, and the ids that take their place in every other table."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from medai.tables import OWNER_ALONE, subject_ids, table_of, write_table

if TYPE_CHECKING:
    import polars as pl


def whole_numbers(texts: pl.Series) -> pl.Series:
    """Int64 from text, null where it is no whole number. ``145834.0``, as spreadsheets and pandas write it, is one."""
    import polars as pl

    numbers = texts.cast(pl.Int64, strict=False)
    if numbers.null_count() and int((numbers.is_null() & (texts != "")).sum()):
        decimal = texts.cast(pl.Float64, strict=False)
        integral = (decimal == decimal.floor()) & (decimal.abs() < 2.0**53)
        numbers = pl.select(
            pl.coalesce(numbers, pl.when(integral).then(decimal).cast(pl.Int64, strict=False))
        ).to_series()
    return numbers


def plain_number(text: str) -> str:
    """A whole number as a dictionary of items writes it; other text as it is.

    >>> plain_number("220045.0"), plain_number(" 0220045"), plain_number("220045.5"), plain_number("")
    ('220045', '220045', '220045.5', '')
    """
    written = re.fullmatch(r"\s*([0-9]+)(?:\.0*)?\s*", text)
    return str(int(written[1])) if written else text


class Identities:
    """Ids of one kind of thing, given out as they are met; equal identifiers of a site get equal ids.

    Args:
        namespace: the source and, for other things than patients, the kind, so that no two kinds share an id.
    """

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self._known: dict[int, int] = {}

    def of(self, site: pl.Series) -> pl.Series:
        """The ids of a site's whole-number identifiers; null stays null."""
        import polars as pl

        distinct = site.drop_nulls().unique()
        ids = pl.DataFrame(
            {"site": distinct, "id": self.of_numbers(distinct.to_list())}, schema={"site": pl.Int64, "id": pl.Int64}
        )
        return site.to_frame("site").join(ids, on="site", how="left", maintain_order="left").get_column("id")

    def of_numbers(self, site: Iterable[int]) -> list[int]:
        """The ids of some identifiers, in their order."""
        numbers = list(site)
        new = sorted({number for number in numbers if number not in self._known})
        self._known.update(zip(new, subject_ids(self._namespace, [str(number) for number in new]), strict=True))
        return [self._known[number] for number in numbers]

    def write(self, path: Path, name: str) -> None:
        """Write id (column ``name``) and site_id, for their owner alone.

        Raises:
            DataRefused: two identifiers share an id.
        """
        subject_ids(self._namespace, [str(number) for number in self._known])
        pairs = sorted((given, str(number)) for number, given in self._known.items())
        columns = {name: [given for given, _ in pairs], "site_id": [number for _, number in pairs]}
        write_table(path, table_of(columns, {name: "int64", "site_id": "large_string"}), mode=OWNER_ALONE)
