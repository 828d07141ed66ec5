"""Signatures of models: what was signed is loaded, and nothing else is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from medai.errors import ServiceFailed
from medai.signatures import SIGNATURE, check_folder, sign_folder
from medai.signing import SiteKey


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder of two files."""
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    (folder / "model.onnx").write_bytes(b"weights" * 100)
    (folder / "sub" / "statistics.json").write_text("{}")
    return folder


@pytest.fixture
def key(tmp_path: Path) -> SiteKey:
    """A site's key."""
    return SiteKey.of(tmp_path / "keys")


def why_refused(folder: Path, signature: Path, key: SiteKey) -> str:
    """What is said of a folder that is not as it was signed."""
    with pytest.raises(
        ServiceFailed, match="version 3 was not loaded: its files are not what this site signed"
    ) as told:
        check_folder(folder, signature, key, "version 3")
    return told.value.received


def test_every_byte_of_every_file_is_signed(model: Path, key: SiteKey, tmp_path: Path) -> None:
    """As it is: passed. A flipped bit, a file that came or went: refused, and the file is named if it is ours."""
    signature = model / SIGNATURE
    sign_folder(model, signature, key)
    check_folder(model, signature, key, "version 3")
    weights = (model / "model.onnx").read_bytes()
    for place in range(0, len(weights), 97):
        (model / "model.onnx").write_bytes(weights[:place] + bytes([weights[place] ^ 1]) + weights[place + 1 :])
        assert why_refused(model, signature, key) == "other bytes in model.onnx"
    (model / "model.onnx").write_bytes(weights)
    (model / "Anna Muster.py").touch()
    assert why_refused(model, signature, key) == "a file that nobody signed"
    (model / "Anna Muster.py").unlink()
    (model / "sub" / "statistics.json").rename(tmp_path / "away")
    assert why_refused(model, signature, key) == "no sub/statistics.json"
    (tmp_path / "away").rename(model / "sub" / "statistics.json")
    check_folder(model, signature, key, "version 3")


def test_only_this_sites_key_signs(model: Path, key: SiteKey, tmp_path: Path) -> None:
    """Another key's signature, none, an empty or forged one: refused."""
    signature = tmp_path / "apart" / "x.sig"
    sign_folder(model, signature, SiteKey.of(tmp_path / "others"))
    assert why_refused(model, signature, key) == "another key's signature"
    forged = json.loads(signature.read_bytes())
    sign_folder(model, signature, key)
    genuine = json.loads(signature.read_bytes())
    genuine["dsseEnvelope"]["signatures"] = forged["dsseEnvelope"]["signatures"]
    for data in (json.dumps(genuine).encode(), b"", b"{}", b"[1]", b"\xff" * 9):
        signature.write_bytes(data)
        assert why_refused(model, signature, key) == "a signature that does not hold"
    signature.unlink()
    assert why_refused(model, signature, key) == "none"


def test_the_public_tool_agrees(model: Path, key: SiteKey) -> None:
    """OpenSSF's own command checks what medai signed, and refuses a changed byte."""
    signature = model / SIGNATURE
    sign_folder(model, signature, key)
    command = [sys.executable, "-m", "model_signing", "verify", "key", str(model), "--signature", str(signature)]
    command += ["--public_key", str(key.public_path)]
    passed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (passed.returncode, passed.stdout.strip()) == (0, "Verification succeeded")
    (model / "model.onnx").write_bytes(b"other")
    assert subprocess.run(command, capture_output=True, text=True, check=False).returncode == 1
