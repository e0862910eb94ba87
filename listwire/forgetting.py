"""A person's dead letters, erased as far as Kafka allows: marked done, so that they are never replayed.

A record cannot be changed: its bytes stay until retention, or until everything before a point of its partition is deleted
(`purge`). A cohort change that names other people too is written anew without this one person, and the old one marked, in one
transaction: nobody else's change may get lost. Must never claim more than it did.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete
from aiokafka.errors import KafkaError as ClientError

from listwire import topics
from listwire.dead_letters import Letter
from listwire.kafka import unreachable
from listwire.kafka_admin import admin_client
from listwire.letter_box import LetterBox
from listwire.letter_index import Entry, Index
from listwire.masking import cut_out, mask, mentions, readable
from listwire.replay import mark, taken, transactions, visible
from listwire.settings import Settings
from listwire.settings.models import Kafka

_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_users = msgspec.json.Decoder(list[msgspec.Raw])


@dataclass
class Found:
    """Letters that name the address: `whole` speak of nobody else, `shared` do; `done` are never replayed anyway."""

    whole: list[Entry] = field(default_factory=list)
    shared: list[Entry] = field(default_factory=list)
    done: list[Entry] = field(default_factory=list)

    @property
    def open(self) -> list[Entry]:
        return [*self.whole, *self.shared]

    def partitions(self) -> set[int]:
        return {partition for entry in [*self.open, *self.done] for partition, _ in entry.places}


@dataclass(frozen=True)
class Purged:
    """Of one partition: everything before `before` is deleted; `behind` is the open letter that stopped it, if one did."""

    partition: int
    before: int
    deleted: int
    behind: str | None


def names(letter: Letter, address: str) -> bool:
    parts = [letter.value, letter.key or b"", *(value for _, value in letter.source_headers)]
    texts = [readable(letter.value), letter.detail, *(part.decode("utf-8", "replace") for part in parts)]
    return any(mentions(text, address) for text in texts)


def own_fields(settings: Settings) -> frozenset[str]:
    """Where a user's own address stands: the id, and the properties in which a sync looks for it."""
    return frozenset({"user_id", "email", *(sync.email_property for sync in settings.cohort_syncs.values())})


def without(value: bytes, address: str, own: Collection[str] = ("user_id", "email")) -> bytes | None:
    """The cohort change without the users whose address it is, else byte for byte; where others only speak of it, it is a hash.
    None where nobody is left, or it is no cohort change.
    """
    try:
        members = _members.decode(value)
        users = _users.decode(members["users"])
    except (msgspec.MsgspecError, ValueError, RecursionError, KeyError):
        return None
    left = [
        cut_out(bytes(user).decode("utf-8", "surrogateescape"), address)
        for user in users
        if not _is(user, address, own)
    ]
    if not left:
        return None
    return msgspec.json.encode(
        {**members, "users": msgspec.Raw(f"[{','.join(left)}]".encode("utf-8", "surrogateescape"))}
    )


def _is(user: msgspec.Raw, address: str, own: Collection[str]) -> bool:
    try:
        found = msgspec.json.decode(user)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return False
    if not isinstance(found, dict):
        return mentions(str(found), address)
    properties = found.get("user_properties")
    fields = {**(properties if isinstance(properties, dict) else {}), "user_id": found.get("user_id")}
    return any(mentions(str(fields[name]), address) for name in own if fields.get(name) is not None)


async def find(box: LetterBox, address: str, own: Collection[str]) -> Found:
    """Reads every letter of the topic, done ones too where the box keeps them."""
    found = Found()
    for entries in (list(box.index.open.values()), list(box.index.done.values())):
        async for pairs in box.letters(entries):
            for entry, letter in pairs:
                if letter is None or not names(letter, address):
                    continue
                if entry.done:
                    found.done.append(entry)
                elif letter.topic == topics.COHORT_CHANGES and without(letter.value, address, own) is not None:
                    found.shared.append(entry)
                else:
                    found.whole.append(entry)
    return found


async def forget(kafka: Kafka, box: LetterBox, entries: Iterable[Entry], address: str, own: Collection[str]) -> int:
    """Returns how many letters were marked done. Raises KafkaError; what was finished stays done."""
    wanted = list(entries)
    marked = 0
    written: list[Any] = []
    async with transactions(kafka) as producer:
        index = await box.refresh()
        async for pairs in box.letters(index.open[entry.id] for entry in wanted if entry.id in index.open):
            async with producer.transaction():
                acks: list[Any] = []
                for entry, letter in pairs:
                    acks += [await mark(producer, entry.id, partition) for partition in {p for p, _ in entry.places}]
                    # After the mark: a letter that lost nothing but its detail has the same identity, and must stay open.
                    if letter is not None:
                        acks += await _without(producer, entry, letter, without(letter.value, address, own))
                written = await taken(acks)
            marked += len(pairs)
    await visible(box.reader, written)
    return marked


async def _without(producer: Any, entry: Entry, letter: Letter, rest: bytes | None) -> list[Any]:
    if letter.topic != topics.COHORT_CHANGES or rest is None:
        return []
    anew = replace(letter, value=rest, detail=mask(letter.detail))
    partition = entry.places[0][0]
    return [await producer.send(topics.DEAD_LETTERS, rest, key=anew.key, partition=partition, headers=anew.headers())]


def cuts(index: Index, ends: dict[int, int]) -> dict[int, tuple[int, str | None]]:
    """For each partition the first offset that must stay, and the identity of the open letter there (None: its end)."""
    found: dict[int, tuple[int, str | None]] = {partition: (end, None) for partition, end in ends.items()}
    for entry in index.open.values():
        for partition, offset in entry.places:
            if partition in found and offset < found[partition][0]:
                found[partition] = (offset, entry.id)
    return found


async def purge(kafka: Kafka, box: LetterBox, partitions: set[int]) -> list[Purged]:
    """Deletes, in these partitions, everything before the first letter that is still open. Done letters of others go too."""
    index = await box.refresh()
    bounds = await box.reader.bounds(topics.DEAD_LETTERS)
    cut = cuts(index, {partition: bounds[partition].end for partition in partitions})
    wanted = {p: before for p, (before, _) in cut.items() if before > bounds[p].begin}
    if wanted:
        async with admin_client(kafka) as admin:
            try:
                await admin.delete_records(
                    {TopicPartition(topics.DEAD_LETTERS, p): RecordsToDelete(before) for p, before in wanted.items()}
                )
            except (ClientError, OSError) as fault:
                raise unreachable(kafka, fault, f"Delete on the topic {topics.DEAD_LETTERS}") from fault
    return [
        Purged(p, before, before - bounds[p].begin if p in wanted else 0, behind)
        for p, (before, behind) in sorted(cut.items())
    ]
