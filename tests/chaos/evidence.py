"""What is known after a run, and how it is read: bodies that were answered, the topics' records, the vendors' journals.

The bodies are read here a second time, not by the workers' codecs: a fault of theirs may not hide itself. Pure, but for `collect`.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from listwire import dead_letters, topics
from listwire.dead_letters import parse_origin
from listwire.kafka_admin import admin_client
from listwire.kafka_groups import read_group
from listwire.kafka_reader import Reader, Record
from listwire.settings import Settings
from sandbox.amplitude import journal as amplitude_journal
from sandbox.amplitude.journal import Entry
from sandbox.mailchimp.journal import TagChange, read_journal
from stream.codecs.mailchimp_webhook import insert_id

Place = tuple[int, int]
# (group, partition) → (committed, end)
Committed = Mapping[tuple[str, int], tuple[int, int]]


@dataclass(frozen=True)
class Evidence:
    """`webhooks` and `changes` are the bodies answered 2xx, in order, by contact and by cohort. `members` are in the audience
    that tags belong to; `audience` is that of the webhooks. `accounts` are the counters of workers that live: by process, then
    connection and outcome. `leaks` are sentences on secrets in the processes' output.
    """

    audience: str
    members: Collection[str]
    webhooks: Mapping[Any, Sequence[bytes]] = field(default_factory=dict)
    changes: Mapping[Any, Sequence[bytes]] = field(default_factory=dict)
    webhook_records: Sequence[Record] = ()
    change_records: Sequence[Record] = ()
    letters: Sequence[Record] = ()
    amplitude: Sequence[Entry] = ()
    mailchimp: Sequence[TagChange] = ()
    committed: Committed = field(default_factory=dict)
    accounts: Mapping[str, Mapping[str, Mapping[str, float]]] = field(default_factory=dict)
    leaks: Sequence[str] = ()


class Hook(NamedTuple):
    """A webhook as the contract reads it: `insert_id` is empty where it is no event. `fate`: event, filtered or dead."""

    fate: str
    insert_id: str
    contact: str
    user_id: str


def hook(body: bytes, audience: str) -> Hook:
    fields = dict(parse_qsl(body.decode()))
    kind, contact, fired_at = fields["type"], fields["data[id]"], fields["fired_at"]
    if kind not in ("subscribe", "unsubscribe"):
        return Hook("filtered", "", contact, "")
    if fields["data[list_id]"] != audience:
        return Hook("dead", "", contact, "")
    return Hook("event", insert_id(audience, kind, contact, fired_at), contact, fields["data[email]"].lower())


class Change(NamedTuple):
    """A cohort change: `words` are addresses, `unusable` users without one."""

    tag: str
    entered: bool
    addresses: frozenset[str]
    unusable: frozenset[str]


def change(body: bytes) -> Change:
    message = json.loads(body)
    addresses, unusable = set(), set()
    for user in message["users"]:
        address = user["user_properties"].get("email")
        if address:
            addresses.add(address.strip().lower())
        else:
            unusable.add(str(user["user_id"]))
    return Change(message["cohort_name"].casefold(), message["in_cohort"], frozenset(addresses), frozenset(unusable))


def origin(letter: Record) -> tuple[str, int, int] | None:
    """Topic, partition and offset of what it is the letter of; None where it is none."""
    found = dict(letter.headers)
    try:
        return parse_origin(found[topics.ORIGIN].decode())
    except (KeyError, ValueError):
        return None


def replays(record: Record) -> bool:
    """Whether it is a letter's content, produced again."""
    return any(name == topics.REPLAY_OF for name, _ in record.headers)


def letters_of(records: Sequence[Record]) -> tuple[list[Record], list[Record]]:
    """All letters there ever were, and those of them that wait: a record without a value marks a letter as done, in front of it in
    its partition. What fails again after its replay is a letter again, of the same identity, and waits again.
    """
    read = [
        (each, dead_letters.read(each.key, each.value, each.headers, (each.partition, each.offset))) for each in records
    ]
    done: dict[tuple[str, int], int] = {}  # identity and partition of each mark → its offset
    for each, found in read:
        if isinstance(found, str):
            done[found, each.partition] = max(each.offset, done.get((found, each.partition), -1))
    ever = [(each, found) for each, found in read if not isinstance(found, str)]
    return [each for each, _ in ever], [
        each for each, found in ever if found is None or each.offset > done.get((found.id, each.partition), -1)
    ]


def refused_and_waiting(evidence: Evidence) -> int:
    """How many letters wait that a refused key has made."""
    return sum(
        dict(letter.headers).get(topics.REASON) == b"connection_refused" for letter in letters_of(evidence.letters)[1]
    )


async def collect(settings: Settings, directory: Path, **known: Any) -> Evidence:
    """Reads topics, groups and the journals `amplitude.journal` and `mailchimp.journal`; `known` is what the caller knows."""
    found: dict[str, list[Record]] = {}
    ends: dict[str, dict[int, int]] = {}
    async with Reader(settings.kafka) as reader:
        for topic in (topics.WEBHOOKS, topics.COHORT_CHANGES, topics.DEAD_LETTERS):
            bounds = await reader.bounds(topic)
            ends[topic] = {partition: each.end for partition, each in bounds.items()}
            records = found[topic] = []
            for partition, each in bounds.items():
                async for some in reader.read(topic, partition, each.begin, each.end):
                    records += some
    return Evidence(
        webhook_records=found[topics.WEBHOOKS],
        change_records=found[topics.COHORT_CHANGES],
        letters=found[topics.DEAD_LETTERS],
        amplitude=list(amplitude_journal.read(directory / "amplitude.journal")),
        mailchimp=list(read_journal(directory / "mailchimp.journal")),
        committed=await committed(settings, ends),
        **known,
    )


def keep(evidence: Evidence, directory: Path) -> None:
    """The topics' records as lines of JSON, for whoever looks into a broken run: Kafka's own data may not outlive it."""
    topics_records = {
        topics.WEBHOOKS: evidence.webhook_records,
        topics.COHORT_CHANGES: evidence.change_records,
        topics.DEAD_LETTERS: evidence.letters,
    }
    for topic, records in topics_records.items():
        with (directory / f"{topic}.jsonl").open("w") as lines:
            for record in records:
                headers = {name: value.decode(errors="replace") for name, value in record.headers}
                value = (record.value or b"").decode(errors="replace")
                line = {"partition": record.partition, "offset": record.offset, "headers": headers, "value": value}
                lines.write(json.dumps({**line, "timestamp": record.timestamp}) + "\n")


async def committed(settings: Settings, ends: Mapping[str, Mapping[int, int]]) -> Committed:
    found: dict[tuple[str, int], tuple[int, int]] = {}
    async with admin_client(settings.kafka) as admin:
        for group, topic in topics.GROUPS.items():
            offsets = (await read_group(admin, group)).committed
            for partition, end in ends[topic].items():
                found[group, partition] = offsets.get((topic, partition), 0), end
    return found


async def ends_of(settings: Settings) -> dict[str, dict[int, int]]:
    async with Reader(settings.kafka) as reader:
        return {
            topic: {partition: each.end for partition, each in (await reader.bounds(topic)).items()}
            for topic in topics.GROUPS.values()
        }
