"""Stored files beside what was said of them: every way in which they may differ is told."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from medai.integrity import damage, files_sha256
from medai.records import Page
from medai.workspace import Workspace


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A finished stage with a file in a folder of its own."""
    workspace = Workspace(tmp_path)

    def build(folder: Path) -> Page:
        (folder / "deep").mkdir()
        (folder / "deep" / "page.html").write_text("x")
        return Page(key="k", file="deep/page.html")

    workspace.materialise("report", "k", Page, build)
    return workspace.folder("report", "k")


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (lambda it: (it / "deep" / "page.html").write_text("y"), "deep/page.html has other bytes"),
        (lambda it: (it / "deep" / "page.html").unlink(), "deep/page.html is gone"),
        (lambda it: (it / "manifest.json").write_text("["), "manifest.json cannot be read"),
        (lambda it: (it / "manifest.json").write_text("{}"), "a file that was not there lies among them"),
        (lambda it: (it / "manifest.json").unlink(), "manifest.json is gone"),
        (lambda it: (it / "weights.npz").write_bytes(b"x"), "a file that was not there lies among them"),
        (lambda it: (it / "deep" / ".hidden").symlink_to(it), "a file that was not there lies among them"),
        (shutil.rmtree, "the folder is gone"),
    ],
)
def test_what_is_not_as_it_was_stored_is_told(folder: Path, harm: Callable[[Path], object], told: str) -> None:
    """Other bytes, a file less or more, no manifest; with the audit's hash also another manifest."""
    said = files_sha256(folder)
    assert damage(folder) is None
    assert damage(folder, said) is None
    assert damage(folder, "0" * 64) == "manifest.json is not the one that the audit knows"
    harm(folder)
    assert damage(folder) == told
    assert damage(folder, said) is not None
