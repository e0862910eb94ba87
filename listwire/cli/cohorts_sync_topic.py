"""What the topic has to say to a cohort sync: whether the worker has carried out all that was said, and who was spoken of since.

So a sync and the changes that are pushed meanwhile never undo each other: the tag is compared only once the worker has carried out
what came before the cohort was asked for, and nobody is touched of whom something was said after that.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from aiokafka.partitioner import DefaultPartitioner

from listwire import topics
from listwire.clock import Clock
from listwire.cohorts.last_words import LastWords
from listwire.cohorts.publishing import must_exist
from listwire.cohorts.scheduler import Paused
from listwire.control import Pauses
from listwire.errors import ListwireError
from listwire.kafka_reader import Reader
from listwire.lag_reader import LagReader
from listwire.records import Rejection
from listwire.settings.models import Kafka
from listwire.spoken import count, duration
from stream.codecs.cohort_change import address_of, decode

LOOK_EVERY = 1.0


@dataclass(frozen=True)
class Mark:
    """A moment in the partition where a cohort's changes lie: all before `end` was said by then."""

    partition: int
    end: int


async def not_paused(kafka: Kafka, sync: str) -> None:
    pauses = Pauses(kafka)
    try:
        paused = (await pauses.read()).get(f"cohort_syncs.{sync}")
    finally:
        await pauses.close()
    if paused is not None:
        raise Paused(
            f"cohort_syncs.{sync} is {paused.detail}: all that is published becomes dead letters until it is resumed."
        )


async def mark(kafka: Kafka, key: str) -> Mark:
    await must_exist(kafka)
    async with Reader(kafka) as reader:
        bounds = await reader.bounds(topics.COHORT_CHANGES)
    partition = DefaultPartitioner()(key.encode(), sorted(bounds), sorted(bounds))
    return Mark(partition, bounds[partition].end)


async def carried_out(kafka: Kafka, until: Mark, clock: Clock, patience: float) -> None:
    """Returns when the worker has committed everything before the mark. Raises ListwireError when it does not come to that."""
    deadline = clock.monotonic() + patience
    async with LagReader(kafka, clock=clock) as reader:
        while True:
            lag = await reader.read_group(topics.COHORTS_GROUP, topics.COHORT_CHANGES)
            found = next(each for each in lag.partitions if each.partition == until.partition)
            if found.records == 0 or (found.committed is not None and found.committed >= until.end):
                return
            if clock.monotonic() >= deadline:
                raise ListwireError(
                    f"The cohorts worker has not carried out all that was published before: {count(found.records, 'record')} "
                    f"of {topics.COHORT_CHANGES}/{until.partition} still wait after {duration(patience)}. See that "
                    "`listwire worker cohorts` runs, and that it is not held up; --force compares all the same."
                )
            await clock.sleep(LOOK_EVERY)


async def spoken_of(kafka: Kafka, since: Mark, words: LastWords) -> set[str]:
    """The addresses of whom the topic says something after the mark, for this cohort's name and sync."""
    async with Reader(kafka) as reader:
        bounds = (await reader.bounds(topics.COHORT_CHANGES, [since.partition]))[since.partition]
        begin = max(since.end, bounds.begin)
        async for records in reader.read(topics.COHORT_CHANGES, since.partition, begin, bounds.end):
            for record in records:
                change = decode(record.value) if record.readable else None
                if change is not None and not isinstance(change, Rejection):
                    where = words.sync.email_property
                    words.hear(
                        record, change, [None if user is None else address_of(user, where) for user in change.users]
                    )
                await asyncio.sleep(0)
    return set(words.words)
