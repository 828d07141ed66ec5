"""Pictures in MedMNIST's layout."""

from __future__ import annotations

import io
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from medai.errors import DataRefused
from medai.sources import elsewhere
from medai.sources.medmnist import MedMNIST, raw_files, read
from medai.sources.pictures.quality import measure
from medai.tables import Facts, read_table

CONFIG = MedMNIST(kind="medmnist")
Arrays = dict[str, np.ndarray]
CUBES = np.zeros((4, 8, 8, 8), np.uint8)


def read_set(arrays: Arrays, folder: Path) -> tuple[Facts, pl.DataFrame, np.ndarray]:
    """Write the arrays as .npz, read them, and return the facts, images joined with labels, and the pixels."""
    folder.mkdir()
    np.savez_compressed(folder / "set.npz", allow_pickle=True, **arrays)
    assert raw_files(CONFIG, folder / "set.npz") == [("pictures", folder / "set.npz")]
    facts = read(CONFIG, folder / "set.npz", folder)
    return facts, *result(folder)


def result(folder: Path) -> tuple[pl.DataFrame, np.ndarray]:
    """What a reader left in its folder."""
    images = pl.DataFrame(read_table(folder / "images.parquet"))
    table = images.join(pl.DataFrame(read_table(folder / "labels.parquet")), on="row_id", maintain_order="left")
    return table, np.load(folder / "pixels.npy")


def test_every_picture_is_kept_with_its_label_and_role(tmp_path: Path, pictures: Arrays) -> None:
    """Rows follow role, then content; pixels, labels and grey levels belong together."""
    facts, table, pixels = read_set(pictures, tmp_path / "a")
    assert facts == Facts(unit="image", tables={"images": 20, "labels": 20}, counts={})
    assert table["row_id"].to_list() == list(range(20))
    assert table["publisher_role"].to_list() == ["train"] * 12 + ["validation"] * 4 + ["test"] * 4
    assert pixels.shape == (20, 8, 8, 1)
    given = {
        (role, image.tobytes(), int(label[0]))
        for split, role in (("train", "train"), ("val", "validation"), ("test", "test"))
        for image, label in zip(pictures[f"{split}_images"], pictures[f"{split}_labels"], strict=True)
    }
    kept = zip(table["publisher_role"], (picture.tobytes() for picture in pixels), table["label"], strict=True)
    assert set(kept) == given
    flat = pixels.reshape(20, -1)
    np.testing.assert_allclose(table["mean"].to_numpy(), flat.mean(axis=1), rtol=1e-6)
    np.testing.assert_allclose(table["std"].to_numpy(), flat.std(axis=1), rtol=1e-6)
    assert table["maximum"].to_list() == flat.max(axis=1).tolist()
    np.testing.assert_allclose(table["black"].to_numpy(), (flat == 0).mean(axis=1), rtol=1e-6)
    measured = [measure(picture) for picture in pixels]
    assert table["phash"].to_list() == [one.phash for one in measured]
    for name in ("white", "entropy", "sharpness"):
        np.testing.assert_allclose(table[name].to_numpy(), [getattr(one, name) for one in measured], rtol=1e-6)
    assert table["subject_id"].n_unique() == 20
    assert stat.S_IMODE((tmp_path / "a" / "identifiers.parquet").stat().st_mode) == 0o600


def test_the_publisher_s_order_leaves_no_trace(tmp_path: Path, pictures: Arrays) -> None:
    """Two copies of a set in another order give the same bytes."""
    read_set(pictures, tmp_path / "a")
    order = np.random.default_rng(1).permutation(12)
    shuffled = pictures | {name: pictures[name][order] for name in ("train_images", "train_labels")}
    read_set(shuffled, tmp_path / "b")
    for name in ("images.parquet", "labels.parquet", "identifiers.parquet", "pixels.npy"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_twins_copies_and_conflicts_are_marked(tmp_path: Path, pictures: Arrays) -> None:
    """A picture in two roles belongs to the higher one; copies are counted; one picture with two labels is marked."""
    train, labels = pictures["train_images"], pictures["train_labels"]
    train[1] = train[0]
    labels[:2] = [[0], [1]]
    train[3] = train[2]
    labels[2:4] = 1
    pictures["val_images"][0] = train[2]
    pictures["test_images"][0] = train[4]
    pictures["val_images"][1] = pictures["test_images"][0]
    facts, table, _ = read_set(pictures, tmp_path / "a")
    assert facts.counts == {"twin_in_another_role": 4, "copy_in_same_role": 2, "label_conflict": 2}
    twins = table.filter(pl.col("twin_of").is_not_null()).select("publisher_role", "twin_of").sort(pl.all()).rows()
    assert twins == [("train", "test"), ("train", "validation"), ("train", "validation"), ("validation", "test")]
    conflict = table.filter("label_conflict")
    assert conflict.select("copy_number", "label", "publisher_role").rows() == [(0, 0, "train"), (1, 1, "train")]
    assert conflict["subject_id"].n_unique() == 1
    assert table["subject_id"].n_unique() == table["content_hash"].n_unique() == 15


def test_colour_and_several_findings(tmp_path: Path, pictures: Arrays) -> None:
    """RGB keeps its three channels; each finding gets a column."""
    for split in ("train", "val", "test"):
        pictures[f"{split}_images"] = np.repeat(pictures[f"{split}_images"][..., None], 3, axis=-1)
        pictures[f"{split}_labels"] = np.repeat(pictures[f"{split}_labels"], 3, axis=1).astype(np.int64)
    _, table, pixels = read_set(pictures, tmp_path / "a")
    assert pixels.shape == (20, 8, 8, 3)
    assert table["channels"].unique().to_list() == [3]
    assert (table["label_0"] == table["label_2"]).all()


def test_volumes_are_rows_of_their_own(tmp_path: Path, pictures: Arrays) -> None:
    """In 3-D a cube is a row with its depth; pixels, labels and levels belong together as in 2-D, where there is no
    such column."""
    random = np.random.default_rng(0)
    for split in ("train", "val", "test"):
        number = len(pictures[f"{split}_labels"])
        pictures[f"{split}_images"] = random.integers(0, 256, (number, 5, 9, 8), dtype=np.uint8)
    facts, table, pixels = read_set(pictures, tmp_path / "a")
    assert facts == Facts(unit="image", tables={"images": 20, "labels": 20}, counts={})
    assert pixels.shape == (20, 5, 9, 8, 1)
    assert table.select("depth", "height", "width", "channels").unique().row(0) == (5, 9, 8, 1)
    given = {(cube.tobytes(), int(label[0])) for split in ("train", "val", "test") for cube, label in zip(
        pictures[f"{split}_images"], pictures[f"{split}_labels"], strict=True)}  # fmt: skip
    assert {(cube.tobytes(), label) for cube, label in zip(pixels, table["label"], strict=True)} == given
    np.testing.assert_allclose(table["mean"].to_numpy(), pixels.reshape(20, -1).mean(axis=1), rtol=1e-6)


def test_column_order_is_read_as_well(tmp_path: Path, pictures: Arrays) -> None:
    """An array saved in Fortran's order means the same pictures."""
    read_set(pictures, tmp_path / "a")
    read_set({name: np.asfortranarray(array) for name, array in pictures.items()}, tmp_path / "b")
    assert (tmp_path / "a" / "pixels.npy").read_bytes() == (tmp_path / "b" / "pixels.npy").read_bytes()


def test_blocks_do_not_change_the_result(tmp_path: Path, pictures: Arrays, monkeypatch: pytest.MonkeyPatch) -> None:
    """A set larger than a block is read in several; the bytes stay the same."""
    read_set(pictures, tmp_path / "a")
    monkeypatch.setattr("medai.sources.medmnist._BLOCK", 200)
    read_set(pictures, tmp_path / "b")
    for name in ("images.parquet", "pixels.npy"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


FAULTS: dict[str, tuple[Callable[[Arrays], object], str, str]] = {
    "missing array": (lambda a: a.pop("val_labels"), "val_labels", "no such array"),
    "float pixels": (lambda a: a.update(train_images=a["train_images"] / 255), "train_images", "float64"),
    "16-bit pixels": (lambda a: a.update(test_images=a["test_images"].astype("uint16")), "test_images", "uint16"),
    "flat pictures": (lambda a: a.update(val_images=a["val_images"].reshape(4, -1)), "val_images", "shape (4, 64)"),
    "volumes": (lambda a: a.update(val_images=CUBES), "val_images", "(8, 8, 8, 1)"),
    "an axis more": (lambda a: a.update(val_images=CUBES[..., None]), "val_images", "shape (4, 8, 8, 8, 1)"),
    "other size": (lambda a: a.update(val_images=a["val_images"][:, :6]), "val_images", "(6, 8, 1)"),
    "one label missing": (lambda a: a.update(train_labels=a["train_labels"][:-1]), "train_labels", "11 rows"),
    "negative label": (lambda a: a.update(val_labels=-np.ones((4, 1), "int8")), "val_labels", "4 rows below 0"),
    "label as float": (lambda a: a.update(val_labels=np.full((4, 1), np.nan)), "val_labels", "float64"),
    "flat labels": (lambda a: a.update(val_labels=a["val_labels"][:, 0]), "val_labels", "shape (4,)"),
    "other findings": (lambda a: a.update(val_labels=np.zeros((4, 2), "uint8")), "val_labels", "2"),
    "1001 findings": (lambda a: a.update(val_labels=np.zeros((4, 1001), "uint8")), "val_labels", "shape (4, 1001)"),
    "empty split": (lambda a: a.update(test_images=a["test_images"][:0], test_labels=a["test_labels"][:0]),
                    "test_images", "shape (0, 8, 8)"),
    "objects": (lambda a: a.update(val_labels=a["val_labels"].astype(object)), "val_labels",
                "pickled objects, which medai never loads"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_arrays_that_are_not_as_published_are_refused(tmp_path: Path, pictures: Arrays, fault: str) -> None:
    """The refusal names the array and what was found in it."""
    break_it, array, received = FAULTS[fault]
    break_it(pictures)
    with pytest.raises(DataRefused, match=f"array {array} of the .npz is not as MedMNIST publishes it") as refusal:
        read_set(pictures, tmp_path / "a")
    assert refusal.value.received == received


@pytest.mark.parametrize(
    ("content", "received"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a Git-LFS pointer"),
        (b"<html><body>404</body></html>", "an HTML page"),
        (b"just words", "a text file"),
        (b"\x93NUMPY\x01\x00", "a single NumPy array"),
        (b"\x80\x04\x95", "a Python pickle"),
    ],
)
def test_another_type_than_the_name_says_is_refused(tmp_path: Path, content: bytes, received: str) -> None:
    """The refusal says what the file really is."""
    (tmp_path / "set.npz").write_bytes(content)
    with pytest.raises(DataRefused, match="the data file is not what it should be") as refusal:
        raw_files(CONFIG, tmp_path / "set.npz")
    assert received in refusal.value.received


def test_a_folder_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    """A folder is named as one."""
    (tmp_path / "x").touch()
    with pytest.raises(DataRefused) as refusal:
        raw_files(CONFIG, tmp_path)
    assert refusal.value.received == "folder"


@pytest.mark.parametrize("keep", [0.3, 0.8, 0.99])
def test_a_truncated_set_is_refused(tmp_path: Path, pictures: Arrays, keep: float) -> None:
    """Wherever the file breaks off."""
    np.savez_compressed(tmp_path / "set.npz", allow_pickle=False, **pictures)
    data = (tmp_path / "set.npz").read_bytes()
    (tmp_path / "set.npz").write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(DataRefused, match="cannot be read to its end"):
        read(CONFIG, tmp_path / "set.npz", tmp_path)


def _with_member(path: Path, pictures: Arrays, name: str, content: bytes) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for array, values in pictures.items():
            if array != name:
                file = io.BytesIO()
                np.save(file, values)
                archive.writestr(f"{array}.npy", file.getvalue())
        archive.writestr(f"{name}.npy", content)


def test_a_header_that_lies_is_refused_before_memory_is_taken(tmp_path: Path, pictures: Arrays) -> None:
    """A header that declares a petabyte over a few bytes never reaches an allocation."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": (1 << 40, 32, 32)})
    _with_member(tmp_path / "set.npz", pictures, "train_images", file.getvalue() + b"abc")
    with pytest.raises(DataRefused, match="train_images") as refusal:
        read(CONFIG, tmp_path / "set.npz", tmp_path)
    assert refusal.value.received == "a header that lies about the array's size"


def test_a_member_that_is_no_array_is_refused(tmp_path: Path, pictures: Arrays) -> None:
    """Text under an array's name is not guessed at."""
    _with_member(tmp_path / "set.npz", pictures, "val_images", b"no array at all")
    with pytest.raises(DataRefused, match="val_images") as refusal:
        read(CONFIG, tmp_path / "set.npz", tmp_path)
    assert refusal.value.received == "a member that is no NumPy array"


@pytest.mark.parametrize(
    ("header", "version"),
    [
        ("{'descr': '|u1', 'fortran_order': False, 'shape': (12, 8", (1, 0)),
        ("{'descr': '|u1", (1, 0)),
        ("{[]: '|u1', 'fortran_order': False, 'shape': (12, 8, 8), }", (1, 0)),
        ("{1: '|u1', 'fortran_order': False, 'shape': (12, 8, 8), }", (1, 0)),
        ("{'descr': ('|u1',), 'fortran_order': False, 'shape': (12, 8, 8), }", (1, 0)),
        ("{'descr': '|u1', 'fortran_order': False, 'shape': (12, 8, 8), }", (9, 9)),
    ],
)
def test_a_header_that_describes_no_array_is_refused(
    tmp_path: Path, pictures: Arrays, header: str, version: tuple[int, int]
) -> None:
    """Open brackets, keys and types that mean nothing, a version that does not exist: never a crash."""
    text = header.encode()
    length = len(text).to_bytes(2 if version == (1, 0) else 4, "little")
    content = b"\x93NUMPY" + bytes(version) + length + text + pictures["train_images"].tobytes()
    _with_member(tmp_path / "set.npz", pictures, "train_images", content)
    with pytest.raises(DataRefused, match="train_images") as refusal:
        read(CONFIG, tmp_path / "set.npz", tmp_path)
    assert refusal.value.received == "a member that is no NumPy array"


def test_other_members_are_counted(tmp_path: Path, pictures: Arrays) -> None:
    """An array that MedMNIST does not publish is not read, and that is said; labels not asked for are no such array."""
    np.savez(tmp_path / "set.npz", allow_pickle=False, **pictures, train_ages=np.arange(12))
    for labelled in (True, False):
        facts = read(CONFIG.model_copy(update={"labelled": labelled}), tmp_path / "set.npz", tmp_path)
        assert facts.counts["ignored_array"] == 1


def test_a_problem_knows_its_set_by_its_counts(tmp_path: Path, pictures: Arrays) -> None:
    """Another set is refused with both counts; pictures to predict may be any."""
    expect: dict[str, object] = {"kind": "medmnist", "expect": {"train": 546, "test": 4}}
    config = MedMNIST.model_validate(expect)
    np.savez(tmp_path / "set.npz", allow_pickle=False, **pictures)
    with pytest.raises(DataRefused, match="another set than the Problem's") as refusal:
        read(config, tmp_path / "set.npz", tmp_path)
    assert refusal.value.expected == "546 pictures in train, 4 pictures in test"
    assert refusal.value.received == "12 in train, 4 in test"
    assert (elsewhere(config), elsewhere(CONFIG)) == (CONFIG, CONFIG)
    assert read(config.unlabelled(), tmp_path / "set.npz", tmp_path).tables["images"] == 20
    for wrong in ({}, {"train": 0}, {"gate": 3}):
        with pytest.raises(ValidationError):
            MedMNIST.model_validate({"kind": "medmnist", "expect": wrong})


def test_a_bomb_is_refused(tmp_path: Path, pictures: Arrays) -> None:
    """64 MiB of black pictures in a few KiB are refused before they are unpacked."""
    pictures |= {"train_images": np.zeros((1 << 14, 64, 64), np.uint8), "train_labels": np.zeros((1 << 14, 1), "uint8")}
    with pytest.raises(DataRefused, match="unpacks to far more than it holds"):
        read_set(pictures, tmp_path / "a")


def test_each_picture_keeps_its_place_in_the_file_for_the_owner_alone(tmp_path: Path, pictures: Arrays) -> None:
    """Array and row, from 0, of every picture, so that an answer can be joined to what it was made of."""
    _, _, pixels = read_set(pictures, tmp_path / "a")
    path = tmp_path / "a" / "picture_identifiers.parquet"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    places = dict(pl.DataFrame(read_table(path)).iter_rows())
    assert list(places) == list(range(20))
    for row, place in places.items():
        split, number = place.split("/")
        assert (pictures[f"{split}_images"][int(number)] == pixels[row, :, :, 0]).all()


def test_pictures_to_predict_need_no_labels_and_no_other_role(tmp_path: Path, pictures: Arrays) -> None:
    """One array is enough; labels that are there are not read, also where they could not be; none at all is refused."""
    config = CONFIG.unlabelled()
    path = tmp_path / "set.npz"
    bare = {"test_images": pictures["test_images"], "val_images": pictures["val_images"]}
    for folder, extra in (("a", {}), ("b", {"val_labels": np.array(["x"]), "train_labels": pictures["train_labels"]})):
        np.savez(path, allow_pickle=True, **bare, **extra)
        (tmp_path / folder).mkdir()
        facts = read(config, path, tmp_path / folder)
        assert facts.tables == {"images": 8, "labels": 8}
        table, pixels = result(tmp_path / folder)
        assert table["publisher_role"].to_list() == ["validation"] * 4 + ["test"] * 4
        assert pixels.shape == (8, 8, 8, 1)
        assert "label" not in table.columns
        assert table["label_conflict"].sum() == 0
    np.savez(path, allow_pickle=True, train_labels=pictures["train_labels"])
    with pytest.raises(DataRefused, match=r"at least one of \{train,val,test\}_images"):
        read(config, path, tmp_path)


@pytest.mark.data
def test_pneumoniamnist_is_as_its_publisher_describes_it(tmp_path: Path, real_data: Path) -> None:
    """Counts, classes, the 8 validation pictures that also stand in train, and the copies inside train."""
    facts = read(CONFIG, real_data / "medmnist" / "pneumoniamnist.npz", tmp_path)
    table, pixels = result(tmp_path)
    assert pixels.shape == (5856, 28, 28, 1)
    assert facts.tables == {"images": 5856, "labels": 5856}
    assert sorted(table.group_by("publisher_role", "label").len().rows()) == [
        ("test", 0, 234), ("test", 1, 390), ("train", 0, 1214), ("train", 1, 3494), ("validation", 0, 135),
        ("validation", 1, 389),
    ]  # fmt: skip
    twins = table.filter(pl.col("twin_of").is_not_null())
    assert set(twins.select("publisher_role", "twin_of").rows()) == {("train", "validation")}
    assert (twins.height, twins["content_hash"].n_unique()) == (10, 8)
    train = table.filter(pl.col("publisher_role") == "train")
    assert train.filter(pl.col("copy_number") > 0).height == 18


@pytest.mark.data
def test_breastmnist_has_one_picture_on_both_sides(tmp_path: Path, real_data: Path) -> None:
    """One training picture stands in test too, with the other label."""
    read(CONFIG, real_data / "medmnist" / "breastmnist.npz", tmp_path)
    table, _ = result(tmp_path)
    assert dict(table.group_by("publisher_role").len().rows()) == {"train": 546, "validation": 78, "test": 156}
    twin = table.filter(pl.col("twin_of") == "test")
    assert twin.select("publisher_role", "label").rows() == [("train", 0)]
    both = table.filter(pl.col("content_hash") == twin["content_hash"][0])
    assert both.select("publisher_role", "label").rows() == [("train", 0), ("test", 1)]
    assert both["subject_id"].n_unique() == 1
