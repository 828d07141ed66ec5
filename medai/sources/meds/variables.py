"""MEDS codes to clinical variables: which code measures what, and how its numbers become the variable's."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from medai.vocabularies import Recipe, Vocabulary

if TYPE_CHECKING:
    import polars as pl

SEPARATOR = "//"
_UNKNOWN = "UNK"
_COMPARISON = r"(?i)^[\s\pZ]*(<|>|less than|greater than)"
"""A text such as ``<0.01``: as in every other source it is no number, whatever stands beside it."""
_PREFIXES = {
    "chartevents": ("CHART", "LAB"),
    "labevents": ("LAB",),
    "outputevents": ("SUBJECT_FLUID_OUTPUT", "OUTPUT"),
}
"""Table → how codes of its items begin: as medai writes them, and as the public conversion of MIMIC-IV does."""


class Codes:
    """What each code measures, remembered.

    Args:
        items_of: whose item numbers codes hold; None: those of either MIMIC, the newer first.
    """

    def __init__(self, vocabulary: Vocabulary, items_of: str | None) -> None:
        self._vocabulary = vocabulary
        self._own = {
            code: (place.table, code)
            for variable in vocabulary.variables.values()
            for place in variable.items.get("meds", ())
            for code in place.codes
        }
        sources = (items_of,) if items_of else ("mimic4", "mimic3")
        self._items = {
            (prefix, item): (source, table)
            for source in reversed(sources)
            for table, prefixes in _PREFIXES.items()
            for prefix in reversed(prefixes)
            for item in vocabulary.items_of(source, table)
        }
        self._known: dict[str, Recipe] = {}

    def recipe(self, code: str) -> Recipe:
        """What becomes of readings under a code; no variable where it measures none of the vocabulary."""
        if code not in self._known:
            self._known[code] = self._recipe(code)
        return self._known[code]

    def _recipe(self, code: str) -> Recipe:
        parts = code.split(SEPARATOR)
        for length in range(len(parts), 0, -1):  # the longest beginning that the vocabulary names; the unit follows
            beginning = SEPARATOR.join(parts[:length])
            if beginning in self._own:
                table, named = self._own[beginning]
                return self._vocabulary.recipe("meds", table, named, _unit(parts[length:]))
        if len(parts) >= 2 and parts[1].isascii() and parts[1].isdigit():
            place = self._items.get((parts[0], int(parts[1])))
            if place is not None:
                return self._vocabulary.recipe(*place, int(parts[1]), _unit(parts[2:]))
        return Recipe(None)

    def table(self, codes: Iterable[str]) -> pl.DataFrame:
        """code → variable, priority, subtract, multiply, strange_unit."""
        import polars as pl

        return pl.DataFrame(
            [(code, *self.recipe(code)) for code in codes],
            orient="row",
            schema={
                "code": pl.String,
                "variable": pl.String,
                "priority": pl.Int16,
                "subtract": pl.Float64,
                "multiply": pl.Float64,
                "strange_unit": pl.Boolean,
            },
        )

    def measured(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Rows with ``variable``, ``priority`` and ``strange_unit``; numbers in its unit, words as scores."""
        import polars as pl

        rows = rows.join(self.table(rows["code"].unique().sort()), on="code", how="left", maintain_order="left")
        compares = pl.col("text_value").str.contains(_COMPARISON).fill_null(False)
        rows = rows.with_columns(pl.when(~compares).then("numeric_value").alias("numeric_value"))
        value = pl.col("numeric_value").cast(pl.Float64)
        words = [
            (name, text, number)
            for name, variable in self._vocabulary.variables.items()
            for text, number in variable.texts.items()
        ]
        if words:
            known = pl.DataFrame(
                words, orient="row", schema={"variable": pl.String, "folded": pl.String, "score": pl.Float64}
            )
            rows = rows.with_columns(pl.col("text_value").str.strip_chars().str.to_lowercase().alias("folded"))
            rows = rows.join(known, on=["variable", "folded"], how="left", maintain_order="left")
            value = pl.coalesce("score", value)
        value = (value - pl.col("subtract")) * pl.col("multiply")
        for name, variable in self._vocabulary.variables.items():
            limit = variable.percent_above
            if limit is not None:
                value = pl.when((pl.col("variable") == name) & (value > limit)).then(value / 100).otherwise(value)
        value = pl.when(pl.col("variable").is_null()).then("numeric_value").otherwise(value)
        return rows.with_columns(value.cast(pl.Float32).alias("numeric_value")).drop(
            "subtract", "multiply", "folded", "score", strict=False
        )


def _unit(parts: list[str]) -> str:
    unit = SEPARATOR.join(parts)
    return "" if unit == _UNKNOWN else unit
