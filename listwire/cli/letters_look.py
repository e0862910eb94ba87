"""`dead-letters ls` and `show`: what waits, and one letter with its addresses hidden. Reads only."""

from __future__ import annotations

from typing import Any

import click
from rich.table import Table

from listwire.cli import context
from listwire.cli.letters_options import opened, selecting
from listwire.dead_letters import Letter
from listwire.errors import ListwireError
from listwire.letter_index import Entry, heaps, named
from listwire.masking import mask, printable, readable
from listwire.records import MEANINGS, Reason
from listwire.replay_plan import Selection
from listwire.settings import Settings
from listwire.spoken import count, moment, size


@click.command("ls")
@selecting
@click.option("--all", "each", is_flag=True, help="A line for each letter, with its id.")
@click.option("--done", is_flag=True, help="Also those that were replayed or forgotten.")
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
def list_them(*, selection: Selection, each: bool, done: bool, as_json: bool) -> None:
    """What waits, by reason and connection."""
    settings = context.settings()
    context.quiet(settings)
    entries, unreadable = context.run(_entries(settings, selection, done=done))
    if as_json:
        context.print_json(
            {
                "letters": len(entries),
                "unreadable": unreadable,
                "groups": [
                    {
                        "reason": heap.reason, "connection": heap.connection, "letters": heap.letters,
                        "bytes": heap.size, "first_failed_at": heap.first, "last_failed_at": heap.last,
                    }
                    for heap in heaps(entries)
                ],
            }
            | ({"entries": [_entry(entry) for entry in entries]} if each else {})
        )  # fmt: skip
        return
    if each:
        _print_each(entries)
    else:
        _print_heaps(entries)
    if unreadable:
        click.echo(
            f"{count(unreadable, 'record')} in the topic can be read neither as a letter nor as a mark; left out."
        )


async def _entries(settings: Settings, selection: Selection, *, done: bool) -> tuple[list[Entry], int]:
    async with opened(settings, keep_done=done) as box:
        both = [*box.index.open.values(), *box.index.done.values()]
        chosen = [entry for entry in both if entry in selection]
        return sorted(chosen, key=lambda entry: (entry.failed_at, entry.places)), len(box.index.unreadable)


def _entry(entry: Entry) -> dict[str, Any]:
    return {
        "id": entry.id, "reason": entry.reason, "connection": entry.connection, "origin": entry.origin,
        "failed_at": entry.failed_at, "received_at": entry.received_at or None, "bytes": entry.size, "done": entry.done,
        "partition": entry.places[0][0], "offset": entry.places[0][1],
    }  # fmt: skip


def _print_heaps(entries: list[Entry]) -> None:
    if not entries:
        click.echo("No dead letters wait.")
        return
    table = Table("reason", "connection", box=None, header_style="bold")
    for title in ("letters", "size", "first", "last"):
        table.add_column(title, justify="right", no_wrap=True)
    for heap in (found := heaps(entries)):
        table.add_row(
            printable(heap.reason), printable(heap.connection), f"{heap.letters:,}", size(heap.size),
            moment(heap.first), moment(heap.last),
        )  # fmt: skip
    context.console().print(table)
    click.echo()
    for reason in dict.fromkeys(heap.reason for heap in found):
        if reason in set(Reason):
            what, way_out = MEANINGS[Reason(reason)]
            click.echo(f"{reason}: {what} {way_out}")


def _print_each(entries: list[Entry]) -> None:
    for entry in entries:
        words = (entry.id, moment(entry.failed_at), entry.reason, entry.connection, entry.origin)
        click.echo("  ".join(map(printable, words)) + ("  done" if entry.done else ""))


@click.command()
@click.argument("name", metavar="ID|ORIGIN")
@click.option("--reveal", is_flag=True, help="With its addresses; else each is a hash, the same as in the logs.")
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
def show(*, name: str, reveal: bool, as_json: bool) -> None:
    """One letter: why, from where, and what it holds."""
    settings = context.settings()
    context.quiet(settings)
    found = context.run(_found(settings, name))
    if as_json:
        context.print_json([_letter(entry, letter, reveal=reveal) for entry, letter in found])
        return
    for number, (entry, letter) in enumerate(found):
        if number:
            click.echo()
        _print_letter(_letter(entry, letter, reveal=reveal))


async def _found(settings: Settings, name: str) -> list[tuple[Entry, Letter]]:
    async with opened(settings, keep_done=True) as box:
        entries = named([*box.index.open.values(), *box.index.done.values()], name)
        found = [pair async for pairs in box.letters(entries) for pair in pairs]
    letters = [(entry, letter) for entry, letter in found if letter is not None]
    if not letters:
        raise ListwireError(
            f"No dead letter has the id or origin {printable(name)!r}: `listwire dead-letters ls --all` lists them "
            "(an id may be cut to 8 digits; Kafka keeps letters for their topic's retention)."
        )
    return letters


def _letter(entry: Entry, letter: Letter, *, reveal: bool) -> dict[str, Any]:
    def shown(text: str) -> str:
        return text if reveal else mask(text)

    def text(data: bytes) -> str:
        return shown(data.decode("utf-8", "replace"))

    return {
        "id": entry.id,
        "reason": letter.reason,
        "detail": shown(letter.detail),
        "connection": letter.connection,
        "origin": letter.origin,
        "failed_at": letter.failed_at,
        "done": entry.done,
        "key": None if letter.key is None else text(letter.key),
        "headers": [[shown(header), text(value)] for header, value in letter.source_headers],
        "bytes": len(letter.value),
        "value": shown(readable(letter.value)),
    }


def _print_letter(letter: dict[str, Any]) -> None:
    for title, value in (
        ("id", letter["id"]), ("reason", letter["reason"]), ("detail", letter["detail"]),
        ("connection", letter["connection"]), ("origin", letter["origin"]), ("failed", moment(letter["failed_at"])),
        ("done", "yes: replayed or forgotten" if letter["done"] else "no"), ("key", letter["key"]),
        *((f"header {name}", value) for name, value in letter["headers"]),
    ):  # fmt: skip
        if value:
            click.echo(f"{printable(title):<12} {printable(value)}")
    click.echo(f"{'value':<12} {size(letter['bytes'])}")
    click.echo("\n".join("  " + printable(line) for line in letter["value"].splitlines()))
