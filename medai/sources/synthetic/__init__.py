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

__all__ = ["Generator", "Synthetic", "SyntheticHospital", "generate"]


class Synthetic(Frozen):
    """Synthetic data in a publisher's layout.

    Attributes:
        layout: whose files they look like.
        subjects: pictures, or stays.
        signal: how strongly the label shows in the data; 1 is plain to see, 0 not there at all.
        prevalence: share of positives of a binary label or of each finding; by default a half for pictures and a
            fifth for stays.
        size, channels: of the pictures, in pixels; 1 is grey, 3 is RGB.
        classes: label values from 0 (of pictures); with ``multilabel``, findings of which each may be there or not.
    """

    kind: Literal["synthetic"]
    layout: Literal["medmnist", "physionet2012"]
    subjects: int = Field(ge=10, le=90_000)
    signal: float = Field(1.0, ge=0, le=4)
    seed: int = Field(0, ge=0, lt=1 << 63)
    prevalence: float | None = Field(None, gt=0, lt=1)
    size: int = Field(28, ge=16, le=224)
    channels: Literal[1, 3] = 1
    classes: int = Field(2, ge=2, le=10)
    multilabel: bool = False

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


class SyntheticHospital(Frozen):
    """A hospital in MIMIC-IV's layout, with chest radiographs of the same patients.

    Attributes:
        subjects: patients.
        signal: how strongly severity shows who dies, and an opacity who has pneumonia; 0 not at all.
        mortality: share of admissions with intensive care that end in death.
        pneumonia: share of patients with radiographs who have pneumonia.
        faults: share of stays, patients and pictures that carry a planted fault, a tenth of it of rows; 0 plants none.
        version: of MIMIC-IV; see ``hospital_tables`` for what differs.
        size: of the radiographs, in pixels.
    """

    kind: Literal["synthetic"]
    layout: Literal["hospital"]
    subjects: int = Field(ge=10, le=140_000)
    signal: float = Field(1.0, ge=0, le=4)
    seed: int = Field(0, ge=0, lt=1 << 63)
    mortality: float = Field(0.12, gt=0, lt=0.8)
    pneumonia: float = Field(0.4, gt=0, lt=0.8)
    faults: float = Field(0.02, ge=0, le=0.5)
    version: Literal["2.2", "3.1"] = "3.1"
    size: int = Field(112, ge=32, le=1024)


Generator = Annotated[Synthetic | SyntheticHospital, Field(discriminator="layout")]
"""What a Problem's ``data:`` may hold."""


def generate(config: Synthetic | SyntheticHospital, folder: Path) -> Path:
    """Write the files and return where to point the reader: the ``.npz``, or the folder.

    Args:
        folder: an existing folder; equal configurations write equal bytes.
    """
    if config.layout == "medmnist":
        from medai.sources.synthetic.pictures import write_pictures

        return write_pictures(config, folder)
    if config.layout == "physionet2012":
        from medai.sources.synthetic.stays import write_stays

        return write_stays(config, folder)
    from medai.sources.synthetic.hospital import write_hospital

    return write_hospital(config, folder)
