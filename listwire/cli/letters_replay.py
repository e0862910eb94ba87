"""`dead-letters replay`: shows what it would do, asks, and does it. Must never replay unasked, nor what would only fail again."""

from __future__ import annotations

import functools
import sys
from typing import Any

import click

from listwire.cli import context
from listwire.cli.letters_options import opened, selecting
from listwire.cli.progress import progress
from listwire.letter_box import LetterBox
from listwire.letter_index import heaps
from listwire.masking import printable
from listwire.replay import Outcome, replay
from listwire.replay_plan import Plan, Selection
from listwire.replay_prepare import prepared
from listwire.settings import Settings
from listwire.spoken import count, moment
from vendors.accounts import refused


@click.command("replay")
@selecting
@click.option("--yes", is_flag=True, help="Do not ask; required without a terminal.")
@click.option("--dry-run", is_flag=True, help="Only show what would be done.")
@click.option(
    "--force", is_flag=True, help="Also letters of refused connections, and cohort changes whose origin is gone."
)
@click.option("--json", "as_json", is_flag=True, help="For scripts; with --yes or --dry-run.")
def replay_them(*, selection: Selection, yes: bool, dry_run: bool, force: bool, as_json: bool) -> None:
    """Back to where they came from, oldest first."""
    if not (yes or dry_run) and (as_json or not sys.stdin.isatty()):
        raise click.UsageError(
            "replay asks before it does anything, and here is nobody to ask: --yes does it, --dry-run only shows."
        )
    settings = context.settings()
    context.quiet(settings)
    context.run(replay_selection(settings, selection, ask=not yes, dry_run=dry_run, force=force, as_json=as_json))


async def replay_selection(
    settings: Settings, selection: Selection, *, ask: bool, dry_run: bool, force: bool, as_json: bool
) -> None:
    async with opened(settings) as box:
        made = await prepared(box, selection, functools.partial(refused, settings), force=force)
        if not as_json:
            _show(made, force=force)
        if dry_run or not made.take:
            if as_json:
                context.print_json(_document(made, Outcome()))
            return
        if ask:
            click.confirm(f"Replay {count(len(made.take), 'letter')}?", abort=True)
        outcome = await _do(settings, box, made, force=force)
    if as_json:
        context.print_json(_document(made, outcome))
        return
    words = f"{count(outcome.replayed, 'letter')} replayed."
    if outcome.done_before:
        words += f" {count(outcome.done_before, 'letter was', 'letters were')} done already."
    if outcome.gone:
        words += f" {count(outcome.gone, 'letter')} deleted by Kafka meanwhile."
    click.echo(words)


async def _do(settings: Settings, box: LetterBox, made: Plan, *, force: bool) -> Outcome:
    settled = 0
    with progress("replaying") as advance:

        def tell(more: int) -> None:
            nonlocal settled
            settled += more
            advance(settled, len(made.take))

        return await replay(settings.kafka, box, made.take, force=force, progress=tell)


def _show(made: Plan, *, force: bool) -> None:
    if not made.take:
        click.echo("Nothing to replay.")
    for heap in heaps(made.take):
        click.echo(
            f"{count(heap.letters, 'letter')} of {printable(heap.connection) or 'no connection'}, {printable(heap.reason)}, "
            f"failed {moment(heap.first)} to {moment(heap.last)}"
        )
    for why, entries in made.left.items():
        click.echo(
            f"Left alone: {count(len(entries), 'letter')}; {printable(why)}."
            + ("" if force else " (--force takes them)")
        )
    if made.old:
        click.echo(
            f"Note: {count(made.old, 'webhook is', 'webhooks are')} older than 7 days. Amplitude has forgotten their insert_ids: one that it "
            "had taken after all would count twice."
        )


def _document(made: Plan, outcome: Outcome) -> dict[str, Any]:
    return {
        "selected": len(made.take),
        "replayed": outcome.replayed,
        "done_before": outcome.done_before,
        "gone": outcome.gone,
        "left_alone": [{"why": why, "letters": len(entries)} for why, entries in made.left.items()],
        "older_than_amplitude_remembers": made.old,
        "ids": [entry.id for entry in made.take],
    }
