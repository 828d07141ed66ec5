"""YAML as medai reads it: plain data, and nothing that surprises.

YAML 1.1 turns ``no`` into false, ``1:30`` into 90, ``012`` into 10, keeps the last of two equal keys, and lets a tag
build objects. A Problem or a suite is read by people who do not expect that, so medai reads a smaller language:

- mappings with text or whole-number keys, each key once; lists; text; true and false; null; finite numbers;
- no tags, no anchors and aliases (which also rules out expansion bombs), one document a file;
- no control characters and no half characters, however they are escaped;
- ``1e-3`` is a number; ``yes``, ``no``, ``on``, ``off``, dates and times are text.
"""

from __future__ import annotations

import errno
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from medai.errors import ConfigurationError, near_match
from medai.paths import read_plain, why

if TYPE_CHECKING:
    from pydantic import BaseModel

M = TypeVar("M", bound="BaseModel")

LARGEST_BYTES = 1 << 20
"""A Problem or a suite is a page or ten; a file of more than 1 MiB is something else."""

DEEPEST = 32
"""Levels of nesting; real files use six."""

LONGEST_WHOLE = 18
"""Characters of a whole number; what fits in 64 bits with its sign."""

LONGEST_NAME = 80
"""Characters of a file's name that a message shows."""

NO_TEXT = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters but for tabs and ends of lines, and half characters."""

_WHOLE = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_NUMBER = re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)|[-+]?(inf|infinity|nan)", re.IGNORECASE)
_WORDS = {"true": True, "True": True, "false": False, "False": False, "null": None, "~": None, "": None}


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file's top mapping as plain data.

    Args:
        path: the file; its name, never its folder, stands in messages.

    Raises:
        ConfigurationError: the file cannot be read, is not UTF-8 or too large, or breaks a rule of this module. The
            message names the line.
    """
    expected = "a readable YAML file in UTF-8"
    try:
        data = read_plain(path, LARGEST_BYTES + 1)
        text = data[:LARGEST_BYTES].decode("utf-8") if len(data) <= LARGEST_BYTES else None
    except FileNotFoundError as error:
        raise _refused(path.name, "does not exist", expected, "no such file") from error
    except PermissionError as error:
        raise _refused(path.name, "cannot be read", expected, "a file without read permission") from error
    except OSError as error:
        wrong = "is a folder" if error.errno == errno.EISDIR else "cannot be read"
        raise _refused(path.name, wrong, expected, why(error)) from error
    except UnicodeDecodeError as error:
        raise _refused(path.name, "is not UTF-8", expected, f"a byte that is not UTF-8 at {error.start}") from error
    if text is None:
        raise _refused(path.name, "is too large", f"at most {LARGEST_BYTES} bytes", "a larger file")
    return parse_yaml(text, path.name)


def read_as(model: type[M], path: Path, what: str) -> M:
    """A file that medai brings along, as the model whose module describes it.

    Args:
        what: the file, in the message.

    Raises:
        ConfigurationError: as ``read_yaml``, or the file does not follow the model.
    """
    from pydantic import ValidationError

    data = read_yaml(path)
    try:
        return model.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigurationError(
            f"{what} cannot be followed",
            expected=f"what the module {model.__module__} describes",
            received=f"{'.'.join(map(str, first['loc']))}: {first['msg']}",
            action="mend the file",
        ) from None


def named_file(kind: str, name: str, known: Mapping[str, Path]) -> Path:
    """One of several files that medai brings along.

    Args:
        kind: what each is, in the message.
        known: name → file.

    Raises:
        ConfigurationError: there is none of this name; the nearest is told.
    """
    if name not in known:
        raise ConfigurationError(
            f"there is no {kind} {name!r}",
            expected=f"a {kind} that medai brings along",
            received=repr(name),
            action=near_match(name, known),
        )
    return known[name]


def parse_yaml(text: str, name: str = "text") -> dict[str, Any]:
    """The top mapping of YAML text as plain data.

    >>> parse_yaml("rate: 1e-3\\nclasses: {0: normal, 1: pneumonia}\\nshuffle: no")
    {'rate': 0.001, 'classes': {0: 'normal', 1: 'pneumonia'}, 'shuffle': 'no'}

    Raises:
        ConfigurationError: as ``read_yaml``.
    """
    import yaml

    try:
        value = _document(_events(text), name)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}" if mark else "an unknown line"
        raise _refused(name, f"is not YAML ({where})", "well-formed YAML", error.problem or "a syntax error") from error
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # PyYAML lets chr()'s own errors through
        raise _refused(name, "is not YAML", "well-formed YAML", "a character that YAML does not allow") from error
    if not isinstance(value, dict):
        raise _refused(name, "does not hold a mapping", "keys with values at the top", type(value).__name__)
    return value


def _events(text: str) -> Iterator[Any]:
    """The parser's events: of libyaml, ten times as fast, where it is there and has no objection.

    The other parser then says what is wrong, in words that name the line.
    """
    import yaml

    if hasattr(yaml, "CSafeLoader"):
        with suppress(yaml.YAMLError):
            return iter(list(_to_the_deepest(yaml.parse(text, Loader=yaml.CSafeLoader))))
    return yaml.parse(text, Loader=yaml.SafeLoader)


def _to_the_deepest(events: Iterator[Any]) -> Iterator[Any]:
    """Events up to one nested too deeply, which is refused: each further level costs libyaml more than the last."""
    import yaml

    levels = 0
    for event in events:
        levels += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        yield event
        if levels > DEEPEST + 1:
            return


def _document(events: Iterator[Any], name: str) -> Any:
    """The one document of a stream of parser events."""
    import yaml

    next(events)  # the start of the stream
    if isinstance(next(events), yaml.StreamEndEvent):
        return None
    value = _node(next(events), events, name, 0)
    next(events)  # the end of the document
    following = next(events)
    if not isinstance(following, yaml.StreamEndEvent):
        raise _refused_at(following, name, "holds a second document", "one document", "a second '---'")
    return value


def _node(event: Any, events: Iterator[Any], name: str, depth: int) -> Any:
    import yaml

    if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
        raise _refused_at(event, name, "uses an anchor or alias", "each value written out", "'&' or '*'")
    if event.tag is not None:
        raise _refused_at(event, name, "uses a tag", "plain values", "a value with '!'")
    if depth > DEEPEST:
        raise _refused_at(event, name, "is nested too deeply", f"at most {DEEPEST} levels", "more")
    if isinstance(event, yaml.ScalarEvent):
        return _scalar(event, name)
    if isinstance(event, yaml.SequenceStartEvent):
        items = []
        while not isinstance(event := next(events), yaml.SequenceEndEvent):
            items.append(_node(event, events, name, depth + 1))
        return items
    mapping: dict[str | int, Any] = {}
    while not isinstance(event := next(events), yaml.MappingEndEvent):
        key = _node(event, events, name, depth + 1)
        if isinstance(key, bool) or not isinstance(key, (str, int)):
            raise _refused_at(event, name, "has a key that is neither text nor a whole number", "text", repr(key))
        if key in mapping:
            raise _refused_at(event, name, f"says {key!r} twice", "each key once in its mapping", "the same key again")
        mapping[key] = _node(next(events), events, name, depth + 1)
    return mapping


def _scalar(event: Any, name: str) -> Any:
    word = event.value
    if strange := NO_TEXT.search(word):
        raise _refused_at(event, name, "holds a character that is no text", "text", ascii(strange[0]))
    if not event.implicit[0]:  # quoted, or a block of text
        return word
    if word in _WORDS:
        return _WORDS[word]
    if _WHOLE.fullmatch(word):
        if len(word) > LONGEST_WHOLE:
            raise _refused_at(
                event, name, f"holds a whole number of more than {LONGEST_WHOLE} digits", "a smaller number", "more"
            )
        return int(word)
    if _NOT_FINITE.fullmatch(word):
        raise _refused_at(event, name, "holds a number that is not finite", "a finite number", word)
    if _NUMBER.fullmatch(word):
        number = float(word)
        if not math.isfinite(number):
            raise _refused_at(event, name, "holds a number that is not finite", "a finite number", word)
        return number
    return word


def _refused_at(event: Any, name: str, wrong: str, expected: str, received: str) -> ConfigurationError:
    return _refused(name, f"{wrong} (line {event.start_mark.line + 1})", expected, received)


def _refused(name: str, wrong: str, expected: str, received: str) -> ConfigurationError:
    return ConfigurationError(
        f"{_short(name)} {wrong}",
        expected=expected,
        received=received,
        action=f"mend {_short(name)} and run the same command again",
    )


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else name[:LONGEST_NAME] + "…"
