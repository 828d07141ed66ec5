"""What a U-Net must beat: one grey level for all pictures, after smoothing, as one ONNX file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from medai.errors import MedaiError
from medai.outputs import Mask
from medai.records import Frozen

_OPSET = 18
_IR_VERSION = 8
_REACH = 3
"""Standard deviations after which the smoothing kernel ends."""
_LEVELS = 256
_GRID = float(1 << 20)


@dataclass(frozen=True)
class FittedThreshold:
    """A fitted threshold.

    Attributes:
        shape: height, width and channels of the pictures.
        smoothing: standard deviation of the Gaussian, in pixels; 0 leaves the picture as it is.
        level: the grey level, 0 to 255; a pixel at it scores 0.5.
        dark: whether what lies below the level is the finding, not what lies above.
    """

    shape: tuple[int, int, int]
    smoothing: float
    level: float
    dark: bool

    parameters = 3

    def scores(self, arrays: dict[str, NDArray[Any]]) -> NDArray[np.float32]:
        """(N, height, width, 1): half, and the distance from the level as a share of 510."""
        smooth = np.stack([smoothed(picture, self.smoothing) for picture in arrays["pixels"]])
        sign = -1 if self.dark else 1
        scores = np.float32(0.5) + sign * (smooth[..., None] - np.float32(self.level)) / np.float32(510)
        return np.asarray(np.clip(scores, 0, 1), np.float32)

    def onnx_bytes(self) -> bytes:
        """The ONNX file: ``pixels`` in, ``scores`` out. Equal fits give equal bytes."""
        import onnx
        from onnx import TensorProto, helper

        node = helper.make_node
        constants: dict[str, NDArray[Any]] = {
            "last": np.array([3], np.int64),
            "level": np.array(self.level, np.float32),
            "slope": np.array((-1 if self.dark else 1) / 510, np.float32),
            "half": np.array(0.5, np.float32),
            "none": np.array(0, np.float32),
            "all": np.array(1, np.float32),
        }
        nodes = [
            node("Cast", ["pixels"], ["wide"], to=TensorProto.FLOAT),
            node("ReduceMean", ["wide", "last"], ["grey"], keepdims=1),
            node("Transpose", ["grey"], ["plane"], perm=[0, 3, 1, 2]),
        ]
        value = "plane"
        if self.smoothing:
            kernel = gaussian(self.smoothing)
            reach = len(kernel) // 2
            constants |= {
                "edges": np.array([0, 0, reach, reach, 0, 0, reach, reach], np.int64),
                "down": kernel.reshape(1, 1, -1, 1),
                "across": kernel.reshape(1, 1, 1, -1),
            }
            nodes += [
                node("Pad", [value, "edges"], ["padded"], mode="edge"),
                node("Conv", ["padded", "down"], ["halfway"]),
                node("Conv", ["halfway", "across"], ["smooth"]),
            ]
            value = "smooth"
        nodes += [
            node("Sub", [value, "level"], ["above"]),
            node("Mul", ["above", "slope"], ["scaled"]),
            node("Add", ["scaled", "half"], ["centred"]),
            node("Clip", ["centred", "none", "all"], ["clipped"]),
            node("Transpose", ["clipped"], ["scores"], perm=[0, 2, 3, 1]),
        ]
        graph = helper.make_graph(
            nodes,
            "global_threshold",
            [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["samples", *self.shape])],
            [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["samples", *self.shape[:2], 1])],
            [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()],
        )
        model = helper.make_model(
            graph, producer_name="medai", ir_version=_IR_VERSION, opset_imports=[helper.make_opsetid("", _OPSET)]
        )
        onnx.checker.check_model(model)
        return bytes(model.SerializeToString(deterministic=True))

    def export(self, path: Path) -> None:
        """Write the ONNX file."""
        path.write_bytes(self.onnx_bytes())


class GlobalThreshold(Frozen):
    """The grey level that parts finding and background best: the largest mean Dice on train.

    Every whole level is tried as the border, from above and from below, after each smoothing. Otsu's level is among
    them, so this is never worse on train than his.

    Attributes:
        smoothing: standard deviations of a Gaussian, in pixels, each of which is tried.
        largest_rows: train pictures that are looked at; where there are more, so many are chosen by a hash of their
            ids.
    """

    kind: Literal["global_threshold"] = "global_threshold"
    smoothing: tuple[Annotated[float, Field(ge=0, le=32)], ...] = Field(default=(0.0, 1.0, 2.0, 4.0), min_length=1)
    largest_rows: int = Field(default=500, ge=1)

    def fit(
        self,
        arrays: dict[str, NDArray[Any]],
        truth: NDArray[Any],
        output: Mask,
        seed: int,
        threads: int,
    ) -> FittedThreshold:
        """Fit on training pictures. Neither seed nor threads are used: nothing is drawn.

        Args:
            arrays: ``pixels`` (N, height, width, channels) uint8.
            truth: (N, height, width) class numbers.
            output: what is marked: one finding.

        Raises:
            MedaiError: several findings (a defect of ours: the Problem is checked for it before any work).
        """
        del seed, threads
        if len(output.findings) != 1:
            raise MedaiError(
                "one grey level marks one finding",
                expected="a mask of two classes",
                received=f"{len(output.findings)} findings",
                action="take the baseline global_threshold out of the Problem",
            )
        tried = [(smoothing, self._worth(arrays["pixels"], truth, smoothing)) for smoothing in self.smoothing]
        best = max(range(len(tried)), key=lambda place: float(tried[place][1].max()))
        smoothing, worth = tried[best]
        side, level = np.unravel_index(int(worth.argmax()), worth.shape)
        height, width, channels = arrays["pixels"].shape[1:]
        # Between two whole levels: the border lies half a level below the first that is marked.
        return FittedThreshold((height, width, channels), smoothing, float(level) - 0.5, dark=bool(side))

    def _worth(self, pixels: NDArray[Any], truth: NDArray[Any], smoothing: float) -> NDArray[np.float64]:
        """(2, levels): summed Dice of marking what lies at or above a level, and of marking what lies below it."""
        worth = np.zeros((2, _LEVELS))
        for row in range(len(pixels)):
            true = np.asarray(truth[row]).ravel() > 0
            level = np.rint(smoothed(pixels[row], smoothing)).astype(np.int64).ravel()
            every, inside = (np.bincount(some, minlength=_LEVELS) for some in (level, level[true]))
            for side in (0, 1):
                marked, both = (
                    np.cumsum(counts[::-1])[::-1] if side == 0 else np.cumsum(counts) - counts
                    for counts in (every, inside)
                )
                whole = marked + true.sum()
                dice = np.divide(2.0 * both, whole, out=np.ones(_LEVELS), where=whole > 0)
                worth[side] += np.rint(dice * _GRID) / _GRID
        return worth


def gaussian(deviation: float) -> NDArray[np.float32]:
    """(2·reach + 1,) weights that add up to 1."""
    reach = int(np.ceil(_REACH * deviation))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / deviation) ** 2)
    return np.asarray(weights / weights.sum(), np.float32)


def smoothed(picture: NDArray[np.uint8], deviation: float) -> NDArray[np.float32]:
    """(height, width) float32 grey levels of (height, width, channels); the edge is repeated beyond it."""
    from scipy import ndimage

    grey = picture.mean(axis=-1, dtype=np.float32)
    if not deviation:
        return np.asarray(grey, np.float32)
    kernel = gaussian(deviation)
    for axis in (0, 1):
        grey = ndimage.correlate1d(grey, kernel, axis=axis, mode="nearest")
    return np.asarray(grey, np.float32)
