"""When no webhook reached the ingress, asked of Kafka by offsets alone: where the topic stood at each quarter of an hour.

A few quarters a look, so that a week is known after a few minutes and nobody waits for it. Of all sources together: an ingress
that is away is away for all. Reads no record.
"""

from __future__ import annotations

from listwire import topics
from listwire.backfill.gaps import DAY, DAYS, SLOT, Gap, gaps
from listwire.clock import Clock
from listwire.kafka_reader import Reader

A_LOOK = 12
# The newest gap is shown that long; later the topic may no longer be complete.
SHOWN = 6 * DAY


class Quiet:
    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        # Quarter → the sum of the offsets at which records of it, or of a later one, begin.
        self._stood: dict[int, int] = {}
        self._begin = 0

    async def look(self, reader: Reader) -> None:
        """Raises KafkaError; what is known stays."""
        present = int(self.clock.time()) // SLOT
        oldest = present - (DAYS + 1) * DAY
        self._stood = {slot: stood for slot, stood in self._stood.items() if slot >= oldest}
        missing = [slot for slot in range(present, oldest, -1) if slot not in self._stood][:A_LOOK]
        if not missing:
            return
        self._begin = sum(bounds.begin for bounds in (await reader.bounds(topics.WEBHOOKS)).values())
        for slot in missing:
            self._stood[slot] = sum((await reader.since(topics.WEBHOOKS, slot * SLOT * 1000)).values())

    def gap(self) -> Gap | None:
        """The newest one. Before its first record the topic tells nothing."""
        now = self.clock.time()
        counts = {
            slot: self._stood[slot + 1] - stood
            for slot, stood in self._stood.items()
            if slot + 1 in self._stood and stood > self._begin
        }
        found = [gap for gap in gaps(counts, now) if gap.since > now - SHOWN * SLOT]
        return found[-1] if found else None
