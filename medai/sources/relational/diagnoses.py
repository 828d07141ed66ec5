"""Diagnosis codes of an admission to labels of its stays: which of some conditions it had, said after it was over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medai.sources.relational.identity import whole_numbers
from medai.vocabularies.phenotypes import Phenotypes

if TYPE_CHECKING:
    from collections import Counter

    import polars as pl

    from medai.sources.relational.mapping import Diagnoses

VERSIONS = (9, 10)
"""Revisions of the International Classification of Diseases whose codes have groups."""


def phenotype_labels(
    rows: pl.DataFrame, diagnoses: Diagnoses, phenotypes: Phenotypes, admissions: pl.Series, counts: Counter[str]
) -> pl.DataFrame:
    """One row an admission, with a column a condition: 1 if a code of its group was given, 0 if only others were.

    An admission without any code of a known revision is unknown in all: nobody has coded it.

    Args:
        rows: the table of diagnoses as text.
        admissions: one for each stay, the site's numbers; a number comes once in the answer.
        counts: codes of an unknown revision (``diagnosis_of_unknown_version``), and stays of admissions without codes
            (``stay_without_diagnoses``).
    """
    import polars as pl

    named = diagnoses.columns
    coded = pl.DataFrame(
        {
            "admission": whole_numbers(rows[named["admission"]]),
            "version": whole_numbers(rows[named["version"]])
            if "version" in named
            else pl.repeat(diagnoses.version, rows.height, dtype=pl.Int64, eager=True),
            "code": rows[named["code"]].str.strip_chars().str.to_uppercase(),
        }
    ).filter(pl.col("code") != "", pl.col("admission").is_not_null())
    known = coded.filter(pl.col("version").is_in(VERSIONS))
    counts["diagnosis_of_unknown_version"] += coded.height - known.height
    pairs = known.select("version", "code").unique(maintain_order=True)
    groups = [(version, code, phenotypes.columns_of(version, code)) for version, code in pairs.iter_rows()]
    grouped = pl.DataFrame(
        groups, orient="row", schema={"version": pl.Int64, "code": pl.String, "groups": pl.List(pl.String)}
    )
    had = (
        known.join(grouped, on=["version", "code"], how="left")
        .group_by("admission")
        .agg(pl.col("groups").explode().drop_nulls().unique())
    )
    counts["stay_without_diagnoses"] += int((~admissions.is_in(had["admission"].implode())).sum())
    return (
        pl.DataFrame({"admission": admissions.drop_nulls().unique().sort()})
        .join(had, on="admission", how="left", maintain_order="left")
        .select(
            "admission",
            *(pl.col("groups").list.contains(name).cast(pl.Int64).alias(name) for name in phenotypes.columns),
        )
    )
