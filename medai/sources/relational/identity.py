"""The site's identifiers, and the ids that take their place in every other table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from medai.tables import OWNER_ALONE, subject_ids, table_of, write_table

if TYPE_CHECKING:
    import polars as pl


def whole_numbers(texts: pl.Series) -> pl.Series:
    """Int64 from text, null where it is no whole number. ``145834.0``, as spreadsheets and pandas write it, is one."""
    import polars as pl

    numbers = texts.cast(pl.Int64, strict=False)
    if int((numbers.is_null() & (texts != "")).sum()):
        decimal = texts.cast(pl.Float64, strict=False)
        integral = (decimal == decimal.floor()) & (decimal.abs() < 2.0**53)
        numbers = pl.select(
            pl.coalesce(numbers, pl.when(integral).then(decimal).cast(pl.Int64, strict=False))
        ).to_series()
    return numbers


class Identities:
    """Ids of one kind of thing, given out as they are met; equal identifiers of a site get equal ids.

    Args:
        namespace: the source and, for other things than patients, the kind, so that no two kinds share an id.
    """

    def __init__(self, namespace: str) -> None:
        import polars as pl

        self._namespace = namespace
        self._known = pl.DataFrame(schema={"site": pl.Int64, "id": pl.Int64})

    def of(self, site: pl.Series) -> pl.Series:
        """The ids of a site's whole-number identifiers; null stays null."""
        import polars as pl

        asked = site.drop_nulls().unique()
        new = asked.filter(~asked.is_in(self._known["site"].implode())).sort()
        if len(new):
            ids = subject_ids(self._namespace, [str(number) for number in new.to_list()])
            self._known = pl.concat([self._known, pl.DataFrame({"site": new, "id": ids}, schema=self._known.schema)])
        return site.to_frame("site").join(self._known, on="site", how="left", maintain_order="left").get_column("id")

    def write(self, path: Path, name: str) -> None:
        """Write id (column ``name``) and site_id, for their owner alone.

        Raises:
            DataRefused: two identifiers share an id.
        """
        import polars as pl

        subject_ids(self._namespace, [str(number) for number in self._known["site"].to_list()])
        table = self._known.sort("id")
        columns = {name: table["id"].to_arrow(), "site_id": table["site"].cast(pl.String).to_arrow()}
        write_table(path, table_of(columns, {name: "int64", "site_id": "large_string"}), mode=OWNER_ALONE)
