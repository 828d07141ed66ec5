"""The synthetic hospital's DICOM: what its devices store leads back to the radiograph that was drawn."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from medai.sources.dicom.decoding import Target, decode
from medai.sources.synthetic import SyntheticDicom, SyntheticHospital, generate
from medai.sources.synthetic.dicom_files import DEVICES, FAULTS, _packed
from medai.sources.synthetic.patients import patient_of
from medai.sources.synthetic.radiographs import studies_of

SIZE = 40
LOSSY = {"1.2.840.10008.1.2.4.50": 12}
"""Transfer syntax → levels that its pictures may be off."""


def config(**told: float) -> SyntheticDicom:
    """A small hospital."""
    whole = {"kind": "synthetic", "layout": "dicom", "subjects": 60, "size": SIZE, "faults": 0}
    return SyntheticDicom.model_validate(whole | told)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty patients without faults."""
    return generate(config(), tmp_path_factory.mktemp("dicom"))


def test_reading_gives_back_what_was_drawn(written: Path) -> None:
    """By every device, through its transfer syntax, photometric interpretation, rescale and window."""
    hospital = SyntheticHospital(kind="synthetic", layout="hospital", subjects=60, faults=0, size=SIZE)
    labels = dict(list(csv.reader((written / "labels.csv").open()))[1:])
    target = Target(SIZE, SIZE, 1, False, "header", "each")
    met, pictures = set(), 0
    for subject in range(60):
        patient = patient_of(hospital, subject, 0)
        for study_id, label, drawn in studies_of(hospital, patient):
            answer = decode((written / f"p{patient.subject_id}" / f"{study_id}.dcm").read_bytes(), target)
            (picture,) = answer.pictures
            assert picture.decoded.fault is None
            assert picture.decoded.pixels is not None
            assert answer.facts is not None
            off = np.abs(picture.decoded.pixels[..., 0].astype(int) - drawn).max()
            assert off <= LOSSY.get(str(answer.syntax), 1), answer.syntax
            assert labels[str(answer.facts.sop)] == str(label)
            assert (answer.facts.patient, answer.facts.sex) == (f"M{patient.subject_id}", patient.gender)
            met.add(answer.syntax)
            pictures += 1
    assert met == {device.syntax for device in DEVICES}
    assert len(labels) == pictures


def test_equal_seeds_write_equal_files_and_more_patients_hold_fewer(written: Path, tmp_path: Path) -> None:
    """So that growing data can be tested; another seed draws others."""

    def hashes(folder: Path) -> dict[str, str]:
        files = folder.rglob("*.dcm")
        return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}

    for name, told in (("fewer", {"subjects": 20}), ("other", {"subjects": 20, "seed": 1})):
        (tmp_path / name).mkdir()
        generate(config(**told), tmp_path / name)
    whole, fewer, other = hashes(written), hashes(tmp_path / "fewer"), hashes(tmp_path / "other")
    assert fewer.items() <= whole.items()
    assert not fewer.keys() & other.keys()


def test_faults_are_planted_and_counted(tmp_path: Path) -> None:
    """Each kind at least once, and the labels name every picture, whatever became of it."""
    generate(config(subjects=90, faults=0.2), tmp_path)
    planted = json.loads((tmp_path / "planted_faults.json").read_text())["faults"]
    assert set(planted) == set(FAULTS)
    assert all(planted.values())
    assert len((tmp_path / "labels.csv").read_text().splitlines()) == 1 + len(list(tmp_path.rglob("*.dcm")))
    assert "No patient in it ever lived" in (tmp_path / "README.txt").read_text()


@pytest.mark.parametrize("row", [b"", b"a", b"aaa", b"ab", b"aab", b"abbb" * 50, bytes(range(256)), b"\0" * 300])
def test_runs_unpack_to_what_they_were_packed_from(row: bytes) -> None:
    """PackBits by its definition (PS3.5 annex G.3.1), read back by another's decoder."""
    import imagecodecs

    assert imagecodecs.packbits_decode(_packed(row)) == row
