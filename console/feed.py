"""Reads what came in: on from where it began, and back from there until enough is known. Belongs to no group.

Back it goes for an hour, and further only for connections of which nothing was seen: whether a first event ever came can be
said of what Kafka still has, or of the newest `MOST_BACK` records of a topic.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from console.events import MINUTE, MINUTES, Events
from listwire import topics
from listwire.clock import Clock
from listwire.kafka_reader import Bounds, Reader

READ = (topics.WEBHOOKS, topics.COHORT_CHANGES)
# Records of one partition in one step back, and of a topic in one look and in all.
STEP_BACK = 2_000
BACK_A_LOOK = 20_000
MOST_BACK = 500_000
# More than that since the last look: the rest is passed over, and said.
MOST_FORWARD = 50_000


@dataclass
class Place:
    """Of one partition: read are the offsets from `back` to before `forward`."""

    back: int
    forward: int
    old: bool = False


@dataclass
class Topic:
    places: dict[int, Place] = field(default_factory=dict)
    read_back: int = 0
    given_up: bool = False


class Feed:
    def __init__(self, events: Events, clock: Clock) -> None:
        self.events = events
        self.clock = clock
        self.skipped = 0
        self.topics = {name: Topic() for name in READ}

    def looked_through(self, connection: str) -> bool:
        """Whether a record of it that Kafka has would have been seen."""
        topic = self._topic(connection)
        return bool(topic.places) and all(place.old for place in topic.places.values())

    def gave_up(self, connection: str) -> bool:
        return self._topic(connection).given_up

    def _topic(self, connection: str) -> Topic:
        return self.topics[topics.WEBHOOKS if connection.startswith("sources.") else topics.COHORT_CHANGES]

    async def look(self, reader: Reader) -> None:
        """Raises KafkaError; what was read stays, and the next look goes on from there."""
        for name, topic in self.topics.items():
            if not self.events.on(name):
                continue
            bounds = await reader.bounds(name)
            self._begin(topic, bounds)
            for partition, place in topic.places.items():
                if partition in bounds:
                    await self._forward(reader, name, partition, place, bounds[partition])
            await self._back(reader, name, topic)

    def _begin(self, topic: Topic, bounds: dict[int, Bounds]) -> None:
        for partition, limits in bounds.items():
            place = topic.places.get(partition)
            if place is None or place.forward > limits.end:  # the topic was made anew
                topic.places[partition] = Place(limits.end, limits.end, old=limits.begin >= limits.end)

    async def _forward(self, reader: Reader, topic: str, partition: int, place: Place, limits: Bounds) -> None:
        start = max(place.forward, limits.begin, limits.end - MOST_FORWARD)
        self.skipped += max(0, start - max(place.forward, limits.begin))
        async for records in reader.read(topic, partition, start, limits.end):
            self.events.add(topic, records, self.clock.time())
            place.forward = records[-1].offset + 1
        place.forward = max(place.forward, limits.end)

    async def _back(self, reader: Reader, name: str, topic: Topic) -> None:
        """Partitions in turn, a step each, until nobody is missing or the look's share is used up."""
        spent = 0
        while spent < BACK_A_LOOK and not topic.given_up and (older := list(self._older(topic))):
            bounds = await reader.bounds(name, [partition for partition, _ in older])
            for partition, place in older:
                begin = bounds[partition].begin
                start = max(begin, place.back - STEP_BACK)
                oldest = None
                async for records in reader.read(name, partition, start, place.back):
                    if oldest is None:
                        oldest = records[0].timestamp / 1000
                    self.events.add(name, records, self.clock.time())
                spent += max(1, place.back - start)
                topic.read_back += place.back - start
                place.back = start
                past_the_chart = oldest is not None and oldest < self.clock.time() - MINUTES * MINUTE
                place.old = start <= begin or (past_the_chart and not self._missing(name))
            topic.given_up = topic.read_back >= MOST_BACK

    def _missing(self, topic: str) -> bool:
        return any(self.events.of[name].last_event is None for name in self.events.on(topic))

    def _older(self, topic: Topic) -> Iterator[tuple[int, Place]]:
        return ((partition, place) for partition, place in topic.places.items() if not place.old)
