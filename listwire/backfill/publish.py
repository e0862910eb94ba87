"""Missed webhooks into the topic, exactly once: in small Kafka transactions of one producer, after a last look at the topic.

The transactional id is the source's: a second run that starts ends the first, and then reads what that has finished. So an
interrupted run is taken up by the next one, from what stands in the topic and from nothing else.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from listwire import topics
from listwire.backfill.derive import Missed
from listwire.backfill.form import body, key
from listwire.backfill.heard import Topic
from listwire.backfill.reach import Reach
from listwire.clock import Clock, milliseconds
from listwire.kafka_reader import Reader
from listwire.replay import taken

CHUNK = 200
# (records read, records to read)
Progress = Callable[[int, int], None]


def transactional_id(source: str) -> str:
    return f"listwire-backfill-{source}"


class Scan:
    """Reads the topic to its end, and on from there when asked again."""

    def __init__(self, reader: Reader, topic: Topic) -> None:
        self.reader = reader
        self.topic = topic
        self._read: dict[int, int] = {}

    async def to_the_end(self, progress: Progress = lambda _done, _total: None) -> None:
        """Raises KafkaError."""
        bounds = await self.reader.bounds(topics.WEBHOOKS)
        starts = {partition: max(self._read.get(partition, 0), b.begin) for partition, b in bounds.items()}
        total = sum(max(0, bounds[partition].end - start) for partition, start in starts.items())
        done = 0
        for partition, start in starts.items():
            end = bounds[partition].end
            async for records in self.reader.read(topics.WEBHOOKS, partition, start, end):
                for record in records:
                    self.topic.add(record)
                progress(done + records[-1].offset + 1 - start, total)
                # Parsing takes a while: the reader's connection must stay alive meanwhile.
                await asyncio.sleep(0)
            self._read[partition] = end
            done += max(0, end - start)


async def reaches(reader: Reader) -> list[Reach]:
    """What each partition of the topic still has. Raises KafkaError."""
    found = []
    for partition, bounds in (await reader.bounds(topics.WEBHOOKS)).items():
        position, oldest = bounds.begin, None
        # In front there may be markers of transactions, and no record.
        while position < bounds.end and oldest is None:
            records, position = await reader.take(topics.WEBHOOKS, partition, position, bounds.end)
            oldest = records[0].timestamp if records else None
        found.append(Reach(bounds.begin > 0, oldest))
    return found


async def publish(
    producer: Any, source: str, audience: str, missed: Sequence[Missed], clock: Clock, told: Callable[[int], None]
) -> list[Any]:
    """Writes them in their order, a transaction a chunk; `told` how many more are committed. Returns where the last ones are."""
    run = secrets.token_hex(5)
    written: Mapping[tuple[str, int], Any] = {}
    for start in range(0, len(missed), CHUNK):
        chunk = missed[start : start + CHUNK]
        async with producer.transaction():
            acks = []
            for number, each in enumerate(chunk, start):
                now = milliseconds(clock)
                headers = [
                    (topics.SOURCE, source.encode()),
                    (topics.RECEIVED_AT, now),
                    (topics.REQUEST_ID, f"backfill-{run}-{number}".encode()),
                    (topics.BACKFILLED, now),
                ]
                value = body(each, audience)
                acks.append(await producer.send(topics.WEBHOOKS, value, key=key(source, each), headers=headers))
            places = await taken(acks)
        written = {**written, **{(place.topic, place.partition): place for place in places}}
        told(len(chunk))
    return list(written.values())
