"""What came after a replayed cohort change: so that replay can't go back in time.

A replayed change may only speak for users of whom its partition says nothing later, for the same cohort and sync. The worker
reads the partition between the change's origin and the replayed record itself. A later change counts even where it became a
dead letter; a repetition does not. Read-only, with a consumer of its own that belongs to no group.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from listwire import topics
from listwire.dead_letters import parse_origin
from listwire.errors import KafkaError, VendorUnavailable
from listwire.kafka_reader import Reader
from listwire.records import Rejection
from listwire.settings.models import Kafka
from stream.codecs.cohort_change import CohortChange, User, address_of, decode

# Users read between two looks at the event loop, some 5 ms.
READ_AT_ONCE = 2000


def header(record: Any, name: str) -> str | None:
    value = next((value for key, value in record.headers or () if key == name), None)
    return None if value is None else bytes(value).decode("utf-8", "replace")


def replay_origin(record: Any, topic: str) -> tuple[int, int] | None:
    """(partition, offset) of the change this record of `topic` repeats; None where it is no replay, or of another topic."""
    text = header(record, topics.REPLAY_OF)
    if text is None:
        return None
    try:
        of, partition, offset = parse_origin(text)
    except ValueError:
        return None
    return (partition, offset) if of == topic else None


def names_of(user: User | None, email_property: str) -> list[str]:
    """What a user can be recognised by: the address, and the user id."""
    if user is None:
        return []
    address = address_of(user, email_property)
    found = [] if address is None else ["address:" + address]
    if user.user_id not in {None, ""}:
        found.append(f"id:{user.user_id}")
    return found


@dataclass
class Question:
    """Of whom, among the users of one replayed change, do the offsets between origin and replay speak?

    `names` maps whatever a user can be recognised by to indices: two users of one message may share an address. Answered by
    `stale`; or by `gone`, where nobody can say any more what came after the origin. `force` asks for what is left, then.
    """

    cohort_id: str
    after: int
    before: int
    force: bool = False
    names: dict[str, list[int]] = field(default_factory=dict)
    stale: set[int] = field(default_factory=set)
    gone: bool = False

    def ask(self, index: int, names: Iterable[str]) -> None:
        for name in names:
            self.names.setdefault(name, []).append(index)

    def begins(self, oldest: int) -> int | None:
        """The first offset to read, or None. An origin that is not before its replay is of an earlier topic of this name."""
        if self.after >= self.before:
            self.after = -1
        elif self.after >= oldest:
            return self.after + 1
        self.gone = not self.force
        return None if self.gone else oldest

    def hear(self, name: str) -> None:
        self.stale.update(self.names.get(name, ()))


@dataclass(frozen=True)
class Hearing:
    """Whose words count: those for every sync and those for this one. `go_on` is called all along, and raises to end it."""

    partition: int
    sync: str
    email_property: str
    go_on: Callable[[], None]


# Answers the questions from the partition.
ReadLater = Callable[[Hearing, Sequence[Question]], Awaitable[None]]


class PartitionReader:
    """`__call__` raises `VendorUnavailable("kafka")`, which the retry loop knows."""

    def __init__(self, kafka: Kafka) -> None:
        self.kafka = kafka

    async def __call__(self, hearing: Hearing, questions: Sequence[Question]) -> None:
        topic, partition = topics.COHORT_CHANGES, hearing.partition
        try:
            async with Reader(self.kafka) as reader:
                hearing.go_on()
                oldest = (await reader.bounds(topic, [partition]))[partition].begin
                begins = {id(each): begin for each in questions if (begin := each.begins(oldest)) is not None}
                asked = [each for each in questions if id(each) in begins]
                if not asked:
                    return
                async for records in reader.read(
                    topic, partition, min(begins.values()), max(each.before for each in asked)
                ):
                    for record in records:
                        await hear(topic, record, hearing, asked)
        except KafkaError as fault:
            raise VendorUnavailable(
                "kafka", 0, f"cannot read what came after a replayed change: {fault}", cause="history"
            ) from None


async def hear(topic: str, record: Any, hearing: Hearing, questions: Sequence[Question]) -> None:
    """One record of the past."""
    hearing.go_on()
    if replay_origin(record, topic) is not None or header(record, topics.SYNC) not in {None, hearing.sync}:
        return
    change = decode(record.value)
    if isinstance(change, Rejection):
        return
    asking = [
        question
        for question in questions
        if question.cohort_id == change.cohort_id and question.after < record.offset < question.before
    ]
    if asking:
        await _hear_users(change, hearing, asking)


async def _hear_users(change: CohortChange, hearing: Hearing, asking: Sequence[Question]) -> None:
    for index in range(len(change)):
        if index % READ_AT_ONCE == READ_AT_ONCE - 1:
            await asyncio.sleep(0)
            hearing.go_on()
        for name in names_of(change.user(index), hearing.email_property):
            for question in asking:
                question.hear(name)
