"""The exporter against a real Kafka that comes and goes, with no worker anywhere."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from prometheus_client import REGISTRY

from listwire import metrics, topics
from listwire.exporter import STALE, Exporter
from listwire.kafka_admin import admin_client
from listwire.settings import Settings
from sandbox.kafka import EmbeddedKafka
from tests.integration import operations
from tests.unit.letters import letter, mark_of

pytestmark = [pytest.mark.kafka, pytest.mark.xdist_group("exporter")]
KINDS = {"connection": "sources.newsletter", "reason": "connection_refused"}


@asynccontextmanager
async def exporting(settings: Settings, clock: object = None) -> AsyncIterator[Exporter]:
    exporter = Exporter(settings.kafka, clock=clock)
    try:
        yield exporter
    finally:
        await exporter._disconnect()


def value(metric: metrics.Metric, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(metric.name, labels)


def lag(partition: int) -> float | None:
    labels = {"group": topics.SUBSCRIPTIONS_GROUP, "topic": topics.WEBHOOKS, "partition": str(partition)}
    return value(metrics.LAG_RECORDS, **labels)


async def produce(settings: Settings, count: int, partition: int = 0) -> None:
    async with operations.producer(settings) as out:
        for _ in range(count):
            await out.send_and_wait(topics.WEBHOOKS, b"x" * 100, partition=partition)


async def test_everything_that_only_kafka_knows_is_shown(settings: Settings) -> None:
    await produce(settings, 3, partition=1)
    await operations.bury(settings, [letter(value=b"%d" % n) for n in range(4)])
    async with exporting(settings) as exporter:
        assert not exporter.ready()[0]
        assert await exporter.refresh()
        assert exporter.ready()[0]
        assert exporter.health()[0]
    assert [lag(p) for p in range(operations.PARTITIONS)] == [0, 3, 0]
    age = value(metrics.LAG_SECONDS, group=topics.SUBSCRIPTIONS_GROUP, topic=topics.WEBHOOKS, partition="1")
    assert age is not None
    assert age > 0
    assert value(metrics.GROUP_MEMBERS, group=topics.SUBSCRIPTIONS_GROUP) == 0
    assert value(metrics.LETTERS_WAITING, **KINDS) == 4
    assert value(metrics.RETENTION, topic=topics.COHORT_CHANGES) == 30 * 86400
    assert value(metrics.TOPIC_RECORDS, topic=topics.WEBHOOKS) == 3
    assert (value(metrics.TOPIC_BYTES, topic=topics.WEBHOOKS) or 0) > 300
    assert value(metrics.EXPORTER_UP) == 1


async def test_dead_letters_are_counted_on_and_marks_subtract(settings: Settings) -> None:
    letters = [letter(value=b"%d" % n) for n in range(3)]
    async with exporting(settings) as exporter:
        await exporter.refresh()
        assert value(metrics.LETTERS_WAITING, **KINDS) is None
        await operations.bury(settings, letters)
        await exporter.refresh()
        assert value(metrics.LETTERS_WAITING, **KINDS) == 3
        written = await operations.records(settings, topics.DEAD_LETTERS)
        async with operations.producer(settings) as out:
            mark = mark_of(letters[0].id, written[0].partition, 0)
            await out.send_and_wait(
                topics.DEAD_LETTERS, None, key=mark.key, partition=mark.partition, headers=list(mark.headers)
            )
        await exporter.refresh()
        assert value(metrics.LETTERS_WAITING, **KINDS) == 2


async def test_a_topic_made_anew_is_counted_from_its_begin(settings: Settings) -> None:
    async with exporting(settings) as exporter:
        await operations.bury(settings, [letter(value=b"%d" % n) for n in range(5)])
        await produce(settings, 5)
        await exporter.refresh()
        await operations.fresh_topics(settings)
        await operations.bury(settings, [letter(value=b"new")])
        async with asyncio.timeout(60):
            while not await exporter.refresh() or value(metrics.LETTERS_WAITING, **KINDS) != 1:
                await asyncio.sleep(0.1)
        assert lag(0) == 0


class Later:
    """A clock that can be put forward."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def time(self) -> float:
        return 1_800_000_000.0

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time() + self.ahead

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)

    async def wait(self, event: asyncio.Event, seconds: float) -> bool:
        return event.is_set()


async def test_a_broker_that_goes_away_is_told_and_found_again(broker: EmbeddedKafka, settings: Settings) -> None:
    clock = Later()
    await produce(settings, 2)
    async with exporting(settings, clock) as exporter:
        assert await exporter.refresh()
        await asyncio.to_thread(broker.kill)
        assert not await exporter.refresh()
        assert value(metrics.EXPORTER_UP) == 0
        assert exporter.health()[0]
        good, words = exporter.ready()
        assert not good
        assert "Kafka at" in words
        assert lag(0) == 2, "a short absence leaves no gap in a graph"
        clock.ahead += STALE + 1
        assert not await exporter.refresh()
        assert lag(0) is None, "nobody should rest on numbers that are not read any more"
        await asyncio.to_thread(broker.start)
        async with asyncio.timeout(60):
            while not await exporter.refresh():
                await asyncio.sleep(0.1)
        assert (lag(0), value(metrics.EXPORTER_UP)) == (2, 1)
        await produce(settings, 1)
        assert await exporter.refresh()
        assert lag(0) == 3


async def test_topics_that_are_absent_are_named_and_waited_for(settings: Settings) -> None:
    async with admin_client(settings.kafka) as admin:
        await admin.delete_topics([topics.DEAD_LETTERS])
    async with exporting(settings) as exporter:
        assert not await exporter.refresh()
        assert "listwire topics ensure" in exporter.ready()[1]
        await operations.fresh_topics(settings)
        async with asyncio.timeout(60):
            while not await exporter.refresh():
                await asyncio.sleep(0.1)


async def test_the_command_answers_over_http_until_it_is_told_to_stop(config: Path, settings: Settings) -> None:
    await produce(settings, 2)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "listwire", "exporter", "--config", str(config), "--host", "127.0.0.1", "--port", "0",
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stderr is not None
    async with asyncio.timeout(60), httpx.AsyncClient() as client:
        line = (await process.stderr.readline()).decode()
        root = "http://127.0.0.1:" + line.split("127.0.0.1:")[1].split("/")[0]
        while (await client.get(f"{root}/readyz")).status_code != 200:
            await asyncio.sleep(0.1)
        shown = (await client.get(f"{root}/metrics")).text
        assert (await client.get(f"{root}/healthz")).status_code == 200
        process.terminate()
        _out, err = await process.communicate()
    assert (
        'listwire_consumer_lag_records{group="listwire-subscriptions",partition="0",topic="listwire.webhooks"} 2.0'
        in shown
    )
    assert process.returncode == 0
    assert b"Traceback" not in err
