"""What a file says of its pixels (PS3.3 C.7.6.3) and of the picture they make, checked before any pixel is decoded."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal, NamedTuple

from medai.sources.dicom.elements import BIG_ENDIAN, Elements, Fault, Opened
from medai.sources.dicom.syntaxes import Coding, coding_of
from medai.vocabularies.dicom import OTHER, makers, terms

if TYPE_CHECKING:
    from mmap import mmap

PIXEL_LIMIT = 1 << 26
"""Most pixels of a frame, 8192 × 8192; a mammogram has 20 million."""
FRAME_LIMIT = 1 << 14
"""Most frames of a file; a long run of a catheter has some thousand."""

_ALLOCATED = {"whole": (1, 8, 16, 32), "float32": (32,), "float64": (64,)}
_SAMPLES = {"MONOCHROME1": 1, "MONOCHROME2": 1, "PALETTE COLOR": 1, "RGB": 3, "YBR_FULL": 3, "YBR_FULL_422": 3,
            "YBR_PARTIAL_420": 3, "YBR_ICT": 3, "YBR_RCT": 3}  # fmt: skip
"""Photometric interpretation → samples of a pixel; ARGB, CMYK and HSV are retired, and no rule covers them."""
OLDEST = 90
"""An age over 89 is told as 90, since so few are older that the number would tell who (45 CFR 164.514(b)(2)(i)(C))."""
_LONGEST_LIFE = 130
_HIDDEN_AGE = 300
"""How some publishers hide an age over 89."""
_AGES = {"D": 365.25, "W": 365.25 / 7, "M": 12.0, "Y": 1.0}
_YEARS = (1900, 2300)
"""Pictures are of our time; publishers shift dates into the next centuries."""
_SIDES = frozenset({"L", "R", "B", "U"})


class Header(NamedTuple):
    """The geometry and coding of a file's pixels.

    Attributes:
        coding: how the transfer syntax codes pixels.
        rows, columns, frames: of the picture.
        samples: values of a pixel: 1 or 3.
        allocated, stored, high: bits of a value: taken in the file, in use, and place of the highest in use.
        signed: whether whole numbers are two's complement.
        kind: ``whole``, ``float32`` or ``float64``.
        photometric: PS3.3 C.7.6.3.1.2.
        planar: whether colours lie one plane after the other.
    """

    coding: Coding
    rows: int
    columns: int
    frames: int
    samples: int
    allocated: int
    stored: int
    high: int
    signed: bool
    kind: str
    photometric: str
    planar: bool
    big_endian: bool


class Facts(NamedTuple):
    """What a file says of its picture beside the pixels; identifiers stay with the owner.

    Attributes:
        patient, sop, study, series, accession: the site's own identifiers.
        time: microseconds since 1970 of the picture's acquisition, without a zone; None where the file does not tell.
        known_time: the latest time that the file names: when the picture was acquired, made and stored.
        spacing: millimetres between the middles of two rows and of two columns, as PixelSpacing tells, else as the
            detector's ImagerPixelSpacing or a scanner's NominalScannedPixelSpacing does.
        slice_position: millimetres along the normal of a slice that the file places in space.
        manufacturer: one of ``medai.vocabularies.dicom``, or ``OTHER``.
        model: as it is written; free text, which only its token may leave.
        age: whole years; over 89 is 90.
        burned_in: whether pixels carry a patient's details, by BurnedInAnnotation; None where it is not said.
    """

    patient: str | None
    sop: str | None
    study: str | None
    series: str | None
    accession: str | None
    time: int | None
    known_time: int | None
    spacing: tuple[float, float] | None
    slice_position: float | None
    modality: str | None
    view: str | None
    laterality: str | None
    manufacturer: str | None
    model: str | None
    sex: str | None
    age: int | None
    burned_in: bool | None


def header_of(opened: Opened) -> Header:
    """The header of a file's pixels.

    Raises:
        Fault: it lacks what a decoder must know, contradicts itself, or no rule covers it.
    """
    elements = opened.elements
    coding = coding_of(opened.syntax)
    rows, columns = _needed(elements, "Rows"), _needed(elements, "Columns")
    samples = elements.short("SamplesPerPixel") or 1
    allocated = _needed(elements, "BitsAllocated")
    stored = elements.short("BitsStored") or allocated
    high = elements.short("HighBit")
    photometric = (elements.word("PhotometricInterpretation") or "").upper()
    frames = _whole(elements.word("NumberOfFrames"), 1)
    signed = elements.short("PixelRepresentation") or 0
    planar = (elements.short("PlanarConfiguration") or 0) if samples > 1 else 0
    if allocated not in _ALLOCATED[opened.kind]:
        raise Fault("unknown_bit_depth")
    if not 1 <= stored <= allocated or not stored - 1 <= (stored - 1 if high is None else high) < allocated:
        raise Fault("bits_contradict")
    if photometric not in _SAMPLES or (samples == 3 and allocated not in (8, 16, 32)):
        raise Fault("unknown_photometric")
    if samples != _SAMPLES[photometric] or signed > 1 or planar > 1 or frames < 1:
        raise Fault("damaged_header")
    if rows * columns > PIXEL_LIMIT or frames > FRAME_LIMIT:
        raise Fault("decompression_bomb")
    return Header(
        coding=coding,
        rows=rows,
        columns=columns,
        frames=frames,
        samples=samples,
        allocated=allocated,
        stored=stored,
        high=stored - 1 if high is None else high,
        signed=bool(signed),
        kind=opened.kind,
        photometric=photometric,
        planar=bool(planar),
        big_endian=opened.syntax == BIG_ENDIAN,
    )


def _needed(elements: Elements, keyword: str) -> int:
    value = elements.short(keyword)
    if not value:
        raise Fault("damaged_header")
    return value


def _whole(word: str | None, default: int) -> int:
    try:
        return default if word is None else int(word)
    except ValueError:
        raise Fault("damaged_header") from None


def facts_of(elements: Elements) -> Facts:
    """What a file says of its picture; what cannot be read of it is not known."""
    shared = elements.item("SharedFunctionalGroupsSequence")
    spacing = _spacing(elements, shared)
    time, known_time = times_of(elements)
    side = (elements.word("ImageLaterality") or elements.word("Laterality") or "").upper()
    burned = (elements.word("BurnedInAnnotation") or "").upper()
    patient, issuer = elements.text("PatientID"), elements.text("IssuerOfPatientID")
    return Facts(
        patient=patient if patient is None or issuer is None else f"{issuer}\\{patient}",
        sop=elements.word("SOPInstanceUID"),
        study=elements.word("StudyInstanceUID"),
        series=elements.word("SeriesInstanceUID"),
        accession=elements.text("AccessionNumber"),
        time=time,
        known_time=known_time,
        spacing=spacing,
        slice_position=_slice_position(elements),
        modality=_code(elements.word("Modality")),
        view=_code(elements.word("ViewPosition")),
        laterality=side if side in _SIDES else None,
        manufacturer=_maker(elements.text("Manufacturer")),
        model=elements.text("ManufacturerModelName"),
        sex=_sex(elements.word("PatientSex")),
        age=age_of(elements, time),
        burned_in={"YES": True, "NO": False}.get(burned),
    )


def _code(word: str | None) -> str | None:
    """A coded word (CS) of the standard; what else stands there may be free text, and is not told."""
    word = (word or "").upper()
    return word if word in terms().codes else None


def _maker(text: str | None) -> str | None:
    """A maker of devices by its name, in one spelling; ``OTHER`` for one that nobody knows."""
    name = " ".join((text or "").upper().split())
    return None if not name else name if name in makers() else OTHER


def _slice_position(elements: Elements) -> float | None:
    """Millimetres along the normal of the slice (PS3.3 C.7.6.2.1.1); None where the file does not place it."""
    try:
        across = elements.numbers("ImageOrientationPatient")
        corner = elements.numbers("ImagePositionPatient")
    except Fault:
        return None
    if len(across) != 6 or len(corner) != 3:
        return None
    row, column = across[:3], across[3:]
    normal = [row[(k + 1) % 3] * column[(k + 2) % 3] - row[(k + 2) % 3] * column[(k + 1) % 3] for k in range(3)]
    position = sum(one * other for one, other in zip(normal, corner, strict=True))
    return position if math.isfinite(position) else None


def _sex(word: str | None) -> Literal["F", "M", "O"] | None:
    letter = (word or "").upper()[:1]
    return letter if letter in ("F", "M", "O") else None  # type: ignore[return-value]


def _spacing(elements: Elements, shared: Elements | None) -> tuple[float, float] | None:
    measures = shared.item("PixelMeasuresSequence") if shared is not None else None
    places = ([(measures, "PixelSpacing")] if measures is not None else []) + [
        (elements, keyword) for keyword in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")
    ]
    for place, keyword in places:
        try:
            values = place.numbers(keyword)
        except Fault:
            continue
        if len(values) == 2 and all(0 < value < 100 for value in values):
            return values[0], values[1]
    return None


def age_of(elements: Elements, time: int | None) -> int | None:
    """The patient's age in whole years at the picture, from PatientAge, else from the date of birth."""
    told = (elements.word("PatientAge") or "").upper()
    years: float | None = None
    if len(told) == 4 and told.isascii() and told[:3].isdigit() and told[3] in _AGES:
        years = int(told[:3]) / _AGES[told[3]]
    elif time is not None and (born := _date(elements.word("PatientBirthDate"), ages=True)) is not None:
        day = datetime(1970, 1, 1) + timedelta(microseconds=time)
        years = day.year - born.year - ((day.month, day.day) < (born.month, born.day))
    if years is None or years < 0 or (years > _LONGEST_LIFE and math.floor(years) != _HIDDEN_AGE):
        return None
    return min(math.floor(years), OLDEST)


def times_of(elements: Elements) -> tuple[int | None, int | None]:
    """When a picture was acquired, and the latest of the times at which the file says it was made and stored."""
    acquired = _moment(elements.word("AcquisitionDateTime"))
    own = acquired if acquired is not None else _pair(elements, "Acquisition")
    later = [_pair(elements, part) for part in ("Content", "InstanceCreation")]
    time = own
    for other in (later[0], _pair(elements, "Series"), _pair(elements, "Study")):
        time = other if time is None else time
    known = [moment for moment in (time, *later) if moment is not None]
    return time, max(known, default=None)


def _pair(elements: Elements, part: str) -> int | None:
    """The moment that a date and a time make; without a time the day's beginning."""
    date = elements.word(f"{part}Date")
    return None if date is None else _moment(date.replace(".", "") + (elements.word(f"{part}Time") or ""))


def _moment(word: str | None) -> int | None:
    """Microseconds since 1970 of YYYYMMDD[HH[MM[SS[.FFFFFF]]]]; a zone is left out, as DA and TM have none."""
    if word is None or (day := _date(word[:8])) is None:
        return None
    clock = word[8:].replace(":", "")
    for sign in "+-":
        clock = clock.split(sign)[0]
    digits, _, fraction = clock.partition(".")
    parts = [digits[at : at + 2] for at in (0, 2, 4) if digits[at : at + 2]]
    if not all(part.isdigit() and part.isascii() for part in [*parts, *([fraction] if fraction else [])]):
        parts, fraction = [], ""
    hour, minute, second = ([int(part) for part in parts] + [0, 0, 0])[:3]
    if hour > 23 or minute > 59 or second > 60:
        hour = minute = second = 0
        fraction = ""
    seconds = (day - datetime(1970, 1, 1)).days * 86_400 + hour * 3600 + minute * 60 + second
    return seconds * 1_000_000 + int(fraction[:6].ljust(6, "0") or 0)


def _date(word: str | None, *, ages: bool = False) -> datetime | None:
    digits = (word or "").replace(".", "")
    if len(digits) != 8 or not (digits.isdigit() and digits.isascii()):
        return None
    try:
        day = datetime(int(digits[:4]), int(digits[4:6]), int(digits[6:]))
    except ValueError:
        return None
    return day if _YEARS[0] - (100 if ages else 0) <= day.year < _YEARS[1] else None


def bytes_of(header: Header) -> int:
    """Bytes that the pixels of a file take uncompressed, before they are padded to an even number."""
    values = header.rows * header.columns * header.samples * header.frames
    if header.photometric == "YBR_FULL_422":
        values = header.rows * 2 * -(-header.columns // 2) * 2 * header.frames
    return -(-values * header.allocated // 8)


def body_of(opened: Opened) -> tuple[bytes | mmap, int, int]:
    """The bytes that hold the pixels, and where their value begins and ends in them.

    Raises:
        Fault: the file ends before.
    """
    if opened.length is None:
        return opened.body, opened.begin, len(opened.body)
    end = opened.begin + opened.length
    if end > len(opened.body):
        raise Fault("truncated_pixels")
    return opened.body, opened.begin, end
