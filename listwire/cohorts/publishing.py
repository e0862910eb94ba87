"""Messages into the topic, with acks=all and an idempotent producer: what is told as published is in Kafka, once and in order.

It must never go on after a message that was not acknowledged: a later one would overtake it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiokafka.errors import KafkaError as ClientError
from aiokafka.errors import MessageSizeTooLargeError, for_code
from aiokafka.partitioner import DefaultPartitioner

from listwire import topics
from listwire.clock import Clock, milliseconds
from listwire.cohorts.messages import LARGEST, Message, Published
from listwire.errors import KafkaError, TopicsError
from listwire.kafka import durable_producer, unreachable
from listwire.kafka_admin import ENSURE, admin_client
from listwire.settings.models import Kafka

# Messages under way; each is a megabyte at most.
WINDOW = 16
# Bytes of messages that lie together: two of the largest. The topic takes 9 MiB.
TOGETHER = 2 * LARGEST + 4096
# Without an acknowledgement for so long, Kafka takes nothing. An idempotent producer itself would wait for ever.
PATIENCE = 30.0
STOP_WITHIN = 5.0
_WRITE = "Write on the topic {}"


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
    async with _producer(kafka) as producer:

        async def send(group: Sequence[Message], headers: Headers) -> Any:
            return await producer.send(topics.COHORT_CHANGES, group[0].value, key=key.encode(), headers=headers)

        return await _publish(kafka, ((each,) for each in messages), send, sync, clock, acknowledged)


async def publish_together(
    kafka: Kafka,
    groups: Iterable[Sequence[Message]],
    *,
    key: str,
    sync: str | None,
    clock: Clock,
    acknowledged: Callable[[int], None],
) -> Published:
    """The same, each group in one record batch: Kafka gives a batch out whole, so whoever reads one message of a group has them
    all, and no delivery ends in between.
    """
    await must_exist(kafka)
    async with _producer(kafka, max_batch_size=TOGETHER) as producer:
        known = await producer.partitions_for(topics.COHORT_CHANGES)
        # As the producer itself would choose: all messages of a key lie in one partition, whoever writes them.
        partition = DefaultPartitioner()(key.encode(), sorted(known), sorted(known))

        async def send(group: Sequence[Message], headers: Headers) -> Any:
            batch = producer.create_batch()
            for each in group:
                if batch.append(timestamp=None, key=key.encode(), value=each.value, headers=headers) is None:
                    raise AssertionError("a group of messages is larger than a batch")
            batch.close()
            return await producer.send_batch(batch, topics.COHORT_CHANGES, partition=partition)

        return await _publish(kafka, groups, send, sync, clock, acknowledged)


Headers = list[tuple[str, bytes]]


async def _publish(
    kafka: Kafka,
    groups: Iterable[Sequence[Message]],
    send: Callable[[Sequence[Message], Headers], Any],
    sync: str | None,
    clock: Clock,
    acknowledged: Callable[[int], None],
) -> Published:
    published = Published()
    headers = [(topics.SYNC, sync.encode())] if sync is not None else []
    waiting: deque[tuple[Sequence[Message], asyncio.Future[Any]]] = deque()

    def note(group: Sequence[Message], record: Any) -> None:
        for offset, message in enumerate(group, record.offset):
            published.add(message, record.partition, offset)
            acknowledged(message.users)

    async def settle_one() -> None:
        async with asyncio.timeout(PATIENCE):
            record = await waiting[0][1]
        note(waiting.popleft()[0], record)

    try:
        for group in groups:
            waiting.append((group, await send(group, [*headers, (topics.RECEIVED_AT, milliseconds(clock))])))
            if len(waiting) >= WINDOW:
                await settle_one()
        while waiting:
            await settle_one()
    except (ClientError, OSError, TimeoutError) as fault:
        for group, sent in waiting:
            if sent.done() and not sent.cancelled() and sent.exception() is None:
                note(group, sent.result())
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
        fault = for_code(code)(topics.COHORT_CHANGES)
        raise unreachable(kafka, fault, _WRITE)


@asynccontextmanager
async def _producer(kafka: Kafka, **more: Any) -> AsyncIterator[Any]:
    producer = await durable_producer(kafka, need=_WRITE.format(topics.COHORT_CHANGES), **more)
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
        words = str(unreachable(kafka, fault, _WRITE)).rstrip(".")
    return (
        f"{words}. Acknowledged until then: {published.messages} messages with {published.users:,} users. "
        "Publish the same again: a user who is told twice does no harm."
    )
