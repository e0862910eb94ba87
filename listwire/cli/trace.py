"""`listwire trace ADDRESS`: what came in for one address, what went out, which tags, which dead letters. Reads only."""

from __future__ import annotations

import time
from typing import Any

import click
from rich.table import Table

from listwire.cli import context
from listwire.cli.progress import progress
from listwire.masking import printable
from listwire.replay_plan import parse_moment
from listwire.settings import Settings
from listwire.spoken import count, moment
from listwire.trace import Trace, Who
from listwire.trace_reader import trace


@click.command()
@click.argument("address")
@click.option("--since", metavar="TIME", help="Only records from then on: 2026-03-01, 2026-03-01T08:30 (UTC), 24h, 7d.")
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
def command(address: str, since: str | None, as_json: bool) -> None:
    """What came in for one address, what went out, which tags, which dead letters.

    ADDRESS may also be the addr:… that stands for one in logs and in the console.
    """
    who = Who(address)
    if not who.is_hash and "@" not in who.text:
        raise click.UsageError("an address has an @; a hash from a log begins with addr: and has 12 digits.")
    settings = context.settings()
    context.quiet(settings)
    begin = parse_moment(since, time.time(), "--since") if since else None
    found = context.run(_traced(settings, who, begin))
    if as_json:
        context.print_json(_document(found))
    else:
        _print(found)


async def _traced(settings: Settings, who: Who, since: int | None) -> Trace:
    with progress("reading Kafka") as advance:
        return await trace(settings, who, since=since, progress=advance)


def _document(found: Trace) -> dict[str, Any]:
    return {
        "hash": found.hash,
        "records_read": found.read,
        "left_out": found.left_out,
        "steps": [
            {
                "at": step.at, "what": step.what, "connection": step.connection, "outcome": step.outcome.value,
                "words": step.words, "origin": step.origin, "letter": step.letter or None,
            }
            for step in found.steps
        ],
        "tags": [
            {"connection": tag.connection, "name": tag.name, "on": tag.on, "at": tag.at, "outcome": tag.outcome.value}
            for tag in found.tags
        ],
    }  # fmt: skip


def _print(found: Trace) -> None:
    if not found.steps:
        click.echo(f"Nothing in Kafka names this address ({found.hash}); {count(found.read, 'record')} read.")
        return
    table = Table("time", "what", "connection", "outcome", "", box=None, header_style="bold")
    for step in found.steps:
        words = f"{step.words} ({step.letter[:8]})" if step.letter else step.words
        table.add_row(*map(printable, (moment(step.at), step.what, step.connection, step.outcome.value, words)))
    context.console().print(table)
    for tag in found.tags:
        state = "on" if tag.on else "off"
        waits = ", but the worker has not dealt with it yet" if tag.outcome.value == "waiting" else ""
        click.echo(printable(f"Tag {tag.name} of {tag.connection}: {state} since {moment(tag.at)}{waits}."))
    if found.left_out:
        click.echo(f"{count(found.left_out, 'older record')} left out.")
    click.echo(f"In logs this address is {found.hash}; {count(found.read, 'record')} read.")
