"""Words of DICOM files that may be told: terms of the standard, and makers of devices as they write themselves.

Any other text in a file may have been typed by hand, and may be a name.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Any, NamedTuple

from medai.yaml_files import parse_yaml

OTHER = "OTHER"


class Terms(NamedTuple):
    """Code strings of the standard, and makers."""

    codes: frozenset[str]
    manufacturers: frozenset[str]


@cache
def terms() -> Terms:
    """The terms of ``terms.yaml``."""
    told: Any = parse_yaml((resources.files("medai.vocabularies.dicom") / "terms.yaml").read_text("utf-8"))
    return Terms(frozenset(told["terms"].split()) | frozenset(told["phrases"]), frozenset(told["manufacturers"]))


@cache
def makers() -> frozenset[str]:
    """The makers in capitals, one space between words."""
    return frozenset(" ".join(name.upper().split()) for name in terms().manufacturers)
