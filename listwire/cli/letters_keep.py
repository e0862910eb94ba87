"""`dead-letters export` and `forget`: letters out to a file, and a person out of the letters as far as Kafka allows."""

from __future__ import annotations

import base64
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import click
import orjson

from listwire import forgetting, kafka_admin, topics
from listwire.cli import context
from listwire.cli.letters_options import opened, selecting
from listwire.cli.progress import progress
from listwire.dead_letters import Letter
from listwire.errors import ListwireError
from listwire.letter_box import LetterBox
from listwire.letter_index import Entry
from listwire.replay_plan import Selection
from listwire.settings import Settings
from listwire.spoken import count, duration


@click.command()
@click.argument("file", metavar="FILE", type=click.Path(dir_okay=False, allow_dash=True))
@selecting
@click.option("--done", is_flag=True, help="Also letters that were replayed or forgotten.")
@click.option("--force", is_flag=True, help="Replace a file that exists.")
def export(*, file: str, selection: Selection, done: bool, force: bool) -> None:
    """JSON lines with everything, addresses too; - is standard output."""
    settings = context.settings()
    context.quiet(settings)
    written = context.run(_export(settings, file, selection, done=done, force=force))
    click.echo(f"{count(written, 'letter')} exported. They hold people's addresses.", err=True)


async def _export(settings: Settings, file: str, selection: Selection, *, done: bool, force: bool) -> int:
    written = 0
    async with opened(settings, keep_done=done) as box:
        both = [*box.index.open.values(), *box.index.done.values()]
        entries = sorted((e for e in both if e in selection), key=lambda e: e.places)
        with _target(file, force=force) as out, progress("exporting") as advance:
            async for entry, letter in _each(box, entries):
                out.write(orjson.dumps(_line(entry, letter)) + b"\n")
                written += 1
                advance(written, len(entries))
    return written


async def _each(box: LetterBox, entries: list[Entry]) -> AsyncIterator[tuple[Entry, Letter]]:
    async for pairs in box.letters(entries):
        for entry, letter in pairs:
            if letter is not None:
                yield entry, letter


@contextlib.contextmanager
def _target(file: str, *, force: bool) -> Iterator[BinaryIO]:
    """Only its owner may read the file."""
    if file == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if force else os.O_EXCL), 0o600)
    except FileExistsError:
        raise click.UsageError(f"{file} exists already: --force replaces it.") from None
    except OSError as fault:
        raise ListwireError(f"{file} cannot be written: {fault.strerror}.") from None
    with os.fdopen(descriptor, "wb") as out:
        Path(file).chmod(0o600)
        yield out


def _line(entry: Entry, letter: Letter) -> dict[str, Any]:
    return {
        "id": entry.id,
        "reason": letter.reason,
        "detail": letter.detail,
        "connection": letter.connection,
        "origin": letter.origin,
        "failed_at": letter.failed_at,
        "done": entry.done,
        "partition": entry.places[0][0],
        "offset": entry.places[0][1],
        "key": None if letter.key is None else base64.b64encode(letter.key).decode(),
        "headers": [[name, base64.b64encode(value).decode()] for name, value in letter.source_headers],
        "value": base64.b64encode(letter.value).decode(),
    }


@click.command("forget")
@click.argument("address")
@click.option(
    "--purge", is_flag=True, help="Also delete from Kafka what can be deleted now, other done letters included."
)
@click.option("--yes", is_flag=True, help="Do not ask; required without a terminal.")
def forget_address(*, address: str, purge: bool, yes: bool) -> None:
    """A person's letters are never replayed; what Kafka keeps of them, and for how long, is said."""
    if "@" not in address:
        raise click.UsageError(f"{address!r} is no address: forget looks for whole e-mail addresses.")
    if not yes and not sys.stdin.isatty():
        raise click.UsageError("forget asks before it does anything, and here is nobody to ask: --yes does it.")
    settings = context.settings()
    context.quiet(settings)
    context.run(_forget(settings, address, purge=purge, ask=not yes))


async def _forget(settings: Settings, address: str, *, purge: bool, ask: bool) -> None:
    own = forgetting.own_fields(settings)
    async with opened(settings, keep_done=True) as box:
        found = await forgetting.find(box, address, own)
        click.echo(
            f"{count(len(found.whole), 'waiting letter names', 'waiting letters name')} this address alone, "
            f"{len(found.shared)} beside other people; {len(found.done)} that "
            f"{'is' if len(found.done) == 1 else 'are'} done already still hold it."
        )
        if not found.partitions():
            return
        if ask:
            what = ["mark the waiting ones done"] if found.open else []
            what += ["delete what can be deleted from Kafka"] if purge else []
            if what:
                click.confirm(f"Now {' and '.join(what)}?", abort=True)
        if found.open:
            marked = await forgetting.forget(settings.kafka, box, found.open, address, own)
            click.echo(f"{count(marked, 'letter')} marked done: never replayed.")
            if found.shared:
                click.echo(
                    f"Of these, {count(len(found.shared), 'cohort change was', 'cohort changes were')} written anew without this person; "
                    "the other people's change still waits."
                )
        if purge:
            await _purge(settings, box, found.partitions())
        await _what_stays(settings, purge=purge)


async def _purge(settings: Settings, box: LetterBox, partitions: set[int]) -> None:
    for purged in await forgetting.purge(settings.kafka, box, partitions):
        click.echo(
            f"Partition {purged.partition}: {count(purged.deleted, 'record')} deleted, all before offset {purged.before}."
        )
        if purged.behind:
            click.echo(
                f"  Letter {purged.behind} there still waits: what stands behind it stays. Replay or forget that one, then purge again."
            )


async def _what_stays(settings: Settings, *, purge: bool) -> None:
    states = await kafka_admin.states(settings)
    kept = {
        name: "for ever" if (state.retention_ms or 0) < 0 else f"for {duration((state.retention_ms or 0) / 1000)}"
        for name, state in states.items()
    }
    click.echo(
        f"What stays: Kafka cannot change a record. {'What was not deleted' if purge else 'The bytes'} in {topics.DEAD_LETTERS} "
        f"{'is' if purge else 'are'} kept {kept.get(topics.DEAD_LETTERS, '?')} after writing, then deleted a file at a time"
        + ("; a deleted record's file goes with the rest of it." if purge else "; `--purge` deletes what it can now.")
    )
    click.echo(
        f"{topics.WEBHOOKS} keeps what was received {kept.get(topics.WEBHOOKS, '?')}, {topics.COHORT_CHANGES} "
        f"{kept.get(topics.COHORT_CHANGES, '?')}. Amplitude and Mailchimp have deletion calls of their own."
    )
