"""The kinds of values that settings have: folders, addresses, notification blocks."""

from __future__ import annotations

import re
import stat
from pathlib import Path
from typing import Annotated
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, SecretStr

from medai.errors import ConfigurationError
from medai.paths import expanded, why


def _without_credentials(address: str) -> str:
    parts = _parts(address)
    if parts.username or parts.password:
        raise ValueError("an address without a user name or password in it; those have variables of their own")
    return address


def _web_address(address: str) -> str:
    parts = _parts(address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("an address that begins with http:// or https://")
    if parts.query or parts.fragment:
        raise ValueError("an address without a query: a secret has a variable of its own")
    try:
        parts.port  # noqa: B018 it is read when it is asked for
    except ValueError:
        raise ValueError("an address whose port is a number up to 65535") from None
    return address.rstrip("/")


_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
"""What MLflow keeps its runs in besides a server, by the dialect that SQLAlchemy's address begins with."""
_SECRETS = ("password", "passwd", "token", "secret")


def _tracking_address(address: str) -> str:
    parts = _parts(address)
    if parts.scheme.partition("+")[0] not in _DATABASES:
        if parts.scheme not in ("http", "https"):
            raise ValueError("an address that begins with http:// or https://, or sqlite:/// and a file")
        return _web_address(address)
    if parts.scheme == "sqlite" and not (parts.path.startswith("//") and parts.path.strip("/")):
        # Every process must find the same file: in memory nothing lasts, and a worker works in another directory.
        raise ValueError("an absolute path after sqlite:///, as in sqlite:////srv/mlflow.db")
    if any(word in parts.query.lower() for word in _SECRETS):
        raise ValueError("an address without a password in it; a server that asks for one has variables of its own")
    return address


def _parts(address: str) -> SplitResult:
    """An address taken apart; one that no client could use is refused here, not in the middle of a run."""
    if _BLANK.search(address):
        raise ValueError("an address without blanks and control characters")
    parts = urlsplit(address)
    try:
        parts.port  # noqa: B018 - reading it is what checks it
    except ValueError:
        raise ValueError("an address whose port is a number from 0 to 65535") from None
    return parts


_BLANK = re.compile(r"[\s\x00-\x1f\x7f]")


def _user_and_password(auth: SecretStr) -> SecretStr:
    user, colon, password = auth.get_secret_value().partition(":")
    if not (user.strip() and colon and password.strip()) or _BLANK.search(user):
        raise ValueError("user:password, neither of them empty")
    return auth


_HOST = re.compile(r"(\*\.)?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*|\[[0-9A-Fa-f:.]+\]")


def _hosts(text: str) -> str:
    """Names by which a browser may ask; ``*`` alone would let a page of anywhere ask through one (DNS rebinding)."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not all(_HOST.fullmatch(name) for name in names):
        raise ValueError("names of hosts with commas between them, such as medai.ward.example; no port, and no bare *")
    return ",".join(names)


_BLOCK = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*/[a-z0-9]+(-[a-z0-9]+)*")


def blocks_in(text: str) -> tuple[str, ...]:
    """Prefect's blocks TYPE/NAME in a list with commas, each once.

    >>> blocks_in("slack-webhook/ward, medai-mail/night")
    ('slack-webhook/ward', 'medai-mail/night')

    Raises:
        ValueError: one is not of that form.
    """
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if not all(_BLOCK.fullmatch(name) for name in names):
        raise ValueError("notification blocks TYPE/NAME with commas between them, such as slack-webhook/ward")
    return names


def _blocks(text: str) -> str:
    return ",".join(blocks_in(text))


def _absolute(path: Path) -> Path:
    try:
        return expanded(path).absolute()
    except ConfigurationError as error:
        raise ValueError(error.expected) from None


def _home(path: Path) -> Path:
    """A folder, or a name under which one can be made.

    SQLite's addresses end at a question mark: MLflow's database and Prefect's would be one file, beside the folder.
    """
    if "?" in str(path):
        raise ValueError("a folder whose path has no question mark in it, as no database's address could name it")
    try:
        found = path.stat()
    except FileNotFoundError:
        return path
    except OSError as failure:
        raise ValueError(f"a folder, or a place for one; it is {why(failure)}") from None
    if not stat.S_ISDIR(found.st_mode):
        raise ValueError("a folder, or a place for one; it is a file")
    return path


Folder = Annotated[Path, AfterValidator(_absolute)]
Home = Annotated[Path, AfterValidator(_absolute), AfterValidator(_home)]
Address = Annotated[str, AfterValidator(_without_credentials)]
Blocks = Annotated[str, AfterValidator(_blocks)]
WebAddress = Annotated[str, AfterValidator(_without_credentials), AfterValidator(_web_address)]
TrackingAddress = Annotated[str, AfterValidator(_without_credentials), AfterValidator(_tracking_address)]
Login = Annotated[SecretStr, AfterValidator(_user_and_password)]
Hosts = Annotated[str, AfterValidator(_hosts)]


def _postgres(address: SecretStr) -> SecretStr:
    if urlsplit(address.get_secret_value()).scheme not in ("postgresql", "postgres"):
        raise ValueError("an address that begins with postgresql://")
    return address


DatabaseAddress = Annotated[SecretStr, AfterValidator(_postgres)]
