"""Reads committed records from places it is told. Belongs to no group, commits nothing, and moves nobody's offsets.

For people's commands and the exporter, not for delivery. aiokafka decodes header names as UTF-8 and raises, for ever, where
one is not: such a record is handed out as `readable = False` instead, so that a single one cannot hide all others.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError as ClientError

from listwire import kafka_faults
from listwire.clock import Clock, SystemClock
from listwire.errors import KafkaError, TopicsError
from listwire.kafka import client_options, not_connected, unreachable
from listwire.kafka_admin import ENSURE
from listwire.settings.models import Kafka

# Without a byte from Kafka for so long, a read gives up.
PATIENCE = 20.0
Place = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Record:
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    readable: bool = True


@dataclass(frozen=True, slots=True)
class Bounds:
    """`begin` is the oldest offset that Kafka still has, `end` the one after the last committed record or marker."""

    begin: int
    end: int


class Reader:
    """One consumer, one read at a time. `fetch_bytes` a partition and fetch; a larger record still comes whole."""

    def __init__(self, kafka: Kafka, *, fetch_bytes: int = 256 << 10, clock: Clock | None = None) -> None:
        self.kafka = kafka
        self.clock = clock or SystemClock()
        self._consumer: Any = AIOKafkaConsumer(
            **client_options(kafka),
            group_id=None,
            enable_auto_commit=False,
            isolation_level="read_committed",
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=fetch_bytes,
            # A broker answers one connection's requests in turn: an idle fetch would hold up the next question.
            fetch_max_wait_ms=20,
            request_timeout_ms=15_000,
        )

    async def __aenter__(self) -> Self:
        try:
            await self._consumer.start()
        except (ClientError, OSError) as fault:
            await self._consumer.stop()
            raise await not_connected(self.kafka, fault) from fault
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop()

    async def _stop(self) -> None:
        """The fetcher of aiokafka swallows a cancellation that meets it while it drops a fetch of a partition we have just
        left, and then `stop` waits for it for ever: it is cancelled again.
        """
        stopping = asyncio.ensure_future(self._consumer.stop())
        while not (await asyncio.wait({stopping}, timeout=0.5))[0]:
            self._consumer._fetcher._fetch_task.cancel()
        await stopping

    async def partitions(self, topic: str) -> list[int]:
        """Raises TopicsError where there is no such topic."""
        client = self._consumer._client
        await client.add_topic(topic)
        if not (found := self._consumer.partitions_for_topic(topic)):
            await client.force_metadata_update()
            found = self._consumer.partitions_for_topic(topic)
        if topic in client.cluster.unauthorized_topics:
            raise KafkaError(kafka_faults.not_allowed(_read(topic), self.kafka.sasl_username))
        if not found:
            raise TopicsError(f"The topic {topic} does not exist: {ENSURE}.")
        return sorted(found)

    async def bounds(self, topic: str, partitions: Iterable[int] | None = None) -> dict[int, Bounds]:
        wanted = [TopicPartition(topic, p) for p in (partitions or await self.partitions(topic))]
        try:
            ends = await self._consumer.end_offsets(wanted)
            begins = await self._consumer.beginning_offsets(wanted)
        except (ClientError, OSError) as fault:
            raise unreachable(self.kafka, fault, _read(topic)) from fault
        return {tp.partition: Bounds(begins[tp], max(begins[tp], ends[tp])) for tp in wanted}

    async def since(self, topic: str, milliseconds: int) -> dict[int, int]:
        """For each partition the first offset whose record is not older than that; its end where all are."""
        bounds = await self.bounds(topic)
        wanted = {TopicPartition(topic, partition): milliseconds for partition in bounds}
        try:
            found = await self._consumer.offsets_for_times(wanted)
        except (ClientError, OSError) as fault:
            raise unreachable(self.kafka, fault, _read(topic)) from fault
        return {tp.partition: bounds[tp.partition].end if at is None else at.offset for tp, at in found.items()}

    async def take(self, topic: str, partition: int, start: int, end: int) -> tuple[list[Record], int]:
        """One fetch's records with start <= offset < end, and the position after it.

        Without records the position has still moved: what lay there were markers or records of aborted transactions.
        """
        self._go_to(topic, partition, start)
        found, position = await self._step(topic, partition, start, end)
        self._consumer.unsubscribe()
        return [record for record in found if record.offset < end], min(position, end)

    async def read(self, topic: str, partition: int, start: int, end: int) -> AsyncIterator[list[Record]]:
        """All records with start <= offset < end, a fetch at a time."""
        if start >= end:
            return
        self._go_to(topic, partition, start)
        position = start
        while position < end:
            found, position = await self._step(topic, partition, position, end)
            if wanted := [record for record in found if record.offset < end]:
                yield wanted
        self._consumer.unsubscribe()

    async def at(self, topic: str, places: Iterable[Place], *, reach: int = 500) -> Mapping[Place, Record]:
        """The records at these places; those that Kafka has deleted are left out. Places near each other share fetches."""
        found: dict[Place, Record] = {}
        wanted = sorted(set(places))
        at = 0
        while at < len(wanted):
            last = at
            partition = wanted[at][0]
            while (
                last + 1 < len(wanted)
                and wanted[last + 1][0] == partition
                and wanted[last + 1][1] - wanted[last][1] <= reach
            ):
                last += 1
            offsets = {offset for _, offset in wanted[at : last + 1]}
            async for records in self.read(topic, partition, wanted[at][1], wanted[last][1] + 1):
                found |= {(partition, record.offset): record for record in records if record.offset in offsets}
            at = last + 1
        return found

    def _go_to(self, topic: str, partition: int, offset: int) -> None:
        place = TopicPartition(topic, partition)
        self._consumer.assign([place])
        self._consumer.seek(place, offset)

    async def _step(self, topic: str, partition: int, before: int, end: int) -> tuple[list[Record], int]:
        """Waits until the position has moved. What is not asked for of a fetch is not decoded."""
        place = TopicPartition(topic, partition)
        patience = self.clock.monotonic() + PATIENCE
        while True:
            try:
                try:
                    got = (await self._consumer.getmany(place, timeout_ms=1000, max_records=end - before)).get(
                        place, []
                    )
                    found = [_record(record) for record in got]
                except UnicodeDecodeError:
                    found = await self._singly(place)
                position = await self._consumer.position(place)
            except (ClientError, OSError) as fault:
                raise unreachable(self.kafka, fault, _read(topic)) from fault
            if found or position > before:
                return found, position
            if self.clock.monotonic() > patience:
                raise KafkaError(
                    f"Kafka at {self.kafka.bootstrap_servers} sends nothing of {topic}/{partition} from offset {before} on, "
                    f"for {PATIENCE:.0f} s. Check that the partition has a leader."
                )

    async def _singly(self, place: TopicPartition) -> list[Record]:
        """Up to and with the record that cannot be decoded."""
        found: list[Record] = []
        while True:
            try:
                found.append(_record(await self._consumer.getone(place)))
            except UnicodeDecodeError:
                position = await self._consumer.position(place)
                self._consumer.seek(place, position + 1)
                return [*found, Record(place.partition, position, -1, None, None, (), readable=False)]


def _read(topic: str) -> str:
    return f"Read on the topic {topic}"


def _record(record: Any) -> Record:
    headers = tuple((name, bytes(value or b"")) for name, value in record.headers)
    return Record(record.partition, record.offset, record.timestamp, record.key, record.value, headers)
