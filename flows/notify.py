"""Who is told what became of a problem: people by Prefect's notification blocks, named as ``TYPE/NAME``.

``slack-webhook/ward``, ``custom-webhook/pager`` and the like are Prefect's own; ``medai-mail/night`` is e-mail over
SMTP, by an Apprise address such as ``mailtos://user:password@smtp.ward:587?from=medai@ward&to=you@ward``. The server
keeps their secrets; medai knows their names. A notification that fails costs a line in the log, which names the block
and the kind of failure: what a library says of it may hold an address that is a secret.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from prefect.blocks.abstract import NotificationBlock
from prefect.blocks.core import Block
from prefect.blocks.notifications import AppriseNotificationBlock

from flows.settings.kinds import blocks_in
from medai.errors import ConfigurationError

log = logging.getLogger("medai.notify")


class Mail(AppriseNotificationBlock):
    """E-mail over SMTP: ``url`` is an Apprise address of the scheme ``mailto`` or ``mailtos``."""

    _block_type_name = "medai Mail"
    _block_type_slug = "medai-mail"
    _description = "E-mail over SMTP by Apprise's mailto:// or mailtos:// address."


def blocks_of(text: str) -> tuple[str, ...]:
    """A comma-separated list of blocks, each once.

    Raises:
        ConfigurationError: one is not of the form TYPE/NAME; it is not shown, as it may be a secret.
    """
    try:
        return blocks_in(text)
    except ValueError as error:
        raise ConfigurationError(
            "the list of whom to notify cannot be used",
            expected=str(error),
            received="something else, which is not shown, as it may hold a secret",
            action="keep an address in a block of Prefect's server, and name that block",
        ) from None


def missing(names: Sequence[str]) -> list[str]:
    """Those of the blocks that Prefect's server does not keep, or that notify nobody.

    Raises:
        httpx.HTTPError: the server does not answer.
    """
    return [name for name in names if _loaded(name) is None]


def notify(names: Sequence[str], subject: str, body: str) -> dict[str, bool]:
    """Tell everybody, one after another; whoever cannot be told costs a line in the log.

    Returns:
        Block → whether it was told.
    """
    return {name: _told(name, subject, body) for name in names}


def _told(name: str, subject: str, body: str) -> bool:
    try:
        block = _loaded(name)
        if block is None:
            log.warning("%s was not notified: Prefect's server has no notification block of this name", name)
            return False
        with block.raise_on_failure():
            _send(block, subject, body)
    except Exception as failure:  # noqa: BLE001 - whatever a library or another's server does, the run goes on
        log.warning("%s was not notified (%s)", name, type(failure).__name__)
        return False
    return True


def _send(block: Any, subject: str, body: str) -> None:
    block.notify(body, subject)


def _loaded(name: str) -> NotificationBlock | None:
    loaded: Any
    try:
        loaded = Block.load(name)
    except ValueError:  # Prefect says so of an unknown name
        return None
    return loaded if isinstance(loaded, NotificationBlock) else None
