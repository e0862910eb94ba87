"""How far a group is behind, in records and seconds: read from its committed offsets, so it works while every worker is down.

Transaction markers are not lag: a record counts when a committed one is visible at or after the committed offset. What is
waiting is counted exactly as far as one small fetch reaches; beyond it, markers among the records count along.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from listwire import topics
from listwire.kafka_groups import WORKING, Member
from listwire.kafka_reader import Bounds, Record
from listwire.spoken import count, duration

# An unmoved partition is counted on while so many offsets were added; a longer way is taken as it is.
COUNT_ON = 500
# A fetch's bytes a partition: some hundred webhooks.
FETCH_BYTES = 64 * 1024
WHO = {topics.SUBSCRIPTIONS_GROUP: "subscriptions", topics.COHORTS_GROUP: "cohorts"}


class Fetches(Protocol):
    async def take(self, topic: str, partition: int, start: int, end: int) -> tuple[list[Record], int]: ...


@dataclass(frozen=True)
class PartitionLag:
    """`committed` None: the group has never committed here and starts at the oldest record. `seconds` None: nothing waits,
    or the record carries no time. `lost`: offsets that Kafka deleted before the group had read them.
    """

    partition: int
    committed: int | None
    begin: int
    end: int
    records: int
    seconds: float | None
    lost: int


@dataclass(frozen=True)
class GroupLag:
    group: str
    topic: str
    state: str
    members: tuple[Member, ...]
    partitions: tuple[PartitionLag, ...]

    @property
    def records(self) -> int:
        return sum(partition.records for partition in self.partitions)

    @property
    def seconds(self) -> float | None:
        """Age of the oldest record that waits."""
        return max((p.seconds for p in self.partitions if p.seconds is not None), default=None)

    @property
    def lost(self) -> int:
        return sum(partition.lost for partition in self.partitions)

    @property
    def working(self) -> bool:
        return self.state in WORKING

    def as_json(self) -> dict[str, Any]:
        return {
            "group": self.group,
            "topic": self.topic,
            "state": self.state,
            "members": [
                {"id": m.id, "host": m.host, "partitions": [p for topic, p in m.partitions if topic == self.topic]}
                for m in self.members
            ],
            "records": self.records,
            "seconds": self.seconds,
            "lost": self.lost,
            "partitions": [
                {
                    "partition": p.partition, "committed": p.committed, "begin": p.begin, "end": p.end,
                    "records": p.records, "seconds": p.seconds, "lost": p.lost,
                }
                for p in self.partitions
            ],
        }  # fmt: skip


def starting_point(committed: int | None, bounds: Bounds) -> tuple[int, int]:
    """Where the group would go on, and how many offsets it has lost to deletion.

    A committed offset behind the end belongs to a topic that was made anew: the group starts over (`earliest`).
    """
    if committed is None or committed > bounds.end:
        return bounds.begin, 0
    return max(committed, bounds.begin), max(0, bounds.begin - committed)


@dataclass
class _Waiting:
    """What is known of the records from `start` on: `count` of them before `until`, the first at `first`."""

    start: int
    until: int
    count: int = 0
    first: int | None = None
    timestamp: int = -1


class Backlog:
    """What waits in each partition; remembers what it has seen, so that a partition which stands still costs nothing."""

    def __init__(self, fetches: Fetches) -> None:
        self.fetches = fetches
        self._known: dict[tuple[str, str, int], _Waiting] = {}

    async def of(
        self, group: str, topic: str, committed: Mapping[int, int], bounds: Mapping[int, Bounds], now: float
    ) -> tuple[PartitionLag, ...]:
        """A PartitionLag for each partition in `bounds`."""
        found = []
        for partition, limits in sorted(bounds.items()):
            start, lost = starting_point(committed.get(partition), limits)
            waiting = await self._waiting((group, topic, partition), start, limits)
            records = 0 if waiting.first is None else waiting.count + (limits.end - waiting.until)
            seconds = None if not records or waiting.timestamp < 0 else max(0.0, now - waiting.timestamp / 1000)
            found.append(
                PartitionLag(partition, committed.get(partition), limits.begin, limits.end, records, seconds, lost)
            )
        return tuple(found)

    async def _waiting(self, key: tuple[str, str, int], start: int, limits: Bounds) -> _Waiting:
        known = self._known.get(key)
        if known is None or known.start != start or known.until > limits.end or (known.first or start) < limits.begin:
            known = self._known[key] = _Waiting(start, start)
        fetched = False
        while known.until < limits.end and known.first is None:
            await self._look(known, key, limits.end)
            fetched = True
        if not fetched and 0 < limits.end - known.until <= COUNT_ON:
            await self._look(known, key, limits.end)
        return known

    async def _look(self, known: _Waiting, key: tuple[str, str, int], end: int) -> None:
        _group, topic, partition = key
        records, known.until = await self.fetches.take(topic, partition, known.until, end)
        known.count += len(records)
        if records and known.first is None:
            known.first, known.timestamp = records[0].offset, records[0].timestamp


def sentence(lag: GroupLag) -> str:
    """The state of a group in plain words."""
    words = f"{WHO.get(lag.group, lag.group)}: nothing waits"
    if lag.records:
        words = f"{WHO.get(lag.group, lag.group)}: {count(lag.records, 'record waits', 'records wait')}"
        if lag.seconds is not None:
            words += f", the oldest for {duration(lag.seconds)}"
    if not lag.working:
        words += "; no worker runs"
    if lag.lost:
        words += f"; {count(lag.lost, 'offset was', 'offsets were')} deleted before being read"
    return words + "."
