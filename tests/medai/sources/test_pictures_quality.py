"""What is measured of each picture, and which look alike or unlike their peers."""

from __future__ import annotations

import doctest
import io
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.fft import dctn
from scipy.ndimage import laplace

from medai.sources.pictures import likeness
from medai.sources.pictures.decoding import Target, decode
from medai.sources.pictures.finishing import Decoded, finished, resized
from medai.sources.pictures.likeness import likeness_of, near_marks, near_pairs
from medai.sources.pictures.quality import Quality, measure, perceptual_hash
from medai.sources.synthetic import radiographs

TARGET = Target(112, 112, 1, pad=False, white=65535)


def radiograph(patient: int, size: int = 224) -> np.ndarray:
    """A drawn chest."""
    stream = np.random.default_rng(patient)
    return radiographs.draw(stream, stream.random(8), patient % 2, size)


def read(levels: np.ndarray, kind: str = "PNG", **options: int) -> Decoded:
    """The picture that a file of these levels becomes."""
    file = io.BytesIO()
    Image.fromarray(levels).save(file, kind, **options)
    found = decode(file.getvalue(), TARGET)
    assert found.fault is None
    return found


def bits_apart(one: Quality, other: Quality) -> int:
    """In how many bits two perceptual hashes differ."""
    return ((one.phash ^ other.phash) & (2**64 - 1)).bit_count()


def marks(*pictures: Decoded) -> tuple[list[int], np.ndarray]:
    """Hashes and thumbnails as the pass keeps them."""
    thumbnails = b"".join(picture.quality.thumbnail for picture in pictures)
    hashes = [picture.quality.phash for picture in pictures]
    return hashes, np.frombuffer(thumbnails, np.uint8).reshape(-1, 32, 32)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 999), st.sampled_from([1, 3]), st.integers(1, 40), st.integers(1, 40))
def test_measures_are_as_defined(seed: int, channels: int, height: int, width: int) -> None:
    """Against NumPy and SciPy, for pictures of any shape."""
    stream = np.random.default_rng(seed)
    pixels = stream.integers(0, stream.integers(1, 257), (height, width, channels), np.uint8)
    found = measure(pixels)
    assert found[:4] == pytest.approx((pixels.mean(), pixels.std(), pixels.min(), pixels.max()))
    assert found.black == pytest.approx((pixels == 0).mean())
    assert found.white == pytest.approx((pixels == 255).mean())
    shares = np.bincount(pixels.ravel()) / pixels.size
    assert found.entropy == pytest.approx(-(shares[shares > 0] * np.log2(shares[shares > 0])).sum(), abs=1e-4)
    if channels == 1 and min(height, width) > 1:
        edges = laplace(pixels[..., 0].astype(np.int64), mode="mirror")
        assert found.sharpness == pytest.approx(edges.var(), abs=1e-9)
    thumbnail = np.frombuffer(found.thumbnail, np.uint8).reshape(32, 32)
    waves = dctn(thumbnail.astype(float), type=2)[1:9, 1:9].ravel()
    clear = np.abs(waves - np.median(waves)) > 10
    assert perceptual_hash(thumbnail) == found.phash
    bits = np.unpackbits(np.array([found.phash]).astype(">i8").view(np.uint8)).astype(bool)
    assert (bits == (waves > np.median(waves)))[clear].all()


CHANGES: dict[str, Callable[[np.ndarray], Decoded]] = {
    "jpeg": lambda levels: read(levels, "JPEG", quality=20),
    "half the size": lambda levels: read(np.asarray(Image.fromarray(levels).resize((112, 112)))),
    "another size": lambda levels: read(np.asarray(Image.fromarray(levels).resize((301, 199)))),
    "lighter": lambda levels: read((levels * 0.85 + 20).astype(np.uint8)),
    "noise": lambda levels: read(
        np.clip(levels + np.random.default_rng(0).normal(0, 6, levels.shape), 0, 255).astype(np.uint8)
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_picture_stored_again_is_known(change: str) -> None:
    """Each is paired with its own original and nobody else's, though all chests are alike."""
    originals = [read(radiograph(patient)) for patient in range(24)]
    again = [CHANGES[change](radiograph(patient)) for patient in range(0, 24, 2)]
    assert max(bits_apart(one.quality, originals[2 * at].quality) for at, one in enumerate(again)) <= 6
    pairs = near_pairs(*marks(*originals, *again)).tolist()
    assert pairs == [[24 + at, 2 * at] for at in range(12)]


def test_candidates_are_found_as_by_comparing_all() -> None:
    """Bands miss no pair, whichever bits differ, and each is told once."""
    stream = np.random.default_rng(4)
    thumbnails = np.repeat(stream.integers(0, 256, (1, 32, 32), np.uint8), 900, axis=0)
    bits = stream.integers(0, 1 << 63, 60, np.uint64).repeat(15)
    for _ in range(3):
        bits ^= np.uint64(1) << stream.integers(0, 64, 900, np.uint64)
    apart = np.bitwise_count(bits[:, None] ^ bits[None, :])
    expected = {(one, other) for one, other in np.argwhere(apart <= likeness.DISTANCE).tolist() if one > other}
    found = [tuple(pair) for pair in near_pairs(bits.view(np.int64).tolist(), thumbnails).tolist()]
    assert len(found) == len(set(found)) > 900
    assert set(found) == expected


def test_a_crowd_of_equal_hashes_is_bounded() -> None:
    """Each is compared with a few; that each has a near-duplicate is known all the same."""
    thumbnails = np.repeat(np.random.default_rng(1).integers(0, 256, (1, 32, 32), np.uint8), 2000, axis=0)
    pairs = near_pairs([7] * 2000, thumbnails)
    assert len(pairs) <= 2000 * likeness.MOST_COMPARED
    assert set(pairs[:, 0].tolist()) == set(range(1, 2000))


def test_what_near_duplicates_mean() -> None:
    """The less protected role's goes, the earlier subject's stays; a copy of equal pixels shares its sister's lot."""
    assert doctest.testmod(likeness).failed == 0
    contents, roles = ["a", "b", "c", "b", "d"], ["train", "train", "validation", "test", None]
    found = near_marks([(1, 0), (2, 1)], contents, roles, ["x", "y", "x", "y", "z"])
    assert found == (["test", "validation", "test", None, None], [False, True, False, False, False])


def test_inverted_greys_stand_out() -> None:
    """Among peers that are alike; where they are not, are few, or a picture is blank, nothing is said."""
    chests = [read(radiograph(patient)) for patient in range(30)]
    inverted = read(255 - radiograph(30))
    _, thumbnails = marks(*chests, inverted, read(np.full((224, 224), 9, np.uint8)))
    counted = [True] * 32
    found = likeness_of(thumbnails, [None] * 32, counted)
    assert found[31] is None
    assert min(one for one in found[:30] if one is not None) > 0.5
    assert found[30] is not None
    assert found[30] < -0.5
    kinds = ["frontal"] * 25 + ["lateral"] * 7
    by_kind = likeness_of(thumbnails, kinds, [False, *counted[1:]])
    assert [at for at, one in enumerate(by_kind) if one is not None] == list(range(1, 25))
    noise = np.random.default_rng(0).integers(0, 256, (40, 32, 32), np.uint8)
    assert likeness_of(noise, [None] * 40, [True] * 40) == [None] * 40


@pytest.mark.parametrize(("height", "width"), [(448, 448), (449, 337), (100, 600), (90, 80), (112, 112), (1000, 113)])
def test_resizing_takes_the_mean_over_the_area(height: int, width: int) -> None:
    """Within a level of the exact mean of a smooth picture; where the original is smaller it is interpolated."""
    down, across = (np.arange(height)[:, None] + 0.5) / height, (np.arange(width) + 0.5) / width
    smooth = 128 + 60 * np.sin(3 * down) * np.cos(4 * across) + 40 * across
    found = resized(np.rint(smooth).astype(np.uint8), (112, 112))
    at = (np.arange(112) + 0.5) / 112
    expected = 128 + 60 * np.sin(3 * at)[:, None] * np.cos(4 * at) + 40 * at
    assert np.abs(found - expected).max() < 1.5
    deep = resized((smooth * 100).astype(np.uint16), (112, 112))
    assert deep.dtype == np.uint16
    assert np.abs(deep / 100 - expected).max() < 0.6


@pytest.mark.parametrize(("kind", "shape", "size"), [
    (np.uint8, (64, 48), (28, 21)), (np.uint8, (45, 60), (9, 16)), (np.uint16, (64, 64), (28, 28)),
])  # fmt: skip
def test_means_in_small_steps_are_exact(kind: type, shape: tuple[int, int], size: tuple[int, int]) -> None:
    """Each level is the mean of its area, worked out in whole parts of a pixel, halves rounded up; any noise at all."""
    levels = np.random.default_rng(1).integers(0, np.iinfo(kind).max, shape, kind, endpoint=True)
    parts = np.repeat(np.repeat(levels.astype(object), size[0], axis=0), size[1], axis=1)
    areas = parts.reshape(size[0], shape[0], size[1], shape[1]).sum(axis=(1, 3))
    many = shape[0] * shape[1]
    found = resized(levels, size)
    assert found.dtype == kind
    assert found.tolist() == ((2 * areas + many) // (2 * many)).tolist()


def test_a_fraction_that_does_not_divide_the_original_moves_nothing() -> None:
    """385 of 1025 / 8 × 3 columns cover a part more than the original: that part is not taken for picture."""
    ramp = np.tile(np.linspace(0, 255, 1025).astype(np.uint8), (1025, 1))
    found = decode(_jpeg(ramp), TARGET._replace(height=224, width=224))
    assert found.pixels is not None
    expected = np.linspace(0, 255, 1025)[None, :]
    exact = np.interp((np.arange(224) + 0.5) / 224 * 1025 - 0.5, np.arange(1025), expected[0])
    assert np.abs(found.pixels[5, :, 0] - exact).max() < 1.6


def test_padding_is_not_measured() -> None:
    """A white strip on black is white all over; turned by EXIF it stands upright, in colour too."""
    white = np.full((10, 40), 255, np.uint8)
    target = Target(40, 40, 3, pad=True, white=65535)
    found = finished(white, target, Decoded(""), orientation=6)
    assert found.quality.white == 1
    assert found.pixels is not None
    assert found.pixels[:, 15:25].all()
    assert found.pixels.sum() == 10 * 40 * 3 * 255


def _jpeg(levels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(levels).save(file, "JPEG", quality=95)
    return file.getvalue()
