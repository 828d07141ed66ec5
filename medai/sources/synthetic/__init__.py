"""A synthetic hospital: files in the publishers' own layouts with a planted signal, read back by the same readers.

Every subject draws from a random stream of its own (seed, subject number). So a larger set holds the smaller one byte
by byte, which growing data and splits that stay are tested with; and with ``signal`` 0 nothing in the data depends on
the label. Only sums, products and roots are taken of the drawn numbers, so the pictures are the same on every machine.

Nothing here is derived from a patient: levels and spreads are round textbook numbers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from medai.records import Frozen
from medai.sources.synthetic.chest_archive import SyntheticChestArchive
from medai.sources.synthetic.database.planted import KINDS, DatabaseFault, share_of

__all__ = [
    "AnySynthetic",
    "Generator",
    "Synthetic",
    "SyntheticChestArchive",
    "SyntheticCt",
    "SyntheticDatabase",
    "SyntheticDicom",
    "SyntheticHospital",
    "SyntheticLesions",
    "generate",
]


class _Drawn(Frozen):
    """What the data of every layout are drawn by; each says what ``signal`` shows.

    Attributes:
        seed: another one makes other subjects.
    """

    kind: Literal["synthetic"]
    signal: float = Field(1.0, ge=0, le=4)
    seed: int = Field(0, ge=0, lt=1 << 63)


class Synthetic(_Drawn):
    """Synthetic data in a publisher's layout.

    Attributes:
        layout: whose files they look like.
        subjects: pictures, or stays.
        signal: how strongly the label shows in the data; 1 is plain to see, 0 not there at all.
        prevalence: share of positives of a binary label or of each finding; by default a half for pictures and a
            fifth for stays.
        size, channels: of the pictures, in pixels; 1 is grey, 3 is RGB.
        volumes: cubes of ``size`` instead of pictures: see ``synthetic.volumes``.
        classes: label values from 0 (of pictures); with ``multilabel``, findings of which each may be there or not.
    """

    layout: Literal["medmnist", "physionet2012"]
    subjects: int = Field(ge=10, le=90_000)
    prevalence: float | None = Field(None, gt=0, lt=1)
    size: int = Field(28, ge=16, le=224)
    channels: Literal[1, 3] = 1
    classes: int = Field(2, ge=2, le=10)
    multilabel: bool = False
    volumes: bool = False

    @model_validator(mode="after")
    def _volumes_have_one_finding(self) -> Synthetic:
        if self.volumes and (self.layout != "medmnist" or self.multilabel or (self.classes, self.channels) != (2, 1)):
            raise ValueError("volumes are of layout medmnist, grey, with or without one nodule: two classes")
        if self.volumes and self.size > 64:
            raise ValueError("volumes are cubes of at most 64 voxels a side")
        return self

    @model_validator(mode="after")
    def _stays_have_one_outcome(self) -> Synthetic:
        if self.layout == "physionet2012" and (self.multilabel or self.classes != 2):
            raise ValueError("stays have one binary outcome: classes and multilabel belong to layout medmnist")
        return self

    @property
    def positives(self) -> float:
        """The prevalence in use."""
        if self.prevalence is not None:
            return self.prevalence
        return 0.5 if self.layout == "medmnist" else 0.2


class SyntheticHospital(_Drawn):
    """A hospital in MIMIC-IV's layout, with chest radiographs of the same patients.

    Attributes:
        subjects: patients.
        signal: how strongly severity shows who dies, and an opacity who has pneumonia; 0 not at all.
        mortality: share of admissions with intensive care that end in death.
        pneumonia: share of patients with radiographs who have pneumonia.
        faults: share of stays, patients and pictures that carry a planted fault, a tenth of it of rows; 0 plants none.
        version: of MIMIC-IV; see ``hospital_tables`` for what differs.
        size: of the radiographs, in pixels.
        shift: how far the hospital has moved from what it was, for monitoring to find: at 1 radiographs are lighter by
            an eighth of white, and hearts and breaths of all patients faster by two deviations; 0 not at all.
    """

    layout: Literal["hospital"]
    subjects: int = Field(ge=10, le=140_000)
    mortality: float = Field(0.12, gt=0, lt=0.8)
    pneumonia: float = Field(0.4, gt=0, lt=0.8)
    faults: float = Field(0.02, ge=0, le=0.5)
    version: Literal["2.2", "3.1"] = "3.1"
    size: int = Field(112, ge=32, le=1024)
    shift: float = Field(0.0, ge=0, le=2)


class SyntheticDicom(_Drawn):
    """Chest radiographs of the hospital's patients as DICOM files of ten devices: see ``dicom_files``.

    Attributes:
        subjects: patients, of whom some six in ten have radiographs.
        signal: how strongly an opacity shows who has pneumonia; 0 not at all.
        pneumonia: share of patients with radiographs who have pneumonia.
        faults: share of pictures that carry a planted fault; 0 plants none.
        size: of the radiographs, in pixels.
    """

    layout: Literal["dicom"]
    subjects: int = Field(ge=10, le=140_000)
    pneumonia: float = Field(0.4, gt=0, lt=0.8)
    faults: float = Field(0.02, ge=0, le=0.5)
    size: int = Field(112, ge=32, le=1024)


class SyntheticCt(_Drawn):
    """CT series of cubes of lung, with or without a nodule, a file a slice: see ``ct_files``.

    Attributes:
        subjects: patients, each with one series.
        signal: how strongly a nodule shows; 0 not at all.
        prevalence: share of series with a nodule.
        faults: share of series that carry a planted fault; 0 plants none.
        shuffled: share of series whose files are named in no order of their slices.
        size: voxels a side of the drawn cube, of 2 mm each.
    """

    layout: Literal["ct"]
    subjects: int = Field(ge=10, le=90_000)
    prevalence: float = Field(0.5, gt=0, lt=1)
    faults: float = Field(0.02, ge=0, le=0.5)
    shuffled: float = Field(0.2, ge=0, le=1)
    size: int = Field(16, ge=16, le=64)


class SyntheticLesions(_Drawn):
    """Pictures with planted lesions and their masks; see ``medai.sources.synthetic.lesions``.

    Attributes:
        subjects: patients, with one to three pictures each.
        signal: how strongly a lesion shows; 1 is faint, 0 not there at all.
        prevalence: share of pictures with a lesion.
        size: of the pictures, in pixels.
    """

    layout: Literal["lesions"]
    subjects: int = Field(ge=10, le=99_999)
    prevalence: float = Field(0.7, gt=0, lt=1)
    size: int = Field(64, ge=32, le=1024)


class SyntheticDatabase(_Drawn):
    """A hospital's tables at any size, in MIMIC-III's or MIMIC-IV's layout: see ``medai.sources.synthetic.database``.

    Attributes:
        subjects: patients; 300,000 make some 100,000 stays and, at 3,600 rows a stay, the size of MIMIC-IV.
        signal: how strongly readings show death, illness and what is about to happen; 0 not at all.
        mortality: share of admissions with intensive care that end in death.
        intensive: share of admissions with intensive care.
        chart_rows_per_stay: mean rows of ``chartevents``; below some 650 vital signs grow rarer.
        faults: share of stays and patients that carry a planted fault, of rows a part of it; 0 plants none.
        rates: fault → its own share, in place of that.
        drift: how much practice changes from 2008 to 2022: levels, and who dies; 0 not at all.
        compressed: whether tables are gzip files.
    """

    layout: Literal["mimic3", "mimic4"]
    subjects: int = Field(ge=10, le=1_000_000)
    mortality: float = Field(0.12, gt=0, lt=0.8)
    intensive: float = Field(0.2, gt=0, le=1)
    chart_rows_per_stay: int = Field(3600, ge=50, le=8000)
    faults: float = Field(0.02, ge=0, le=0.5)
    rates: dict[DatabaseFault, Annotated[float, Field(ge=0, le=0.5)]] = Field(default={})
    drift: float = Field(0.0, ge=0, le=2)
    compressed: bool = True

    @model_validator(mode="after")
    def _rates_fit(self) -> SyntheticDatabase:
        if self.layout == "mimic4" and self.rates.get("error_row"):
            raise ValueError("rows are marked as an error in mimic3 alone: MIMIC-IV has no column for it")
        for things, faults in KINDS.items():
            if (whole := sum(share_of(self, fault) for fault in faults)) > 1:
                raise ValueError(f"faults of {things} add up to a share of {whole:.2f}: one falls on each at most")
        return self


AnySynthetic = (
    Synthetic
    | SyntheticChestArchive
    | SyntheticCt
    | SyntheticDatabase
    | SyntheticDicom
    | SyntheticHospital
    | SyntheticLesions
)
Generator = Annotated[AnySynthetic, Field(discriminator="layout")]
"""What a Problem's ``data:`` may hold."""


def generate(config: AnySynthetic, folder: Path, workers: int | None = None) -> Path:
    """Write the files and return where to point the reader: the ``.npz``, or the folder.

    Args:
        folder: an existing folder; equal configurations write equal bytes.
        workers: processes that a large database is written by; by default one a core, up to 8.
    """
    if isinstance(config, SyntheticDatabase):
        from medai.sources.synthetic.database import write_database

        return write_database(config, folder, workers)
    if isinstance(config, SyntheticDicom):
        from medai.sources.dicom import need_imaging
        from medai.sources.synthetic.dicom_files import write_dicom

        need_imaging()
        return write_dicom(config, folder)
    if isinstance(config, SyntheticCt):
        from medai.sources.dicom import need_imaging
        from medai.sources.synthetic.ct_files import write_ct

        need_imaging()
        return write_ct(config, folder)
    if isinstance(config, SyntheticChestArchive):
        from medai.sources.synthetic.chest_archive import write_archive

        return write_archive(config, folder)
    if config.layout == "medmnist":
        from medai.sources.synthetic.pictures import write_pictures
        from medai.sources.synthetic.volumes import volume_block

        return write_pictures(config, folder, volume_block if config.volumes else None)
    if config.layout == "physionet2012":
        from medai.sources.synthetic.stays import write_stays

        return write_stays(config, folder)
    if config.layout == "lesions":
        from medai.sources.synthetic.lesions import write_lesions

        return write_lesions(config, folder)
    from medai.sources.synthetic.hospital import write_hospital

    return write_hospital(config, folder)
