"""`listwire hooks ls|ensure|watch`: each source's webhook in Mailchimp."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from listwire import hooks, logs, redaction
from listwire.cli import context
from listwire.errors import ListwireError, SettingsError
from listwire.settings import Settings
from vendors.accounts import mailchimp
from vendors.webhooks import account_of

log = logs.get("listwire.hooks")
SOURCE = click.option(
    "--source", "names", multiple=True, metavar="NAME", help="Only this source; may be given more than once."
)


@click.group("hooks")
def command() -> None:
    """Each source's webhook as Mailchimp has it."""


@command.command("ls")
@SOURCE
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
@click.pass_context
def ls(ctx: click.Context, names: tuple[str, ...], as_json: bool) -> None:
    """Show drift: a webhook that is gone, has other events or sources, or another URL. Exit code 1 where there is any."""
    settings = context.settings()
    context.quiet(settings)
    states = context.run(_states(settings, _chosen(settings, names)))
    if as_json:
        context.print_json([_document(state) for state in states])
    else:
        _print(states)
    ctx.exit(0 if all(state.right for state in states) else 1)


@command.command("ensure")
@SOURCE
@click.option("--dry-run", is_flag=True, help="Only show what would be done.")
@click.pass_context
def ensure(ctx: click.Context, names: tuple[str, ...], dry_run: bool) -> None:
    """Create each webhook, or reset it to subscribe and unsubscribe, from users only. A second run changes nothing."""
    settings = context.settings()
    context.quiet(settings)
    chosen = _chosen(settings, names)
    if dry_run:
        _print(context.run(_states(settings, chosen)))
        return
    failed = False
    for name in chosen:
        try:
            done = context.run(_ensure(settings, name))
        except SettingsError:
            raise
        except ListwireError as fault:
            failed = True
            click.echo(f"✗ {name}: {redaction.for_settings(settings)(str(fault))}", err=True)
            continue
        words = {
            "nothing": "is as it should be",
            "reset": f"was reset ({'; '.join(done.changes)})",
            "created": "was created",
        }[done.did]
        click.echo(f"✓ {name}: the webhook {words}.")
        if done.signing_secret:
            click.echo(
                f"  Its signing secret is kept in {keep_signing_secret(name, done.signing_secret)}; restart the ingress to check signatures."
            )
    ctx.exit(1 if failed else 0)


@command.command("watch")
@SOURCE
@click.option("--every", type=click.FloatRange(min=1), default=300.0, show_default=True, help="Seconds.")
def watch(names: tuple[str, ...], every: float) -> None:
    """Put webhooks back by itself when Mailchimp has dropped or somebody has changed them."""
    settings = context.start_process("hooks")
    context.run(_watch(settings, _chosen(settings, names), every))


async def _watch(settings: Settings, names: list[str], every: float) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    while not stopped.is_set():
        for name in names:
            try:
                done = await _ensure(settings, name)
            except SettingsError:
                raise
            except ListwireError as fault:
                log.warning("a webhook could not be looked at", source=name, detail=str(fault))
                continue
            if done.did != "nothing":
                log.warning("a webhook was put back", source=name, did=done.did, changes=list(done.changes))
            if done.signing_secret:
                log.warning(
                    "a new signing secret is kept; restart the ingress to check it",
                    file=str(keep_signing_secret(name, done.signing_secret)),
                )
        try:
            await asyncio.wait_for(stopped.wait(), every)
        except TimeoutError:
            continue


def keep_signing_secret(name: str, secret: str) -> Any:
    """Beside the settings, mode 0600: Mailchimp shows it once."""
    return hooks.keep_signing_secret(context.settings(), name, secret)


async def _ensure(settings: Settings, name: str) -> hooks.Done:
    async with mailchimp(settings, account_of(settings, name)) as client:
        return await hooks.ensure(client, settings, name)


async def _states(settings: Settings, names: list[str]) -> list[hooks.State]:
    found = []
    for name in names:
        async with mailchimp(settings, account_of(settings, name)) as client:
            found.append(await hooks.look(client, settings, name))
    return found


def _chosen(settings: Settings, names: tuple[str, ...]) -> list[str]:
    if unknown := [name for name in names if name not in settings.sources]:
        raise SettingsError(f"There is no source {unknown[0]!r}; known are {', '.join(settings.sources) or 'none'}.")
    if not settings.sources:
        raise SettingsError("There is no source: write a table [sources.NAME] (`listwire init` shows one).")
    return list(names or settings.sources)


def _document(state: hooks.State) -> dict[str, Any]:
    return {
        "source": state.source, "audience": state.audience, "webhook": state.hook.id if state.hook else None,
        "url": hooks.shown(state.hook.url) if state.hook else None, "right": state.right, "drift": list(state.drift),
    }  # fmt: skip


def _print(states: list[hooks.State]) -> None:
    table = Table("", "source", "audience", "webhook", "what differs")
    for state in states:
        where = hooks.shown(state.hook.url) if state.hook else "none"
        table.add_row(
            "✓" if state.right else "✗", state.source, state.audience, where, "\n".join(state.drift) or "nothing"
        )
    Console().print(table)
    if not all(state.right for state in states):
        click.echo("`listwire hooks ensure` makes them right.")
