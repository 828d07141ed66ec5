"""How a container runs a command: ``python -m flows.entrypoint COMMAND ARGUMENT…``.

medai's settings become the environment of the libraries, secrets are read from the files that ``NAME_FILE`` names, and
the command takes this process's place.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import NoReturn

from flows.recipe import SERVER_AUTH, secrets_read
from flows.settings import Settings
from medai.errors import ConfigurationError, MedaiError
from medai.paths import why


def environment(given: Mapping[str, str]) -> dict[str, str]:
    """What a command gets, from what the container was given.

    Raises:
        ConfigurationError: a setting is wrong, or a file of a secret cannot be read.
    """
    return secrets_read(Settings.load().merged(given), (SERVER_AUTH,))


def become(command: list[str], told: dict[str, str]) -> NoReturn:
    """Run a command in this process's place.

    Raises:
        ConfigurationError: there is no such program.
    """
    try:
        os.execvpe(command[0], command, told)  # noqa: S606 no shell is wanted
    except OSError as failure:
        raise ConfigurationError(
            "the command cannot be run",
            expected="a program of the image, such as medai",
            received=why(failure),
            action="correct the first word after the service's name",
        ) from None


def main() -> None:
    """Become the command."""
    if len(sys.argv) < 2:
        sys.exit("a command is expected")
    try:
        become(sys.argv[1:], environment(os.environ))
    except MedaiError as error:
        print(f"medai: {error}", file=sys.stderr)  # noqa: T201 nobody listens to a log yet
        raise SystemExit(error.exit_status) from None


if __name__ == "__main__":
    main()
