"""Pictures of devices that write into them: blanked where the site vouches for it, stamped, and looked through."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medai.deidentification import Key
from medai.deidentification.outcomes import SetAside
from medai.deidentification.pictures import rewritten
from medai.deidentification.regions import Regions, read_regions
from medai.errors import ConfigurationError
from tests.medai.deidentification.conftest import Written

pydicom = pytest.importorskip("pydicom", reason="the extra imaging is not installed")

US, FRAMES, ROWS, COLUMNS = "1.2.840.10008.5.1.4.1.1.3.1", 3, 120, 160
RULE = {
    "sop_class": US,
    "rows": ROWS,
    "columns": COLUMNS,
    "model": "SONO 5",
    "blank": [[0, 0, 160, 24], [120, 24, 40, 8]],
}
KINDS = {
    "grey": {"SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2"},
    "colour": {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0},
    "planes": {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 1},
    "ybr": {"SamplesPerPixel": 3, "PhotometricInterpretation": "YBR_FULL", "PlanarConfiguration": 0},
}


def rules(**told: Any) -> Regions:
    """One rule."""
    return Regions.model_validate({"regions": [RULE | told]})


def cine(samples: int, *, named: int = 6) -> np.ndarray:
    """Frames of an ultrasound, a name in letters of light at ``named`` rows from the top: uint8."""
    import cv2

    rng = np.random.default_rng(0)
    frames = rng.integers(40, 70, (FRAMES, ROWS, COLUMNS, samples), np.uint8)
    for frame in frames:
        drawn = np.zeros((ROWS, COLUMNS), np.uint8)
        cv2.putText(drawn, "MUSTERMANN E", (2, named + 10), cv2.FONT_HERSHEY_SIMPLEX, 0.5, 255, 1)
        frame[drawn > 128] = 250
    return frames


def ultrasound(dicom: Written, kind: str = "grey", **told: Any) -> bytes:
    """A file of them."""
    frames = told.pop("frames", cine(KINDS[kind]["SamplesPerPixel"]))
    laid = frames.transpose(0, 3, 1, 2) if kind == "planes" else frames
    given = {
        "SOPClassUID": US, "Modality": "US", "ManufacturerModelName": "SONO 5", "NumberOfFrames": FRAMES, "Rows": ROWS,
        "Columns": COLUMNS, "BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "PixelData": laid.tobytes(),
        "BurnedInAnnotation": "YES", **KINDS[kind],
    }  # fmt: skip
    return dicom(**{**given, **told})


def reason(data: bytes, key: Key, rule: Regions | None) -> str:
    """Why a file is set aside."""
    with pytest.raises(SetAside) as raised:
        rewritten(data, key, rule)
    return raised.value.reason


@pytest.mark.parametrize("kind", list(KINDS))
def test_what_a_rule_describes_is_blanked_in_every_frame_and_stamped(dicom: Written, key: Key, kind: str) -> None:
    """Black in the rectangles, the rest as it was; 113101 beside the profile, BurnedInAnnotation NO, the count told."""
    assert reason(ultrasound(dicom, kind), key, None) == "burned_in_says_the_file"
    data, _, _, actions = rewritten(ultrasound(dicom, kind), key, rules())
    new = pydicom.dcmread(io.BytesIO(data))
    frames = cine(KINDS[kind]["SamplesPerPixel"])
    black = (0, 128, 128) if kind == "ybr" else 0
    frames[:, :24] = black
    frames[:, 24:32, 120:160] = black
    found = np.frombuffer(new.PixelData, np.uint8)
    laid = frames.transpose(0, 3, 1, 2) if kind == "planes" else frames
    assert np.array_equal(found[: laid.size], laid.ravel())
    codes = [item.CodeValue for item in new.DeidentificationMethodCodeSequence]
    assert codes == ["113100", "113107", "113108", "113101"]
    assert new.BurnedInAnnotation == "NO"
    assert new.DeidentificationMethod[-1] == "regions of the pixels blanked"
    assert actions["blank: the site's regions"] == 2


def test_compressed_pictures_are_stored_uncompressed_once_blanked(dicom: Written, key: Key) -> None:
    """RLE, which loses nothing: the pixels beside the rectangles are the same to the last."""
    whole = pydicom.dcmread(io.BytesIO(ultrasound(dicom)))
    whole.compress("1.2.840.10008.1.2.5", generate_instance_uid=False)
    file = io.BytesIO()
    pydicom.dcmwrite(file, whole)
    data, *_ = rewritten(file.getvalue(), key, rules())
    new = pydicom.dcmread(io.BytesIO(data))
    assert new.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    assert np.array_equal(new.pixel_array[:, 32:], cine(1)[:, 32:, :, 0])
    assert not new.pixel_array[:, :24].any()


def test_nobody_vouches_for_another_layout(dicom: Written, key: Key) -> None:
    """Another size, device or class is set aside as without rules; text beside the rectangles is seen afterwards."""
    for told in ({"rows": ROWS + 1}, {"model": "SONO 6"}, {"sop_class": f"{US}.1"}, {"manufacturer": "ACME"}):
        assert reason(ultrasound(dicom), key, rules(**told)) == "burned_in_says_the_file"
    assert reason(ultrasound(dicom, BurnedInAnnotation=None), key, rules(rows=1 + ROWS)) == "kind_that_shows_text"
    moved = ultrasound(dicom, frames=cine(1, named=60))
    assert reason(moved, key, rules()) == "text_in_the_pixels"


def test_a_picture_that_needs_no_rule_is_never_called_cleaned(dicom: Written, key: Key) -> None:
    """A radiograph without text is rewritten as ever, though a rule describes its class and size."""
    from pydicom.uid import DigitalXRayImageStorageForPresentation as Dx

    rule = Regions.model_validate({"regions": [{"sop_class": Dx, "rows": 96, "columns": 96, "blank": [[0, 0, 5, 5]]}]})
    assert rewritten(dicom(), key, rule) == rewritten(dicom(), key)


def test_a_file_of_rules_is_checked_before_any_work(tmp_path: Path) -> None:
    """A rectangle within the picture, and nothing misspelt; the message names the place."""
    path = tmp_path / "regions.yaml"
    text = f"regions:\n  - {{sop_class: '{US}', rows: 10, columns: 10, blank: [[0, 0, 5, 5]]}}\n"
    path.write_text(text)
    assert read_regions(path).regions[0].blank == ((0, 0, 5, 5),)
    for old, new, told in (
        ("[0, 0, 5, 5]", "[6, 0, 5, 5]", "a rectangle of blank leaves the picture of 10 × 10"),
        ("[[0, 0, 5, 5]]", "[]", "regions.0.blank"),
        ("rows", "rowz", "did you mean 'rows'?"),
    ):
        path.write_text(text.replace(old, new))
        with pytest.raises(ConfigurationError) as raised:
            read_regions(path)
        assert told in raised.value.received
