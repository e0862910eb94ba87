"""Which dead letters wait, from the records of their topic: letters open an entry, marks close it. Pure, and holds no values.

A letter that was replayed and fails again has the same identity as before, so order within a partition decides: a mark closes
what stands before it there, and what comes after it is open again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from listwire import dead_letters, topics
from listwire.kafka_reader import Place, Record


@dataclass(slots=True)
class Entry:
    """One letter without its value. `places` has more than one where a worker wrote it twice. Times in ms since the epoch."""

    id: str
    reason: str
    connection: str
    origin: str
    failed_at: int
    received_at: int
    size: int
    places: list[Place]
    done: bool = False

    @property
    def origin_place(self) -> tuple[str, int, int] | None:
        """Topic, partition, offset; None where the header holds none."""
        try:
            return dead_letters.parse_origin(self.origin)
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class Heap:
    """Letters of one reason and connection."""

    reason: str
    connection: str
    letters: int
    size: int
    first: int
    last: int


@dataclass
class Index:
    """`keep_done` keeps the entries of letters that are done, for those who want to look at them."""

    keep_done: bool = False
    open: dict[str, Entry] = field(default_factory=dict)
    done: dict[str, Entry] = field(default_factory=dict)
    unreadable: list[Place] = field(default_factory=list)

    def add(self, record: Record) -> None:
        """Records of one partition in order; partitions in any."""
        place = (record.partition, record.offset)
        found = dead_letters.read(record.key, record.value, record.headers, place) if record.readable else None
        if found is None:
            self.unreadable.append(place)
        elif isinstance(found, str):
            self._close(found, place)
        else:
            self._open(found, place)

    def _open(self, letter: dead_letters.Letter, place: Place) -> None:
        identity = letter.id
        if (known := self.open.get(identity)) is not None:
            known.places.append(place)
            return
        headers = {name: value for name, value in letter.source_headers if name == topics.RECEIVED_AT}
        received = headers.get(topics.RECEIVED_AT, b"").decode("ascii", "replace")
        self.open[identity] = Entry(
            identity, letter.reason, letter.connection, letter.origin, letter.failed_at,
            dead_letters.milliseconds_in(received), len(letter.value), [place],
        )  # fmt: skip

    def _close(self, identity: str, mark: Place) -> None:
        entry = self.open.get(identity)
        if entry is None:
            return
        left = [place for place in entry.places if place[0] != mark[0] or place[1] > mark[1]]
        if left:
            entry.places = left
            return
        entry.done = True
        del self.open[identity]
        if self.keep_done:
            self.done[identity] = entry

    def expire(self, begins: Mapping[int, int]) -> None:
        """Forgets what Kafka has deleted: everything before these offsets."""
        for entries in (self.open, self.done):
            for identity, entry in list(entries.items()):
                entry.places = [(p, offset) for p, offset in entry.places if offset >= begins.get(p, 0)]
                if not entry.places:
                    del entries[identity]
        self.unreadable = [(p, offset) for p, offset in self.unreadable if offset >= begins.get(p, 0)]


def heaps(entries: Iterable[Entry]) -> list[Heap]:
    """By reason and connection, the largest first."""
    found: dict[tuple[str, str], Heap] = {}
    for entry in entries:
        key = (entry.reason, entry.connection)
        was = found.get(key) or Heap(*key, 0, 0, entry.failed_at, entry.failed_at)
        found[key] = Heap(
            *key,
            was.letters + 1,
            was.size + entry.size,
            min(was.first, entry.failed_at),
            max(was.last, entry.failed_at),
        )
    return sorted(found.values(), key=lambda heap: (-heap.letters, heap.reason, heap.connection))


def named(entries: Iterable[Entry], name: str) -> list[Entry]:
    """Those whose identity begins with `name` (8 digits at least), or whose origin it is."""
    prefix = name.lower() if len(name) >= 8 else None
    return [entry for entry in entries if entry.origin == name or (prefix and entry.id.startswith(prefix))]
