"""What came after a replayed cohort change: so that replay can't go back in time.

A replayed change may only speak for users of whom its partition says nothing later, for the same cohort and sync. The worker
reads the partition between the change's origin and the replayed record itself. A later change counts even where it became a
dead letter. Read-only, with a consumer of its own that belongs to no group.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError as ClientError

from listwire import logs, topics
from listwire.dead_letters import parse_origin
from listwire.errors import VendorUnavailable
from listwire.kafka import client_options
from listwire.records import Rejection
from listwire.settings.models import Kafka
from stream.codecs.cohort_change import CohortChange, address_of, decode

log = logs.get("stream.cohort_history")


@dataclass
class Later:
    """Of one cohort: who was spoken of at which offset. `gone`: the origin is no longer in Kafka."""

    words: list[tuple[int, str | None, frozenset[str], frozenset[str]]] = field(default_factory=list)
    first: int = 0

    def spoken_of(self, after: int, before: int, sync: str) -> tuple[set[str], set[str]]:
        """Addresses and user ids with a word after `after` and before `before` that this sync heard."""
        addresses: set[str] = set()
        ids: set[str] = set()
        for offset, named_sync, its_addresses, its_ids in self.words:
            if after < offset < before and named_sync in {None, sync}:
                addresses |= its_addresses
                ids |= its_ids
        return addresses, ids


# partition, from offset, to offset, cohort id, email property → what stands between.
ReadLater = Callable[[int, int, int, str, str], Awaitable[Later]]


def header(record: Any, name: str) -> str | None:
    value = next((value for key, value in record.headers or () if key == name), None)
    return None if value is None else bytes(value).decode("utf-8", "replace")


def replay_origin(record: Any) -> tuple[int, int] | None:
    """(partition, offset) of the change this record repeats; None where it is no replay, or of another topic."""
    text = header(record, topics.REPLAY_OF)
    if text is None:
        return None
    try:
        topic, partition, offset = parse_origin(text)
    except ValueError:
        return None
    return (partition, offset) if topic == record.topic else None


class PartitionReader:
    """`__call__` raises `VendorUnavailable("kafka")`, which the retry loop knows."""

    def __init__(self, kafka: Kafka) -> None:
        self.kafka = kafka

    async def __call__(self, partition: int, begin: int, end: int, cohort_id: str, email_property: str) -> Later:
        tp = TopicPartition(topics.COHORT_CHANGES, partition)
        consumer = AIOKafkaConsumer(
            **client_options(self.kafka), group_id=None, enable_auto_commit=False, isolation_level="read_committed",
            auto_offset_reset="earliest", max_partition_fetch_bytes=topics.MIB,
        )  # fmt: skip
        later = Later()
        try:
            await consumer.start()
            consumer.assign([tp])
            later.first = (await consumer.beginning_offsets([tp]))[tp]
            consumer.seek(tp, max(begin, later.first))
            while await consumer.position(tp) < end:
                fetched = await consumer.getmany(tp, timeout_ms=1000, max_records=200)
                for record in fetched.get(tp, ()):
                    if record.offset < end:
                        self._note(record, cohort_id, email_property, later)
        except (ClientError, OSError) as fault:
            raise VendorUnavailable(
                "kafka", 0, f"cannot read what came after a replayed change: {fault}", cause="history"
            ) from None
        finally:
            await consumer.stop()
        return later

    def _note(self, record: Any, cohort_id: str, email_property: str, later: Later) -> None:
        if replay_origin(record) is not None:
            return  # a repetition is no later word
        change = decode(record.value)
        if isinstance(change, Rejection) or change.cohort_id != cohort_id:
            return
        addresses, ids = words_of(change, email_property, range(len(change.users)))
        later.words.append((record.offset, header(record, topics.SYNC), frozenset(addresses), frozenset(ids)))


def words_of(change: CohortChange, email_property: str, indices: Sequence[int]) -> tuple[set[str], set[str]]:
    addresses: set[str] = set()
    ids: set[str] = set()
    for i in indices:
        user = change.users[i]
        if user is not None:
            if (address := address_of(user, email_property)) is not None:
                addresses.add(address)
            if user.user_id is not None:
                ids.add(str(user.user_id))
    return addresses, ids
