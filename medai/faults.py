"""What is wrong in a configuration file, key by key: what was expected, what stands there, and what may be meant.

Booleans and texts are no numbers: pydantic would read ``true`` as 1 and ``"5"`` as 5.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from medai.errors import ConfigurationError, near_match
from medai.yaml_files import NO_TEXT, parse_yaml

if TYPE_CHECKING:
    from pydantic import ValidationError

SHOWN = 5
LONGEST_SHOWN = 60
SECRET_WORDS = ("password", "passwd", "secret", "token", "key", "auth", "credential")
_EXPECTED = {
    "greater_than_equal": "at least {ge:g}",
    "greater_than": "more than {gt:g}",
    "less_than_equal": "at most {le:g}",
    "less_than": "less than {lt:g}",
    "too_short": "at least {min_length}, not {actual_length}",
    "too_long": "at most {max_length}, not {actual_length}",
    "finite_number": "a finite number",
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "a whole number"),
    **dict.fromkeys(("float_type", "float_parsing"), "a number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "true or false"),
    **dict.fromkeys(("dict_type", "model_type", "model_attributes_type"), "a section"),
    **dict.fromkeys(("list_type", "tuple_type"), "a list"),
    "string_type": "text",
}
"""What pydantic says in its own words, as this house says it."""

_CHOICES = re.compile(r"'([^']*)'")


class Fault(NamedTuple):
    """One fault.

    Attributes:
        where: the key, dotted; empty for the whole file.
        expected: what the key takes; empty where ``received`` says it all.
        received: what stands there.
    """

    where: str
    expected: str
    received: str


def faults_of(error: ValidationError) -> list[Fault]:
    """The faults that pydantic found."""
    return [_fault(each) for each in error.errors(include_url=False, include_context=True)]


def _fault(fault: Any) -> Fault:
    where = ".".join(str(part) for part in fault["loc"])
    kind, context = fault["type"], fault.get("ctx", {})
    if kind == "union_tag_invalid":
        tags = str(context["expected_tags"]).replace("'", "").split(", ")
        tag = str(context["tag"])
        return Fault(where, "kind " + " or ".join(tags), f"there is no kind {tag!r}; {near_match(tag, tags)}")
    if kind == "missing":
        return Fault(where, "a value", "this key is required")
    if kind in ("value_error", "union_tag_not_found"):
        return Fault(where, "", fault["msg"].removeprefix("Value error, "))
    shown = shown_value(where, fault["input"])
    if kind == "literal_error" and isinstance(fault["input"], str):
        near = near_match(fault["input"], _CHOICES.findall(str(context["expected"])))
        shown += f"; {near}" if near.startswith("did") else ""
    expected = _EXPECTED.get(kind, fault["msg"].removeprefix("Input should be ")).format(**context)
    return Fault(where, expected, shown)


def shown_value(where: str, value: Any) -> str:
    """A value as a message may show it."""
    if any(word in where.rpartition(".")[2].lower() for word in SECRET_WORDS):
        return "a value that is not shown, as it may be a secret"
    if isinstance(value, dict):
        return "a section"
    text = json.dumps(value, ensure_ascii=True, default=str)
    return text if len(text) <= LONGEST_SHOWN else text[:LONGEST_SHOWN] + "…"


def disguised(given: Any, read: Any, where: str = "") -> Iterator[Fault]:
    """Values that were read as another kind than they are written.

    >>> list(disguised({"epochs": True, "rate": 1, "sizes": ["5"]}, {"epochs": 1, "rate": 1.0, "sizes": (5,)}))
    [Fault(where='epochs', expected='a number', received='true'), Fault(where='sizes.0', expected='a number', \
received='"5"')]

    Args:
        given: the data of the file.
        read: the same as plain data, once it was read.
    """
    if isinstance(given, dict) and isinstance(read, dict):
        if len({str(key) for key in given}) < len(given):
            yield Fault(where, "each key once", "a key as a number and again as text")
        values = {str(key): value for key, value in read.items()}
        for key, value in given.items():
            if str(key) in values:
                yield from disguised(value, values[str(key)], f"{where}.{key}" if where else str(key))
    elif isinstance(given, list) and isinstance(read, list | tuple):
        for place, (one, other) in enumerate(zip(given, read, strict=False)):
            yield from disguised(one, other, f"{where}.{place}")
    elif isinstance(read, bool):
        if not isinstance(given, bool):
            yield Fault(where, "true or false", shown_value(where, given))
    elif isinstance(read, int | float) and isinstance(given, bool | str):
        yield Fault(where, "a number", shown_value(where, given))


def told(faults: Sequence[Fault]) -> tuple[str, str]:
    """What was expected and what was received, of the first few faults."""
    expected = [f"{fault.where}: {fault.expected}" for fault in faults[:SHOWN] if fault.expected]
    received = [f"{fault.where}: {fault.received}" if fault.where else fault.received for fault in faults[:SHOWN]]
    if len(faults) > SHOWN:
        received.append(f"and {len(faults) - SHOWN} more")
    return "; ".join(expected), "; ".join(received)


def override_key(data: dict[str, Any], override: str) -> None:
    """Set one dotted key to a value in YAML; a key of a section that the file leaves out is made.

    Raises:
        ConfigurationError: it is not ``section.key=value`` on one line, or goes through a value that has no keys.
    """
    name, equals, text = override.partition("=")
    parts: list[Any] = name.split(".")
    strange = "\n" in override or NO_TEXT.search(override) is not None
    if not equals or not all(parts) or strange:
        raise ConfigurationError(
            "an override cannot be read",
            expected="--set section.key=value" + (" on one line, without control characters" if strange else ""),
            received=f"--set {ascii(name)[1:-1]}{'' if not equals else '=…'}",
            action="for example --set training.epochs=3",
        )
    section: Any = data
    for place, part in enumerate(parts):
        if isinstance(section, dict) and part.isdecimal() and int(part) in section:
            parts[place] = part = int(part)  # a class by its label value
        if place == len(parts) - 1 or not isinstance(section, dict):
            break
        if section.get(part) is None:
            section[part] = {}
        section = section[part]
    if not isinstance(section, dict):
        raise ConfigurationError(
            f"--set {name} goes into a value that has no keys",
            expected="a dotted path of sections",
            received=f"{parts[-2]} is a single value",
            action="`medai show` prints the sections",
        )
    section[parts[-1]] = parse_yaml(f"value: {text}", f"--set {name}")["value"]
