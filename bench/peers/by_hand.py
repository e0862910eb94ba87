"""A loop written by hand on aiokafka and aiohttp, with or without read-ahead: the least code that keeps order and events.

With `READ_AHEAD=1` a partition's next records are fetched, parsed and serialized while its POST is under way; without, one
thing after the other. One POST per partition at a time, because two would let a contact's later event overtake the former.
With `CODEC=listwire` Listwire's codec reads the forms, so that only what is around it differs.

What it loses: nothing when it is killed, since it commits after the POST. But one event that Amplitude refuses stops its
partition for good, one body that cannot be parsed ends the process at every start, a throttled user holds up all others,
a revoked partition's POST runs on beside the new owner's, and nobody can see any of it.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterable
from contextlib import suppress

import aiohttp
import orjson
import uvloop
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import CommitFailedError

from bench.peers.event import to_event
from stream.codecs.mailchimp_webhook import Event, Webhooks

READ_AHEAD = os.environ.get("READ_AHEAD") == "1"
READER = Webhooks("newsletter", os.environ["AUDIENCE"]).reader() if os.environ.get("CODEC") == "listwire" else None
MOST = 1000
HEAD = b'{"api_key":' + orjson.dumps(os.environ["API_KEY"]) + b',"events":'


def packed(values: Iterable[bytes]) -> bytes:
    if READER is None:
        events = [event for value in values if (event := to_event(value))]
        return HEAD + orjson.dumps(events) + b"}" if events else b""
    bodies = [found.body for value in values if isinstance(found := READER(value), Event)]
    return HEAD + b"[" + b",".join(bodies) + b"]}" if bodies else b""


class Loop:
    def __init__(self, consumer: AIOKafkaConsumer, http: aiohttp.ClientSession) -> None:
        self.consumer = consumer
        self.http = http

    async def partition(self, tp: TopicPartition) -> None:
        sending: asyncio.Task[None] | None = None
        while True:
            fetched = await self.consumer.getmany(tp, timeout_ms=1000, max_records=MOST)
            records = fetched.get(tp)
            if not records:
                continue
            body = packed(record.value for record in records)
            if sending:
                await sending
            sending = asyncio.create_task(self.send(tp, records[-1].offset + 1, body))
            if not READ_AHEAD:
                await sending

    async def send(self, tp: TopicPartition, offset: int, body: bytes) -> None:
        while body and not await self.posted(body):
            await asyncio.sleep(1)
        with suppress(CommitFailedError):  # the partition has a new owner, who sends it again
            await self.consumer.commit({tp: offset})

    async def posted(self, body: bytes) -> bool:
        try:
            async with self.http.post(
                os.environ["SINK"], data=body, headers={"content-type": "application/json"}
            ) as answer:
                await answer.read()
                return answer.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False


async def main() -> None:
    consumer = AIOKafkaConsumer(
        os.environ["TOPIC"],
        bootstrap_servers=os.environ["KAFKA"],
        group_id=os.environ["GROUP"],
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        isolation_level="read_committed",
    )
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await consumer.start()
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=8)) as http:
        loop = Loop(consumer, http)
        while not consumer.assignment():
            await asyncio.sleep(0.05)
        tasks = [asyncio.create_task(loop.partition(tp)) for tp in consumer.assignment()]
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait([stopping, *tasks], return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
    await consumer.stop()


if __name__ == "__main__":
    uvloop.run(main())
