"""One DICOM file: what stays of it, and that nothing else does."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medai.deidentification import Key
from medai.deidentification.outcomes import REASONS, SetAside
from medai.deidentification.pictures import rewritten
from medai.vocabularies.dicom import terms
from tests.medai.deidentification.conftest import Written, radiograph

pydicom = pytest.importorskip("pydicom", reason="the extra imaging is not installed")


def read(data: bytes) -> Any:
    """A file as another program reads it."""
    return pydicom.dcmread(io.BytesIO(data))


def reason(data: bytes, key: Key) -> str:
    """Why a file is set aside."""
    with pytest.raises(SetAside) as raised:
        rewritten(data, key)
    assert raised.value.reason in REASONS
    return raised.value.reason


def test_a_radiograph_keeps_what_it_shows_and_loses_whom(dicom: Written, key: Key) -> None:
    """Pixels, geometry, sex and view stay; name, ids, UIDs and dates are others; the stamps say what was done."""
    data, place, named, actions = rewritten(dicom(InstitutionName="St. Anna", OperatorsName="Meier"), key)
    new = read(data)
    assert named
    assert np.array_equal(new.pixel_array, radiograph())
    kept = (new.PatientSex, new.ViewPosition, new.BodyPartExamined, list(new.PixelSpacing), new.StudyTime, new.Modality)
    assert kept == ("F", "PA", "CHEST", [0.14, 0.14], "101112", "DX")
    assert new.PatientID == new.PatientName == key.subject("0017")
    assert (new.PatientAge, new.PatientBirthDate, new.AccessionNumber) == (
        "090Y",
        "",
        key.identifier("accession", "77123"),
    )
    moved = (np.datetime64("2020-03-01") + key.days("0017")).astype(str).replace("-", "")
    assert new.StudyDate == moved
    assert (new.StudyInstanceUID, new.SOPInstanceUID) == (key.uid("1.2.3.4.1"), key.uid("1.2.3.4.5.1"))
    assert new.file_meta.MediaStorageSOPInstanceUID == new.SOPInstanceUID
    assert "InstitutionName" not in new
    assert "OperatorsName" not in new
    assert new.PatientIdentityRemoved == "YES"
    assert new.LongitudinalTemporalInformationModified == "MODIFIED"
    assert [item.CodeValue for item in new.DeidentificationMethodCodeSequence] == ["113100", "113107", "113108"]
    assert all(len(part) <= 64 for part in new.DeidentificationMethod)
    assert new.preamble == bytes(128)
    assert re.fullmatch(r"P[0-9a-f]{15}/[0-9a-f]+/[0-9a-f]+/[0-9a-f]+\.dcm", place)
    assert place.startswith(new.PatientID)
    assert actions["pseudonym: profile"] == 3
    assert rewritten(dicom(InstitutionName="St. Anna", OperatorsName="Meier"), key)[0] == data


def test_dates_move_alike_everywhere(dicom: Written, key: Key) -> None:
    """DA and DT, in sequences too; what lies between them stays, times stay, what is no date goes."""

    def dated(dataset: Any) -> None:
        from pydicom.dataset import Dataset

        item = Dataset()
        item.StudyDate, item.AcquisitionDateTime = "20200311", "20200311235960.25+0100"
        dataset.RequestAttributesSequence = [item]
        dataset.DerivationImageSequence = [item]
        dataset.AcquisitionDateTime, dataset.SeriesDate, dataset.ContentDate = "20200301120000", "202003", "in March"
        dataset.SeriesTime, dataset.ContentTime = "noon", "235959.999999"

    new = read(rewritten(dicom(change=dated), key)[0])
    first, last = (
        np.datetime64(f"{text[:4]}-{text[4:6]}-{text[6:8]}")
        for text in (new.StudyDate, new.DerivationImageSequence[0].StudyDate)
    )
    assert last - first == 10
    assert first - np.datetime64("2020-03-01") == key.days("0017")
    assert new.AcquisitionDateTime == f"{new.StudyDate}120000"
    assert new.DerivationImageSequence[0].AcquisitionDateTime[8:] == "235960.25+0100"
    assert "RequestAttributesSequence" not in new
    assert ("SeriesDate" in new, "ContentDate" in new, "SeriesTime" in new) == (False, False, False)
    assert new.ContentTime == "235959.999999"


def test_references_between_files_still_meet(dicom: Written, key: Key) -> None:
    """A picture that another one names is found under its new UID; codes keep their dictionary's meaning alone."""

    def linked(dataset: Any) -> None:
        from pydicom.dataset import Dataset

        reference, code, strange = Dataset(), Dataset(), Dataset()
        reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = dataset.SOPClassUID, "1.2.3.4.5.9"
        code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "39607008", "SCT", "Frau Mustermann"
        strange.CodeValue, strange.CodingSchemeDesignator, strange.CodeMeaning = "Erika", "99HIS", "Mustermann"
        dataset.SourceImageSequence, dataset.ReferencedImageSequence = [reference], [reference]
        dataset.AnatomicRegionSequence, dataset.ViewCodeSequence = [code], [strange]

    new = read(rewritten(dicom(change=linked), key)[0])
    other = read(rewritten(dicom(SOPInstanceUID="1.2.3.4.5.9", AccessionNumber=None), key)[0])
    assert new.SourceImageSequence[0].ReferencedSOPInstanceUID == other.SOPInstanceUID
    assert new.ReferencedImageSequence[0].ReferencedSOPClassUID == other.SOPClassUID
    assert new.AnatomicRegionSequence[0].CodeMeaning == "Lung structure (body structure)"
    assert "ViewCodeSequence" not in new
    assert new.StudyDate == other.StudyDate


def test_a_file_that_names_nobody_stands_for_its_study(dicom: Written, key: Key) -> None:
    """Two studies without a patient are two patients, and never one."""
    first, second = (rewritten(dicom(PatientID=given, StudyInstanceUID=study), key) for given, study in
                     ((None, "1.2.3.4.7"), ("", "1.2.3.4.8")))  # fmt: skip
    assert (first[2], second[2]) == (False, False)
    assert read(first[0]).PatientID != read(second[0]).PatientID
    assert rewritten(dicom(PatientID=None, StudyInstanceUID="1.2.3.4.7"), key)[1] == first[1]


def _private(dataset: Any) -> None:
    dataset.add_new(0x60000010, "US", 4)
    dataset.add_new(0x60000102, "US", 12)


def _deep(dataset: Any) -> None:
    from pydicom.dataset import Dataset

    inner = dataset
    for _ in range(200):
        item = Dataset()
        inner.DerivationImageSequence = [item]
        inner = item


@pytest.mark.parametrize(
    ("name", "attributes"),
    [
        ("burned_in_says_the_file", {"BurnedInAnnotation": "YES"}),
        ("kind_that_shows_text", {"Modality": "US"}),
        ("kind_that_shows_text", {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7.2"}),
        ("kind_that_shows_text", {"ConversionType": "DF"}),
        ("kind_that_shows_text", {"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]}),
        ("unused_bits", {"PixelData": (radiograph() | 1 << 14).tobytes()}),
        ("damaged", {"PixelData": radiograph().tobytes()[:-400]}),
        ("damaged", {"Rows": 480}),
        ("no_picture", {"PixelData": None}),
        ("syntax_not_covered", {"syntax": "1.2.840.10008.1.2.4.102", "PixelData": None}),
        ("damaged", {"StudyInstanceUID": None}),
        ("too_deep", {"change": _deep}),
    ],
)
def test_what_cannot_be_rewritten_is_set_aside(name: str, attributes: dict[str, Any], dicom: Written, key: Key) -> None:
    """Each with its reason."""
    assert reason(dicom(**attributes), key) == name


def test_bytes_that_are_no_dicom_are_set_aside(dicom: Written, key: Key) -> None:
    """Text, no preamble, cut anywhere, sequences nested 10,000 deep: a reason each, and no other exception."""
    data = dicom()
    assert reason(b"", key) == "not_dicom"
    assert reason(b"Erika Mustermann" * 100, key) == "not_dicom"
    assert reason(data[132:], key) == "not_dicom"
    assert {reason(data[:cut], key) for cut in range(140, len(data) - 2, 1499)} <= {"damaged", "no_picture"}
    opened = b"\x08\x00\x15\x91SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    start = data.index(b"\x08\x00\x18\x00UI")
    assert reason(data[:start] + opened * 10_000, key) in ("too_deep", "damaged")


def test_bits_and_bytes_beside_the_pixels_are_gone(dicom: Written, key: Key) -> None:
    """An overlay in declared unused bits is cleared; what follows the last pixel is cut; overlay groups go."""
    hidden = radiograph() | np.uint16(1 << 12)
    new = read(rewritten(dicom(pixels=hidden, change=_private), key)[0])
    assert np.array_equal(new.pixel_array, radiograph())
    assert not [element for element in new if element.tag.group >> 8 == 0x60]
    after = dicom(PixelData=radiograph().tobytes() + b"MUSTERMANN^ERIKA")
    assert b"MUSTERMANN" not in rewritten(after, key)[0]


def _with_jpeg(dataset: Any, comment: bytes) -> None:
    import cv2
    from pydicom.encaps import encapsulate

    _, stream = cv2.imencode(".jpg", (radiograph() >> 4).astype(np.uint8))
    jpeg = stream.tobytes()
    dataset.PixelData = encapsulate([jpeg[:2] + comment + jpeg[2:] + b"after the end: Mustermann"])
    dataset["PixelData"].is_undefined_length = True
    dataset["PixelData"].VR = "OB"


@pytest.mark.parametrize(
    "comment",
    [
        b"\xff\xfe\x00\x0cMUSTERMANN",
        b"\xff\xe1\x00\x1cExif\0\0MM\0*\0\0\0\x08\0\0MUSTERMANN",
        b"\xff\xe0\x00\x1aJFIF\0\1\1\0\0\1\0\1\1\1MUSTERMANN",
    ],
    ids=["comment", "EXIF", "thumbnail"],
)
def test_comments_in_compressed_pixels_are_gone(comment: bytes, dicom: Written, key: Key) -> None:
    """The decoded picture stays the same to the bit."""
    eight = {"syntax": "1.2.840.10008.1.2.4.50", "BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}
    before = dicom(change=lambda dataset: _with_jpeg(dataset, comment), **eight)
    after = rewritten(before, key)[0]
    assert b"MUSTERMANN" in before
    assert b"MUSTERMANN" not in after.upper()
    assert np.array_equal(read(after).pixel_array, read(before).pixel_array)


def test_an_identifier_that_no_rule_covers_is_noticed(
    dicom: Written, key: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were a rule to let a name through, the last look at the header's bytes would set the file aside."""

    known = terms()
    through = known._replace(manufacturers=known.manufacturers | {"Mustermann"})
    assert "Manufacturer" in read(rewritten(dicom(Manufacturer="Mustermann"), key)[0])
    monkeypatch.setattr("medai.deidentification.header.terms", lambda: through)
    assert reason(dicom(Manufacturer="Mustermann"), key) == "identifier_left"


def test_a_patient_whose_name_is_a_word_of_the_stamps_is_rewritten(dicom: Written, key: Key) -> None:
    """`Test^Patient` is not left in "Retain Patient Characteristics Option", which medai itself writes."""
    data = rewritten(dicom(PatientName="Profile^Patient"), key)[0]
    assert read(data).PatientName == key.subject("0017")
    assert b"Profile^" not in data


def test_pixels_that_pydicom_has_no_codec_for_are_looked_through(dicom: Written, key: Key) -> None:
    """JPEG Lossless and JPEG of 12 bits, by the decoder that the pipeline reads them with."""
    from imagecodecs import jpeg8_decode, jpeg8_encode
    from pydicom.encaps import encapsulate, generate_frames

    for syntax, how in (("1.2.840.10008.1.2.4.70", {"lossless": True, "predictor": 1}), ("1.2.840.10008.1.2.4.51", {})):
        stream = jpeg8_encode(radiograph(), bitspersample=12, **how)

        def compressed(dataset: Any, stream: bytes = stream) -> None:
            dataset.PixelData = encapsulate([stream])
            dataset["PixelData"].is_undefined_length = True
            dataset["PixelData"].VR = "OB"

        new = read(rewritten(dicom(change=compressed, syntax=syntax), key)[0])
        (frame,) = generate_frames(new.PixelData, number_of_frames=1)
        assert np.array_equal(jpeg8_decode(frame), jpeg8_decode(stream))
        cut = stream[: len(stream) // 2]
        assert reason(dicom(change=lambda one, cut=cut: compressed(one, cut), syntax=syntax), key) == "damaged"


def test_text_in_pixels_that_pydicom_has_no_codec_for_is_seen(dicom: Written, key: Key) -> None:
    """A name burned into a picture of JPEG Lossless sets it aside."""
    import cv2
    from imagecodecs import jpeg8_encode
    from pydicom.encaps import encapsulate

    name = cv2.putText(np.zeros((256, 256), np.uint8), "MUSTERMANN", (20, 60), cv2.FONT_HERSHEY_SIMPLEX, 0.8, 255, 2)
    picture = np.where(name > 127, np.uint16(4095), radiograph(256) // 2)
    stream = jpeg8_encode(picture, bitspersample=12, lossless=True, predictor=1)

    def compressed(dataset: Any) -> None:
        dataset.PixelData = encapsulate([stream])
        dataset["PixelData"].is_undefined_length = True
        dataset["PixelData"].VR = "OB"

    data = dicom(pixels=picture, change=compressed, syntax="1.2.840.10008.1.2.4.70")
    assert reason(data, key) == "text_in_the_pixels"


def test_each_picture_among_pydicoms_own_files_stays_the_same(key: Key) -> None:
    """Every file that is rewritten, of whatever transfer syntax, decodes to what it decoded to before."""
    folder, compared = Path(pydicom.__file__).parent / "data" / "test_files", 0
    for name in ("CT_small", "MR_small", "693_J2KI", "JPEG2000", "emri_small_RLE", "rtdose_rle"):
        for path in folder.glob(f"{name}*.dcm"):
            data = path.read_bytes()
            try:
                after = read(rewritten(data, key)[0])
            except SetAside:
                continue
            assert np.array_equal(after.pixel_array, read(data).pixel_array)
            compared += 1
    assert compared >= 8
