"""Peers of the ingress on bare sockets, and what has come into its topics meanwhile. It must never mend what a test sends."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition

from listwire import topics
from tests.ingress_process import Ingress

MIB: Final = 1 << 20
PARTITIONS: Final = [
    TopicPartition(topic, partition) for topic in (topics.WEBHOOKS, topics.COHORT_CHANGES) for partition in (0, 1)
]
Places = dict[TopicPartition, int]


@dataclass(frozen=True)
class Topics:
    """What has come into both topics since `places`."""

    bootstrap: str

    async def places(self) -> Places:
        async with AIOKafkaConsumer(bootstrap_servers=self.bootstrap) as consumer:
            found: Places = await consumer.end_offsets(PARTITIONS)
            return found

    async def since(self, places: Places) -> Counter[bytes]:
        async with AIOKafkaConsumer(bootstrap_servers=self.bootstrap, max_partition_fetch_bytes=16 * MIB) as consumer:
            ends = await consumer.end_offsets(PARTITIONS)
            consumer.assign(PARTITIONS)
            for partition, place in places.items():
                consumer.seek(partition, place)
            left = sum(ends.values()) - sum(places.values())
            return Counter([(await consumer.getone()).value for _ in range(left)])


async def ask(port: int, sent: bytes, *, half_close: bool = False) -> bytes:
    """All that comes back until the ingress closes the connection, which it does after five silent seconds at the latest."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    found = b""
    try:
        async with asyncio.timeout(20):
            writer.write(sent)
            if half_close:
                writer.write_eof()
            while data := await reader.read(65536):
                found += data
    except ConnectionError:
        pass  # it has stopped reading; what it has said until then counts
    finally:
        writer.close()
    return found


def statuses(answer: bytes) -> tuple[int, ...]:
    return tuple(int(status) for status in re.findall(rb"(?:\A|\n)HTTP/1\.[01] (\d{3}) ", answer))


async def drip(port: int, start: bytes) -> tuple[int, ...]:
    """A byte a second after that start, until the ingress ends it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    found = b""
    try:
        writer.write(start)
        for _ in range(20):
            writer.write(b"a")
            try:
                async with asyncio.timeout(1):
                    data = await reader.read(4096)
            except TimeoutError:
                continue
            found += data
            if not data:
                return statuses(found)
    except ConnectionError:
        return statuses(found)
    finally:
        writer.close()
    raise AssertionError(f"twenty seconds, and it still listens: {found!r}")


def unread(ingress: Ingress) -> list[str]:
    """The ingress's connections with bytes that the peer does not take, as the kernel shows them."""
    lines = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    return [
        remote
        for _, local, remote, state, queues, *_ in lines
        if local.endswith(f":{ingress.port:04X}") and state == "01" and not queues.startswith("00000000")
    ]
