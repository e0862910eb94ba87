"""`cohorts missing`: who should carry a cohort's tag and cannot, since the audience does not know them. Reads only.

Computed when asked, from the topic and the audience; nothing is stored anywhere.
"""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from listwire import topics
from listwire.cli import context
from listwire.cli.progress import progress
from listwire.clock import SystemClock
from listwire.cohorts.last_words import LastWords, tag_of
from listwire.errors import ListwireError
from listwire.logs import address_hash
from listwire.records import Rejection
from listwire.settings import Settings
from listwire.spoken import count, moment
from stream.codecs.cohort_change import NAME_LIMIT, address_of, decode

if TYPE_CHECKING:
    from listwire.cli.cohorts_audience import Found
    from listwire.kafka_reader import Bounds, Record


@click.command()
@click.option("--sync", "sync_name", required=True, metavar="NAME", help="A table [cohort_syncs.NAME] of the settings.")
@click.option("--cohort", "cohort_name", required=True, metavar="NAME", help="The cohort's name, which is the tag's.")
@click.option("--hash", "hashed", is_flag=True, help="Each address as a hash, the same as in the logs.")
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
def missing(*, sync_name: str, cohort_name: str, hashed: bool, as_json: bool) -> None:
    """Who of a cohort is not in the audience, and who is but lacks the tag.

    Reads all of listwire.cohort-changes and the audience. What changes meanwhile may show as lacking the tag: look again.
    """
    from listwire.cli.cohorts_audience import find

    settings = context.settings()
    context.quiet(settings)
    sync = settings.cohort_syncs.get(sync_name)
    if sync is None:
        known = ", ".join(settings.cohort_syncs) or "none"
        raise click.UsageError(f"--sync {sync_name}: there is no table [cohort_syncs.{sync_name}]; known are {known}.")
    if len(cohort_name) >= NAME_LIMIT:
        raise click.UsageError(f"--cohort has {len(cohort_name)} characters; no tag has more than {NAME_LIMIT - 1}.")
    words, topic = context.run(_said(settings, LastWords(cohort_name, sync_name, sync)))
    if not words.messages:
        raise ListwireError(_unheard(words, topic))
    wanted = set(words.carriers())
    found = context.run(find(settings, sync, cohort_name, wanted, SystemClock()))
    document = _document(words, topic, wanted, found, address_hash if hashed else str)
    if as_json:
        context.print_json(document)
    else:
        _print(document)


@dataclass
class Topic:
    """What was read of it. `since` is the time stamp of the oldest record, 0 where there is none."""

    bounds: dict[int, Bounds]
    unreadable: int = 0
    since: int = 0

    def note(self, record: Record) -> None:
        self.since = min(self.since, record.timestamp) if self.since else record.timestamp


async def _said(settings: Settings, words: LastWords) -> tuple[LastWords, Topic]:
    from listwire.kafka_reader import Reader

    async with Reader(settings.kafka) as reader:
        topic = Topic(await reader.bounds(topics.COHORT_CHANGES))
        total = sum(bounds.end - bounds.begin for bounds in topic.bounds.values())
        done = 0
        with progress("Reading cohort changes") as advance:
            for partition, bounds in topic.bounds.items():
                async for records in reader.read(topics.COHORT_CHANGES, partition, bounds.begin, bounds.end):
                    for record in records:
                        _hear(record, words, topic)
                        # Decoding takes a while: the reader's connection must stay alive meanwhile.
                        await asyncio.sleep(0)
                    advance(done + records[-1].offset + 1 - bounds.begin, total)
                done += bounds.end - bounds.begin
    return words, topic


def _hear(record: Record, words: LastWords, topic: Topic) -> None:
    if not record.readable:
        topic.unreadable += 1
        return
    topic.note(record)
    change = decode(record.value)
    if isinstance(change, Rejection):
        topic.unreadable += 1
        return
    where = words.sync.email_property
    words.hear(record, change, [None if user is None else address_of(user, where) for user in change.users])


def _unheard(words: LastWords, topic: Topic) -> str:
    heard = difflib.get_close_matches(tag_of(words.name), words.other_names, cutoff=0.4)
    names = ", ".join(repr(words.other_names[each]) for each in heard or list(words.other_names)[:5])
    return (
        f"{topics.COHORT_CHANGES} holds no change of {words.name!r} that {words.sync_name} hears"
        + (f" (it goes back to {moment(topic.since)})" if topic.since else " (it is empty)")
        + (f"; there is {names}." if names else ".")
    )


def _document(
    words: LastWords, topic: Topic, wanted: Collection[str], found: Found, shown: Callable[[str], str]
) -> dict[str, Any]:
    absent = sorted(address for address in wanted if address not in found.members)
    untagged = sorted(found.members - found.tagged)
    return {
        "sync": words.sync_name, "audience": words.sync.audience, "cohort": words.name,
        "cohort_ids": sorted(words.cohort_ids), "messages": words.messages, "since": topic.since,
        "should_carry": len(wanted), "in_audience": len(found.members), "tagged": len(found.tagged & found.members),
        "without_address": words.without_address, "unreadable": topic.unreadable,
        "missing": [shown(address) for address in absent], "untagged": [shown(address) for address in untagged],
    }  # fmt: skip


def _print(found: dict[str, Any]) -> None:
    click.echo(
        f"{found['cohort']!r} for {found['sync']}: {count(found['should_carry'], 'address', 'addresses')} should carry the tag, "
        f"after {count(found['messages'], 'message')} since {moment(found['since'])}."
    )
    if len(found["cohort_ids"]) > 1:
        click.echo(f"These cohorts share the tag: {', '.join(found['cohort_ids'])}.")
    if found["without_address"]:
        click.echo(f"{count(found['without_address'], 'user')} had no usable address: see `listwire dead-letters ls`.")
    untagged = len(found["untagged"])
    click.echo(f"  {found['tagged']:,} carry it")
    click.echo(
        f"  {untagged:,} are in the audience and do not carry it (yet)" + ("; --json lists them" if untagged else "")
    )
    click.echo(f"  {len(found['missing']):,} are not in the audience")
    if found["missing"]:
        click.echo("\nNot in the audience:\n" + "\n".join(found["missing"]))
