"""What an untrusted header tells: every value of it that medai's own lines take comes through here."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from medai.deidentification.outcomes import SetAside
from medai.sources.damage import parsing

if TYPE_CHECKING:
    from pydicom.dataset import Dataset


def reading() -> AbstractContextManager[None]:
    """A library at work on the file: what it complains of sets the file aside."""
    return parsing(SetAside("damaged"), too_deep=SetAside("too_deep"))


def value_of(dataset: Dataset, keyword: str) -> Any:
    """An attribute's value; None where it is absent or empty.

    Raises:
        SetAside: it is none of its type.
    """
    with reading():
        value = dataset.get(keyword)
    return None if value == "" else value


def text_of(dataset: Dataset, keyword: str) -> str:
    """An attribute's text, of several values with what parts them; empty where it is absent.

    Raises:
        SetAside: it is no text.
    """
    from pydicom.multival import MultiValue

    value = value_of(dataset, keyword)
    words = [value] if value is None or isinstance(value, str) else value
    if not isinstance(words, list | MultiValue) or not all(word is None or isinstance(word, str) for word in words):
        raise SetAside("damaged")
    return "\\".join(word or "" for word in words)


def whole_of(dataset: Dataset, keyword: str, default: int | None = None) -> int:
    """An attribute's whole number; the default where it is absent or empty.

    Raises:
        SetAside: it is no number, several, or absent where there is no default.
    """
    value = value_of(dataset, keyword)
    number = default if value is None else value
    if not isinstance(number, int):
        raise SetAside("damaged")
    return int(number)
