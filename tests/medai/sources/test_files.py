"""Files, folders and archives that cannot be trusted."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from medai.errors import DataRefused
from medai.sources.files import archive_members, files_below, look, open_member, open_zip, what_is

GZIP, ZIP = what_is(b"\x1f\x8b"), what_is(b"PK\x03\x04")
LIMIT = 1 << 26


def tar_of(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    """An uncompressed tar archive."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for member, data in members:
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def tar_member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tuple[tarfile.TarInfo, bytes]:
    """A member with a few bytes when it is a regular file."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info, b"abc" if kind == tarfile.REGTYPE else b""


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git-LFS pointer: the file itself was not fetched"),
        (b"\n<!DOCTYPE html>", "an HTML page, as a failed download leaves behind"),
        (b"\x89PNG\r\n", "a PNG picture"),
        (b"Time,Parameter,Value\n", "a text file"),
        (b"\x00\x01\x02", "binary data of an unknown kind"),
        (b"", "an empty file"),
    ],
)
def test_a_file_is_known_by_its_first_bytes(head: bytes, kind: str) -> None:
    """What a file really is comes from its content, never from its name."""
    assert what_is(head) == kind


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _loop(path: Path) -> None:
    path.symlink_to(path)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "is missing"),
        (lambda path: path.touch(), "is empty"),
        (lambda path: path.mkdir(), "is empty"),
        (_pipe, "is no data"),
        (_loop, "leads nowhere"),
    ],
    ids=["missing", "empty file", "empty folder", "pipe", "loop of links"],
)
def test_what_holds_no_data_is_refused(tmp_path: Path, make: Callable[[Path], None], message: str) -> None:
    """A path without data is refused at once, and the message says which fault it is."""
    make(tmp_path / "data")
    with pytest.raises(DataRefused, match=message):
        look(tmp_path / "data")


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
def test_an_unreadable_file_is_refused(tmp_path: Path) -> None:
    """Missing permission is named as such."""
    (tmp_path / "data").write_text("x")
    (tmp_path / "data").chmod(0)
    with pytest.raises(DataRefused, match="cannot be read"):
        look(tmp_path / "data")


def test_links_may_stay_inside_the_folder_only(tmp_path: Path) -> None:
    """A link to a sibling is a file like any other; one that leads out, or nowhere, is refused without its name."""
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "a.txt").write_text("a")
    (folder / "b.txt").symlink_to(folder / "a.txt")
    assert [file.name for file in files_below(folder)] == ["a.txt", "b.txt"]
    (folder / "gone.txt").symlink_to(folder / "nothing")
    with pytest.raises(DataRefused, match="entry 3 of the folder is not plain data") as refusal:
        files_below(folder)
    assert "a link to nothing" in str(refusal.value)
    (folder / "gone.txt").unlink()
    (tmp_path / "secret").write_text("s")
    (folder / "miller.txt").symlink_to(tmp_path / "secret")
    with pytest.raises(DataRefused, match="entry 3 of the folder") as refusal:
        files_below(folder)
    assert "miller" not in str(refusal.value)


@pytest.mark.parametrize(
    "member",
    [
        tar_member("../miller.txt"),
        tar_member("/etc/miller.txt"),
        tar_member("a/../../miller.txt"),
        tar_member("miller.txt", tarfile.SYMTYPE, "/etc/passwd"),
        tar_member("miller.txt", tarfile.LNKTYPE, "../x"),
        tar_member("miller.txt", tarfile.CHRTYPE),
        tar_member("miller.txt", tarfile.FIFOTYPE),
    ],
    ids=["parent", "absolute", "hidden parent", "symbolic link", "hard link", "device", "pipe"],
)
def test_a_tar_member_that_leaves_the_folder_is_refused(tmp_path: Path, member: tuple[tarfile.TarInfo, bytes]) -> None:
    """Such a member is named by its position, and nothing is written anywhere."""
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "x.tar.gz"
    path.write_bytes(gzip.compress(tar_of(tar_member("1.txt"), member)))
    with pytest.raises(DataRefused, match="member 2 of the archive is not plain data") as refusal:
        list(archive_members(path, GZIP, LIMIT))
    assert "miller" not in str(refusal.value)
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == [path]


@pytest.mark.parametrize("name", ["../miller.txt", "/miller.txt", "..\\miller.txt", "C:/miller.txt"])
def test_a_zip_member_that_leaves_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    """Zip names are judged with both kinds of slashes."""
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, "abc")
    with pytest.raises(DataRefused, match="member 1 of the archive is not plain data"):
        list(archive_members(path, ZIP, LIMIT))


def test_a_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    """A zip may carry a link as a member with a link's mode."""
    path = tmp_path / "x.zip"
    link = zipfile.ZipInfo("132539.txt")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(DataRefused, match="member 1"), open_zip(path, LIMIT):
        pass


def test_a_tar_bomb_is_refused_early(tmp_path: Path) -> None:
    """64 MiB of zeros in 64 KiB are not unpacked to their end."""
    path = tmp_path / "x.tar.gz"
    path.write_bytes(gzip.compress(tar_of((tarfile.TarInfo("1.txt"), bytes(1 << 26)))))
    with pytest.raises(DataRefused, match="unpacks to far more than it holds") as refusal:
        list(archive_members(path, GZIP, 1 << 30))
    assert refusal.value.expected == "at most 100 times its own size and 1024 MiB"


def test_a_zip_bomb_is_refused_by_its_own_declaration(tmp_path: Path) -> None:
    """Nothing of it is unpacked."""
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("1.txt", bytes(1 << 24))
    with pytest.raises(DataRefused, match="unpacks to far more than it holds"), open_zip(path, 1 << 30):
        pass


def test_an_archive_over_the_limit_is_refused(tmp_path: Path) -> None:
    """The stated limit counts for honest archives as well."""
    noise = os.urandom(1 << 16)
    zipped, tarred = tmp_path / "x.zip", tmp_path / "x.tar.gz"
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("1.txt", noise)
    tarred.write_bytes(gzip.compress(tar_of((tarfile.TarInfo("1.txt"), noise))))
    for path, kind in ((zipped, ZIP), (tarred, GZIP)):
        with pytest.raises(DataRefused, match="unpacks to far more"):
            list(archive_members(path, kind, 1 << 15))


@pytest.mark.parametrize("keep", [0.2, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("kind", [GZIP, ZIP])
def test_a_truncated_archive_is_refused(tmp_path: Path, kind: str, keep: float) -> None:
    """Wherever it breaks off, an archive is never taken for a shorter one."""
    members = [(f"{number}.txt", os.urandom(700)) for number in range(20)]
    path = tmp_path / "x"
    if kind == GZIP:
        path.write_bytes(gzip.compress(tar_of(*((tarfile.TarInfo(name), data) for name, data in members))))
    else:
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in members:
                archive.writestr(name, data)
    whole = path.read_bytes()
    assert list(archive_members(path, kind, LIMIT)) == members
    path.write_bytes(whole[: int(len(whole) * keep)])
    with pytest.raises(DataRefused, match="cannot be read to its end"):
        list(archive_members(path, kind, LIMIT))


@pytest.mark.parametrize("fault", ["cut between members", "damaged header"])
def test_a_damaged_tar_in_a_sound_gzip_is_refused(tmp_path: Path, fault: str) -> None:
    """Where tar readers stop without a word, the missing end is noticed."""
    tar = bytearray(tar_of(*(tar_member(f"{number}.txt") for number in range(4))))
    if fault == "damaged header":
        tar[2 * 1024 + 148] ^= 0xFF
    else:
        del tar[2 * 1024 :]
    path = tmp_path / "x.tar.gz"
    path.write_bytes(gzip.compress(bytes(tar)))
    with pytest.raises(DataRefused, match="cannot be read to its end"):
        list(archive_members(path, GZIP, LIMIT))


def test_a_flipped_byte_in_an_archive_is_refused(tmp_path: Path) -> None:
    """Stored members are compared with their checksums."""
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("1.txt", b"a" * 100)
    data = bytearray(path.read_bytes())
    data[data.index(b"aaaa") + 50] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataRefused, match="cannot be read to its end"):
        list(archive_members(path, ZIP, LIMIT))


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_damage_is_noticed_in_every_compression(tmp_path: Path, method: int) -> None:
    """bzip2 and LZMA have words of their own for changed bytes."""
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("1.txt", os.urandom(500) * 9)
    data = bytearray(path.read_bytes())
    for at in range(60, 90):
        data[at] ^= 0x55
    path.write_bytes(data)
    with pytest.raises(DataRefused, match="cannot be read to its end") as refusal:
        list(archive_members(path, ZIP, LIMIT))
    assert refusal.value.received == "a file that is cut short or damaged"


@pytest.mark.parametrize("fault", ["offset", "name"])
def test_a_directory_that_lies_is_refused(tmp_path: Path, fault: str) -> None:
    """A zip's directory that points elsewhere, or whose UTF-8 is none."""
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("é.txt", b"a" * 100)
        archive.writestr("2.txt", b"b" * 100)
    data = bytearray(path.read_bytes())
    if fault == "name":
        data = data.replace("é".encode(), b"\xff\xfe")
    else:
        directory = data.index(b"PK\x01\x02")
        data[directory + 42 : directory + 46] = (1 << 31).to_bytes(4, "little")
        data[data.rindex(b"PK\x05\x06") + 16] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataRefused, match="cannot be read to its end"):
        list(archive_members(path, ZIP, LIMIT))
    with pytest.raises(DataRefused, match="cannot be read to its end"):  # noqa: SIM117 - opening may be enough
        with open_zip(path, LIMIT) as archive, open_member(archive, archive.namelist()[0]) as file:
            file.read()


@pytest.mark.parametrize("body", [b"27 GNU.sparse.map=a,b,c,d\n", b"20 size=notanumber\n", None])
def test_headers_that_lead_nowhere_are_refused(tmp_path: Path, body: bytes | None) -> None:
    """Extended headers of a tar with numbers that are none, and 2,000 long names in front of one file."""
    header = tarfile.TarInfo("pax" if body else "././@LongLink")
    header.type, text = (tarfile.XHDTYPE, body) if body else (tarfile.GNUTYPE_LONGNAME, b"abc\0")
    header.size = len(text)
    front = (header.tobuf(tarfile.GNU_FORMAT) + text.ljust(512, b"\0")) * (1 if body else 2000)
    path = tmp_path / "x.tar.gz"
    path.write_bytes(gzip.compress(front + tar_of(tar_member("1.txt"))))
    with pytest.raises(DataRefused, match="cannot be read to its end") as refusal:
        list(archive_members(path, GZIP, LIMIT))
    assert refusal.value.received == "a file that is cut short or damaged"


@pytest.mark.parametrize("defect", [RuntimeError, NotImplementedError, RecursionError])
def test_a_defect_of_ours_is_not_blamed_on_the_archive(tmp_path: Path, defect: type[Exception]) -> None:
    """What fails while an archive is open and is no damage of its bytes stays what it is.

    Readers of archives raise these three at encrypted, newer and endlessly nested ones, so that all were caught once.
    """
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("1.txt", "a")
    with pytest.raises(defect), open_zip(path, LIMIT):
        raise defect


def test_a_name_that_is_no_text_is_refused(tmp_path: Path) -> None:
    """Bytes that are not UTF-8 name nothing that a table could hold; the place is told, never the name."""
    name = os.fsdecode(b"150001\xff.txt")
    path = tmp_path / "x.tar.gz"
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        archive.addfile(tarfile.TarInfo(name))
    path.write_bytes(gzip.compress(buffer.getvalue()))
    with pytest.raises(DataRefused, match="member 1 of the archive is not plain data") as refusal:
        list(archive_members(path, GZIP, LIMIT))
    assert refusal.value.received == "a name that is not UTF-8"
    (tmp_path / "folder").mkdir()
    try:
        (tmp_path / "folder" / name).touch()
    except OSError:  # macOS has no such names
        pytest.skip("this file system refuses names that are not UTF-8")
    with pytest.raises(DataRefused, match="entry 1 of the folder is not plain data"):
        files_below(tmp_path / "folder")
