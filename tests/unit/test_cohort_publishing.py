"""What is told as published is in Kafka: after the first message that is not acknowledged, no other is sent."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaTimeoutError, MessageSizeTooLargeError, NotEnoughReplicasError

from listwire.clock import SystemClock
from listwire.cohorts import publishing
from listwire.cohorts.messages import Message
from listwire.errors import KafkaError
from listwire.settings.models import Kafka

KAFKA = Kafka(bootstrap_servers="broker:9092")


class Producer:
    """Acknowledges the first `good` messages; the next one ends in `fault`, or never."""

    def __init__(self, good: int, fault: Exception | None, at_once: bool = False) -> None:
        self.good = good
        self.fault = fault
        self.at_once = at_once
        self.sent: list[bytes] = []
        self.stopped = False

    async def send(self, topic: str, value: bytes, *, key: bytes, headers: list[tuple[str, bytes]]) -> Any:
        self.sent.append(value)
        offset = len(self.sent) - 1
        if offset == self.good and self.at_once:
            assert self.fault is not None
            raise self.fault
        ack: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if offset < self.good:
            ack.set_result(SimpleNamespace(partition=3, offset=100 + offset))
        elif self.fault is not None:
            ack.set_exception(self.fault)
        return ack

    async def stop(self) -> None:
        self.stopped = True
        await asyncio.Event().wait()  # as with no broker to send the rest to


async def published(monkeypatch: pytest.MonkeyPatch, producer: Producer, amount: int) -> publishing.Published:
    async def connected(_kafka: Kafka, **_more: object) -> Producer:
        return producer

    async def is_there(_kafka: Kafka) -> None:
        return None

    monkeypatch.setattr(publishing, "durable_producer", connected)
    monkeypatch.setattr(publishing, "must_exist", is_there)
    monkeypatch.setattr(publishing, "PATIENCE", 0.05)
    monkeypatch.setattr(publishing, "STOP_WITHIN", 0.05)
    messages = (Message(b"%d" % number, number % 2 == 0, 10) for number in range(amount))
    seen: list[int] = []
    try:
        return await publishing.publish(
            KAFKA, messages, key="k", sync=None, clock=SystemClock(), acknowledged=seen.append
        )
    finally:
        assert producer.stopped
        assert len(seen) == min(producer.good, amount)


async def test_all_that_was_acknowledged_is_told_with_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    found = await published(monkeypatch, Producer(50, None), 50)
    assert (found.messages, found.users, found.entered, found.left) == (50, 500, 250, 250)
    assert [(p.partition, p.first, p.last, p.messages) for p in found.places.values()] == [(3, 100, 149, 50)]


@pytest.mark.parametrize(
    ("fault", "at_once", "words"),
    [
        (MessageSizeTooLargeError(), True, "does not take messages of this size"),
        (MessageSizeTooLargeError(), False, "does not take messages of this size"),
        (KafkaTimeoutError(), True, "Kafka at broker:9092 cannot be used"),
        (NotEnoughReplicasError(), False, "Kafka at broker:9092 cannot be used"),
        (None, False, "Kafka at broker:9092 has acknowledged nothing for 0 s"),
    ],
)
async def test_the_first_that_is_not_acknowledged_ends_it_and_the_rest_is_told(
    monkeypatch: pytest.MonkeyPatch, fault: Exception | None, at_once: bool, words: str
) -> None:
    producer = Producer(7, fault, at_once)
    with pytest.raises(KafkaError) as told:
        await published(monkeypatch, producer, 1000)
    assert words in str(told.value)
    assert "Acknowledged until then: 7 messages with 70 users" in str(told.value)
    assert len(producer.sent) <= 7 + publishing.WINDOW
