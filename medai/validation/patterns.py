"""Patterns that Python (Great Expectations' engine) and Rust (Polars') read alike, and their Rust spelling."""

from __future__ import annotations

import re
import warnings


def is_portable(value: object) -> bool:
    """Whether Python reads the text as a pattern without look-around, references, inline flags or nested sets."""
    if not isinstance(value, str) or not value.strip() or re.search(r"\(\?(?!:)|\\[1-9GZzpPkgN]", value):
        return False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # Python warns where a set would mean something else in other engines
            re.compile(value)
    except (re.error, Warning, RecursionError, OverflowError):
        return False
    return True


def both_read(value: object) -> bool:
    """Whether the pattern is portable and Polars compiles it, which refuses some that Python takes (``{,3}``)."""
    if not is_portable(value):
        return False
    import polars as pl

    try:
        pl.Series([""]).str.contains(rust_pattern(str(value)))
    except pl.exceptions.ComputeError:
        return False
    return True


def rust_pattern(pattern: str) -> str:
    r"""The pattern for Polars: in Python a ``$`` also matches before a newline that ends the text.

    >>> rust_pattern("^a[$]$")
    '^a[$](?:\\n?\\z)'
    """
    return re.sub(
        r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\$",
        lambda token: r"(?:\n?\z)" if token.group() == "$" else token.group(),
        pattern,
        flags=re.DOTALL,
    )
