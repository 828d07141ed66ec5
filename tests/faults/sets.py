"""Small sound sets in each publisher's layout, with names and numbers that are found again where they must not be.

Each set is walked once undamaged: what its damaged copies change is compared with that.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
import tarfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from medai.sources import ImageFolder, MedMNIST, Meds, Mimic3, Mimic4, Physionet2012, Source

Row = dict[str, str]
STAYS, PICTURES, PATIENTS = 40, 16, 24
NOBODY = b"Mustermann"


@dataclass(frozen=True)
class Sound:
    """A sound set.

    Attributes:
        config: its source.
        write: writes it into a folder and returns where to point the reader.
        people: what may be found in no message, log or record: identifiers and names of files.
    """

    config: Source
    write: Callable[[Path], Path]
    people: re.Pattern[bytes]


def record_id(stay: int) -> str:
    """The RecordID of a stay."""
    return str(19773000 + stay)


def stay_text(stay: int) -> str:
    """A stay's rows below the header."""
    rows = [f"00:00,RecordID,{record_id(stay)}", f"00:00,Age,{40 + stay}", f"00:00,Gender,{stay % 2}"]
    rows += ["00:00,Height,171", f"00:00,ICUType,{1 + stay % 4}", "00:00,Weight,71.5"]
    for hour in range(6):
        rows += [f"{hour:02}:07,HR,{70 + (stay + hour) % 30}", f"{hour:02}:30,Temp,{36 + stay % 3 / 2}"]
    return "\n".join(rows) + "\n"


def outcomes_text() -> str:
    """The outcomes of all stays."""
    head = "RecordID,SAPS-I,SOFA,Length_of_stay,Survival,In-hospital_death\n"
    return head + "".join(
        f"{record_id(stay)},10,5,9,{4 if stay % 4 == 0 else -1},{int(stay % 4 == 0)}\n" for stay in range(STAYS)
    )


def stay_files() -> dict[str, bytes]:
    """File name → content."""
    return {f"{record_id(stay)}.txt": ("Time,Parameter,Value\n" + stay_text(stay)).encode() for stay in range(STAYS)}


def write_stays(folder: Path) -> Path:
    """Stays as single files."""
    (folder / "set-a").mkdir(parents=True)
    for name, content in stay_files().items():
        (folder / "set-a" / name).write_bytes(content)
    (folder / "Outcomes-a.txt").write_text(outcomes_text())
    return folder


def tar_of(path: Path, files: dict[str, bytes], members: Sequence[tarfile.TarInfo] = ()) -> None:
    """A tar.gz of files below ``set-a``, and members without content."""
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"set-a/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        for member in members:
            archive.addfile(member)


def zip_of(path: Path, files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> None:
    """A zip of files below ``set-a``."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(f"set-a/{name}", content)


def write_tar(folder: Path) -> Path:
    """Stays as a tar.gz."""
    folder.mkdir(parents=True)
    tar_of(folder / "set-a.tar.gz", stay_files())
    (folder / "Outcomes-a.txt").write_text(outcomes_text())
    return folder


def write_zip(folder: Path) -> Path:
    """Stays as a zip."""
    folder.mkdir(parents=True)
    zip_of(folder / "set-a.zip", stay_files())
    (folder / "Outcomes-a.txt").write_text(outcomes_text())
    return folder


def arrays() -> dict[str, np.ndarray]:
    """The six arrays of a grey set of 28 × 28, no two pictures equal."""
    draws = np.random.default_rng(5)
    made: dict[str, np.ndarray] = {}
    for role, count in (("train", 36), ("val", 12), ("test", 12)):
        made[f"{role}_images"] = draws.integers(5, 250, (count, 28, 28), dtype=np.uint8)
        made[f"{role}_labels"] = (np.arange(count) % 2).astype(np.uint8)[:, None]
    return made


def write_npz(folder: Path) -> Path:
    """The arrays as ``Mustermann.npz``."""
    folder.mkdir(parents=True)
    np.savez_compressed(folder / "Mustermann.npz", **arrays())
    return folder / "Mustermann.npz"


def picture(seed: int, kind: str = "PNG", size: tuple[int, int] = (40, 36), **saved: object) -> bytes:
    """A grey picture's bytes, 40 high and 36 wide; equal seeds give equal pictures."""
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(20, 230, size, np.uint8)).save(file, kind, **saved)
    return file.getvalue()


def picture_name(place: int, label: int, kind: str = "png") -> str:
    """Where a picture lies below the folder."""
    return f"{('NORMAL', 'PNEUMONIA')[label]}/Mustermann{place:02}-{label}_1951.{kind}"


def write_pictures(folder: Path) -> Path:
    """Two class folders; pictures by patient, PNG and JPEG in turn."""
    for label in (0, 1):
        for place in range(PICTURES):
            kind = ("png", "jpeg")[place % 2]
            file = folder / picture_name(place, label, kind)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(picture(100 * label + place, {"png": "PNG", "jpeg": "JPEG"}[kind]))
    return folder


ADMITTED = datetime(2130, 1, 1, 8)


def moment(hours: float, patient: int = 0) -> str:
    """So many hours after a patient's admission, as MIMIC writes it."""
    return str(ADMITTED + timedelta(days=10 * patient, hours=hours))


def subject(patient: int) -> str:
    """A patient's identifier."""
    return str(7700100 + patient)


def admission(patient: int) -> str:
    """An admission's identifier."""
    return str(8800100 + patient)


def icu_stay(patient: int) -> str:
    """A stay's identifier."""
    return str(9900100 + patient)


def hospital_rows(source: str) -> dict[str, list[Row]]:
    """The tables of a small hospital of one admission and one stay a patient, in MIMIC's columns."""
    tables: dict[str, list[Row]] = {name: [] for name in PLACES}
    for item, label in (
        ("220045", "Heart Rate"),
        ("223762", "Temperature Celsius"),
        ("223761", "Temperature Fahrenheit"),
    ):
        tables["d_items"].append({"itemid": item, "label": label, "category": "Vitals", "linksto": "chartevents"})
    tables["d_items"].append({"itemid": "226559", "label": "Foley", "category": "Output", "linksto": "outputevents"})
    for item, label in (("50931", "Glucose"), ("50820", "pH")):
        tables["d_labitems"].append({"itemid": item, "label": label, "category": "Chemistry", "fluid": "Blood"})
    for patient in range(PATIENTS):
        who = {"subject_id": subject(patient)}
        where = who | {"hadm_id": admission(patient)}
        died = moment(100, patient) if patient % 4 == 0 else ""
        person = who | {"gender": "FM"[patient % 2], "dod": died}
        if source == "mimic3":
            person |= {"dob": f"{2130 - 50 - patient}-01-01 00:00:00"}
        else:
            person |= {"anchor_age": str(50 + patient), "anchor_year": "2130", "dod": died[:10]}
        tables["patients"].append(person)
        tables["admissions"].append(
            where
            | {"admittime": moment(0, patient), "dischtime": moment(100, patient), "deathtime": died}
            | {"admission_type": "EMERGENCY", "insurance": "Private", "ethnicity": "WHITE", "race": "WHITE"}
        )
        stay = where | {"icustay_id": icu_stay(patient), "stay_id": icu_stay(patient)}
        unit = {"first_careunit": "MICU", "last_careunit": "MICU", "first_wardid": "7", "last_wardid": "7"}
        tables["icustays"].append(
            stay | unit | {"intime": moment(1, patient), "outtime": moment(73, patient), "los": "3"}
        )
        for hour in range(2, 8):
            for item, value, unit_of in (
                ("220045", str(70 + (patient + hour) % 30), "bpm"),
                ("223762", f"{36.5 + patient % 3 / 2:g}", "°C"),
            ):
                tables["chartevents"].append(
                    stay
                    | {"itemid": item, "charttime": moment(hour, patient), "storetime": moment(hour + 0.25, patient)}
                    | {"value": value, "valuenum": value, "valueuom": unit_of, "error": "0", "warning": "0"}
                )
        for item, value, unit_of in (("50931", str(90 + patient), "mg/dL"), ("50820", "7.4", "units")):
            tables["labevents"].append(
                where
                | {"itemid": item, "charttime": moment(3, patient), "storetime": moment(4, patient)}
                | {"value": value, "valuenum": value, "valueuom": unit_of}
            )
        tables["outputevents"].append(
            stay
            | {"itemid": "226559", "charttime": moment(5, patient), "storetime": moment(6, patient)}
            | {"value": "200", "valueuom": "ml"}
        )
    for rows in tables.values():
        for number, row in enumerate(rows, start=1):
            row["row_id"] = row["labevent_id"] = str(number)
    return tables


PLACES = {
    "patients": "hosp", "admissions": "hosp", "d_labitems": "hosp", "labevents": "hosp",
    "icustays": "icu", "d_items": "icu", "chartevents": "icu", "outputevents": "icu",
}  # fmt: skip
"""Table → MIMIC-IV's folder of it."""


def table_file(folder: Path, table: str) -> Path:
    """Where a table lies: MIMIC-IV's below hosp and icu, gzipped or as Parquet; MIMIC-III's in the folder."""
    if (folder / "hosp").is_dir():
        typed = folder / PLACES[table] / f"{table}.parquet"
        return typed if typed.exists() else folder / PLACES[table] / f"{table}.csv.gz"
    return folder / f"{table.upper()}.csv"


def read_text(file: Path) -> str:
    """A table's text, inflated."""
    data = file.read_bytes()
    return (gzip.decompress(data) if file.suffix == ".gz" else data).decode()


def write_text(file: Path, text: str) -> None:
    """Write a table's text, gzipped where its name says so; equal text gives equal bytes."""
    data = text.encode()
    file.write_bytes(gzip.compress(data, 1, mtime=0) if file.suffix == ".gz" else data)


def read_table(folder: Path, table: str) -> list[Row]:
    """A table's rows as texts, column names in lower case."""
    file = table_file(folder, table)
    if file.suffix == ".parquet":
        return [
            {name: "" if value is None else str(value) for name, value in row.items()}
            for row in pq.read_table(file).to_pylist()
        ]
    rows = csv.DictReader(io.StringIO(read_text(file)))
    return [{name.lower(): value for name, value in row.items()} for row in rows]


def write_table(folder: Path, table: str, rows: list[Row], columns: Sequence[str] = ()) -> None:
    """Write rows under the publisher's header, or under other columns."""
    file = table_file(folder, table)
    source = Mimic4 if (folder / "hosp").is_dir() else Mimic3
    names = columns or source.mapping().headers[table].split()
    if file.suffix == ".parquet":
        write_parquet(file, pa.table({name: typed([row.get(name, "") for row in rows]) for name in names}))
        return
    text = io.StringIO()
    written = csv.writer(text, lineterminator="\n")
    written.writerow(names if source is Mimic4 else [name.upper() for name in names])
    written.writerows([row.get(name, "") for name in names] for row in rows)
    write_text(file, text.getvalue())


def typed(texts: Sequence[str]) -> pa.Array:
    """A column as a database would type it: whole numbers, numbers, times or days where all texts are, else texts."""
    written = pa.array([text or None for text in texts], pa.string())
    for kind in (pa.int64(), pa.float64(), pa.date32(), pa.timestamp("us")):
        if kind == pa.float64() and any(text.strip("+-").lower() in ("inf", "infinity", "nan") for text in texts):
            continue
        try:
            return written.cast(kind)
        except pa.ArrowInvalid:
            continue
    return written


def write_parquet(file: Path, table: pa.Table, checksums: bool = True) -> None:
    """Write a table as Parquet, in pages that carry checksums."""
    pq.write_table(table, file, write_page_checksum=checksums)


def _hospital(source: str, typed_tables: bool = False) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        folder.mkdir(parents=True)
        if source == "mimic4":
            (folder / "hosp").mkdir()
            (folder / "icu").mkdir()
        if typed_tables:
            for name, place in PLACES.items():
                (folder / place / f"{name}.parquet").touch()
        for name, rows in hospital_rows(source).items():
            write_table(folder, name, rows)
        return folder

    return write


SHARDS = 3
"""Shards of the MEDS set; the publisher's splits, one each."""


def meds_rows(shard: int) -> list[dict[str, object]]:
    """A shard's rows: every third patient, static codes first, then by time."""
    rows: list[dict[str, object]] = []
    for patient in range(shard, PATIENTS, SHARDS):
        who = int(subject(patient))
        rows.append({"subject_id": who, "code": f"GENDER//{'FM'[patient % 2]}"})
        rows.append({"subject_id": who, "time": datetime(2080 - patient, 1, 1), "code": "MEDS_BIRTH"})
        for hour in range(2, 8):
            for code, value in (
                ("LAB//220045//bpm", 70 + (patient + hour) % 30), ("LAB//223762//°C", 36.5 + patient % 3 / 2),
            ):  # fmt: skip
                time = ADMITTED + timedelta(days=10 * patient, hours=hour)
                rows.append({"subject_id": who, "time": time, "code": code, "numeric_value": value})
        end = ADMITTED + timedelta(days=10 * patient, hours=100)
        rows.append({"subject_id": who, "time": end, "code": "HOSPITAL_DISCHARGE//HOME", "text_value": "home"})
        if patient % 4 == 0:
            rows.append({"subject_id": who, "time": end, "code": "MEDS_DEATH"})
    return rows


MEDS_SCHEMAS = {
    "data": pa.schema(
        {
            "subject_id": pa.int64(), "time": pa.timestamp("us"), "code": pa.string(), "numeric_value": pa.float32(),
            "text_value": pa.large_string(),
        }
    ),
    "codes": pa.schema({"code": pa.string(), "description": pa.string(), "parent_codes": pa.list_(pa.string())}),
    "splits": pa.schema({"subject_id": pa.int64(), "split": pa.string()}),
    "labels": pa.schema({"subject_id": pa.int64(), "prediction_time": pa.timestamp("us"), "boolean_value": pa.bool_()}),
}  # fmt: skip
"""The schemas of MEDS 0.4."""
MEDS_FILES = {
    "codes": "metadata/codes.parquet",
    "splits": "metadata/subject_splits.parquet",
    "labels": "labels/0.parquet",
}
MEDS_DESCRIPTION = "metadata/dataset.json"


def meds_file(folder: Path, name: str) -> Path:
    """A file of the MEDS set: ``codes``, ``splits``, ``labels`` or a shard's number."""
    return folder / MEDS_FILES.get(name, f"data/{name}.parquet")


def write_meds(folder: Path) -> Path:
    """A MEDS 0.4 data set with labels."""
    for name in ("data", "metadata", "labels"):
        (folder / name).mkdir(parents=True)
    splits = ("train", "tuning", "held_out")
    everybody = range(PATIENTS)
    rows: dict[str, list[dict[str, object]]] = {str(shard): meds_rows(shard) for shard in range(SHARDS)}
    codes = sorted({str(row["code"]) for shard in rows.values() for row in shard})
    rows["codes"] = [{"code": code, "description": "as it says"} for code in codes]
    rows["splits"] = [{"subject_id": int(subject(one)), "split": splits[one % SHARDS]} for one in everybody]
    rows["labels"] = [
        {
            "subject_id": int(subject(one)),
            "prediction_time": ADMITTED + timedelta(days=10 * one, hours=48),
            "boolean_value": one % 4 == 0,
        }
        for one in everybody
    ]
    for name, table in rows.items():
        schema = MEDS_SCHEMAS.get(name, MEDS_SCHEMAS["data"])
        write_parquet(meds_file(folder, name), pa.Table.from_pylist(table, schema))
    (folder / MEDS_DESCRIPTION).write_text('{"dataset_name": "small", "meds_version": "0.4.1"}')
    return folder


_STAY_PEOPLE = re.compile(rb"19773\d\d\d|" + NOBODY)
_HOSPITAL_PEOPLE = re.compile(rb"(77|88|99)001\d\d|" + NOBODY)
_STAYS = Physionet2012(kind="physionet2012")

SETS = {
    "npz": Sound(MedMNIST(kind="medmnist"), write_npz, re.compile(NOBODY)),
    "stays": Sound(_STAYS, write_stays, _STAY_PEOPLE),
    "tar.gz": Sound(_STAYS, write_tar, _STAY_PEOPLE),
    "zip": Sound(_STAYS, write_zip, _STAY_PEOPLE),
    "pictures": Sound(
        ImageFolder(
            kind="image_folder",
            classes=("NORMAL", "PNEUMONIA"),
            size=(24, 24),
            subject="(?P<subject>Mustermann[0-9]+-[0-9])",
        ),
        write_pictures,
        re.compile(NOBODY),
    ),
    "mimic3": Sound(Mimic3(kind="mimic3"), _hospital("mimic3"), _HOSPITAL_PEOPLE),
    "mimic4": Sound(Mimic4(kind="mimic4"), _hospital("mimic4"), _HOSPITAL_PEOPLE),
    "parquet": Sound(Mimic4(kind="mimic4"), _hospital("mimic4", typed_tables=True), _HOSPITAL_PEOPLE),
    "meds": Sound(Meds(kind="meds", labels="labels"), write_meds, _HOSPITAL_PEOPLE),
}
HOSPITALS = ("mimic3", "mimic4")
TABLES = (*HOSPITALS, "parquet")
"""Hospitals' tables: as text, gzipped text, and MIMIC-IV's as Parquet."""
