"""A broker with clean topics of ours, and the few things tests of the operations commands do with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.protocol.group import LeaveGroupRequest
from aiokafka.record.util import calc_crc32c_py

from listwire import kafka_admin, topics
from listwire.dead_letters import Letter
from listwire.kafka_groups import read_group
from listwire.kafka_reader import Reader, Record
from listwire.settings import Settings
from listwire.settings.load import load

PARTITIONS = 3


def settings_file(
    bootstrap: str, path: Path, *, amplitude: str = "http://127.0.0.1:1", mailchimp: str = "http://127.0.0.1:1"
) -> Path:
    path.write_text(f"""
[kafka]
bootstrap_servers = "{bootstrap}"
[topics]
partitions = {PARTITIONS}
[amplitude.product]
api_key = "a-key-of-amplitude-0123456789abcdef"
base_url = "{amplitude}"
[mailchimp.acme]
api_key = "0123456789abcdef0123456789abcdef-us6"
base_url = "{mailchimp}"
[sources.newsletter]
mailchimp = "acme"
audience = "a6b5da1054"
amplitude = "product"
secrets = ["swordfish-swordfish-swordfish"]
[cohort_syncs.daily]
mailchimp = "acme"
audience = "a6b5da1054"
""")
    return path


async def without_members(settings: Settings) -> None:
    """Our groups, with nobody in them: a worker that was killed is a member until its session of ten seconds ends, and the next
    test's worker would have to wait for that.
    """
    async with kafka_admin.admin_client(settings.kafka) as admin:
        for name in topics.GROUPS:
            if members := (await read_group(admin, name)).members:
                coordinator = await admin.find_coordinator(name)
                for member in members:
                    await admin._send_request(LeaveGroupRequest(name, member.id), coordinator)


async def fresh_topics(settings: Settings) -> None:
    """Our topics, empty; a group's offsets go with its topic, and so do members that earlier tests have killed."""
    names = list(topics.BY_NAME)
    async with kafka_admin.admin_client(settings.kafka) as admin:
        if present := [d["topic"] for d in await admin.describe_topics(names) if not d["error_code"]]:
            await without_members(settings)
            await admin.delete_topics(present)
        while not all(d["error_code"] for d in await admin.describe_topics(names)):
            await asyncio.sleep(0.05)
    await kafka_admin.ensure(settings)


def settings_of(path: Path) -> Settings:
    return load(path, environ={})


@asynccontextmanager
async def producer(settings: Settings, **more: Any) -> AsyncIterator[Any]:
    made = AIOKafkaProducer(
        bootstrap_servers=settings.kafka.bootstrap_servers, max_request_size=topics.MAX_REQUEST_SIZE, **more
    )
    await made.start()
    try:
        yield made
    finally:
        await made.stop()


async def bury(settings: Settings, letters: Iterable[Letter]) -> None:
    """As a worker does."""
    async with producer(settings) as out:
        acks = [
            await out.send(topics.DEAD_LETTERS, each.value, key=each.key, headers=each.headers()) for each in letters
        ]
        for ack in acks:
            await ack


async def records(settings: Settings, topic: str) -> list[Record]:
    """All committed ones, partition by partition."""
    found: list[Record] = []
    async with Reader(settings.kafka) as reader:
        for partition, bounds in (await reader.bounds(topic)).items():
            async for some in reader.read(topic, partition, bounds.begin, bounds.end):
                found += some
    return found


@asynccontextmanager
async def member(settings: Settings, group: str, topic: str) -> AsyncIterator[Any]:
    """A consumer of the group; commits when it is told."""
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=settings.kafka.bootstrap_servers, group_id=group, enable_auto_commit=False,
        auto_offset_reset="earliest", isolation_level="read_committed",
    )  # fmt: skip
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()


async def produce_undecodable(settings: Settings, topic: str, partition: int) -> None:
    """A record with a header whose name is not UTF-8. aiokafka's producer cannot write one, so a built batch is changed."""
    async with producer(settings) as out:
        batch = out.create_batch()
        batch.append(key=None, value=b"bad", timestamp=None, headers=[("QQ", b"x")])
        raw = bytearray(batch._build())
        at = raw.index(b"QQ")
        raw[at : at + 2] = b"\xff\xfe"
        raw[17:21] = calc_crc32c_py(bytes(raw[21:])).to_bytes(4, "big")
        batch._buffer = raw
        await (await out.send_batch(batch, topic, partition=partition))
