"""Signatures of models: whoever loads one knows that this site made its files and that nobody touched them since.

The form is OpenSSF's Model Signing, version 1.0: a Sigstore bundle around an in-toto statement that lists every file
with its SHA-256, here under the site's own key and without a transparency log, so that nothing leaves the site. Anybody
with the public key can check it with the public ``model_signing`` tool.

A model is signed in the folder that MLflow keeps of it, and checked there before anything of it is let in again. In the
store the audit's signed lines hold the hash of its files. A signature carries a random number, so it lies beside the
content and enters no key.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from medai.errors import ServiceFailed
from medai.signing import SiteKey
from medai.workspace import make_folder, write_durably

SIGNATURE = "model.sig"
"""The name that OpenSSF's tools look for beside a model."""

_OTHER_BYTES = re.compile(r"Hash mismatch for \\?'([\w./-]+)")
_MISSING = re.compile(r"Missing files in model \\?'[^']*': ([\w./-]+)")


def sign_folder(folder: Path, signature: Path, key: SiteKey) -> None:
    """Sign every file of a folder; the signature is written whole or not at all.

    Args:
        folder: of the model.
        signature: where the signature goes; a place in the folder is left out of what is signed.
        key: of this site.
    """
    from model_signing import hashing, signing

    config = hashing.Config().set_ignored_paths(paths=[signature], ignore_git_paths=False)
    make_folder(signature.parent)
    with tempfile.TemporaryDirectory(prefix="medai-sign-") as scratch:
        written = Path(scratch) / SIGNATURE
        signer = signing.Config().set_hashing_config(config).use_elliptic_key_signer(private_key=key.private_path)
        signer.sign(folder, written)
        write_durably(signature, written.read_bytes())


def check_folder(folder: Path, signature: Path, key: SiteKey, what: str) -> None:
    """Check that a folder holds what was signed, file by file, and nothing else.

    Args:
        what: the model's name in messages.

    Raises:
        ServiceFailed: the signature is missing, is another key's, or is not of these files; the first file is named.
    """
    from model_signing import hashing, verifying

    if not signature.is_file():
        raise _refused(what, "a signature of this site", "none")
    config = hashing.Config().set_ignored_paths(paths=[signature], ignore_git_paths=False)
    verifier = verifying.Config().set_hashing_config(config).use_elliptic_key_verifier(public_key=key.public_path)
    try:
        verifier.verify(folder, signature)
    except Exception as failure:  # noqa: BLE001 - whatever a forged bundle makes the library say, it is no signature
        raise _refused(what, f"its files as key {key.fingerprint[:12]}… signed them", _told(failure)) from None


def _refused(what: str, expected: str, received: str) -> ServiceFailed:
    return ServiceFailed(
        f"{what} was not loaded: its files are not what this site signed",
        expected=expected,
        received=received,
        action="restore the folder from a copy, or roll back to another version",
    )


def _told(failure: Exception) -> str:
    """What the library says of files, in a few words. A file that nobody signed is not named: anybody may name it."""
    text = str(failure)
    if other := _OTHER_BYTES.search(text):
        return f"other bytes in {other[1]}"
    if missing := _MISSING.search(text):
        return f"no {missing[1]}"
    if "Extra files" in text:
        return "a file that nobody signed"
    return "another key's signature" if "Key mismatch" in text else "a signature that does not hold"
