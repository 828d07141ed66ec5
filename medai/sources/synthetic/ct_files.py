"""Generated cubes of lung as CT series: a file a slice, as two scanners would store them, and labels beside.

    c<patient>/<number>.dcm     slices of one series a patient; the numbers say nothing of where a slice lies
    labels.csv                  SeriesInstanceUID, nodule (0 or 1)
    planted_faults.json         fault → how many series
    README.txt                  that nobody in it ever lived

Levels are those of ``volumes``, told as Hounsfield units of a lung window. One scanner counts its slices from the feet
and stores them plainly, the other from the head, with slices half as far apart; which one is drawn for the patient,
whatever the finding. So only who orders slices by their position and resamples them by their spacing sees the cube.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from medai.sources.synthetic.dicom_files import file_of
from medai.sources.synthetic.streams import stream_of
from medai.sources.synthetic.volumes import volume_block

if TYPE_CHECKING:
    import numpy as np
    from pydicom.dataset import Dataset

    from medai.sources.synthetic import SyntheticCt

MILLIMETRES = 2.0
"""Sides of a voxel of the drawn cube."""
WINDOW = (-490.0, 1020.0)
"""Centre and width, by PS3.3's LINEAR_EXACT, of the lung window that shows level g at 4 g - 1000 Hounsfield units."""
FAULTS = ("slice_missing", "slice_truncated", "two_slices_at_a_place")
"""Each costs its series, whose slices would make anatomy that nobody has."""
_CT = "1.2.840.10008.5.1.4.1.1.2"
_PART = 41
"""The part of a subject's stream that scanner and order are drawn from; ``volumes`` draws from its beginning."""
_SLOPE, _ZERO, _INTERCEPT = 4, -1000, -1024
_README = """CT series of generated cubes of lung, made by medai. No patient in it ever lived; nothing in it is derived
from one.

made with   subjects {subjects}, seed {seed}, signal {signal:g}, prevalence {prevalence:g}, faults {faults:g},
            size {size}

Faults were planted in it on purpose; planted_faults.json counts the series. It serves tests and demonstrations; what is
found in it says nothing about medicine.
"""


class Scanner(NamedTuple):
    """How a maker stores a series.

    Attributes:
        syntax: UID of its transfer syntax.
        finer: how many slices it takes of each voxel's height.
        from_head: whether the first file is the slice nearest to the head.
    """

    name: str
    syntax: str
    finer: int
    from_head: bool


SCANNERS = (
    Scanner("HELIX ONE", "1.2.840.10008.1.2.1", 1, False),
    Scanner("HELIX TWO", "1.2.840.10008.1.2.4.70", 2, True),
)


def write_ct(config: SyntheticCt, folder: Path) -> Path:
    """Write the files below an existing folder, and return that folder."""
    from medai.sources.synthetic import Synthetic

    cubes = Synthetic(
        kind="synthetic", layout="medmnist", volumes=True, subjects=config.subjects, signal=config.signal,
        seed=config.seed, prevalence=config.prevalence, size=config.size,
    )  # fmt: skip
    planted = dict.fromkeys(FAULTS, 0)
    lines = ["SeriesInstanceUID,nodule"]
    for subject in range(config.subjects):
        images, labels = volume_block(cubes, range(subject, subject + 1))
        turn = int(subject * config.faults)
        fault = FAULTS[turn % len(FAULTS)] if int((subject + 1) * config.faults) > turn else None
        if fault is not None:
            planted[fault] += 1
        place = folder / f"c{subject:06d}"
        place.mkdir()
        for number, data in enumerate(_series(config, subject, images[0], fault), start=1):
            (place / f"{number:04d}.dcm").write_bytes(data)
        lines.append(f"{_uid(config, subject, 2)},{int(labels[0, 0])}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    (folder / "planted_faults.json").write_text(json.dumps({"faults": planted}, indent=1, sort_keys=True) + "\n")
    (folder / "README.txt").write_text(_README.format(**config.model_dump()))
    return folder


def _series(config: SyntheticCt, subject: int, cube: np.ndarray, fault: str | None) -> list[bytes]:
    """The files of a cube (slices, rows, columns), slice 0 at the feet, in the order of their names."""
    stream = stream_of(config.seed, subject, _PART)
    draws = stream.random(3).tolist()
    scanner = SCANNERS[int(len(SCANNERS) * draws[0])]
    values = _sliced(cube, scanner.finer) + (_ZERO - _INTERCEPT)
    step, age = MILLIMETRES / scanner.finer, 30 + int(50 * draws[1])
    told = _elements(config, subject, scanner, step, age)
    told.Rows, told.Columns = values.shape[1:]
    files = []
    middle = len(values) // 2
    for at, levels in enumerate(values):
        if fault == "slice_missing" and at == middle:
            continue
        shown = middle - 1 if fault == "two_slices_at_a_place" and at == middle else at
        told.SOPInstanceUID, told.InstanceNumber = _uid(config, subject, 3 + at), at + 1
        told.ImagePositionPatient = [0, 0, step * shown]
        data = file_of(told, levels, scanner.syntax)
        files.append(data[: len(data) * 2 // 3] if fault == "slice_truncated" and at == middle else data)
    if scanner.from_head:
        files.reverse()
    return [files[at] for at in stream.permutation(len(files))] if draws[2] < config.shuffled else files


def _sliced(cube: np.ndarray, finer: int) -> np.ndarray:
    """Hounsfield units above air of slices evenly spaced in the cube, uint16, each between its two nearest layers."""
    import numpy as np

    count = len(cube)
    heights = np.clip((np.arange(count * finer) + 0.5) / finer - 0.5, 0, count - 1)
    lower = np.minimum(heights.astype(np.int64), count - 2)
    share = (heights - lower)[:, None, None]
    layers = cube.astype(np.float64) * _SLOPE
    sliced: np.ndarray = np.rint((1 - share) * layers[lower] + share * layers[lower + 1]).astype(np.uint16)
    return sliced


def _elements(config: SyntheticCt, subject: int, scanner: Scanner, step: float, age: int) -> Dataset:
    from pydicom.dataset import Dataset

    told = {
        "SOPClassUID": _CT, "StudyInstanceUID": _uid(config, subject, 1),
        "SeriesInstanceUID": _uid(config, subject, 2), "StudyDate": "20200101", "StudyTime": "101010",
        "SeriesDate": "20200101", "SeriesTime": "101010", "AcquisitionDate": "20200101", "AcquisitionTime": "101010",
        "AccessionNumber": f"C{subject:06d}", "PatientName": f"Generated^Patient {subject}",
        "PatientID": f"C{subject:06d}", "PatientSex": "FM"[subject % 2], "PatientAge": f"{age:03d}Y", "Modality": "CT",
        "Manufacturer": "MEDAI SYNTHETIC DEVICES", "ManufacturerModelName": scanner.name, "BodyPartExamined": "CHEST",
        "BurnedInAnnotation": "NO", "PixelSpacing": [MILLIMETRES, MILLIMETRES], "SliceThickness": step,
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2", "BitsAllocated": 16, "BitsStored": 12,
        "HighBit": 11, "PixelRepresentation": 0, "RescaleSlope": 1, "RescaleIntercept": _INTERCEPT, "RescaleType": "HU",
        "WindowCenter": WINDOW[0], "WindowWidth": WINDOW[1], "VOILUTFunction": "LINEAR_EXACT",
    }  # fmt: skip
    dataset = Dataset()
    for keyword, value in told.items():
        setattr(dataset, keyword, value)
    return dataset


def _uid(config: SyntheticCt, subject: int, part: int) -> str:
    """A UID of a number (PS3.5 annex B.2): of the seed, the subject, and the study, the series or a slice."""
    return f"2.25.{1 + config.seed}{subject:06d}{part:04d}"
