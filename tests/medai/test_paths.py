"""Paths and small files: an answer in words, never a wait."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from medai.errors import ConfigurationError
from medai.paths import expanded, read_plain, why


def test_a_plain_file_is_read_whole_or_to_a_limit(tmp_path: Path) -> None:
    """Also through a link."""
    (tmp_path / "file").write_bytes(b"0123456789")
    (tmp_path / "link").symlink_to("file")
    assert read_plain(tmp_path / "link") == b"0123456789"
    assert read_plain(tmp_path / "file", 4) == b"0123"


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (Path.mkdir, "a folder"),
        (os.mkfifo, "a pipe, a socket or a device"),
        (lambda path: path.symlink_to("/dev/zero"), "a pipe, a socket or a device"),
        (lambda path: path.symlink_to(path), "links that lead round in a circle"),
        (lambda path: None, "nothing of that name"),
    ],
)
def test_what_is_no_plain_file_is_named_for_what_it_is(make: object, told: str, tmp_path: Path) -> None:
    """No reader waits for the other end of a pipe, or reads a device without end."""
    make(tmp_path / "it")  # type: ignore[operator]
    with pytest.raises(OSError, match=r".") as raised:
        read_plain(tmp_path / "it")
    assert why(raised.value) == told


@pytest.mark.parametrize("text", ["~nosuchuser/x", "a\0b"])
def test_a_path_that_cannot_be_followed_is_refused(text: str) -> None:
    """The home of nobody, and a character that no path holds."""
    with pytest.raises(ConfigurationError, match="a path cannot be followed"):
        expanded(text)
