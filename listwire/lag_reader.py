"""The connection to Kafka that lag is read through: kept between readings, and made anew by whoever catches its error."""

from __future__ import annotations

from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError as ClientError

from listwire import topics
from listwire.clock import Clock, SystemClock
from listwire.kafka import unreachable
from listwire.kafka_admin import admin_client
from listwire.kafka_groups import read_group
from listwire.kafka_reader import Reader
from listwire.lag import FETCH_BYTES, Backlog, GroupLag
from listwire.settings.models import Kafka


class LagReader:
    """`read()` is one reading of every group. After an error it must be closed: open another one."""

    def __init__(self, kafka: Kafka, *, clock: Clock | None = None) -> None:
        self.kafka = kafka
        self.clock = clock or SystemClock()
        self._stack = AsyncExitStack()
        self._admin: AIOKafkaAdminClient
        self._reader: Reader
        self._backlog: Backlog

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            self._admin = await stack.enter_async_context(admin_client(self.kafka))
            self._reader = await stack.enter_async_context(
                Reader(self.kafka, fetch_bytes=FETCH_BYTES, clock=self.clock)
            )
            self._stack = stack.pop_all()
        self._backlog = Backlog(self._reader)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def read(self) -> list[GroupLag]:
        return [await self.read_group(group, topic) for group, topic in topics.GROUPS.items()]

    async def read_group(self, name: str, topic: str) -> GroupLag:
        """The offsets first, then the topic's bounds: the other way round a commit in between would lie behind the end,
        like one of a topic that was made anew.
        """
        try:
            group = await read_group(self._admin, name)
        except (ClientError, OSError) as fault:
            raise unreachable(self.kafka, fault, f"Describe on the group {name}") from fault
        bounds = await self._reader.bounds(topic)
        committed = {partition: offset for (of, partition), offset in group.committed.items() if of == topic}
        partitions = await self._backlog.of(name, topic, committed, bounds, self.clock.time())
        return GroupLag(name, topic, group.state, group.members, partitions)
