"""Reads the topics for one address. Belongs to no group, changes nothing, and holds only what names the address."""

from __future__ import annotations

from aiokafka.errors import KafkaError as ClientError

from listwire import topics
from listwire.kafka import unreachable
from listwire.kafka_admin import admin_client
from listwire.kafka_groups import read_group
from listwire.kafka_reader import Reader
from listwire.settings import Settings
from listwire.trace import Progress, Trace, Tracer, Who


async def trace(
    settings: Settings, who: Who, *, since: int | None = None, progress: Progress = lambda _done, _total: None
) -> Trace:
    """Everything that Kafka still has of it, or since that moment (ms). Raises KafkaError.

    The offsets are read first: what was not settled then may be by the end, but never the other way round.
    """
    committed = await _committed(settings)
    tracer = Tracer(who, settings)
    async with Reader(settings.kafka) as reader:
        ways: list[tuple[str, int, int, int]] = []
        for topic in topics.TOPICS:
            bounds = await reader.bounds(topic.name)
            starts = {} if since is None else await reader.since(topic.name, since)
            ways += [(topic.name, p, max(b.begin, starts.get(p, 0)), b.end) for p, b in sorted(bounds.items())]
        total = sum(end - start for *_, start, end in ways)
        done = 0
        progress(done, total)
        for topic_name, partition, start, end in ways:
            async for records in reader.read(topic_name, partition, start, end):
                for record in records:
                    tracer.add(topic_name, record)
                done += len(records)
                progress(done, total)
    progress(total, total)
    return tracer.result(committed)


async def _committed(settings: Settings) -> dict[tuple[str, int], int]:
    found: dict[tuple[str, int], int] = {}
    async with admin_client(settings.kafka) as admin:
        for name in topics.GROUPS:
            try:
                found |= (await read_group(admin, name)).committed
            except (ClientError, OSError) as fault:
                raise unreachable(settings.kafka, fault, f"Describe on the group {name}") from fault
    return found
