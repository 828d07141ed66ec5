"""pydicom's own test files: each decoded as the golden table says, and as dcmtk or GDCM decodes it."""

from __future__ import annotations

import pytest

from tests.oracles.dicom_pixels import NO_PIXELS, confirmed, files, golden, hash_of, is_here, ours

NAMES = dict(files())
GOLDEN = golden()
ONE_A_CODING = (
    "MR_small.dcm", "ExplVR_BigEnd.dcm", "image_dfl.dcm", "MR_small_RLE.dcm", "JPGExtended.dcm", "SC_rgb_jpeg_gdcm.dcm",
    "JPEGLSNearLossless_16.dcm",
)  # fmt: skip


def test_every_file_is_decoded_as_the_table_says() -> None:
    """To the bit at full size, or set aside with the reason; none is left out, none crashes."""
    assert NAMES.keys() == GOLDEN.keys()
    outcomes = {}
    for name, path in NAMES.items():
        found = ours(path)
        outcomes[name] = found.reason or hash_of(found.stored)  # type: ignore[arg-type]
    assert outcomes == {name: outcome for name, (outcome, _) in GOLDEN.items()}
    confirmed_by = [by for outcome, by in GOLDEN.values() if by]
    assert (confirmed_by.count("dcmtk"), confirmed_by.count("gdcm"), confirmed_by.count("nobody")) == (78, 9, 0)
    assert sum(not by and outcome != NO_PIXELS for outcome, by in GOLDEN.values()) == 13


@pytest.mark.skipif(not is_here(), reason="dcmtk's tools are not on PATH")
@pytest.mark.parametrize(
    "name",
    [
        name if name in ONE_A_CODING else pytest.param(name, marks=pytest.mark.slow)
        for name, (_, by) in GOLDEN.items()
        if by
    ],
)
def test_another_decoder_has_the_same_values(name: str) -> None:
    """Stored values are equal; what dcmtk shows of the first frame is one level apart at most."""
    by, _ = confirmed(NAMES[name], ours(NAMES[name]))
    assert by == GOLDEN[name][1]
