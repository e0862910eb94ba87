"""What only Kafka knows, for Prometheus: lag, groups, dead letters, topics. Alive when no worker is.

It reads and never joins a group. While Kafka is away the last values stand for a minute; then they go, since an alert must not
rest on numbers that nobody reads any more: `listwire_exporter_up` tells.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError as ClientError

from listwire import logs, metrics, topics
from listwire.clock import Clock, SystemClock
from listwire.errors import KafkaError
from listwire.kafka_admin import TopicState, admin_client, read_topics
from listwire.kafka_log_dirs import topic_bytes
from listwire.kafka_reader import Bounds, Reader
from listwire.lag import GroupLag
from listwire.lag_reader import LagReader
from listwire.letter_box import LetterBox
from listwire.letter_index import Heap, heaps
from listwire.settings.models import Kafka

log = logs.get("listwire.exporter")

EVERY = 5.0
# A reading that takes longer is given up; the first one reads the whole dead-letter topic.
PATIENCE = 300.0
STALE = 60.0
SERIES = (
    metrics.LAG_RECORDS, metrics.LAG_SECONDS, metrics.LOST, metrics.GROUP_MEMBERS, metrics.GROUP_STATE,
    metrics.LETTERS_WAITING, metrics.LETTERS_OLDEST, metrics.RETENTION, metrics.TOPIC_RECORDS, metrics.TOPIC_BYTES,
)  # fmt: skip


class Exporter:
    def __init__(self, kafka: Kafka, *, clock: Clock | None = None) -> None:
        self.kafka = kafka
        self.clock = clock or SystemClock()
        self._connections: AsyncExitStack | None = None
        self._admin: AIOKafkaAdminClient
        self._lag: LagReader
        self._reader: Reader
        # Letters are counted on where the last reading ended, connections come and go.
        self._box: LetterBox | None = None
        self._attempt = self.clock.monotonic()
        self._success: float | None = None
        self._fault = "Kafka has not been read yet"

    async def run(self) -> None:
        """For ever."""
        try:
            while True:
                await self.refresh()
                await self.clock.sleep(EVERY)
        finally:
            await self._disconnect()

    async def refresh(self) -> bool:
        """One reading; false where Kafka did not give it. Never raises for what may pass."""
        self._attempt = self.clock.monotonic()
        try:
            async with asyncio.timeout(PATIENCE):
                await self._connect()
                await self._read()
        except (KafkaError, ClientError, OSError) as fault:
            self._failed(str(fault) or type(fault).__name__)
            await self._disconnect()
            return False
        if self._fault:
            log.info("reading Kafka")
        self._success, self._fault = self.clock.monotonic(), ""
        metrics.EXPORTER_UP().set(1)
        return True

    def health(self) -> tuple[bool, str]:
        """Kafka being away is no reason to start the exporter anew; standing still is."""
        still = self.clock.monotonic() - self._attempt
        return still < PATIENCE + STALE, f"last look at Kafka {still:.0f} s ago"

    def ready(self) -> tuple[bool, str]:
        return not self._fault, self._fault or "Kafka is read"

    def _failed(self, words: str) -> None:
        if words != self._fault:
            log.warning("cannot read Kafka", fault=words)
        self._fault = words
        metrics.EXPORTER_UP().set(0)
        if self._success is not None and self.clock.monotonic() - self._success > STALE:
            for metric in SERIES:
                metric.replace({})

    async def _connect(self) -> None:
        if self._connections is None:
            async with AsyncExitStack() as stack:
                self._admin = await stack.enter_async_context(admin_client(self.kafka))
                self._lag = await stack.enter_async_context(LagReader(self.kafka, clock=self.clock))
                self._reader = await stack.enter_async_context(Reader(self.kafka, clock=self.clock))
                self._connections = stack.pop_all()
        if self._box is None:
            self._box = LetterBox(self._reader)
        self._box.reader = self._reader

    async def _disconnect(self) -> None:
        if self._connections is not None:
            stack, self._connections = self._connections, None
            try:
                await stack.aclose()
            except (KafkaError, ClientError, OSError) as fault:
                log.debug("closing", fault=str(fault))

    async def _read(self) -> None:
        """Everything is read before anything is shown: a scrape sees one reading, whole."""
        if self._box is None:
            raise KafkaError("not connected")
        lags = await self._lag.read()
        index = await self._box.refresh()
        bounds = {name: await self._reader.bounds(name) for name in topics.BY_NAME}
        states = await read_topics(self._admin)
        sizes = await self._sizes(states)
        show_lag(lags)
        show_letters(heaps(index.open.values()), self.clock.time())
        show_topics(bounds, states, sizes)

    async def _sizes(self, states: Mapping[str, TopicState]) -> dict[str, int]:
        """Left out where this user may not describe the cluster."""
        try:
            return await topic_bytes(self._admin, {name: state.partitions for name, state in states.items()})
        except ClientError as fault:
            log.debug("no sizes of topics", fault=str(fault))
            return {}


def show_lag(lags: list[GroupLag]) -> None:
    places = [((lag.group, lag.topic, str(p.partition)), p) for lag in lags for p in lag.partitions]
    metrics.LAG_RECORDS.replace({labels: p.records for labels, p in places})
    metrics.LAG_SECONDS.replace({labels: p.seconds or 0.0 for labels, p in places})
    metrics.LOST.replace({labels: p.lost for labels, p in places})
    metrics.GROUP_MEMBERS.replace({(lag.group,): len(lag.members) for lag in lags})
    metrics.GROUP_STATE.replace({(lag.group, lag.state): 1 for lag in lags})


def show_letters(waiting: list[Heap], now: float) -> None:
    metrics.LETTERS_WAITING.replace({(heap.connection, heap.reason): heap.letters for heap in waiting})
    metrics.LETTERS_OLDEST.replace(
        {(heap.connection, heap.reason): max(0.0, now - heap.first / 1000) for heap in waiting}
    )


def show_topics(
    bounds: Mapping[str, Mapping[int, Bounds]], states: Mapping[str, TopicState], sizes: Mapping[str, int]
) -> None:
    metrics.TOPIC_RECORDS.replace(
        {(name,): sum(b.end - b.begin for b in partitions.values()) for name, partitions in bounds.items()}
    )
    metrics.TOPIC_BYTES.replace({(name,): size for name, size in sizes.items()})
    kept = {name: state.retention_ms for name, state in states.items()}
    metrics.RETENTION.replace({(name,): ms / 1000 if ms >= 0 else -1 for name, ms in kept.items() if ms is not None})
