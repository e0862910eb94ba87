"""What the console knows at one moment, put together for its pages. Holds no connection and does no I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from console.events import Event, Events
from console.feed import Feed
from console.refusals import words
from console.status import Evidence, Verdict, verdict
from console.worker_metrics import Said
from listwire import dead_letters, topics
from listwire.control import Pause
from listwire.lag import GroupLag, PartitionLag
from listwire.letter_index import Entry, Heap, Index, heaps
from listwire.records import Reason

# Readings of lag that a chart shows.
READINGS = 180


class Fate(StrEnum):
    """What became of an event."""

    DELIVERED = "Delivered"
    NOT_SENT = "Not sent"
    WAITING = "Waiting"
    DEAD = "Dead letter"


@dataclass(frozen=True)
class Refusal:
    at: float
    words: str


@dataclass
class Letters:
    """The open dead letters, summed up once a look. `left_out`: older records of their topic that nobody looked at."""

    heaps: list[Heap] = field(default_factory=list)
    of: dict[tuple[str, str], Entry] = field(default_factory=dict)
    refused: dict[str, Entry] = field(default_factory=dict)
    left_out: int = 0

    @property
    def count(self) -> int:
        return sum(heap.letters for heap in self.heaps)

    def of_connection(self, connection: str) -> int:
        return sum(heap.letters for heap in self.heaps if heap.connection == connection)


def summed_up(index: Index, shown: Iterable[str]) -> Letters:
    """`of`: (origin, connection) → its letter, for the origins that pages show."""
    wanted = set(shown)
    found = Letters(heaps(index.open.values()))
    for entry in index.open.values():
        if entry.origin in wanted:
            found.of[entry.origin, entry.connection] = entry
        if entry.reason == Reason.CONNECTION_REFUSED:
            known = found.refused.get(entry.connection)
            if known is None or known.failed_at < entry.failed_at:
                found.refused[entry.connection] = entry
    return found


@dataclass
class Picture:
    """`at`: when Kafka was last read whole, None before that. `fault`: why it can't be read now."""

    events: Events
    feed: Feed
    at: float | None = None
    fault: str | None = None
    lags: dict[str, GroupLag] = field(default_factory=dict)
    readings: dict[str, deque[int]] = field(default_factory=dict)
    oldest: dict[str, float] = field(default_factory=dict)
    letters: Letters = field(default_factory=Letters)
    refusals: dict[str, Refusal] = field(default_factory=dict)
    asked: dict[str, str] = field(default_factory=dict)
    pauses: dict[str, Pause] = field(default_factory=dict)
    said: Said = field(default_factory=Said)

    def take_lags(self, lags: list[GroupLag]) -> None:
        self.lags = {lag.topic: lag for lag in lags}
        for lag in lags:
            self.readings.setdefault(lag.topic, deque(maxlen=READINGS)).append(lag.records)

    def shown_origins(self) -> list[str]:
        return [origin(event) for lately in self.events.of.values() for event in lately.newest]

    def fate(self, connection: str, event: Event) -> tuple[Fate, Entry | None]:
        letter = self.letters.of.get((origin(event), connection))
        if letter is not None:
            return Fate.DEAD, letter
        if not self._settled(event):
            return Fate.WAITING, None
        return (Fate.DELIVERED if event.sent else Fate.NOT_SENT), None

    def verdict(self, connection: str, now: float) -> Verdict:
        return verdict(connection, self.evidence(connection), now)

    def evidence(self, connection: str) -> Evidence:
        lag = self.lag(connection)
        refusal = self.refusals.get(connection)
        worker = self.said.status.get(connection) if lag is None or lag.working else None
        pause = self.pauses.get(connection)
        return Evidence(
            last_event=self.events.of[connection].last_event,
            looked_through=self.at is not None and self.feed.looked_through(connection),
            gave_up=self.feed.gave_up(connection),
            oldest_waiting=self.oldest.get(connection),
            refused_at=refusal.at if refusal else None,
            refusal=self._refusal(connection, refusal),
            delivered_at=self._delivered_at(connection),
            worker=worker,
            worker_since=self.said.since.get(connection),
            working=lag is None or lag.working,
            paused=None if pause is None else pause.why,
            hook=self.said.processes.hooks.get(connection.removeprefix("sources."))
            if connection.startswith("sources.")
            else None,
        )

    def _refusal(self, connection: str, refusal: Refusal | None) -> str:
        """What the vendor says now, where it was asked; else what it said when the newest letter was written."""
        said = self.asked.get(connection) or (refusal.words if refusal else "")
        return words(said, connection) if said else ""

    def lag(self, connection: str) -> GroupLag | None:
        return self.lags.get(topics.WEBHOOKS if connection.startswith("sources.") else topics.COHORT_CHANGES)

    def idle_workers(self) -> list[GroupLag]:
        """Groups without a member, of those that the settings have work for."""
        return [lag for topic, lag in self.lags.items() if self.events.on(topic) and not lag.working]

    def _delivered_at(self, connection: str) -> float | None:
        for event in reversed(self.events.of[connection].newest):
            if event.sent and self.fate(connection, event)[0] is Fate.DELIVERED:
                return event.at
        return None

    def _settled(self, event: Event) -> bool:
        lag = self.lags.get(event.topic)
        partition: PartitionLag | None = next(
            (each for each in lag.partitions if each.partition == event.partition) if lag else iter(()), None
        )
        return partition is not None and partition.committed is not None and event.offset < partition.committed


def origin(event: Event) -> str:
    return dead_letters.origin_of(event.topic, event.partition, event.offset)
