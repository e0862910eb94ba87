"""A stand-in for aiokafka's producer and the broker behind it: it acknowledges, keeps silent, or refuses, a partition at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiokafka.errors import KafkaConnectionError, OutOfOrderSequenceNumber
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
    """As much of AIOKafkaProducer, its accumulator and its client as the store touches."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.waiting: list[tuple[int, bytes, asyncio.Future[Any]]] = []
        self.poisoned: set[int] = set()
        self.closed = False
        self._message_accumulator = self
        self.client = self
        self.cluster = self
        self._batches: dict[TopicPartition, list[Any]] = {}
        self._pending_batches: set[Any] = set()

    async def add_message(
        self,
        tp: TopicPartition,
        key: bytes,
        value: bytes,
        timeout: float,
        timestamp_ms: int | None = None,
        headers: Any = (),
    ) -> asyncio.Future[Any]:
        if self.broker.broken_for_good:
            raise KafkaConnectionError("Unexpected error during batch delivery")
        sent = asyncio.get_running_loop().create_future()
        self.waiting.append((tp.partition, value, sent))
        asyncio.get_running_loop().call_later(0.01, self.answer)
        return sent

    def answer(self) -> None:
        for each in list(self.waiting):
            partition, value, sent = each
            if partition in self.broker.silent or not self.broker.up:
                continue
            self.waiting.remove(each)
            if self.broker.refuses or partition in self.poisoned:
                # Kafka: one refused batch, and the sequence of the partition is broken for this producer.
                self.poisoned.add(partition)
                sent.set_exception(self.broker.refuses or OutOfOrderSequenceNumber())
                self.broker.refuses = None
            else:
                self.broker.records.append((partition, value))
                sent.set_result(None)

    async def flush(self) -> None:
        while self.waiting:
            await asyncio.sleep(0.01)
            self.answer()

    def fail_all(self, fault: Exception) -> None:
        for _, _, sent in self.waiting:
            sent.set_exception(fault)
        self.waiting.clear()

    async def stop(self) -> None:
        assert not self.waiting, "aiokafka's stop() waits for what is under way"
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
