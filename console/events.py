"""What came in lately, for each connection: its newest events and how many a minute. Bounded, whatever comes; no I/O.

Addresses stay in this process's memory, at most `KEPT` a connection; pages show their hash unless somebody asks for more.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable
from dataclasses import dataclass, field

from listwire import glimpse, topics
from listwire.kafka_reader import Record
from listwire.settings import Settings

KEPT = 50
MINUTES = 60
# A record with a time from the future counts in the present minute; one older than the chart only as an event.
MINUTE = 60.0


@dataclass(frozen=True, slots=True, order=True)
class Event:
    """`at` in seconds since the epoch. `addresses` only where it is about one person; `people` how many it names."""

    at: float
    topic: str
    partition: int
    offset: int
    what: str = field(compare=False)
    sent: bool = field(compare=False)
    addresses: tuple[str, ...] = field(default=(), compare=False)
    people: int = field(default=1, compare=False)
    again: bool = field(default=False, compare=False)


@dataclass
class Lately:
    """Of one connection. `last_offset`: partition → the newest offset of it, to know what may still wait."""

    newest: list[Event] = field(default_factory=list)
    minutes: dict[int, int] = field(default_factory=dict)
    last_event: float | None = None
    last_offset: dict[int, int] = field(default_factory=dict)

    def count(self, at: float) -> None:
        minute = int(at // MINUTE)
        self.minutes[minute] = self.minutes.get(minute, 0) + 1

    def note(self, at: float, partition: int, offset: int) -> None:
        self.last_event = at if self.last_event is None else max(self.last_event, at)
        self.last_offset[partition] = max(offset, self.last_offset.get(partition, -1))

    def keep(self, event: Event) -> None:
        place = bisect.bisect_left(self.newest, event)
        if place == len(self.newest) or self.newest[place] != event:
            self.newest.insert(place, event)
            del self.newest[:-KEPT]

    def a_minute(self, now: float) -> list[int]:
        """The last `MINUTES` minutes, the present one last; forgets older ones."""
        present = int(now // MINUTE)
        self.minutes = {minute: count for minute, count in self.minutes.items() if minute > present - MINUTES}
        return [self.minutes.get(minute, 0) for minute in range(present - MINUTES + 1, present + 1)]


class Events:
    """All connections of the settings; records of any other name are passed over."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.of: dict[str, Lately] = {f"sources.{name}": Lately() for name in settings.sources}
        self.of |= {f"cohort_syncs.{name}": Lately() for name in settings.cohort_syncs}

    def on(self, topic: str) -> list[str]:
        """The connections whose records this topic holds."""
        kind = "sources." if topic == topics.WEBHOOKS else "cohort_syncs."
        return [name for name in self.of if name.startswith(kind)]

    def connections_of(self, topic: str, record: Record) -> list[str]:
        if not record.readable or record.value is None:
            return []
        if topic == topics.WEBHOOKS:
            name = f"sources.{glimpse.header(record, topics.SOURCE)}"
            return [name] if name in self.of else []
        change = glimpse.change(record.value)
        if change is None:
            return []
        header = glimpse.header(record, topics.SYNC)
        return [f"cohort_syncs.{n}" for n in glimpse.syncs_of(change.cohort_name, header, self.settings.cohort_syncs)]

    def add(self, topic: str, records: Iterable[Record], now: float) -> None:
        """One partition's, in order. Each is counted; only those that may stay among the newest are looked into."""
        latest: dict[str, list[tuple[Record, float]]] = {}
        for record in records:
            at = min(now, glimpse.received(record) / 1000)
            for name in self.connections_of(topic, record):
                lately = self.of[name]
                lately.note(at, record.partition, record.offset)
                if now - at < MINUTES * MINUTE:
                    lately.count(at)
                kept = latest.setdefault(name, [])
                kept.append((record, at))
                if len(kept) > 2 * KEPT:
                    del kept[:-KEPT]
        for name, chosen in latest.items():
            for record, at in chosen[-KEPT:]:
                self.of[name].keep(_event(topic, record, at))


def _event(topic: str, record: Record, at: float) -> Event:
    again = glimpse.header(record, topics.REPLAY_OF) is not None
    place = (at, topic, record.partition, record.offset)
    if topic == topics.WEBHOOKS:
        webhook = glimpse.webhook(record.value)
        if webhook is None:
            return Event(*place, "not a webhook", sent=True, again=again)
        return Event(*place, webhook.kind or "no type", webhook.kind in glimpse.SENT, webhook.addresses[:1], 1, again)
    change = glimpse.change(record.value)
    if change is None:
        return Event(*place, "not a cohort change", sent=True, again=again)
    verb = "entered" if change.in_cohort else "left"
    return Event(*place, f"{verb} {change.cohort_name}", sent=True, people=len(change.users), again=again)
