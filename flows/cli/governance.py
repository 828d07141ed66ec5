"""Who is champion, and what is kept: ``history``, ``promote``, ``rollback``, ``prune``, ``audit`` and ``sync``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli.arguments import Json, Remembered, known, open_ledger, open_tracking
from flows.cli.frame import answer
from flows.shown import governance as shown

if TYPE_CHECKING:
    from flows.settings import Settings

commands = typer.Typer()
audit = typer.Typer(name="audit", no_args_is_help=True, rich_markup_mode=None, help="Who did what, when and why.")

Reason = Annotated[str, typer.Option(help="Why; written in the audit.")]


@commands.command()
def history(
    problem: Remembered,
    at: Annotated[
        str | None, typer.Option(metavar="DATE", help="Who was champion at this ISO date or time, UTC.")
    ] = None,
    as_json: Json = False,
) -> None:
    """What was champion when, and why."""

    def act(settings: Settings) -> dict[str, Any]:
        from flows.history import history as tell

        ledger = open_ledger(settings)
        return tell(ledger, known(problem, ledger), at)

    answer(act, as_json, shown.history)


@commands.command()
def promote(
    problem: Remembered,
    version: Annotated[int, typer.Argument(min=1, help="A registered version.")],
    reason: Reason,
    expect: Annotated[
        int | None,
        typer.Option(metavar="VERSION", min=0, help="Replace this champion (0: nobody), or nothing if another stands."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a registered version champion by hand."""

    def act(settings: Settings) -> dict[str, Any]:
        from flows.governance import promote_by_hand

        ledger = open_ledger(settings)
        return promote_by_hand(ledger, open_tracking(settings), known(problem, ledger), version, reason, expect)

    answer(act, as_json, shown.champion)


@commands.command()
def rollback(
    problem: Remembered,
    reason: Reason,
    expect: Annotated[
        int | None, typer.Option(metavar="VERSION", min=1, help="Withdraw this version, or nothing if another stands.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Withdraw the champion; the one before it stands again."""

    def act(settings: Settings) -> dict[str, Any]:
        from flows.governance import roll_back

        ledger = open_ledger(settings)
        return roll_back(ledger, open_tracking(settings), known(problem, ledger), reason, expect) | {"reason": reason}

    answer(act, as_json, shown.champion)


@commands.command()
def prune(
    reason: Annotated[str, typer.Option(help="Why; written in the audit. Not needed with --dry-run.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be deleted, and delete nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Delete what no champion, registered version, pending decision or snapshot in use needs."""

    def act(settings: Settings) -> dict[str, Any]:
        from flows.reasons import check_reason
        from medai.pruning import plan
        from medai.pruning import prune as delete

        ledger = open_ledger(settings)
        if not dry_run:
            check_reason(reason, ledger.workspace)
        found = plan(ledger) if dry_run else delete(ledger, reason)
        return {"dry_run": dry_run, "list_sha256": found.list_sha256, **found.counts()}

    answer(act, as_json, shown.pruned)


@audit.command("verify")
def verify_audit(as_json: Json = False) -> None:
    """Is the audit whole, signed, and known to MLflow; are the champions' files intact? Status 4 if not."""

    def act(settings: Settings) -> dict[str, Any]:
        from flows.audit import verify

        return verify(open_ledger(settings), open_tracking(settings))

    outcome = answer(act, as_json, shown.audit)
    if not outcome["intact"]:
        raise typer.Exit(4)


@audit.command("sign")
def sign_audit(
    reason: Annotated[
        str | None, typer.Option(help="Begin with a new site key, or sign an audit that never was; why.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Let MLflow's aliases and its copies of the audit's signed head follow the ledger."""

    def act(settings: Settings) -> dict[str, Any]:
        from flows.audit import sign

        return sign(open_ledger(settings), open_tracking(settings), reason)

    answer(act, as_json, shown.signed)


@commands.command()
def sync(as_json: Json = False) -> None:
    """Tell MLflow what was decided while it was down; status 4 if some of it still waits."""

    def act(settings: Settings) -> dict[str, Any]:
        from flows.sync import catch_up

        return catch_up(open_ledger(settings), open_tracking(settings))

    outcome = answer(act, as_json, shown.sync)
    if outcome["left"]:
        raise typer.Exit(4)
