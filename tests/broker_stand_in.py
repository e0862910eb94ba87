"""A stand-in for aiokafka's producer and the broker behind it: it acknowledges, keeps silent, or refuses, a partition at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiokafka.errors import KafkaConnectionError, OutOfOrderSequenceNumber
from aiokafka.producer.message_accumulator import MessageAccumulator, MessageBatch
from aiokafka.record import MemoryRecords
from aiokafka.structs import TopicPartition

from ingress.keys import partition_of
from ingress.producer import KafkaStore
from listwire.errors import KafkaError
from tests import virtual_time

TOPIC = "listwire.webhooks"
PARTITIONS = 4
A, B = b"n:1", b"n:2"
assert partition_of(A, PARTITIONS) != partition_of(B, PARTITIONS)


class Broker:
    """`silent` partitions acknowledge nothing until they are told to, `leaderless` ones are what metadata says they are."""

    def __init__(self) -> None:
        self.up = True
        self.silent: set[int] = set()
        self.leaderless: set[int] = set()
        self.refuses: Exception | None = None
        self.broken_for_good = False
        self.producers: list[Producer] = []
        self.records: list[tuple[int, bytes]] = []
        self.asked = 0

    async def connect(self) -> Producer:
        await asyncio.sleep(0.02)
        if not self.up:
            raise KafkaError("Kafka at nowhere cannot be used")
        self.producers.append(Producer(self))
        return self.producers[-1]


class Producer:
    """As much of AIOKafkaProducer and its client as the store touches, around aiokafka's own accumulator of batches."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.poisoned: set[int] = set()
        self.closed = False
        self.client = self
        self.cluster = self
        self._message_accumulator = Accumulator(self)

    def answer(self) -> None:
        """What the sender does with what waits."""
        if not self.broker.up:
            return
        muted = {TopicPartition(TOPIC, partition) for partition in self.broker.silent}
        nodes, _ = self._message_accumulator.drain_by_nodes((), muted)
        for tp, batch in nodes.get(1, {}).items():
            if self.broker.refuses or tp.partition in self.poisoned:
                # Kafka: one refused batch, and the sequence of the partition is broken for this producer.
                self.poisoned.add(tp.partition)
                batch.failure(self.broker.refuses or OutOfOrderSequenceNumber())
                self.broker.refuses = None
            else:
                self.broker.records += [(tp.partition, value) for value in _values(batch)]
                batch.done(0, -1)

    @property
    def waiting(self) -> int:
        """Batches that nobody has answered."""
        return sum(map(len, self._message_accumulator._batches.values()))

    async def flush(self) -> None:
        while self.waiting:
            await asyncio.sleep(0.01)
            self.answer()

    async def stop(self) -> None:
        await self._message_accumulator.close()
        self.closed = True

    async def partitions_for(self, topic: str) -> set[int]:
        return self.partitions_for_topic(topic)

    def partitions_for_topic(self, topic: str) -> set[int]:
        return set(range(PARTITIONS))

    def leader_for_partition(self, tp: TopicPartition) -> int:
        return -1 if tp.partition in self.broker.leaderless else 1

    async def force_metadata_update(self) -> bool:
        self.broker.asked += 1
        await asyncio.sleep(0.01)
        return self.broker.up


class Accumulator(MessageAccumulator):  # type: ignore[misc]
    """aiokafka's; a hundredth of a second after each record the producer has an answer for it."""

    def __init__(self, producer: Producer) -> None:
        super().__init__(producer, 16384, 0, 8.0)
        self._producer = producer

    async def add_message(self, *args: Any, **more: Any) -> asyncio.Future[Any]:
        if self._producer.broker.broken_for_good:
            raise KafkaConnectionError("Unexpected error during batch delivery")
        sent: asyncio.Future[Any] = await super().add_message(*args, **more)
        asyncio.get_running_loop().call_later(0.01, self._producer.answer)
        return sent


def _values(batch: MessageBatch) -> list[bytes]:
    records = MemoryRecords(bytes(batch.get_data_buffer()))
    found: list[bytes] = []
    while (some := records.next_batch()) is not None:
        found += [record.value for record in some]
    return found


@asynccontextmanager
async def running(broker: Broker, **more: Any) -> AsyncIterator[KafkaStore]:
    store = KafkaStore(broker.connect, [TOPIC], virtual_time.LoopClock(asyncio.get_running_loop()), **more)

    async def tick() -> None:
        while True:
            await asyncio.sleep(0.1)
            store.tick()

    ticking = asyncio.create_task(tick())
    await store.start(5)
    try:
        yield store
    finally:
        await store.stop(1)
        ticking.cancel()


async def put(store: KafkaStore, key: bytes = A, value: bytes = b"v", within: float = 8) -> bool | None:
    """None: no answer within that time."""
    try:
        return await asyncio.wait_for(store.put(TOPIC, key, value, []), within)
    except TimeoutError:
        return None
