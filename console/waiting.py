"""Since when the oldest record of each connection waits: read from the committed offsets on, as far as one look reaches.

A connection whose records all lie beyond that reach is as late as the last record within it, which is older than its own:
rather a little too late than not late at all.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from console.events import Events
from listwire import glimpse
from listwire.kafka_reader import Bounds, Reader
from listwire.lag import GroupLag, PartitionLag, starting_point

# Of one partition: so many records, or bytes.
REACH = 2_000
REACH_BYTES = 8 << 20


@dataclass
class Head:
    """What waits first in a partition. `oldest`: connection → when it came in; `last`: the time of the last record seen."""

    start: int
    until: int
    oldest: dict[str, float] = field(default_factory=dict)
    last: float | None = None
    size: int = 0
    count: int = 0

    @property
    def full(self) -> bool:
        return self.count >= REACH or self.size >= REACH_BYTES


class Waiting:
    """Remembers each partition's head, so that one that stands still is read once."""

    def __init__(self, events: Events) -> None:
        self.events = events
        self.oldest: dict[str, float] = {}
        self._heads: dict[tuple[str, int], Head] = {}

    async def look(self, reader: Reader, lags: list[GroupLag]) -> None:
        """Raises KafkaError."""
        oldest: dict[str, float] = {}
        for lag in lags:
            for partition in lag.partitions:
                if partition.records:
                    head = await self._head(reader, lag.topic, partition)
                    for name, at in self._late(lag.topic, partition, head).items():
                        oldest[name] = min(at, oldest.get(name, at))
                else:
                    self._heads.pop((lag.topic, partition.partition), None)
        self.oldest = oldest

    async def _head(self, reader: Reader, topic: str, lag: PartitionLag) -> Head:
        start, _ = starting_point(lag.committed, Bounds(lag.begin, lag.end))
        head = self._heads.get((topic, lag.partition))
        if head is None or head.start != start:
            head = self._heads[topic, lag.partition] = Head(start, start)
        while head.until < lag.end and not head.full:
            records, head.until = await reader.take(topic, lag.partition, head.until, lag.end)
            for record in records:
                at = glimpse.received(record) / 1000
                head.last = at
                head.count += 1
                head.size += len(record.value or b"")
                for name in self.events.connections_of(topic, record):
                    head.oldest.setdefault(name, at)
        return head

    def _late(self, topic: str, lag: PartitionLag, head: Head) -> dict[str, float]:
        found = dict(head.oldest)
        if head.until < lag.end and head.last is not None:
            for name in self.events.on(topic):
                if name not in found and self.events.of[name].last_offset.get(lag.partition, -1) >= head.until:
                    found[name] = head.last
        return found
