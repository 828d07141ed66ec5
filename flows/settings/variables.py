"""Where settings come from: variables with our prefix, ``.env``, files that hold a secret; and what is wrong there."""

from __future__ import annotations

import errno
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import ValidationError

from medai.errors import ConfigurationError, near_match
from medai.paths import expanded, read_plain, why

PREFIX = "MEDAI_"
IGNORED = frozenset({"MEDAI_TEST_DATA"})
"""Variables with our prefix that belong to the test suite."""

SECRET_WORDS = ("password", "secret", "token", "key", "auth", "credential", "database", "notify")
LONGEST_SHOWN = 500
"""Characters of a value that a message shows."""
SECRET_FILES = {
    "MEDAI_PREFECT_AUTH_FILE": "prefect_auth",
    "MEDAI_TRACKING_PASSWORD_FILE": "tracking_password",
    "MEDAI_PAGES_AUTH_FILE": "pages_auth",
}
"""Variables that name the file which holds a secret setting, as containers are given them; the setting comes first."""


def dotenv() -> dict[str, str | None]:
    """The variables of ``.env``; every line of it must be one.

    Raises:
        ConfigurationError: it is no plain file, or a line cannot be read, which is named by its number.
        UnicodeDecodeError: it is not UTF-8.
    """
    try:
        text = read_plain(Path(".env")).decode("utf-8-sig")
    except FileNotFoundError:
        return {}
    except IsADirectoryError:
        return {}  # a virtual environment of that name is none of ours
    except OSError as failure:
        if failure.errno == errno.EISDIR:
            return {}
        raise ConfigurationError(
            "the file .env cannot be read",
            expected="a plain file with lines NAME=value",
            received=why(failure),
            action="replace it, or remove it",
        ) from None
    from dotenv.parser import parse_stream

    values: dict[str, str | None] = {}
    for line in parse_stream(io.StringIO(text)):
        ours = line.key is not None and line.key.upper().startswith(PREFIX)
        if line.error or "\0" in line.original.string or (ours and line.value is None):
            text = line.original.string
            number = line.original.line + text[: len(text) - len(text.lstrip())].count("\n")  # blank lines come before
            raise ConfigurationError(
                f"line {number} of .env cannot be read",
                expected="NAME=value, a comment or an empty line",
                received="a line that is not shown, as it may hold a secret",
                action="mend that line of .env",
            )
        if line.key is not None:
            values[line.key] = line.value
    return values


def from_files(variables: Mapping[str, str | None]) -> dict[str, str]:
    """The secret settings that stand in files.

    Raises:
        ConfigurationError: such a file cannot be read; it is named by its variable.
    """
    found = {}
    for variable, name in SECRET_FILES.items():
        path = variables.get(variable)
        if not path or variables.get(variable.removesuffix("_FILE")):
            continue
        try:
            found[name] = read_plain(expanded(path)).decode().strip()
        except (OSError, UnicodeDecodeError) as failure:
            raise ConfigurationError(
                f"the file that {variable} names cannot be read",
                expected="a plain file that holds the secret",
                received=why(failure) if isinstance(failure, OSError) else "bytes that are no text",
                action=f"correct {variable}, or that file's permissions",
            ) from None
        if not found[name]:
            raise ConfigurationError(
                f"the file that {variable} names cannot be read",
                expected="a plain file that holds the secret",
                received="an empty file",
                action=f"correct {variable}, or write the secret into that file",
            )
    return found


def refuse_unknown(variables: Mapping[str, str | None], settings: Sequence[str]) -> None:
    """Refuse what has our prefix and is no setting; ``settings`` names those that are.

    Raises:
        ConfigurationError: with the near match.
    """
    known = {*settings, *SECRET_FILES, *IGNORED}
    for name in sorted(variables):
        if name.upper().startswith(PREFIX) and name.upper() not in known:
            raise ConfigurationError(
                f"the variable {name} is no setting of medai",
                expected=near_match(name.upper(), settings),
                received=name,
                action="correct its name in the environment or in .env, or remove it",
            )


def named(error: ValidationError) -> ConfigurationError:
    """The first fault, under the name of its variable; the value only when it cannot be a secret."""
    first = error.errors(include_url=False, include_context=False)[0]
    name = str(first["loc"][0])
    variable = name if name.isupper() else PREFIX + name.upper()
    received = repr(first["input"])
    if any(word in variable.lower() for word in SECRET_WORDS) or "@" in received:
        received = "a value that is not shown, as it may be a secret"
    elif len(received) > LONGEST_SHOWN:
        received = received[:LONGEST_SHOWN] + "…"
    return ConfigurationError(
        f"the setting {variable} cannot be used",
        expected=first["msg"].removeprefix("Value error, "),
        received=received,
        action=f"correct {variable} in the environment or in .env",
    )
