"""The dead-letter topic, read: what waits in it, and the letters themselves. Never writes; keeps no letter's value.

`refresh` reads only what is new since the last time, so the exporter and the console can ask again and again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence

from listwire import dead_letters, topics
from listwire.dead_letters import Letter
from listwire.kafka_reader import Place, Reader
from listwire.letter_index import Entry, Index

# Letters held at a time while they are read again, and their bytes.
CHUNK = 200
CHUNK_BYTES = 4 << 20
# Told as (records read, records to read).
Progress = Callable[[int, int], None]


class LetterBox:
    """Uses `reader` alone while one of its methods runs. `most`: only the topic's newest records, about so many, to be bounded
    in memory however many letters there are; `left_out` counts the older ones.
    """

    def __init__(self, reader: Reader, *, keep_done: bool = False, most: int | None = None) -> None:
        self.reader = reader
        self.most = most
        self.left_out = 0
        self.index = Index(keep_done)
        self._positions: dict[int, int] = {}

    async def refresh(self, progress: Progress | None = None) -> Index:
        """Raises KafkaError; TopicsError where the topic is absent."""
        bounds = await self.reader.bounds(topics.DEAD_LETTERS)
        if any(self._positions.get(p, 0) > b.end for p, b in bounds.items()):
            # The topic was made anew: what we know is of the old one.
            self.index, self._positions = Index(self.index.keep_done), {}
        share = None if self.most is None else self.most // len(bounds)
        floors = {p: b.begin if share is None else max(b.begin, b.end - share) for p, b in bounds.items()}
        self.left_out = sum(floors[p] - b.begin for p, b in bounds.items())
        starts = {p: max(floor, self._positions.get(p, 0)) for p, floor in floors.items()}
        total = sum(bounds[p].end - start for p, start in starts.items())
        read = 0
        for partition, start in starts.items():
            async for records in self.reader.read(topics.DEAD_LETTERS, partition, start, bounds[partition].end):
                for record in records:
                    self.index.add(record)
                    self._positions[partition] = record.offset + 1
                read += len(records)
                if progress:
                    progress(read, total)
            self._positions[partition] = bounds[partition].end
        self.index.expire(floors)
        return self.index

    async def letters(self, entries: Iterable[Entry]) -> AsyncIterator[list[tuple[Entry, Letter | None]]]:
        """In the given order, some at a time; None for a letter that Kafka has deleted meanwhile."""
        for chunk in chunks(entries):
            found = await self.reader.at(topics.DEAD_LETTERS, [entry.places[0] for entry in chunk])
            pairs: list[tuple[Entry, Letter | None]] = []
            for entry in chunk:
                place: Place = entry.places[0]
                record = found.get(place)
                letter = dead_letters.read(record.key, record.value, record.headers, place) if record else None
                pairs.append((entry, letter if isinstance(letter, Letter) else None))
            yield pairs


def chunks(entries: Iterable[Entry]) -> Iterable[Sequence[Entry]]:
    """At most CHUNK letters and CHUNK_BYTES, except where a single letter is larger."""
    held: list[Entry] = []
    size = 0
    for entry in entries:
        if held and (len(held) >= CHUNK or size + entry.size > CHUNK_BYTES):
            yield held
            held, size = [], 0
        held.append(entry)
        size += entry.size
    if held:
        yield held
