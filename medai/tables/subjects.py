"""Subject ids of a site's own identifiers."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from medai.errors import DataRefused

if TYPE_CHECKING:
    pass


def subject_ids(namespace: str, site_ids: Sequence[str]) -> list[int]:
    """The subject ids of a site's own identifiers.

    Args:
        namespace: the source, so that equal numbers of two hospitals stay two people.
        site_ids: distinct identifiers.

    Raises:
        DataRefused: two identifiers share a subject id.
    """
    ids = [subject_id(namespace, site_id) for site_id in site_ids]
    refuse_shared(len(set(site_ids)), len(set(ids)))
    return ids


def subject_id(namespace: str, site_id: str) -> int:
    """The first 63 bits of BLAKE2b over purpose, namespace and the site's identifier."""
    digest = hashlib.blake2b(b"\0".join((b"medai.subject", namespace.encode(), site_id.encode()))).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def refuse_shared(identifiers: int, ids: int) -> None:
    """Refuse a set of identifiers of which two share a subject id.

    Args:
        identifiers, ids: how many are distinct.

    Raises:
        DataRefused: there are fewer ids.
    """
    if ids < identifiers:
        raise DataRefused(
            "two identifiers of the site hash to the same subject",
            expected="distinct subject ids",
            received=f"{identifiers} identifiers, {ids} subject ids",
            action="report it with the number of subjects; no snapshot was made",
        )
