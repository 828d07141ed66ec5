"""Transfer syntaxes (PS3.5 section 10 and annex A, PS3.6 table A-1): how each codes pixels; which are no pictures."""

from __future__ import annotations

from typing import Literal

from medai.sources.dicom.elements import Fault

Coding = Literal["native", "rle", "jpeg", "jpeg_lossless", "jpeg_ls", "jpeg_2000", "jpeg_xl"]

CODINGS: dict[str, Coding] = {
    "1.2.840.10008.1.2": "native",
    "1.2.840.10008.1.2.1": "native",
    "1.2.840.10008.1.2.1.99": "native",
    "1.2.840.10008.1.2.2": "native",
    "1.2.840.10008.1.2.5": "rle",
    "1.2.840.10008.1.2.4.50": "jpeg",
    "1.2.840.10008.1.2.4.51": "jpeg",
    "1.2.840.10008.1.2.4.57": "jpeg_lossless",
    "1.2.840.10008.1.2.4.70": "jpeg_lossless",
    "1.2.840.10008.1.2.4.80": "jpeg_ls",
    "1.2.840.10008.1.2.4.81": "jpeg_ls",
    "1.2.840.10008.1.2.4.90": "jpeg_2000",
    "1.2.840.10008.1.2.4.91": "jpeg_2000",
    "1.2.840.10008.1.2.4.110": "jpeg_xl",
    "1.2.840.10008.1.2.4.111": "jpeg_xl",
    "1.2.840.10008.1.2.4.112": "jpeg_xl",
    "1.2.840.10008.1.2.4.201": "jpeg_2000",
    "1.2.840.10008.1.2.4.202": "jpeg_2000",
    "1.2.840.10008.1.2.4.203": "jpeg_2000",
}
"""UID → coding. The two of JPEG 2000's part 2 are missing: no decoder that is safe knows them."""

_VIDEO = (
    *(f"1.2.840.10008.1.2.4.{number}" for number in range(100, 109)),
    "1.2.840.10008.1.2.7",
)
_ELSEWHERE = ("1.2.840.10008.1.2.4.94", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.204", "1.2.840.10008.1.2.4.205")
"""JPIP: the file names a server that has the pixels."""


def coding_of(syntax: str) -> Coding:
    """How a transfer syntax codes pixels.

    Raises:
        Fault: it is a video, has its pixels elsewhere, or is not known.
    """
    if syntax in CODINGS:
        return CODINGS[syntax]
    if syntax in _ELSEWHERE:
        raise Fault("pixels_elsewhere")
    if any(syntax == video or syntax.startswith(f"{video}.") for video in _VIDEO):
        raise Fault("video")
    raise Fault("unknown_transfer_syntax")
