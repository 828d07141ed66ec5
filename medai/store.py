"""A place that several machines reach: a folder of any fsspec file system (``file://``, ``memory://``, ``s3://``, …).

Files are small enough to be held whole. Each is written beside its name and then moved there; who reads one says which
content it must have, so that a damaged file is never taken for a good one.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medai.errors import ConfigurationError, ServiceFailed, from_machine_failure

LOCAL, WITHIN_ONE_PROCESS = "file", "memory"


@dataclass(frozen=True)
class Store:
    """A folder of a file system; it need not be there.

    Args:
        url: scheme, ``://`` and the folder.
    """

    url: str

    @classmethod
    def of(cls, path: Path) -> Store:
        """A folder of this machine."""
        return cls(f"{LOCAL}://{path}")

    @property
    def scheme(self) -> str:
        """What stands before ``://``."""
        return self.url.partition("://")[0]

    def folder(self, name: str) -> Store:
        """A folder in it."""
        return Store(f"{self.url.rstrip('/')}/{name}")

    def check(self) -> None:
        """Write a file, read it and remove it again.

        Raises:
            ConfigurationError: there is no file system for its scheme.
            ServiceFailed: it cannot be written or read.
        """
        name = f"check-{secrets.token_hex(4)}"
        self.get(name, self.put(name, name.encode()))
        self.remove(name)

    def put(self, name: str, data: bytes) -> str:
        """Write a file, whole or not at all; returns the SHA-256 of its content."""
        system, folder = self._system()
        beside = f"{folder}/.{name}.{secrets.token_hex(4)}.partial"
        with self._answered("written"):
            system.makedirs(folder, exist_ok=True)
            try:
                system.pipe_file(beside, data)
                system.mv(beside, f"{folder}/{name}")
            except BaseException:
                if system.exists(beside):
                    system.rm_file(beside)
                raise
        return hashlib.sha256(data).hexdigest()

    def get(self, name: str, sha256: str) -> bytes:
        """Read a file.

        Raises:
            ServiceFailed: it is gone, or its content has another hash.
        """
        data = self.find(name)
        if data is None or hashlib.sha256(data).hexdigest() != sha256:
            raise ServiceFailed(
                f"a file of the store of shards is {'missing' if data is None else 'damaged'}",
                expected=f"{name} as it was written",
                received="no such file" if data is None else "other bytes",
                action=f"remove {self.url}, then run the same command again: it is written anew",
            )
        return data

    def find(self, name: str) -> bytes | None:
        """A file's content, or None where there is no such file."""
        system, folder = self._system()
        with self._answered("read"):
            try:
                return bytes(system.cat_file(f"{folder}/{name}"))
            except FileNotFoundError:
                return None

    def remove(self, name: str) -> None:
        """Remove a file."""
        system, folder = self._system()
        with self._answered("written"):
            system.rm_file(f"{folder}/{name}")

    def clear(self) -> None:
        """Remove the folder with everything in it; it need not be there."""
        system, folder = self._system()
        with self._answered("written"):
            if system.exists(folder):
                system.rm(folder, recursive=True)

    def _system(self) -> tuple[Any, str]:
        """The file system and the folder's path in it."""
        import fsspec
        from fsspec.implementations.local import LocalFileSystem

        if self.scheme == LOCAL:  # a folder's name may hold what chains addresses elsewhere
            return LocalFileSystem(), self.url.removeprefix(f"{LOCAL}://").rstrip("/")
        try:
            system, folder = fsspec.url_to_fs(self.url)
        except ImportError as failure:
            raise ConfigurationError(
                f"the store of shards needs a package that is not installed: {failure.name or self.scheme}",
                expected=f"a file system for {self.scheme}:// (s3fs for s3, gcsfs for gs, adlfs for abfs)",
                received="none",
                action="install that package here and on every worker",
            ) from None
        except ValueError:
            raise ConfigurationError(
                "the store of shards has an address of an unknown kind",
                expected="a scheme that fsspec knows, such as file, s3, gs or abfs",
                received=f"{self.scheme}://",
                action="correct --shards, or MEDAI_SHARDS",
            ) from None
        return system, str(folder).rstrip("/")

    @contextmanager
    def _answered(self, done: str) -> Iterator[None]:
        """Whatever kind of error a file system has for what it did not do, as ours."""
        try:
            yield
        except Exception as failure:  # each file system has errors of its own
            machine = from_machine_failure(failure)
            raise ServiceFailed(
                f"the store of shards cannot be {done}",
                expected="a place that this machine and every worker may read and write",
                received=f"{self.url}: " + (machine.wrong if machine else type(failure).__name__),
                action="repair it, or name another place with --shards; then run the same command again",
            ) from failure
