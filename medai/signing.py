"""The site's own key: what it signs was said by this site and altered by nobody since.

EC P-256 with SHA-256 (ECDSA, FIPS 186-5), in PEM, so that OpenSSF model-signing takes the same files. It is made on
first use. The private key belongs to its owner alone; the public one is for whoever checks.
"""

from __future__ import annotations

import base64
import errno
import hashlib
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from medai.errors import ConfigurationError
from medai.paths import read_plain, why
from medai.workspace import make_folder, sync_directory, write_durably

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey

PRIVATE, PUBLIC = "site.key", "site.pub"
_LONGEST = 10_000
"""Bytes; a P-256 key in PEM has about 240."""
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class SiteKey:
    """A site's key pair, by its two files. Get it with ``SiteKey.of``.

    Each use reads the files anew, so that a key which somebody replaced is never taken from memory.
    """

    def __init__(self, private_path: Path, public_path: Path) -> None:
        self.private_path = private_path
        self.public_path = public_path
        self._known: dict[bytes, EllipticCurvePublicKey] = {}  # parsed once: that costs as much as verifying

    @classmethod
    def of(cls, folder: Path, private: Path | None = None, *, make: bool = True) -> SiteKey:
        """The key of a site.

        Args:
            folder: ``MEDAI_HOME/keys``, where ``site.key`` and ``site.pub`` lie.
            private: where the private key lies, if elsewhere (MEDAI_SITE_KEY); it is never made there.
            make: make the key where there is none.

        Raises:
            ConfigurationError: others may read the private key, it is no EC P-256 key in PEM, the two files are no
                pair, or there is no key and none may be made.
        """
        key = cls(private or folder / PRIVATE, folder / PUBLIC)
        if make and private is None and not os.path.lexists(key.private_path):
            if os.path.lexists(key.public_path):
                raise _gone(key.private_path, "its public half alone")
            _make(key.private_path)
        if not os.path.lexists(key.public_path):
            if not os.path.lexists(key.private_path):
                raise _gone(key.private_path, "nothing of that name")
            key._publish()
        key._refuse_another_half()
        return key

    @classmethod
    def renewed(cls, folder: Path, private: Path | None = None) -> SiteKey:
        """The key of a site that lost its key, or got another one; a pair that signs stays as it is.

        The public half of the key before is kept as ``<fingerprint>.pub``: what it signed can still be verified.

        Raises:
            ConfigurationError: a half is there that is no key of ours.
        """
        key = cls(private or folder / PRIVATE, folder / PUBLIC)
        if not os.path.lexists(key.public_path):
            return cls.of(folder, private)
        try:
            key.sign(b"")
        except ConfigurationError:
            key.public_path.replace(folder / f"{key.fingerprint}.pub")
        return cls.of(folder, private)

    @classmethod
    def retired(cls, folder: Path, fingerprint: str) -> SiteKey | None:
        """An earlier key of the site, for verifying alone; None where its public half is gone."""
        public = folder / f"{fingerprint}.pub"
        return cls(public, public) if fingerprint and public.is_file() else None

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the public key's DER form (SubjectPublicKeyInfo), in hexadecimal."""
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        der = self._public().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return hashlib.sha256(der).hexdigest()

    def sign(self, data: bytes) -> str:
        """The signature of some bytes, as base64 of its DER form.

        Raises:
            ConfigurationError: as ``of``.
        """
        from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
        from cryptography.hazmat.primitives.hashes import SHA256

        private = self._private()
        self._refuse_another_half(private)
        return base64.b64encode(private.sign(data, ECDSA(SHA256()))).decode()

    def verify(self, data: bytes, signature: str) -> bool:
        """Whether a signature is this key's, of these bytes.

        Of the ways to write it in base64 only the one that ``sign`` writes counts: RFC 4648 (section 3.5) leaves the
        last bits before the padding to the reader, who would not see them changed.

        Raises:
            ConfigurationError: the public key cannot be read.
        """
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
        from cryptography.hazmat.primitives.hashes import SHA256

        try:
            der = base64.b64decode(signature, validate=True)
            self._public().verify(der, data, ECDSA(SHA256()))
        except (InvalidSignature, ValueError):
            return False
        return base64.b64encode(der).decode() == signature

    def _refuse_another_half(self, private: EllipticCurvePrivateKey | None = None) -> None:
        """Where the private half can be read it tells the public one that somebody else put beside it.

        Who writes the state folder, and not where MEDAI_SITE_KEY lies, would else have his own signatures verified.
        """
        try:
            private = private or self._private()
        except ConfigurationError:  # whoever only checks needs the public half alone
            return
        if private.public_key() != self._public():
            raise ConfigurationError(
                "the two halves of the site key do not belong together",
                expected=f"{self.public_path.name} to be the public half of {self.private_path.name}",
                received="the public half of another key",
                action="restore both from one copy",
            )

    def _publish(self) -> None:
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        public = self._private().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        write_durably(self.public_path, public)

    def _private(self) -> EllipticCurvePrivateKey:
        from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        data = _read(self.private_path)
        if (mode := stat.S_IMODE(self.private_path.stat().st_mode)) & _OTHERS:
            raise ConfigurationError(
                f"others may read the site key {self.private_path.name}",
                expected="permission for its owner alone (0600)",
                received=f"{mode:04o}",
                action=f"chmod 600 {self.private_path}; if somebody may have copied it, make a new one",
            )
        try:
            key = load_pem_private_key(data, password=None)
        except (ValueError, TypeError):  # TypeError: it wants a password
            raise _no_key(self.private_path, "other bytes, or a key with a password") from None
        if not isinstance(key, EllipticCurvePrivateKey) or not isinstance(key.curve, SECP256R1):
            raise _no_key(self.private_path, "a key of another kind")
        return key

    def _public(self) -> EllipticCurvePublicKey:
        from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
        from cryptography.hazmat.primitives.serialization import load_pem_public_key

        data = _read(self.public_path)
        if data not in self._known:
            try:
                key = load_pem_public_key(data)
            except ValueError:
                raise _no_key(self.public_path, "other bytes") from None
            if not isinstance(key, EllipticCurvePublicKey) or not isinstance(key.curve, SECP256R1):
                raise _no_key(self.public_path, "a key of another kind")
            self._known[data] = key
        return self._known[data]


def _make(path: Path) -> None:
    """A new private key, whole or not there; of two who make one at once, the first's stays."""
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    pem = generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    make_folder(path.parent)
    beside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(beside, path)
        except FileExistsError:
            return
    finally:
        beside.unlink(missing_ok=True)
    sync_directory(path.parent)


def _read(path: Path) -> bytes:
    try:
        return read_plain(path, _LONGEST)
    except FileNotFoundError:
        raise _gone(path, "nothing of that name") from None
    except OSError as failure:
        if failure.errno not in (errno.EACCES, errno.EPERM):
            raise _no_key(path, why(failure)) from None
        raise ConfigurationError(
            f"the site key {path.name} may not be read",
            expected="to be run by its owner",
            received=why(failure),
            action="run the command as the user who runs medai here",
        ) from None


def _gone(path: Path, received: str) -> ConfigurationError:
    return ConfigurationError(
        f"the site key {path.name} is gone",
        expected=f"the site's key, EC P-256 in PEM, at {path}",
        received=received,
        action="restore it from a copy, or let MEDAI_SITE_KEY name where it lies",
    )


def _no_key(path: Path, received: str) -> ConfigurationError:
    return ConfigurationError(
        f"{path.name} is no site key",
        expected="an EC P-256 key in PEM, without a password",
        received=received,
        action="restore it from a copy, or let MEDAI_SITE_KEY name another",
    )
