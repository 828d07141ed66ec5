"""Patients, admissions and ICU stays: what was known at a stay's start, what only later, and what cannot be.

``stays`` gets what was known when the stay began; ``labels`` what came after, keyed by ``stay_id``. A stay whose record
contradicts itself is kept with the word for its fault, so that validation sets it aside and the cohort shows it.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from medai.sources.relational.identity import Identities, whole_numbers
from medai.sources.relational.mapping import Entities, Mapping
from medai.tables import STAYS

if TYPE_CHECKING:
    from collections.abc import Mapping as Dictionary

    import polars as pl

MARGIN_HOURS = 24
"""How far outside its admission a stay may lie: transfers are entered late, and time zones change."""
DAYS_A_YEAR = 365.2425
OLDEST = 90
"""Ages from here on are published as 300 and more (MIMIC-III) or as 91 (MIMIC-IV); all become this."""
_LONGEST_LIFE = 120
_SHIFTED = (290, 330)
"""MIMIC-III's ages of those over 89: 300 at the first admission, and the years since."""

AGE_GROUPS = ((18, "under 18"), (45, "18 to 44"), (65, "45 to 64"), (80, "65 to 79"))
AGED = "80 and over"

OWN = {
    "age": "float32",
    "age_group": "string",
    "gender": "string",
    "insurance": "string",
    "admission_type": "string",
    "admission_year": "int64",
    "first_unit": "string",
    "record_fault": "string",
}
"""A stay's own columns, besides those of the mapping's ``groups``. ``age`` is in years at the stay's start.
``admission_year``: where dates are shifted, and a patient's anchor year is published with the three calendar years that
it may be: the first of these and the years from the anchor to the admission. The true year is that or one of the next
two. A source without anchors has none."""

LABELS = {
    "stay_id": "int64",
    "in_hospital_death": "int64",
    "in_unit_death": "int64",
    "length_of_stay_hours": "float64",
    "hours_to_discharge": "float64",
    "hours_to_death": "float64",
    "transferred": "int64",
    "death_disputed": "int64",
}
"""What was known later. ``in_hospital_death``: a date or time of death between admission and discharge, both included,
as the public MIMIC-III benchmark defines it. ``in_unit_death``: a time of death between the stay's start and end, and
where only its date is known that date; a date is its midnight, and would count who left in the morning and died on a
ward at night. ``transferred``: the first care unit or ward is not the last. Hours count from the stay's start.
``death_disputed``: 0 where the admission's own flag of death agrees with ``in_hospital_death``, 1 where the flag alone
says that the patient died, -1 where a date of death alone says so."""

_DATES = ("start", "end", "birth", "death")


def typed(frame: pl.DataFrame, entities: Entities, mapping: Mapping, counts: Counter[str]) -> pl.DataFrame:
    """A table's rows under the names of what they mean: ids as numbers, dates as timestamps, empty texts null.

    A date that is given and cannot be is counted (``impossible_date``), and so are an end or a gender that is not given
    (``end_not_given``, ``gender_not_given``), and a flag of death or a group of years that cannot be read
    (``unreadable_death_flag``, ``unreadable_anchor_group``), which then count as not recorded. Of several rows with one
    key the first in the order of their content stays (``key_twice``); rows without a key, or of no patient, go
    (``row_without_key``).
    """
    import polars as pl

    from medai.sources.relational.times import moments

    columns = []
    blank: dict[str, pl.Series] = {}
    for name, column in entities.columns.items():
        texts = frame[column]
        if name in ("subject", "admission", "stay", "item", "anchor_age", "anchor_year", "died_flag"):
            numbers = whole_numbers(texts)
            if name == "died_flag":
                unreadable = ~numbers.is_in([0, 1]).fill_null(False) & (texts != "")
                counts["unreadable_death_flag"] += int(unreadable.sum())
                numbers = numbers.set(unreadable, None)
            columns.append(numbers.alias(name))
        elif name == "anchor_group":
            years = whole_numbers(texts.str.extract(r"^\s*(\d{4})\s*-", 1).fill_null(""))
            counts["unreadable_anchor_group"] += int((years.is_null() & (texts != "")).sum())
            columns.append(years.alias(name))
        elif name in _DATES:
            times = moments(texts, mapping, dates=name in ("birth", "death"))
            unreadable = times.is_null() & (texts != "")
            counts["impossible_date"] += int(unreadable.sum())
            if name == "end":
                blank["end_not_given"] = texts == ""
            columns.append(times.alias(name))
            if name == "death":
                columns.append(unreadable.alias("death_unreadable"))
        else:
            if name == "gender":
                blank["gender_not_given"] = texts == ""
            columns.append(texts.replace("", None).alias(name))
    table = pl.DataFrame(columns)
    key = next(name for name in ("item", "stay", "admission", "subject") if name in entities.columns)
    keyed = table.select(
        pl.all_horizontal(pl.col(name).is_not_null() for name in {key, "subject"} & entities.columns.keys())
    ).to_series()
    kept = table.filter(keyed)
    counts["row_without_key"] += table.height - kept.height
    for reason, missing in blank.items():
        counts[reason] += int((missing & keyed).sum())
    table = kept.sort(kept.columns, nulls_last=True).unique(key, keep="first", maintain_order=True)
    counts["key_twice"] += kept.height - table.height
    return table


def assemble(
    tables: Dictionary[str, pl.DataFrame],
    mapping: Mapping,
    subjects: Identities,
    admissions: Identities,
    stays: Identities,
    counts: Counter[str],
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The stays table (without ``has_series``) and its labels, sorted by stay_id.

    Args:
        tables: ``patients``, ``admissions`` and ``stays`` as ``typed`` gives them.
    """
    import polars as pl

    hospital = tables["admissions"].rename({"start": "admitted", "end": "discharged", "subject": "whose"})
    hospital = hospital.rename({"death": "died", "death_unreadable": "died_unreadable"})
    hospital = hospital.with_columns(_overlapping("whose", "admitted", "discharged"))
    hospital = hospital.rename({"overlapping": "admissions_overlap"})
    patients = tables["patients"].with_columns(known=pl.lit(True))
    whole = (
        tables["stays"]
        .with_columns(_overlapping("subject", "start", "end"))
        .join(hospital, on="admission", how="left", maintain_order="left")
        .join(patients, on="subject", how="left", maintain_order="left")
    )
    age = _age(whole, counts)
    whole = whole.with_columns(age.alias("age"))
    if "anchor_group" in whole.columns:
        years = pl.col("anchor_group") + pl.col("admitted").dt.year() - pl.col("anchor_year")
        whole = whole.with_columns(years.alias("admission_year"))
    # The mapping's groups take the words of the column of the same name without its ending.
    grouped = [_grouped(name.removesuffix("_group"), groups).alias(name) for name, groups in mapping.groups.items()]
    admission_ids, stay_ids = admissions.of(whole["admission"]), stays.of(whole["stay"])
    whole = whole.with_columns(
        subjects.of(whole["subject"]).alias("subject_id"),
        admission_ids.alias("admission_id"),
        stay_ids.alias("stay_id"),
        _age_group().alias("age_group"),
        _fault(whole.columns).alias("record_fault"),
        *grouped,
        *_outcomes(whole.columns),
    ).sort("stay_id")
    whole = whole.with_row_index("row_id").with_columns(pl.col("row_id").cast(pl.Int64))
    own = [name for name in (*OWN, *mapping.groups) if name in whole.columns]
    known = [name for name in STAYS if name in whole.columns]
    return whole.select(*known, *own), whole.select(*LABELS)


def _overlapping(subject: str, start: str, end: str) -> pl.Expr:
    """Whether a row's time overlaps that of another row of its subject; touching is no overlap."""
    import polars as pl

    order = [start, end]
    before = pl.col(end).cum_max().shift(1).over(subject, order_by=order)
    after = pl.col(start).shift(-1).over(subject, order_by=order)
    overlaps = (pl.col(start) < before) | (after < pl.col(end))
    return overlaps.fill_null(False).alias("overlapping")


def _age(whole: pl.DataFrame, counts: Counter[str]) -> pl.Series:
    """Years at the stay's start: since birth, or of the anchor and the years since; over 89 it is 90."""
    import polars as pl

    if "birth" in whole.columns:
        days = (pl.col("start") - pl.col("birth")).dt.total_seconds() / 86400
        years = days / DAYS_A_YEAR
    else:
        years = (pl.col("anchor_age") + pl.col("start").dt.year() - pl.col("anchor_year")).cast(pl.Float64)
        years = pl.when(pl.col("anchor_age").is_between(OLDEST, _LONGEST_LIFE)).then(float(OLDEST)).otherwise(years)
    return over_89(whole.select(years.alias("age")).to_series(), counts)


def over_89(ages: pl.Series, counts: Counter[str]) -> pl.Series:
    """Ages with 90 for those over 89, shifted ones too (``age_over_89``); beyond any life they stay, to be judged."""
    import polars as pl

    aged = ((ages >= OLDEST) & (ages <= _LONGEST_LIFE)) | ((ages >= _SHIFTED[0]) & (ages < _SHIFTED[1]))
    counts["age_over_89"] += int(aged.sum())
    return pl.select(pl.when(aged).then(float(OLDEST)).otherwise(ages)).to_series()


def _age_group() -> pl.Expr:
    import polars as pl

    age = pl.col("age")
    younger = [pl.when(age < limit).then(pl.lit(name)) for limit, name in AGE_GROUPS]
    return pl.when(age.is_not_null()).then(pl.coalesce(*younger, pl.lit(AGED)))


def _grouped(column: str, groups: Dictionary[str, tuple[str, ...]]) -> pl.Expr:
    import polars as pl

    words = pl.col(column).str.to_uppercase()
    known = [
        pl.when(pl.any_horizontal(words.str.starts_with(one) for one in beginnings)).then(pl.lit(name))
        for name, beginnings in groups.items()
    ]
    return pl.coalesce(pl.when(words.is_null()).then(pl.lit("unknown")), *known, pl.lit("other"))


def _fault(columns: list[str]) -> pl.Expr:
    """The first fault that applies; null for a sound record."""
    import polars as pl

    # An anchored patient was born in some month of a year.
    birth = pl.col("birth") if "birth" in columns else pl.datetime(pl.col("anchor_year") - pl.col("anchor_age"), 1, 1)
    death = pl.min_horizontal("death", "died")

    start, end, admitted, discharged = (pl.col(name) for name in ("start", "end", "admitted", "discharged"))
    margin = pl.duration(hours=MARGIN_HOURS)
    faults = {
        "orphan_patient": pl.col("known").is_null(),
        "orphan_admission": pl.col("whose").is_null() | (pl.col("whose") != pl.col("subject")),
        "impossible_dates": start.is_null() | (end < start) | admitted.is_null() | (discharged < admitted),
        "outside_admission": (start < admitted - margin) | (end > discharged + margin),
        "overlapping_stays": pl.col("overlapping"),
        "overlapping_admissions": pl.col("admissions_overlap"),
        "unreadable_death": pl.col("death_unreadable") | pl.col("died_unreadable"),
        "death_before_birth": death < birth,
        "born_after_admission": pl.col("age") < 0,
        # A date of death has no hour: the day of admission itself may be meant.
        "death_before_admission": death < admitted.dt.truncate("1d"),
        "death_without_its_time": (pl.col("died_flag") == 1) & death.is_null(),
    }
    return pl.coalesce(pl.when(broken).then(pl.lit(fault)) for fault, broken in faults.items())


def _dead(first: pl.Expr, last: pl.Expr, *deaths: pl.Expr) -> pl.Expr:
    """1 where one of the deaths lies between two times, both included; null where one of the two is not known."""
    import polars as pl

    between = [death.is_between(first, last).fill_null(False) for death in deaths]
    return pl.when(first.is_not_null() & last.is_not_null()).then(pl.any_horizontal(between).cast(pl.Int64))


def _outcomes(columns: list[str]) -> list[pl.Expr]:
    """``LABELS`` but the stay's id."""
    import polars as pl

    start, end, admitted, discharged = (pl.col(name) for name in ("start", "end", "admitted", "discharged"))

    def hours(moment: pl.Expr) -> pl.Expr:
        return (moment - start).dt.total_seconds() / 3600

    date, time = pl.col("death"), pl.col("died")
    died = _dead(admitted, discharged, date, time)
    moment = pl.coalesce(time, date)
    changed = pl.col("first_unit") != pl.col("last_unit")
    if "first_ward" in columns:
        changed = changed | (pl.col("first_ward") != pl.col("last_ward"))
    return [
        died.alias("in_hospital_death"),
        _dead(start, end, moment).alias("in_unit_death"),
        hours(end).alias("length_of_stay_hours"),
        hours(discharged).alias("hours_to_discharge"),
        hours(moment).alias("hours_to_death"),
        changed.cast(pl.Int64).alias("transferred"),
        (pl.col("died_flag") - died).alias("death_disputed"),
    ]
