"""A MIMIC-IV folder of chart rows for measurements: any number of rows from a seed, written in a stream.

Six hourly-charted vital signs and some rarer readings, whole and half hours, stored some minutes later, in the
publisher's layout and order. No patient is real and no reading means anything.
"""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import polars as pl

ROWS_A_PATIENT = 4000
_ROWS_A_BLOCK = 1 << 19
_ITEMS = {
    # item: (unit, share of the rows, mean, deviation, decimals); no unit and no decimals: a word
    220045: ("bpm", 12, 85, 16, 0),
    220210: ("insp/min", 11, 19, 5, 0),
    220277: ("%", 11, 96, 3, 0),
    220179: ("mmHg", 7, 120, 22, 0),
    220180: ("mmHg", 7, 64, 14, 0),
    220181: ("mmHg", 7, 79, 15, 0),
    220050: ("mmHg", 4, 118, 22, 0),
    220051: ("mmHg", 4, 60, 13, 0),
    220052: ("mmHg", 4, 78, 15, 0),
    223761: ("°F", 3, 98.4, 1.2, 1),
    223835: ("", 3, 48, 12, 0),
    226531: ("lb", 1, 180, 40, 1),
    220621: ("mg/dL", 2, 138, 45, 0),
    220739: ("", 2, 3.4, 0.6, 0),
    223900: ("", 2, 4.1, 0.9, 0),
    223901: ("", 2, 5.4, 0.8, 0),
    224054: ("", 3, 3.2, 0.7, 0),
    224080: ("", 3, 0, 0, -1),
    224093: ("", 3, 0, 0, -1),
    227944: ("", 3, 0, 0, -1),
    228299: ("mmol/L", 3, 24, 3, 0),
    224695: ("cmH2O", 3, 20, 5, 1),
}
_WORDS = ("Normal", "Awake/Unresponsive", "SR (Sinus Rhythm)", "Clear", "Not applicable", "Turned q2h", "Diminished")
_ORIGIN = np.datetime64("2150-01-01T00:00:00", "s")
_MONTH = 30 * 86400


def write(folder: Path, rows: int, seed: int = 0, shuffled: bool = False, level: int = 6) -> Path:
    """Write ``hosp/`` and ``icu/`` with at least this many chart rows; returns the chart rows' file.

    Args:
        shuffled: the same chart rows in another order (all at once in memory: for small sets).
        level: of gzip.
    """
    hosp, icu = folder / "hosp", folder / "icu"
    for place in (hosp, icu):
        place.mkdir(parents=True, exist_ok=True)
    patients = max(1, rows // ROWS_A_PATIENT)
    _tables(hosp, icu, patients)
    file = icu / "chartevents.csv.gz"
    random = np.random.default_rng(seed)
    each = np.full(patients, rows // patients)
    each[: rows - int(each.sum())] += 1
    blocks = np.array_split(np.arange(patients), max(1, -(-rows // _ROWS_A_BLOCK)))
    parts = (_chart_rows(random, block, each[block]) for block in blocks if len(block))
    if shuffled:
        whole = pl.concat(list(parts))
        parts = iter([whole[np.random.default_rng(seed + 1).permutation(whole.height)]])
    with gzip.open(file, "wb", compresslevel=level) as out:
        for number, part in enumerate(parts):
            out.write(part.write_csv(include_header=not number).encode())
    return file


def _tables(hosp: Path, icu: Path, patients: int) -> None:
    number = np.arange(patients)
    start = _ORIGIN + number * 3600
    end = start + _MONTH
    subject = 10_000_000 + number
    pl.DataFrame(
        {
            "subject_id": subject,
            "gender": np.where(number % 2, "F", "M"),
            "anchor_age": 40 + number % 45,
            "anchor_year": 2150,
            "anchor_year_group": "2014 - 2016",
            "dod": np.where(number % 7 == 0, "2160-01-01", ""),
        }
    ).write_csv(hosp / "patients.csv")
    nothing = np.full(patients, "")
    pl.DataFrame(
        {
            "subject_id": subject,
            "hadm_id": 20_000_000 + number,
            "admittime": _texts(start - 7200),
            "dischtime": _texts(end + 7200),
            "deathtime": np.where(number % 9 == 0, _texts(end), ""),
            "admission_type": "URGENT",
            "admit_provider_id": nothing,
            "admission_location": nothing,
            "discharge_location": nothing,
            "insurance": "Medicare",
            "language": nothing,
            "marital_status": nothing,
            "race": "WHITE",
            "edregtime": nothing,
            "edouttime": nothing,
            "hospital_expire_flag": (number % 9 == 0).astype(int),
        }
    ).write_csv(hosp / "admissions.csv")
    pl.DataFrame(
        {
            "subject_id": subject,
            "hadm_id": 20_000_000 + number,
            "stay_id": 30_000_000 + number,
            "first_careunit": "MICU",
            "last_careunit": "MICU",
            "intime": _texts(start),
            "outtime": _texts(end),
            "los": 30.0,
        }
    ).write_csv(icu / "icustays.csv")
    items = list(_ITEMS)
    blank = [""] * len(items)
    pl.DataFrame(
        {
            "itemid": items,
            "label": [f"item {item}" for item in items],
            "abbreviation": blank,
            "linksto": "chartevents",
            "category": "Routine Vital Signs",
            "unitname": blank,
            "param_type": "Numeric",
            "lownormalvalue": blank,
            "highnormalvalue": blank,
        }
    ).write_csv(icu / "d_items.csv")
    pl.DataFrame({"itemid": [50809], "label": ["Glucose"], "fluid": ["Blood"], "category": ["Chemistry"]}).write_csv(
        hosp / "d_labitems.csv"
    )


def _texts(times: np.ndarray) -> np.ndarray:
    texts: np.ndarray = np.char.replace(np.datetime_as_string(times, unit="s"), "T", " ")
    return texts


def _chart_rows(random: np.random.Generator, patients: np.ndarray, each: np.ndarray) -> pl.DataFrame:
    """The chart rows of some patients, in order of patient and time."""
    whose = np.repeat(patients, each)
    count = len(whose)
    first = np.repeat(np.cumsum(each) - each, each)
    share = (np.arange(count) - first) / np.repeat(each, each)
    span = np.repeat(random.integers(3, 29, len(patients)) * 86400, each)
    minutes = (share * span / 60).astype(np.int64)
    whole_hour = random.random(count) < 0.6
    minutes = np.where(whole_hour, minutes // 60 * 60, minutes)
    order = np.lexsort((minutes, whose))
    start = (_ORIGIN - np.datetime64(0, "s")).astype(np.int64) + whose * 3600
    charted = start + minutes[order] * 60
    stored = charted + random.integers(1, 180, count) * 60
    shares = np.array([one[1] for one in _ITEMS.values()], np.float64)
    place = random.choice(len(_ITEMS), count, p=shares / shares.sum())
    kinds = list(_ITEMS.values())
    value = np.full(count, None, object)
    number = np.full(count, None, object)
    for index, (_, _, mean, deviation, decimals) in enumerate(kinds):
        rows = np.flatnonzero(place == index)
        if decimals < 0:
            value[rows] = np.array(_WORDS, object)[random.integers(0, len(_WORDS), len(rows))]
            continue
        drawn = np.round(np.maximum(random.normal(mean, deviation, len(rows)), 1), decimals)
        distinct, which = np.unique(drawn, return_inverse=True)
        texts = np.array([f"{one:.{decimals}f}" for one in distinct.tolist()], object)
        value[rows] = number[rows] = texts[which]
    return pl.DataFrame(
        {
            "subject_id": 10_000_000 + whose,
            "hadm_id": 20_000_000 + whose,
            "stay_id": 30_000_000 + whose,
            "caregiver_id": random.integers(1000, 9999, len(patients) * 8)[
                (whose - patients[0]) * 8 + minutes[order] // 480 % 8
            ],
            "charttime": pl.Series(charted * 1_000_000).cast(pl.Datetime("us")).dt.strftime("%Y-%m-%d %H:%M:%S"),
            "storetime": pl.Series(stored * 1_000_000).cast(pl.Datetime("us")).dt.strftime("%Y-%m-%d %H:%M:%S"),
            "itemid": np.array(list(_ITEMS))[place],
            "value": pl.Series(value.tolist(), dtype=pl.String),
            "valuenum": pl.Series(number.tolist(), dtype=pl.String),
            "valueuom": pl.Series([one[0] or None for one in kinds])[place],
            "warning": np.where(random.random(count) < 0.02, "1", "0"),
        }
    )
