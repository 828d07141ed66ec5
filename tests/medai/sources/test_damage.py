"""What is damage of a DICOM file, and what is a defect of ours, where files are read and where they are rewritten."""

from __future__ import annotations

import errno
import io
from collections.abc import Callable
from typing import Any

import imagecodecs
import numpy as np
import pytest
from pydicom import dcmwrite
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.values import convert_value

from medai.deidentification import Key
from medai.deidentification import pictures as deidentified
from medai.sources.damage import is_damage, parsing
from medai.sources.dicom.decoding import decode
from tests.medai.sources.dicom.making import JPEG_2000, TWELVE, WHOLE, dataset, element, fault_of, made, with_elements

KINDS = [ValueError, KeyError, TypeError, AttributeError]
DETAILS: dict[str, Any] = {
    "PatientName": "Mustermann^Erika", "PatientAge": "043Y", "StudyDate": "20200301", "WindowCenter": 900,
    "WindowWidth": 700, "ImageType": ["ORIGINAL", "PRIMARY"], "Manufacturer": "ACME", "PixelSpacing": [0.1, 0.1],
}  # fmt: skip


def line_of(module: str, kind: type[Exception]) -> Callable[..., Any]:
    """A function of a module that raises an exception of a kind."""
    names: dict[str, Any] = {"__name__": module, "kind": kind}
    exec("def line(*_, **__): raise kind", names)  # noqa: S102 a line of that module
    return names["line"]  # type: ignore[no-any-return]


@pytest.mark.parametrize("kind", [*KINDS, NotImplementedError, RuntimeError, OSError])
def test_who_raised_it_decides(kind: type[Exception]) -> None:
    """The same exception is damage where a library raises it at bytes, and a defect where medai's own line does."""
    for module, damage in (("medai.deidentification.header", False), ("pydicom.values", True), ("medaille", True)):
        with pytest.raises(kind) as raised:
            line_of(module, kind)()
        assert is_damage(raised.value) is damage


def test_what_libraries_say_of_bytes_is_damage() -> None:
    """pydicom's word for a representation that nobody knows, and a codec's, which is written in C."""
    with pytest.raises(NotImplementedError) as unknown:
        convert_value("ZZ", None)  # type: ignore[arg-type]
    with pytest.raises(RuntimeError) as cut:
        imagecodecs.jpeg8_decode(b"\xff\xd8\xff\xd9")
    assert is_damage(unknown.value)
    assert is_damage(cut.value)


def test_what_the_machine_lacks_is_no_damage() -> None:
    """A disk's error, memory, a module: the same file may be whole."""
    for error in (OSError(errno.EIO, "a disk"), MemoryError(), ImportError("a codec")):
        with pytest.raises(type(error)) as raised:
            exec("raise error", {"__name__": "pydicom.values", "error": error})  # noqa: S102
        assert not is_damage(raised.value)


def test_a_recursion_is_the_librarys_that_calls_us() -> None:
    """Nested sequences may end in a line of medai's that pydicom calls; one of medai's own alone is a defect."""
    ours = line_of("medai.sources.dicom.elements", RecursionError)
    theirs: dict[str, Any] = {"__name__": "pydicom.filereader", "ours": ours}
    exec("def read(): ours()", theirs)  # noqa: S102
    calling: dict[str, Any] = {"__name__": "medai.sources.dicom.elements", "parsing": parsing}
    exec("def call(of, **told):\n  with parsing(EOFError('damaged'), **told): of()", calling)  # noqa: S102
    with pytest.raises(EOFError, match="damaged"):
        calling["call"](theirs["read"])
    with pytest.raises(EOFError, match="deep"):
        calling["call"](theirs["read"], too_deep=EOFError("deep"))
    with pytest.raises(RecursionError):
        calling["call"](ours)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "line",
    [
        "elements._Bytes.tell", "elements._behind_meta", "elements._read", "elements.Elements.words",
        "elements.Elements.shorts", "elements._finite", "headers._whole", "headers._moment", "headers.age_of",
        "pixels._told", "pixels._settled", "fragments._spans", "rendering._voi_of",
    ],
)  # fmt: skip
def test_a_defect_in_a_line_that_reads_is_raised(line: str, kind: type[Exception], monkeypatch: Any) -> None:
    """No line of medai's, called by pydicom or calling it, is excused by the file that it reads."""
    sound = made(TWELVE, JPEG_2000, NumberOfFrames=1, **DETAILS)
    assert decode(sound, WHOLE).pictures[0].decoded.fault is None
    module = line.partition(".")[0]
    monkeypatch.setattr(f"medai.sources.dicom.{line}", line_of(f"medai.sources.dicom.{module}", kind))
    with pytest.raises(kind):
        decode(sound, WHOLE)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "line",
    [
        "header._values", "header._checked", "header.rule_of", "header._Work._uid", "header._stamp", "dates.moved",
        "pixels._size", "pixels._cut", "pixels.text_of", "codestreams._octet", "codestreams._segments",
        "burned_in._has_line", "pictures._place",
    ],
)  # fmt: skip
def test_a_defect_in_a_line_that_de_identifies_is_raised(line: str, kind: type[Exception], monkeypatch: Any) -> None:
    """It would set a whole ward aside as damaged, and nobody would know."""
    syntax = {"codestreams._octet": "1.2.840.10008.1.2.4.80", "codestreams._segments": JPEG_2000}.get(line)
    sound = made(TWELVE.repeat(4, 0).repeat(4, 1), *([] if syntax is None else [syntax]), **DETAILS)
    deidentified.rewritten(sound, Key(bytes(32)))
    module = line.partition(".")[0]
    monkeypatch.setattr(f"medai.deidentification.{line}", line_of(f"medai.deidentification.{module}", kind))
    with pytest.raises(kind):
        deidentified.rewritten(sound, Key(bytes(32)))


def test_a_value_that_our_lines_cannot_take_sets_the_file_aside() -> None:
    """With a reason, not with an exception: no number, no finite one, no text, no sequence, no length of its type."""
    for keyword, vr, value in (
        ("NumberOfFrames", b"IS", b"many"),
        ("WindowCenter", b"DS", b"1.0.0 "),
        ("RescaleSlope", b"DS", b"1e999 "),
        ("PatientID", b"US", b"\1\0"),
        ("AccessionNumber", b"UL", b"abc"),
        ("VOILUTSequence", b"LO", b"none"),
    ):
        tag = tag_for_keyword(keyword) or 0
        data = with_elements(made(PatientID=None, WindowWidth=700), element(tag, vr, value))
        assert fault_of(data) == "damaged_header", keyword


def test_a_value_that_is_not_known_costs_no_picture() -> None:
    """Digits that are none of ASCII's, and a place in space beyond all numbers: the picture stands, they do not."""
    place = (b"1e300\\" * 6)[:-1] + b" ", b"1e300\\-1e300\\1"
    data = with_elements(
        made(),
        element(0x00101010, b"AS", b"\xb2\xb2\xb2Y"),
        element(0x00200032, b"DS", place[1]),
        element(0x00200037, b"DS", place[0]),
    )
    answer = decode(data, WHOLE)
    assert answer.facts is not None
    assert answer.pictures[0].decoded.fault is None
    assert (answer.facts.age, answer.facts.slice_position) == (None, None)


def test_pictures_of_one_bit_in_a_codestream_are_set_aside() -> None:
    """No rule covers how they would be stored."""
    stream = imagecodecs.jpeg2k_encode(np.eye(9, 14, dtype=np.uint8), bitspersample=1, codecformat="j2k", level=0)
    dark = dataset(np.zeros((9, 14), np.uint8), BitsAllocated=1, BitsStored=1, HighBit=0)
    dark.PixelData = encapsulate([stream])
    dark["PixelData"].VR, dark["PixelData"].is_undefined_length = "OB", True
    dark.file_meta = FileMetaDataset()
    dark.file_meta.TransferSyntaxUID = JPEG_2000
    buffer = io.BytesIO()
    dcmwrite(buffer, dark, enforce_file_format=True)
    assert fault_of(buffer.getvalue()) == "unknown_bit_depth"
