"""The site's key: made once, its owner's alone, and never mistaken for another."""

from __future__ import annotations

import base64
import hashlib
import string
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_public_key,
)

from medai.errors import ConfigurationError, MedaiError
from medai.signing import SiteKey


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where keys lie; not there yet."""
    return tmp_path / "home" / "keys"


def pem_of(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, password: bytes = b"") -> bytes:
    """A private key as a file holds it."""
    locked: KeySerializationEncryption = BestAvailableEncryption(password) if password else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, locked)


def test_a_key_is_made_once_and_belongs_to_its_owner(folder: Path) -> None:
    """0600; asked for again it is the same, and nothing else is left in the folder."""
    key = SiteKey.of(folder)
    assert (key.private_path, key.public_path) == (folder / "site.key", folder / "site.pub")
    assert oct(key.private_path.stat().st_mode)[-3:] == "600"
    assert sorted(path.name for path in folder.iterdir()) == ["site.key", "site.pub"]
    held = key.private_path.read_bytes()
    assert SiteKey.of(folder).fingerprint == key.fingerprint
    assert key.private_path.read_bytes() == held


def test_a_signature_holds_for_its_bytes_alone(folder: Path, tmp_path: Path) -> None:
    """Not for other bytes, not by another site's key, and what is no signature is none."""
    key, other = SiteKey.of(folder), SiteKey.of(tmp_path / "elsewhere")
    signature = key.sign(b"version 3 is champion")
    assert key.verify(b"version 3 is champion", signature)
    assert not key.verify(b"version 4 is champion", signature)
    assert not other.verify(b"version 3 is champion", signature)
    for nonsense in ("", "no base64!", signature[:-4], base64.b64encode(b"x" * 70).decode()):
        assert not key.verify(b"version 3 is champion", nonsense)


def test_a_signature_is_written_in_one_way_alone(folder: Path) -> None:
    """The bits before base64's padding, which a decoder leaves out, cannot be changed unseen either."""
    key = SiteKey.of(folder)
    padded = next(signature for _ in range(1000) if (signature := key.sign(b"x")).endswith("="))
    ended = padded.rstrip("=")
    same = [
        other
        for letter in string.ascii_letters + string.digits
        if base64.b64decode(other := ended[:-1] + letter + padded[len(ended) :]) == base64.b64decode(padded)
    ]
    assert len(same) > 1
    assert [other for other in same if key.verify(b"x", other)] == [padded]


def test_the_fingerprint_is_that_of_the_public_keys_der(folder: Path) -> None:
    """As other tools compute it of the PEM."""
    key = SiteKey.of(folder)
    public = load_pem_public_key(key.public_path.read_bytes())
    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert key.fingerprint == hashlib.sha256(der).hexdigest()


def test_model_signing_takes_the_same_files(folder: Path) -> None:
    """OpenSSF model-signing signs and verifies a folder with them as they are."""
    from model_signing import signing, verifying

    key = SiteKey.of(folder)
    model, signature = folder.parent / "model", folder.parent / "model.sig"
    model.mkdir()
    (model / "model.onnx").write_bytes(b"weights")
    signing.Config().use_elliptic_key_signer(private_key=key.private_path).sign(model, signature)
    verifying.Config().use_elliptic_key_verifier(public_key=key.public_path).verify(model, signature)
    (model / "model.onnx").write_bytes(b"Weights")
    with pytest.raises(ValueError, match=r"differ|[Mm]ismatch"):
        verifying.Config().use_elliptic_key_verifier(public_key=key.public_path).verify(model, signature)


def test_a_lost_public_half_is_made_again(folder: Path) -> None:
    """As a kill between the two files leaves it."""
    key = SiteKey.of(folder)
    fingerprint = key.fingerprint
    key.public_path.unlink()
    assert SiteKey.of(folder).fingerprint == fingerprint


def test_a_key_that_lies_elsewhere_is_used_where_it_is(folder: Path, tmp_path: Path) -> None:
    """A secret that is mounted: never made there, its public half kept in the state folder."""
    mounted = tmp_path / "secret.pem"
    with pytest.raises(ConfigurationError, match=r"the site key secret\.pem is gone"):
        SiteKey.of(folder, mounted)
    mounted.write_bytes(pem_of(ec.generate_private_key(ec.SECP256R1())))
    mounted.chmod(0o400)
    key = SiteKey.of(folder, mounted)
    assert key.verify(b"x", key.sign(b"x"))
    assert [path.name for path in folder.iterdir()] == ["site.pub"]


def test_another_public_half_is_not_believed(folder: Path, tmp_path: Path) -> None:
    """Who may write the state folder, and not where the key lies, cannot have his own signatures verified."""
    mounted = tmp_path / "secret.pem"
    mounted.write_bytes(pem_of(ec.generate_private_key(ec.SECP256R1())))
    mounted.chmod(0o400)
    SiteKey.of(folder, mounted)
    (folder / "site.pub").write_bytes(SiteKey.of(tmp_path / "foreign").public_path.read_bytes())
    with pytest.raises(ConfigurationError, match="the two halves of the site key do not belong together"):
        SiteKey.of(folder, mounted, make=False)
    mounted.unlink()  # where it cannot be looked at, the public half is all there is
    assert SiteKey.of(folder, mounted, make=False).fingerprint == SiteKey.of(tmp_path / "foreign").fingerprint


def test_whoever_only_checks_needs_the_public_half_alone(folder: Path) -> None:
    """And makes no key; who would sign is told that the private half is gone, instead of making another."""
    signature = SiteKey.of(folder).sign(b"x")
    (folder / "site.key").unlink()
    assert SiteKey.of(folder, make=False).verify(b"x", signature)
    with pytest.raises(ConfigurationError, match=r"the site key site\.key is gone"):
        SiteKey.of(folder)
    (folder / "site.pub").unlink()
    with pytest.raises(ConfigurationError, match=r"the site key site\.key is gone"):
        SiteKey.of(folder, make=False)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (lambda it: it.private_path.chmod(0o640), "others may read the site key site.key"),
        (lambda it: it.private_path.write_bytes(b"no key"), "site.key is no site key"),
        (
            lambda it: it.private_path.write_bytes(pem_of(ec.generate_private_key(ec.SECP384R1()))),
            "site.key is no site key",
        ),
        (
            lambda it: it.private_path.write_bytes(pem_of(rsa.generate_private_key(65537, 2048))),
            "site.key is no site key",
        ),
        (
            lambda it: it.private_path.write_bytes(pem_of(ec.generate_private_key(ec.SECP256R1()), b"word")),
            "site.key is no site key",
        ),
        (lambda it: it.public_path.write_bytes(b""), "site.pub is no site key"),
        (
            lambda it: it.private_path.write_bytes(pem_of(ec.generate_private_key(ec.SECP256R1()))),
            "the two halves of the site key do not belong together",
        ),
        (lambda it: (it.private_path.unlink(), it.private_path.mkdir()), "site.key is no site key"),
    ],
)
def test_what_is_no_key_of_ours_signs_nothing(
    folder: Path, refusal: Callable[[MedaiError], str], harm: Callable[[SiteKey], object], told: str
) -> None:
    """Readable by others, other bytes, another kind, with a password, another pair, a folder: told in three parts."""
    key = SiteKey.of(folder)
    harm(key)
    with pytest.raises(ConfigurationError) as raised:
        key.sign(b"x")
    assert told in refusal(raised.value)
    assert "PRIVATE" not in str(raised.value)


MAKE = """
import sys
from pathlib import Path
from medai.signing import SiteKey
print(SiteKey.of(Path(sys.argv[1])).fingerprint)
"""


def test_two_first_users_at_once_share_one_key(folder: Path) -> None:
    """Whoever comes second takes the first's."""
    processes = [
        subprocess.Popen([sys.executable, "-c", MAKE, str(folder)], stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    told = {process.communicate(timeout=120)[0].strip() for process in processes}
    assert told == {SiteKey.of(folder).fingerprint}
