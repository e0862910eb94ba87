"""Messages into the topic, with acks=all and an idempotent producer: what is told as published is in Kafka, once and in order.

It must never go on after a message that was not acknowledged: a later one would overtake it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

from aiokafka.errors import KafkaError as ClientError
from aiokafka.errors import MessageSizeTooLargeError, for_code

from listwire import topics
from listwire.clock import Clock, milliseconds
from listwire.cohorts.messages import Message, Published
from listwire.errors import KafkaError, TopicsError
from listwire.kafka import durable_producer, unreachable
from listwire.kafka_admin import ENSURE, admin_client
from listwire.settings.models import Kafka

# Messages under way; each is a megabyte at most.
WINDOW = 16
# Without an acknowledgement for so long, Kafka takes nothing. An idempotent producer itself would wait for ever.
PATIENCE = 30.0
STOP_WITHIN = 5.0


async def publish(
    kafka: Kafka,
    messages: Iterable[Message],
    *,
    key: str,
    sync: str | None,
    clock: Clock,
    acknowledged: Callable[[int], None],
) -> Published:
    """Returns when Kafka has acknowledged all of them. `acknowledged` is called with each message's number of users.

    Raises TopicsError without the topic, else KafkaError that says how many messages stand in the topic already.
    """
    await must_exist(kafka)
    published = Published()
    headers = [(topics.SYNC, sync.encode())] if sync is not None else []
    waiting: deque[tuple[Message, asyncio.Future[Any]]] = deque()

    def note(message: Message, record: Any) -> None:
        published.add(message, record.partition, record.offset)
        acknowledged(message.users)

    async def settle_one() -> None:
        async with asyncio.timeout(PATIENCE):
            record = await waiting[0][1]
        note(waiting.popleft()[0], record)

    async with _producer(kafka) as producer:
        try:
            for message in messages:
                stamped = [*headers, (topics.RECEIVED_AT, milliseconds(clock))]
                sent = await producer.send(topics.COHORT_CHANGES, message.value, key=key.encode(), headers=stamped)
                waiting.append((message, sent))
                if len(waiting) >= WINDOW:
                    await settle_one()
            while waiting:
                await settle_one()
        except (ClientError, OSError, TimeoutError) as fault:
            for message, sent in waiting:
                if sent.done() and not sent.cancelled() and sent.exception() is None:
                    note(message, sent.result())
                sent.cancel()
            raise KafkaError(_stopped(kafka, fault, published)) from fault
    return published


async def must_exist(kafka: Kafka) -> None:
    """Asked first: a producer that names an absent topic makes one with Kafka's defaults, where the brokers allow it."""
    async with admin_client(kafka) as admin:
        found = {each["topic"]: each["error_code"] for each in await admin.describe_topics([topics.COHORT_CHANGES])}
    code = found.get(topics.COHORT_CHANGES, 3)
    if code == 3:
        raise TopicsError(f"The topic {topics.COHORT_CHANGES} does not exist: {ENSURE}.")
    if code:
        raise KafkaError(f"Kafka does not let us use {topics.COHORT_CHANGES}: {for_code(code).__name__}.")


@asynccontextmanager
async def _producer(kafka: Kafka) -> AsyncIterator[Any]:
    producer = await durable_producer(kafka)
    try:
        yield producer
    finally:
        # Stopping sends what waits; with no broker it would wait for ever.
        with contextlib.suppress(ClientError, OSError, TimeoutError):
            async with asyncio.timeout(STOP_WITHIN):
                await producer.stop()


def _stopped(kafka: Kafka, fault: BaseException, published: Published) -> str:
    if isinstance(fault, MessageSizeTooLargeError):
        words = (
            f"{topics.COHORT_CHANGES} does not take messages of this size: {ENSURE}, or publish with a smaller --chunk"
        )
    elif isinstance(fault, TimeoutError):
        words = f"Kafka at {kafka.bootstrap_servers} has acknowledged nothing for {PATIENCE:.0f} s"
    else:
        words = str(unreachable(kafka, fault)).rstrip(".")
    return (
        f"{words}. Acknowledged until then: {published.messages} messages with {published.users:,} users. "
        "Publish the same again: a user who is told twice does no harm."
    )
