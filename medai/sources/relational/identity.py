"""The site's identifiers, and the ids that take their place in every other table."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from medai.tables import OWNER_ALONE, refuse_shared, subject_id, table_of, write_table

if TYPE_CHECKING:
    import numpy as np
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
        import numpy as np

        self._namespace = namespace
        self._site = np.empty(0, np.int64)
        self._id = np.empty(0, np.int64)
        self._late: dict[int, int] = {}

    def of(self, site: pl.Series) -> pl.Series:
        """The ids of a site's whole-number identifiers; null stays null."""
        import polars as pl

        self._settle(site.cast(pl.Int64).drop_nulls().unique().to_numpy())
        ids = pl.DataFrame({"site": self._site, "id": self._id})
        return site.to_frame("site").join(ids, on="site", how="left", maintain_order="left").get_column("id")

    def of_numbers(self, site: Iterable[int]) -> list[int]:
        """The ids of a few identifiers, in their order."""
        return [self._one(number) for number in site]

    def _one(self, number: int) -> int:
        at = int(self._site.searchsorted(number))
        if at < len(self._site) and self._site[at] == number:
            return int(self._id[at])
        found = self._late.get(number)
        if found is None:
            found = self._late[number] = subject_id(self._namespace, str(number))
        return found

    def _settle(self, site: np.ndarray) -> None:
        """Put these identifiers, and what came one by one, into the sorted arrays."""
        import numpy as np

        late = np.fromiter(self._late, np.int64, len(self._late))
        new = np.setdiff1d(np.concatenate([site, late]), self._site)
        ids = np.fromiter((subject_id(self._namespace, str(number)) for number in new.tolist()), np.int64, len(new))
        sites = np.concatenate([self._site, new])
        order = np.argsort(sites)
        self._site, self._id = sites[order], np.concatenate([self._id, ids])[order]
        self._late = {}

    def write(self, path: Path, name: str) -> None:
        """Write id (column ``name``) and site_id, for their owner alone.

        Raises:
            DataRefused: two identifiers share an id.
        """
        import numpy as np
        import polars as pl

        self._settle(np.empty(0, np.int64))
        refuse_shared(len(self._site), len(np.unique(self._id)))
        order = np.argsort(self._id)
        columns = {name: self._id[order], "site_id": pl.Series(self._site[order]).cast(pl.String).to_arrow()}
        write_table(path, table_of(columns, {name: "int64", "site_id": "large_string"}), mode=OWNER_ALONE)
