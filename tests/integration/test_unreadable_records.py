"""A header whose name is not UTF-8 makes aiokafka raise for ever. It must stop no worker and hide no other record."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.record.util import calc_crc32c_py

from stream.unreadable import Unreadable, read_around

pytestmark = pytest.mark.kafka
TOPIC = "unreadable"


async def test_a_record_with_an_undecodable_header_is_stood_in_for_and_the_others_are_all_read(bootstrap: str) -> None:
    async with _topic(bootstrap):
        await _produce(bootstrap)
        consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id=None, auto_offset_reset="earliest")
        await consumer.start()
        try:
            tps = [TopicPartition(TOPIC, 0), TopicPartition(TOPIC, 1)]
            consumer.assign(tps)
            await consumer.seek_to_beginning(*tps)
            found = {tp: [] for tp in tps}
            async with asyncio.timeout(30):
                while sum(map(len, found.values())) < 11:
                    before = {tp: await consumer.position(tp) for tp in tps}
                    try:
                        got = await consumer._fetcher.fetched_records(tps, timeout=1.0, max_records=3)
                    except UnicodeDecodeError:
                        got = await read_around(consumer, before)
                    for tp, records in got.items():
                        found[tp] += records
            assert [record.offset for record in found[tps[0]]] == [0, 1, 2, 3, 4, 5, 6]
            assert [record.offset for record in found[tps[1]]] == [0, 1, 2, 3]
            assert [record.offset for record in found[tps[0]] if isinstance(record, Unreadable)] == [3]
        finally:
            consumer.unsubscribe()
            await consumer.stop()


@asynccontextmanager
async def _topic(bootstrap: str) -> AsyncIterator[None]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(TOPIC, 2, 1)])
        yield
        await admin.delete_topics([TOPIC])
    finally:
        await admin.close()


async def _produce(bootstrap: str) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
    await producer.start()
    try:
        for i in range(4):
            await producer.send_and_wait(TOPIC, b"b%d" % i, partition=1)
        for i in range(3):
            await producer.send_and_wait(TOPIC, b"a%d" % i, partition=0)
        # aiokafka's producer cannot write such a header, so two bytes of a built batch are changed, and its checksum with them.
        batch = producer.create_batch()
        batch.append(key=None, value=b"bad", timestamp=None, headers=[("QQ", b"x")])
        raw = bytearray(batch._build())
        at = raw.index(b"QQ")
        raw[at : at + 2] = b"\xff\xfe"
        raw[17:21] = calc_crc32c_py(bytes(raw[21:])).to_bytes(4, "big")
        batch._buffer = raw
        future = await producer.send_batch(batch, TOPIC, partition=0)
        await future
        for i in range(3):
            await producer.send_and_wait(TOPIC, b"c%d" % i, partition=0)
    finally:
        await producer.stop()
