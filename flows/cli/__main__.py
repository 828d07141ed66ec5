"""``python -m flows.cli`` is the ``medai`` command."""

from flows.cli import main

main()
