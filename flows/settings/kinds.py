"""The kinds of values that settings have: folders, addresses, notification blocks."""

from __future__ import annotations

import re
import stat
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, SecretStr

from medai.errors import ConfigurationError
from medai.paths import expanded, why


def _without_credentials(address: str) -> str:
    parts = urlsplit(address)
    if parts.username or parts.password:
        raise ValueError("an address without a user name or password in it; those have variables of their own")
    return address


def _web_address(address: str) -> str:
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("an address that begins with http:// or https://")
    if parts.query or parts.fragment:
        raise ValueError("an address without a query: a secret has a variable of its own")
    try:
        parts.port  # noqa: B018 it is read when it is asked for
    except ValueError:
        raise ValueError("an address whose port is a number up to 65535") from None
    return address.rstrip("/")


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
    """A folder, or a name under which one can be made."""
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


def _postgres(address: SecretStr) -> SecretStr:
    if urlsplit(address.get_secret_value()).scheme not in ("postgresql", "postgres"):
        raise ValueError("an address that begins with postgresql://")
    return address


DatabaseAddress = Annotated[SecretStr, AfterValidator(_postgres)]
