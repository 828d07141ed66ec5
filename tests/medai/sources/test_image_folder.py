"""Pictures in class folders: which files, whose, in which order, and which are the same."""

from __future__ import annotations

import hashlib
import io
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image
from pydantic import ValidationError

from medai.errors import DataRefused, MedaiError
from medai.ingestion import ingest
from medai.records import Snapshot
from medai.sources import ImageFolder
from medai.sources.image_folder import finding, raw_files, read
from medai.sources.pictures import workers
from medai.tables import Facts, read_table
from medai.validation import catalogue_suite, validate
from medai.workspace import Workspace

KERMANY = "(?P<subject>person[0-9]+|IM-[0-9]+|(?<=[ASL]-)[0-9]{6,})"
GOLDEN = {
    "images": "5663ec0179e944b1",
    "labels": "662a586d7772bfde",
    "identifiers": "45684cd6a589f9ce",
    "pixels": "5a35c81cc5fe88eb",
}
"""Table → hash of its content, for version 3 of the reader and the set below."""


def config(**fields: Any) -> ImageFolder:
    """A source of two classes at 16 × 16, subjects by Kermany's names."""
    given = {"kind": "image_folder", "classes": ["NORMAL", "PNEUMONIA"], "size": [16, 16], "subject": KERMANY}
    return ImageFolder.model_validate(given | fields)


def picture(seed: int, kind: str = "PNG", size: tuple[int, int] = (24, 20)) -> bytes:
    """A file's bytes; equal seeds give equal pictures."""
    levels = np.random.default_rng(seed).integers(20, 230, size, np.uint8)
    file = io.BytesIO()
    Image.fromarray(levels).save(file, kind)
    return file.getvalue()


def area_means(levels: np.ndarray) -> np.ndarray:
    """The exact mean over the area that each of 16 × 16 pixels covers, in floating point."""

    def shares(length: int) -> np.ndarray:
        ends = np.arange(17)[:, None] * length / 16
        at = np.arange(length)
        return np.clip(np.minimum(ends[1:], at + 1) - np.maximum(ends[:-1], at), 0, 1) * 16 / length

    means: np.ndarray = shares(levels.shape[0]) @ levels @ shares(levels.shape[1]).T
    return means


Files = dict[str, bytes]


def lay(root: Path, files: Files) -> Path:
    """Write files below a folder."""
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def kermany(patients: int = 8) -> Files:
    """The publisher's layout: two pictures a patient, roles by patient, names as published."""
    files = {}
    for patient in range(patients):
        role = ("train", "train", "val", "test")[patient % 4]
        for view in range(2):
            seed = 10 * patient + view
            normal = "IM" if patient % 2 else "NORMAL2-IM"
            files[f"{role}/NORMAL/{normal}-{patient:04d}-{view:04d}.jpeg"] = picture(seed, "JPEG")
            files[f"{role}/PNEUMONIA/person{patient}_virus_{view}.png"] = picture(1000 + seed)
    return files


def read_set(root: Path, files: Files, **fields: Any) -> tuple[Facts, pl.DataFrame, np.ndarray]:
    """Lay the files out, read them; the facts, images joined with labels and file names, and the pixels."""
    out = root.parent / f"{root.name} read"
    out.mkdir()
    facts = read(config(**fields), lay(root, files), out)
    table = pl.DataFrame(read_table(out / "images.parquet"))
    for other in ("labels", "picture_identifiers"):
        table = table.join(pl.DataFrame(read_table(out / f"{other}.parquet")), on="row_id", maintain_order="left")
    return facts, table.rename({"site_id": "file"}), np.load(out / "pixels.npy")


def contents(folder: Path) -> dict[str, bytes]:
    """Every file that a reader wrote."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_every_picture_is_kept_with_its_label_role_and_patient(tmp_path: Path) -> None:
    """Rows follow role, then content; pixels, labels, files and patients belong together."""
    files = kermany()
    facts, table, pixels = read_set(tmp_path / "a", files)
    assert facts.unit == "patient"
    assert facts.tables == {"images": 32, "labels": 32}
    assert facts.counts == {"subjects_straddling_publisher_roles": 0}
    assert table["row_id"].to_list() == list(range(32))
    assert table["publisher_role"].to_list() == ["train"] * 16 + ["validation"] * 8 + ["test"] * 8
    assert table["label"].to_list() == ["PNEUMONIA" in name for name in table["file"]]
    for role in ("train", "validation", "test"):
        hashes = table.filter(pl.col("publisher_role") == role)["content_hash"].to_list()
        assert hashes == sorted(hashes)
    for row, name in enumerate(table["file"]):
        original = Image.open(io.BytesIO(files[name.replace("validation/", "val/")]))
        found = area_means(np.asarray(original))
        np.testing.assert_allclose(pixels[row, :, :, 0], found, atol=0.51)
    assert table.select("height", "width", "channels", "bits").unique().rows() == [(24, 20, 1, 8)]
    assert table["aspect"].unique().to_list() == [pytest.approx(1.2)]
    assert table["fault"].null_count() == 32
    assert table["subject_id"].n_unique() == 16
    flat = pixels.reshape(32, -1)
    np.testing.assert_allclose(table["mean"].to_numpy(), flat.mean(axis=1), rtol=1e-6)
    assert table["maximum"].to_list() == flat.max(axis=1).tolist()


def test_names_stay_with_their_owner(tmp_path: Path) -> None:
    """File names and the site's ids stand in two tables that nobody else may read, and nowhere else."""
    read_set(tmp_path / "a", kermany())
    for path in (tmp_path / "a read").iterdir():
        secret = path.name in ("picture_identifiers.parquet", "identifiers.parquet")
        assert (stat.S_IMODE(path.stat().st_mode) == 0o600) == secret
        if path.suffix == ".parquet":
            text = pl.DataFrame(read_table(path)).write_csv()
            assert ("person3" in text, "IM-0003" in text) == (secret, secret)
    people = pl.DataFrame(read_table(tmp_path / "a read" / "identifiers.parquet"))
    assert sorted(people["site_id"]) == sorted([f"IM-{n:04d}" for n in range(8)] + [f"person{n}" for n in range(8)])


def test_neither_order_nor_names_of_equal_pictures_leave_a_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Written in another order, read one at a time by one worker: the same bytes, the owner's list apart."""
    read_set(tmp_path / "a", kermany())
    monkeypatch.setattr(workers, "_MOST_PROCESSES", 1)
    monkeypatch.setattr(workers, "_MOST_AT_ONCE", 1)
    read_set(tmp_path / "b", dict(reversed(kermany().items())))
    assert contents(tmp_path / "a read") == contents(tmp_path / "b read")
    monkeypatch.undo()
    renamed = {name.replace("_virus_", "_bacteria_9"): content for name, content in kermany().items()}
    read_set(tmp_path / "c", renamed)
    first, other = contents(tmp_path / "a read"), contents(tmp_path / "c read")
    assert {name for name in first if first[name] != other[name]} == {"picture_identifiers.parquet"}


def test_class_folders_alone_have_no_role(tmp_path: Path) -> None:
    """Any case of their names; nobody straddles what is not there."""
    files = {f"normal/IM-{n}.png": picture(n) for n in range(3)} | {"Pneumonia/person1_x.png": picture(9)}
    facts, table, _ = read_set(tmp_path / "a", files)
    assert facts.counts == {}
    assert table["publisher_role"].null_count() == 4
    assert table["label"].sum() == 1
    assert set(table["source_id"].str.split("/").list.first()) == {"pictures"}


@pytest.mark.parametrize(
    "names", [("TRAIN", "Val", "Test"), ("train", "validation", "test"), ("train", "VALIDATION", "TEST")]
)
def test_role_folders_are_known_in_any_case(tmp_path: Path, names: tuple[str, str, str]) -> None:
    """``val`` is validation."""
    swap = dict(zip(("train", "val", "test"), names, strict=True))
    files = {f"{swap[name.split('/')[0]]}/{name.split('/', 1)[1]}": content for name, content in kermany().items()}
    _, table, _ = read_set(tmp_path / "a", files)
    assert dict(table.group_by("publisher_role").len().rows()) == {"train": 16, "validation": 8, "test": 8}


def test_without_a_pattern_each_distinct_picture_is_a_subject(tmp_path: Path) -> None:
    """As in MedMNIST: copies share one, and the unit is the picture."""
    files = kermany() | {"train/NORMAL/again.png": picture(1000)}
    facts, table, _ = read_set(tmp_path / "a", files, subject=None)
    assert facts.unit == "image"
    assert table["subject_id"].n_unique() == table["content_hash"].n_unique() == 32
    people = pl.DataFrame(read_table(tmp_path / "a read" / "identifiers.parquet"))
    assert set(people["site_id"]) == set(table["content_hash"])


def test_a_name_that_does_not_match_is_nobody(tmp_path: Path) -> None:
    """Set aside and counted, never a subject of its own; or the whole set is refused."""
    files = kermany() | {"train/NORMAL/scan.png": picture(77), "test/NORMAL/copy of scan.png": picture(78)}
    facts, table, _ = read_set(tmp_path / "a", files)
    assert facts.counts["unknown_subject"] == 2
    nobody = table.filter(pl.col("fault") == "unknown_subject")
    assert nobody["subject_id"].null_count() == nobody.height == 2
    assert table["subject_id"].null_count() == 2
    with pytest.raises(DataRefused, match="do not tell whose pictures") as raised:
        read_set(tmp_path / "b", files, unmatched="refuse")
    assert raised.value.received == "2 of 34 names without a match"
    assert "scan" not in str(raised.value)


def test_a_name_in_two_unicode_spellings_is_one(tmp_path: Path) -> None:
    """Composed or not, as one computer or another stores an accent: one subject, one class, one folder passed over."""
    one, two = "Zo\u00eb", "Zoe\u0308"
    files = {
        f"\u00c9TAT/{one}_1.png": picture(1), f"\u00c9TAT/{two}_2.png": picture(2), "sain/Max_1.png": picture(3),
        "re\u0301serve/x.png": picture(4),
    }  # fmt: skip
    for pattern in (f"(?P<subject>{one}|Max)", f"(?P<subject>{two}|Max)", "(?P<subject>.+)_"):
        root = tmp_path / str(len(list(tmp_path.iterdir())))
        source = {"classes": ["e\u0301tat", "sain"], "ignore": ["r\u00e9serve"], "subject": pattern}
        _, table, _ = read_set(root, files, **source)
        assert table["label"].to_list().count(0) == 2
        assert table.filter(pl.col("label") == 0)["subject_id"].n_unique() == 1
        assert table["subject_id"].n_unique() == 2
        assert table["fault"].null_count() == 3
    with pytest.raises(ValidationError, match="each folder must be named once"):
        config(classes=["\u00e9tat", "e\u0301tat"])


def test_straddling_patients_are_counted(tmp_path: Path) -> None:
    """Whoever stands in two of the publisher's folders, once, however many pictures; faulty ones do not count."""
    files = kermany() | {
        "test/PNEUMONIA/person0_bacteria_7.png": picture(501),
        "test/PNEUMONIA/person0_bacteria_8.png": picture(502),
        "val/NORMAL/IM-0001-0007.png": picture(503),
        "test/NORMAL/IM-0002-0008.png": b"not a picture",
    }
    facts, _, _ = read_set(tmp_path / "a", files)
    assert facts.counts == {"not_a_picture": 1, "subjects_straddling_publisher_roles": 2}


def test_equal_pictures_are_marked(tmp_path: Path) -> None:
    """By pixels, under any name and compression: across roles, within one, across patients and diagnoses."""
    again = io.BytesIO()
    Image.open(io.BytesIO(picture(1000))).save(again, "PNG", compress_level=0)
    assert again.getvalue() != picture(1000)
    files = kermany() | {
        "test/PNEUMONIA/person0_virus_8.png": again.getvalue(),  # the train picture of person0
        "train/PNEUMONIA/person4_virus_8.png": picture(1040),  # person4's own, twice in train
        "train/PNEUMONIA/person99_virus_0.png": picture(1041),  # person4's under another patient
        "train/NORMAL/IM-0005-0009.png": picture(1050),  # person5's, called normal
    }
    facts, table, _ = read_set(tmp_path / "a", files)
    assert facts.counts == {
        "twin_in_another_role": 1,
        "copy_in_same_role": 3,
        "copy_of_another_subject": 2,
        "label_conflict": 2,
        "subjects_straddling_publisher_roles": 1,
    }
    twin = table.filter(pl.col("twin_of").is_not_null())
    assert twin.select("file", "twin_of").rows() == [("train/PNEUMONIA/person0_virus_0.png", "test")]
    own = table.filter(pl.col("file").str.contains("person4_virus_[08]"))
    assert own.select("copy_number", "of_another_subject").sort(pl.all()).rows() == [(0, False), (1, False)]
    one_of_two = table.filter(pl.col("file").str.contains("person4_virus_1|person99"))
    assert sorted(one_of_two["of_another_subject"]) == [False, True]
    conflict = table.filter("label_conflict")
    assert sorted(conflict["label"]) == [0, 1]


def test_copies_of_different_sizes_are_copies_of_what_is_learnt(tmp_path: Path) -> None:
    """A picture enlarged fourfold pixel by pixel looks the same at the working size."""
    levels = np.random.default_rng(1).integers(0, 256, (16, 16), np.uint8)
    for name, side in (("person1_a", 1), ("person2_b", 1)):
        (tmp_path / "a" / "PNEUMONIA").mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(levels.repeat(side, 0).repeat(side, 1))
        image.save(tmp_path / "a" / "PNEUMONIA" / f"{name}.png")
        image.convert("RGB").save(tmp_path / "a" / "PNEUMONIA" / f"{name}_colour.png")
    _, table, _ = read_set(tmp_path / "a", {"NORMAL/IM-1.png": picture(1)})
    assert sorted(table["copy_number"]) == [0, 0, 1, 2, 3]


def test_what_computers_leave_behind_is_passed_over(tmp_path: Path) -> None:
    """Hidden and system files at each level change neither tables nor the data's hash; nor does a read-me."""
    left = {
        ".DS_Store": b"x",
        "README.txt": b"about these pictures",
        "__MACOSX/train/NORMAL/._IM-0000-0000.jpeg": b"x",
        "train/.DS_Store": b"x",
        "train/Thumbs.db": b"x",
        "train/NORMAL/._IM-0000-0000.jpeg": b"x",
        "train/NORMAL/Thumbs.db": b"x",
        "val/NORMAL/desktop.ini": b"x",
        "chest_xray/train/NORMAL/IM-0000-0000.jpeg": b"x",
    }
    read_set(tmp_path / "a", kermany())
    read_set(tmp_path / "b", kermany() | left, ignore=["Chest_Xray"])
    assert contents(tmp_path / "a read") == contents(tmp_path / "b read")


def test_both_releases_of_kermanys_set_are_read_as_they_unpack(tmp_path: Path) -> None:
    """Beside what an archive's maker left, in a folder of the set's own name once or twice, with and without a folder
    for validation; of the release with other names the patient is the number.
    """
    plain = read_set(tmp_path / "plain", kermany())[1]
    for depth in (1, 2):
        files = {"__MACOSX/chest_xray/._train": b"x", ".DS_Store": b"x"}
        files |= {"chest_xray/" * depth + name: content for name, content in kermany().items()}
        nested = read_set(tmp_path / f"nested {depth}", files, ignore=["chest_xray"])[1]
        assert nested.equals(plain)
    names = ("NORMAL/NORMAL-1003233-0001", "NORMAL/NORMAL-1003233-0002", "PNEUMONIA/BACTERIA-1008087-0001",
             "PNEUMONIA/VIRUS-1008087-0003", "PNEUMONIA/VIRUS-1980593-0001")  # fmt: skip
    other = {f"{role}/{name}.jpeg": picture(place + 9 * (role == "test"), "JPEG") for role in ("train", "test")
             for place, name in enumerate(names)}  # fmt: skip
    facts, table, _ = read_set(tmp_path / "other", other)
    assert (facts.unit, table["subject_id"].n_unique(), table["fault"].null_count()) == ("patient", 3, 10)
    assert facts.counts["subjects_straddling_publisher_roles"] == 3


def test_a_moved_or_renamed_file_is_other_data(tmp_path: Path) -> None:
    """Class, role and name say what a picture means: each of them enters the data's hash, the place does not."""
    files = kermany()

    def hash_of(name: str, changed: Files) -> str:
        snapshot: Snapshot = ingest(Workspace(tmp_path / "home"), config(), lay(tmp_path / name, changed)).record
        return snapshot.data_sha256

    def moved(old: str, new: str) -> Files:
        return {(new if name == old else name): content for name, content in files.items()}

    first = "train/NORMAL/NORMAL2-IM-0000-0000.jpeg"
    hashes = [
        hash_of("a", files),
        hash_of("b", moved(first, first.replace("NORMAL/", "PNEUMONIA/"))),
        hash_of("c", moved(first, first.replace("train", "test"))),
        hash_of("d", moved(first, first.replace("IM-0000", "IM-0009"))),
        hash_of("e", files | {first: picture(5)}),
    ]
    assert len(set(hashes)) == 5
    assert hash_of("f", files) == hashes[0]
    assert ingest(Workspace(tmp_path / "home"), config(), tmp_path / "f").reused


def test_pictures_to_predict_need_no_class(tmp_path: Path) -> None:
    """In the folder or below it, or a single file; without labels, none thinned out, each distinct one a subject."""
    files = {
        "scan.png": picture(1), "again.png": picture(1), "ward/Smith/scan.png": picture(2), "ward/x.jpeg": b"text",
        ".DS_Store": b"x", **{f"many/{number}.png": picture(number) for number in range(10, 14)},
    }  # fmt: skip
    root, out = lay(tmp_path / "new", files), tmp_path / "out"
    out.mkdir()
    source = config().unlabelled()
    assert not any("Smith" in role for role, _ in raw_files(source, root))
    facts = read(source, root, out)
    assert facts.unit == "image"
    assert facts.counts == {"not_a_picture": 1, "copy_in_same_role": 1}
    assert pl.DataFrame(read_table(out / "labels.parquet"))["label"].null_count() == 8
    names = pl.DataFrame(read_table(out / "picture_identifiers.parquet"))["site_id"]
    assert sorted(names) == sorted(name for name in files if name != ".DS_Store")
    assert pl.DataFrame(read_table(out / "images.parquet"))["subject_id"].n_unique() == 7
    workspace = Workspace(tmp_path / "home")
    snapshot = ingest(workspace, source, root).record
    report = validate(workspace, snapshot, catalogue_suite("image_folder")).record
    assert report.set_aside == {"not_a_picture": 1}
    renamed = lay(tmp_path / "renamed", {name.replace("Smith", "Jones"): content for name, content in files.items()})
    assert ingest(workspace, source, renamed).record.key != snapshot.key
    single = ingest(workspace, source, root / "scan.png").record
    assert single.tables == {"images": 1, "labels": 1}


def test_pictures_to_predict_keep_whom_their_names_tell(tmp_path: Path) -> None:
    """A name that matches gives the subject that it gives in training, one that does not its content; none is set
    aside for either, also where a pattern is asked for, or one picture stands under two names.
    """
    learnt, known, _ = read_set(tmp_path / "learnt", kermany())
    files = {"new/person3_virus_9.png": picture(50), "new/person4_virus_1.png": picture(50), "scan.png": picture(51)}
    root, out = lay(tmp_path / "new", files), tmp_path / "out"
    out.mkdir()
    facts = read(config(unmatched="refuse").unlabelled(), root, out)
    table = pl.DataFrame(read_table(out / "images.parquet")).join(
        pl.DataFrame(read_table(out / "picture_identifiers.parquet")), on="row_id"
    )
    person3 = known.filter(pl.col("file").str.contains("person3_"))["subject_id"].unique().item()
    assert table.filter(pl.col("site_id").str.contains("person3"))["subject_id"].item() == person3
    assert table["subject_id"].n_unique() == 3
    assert table["fault"].null_count() == 3
    assert not table["of_another_subject"].any()
    assert (learnt.unit, facts.unit) == ("patient", "patient")


def test_pictures_to_predict_lie_at_most_two_folders_deep(tmp_path: Path) -> None:
    """Deeper ones are not passed over in silence; a folder without a file, or an archive, is refused as well."""
    source = config().unlabelled()
    with pytest.raises(DataRefused, match="folders lie more than 2 deep"):
        raw_files(source, lay(tmp_path / "a", {"b/c/d/scan.png": picture(1)}))
    (tmp_path / "e" / "f").mkdir(parents=True)
    with pytest.raises(DataRefused, match="the folder holds no file"):
        raw_files(source, tmp_path / "e")
    (tmp_path / "set.zip").write_bytes(b"PK\x03\x04")
    with pytest.raises(DataRefused, match="is not what it should be") as raised:
        raw_files(source, tmp_path / "set.zip")
    assert raised.value.received == "a zip archive"


FOLDERS: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "unknown class": (
        lambda root: lay(root, {"train/NORMALL/a.png": picture(1)}),
        "folder at entry 2 of train is not known",
        "another name; did you mean 'normal'?",
    ),
    "role beside classes": (
        lambda root: lay(root, {"NORMAL/a.png": picture(1)}),
        "folder at entry 1 of the data, beside the folders of roles is not known",
        "another name; known: test, train, val, validation",
    ),
    "folder in a class": (
        lambda root: lay(root, {"test/NORMAL/Smith_John/a.png": picture(1)}),
        "of class folder NORMAL is a folder",
        "1 folders inside it",
    ),
    "picture without a class": (
        lambda root: lay(root, {"train/a.png": picture(1), "b": picture(2, "JPEG")}),
        "pictures lie outside the class folders",
        "2 pictures beside the folders",
    ),
    "one class in two spellings": (
        lambda root: lay(root, {"test/Normal/IM-1.png": picture(1)}),
        "two folders mean normal",
        "2 folders, told apart by their spelling alone",
    ),
    "one role in two spellings": (
        lambda root: lay(root, {"Validation/NORMAL/IM-1.png": picture(1)}),
        "two folders mean validation",
        "2 folders, told apart by their spelling alone",
    ),
    "link that leaves": (
        lambda root: (root / "test" / "NORMAL" / "b.png").symlink_to(root.parent / "outside.png"),
        "of a folder is not plain data",
        "a link that leaves the folder, or leads to nothing",
    ),
    "linked class folder that leaves": (
        lambda root: (root / "train" / "z").symlink_to(root.parent),
        "of a folder is not plain data",
        "a link that leaves the folder, or leads to nothing",
    ),
    "link in a circle": (
        lambda root: (root / "test" / "NORMAL" / "b.png").symlink_to(root / "test" / "NORMAL" / "b.png"),
        "of a folder is not plain data",
        "a link that leaves the folder, or leads to nothing",
    ),
    "pipe": (
        lambda root: os.mkfifo(root / "test" / "NORMAL" / "b.png"),
        "of a folder is not plain data",
        "a pipe, a socket or a device",
    ),
}


@pytest.mark.parametrize("fault", FOLDERS)
def test_folders_that_are_not_as_stated_are_refused(
    tmp_path: Path, fault: str, refusal: Callable[[MedaiError], str]
) -> None:
    """Before anything is written; an entry is named by its place, since names may come from patients."""
    (tmp_path / "outside.png").write_bytes(picture(1))
    root = lay(tmp_path / "a", kermany())
    break_it, wrong, received = FOLDERS[fault]
    break_it(root)
    with pytest.raises(DataRefused) as raised:
        raw_files(config(), root)
    assert wrong in raised.value.wrong
    assert raised.value.received == received
    assert "Smith" not in refusal(raised.value)
    assert "NORMALL" not in refusal(raised.value)


def test_a_link_that_stays_is_another_copy(tmp_path: Path) -> None:
    """Inside the data a link is a second name of its picture, and counted as such."""
    root = lay(tmp_path / "a", kermany())
    (root / "train/PNEUMONIA/person0_virus_5.png").symlink_to(root / "train/PNEUMONIA/person0_virus_0.png")
    facts, _, _ = read_set(root, {})
    assert facts.counts["copy_in_same_role"] == 1


def test_a_missing_or_empty_class_is_refused(tmp_path: Path) -> None:
    """A class that nobody shows is a wrong path or a wrong Problem."""
    root = lay(tmp_path / "a", {"NORMAL/IM-1.png": picture(1)})
    (root / "PNEUMONIA").mkdir()
    with pytest.raises(DataRefused, match="class folder PNEUMONIA holds no file"):
        raw_files(config(), root)


@pytest.mark.parametrize("what", ["missing", "empty", "file"])
def test_what_is_no_folder_is_refused(tmp_path: Path, what: str) -> None:
    """It says what stands there."""
    path = tmp_path / "a"
    if what == "empty":
        path.mkdir()
    elif what == "file":
        path.write_bytes(b"PK\x03\x04")
    with pytest.raises(DataRefused) as raised:
        raw_files(config(), path)
    assert {"missing": "nothing at this path", "empty": "an empty folder", "file": "a zip archive"}[
        what
    ] in raised.value.received


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"classes": ["NORMAL"]}, "at least 2"),
        ({"classes": ["a", "A"]}, "each folder must be named once"),
        ({"classes": ["a", "b"], "ignore": ["B"]}, "each folder must be named once"),
        ({"classes": ["a", "Test"]}, "'test' names a publisher's role"),
        ({"classes": ["a", "b/c"]}, "plain folder names"),
        ({"classes": ["a", ".."]}, "plain folder names"),
        ({"ignore": ["__MACOSX"]}, "plain folder names"),
        ({"size": [0, 16]}, "between 1 and 4096"),
        ({"size": [16, 5000]}, "between 1 and 4096"),
        ({"channels": 2}, "Input should be 1 or 3"),
        ({"subject": "(person"}, "the pattern cannot be read"),
        ({"subject": "person[0-9]+"}, "needs a group named subject"),
        ({"white": 100}, "greater than or equal to 256"),
        ({"resise": "pad"}, "did you mean 'resize'"),
    ],
)
def test_a_source_that_cannot_be_followed_is_refused(fields: dict[str, Any], message: str) -> None:
    """Before any file is looked at."""
    with pytest.raises(ValidationError, match=message):
        config(**fields)


@pytest.mark.parametrize(
    ("name", "subject"),
    [
        ("person1_bacteria_2.jpeg", "person1"),
        ("person1_virus_6.jpeg", "person1"),
        ("IM-0115-0001.jpeg", "IM-0115"),
        ("IM-0115-0001-0002.jpeg", "IM-0115"),
        ("NORMAL2-IM-0115-0001.jpeg", "IM-0115"),
        ("scan.jpeg", None),
    ],
)
def test_kermanys_names_tell_the_child(name: str, subject: str | None) -> None:
    """The pattern of the packaged problems: both kinds of pneumonia, and both series of normals, are one child's."""
    from medai.problem import load_problem

    for problem in ("chest_xray_pneumonia", "chest_xray_pneumonia_rgb"):
        source = load_problem(problem).input.source
        assert isinstance(source, ImageFolder)
        assert finding.subjects_of(source.subject, [name]) == [subject]


def faulty(patients: int = 40) -> Files:
    """A set with one of each fault that validation knows."""
    noise = picture(3000, size=(200, 200))
    flat = {name: io.BytesIO() for name in ("black", "white", "grey", "dark", "strip", "tiny", "binary", "bright")}
    Image.new("L", (24, 24), 0).save(flat["black"], "PNG")
    Image.new("L", (24, 24), 255).save(flat["white"], "PNG")
    Image.new("L", (24, 24), 90).save(flat["grey"], "PNG")
    levels = np.random.default_rng(5).integers(0, 256, (24, 24), np.uint8)
    Image.fromarray(levels // 16).save(flat["dark"], "PNG")
    Image.fromarray(np.random.default_rng(6).integers(0, 256, (20, 200), np.uint8)).save(flat["strip"], "PNG")
    Image.fromarray(levels[:, :1]).save(flat["tiny"], "PNG")
    Image.fromarray(levels > 100).save(flat["binary"], "PNG")
    files = kermany(patients) | {
        f"train/NORMAL/IM-9{n:03d}-1.png": file.getvalue() for n, file in enumerate(flat.values()) if file.getvalue()
    }
    return files | {
        "train/NORMAL/IM-9100-1.png": b"text",
        "train/NORMAL/IM-9101-1.png": noise[: len(noise) // 2],
        "train/NORMAL/scan.png": picture(3001),
        "test/PNEUMONIA/person0_virus_8.png": picture(1000),
        "train/PNEUMONIA/person4_virus_8.png": picture(1040),
        "train/PNEUMONIA/person99_virus_0.png": picture(1041),
        "train/NORMAL/IM-0005-0009.png": picture(1050),
        "test/PNEUMONIA/person3_virus_8.png": picture(1030),
    }


def test_the_suite_names_each_fault(tmp_path: Path) -> None:
    """Each under its own reason and once; the rest passes, and an evaluation copy of the same patient only warns."""
    workspace = Workspace(tmp_path / "home")
    snapshot = ingest(workspace, config(), lay(tmp_path / "a", faulty())).record
    report = validate(workspace, snapshot, catalogue_suite("image_folder")).record
    assert report.passed, report.failures
    assert report.set_aside == {
        "not_a_picture": 1,
        "unreadable_picture": 1,
        "unknown_subject": 1,
        "too_small_picture": 1,
        "strip_shaped_picture": 1,
        "too_few_grey_levels": 1,
        "all_black_picture": 1,
        "saturated_picture": 1,
        "constant_picture": 1,
        "too_dark_picture": 1,
        "conflicting_labels": 2,
        "twin_in_evaluation_data": 1,
        "copy_of_another_subject": 1,
        "duplicate_picture": 1,
    }
    assert report.warned == {"duplicate_in_evaluation": 1}


def test_a_set_of_faults_is_refused(tmp_path: Path) -> None:
    """More set aside than the suite tolerates, or a class of almost nothing, stops the run."""
    files = {name: (b"pointer" if "person" in name else content) for name, content in kermany(16).items()}
    workspace = Workspace(tmp_path / "home")
    snapshot = ingest(workspace, config(), lay(tmp_path / "a", files)).record
    report = validate(workspace, snapshot, catalogue_suite("image_folder")).record
    assert not report.passed
    assert [failure.reason for failure in report.failures if failure.blocking] == ["too_many_set_aside"]


def test_golden_snapshot(tmp_path: Path) -> None:
    """A reader whose tables change must raise its VERSION: these are the contents of version 4."""
    facts, _, pixels = read_set(tmp_path / "a", faulty(4))
    assert facts.tables["images"] == 31
    found = {
        name: hashlib.sha256(
            pl.DataFrame(read_table(tmp_path / "a read" / f"{name}.parquet")).write_csv(float_precision=4).encode()
        ).hexdigest()[:16]
        for name in ("images", "labels", "identifiers")
    }
    assert found | {"pixels": hashlib.sha256(pixels.tobytes()).hexdigest()[:16]} == GOLDEN
