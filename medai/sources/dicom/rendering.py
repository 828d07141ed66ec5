"""Stored values to the levels that a viewer shows (PS3.3 C.11, PS3.4 annex N): 0 is black, the working white is white.

Values → modality LUT or rescale → VOI LUT or window → presentation. Each step is a formula on one value, so up to 16
bits they become one table, worked out in double precision and looked up; wider values and floats go through the same
formulas one by one.

- A VOI LUT goes before a window, and the first of several is taken, as a viewer first shows them. A window that no
  formula can follow (a width of 0) is none, and told as ``unusable``.
- Without either, or where a Problem asks for it, the window is the range of the picture's own modality values without
  padding (PixelPaddingValue), or of their 0.5th to 99.5th percentile. Only values of eight bits that are already levels
  (unsigned, no rescale, no padding) are shown as they are.
- MONOCHROME1, or a presentation shape INVERSE, turns levels round, so that white is dense everywhere.
- Palettes give their colours, YBR_FULL the RGB of PS3.3 C.7.6.3.1.2. Colour becomes grey by ITU-R BT.601's luma.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, NamedTuple

from medai.sources.dicom.elements import Elements, Fault
from medai.sources.dicom.headers import Header

if TYPE_CHECKING:
    import numpy as np

    from medai.sources.dicom.pixels import Frame

Windowing = Literal["header", "range", "percentiles"]
PERCENTILES = (0.5, 99.5)
"""Shares, in percent, of a picture's values that fall below the window's ends."""
_BITS_IN_TABLE = 16
_LUMA = (19595, 38470, 7471)
"""BT.601's weights of red, green and blue in 2**16ths; their sum is 65536."""


class Lut(NamedTuple):
    """A table of PS3.3 C.11.1 or C.11.2: its first input, its outputs, and the bits that they are told to have."""

    first: int
    values: tuple[int, ...]
    bits: int


class Window(NamedTuple):
    """A window of PS3.3 C.11.2.1.2: centre, width, and function."""

    centre: float
    width: float
    function: str = "LINEAR"


class Presentation(NamedTuple):
    """How one frame's stored values become levels.

    Attributes:
        slope, intercept: modality value = slope × stored value + intercept, where there is no modality LUT.
        voi: what the file says a viewer should show; None where it says nothing.
        said: how that came about: ``lut``, ``window``, ``unusable`` or None.
        inverted: whether the least value is white.
        padding: stored values, least and most, that are no part of the picture; None where there are none.
    """

    slope: float
    intercept: float
    modality: Lut | None
    voi: Window | Lut | None
    said: str | None
    inverted: bool
    padding: tuple[int, int] | None


class Palette(NamedTuple):
    """Colours of PALETTE COLOR: the first index, and (entries, 3) uint8."""

    first: int
    colours: np.ndarray


def presentation_of(elements: Elements, header: Header, frame: int) -> Presentation:
    """How a frame is presented: what is said of it alone, else of all frames, else at the top of the file.

    Raises:
        Fault: a table or number of it is damaged.
    """
    places = [elements]
    for groups in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        items = elements.items(groups)
        at = frame if groups.startswith("PerFrame") else 0
        if at < len(items):
            places.insert(0, items[at])
    slope, intercept = 1.0, 0.0
    for place in places:
        values = place if place is elements else place.item("PixelValueTransformationSequence")
        if values is not None and (told := values.numbers("RescaleSlope")):
            slope, intercept = told[0], (values.numbers("RescaleIntercept") or [0.0])[0]
            break
    if slope == 0:
        raise Fault("damaged_header")
    luts = elements.items("ModalityLUTSequence")
    voi: Window | Lut | None = None
    said: str | None = None
    for place in places:
        values = place if place is elements else place.item("FrameVOILUTSequence")
        if values is not None:
            voi, said = _voi_of(values, header, luts != [])
            if said is not None:
                break
    shape = (elements.word("PresentationLUTShape") or "").upper()
    return Presentation(
        slope,
        intercept,
        _lut_of(luts[0], signed=header.signed) if luts else None,
        voi,
        said,
        (header.photometric == "MONOCHROME1") if shape not in ("INVERSE", "IDENTITY") else shape == "INVERSE",
        _padding_of(elements, header),
    )


def _voi_of(place: Elements, header: Header, unsigned: bool) -> tuple[Window | Lut | None, str | None]:
    luts = place.items("VOILUTSequence")
    if luts:
        return _lut_of(luts[0], signed=header.signed and not unsigned), "lut"
    centres, widths = place.numbers("WindowCenter"), place.numbers("WindowWidth")
    if not centres or not widths:
        return None, None
    function = (place.word("VOILUTFunction") or "LINEAR").upper()
    least = 1.0 if function == "LINEAR" else 0.0
    known = function in ("LINEAR", "LINEAR_EXACT", "SIGMOID")
    if not known or widths[0] < least or (widths[0] == 0):
        return None, "unusable"
    return Window(centres[0], widths[0], function), "window"


def _lut_of(place: Elements, *, signed: bool) -> Lut:
    """A table; its first input has the sign of what is looked up in it (PS3.3 C.11.1.1 and C.11.2.1.1)."""
    count, _, bits = [*place.shorts("LUTDescriptor"), 0, 0, 0][:3]
    firsts = place.shorts("LUTDescriptor", signed=signed)
    count = count or 1 << 16
    octets = place.octets("LUTData")
    if octets is None or not 8 <= bits <= 16:
        raise Fault("damaged_header")
    values = list(octets[:count]) if len(octets) in (count, count + 1) and count > 1 else place.shorts("LUTData")
    if len(values) < count or max(values) >> bits:
        raise Fault("damaged_header")
    return Lut(firsts[1], tuple(values[:count]), bits)


def _padding_of(elements: Elements, header: Header) -> tuple[int, int] | None:
    values = elements.shorts("PixelPaddingValue", signed=header.signed)
    if not values:
        return None
    limit = elements.shorts("PixelPaddingRangeLimit", signed=header.signed) or values
    return min(values[0], limit[0]), max(values[0], limit[0])


def modality_values(stored: np.ndarray, how: Presentation) -> np.ndarray:
    """Float64 of the same shape: what the stored values mean, in Hounsfield units where it is a CT."""
    import numpy as np

    if how.modality is None:
        return stored.astype(np.float64) * how.slope + how.intercept
    table = np.array(how.modality.values, np.float64)
    return table[np.clip(stored.astype(np.int64) - how.modality.first, 0, len(table) - 1)]


def shown(values: np.ndarray, voi: Window | Lut) -> np.ndarray:
    """Modality values as shares of white, 0 to 1 (PS3.3 C.11.2.1.2 and C.11.2.1.3)."""
    import numpy as np

    if isinstance(voi, Lut):
        table = np.array(voi.values, np.float64) / ((1 << voi.bits) - 1)
        return np.asarray(table[np.clip(np.floor(values).astype(np.int64) - voi.first, 0, len(table) - 1)])
    centre, width = voi.centre, voi.width
    if voi.function == "SIGMOID":
        return 1 / (1 + np.exp(np.clip(-4 * (values - centre) / width, -700, 700)))
    if voi.function == "LINEAR_EXACT":
        return np.clip((values - centre) / width + 0.5, 0, 1)
    if width == 1:
        return (values > centre - 0.5).astype(np.float64)
    return np.clip((values - (centre - 0.5)) / (width - 1) + 0.5, 0, 1)


def levels_of(frame: Frame, header: Header, how: Presentation, windowing: Windowing | Window) -> tuple[np.ndarray, str]:
    """A grey frame as levels, and how they came about.

    Returns:
        uint8 (rows, columns); and ``lut`` or ``window`` (the file's own), ``unusable`` (the file's cannot be followed),
        ``levels`` (shown as they are), ``range`` or ``percentiles``, or ``stated`` (the Problem's window).
    """
    import cv2
    import numpy as np

    stored = frame.values
    voi, said = _asked(header, how, windowing)
    tabled = header.kind == "whole" and header.allocated <= _BITS_IN_TABLE
    if voi is None:
        own = "percentiles" if windowing == "percentiles" else "range"
        voi, said = _own(stored, how, PERCENTILES if own == "percentiles" else (0, 100)), said or own
    if not tabled:
        return _rounded(shown(modality_values(stored, how), voi), how.inverted), said or "range"
    if stored.dtype.itemsize == 2 and stored.flags.c_contiguous:  # OpenCV looks up 16 bits twice as fast as NumPy
        return cv2.LUT(stored.view(np.uint16), _table(header.stored, header.signed, how, voi)), said or "range"
    least, most = int(stored.min()), int(stored.max())
    domain = np.arange(least, most + 1, dtype=np.int64)
    table = _rounded(shown(modality_values(domain, how), voi), how.inverted)
    return table[stored.astype(np.int64) - least], said or "range"


@lru_cache(maxsize=8)
def _table(bits: int, signed: bool, how: Presentation, voi: Window | Lut) -> np.ndarray:
    """The level of each value of so many bits, at the place of its 16 stored ones; slices of a series share it."""
    import numpy as np

    least = -(1 << bits - 1) if signed else 0
    domain = np.arange(least, least + (1 << bits), dtype=np.int64)
    table = np.zeros(1 << 16, np.uint8)
    table[domain & 0xFFFF] = _rounded(shown(modality_values(domain, how), voi), how.inverted)
    return table


def _asked(header: Header, how: Presentation, windowing: Windowing | Window) -> tuple[Window | Lut | None, str | None]:
    """The window that the Problem or the file asks for; None where the picture's own values must tell."""
    if isinstance(windowing, Window):
        return windowing, "stated"
    if windowing != "header":
        return None, None
    eight = header.stored <= 8 and not header.signed and header.kind == "whole" and how.padding is None
    if how.voi is None and eight and how.modality is None and (how.slope, how.intercept) == (1.0, 0.0):
        most = float((1 << header.stored) - 1)
        return Window(most / 2, most, "LINEAR_EXACT"), how.said or "levels"
    return how.voi, how.said


def _own(stored: np.ndarray, how: Presentation, percent: tuple[float, float]) -> Window:
    """The window between two percentiles of a picture's own values without padding; one value alone is grey's middle.

    A percentile is the value below which at least so many percent lie, so that it is one of the picture's own.
    """
    import numpy as np

    found, counts = np.unique(stored, return_counts=True)
    if how.padding is not None and not (inside := (found < how.padding[0]) | (found > how.padding[1])).all():
        found, counts = found[inside], counts[inside]
    if not found.size:
        return Window(0, 1, "LINEAR_EXACT")
    values = modality_values(found, how)
    order = np.argsort(values, kind="stable")
    below = np.cumsum(counts[order])
    places = [int(np.searchsorted(below, share / 100 * below[-1])) for share in percent]
    low, high = (float(values[order[min(place, len(order) - 1)]]) for place in places)
    return Window((low + high) / 2, (high - low) or 1.0, "LINEAR_EXACT")


def _rounded(shares: np.ndarray, inverted: bool) -> np.ndarray:
    import numpy as np

    return np.floor((1 - shares if inverted else shares) * 255 + 0.5).astype(np.uint8)


def palette_of(elements: Elements) -> Palette:
    """The colours of PALETTE COLOR (PS3.3 C.7.9), segmented ones included (C.7.9.2).

    Raises:
        Fault: a table is missing or damaged.
    """
    import numpy as np

    columns, firsts = [], set[int]()
    for colour in ("Red", "Green", "Blue"):
        descriptor = elements.shorts(f"{colour}PaletteColorLookupTableDescriptor")
        if len(descriptor) != 3:
            raise Fault("damaged_header")
        count, first, bits = descriptor
        count = count or 1 << 16
        keyword = f"{colour}PaletteColorLookupTableData"
        if elements.octets(f"Segmented{keyword}") is not None:
            values = _unrolled(elements.shorts(f"Segmented{keyword}"), count)
        else:
            octets = elements.octets(keyword) or b""
            narrow = bits == 8 and len(octets) in (count, count + 1)
            values = list(octets[:count]) if narrow else elements.shorts(keyword)
        if len(values) < count or bits not in (8, 16):
            raise Fault("damaged_header")
        entries = np.array(values[:count], np.uint16)
        if bits == 8 and int(entries.max()) > 255:
            raise Fault("damaged_header")
        columns.append((entries >> 8 if bits == 16 else entries).astype(np.uint8))
        firsts.add(first)
    if len(firsts) > 1 or len({len(column) for column in columns}) > 1:
        raise Fault("damaged_header")
    return Palette(firsts.pop(), np.stack(columns, axis=1))


def _unrolled(words: list[int], count: int) -> list[int]:
    """A segmented table (PS3.3 C.7.9.2): discrete, linear and indirect segments, told out."""
    values: list[int] = []
    at = 0
    while at + 1 < len(words) and len(values) <= count:
        kind, length = words[at], words[at + 1]
        if kind == 0:
            values += words[at + 2 : at + 2 + length]
            at += 2 + length
        elif kind == 1 and values and at + 2 < len(words):
            last, end = values[-1], words[at + 2]
            values += [math.floor(last + (end - last) * step / length + 0.5) for step in range(1, length + 1)]
            at += 3
        else:  # an indirect segment points back into the table, which no maker is known to use
            raise Fault("unknown_photometric")
    return values


def colours_of(frame: Frame, header: Header, elements: Elements) -> np.ndarray:
    """A colour frame as RGB, uint8 (rows, columns, 3); more than eight bits keep their high ones."""
    import numpy as np

    if frame.photometric == "PALETTE COLOR":
        palette = palette_of(elements)
        places = frame.values.astype(np.int64) - palette.first
        return palette.colours[np.clip(places, 0, len(palette.colours) - 1)]
    values = frame.values
    if header.signed:
        raise Fault("unknown_photometric")
    if header.stored > 8:
        values = values >> (header.stored - 8)
    elif header.stored < 8:
        values = values << (8 - header.stored)
    octets = values.astype(np.uint8, copy=False)
    return _rgb(octets) if frame.photometric == "YBR_FULL" else octets


def _rgb(values: np.ndarray) -> np.ndarray:
    """YBR_FULL to RGB by the inverse of PS3.3 C.7.6.3.1.2's equations, which are JFIF's."""
    import numpy as np

    light, blue, red = (values[..., at].astype(np.float64) for at in range(3))
    blue, red = blue - 128, red - 128
    whole = np.stack([light + 1.402 * red, light - 0.344136 * blue - 0.714136 * red, light + 1.772 * blue], axis=-1)
    return np.clip(np.floor(whole + 0.5), 0, 255).astype(np.uint8)


def grey_of(colours: np.ndarray) -> np.ndarray:
    """The luma of RGB, uint8 (rows, columns)."""
    import numpy as np

    wide = colours.astype(np.uint32)
    red, green, blue = _LUMA
    return ((wide[..., 0] * red + wide[..., 1] * green + wide[..., 2] * blue + (1 << 15)) >> 16).astype(np.uint8)
