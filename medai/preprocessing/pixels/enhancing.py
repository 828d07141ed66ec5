"""Less noise, more contrast, another size: operations on one picture (height, width, channels) uint8.

OpenCV's, whose results are whole grey levels. They depend on neither its threads nor its vector instructions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, field_validator

from medai.records import Frozen

if TYPE_CHECKING:
    import numpy as np


class Median(Frozen):
    """Each pixel becomes the median of its square neighbourhood: single stray pixels go, edges stay.

    Attributes:
        size: side of the neighbourhood in pixels, odd.
    """

    kind: Literal["median"]
    size: int = Field(3, ge=3, le=15)

    @field_validator("size")
    @classmethod
    def _has_a_middle(cls, size: int) -> int:
        if size % 2 == 0:
            raise ValueError("a neighbourhood has a middle: use an odd size")
        return size


class NonLocalMeans(Frozen):
    """Each pixel becomes the mean of pixels nearby whose surroundings look alike (Buades et al. 2005,
    doi:10.1109/CVPR.2005.38); in colour, lightness and colour apart. Some 100 times the work of a median.

    Attributes:
        strength: the larger, the more is taken for noise; about the noise's standard deviation in grey levels.
        patch: side of the surroundings that are compared, in pixels, odd.
        search: side of the window that is searched, in pixels, odd.
    """

    kind: Literal["non_local_means"]
    strength: float = Field(10.0, gt=0, le=100)
    patch: int = Field(7, ge=3, le=15)
    search: int = Field(21, ge=5, le=51)

    @field_validator("patch", "search")
    @classmethod
    def _has_a_middle(cls, size: int) -> int:
        if size % 2 == 0:
            raise ValueError("a window has a middle: use an odd size")
        return size


Denoise = Annotated[Median | NonLocalMeans, Field(discriminator="kind")]


class CLAHE(Frozen):
    """Contrast-limited adaptive histogram equalisation (Zuiderveld 1994, Graphics Gems IV); in colour, of lightness.

    Attributes:
        clip_limit: a tile's histogram is cut at so many times its mean height: 1 changes it hardly or not.
        tiles: tiles along each side; a picture is equalised by each tile and mixed in between.
    """

    kind: Literal["clahe"]
    clip_limit: float = Field(2.0, ge=1, le=40)
    tiles: int = Field(8, ge=1, le=64)


def denoised(picture: np.ndarray, by: Median | NonLocalMeans) -> np.ndarray:
    """The picture with less noise, of the same shape; its edge is repeated outwards."""
    import cv2
    import numpy as np

    flat = _plane(picture)
    if isinstance(by, Median):
        return np.asarray(cv2.medianBlur(flat, by.size)).reshape(picture.shape)
    if picture.shape[-1] == 1:
        return np.asarray(cv2.fastNlMeansDenoising(flat, None, by.strength, by.patch, by.search)).reshape(picture.shape)
    bgr = np.ascontiguousarray(flat[..., ::-1])  # OpenCV's order of colours, which decides what lightness is
    cleaned = cv2.fastNlMeansDenoisingColored(bgr, None, by.strength, by.strength, by.patch, by.search)
    return np.ascontiguousarray(np.asarray(cleaned)[..., ::-1])


def contrasted(picture: np.ndarray, by: CLAHE) -> np.ndarray:
    """The picture with its contrast evened out, of the same shape."""
    import cv2
    import numpy as np

    equaliser = cv2.createCLAHE(by.clip_limit, (by.tiles, by.tiles))
    flat = _plane(picture)
    if picture.shape[-1] == 1:
        return np.asarray(equaliser.apply(flat)).reshape(picture.shape)
    lab = cv2.cvtColor(flat, cv2.COLOR_RGB2Lab)
    lab[..., 0] = equaliser.apply(np.ascontiguousarray(lab[..., 0]))
    return np.asarray(cv2.cvtColor(lab, cv2.COLOR_Lab2RGB))


def resized(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The picture at (height, width): each pixel the mean of the area it covers; bilinear where a side grows."""
    import cv2
    import numpy as np

    if picture.shape[:2] == size:
        return picture
    shrinks = size[0] <= picture.shape[0] and size[1] <= picture.shape[1]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR_EXACT
    return np.asarray(cv2.resize(_plane(picture), size[::-1], interpolation=how)).reshape(*size, picture.shape[-1])


def _plane(picture: np.ndarray) -> np.ndarray:
    """(height, width) of grey, (height, width, 3) of colour, contiguous as OpenCV wants it."""
    import numpy as np

    return np.ascontiguousarray(picture[..., 0] if picture.shape[-1] == 1 else picture)
