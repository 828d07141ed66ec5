"""What every content record is: frozen, with one JSON form; and the keys of stages."""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, model_validator

from medai.errors import near_match

HASH_BLOCK = 1 << 20
KEY_LENGTH = 32
"""Hexadecimal digits of a stage key: 128 bits of SHA-256, short enough for a file name."""


class Frozen(BaseModel):
    """A value object: immutable, no unknown fields, NaN and infinities refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _name_unknown_keys(cls, data: Any) -> Any:
        """Refuse a misspelt key with the near match, before pydantic's shorter message."""
        if isinstance(data, dict):
            for key in data:
                if key not in cls.model_fields:
                    raise ValueError(f"unknown key {key!r}; {near_match(str(key), cls.model_fields)}")
        return data


class Record(Frozen):
    """A frozen content record with one canonical JSON form."""

    key: str

    def canonical(self) -> bytes:
        """The record's only JSON form: sorted keys, no spaces, one trailing newline."""
        return canonical_json(self.model_dump(mode="json")) + b"\n"

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read what ``canonical`` wrote."""
        return cls.model_validate_json(data)


def canonical_json(value: Any) -> bytes:
    """Equal values, equal bytes.

    >>> canonical_json({"b": 1, "a": [0.5, None]})
    b'{"a":[0.5,null],"b":1}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def sha256_of(value: Any) -> str:
    """SHA-256 of a JSON value's canonical form."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def sha256_of_file(path: Path) -> str:
    """SHA-256 of a file's bytes, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.sha256(usedforsecurity=False)).hexdigest()


def stage_key(
    stage: str, stage_version: int, inputs: dict[str, str], config: BaseModel | None, libraries: tuple[str, ...] = ()
) -> str:
    """The name of a pure stage's folder.

    Args:
        stage: the stage's verb.
        stage_version: the stage's (or reader's) declared VERSION, raised when its bytes change.
        inputs: name → key (or content hash) of each input.
        config: the stage's own narrow configuration.
        libraries: distributions whose version may change the bytes.
    """
    return sha256_of(
        {
            "stage": stage,
            "version": stage_version,
            "inputs": inputs,
            "config": None if config is None else config.model_dump(mode="json"),
            "libraries": {name: version(name) for name in libraries},
        }
    )[:KEY_LENGTH]
