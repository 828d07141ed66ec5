"""Text in the picture itself: by what the file says of it, and by a look at its pixels.

A row of letters is told by what lettering has and anatomy has not: several small marks of one height beside each other
on one line, each thin-stroked and plainly brighter (or darker) than a calm ground. The look:

1. marks that are thinner than ``_STROKE`` pixels stand out of their ground (top-hat and black-hat transform; Soille,
   Morphological Image Analysis, 2003, ch. 4), at three scales, so that letters of 7 to about 100 pixels are seen;
2. what stands out by a share of the picture's range is cut into connected pieces; pieces of a letter's size and shape
   stay;
3. pieces of like height, side by side, make a line. A line of at least ``_LETTERS`` letters whose contrast is a
   multiple of the unrest of the ground between them is text. The picture turned by a quarter is looked at, too.

It is a net with meshes, measured in its tests (``test_burned_in``): it sees text of four letters or more, not a single
marker of the side, and takes a chain of equal small objects (clips, wires) for text. Who is set aside wrongly is seen
by a person; who is missed is not. So whole kinds of pictures that usually carry text are set aside without a look.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medai.deidentification.told import text_of, value_of

if TYPE_CHECKING:
    import numpy as np

BY_TAG, BY_KIND, BY_PIXELS = "burned_in_says_the_file", "kind_that_shows_text", "text_in_the_pixels"

KINDS = frozenset({"US", "SC", "OT", "ES", "XC", "GM", "SM", "BMD", "DOC", "ECG", "OP", "OPT"})
"""Modalities whose pictures usually show names: ultrasound, captured screens, scanned paper, photographs."""
_CAPTURES = "1.2.840.10008.5.1.4.1.1.7"
"""Secondary capture (PS3.4 B.5); its multi-frame kinds follow below it."""
_WORDS = ("SCREEN", "SAVE", "DOSE", "REPORT", "FOOT", "CAPTURE", "PASTED")
"""In ImageType, of pictures that a workstation made of text."""

_STROKE = 7
_SCALES = (1, 2, 4)
_STANDS_OUT = (0.12, 0.22, 0.4)
_PLAIN = ((3.5, 0.35), (4.5, 0.25))
"""Either is plain enough: how many times the unrest of the ground letters stand out, and by what share of the range."""
_PEAK = 0.3
_OPEN_LINES = 60
_LETTERS = 4
_HEIGHT = (6, 40)
_TALLEST = 0.2
"""Of a picture's smaller side: larger things are its subject."""
_LARGEST, _SMALLEST = 2048, 96

Letter = tuple[int, int, int, int]
"""Left, top, width, height."""


def told(dataset: Any) -> str | None:
    """Why a picture may show text, by its header; None where the pixels must be asked.

    Args:
        dataset: the data set as it was read.

    Raises:
        SetAside: what it says of that is no text.
    """
    words = {key: text_of(dataset, key).upper() for key in ("BurnedInAnnotation", "Modality", "SOPClassUID")}
    if words["BurnedInAnnotation"].strip() == "YES":
        return BY_TAG
    image_type = text_of(dataset, "ImageType").upper()
    captured = words["SOPClassUID"] == _CAPTURES or words["SOPClassUID"].startswith(f"{_CAPTURES}.")
    if captured or words["Modality"].strip() in KINDS or any(word in image_type for word in _WORDS):
        return BY_KIND
    return BY_KIND if value_of(dataset, "ConversionType") else None


def shows_text(frame: np.ndarray) -> bool:
    """Whether a line of letters is seen in a picture.

    Args:
        frame: (height, width) or (height, width, channels), any numbers.
    """
    import cv2
    import numpy as np

    grey = frame.astype(np.float32)
    if grey.ndim == 3:
        grey = grey.max(axis=2)
    grey = np.nan_to_num(grey)
    if min(grey.shape) < 2 * _HEIGHT[0]:
        return False
    for low, high in {(0.0, 100.0), (1.0, 99.0)}:
        bottom, top = (float(edge) for edge in np.percentile(grey, (low, high)))
        if top <= bottom:
            continue
        levels = (np.clip((grey - bottom) / (top - bottom), 0, 1) * 255).astype(np.uint8)
        for scale in _SCALES:
            size = (levels.shape[1] // scale, levels.shape[0] // scale)
            if scale > 1 and min(size) < _SMALLEST:
                break
            small = levels if scale == 1 else cv2.resize(levels, size, interpolation=cv2.INTER_AREA)
            if max(size) > _LARGEST:
                continue
            if any(_has_line(turned) for turned in (small, np.ascontiguousarray(np.rot90(small)))):
                return True
    return False


def _has_line(levels: np.ndarray) -> bool:
    import cv2
    import numpy as np

    tallest = min(_HEIGHT[1], _TALLEST * min(levels.shape))
    square = np.ones((2 * _STROKE + 1, 2 * _STROKE + 1), np.uint8)
    for transform in (cv2.MORPH_TOPHAT, cv2.MORPH_BLACKHAT):
        out = cv2.morphologyEx(levels, transform, square)
        for share in _STANDS_OUT:
            ink = (out > share * 255).astype(np.uint8)
            _, pieces, boxes, _ = cv2.connectedComponentsWithStats(ink, connectivity=8)
            strong = np.bincount(pieces[out > _PEAK * 255], minlength=len(boxes))[1:] > 0
            boxes = boxes[1:]
            width, height, area = boxes[:, 2:].T
            kept = (_HEIGHT[0] <= height) & (height <= tallest) & (width <= 4 * height)
            kept &= strong & (area >= 0.12 * width * height)
            kept &= (area <= 0.9 * width * height) | (width <= 0.6 * height)
            letters = [(int(x), int(y), int(w), int(h)) for x, y, w, h in boxes[kept][:, :4]]
            if any(_is_text(line, ink, out) for line in _lines(letters)):
                return True
    return False


def _lines(letters: list[Letter]) -> list[list[Letter]]:
    """Letters side by side, of like height and on one line."""
    lines: list[list[Letter]] = []
    for letter in sorted(letters):
        left, top, _, height = letter
        for line in lines[-_OPEN_LINES:]:
            last_left, last_top, last_width, last_height = line[-1]
            gap, taller, lower = left - last_left - last_width, max(height, last_height), min(height, last_height)
            overlap = min(top + height, last_top + last_height) - max(top, last_top)
            if -0.3 * taller <= gap <= 1.1 * taller and overlap >= 0.6 * lower and taller <= 1.7 * lower:
                line.append(letter)
                break
        else:
            lines.append([letter])
    return lines


def _is_text(line: list[Letter], ink: np.ndarray, out: np.ndarray) -> bool:
    """Whether pieces in a row are as many, as dense and as plain as letters."""
    import cv2
    import numpy as np

    heights = sorted(height for _, _, _, height in line)
    usual = heights[len(heights) // 2]
    if len(line) < 3 or sum(max(1, round(width / (0.75 * usual))) for _, _, width, _ in line) < _LETTERS:
        return False
    left, right = max(0, line[0][0] - 2), max(one[0] + one[2] for one in line) + 2
    top, bottom = max(0, min(one[1] for one in line) - 2), max(one[1] + one[3] for one in line) + 2
    field, inked = out[top:bottom, left:right], ink[top:bottom, left:right]
    if not 0.06 <= float(inked.mean()) <= 0.7:
        return False
    ground = field[cv2.dilate(inked, np.ones((3, 3), np.uint8)) == 0].astype(np.float32)
    if ground.size < usual:
        return False
    contrast, unrest = float(field[inked > 0].mean()), max(4.0, float(np.sqrt((ground**2).mean())))
    return any(contrast > calm * unrest and contrast > share * 255 for calm, share in _PLAIN)
