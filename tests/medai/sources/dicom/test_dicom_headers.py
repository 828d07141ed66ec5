"""Headers: what is known of a picture, in plain words; and headers that were made to harm."""

from __future__ import annotations

import struct
import warnings
from datetime import datetime, timedelta
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from medai.sources.dicom.elements import Fault, open_elements
from medai.sources.dicom.headers import Facts, facts_of
from tests.medai.sources.dicom.making import IMPLICIT, LITTLE, TWELVE, element, fault_of, grey, made, with_elements


def facts(**told: Any) -> Facts:
    """What a file says of its picture."""
    return facts_of(open_elements(made(**told)).elements)


def moment(value: int | None) -> str | None:
    """Microseconds since 1970 as a text."""
    return None if value is None else str(datetime(1970, 1, 1) + timedelta(microseconds=value))


@pytest.mark.parametrize(
    ("told", "age"),
    [
        ({"PatientAge": "054Y"}, 54),
        ({"PatientAge": "018M"}, 1),
        ({"PatientAge": "300D"}, 0),
        ({"PatientAge": "089Y"}, 89),
        ({"PatientAge": "093Y"}, 90),
        ({"PatientAge": "300Y"}, 90),
        ({"PatientAge": "999Y"}, None),
        ({"PatientAge": "54"}, None),
        ({"PatientBirthDate": "19500701", "StudyDate": "20200630"}, 69),
        ({"PatientBirthDate": "19500701", "StudyDate": "20200702"}, 70),
        ({"PatientBirthDate": "19100101", "StudyDate": "20200630"}, 90),
        ({"PatientBirthDate": "20300101", "StudyDate": "20200630"}, None),
        ({"PatientBirthDate": "19500701"}, None),
    ],
)
def test_ages_are_whole_years_and_none_is_over_ninety(told: dict[str, str], age: int | None) -> None:
    """From PatientAge, else from the date of birth; the age that publishers put for over 89 becomes 90 too."""
    assert facts(**told).age == age


@pytest.mark.parametrize(
    ("told", "time", "known"),
    [
        ({"StudyDate": "20200102", "StudyTime": "1011"}, "2020-01-02 10:11:00", "2020-01-02 10:11:00"),
        (
            {"StudyDate": "20200102", "SeriesDate": "20200103", "SeriesTime": "235959.25"},
            "2020-01-03 23:59:59.250000", "2020-01-03 23:59:59.250000",
        ),
        (
            {"AcquisitionDateTime": "20200102101112.5+0100", "StudyDate": "20190101", "ContentDate": "20200102",
             "ContentTime": "120000", "InstanceCreationDate": "20200102", "InstanceCreationTime": "1130"},
            "2020-01-02 10:11:12.500000", "2020-01-02 12:00:00",
        ),
        ({"AcquisitionDate": "20200102", "AcquisitionTime": "99"}, "2020-01-02 00:00:00", "2020-01-02 00:00:00"),
        ({"StudyDate": "2020.01.02"}, "2020-01-02 00:00:00", "2020-01-02 00:00:00"),
        ({"StudyDate": "20201345"}, None, None),
        ({"StudyDate": "00010101"}, None, None),
        ({}, None, None),
    ],
)  # fmt: skip
def test_times_are_of_the_acquisition_and_known_when_the_picture_was_stored(
    told: dict[str, str], time: str | None, known: str | None
) -> None:
    """The nearest to the acquisition that is told; impossible ones are none."""
    found = facts(**told)
    assert (moment(found.time), moment(found.known_time)) == (time, known)


def test_words_are_coded_and_free_text_is_dropped() -> None:
    """What stands in a coded element may be anything; a name there would go on into tables."""
    said = {"ViewPosition": "pa", "ImageLaterality": "l", "PatientSex": "f", "BurnedInAnnotation": "YES"}
    found = facts(**said, Manufacturer=" Siemens  nm ", Modality="JANEDOE")
    assert (found.view, found.laterality, found.sex, found.burned_in) == ("PA", "L", "F", True)
    assert (found.manufacturer, found.modality) == ("SIEMENS NM", None)
    assert [facts(Manufacturer=name).manufacturer for name in ("Jane Doe", " ")] == ["OTHER", None]
    found = facts(ViewPosition="Jane Doe, 12.3.", Laterality="X", PatientSex="?", BurnedInAnnotation="maybe")
    assert (found.view, found.laterality, found.sex, found.burned_in) == (None, None, None, None)
    assert facts(PatientID="7", IssuerOfPatientID="WARD").patient == "WARD\\7"
    assert facts(PatientID="").patient is None


@pytest.mark.parametrize(
    ("orientation", "corner", "position"),
    [
        ([1, 0, 0, 0, 1, 0], [-10, -20, 35.5], 35.5),
        ([0, 1, 0, 0, 0, -1], [-12, 3, 4], 12.0),
        ([1, 0, 0, 0, 1], [0, 0, 0], None),
        (None, [0, 0, 1], None),
        ([1, 0, 0, 0, 1, 0], None, None),
    ],
)
def test_a_slice_lies_along_its_normal(
    orientation: list[float] | None, corner: list[float] | None, position: float | None
) -> None:
    """An axial slice by its height, a sagittal one by its side; without both attributes nowhere."""
    said = {"ImageOrientationPatient": orientation, "ImagePositionPatient": corner}
    assert facts(**{name: value for name, value in said.items() if value is not None}).slice_position == position


def test_a_patients_number_is_read_in_the_files_own_letters() -> None:
    """One number in two character sets is one patient."""
    latin = facts(SpecificCharacterSet="ISO_IR 100", PatientID="Kr\u00e4-7")
    composed = facts(SpecificCharacterSet="ISO_IR 192", PatientID="Kra\u0308-7")
    assert latin.patient == composed.patient == "Kr\u00e4-7"


def test_nothing_that_a_file_holds_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    """pydicom's warnings quote values: of a number that is too long, or not in the letters that the file names."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = made(PatientID="K" * 200, AccessionNumber="\u00e4", SpecificCharacterSet="ISO_IR 100")
    data = data.replace(b"ISO_IR 100", b"ISO_IR 192")
    caplog.clear()  # of what was said while it was written
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = facts_of(open_elements(data).elements)
    assert found.patient == "K" * 200
    assert not caplog.records


def test_spacing_is_the_pictures_else_the_detectors() -> None:
    """PixelSpacing before ImagerPixelSpacing; an enhanced file's shared measures before both; impossible ones never."""
    assert facts(PixelSpacing=[0.2, 0.1], ImagerPixelSpacing=[0.4, 0.4]).spacing == (0.2, 0.1)
    assert facts(PixelSpacing=[0, 0], ImagerPixelSpacing=[0.4, 0.3]).spacing == (0.4, 0.3)
    measures, groups = Dataset(), Dataset()
    measures.PixelSpacing = [0.7, 0.7]
    groups.PixelMeasuresSequence = Sequence([measures])
    assert facts(SharedFunctionalGroupsSequence=Sequence([groups]), PixelSpacing=[1, 1]).spacing == (0.7, 0.7)
    assert facts().spacing is None


@pytest.mark.parametrize(
    ("lies", "reason"),
    [
        ({"BitsAllocated": 12}, "unknown_bit_depth"),
        ({"BitsAllocated": 64}, "unknown_bit_depth"),
        ({"PhotometricInterpretation": "CMYK", "SamplesPerPixel": 4}, "unknown_photometric"),
        ({"PhotometricInterpretation": None}, "unknown_photometric"),
        ({"PhotometricInterpretation": "RGB"}, "damaged_header"),
        ({"SamplesPerPixel": 3}, "damaged_header"),
        ({"PixelRepresentation": 7}, "damaged_header"),
        ({"NumberOfFrames": 0}, "damaged_header"),
        ({"Rows": None}, "damaged_header"),
        ({"WindowCenter": "1e999", "WindowWidth": "4"}, "damaged_header"),
    ],
)
def test_a_header_that_no_rule_covers_is_a_fault(lies: dict[str, Any], reason: str) -> None:
    """Each with its reason, before any pixel is decoded."""
    assert fault_of(made(**lies)) == reason


@pytest.mark.parametrize("defined", [True, False])
@pytest.mark.parametrize("tag", [0x00083010, 0x00283000, 0x52009229])
def test_sequences_nested_ten_thousand_deep_are_a_fault_or_passed_by(tag: int, defined: bool) -> None:
    """No nesting ends the process: what is not asked for is skipped where its length is told, else it is damage."""
    inner = b""
    for _ in range(10_000):
        if defined:
            item = b"\xfe\xff\x00\xe0" + struct.pack("<I", len(inner)) + inner
            inner = element(tag, b"SQ", item)
        else:
            head = struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, b"SQ", 0, 0xFFFFFFFF)
            inner = head + b"\xfe\xff\x00\xe0" + b"\xff" * 4 + inner
    data = with_elements(made(), inner)
    if defined and tag != 0x00283000:
        assert grey(data).shape == TWELVE.shape
    else:
        assert fault_of(data) == "damaged_header"


@pytest.mark.parametrize(
    "data",
    [
        with_elements(made(), struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF)),
        with_elements(made(), struct.pack("<HH2sHI", 0x0009, 0x1001, b"UN", 0, 0xFFFFFFFF)),
        with_elements(made(), struct.pack("<HH2sHI", 0x0009, 0x1001, b"OB", 0, 0x7FFFFFFF)),
        with_elements(made(syntax=IMPLICIT), struct.pack("<HHI", 0x0009, 0x1001, 0xFFFFFFF0)),
    ],
    ids=["sequence without end", "unknown without end", "beyond the file", "implicit beyond the file"],
)
def test_lengths_without_end_are_faults(data: bytes) -> None:
    """An undefined length that nothing closes swallows the rest of the file; others point behind its end."""
    assert fault_of(data) in ("damaged_header", "no_pixels", "truncated_pixels")


def test_what_is_no_dicom_file_says_so() -> None:
    """A text, nothing, a bare data set, and a file that ends in its meta information."""
    data = made()
    assert fault_of(b"<!doctype html><title>404</title>" * 20) == "not_dicom"
    assert fault_of(b"x") == "not_dicom"
    assert fault_of(data[132:]) == "no_preamble"
    assert fault_of(data[144 + int.from_bytes(data[140:144], "little") :]) == "no_preamble"
    assert fault_of(data[:140]) in ("damaged_header", "no_transfer_syntax")
    assert fault_of(data[: data.find(b"\xe0\x7f\x10\0")]) == "truncated_pixels"
    with pytest.raises(Fault, match="no_pixels"):
        open_elements(data[: data.find(b"\x28\0\x02\0US")])
    assert fault_of(made(syntax=LITTLE)[:131]) == "not_dicom"
