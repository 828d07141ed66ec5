"""How a container runs a command: ``python -m flows.entrypoint COMMAND ARGUMENT…``.

medai's settings become the environment of the libraries, secrets are read from the files that ``NAME_FILE`` names, and
the command takes this process's place.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from flows.recipe import SERVER_AUTH, secrets_read
from flows.settings import Settings
from medai.errors import ConfigurationError, MedaiError
from medai.paths import why


def environment(given: Mapping[str, str]) -> dict[str, str]:
    """What a command gets, from what the container was given.

    Raises:
        ConfigurationError: a setting is wrong, or a file of a secret cannot be read.
    """
    try:
        return secrets_read(Settings.load().merged(given), (SERVER_AUTH,))
    except OSError as failure:
        raise ConfigurationError(
            f"the file that {SERVER_AUTH}_FILE names cannot be read",
            expected="a secret that this container's user may read",
            received=why(failure),
            action="make secrets; the container runs as their owner (docker/.env)",
        ) from None


def main() -> None:
    """Become the command."""
    if len(sys.argv) < 2:
        sys.exit("a command is expected")
    try:
        told = environment(os.environ)
    except MedaiError as error:
        print(f"medai: {error}", file=sys.stderr)  # noqa: T201 nobody listens to a log yet
        raise SystemExit(error.exit_status) from None
    os.execvpe(sys.argv[1], sys.argv[1:], told)  # noqa: S606 no shell is wanted


if __name__ == "__main__":
    main()
