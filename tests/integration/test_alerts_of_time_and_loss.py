"""The alerts on what Kafka keeps only for a time, and on a pause that lasts: fired and cleared on a recorded run of real processes.

Retention is changed as the runbooks say, with Kafka's own tool on the live broker. Nothing is deleted behind the test's back:
the broker's own check for what is too old, every five minutes, is put off beyond the test's end.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete

from listwire import metrics, topics
from listwire.kafka_admin import admin_client, ensure
from sandbox.amplitude import AmplitudeStandIn
from sandbox.kafka import EmbeddedKafka
from tests import worker_process as processes
from tests.contract.commands import listwire
from tests.delivery_bench import event_record
from tests.exporter_process import Exporter
from tests.recorded import SCRAPE_EVERY, Recording
from tests.worker_process import API_KEY, OTHER_KEY, PARTITIONS, Worker

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]
STATUS = metrics.CONNECTION_STATUS.name
WAITING = metrics.LETTERS_WAITING.name
LOST = metrics.LOST.name
DAY = 24 * 60


@pytest.fixture
def broker() -> Iterator[EmbeddedKafka]:
    put_off = {"log.retention.check.interval.ms": "3600000", "log.initial.task.delay.ms": "3600000"}
    with EmbeddedKafka(properties=put_off) as found:
        yield found


async def keep(broker: EmbeddedKafka, topic: str, seconds: int) -> None:
    """`kafka-configs`, as the runbook has it."""
    said = await asyncio.to_thread(
        broker.tool, "kafka.admin.ConfigCommand", "--bootstrap-server", broker.bootstrap_servers, "--alter",
        "--entity-type", "topics", "--entity-name", topic, "--add-config", f"retention.ms={seconds * 1000}",
    )  # fmt: skip
    assert said.returncode == 0, said.stdout + said.stderr


async def produce(config: Path, partition: int, count: int, ago: float = 0.0) -> int:
    """The offset of the first one."""
    async with processes.producer(config) as out:
        places = []
        for number in range(count):
            record = event_record(1000 * partition + number, partition)
            places.append(
                await out.send_and_wait(
                    topics.WEBHOOKS, record.value, key=record.key, headers=list(record.headers), partition=partition,
                    timestamp_ms=int((time.time() - ago) * 1000),
                )
            )  # fmt: skip
    return int(places[0].offset)


async def operate(config: Path, *command: str) -> None:
    said = await asyncio.to_thread(listwire, *command, "--config", config, cwd=config.parent)
    assert said.code == 0, said.all


async def test_alerts_on_what_kafka_deletes_in_time_fire_and_clear(broker: EmbeddedKafka, tmp_path: Path) -> None:
    async with AmplitudeStandIn(api_keys={API_KEY, OTHER_KEY}) as amplitude:
        config = processes.settings_file(tmp_path, broker.bootstrap_servers, amplitude.url)
        await ensure(processes.settings_of(config))
        running = [Worker(config)]
        exporter = Exporter(config, every=SCRAPE_EVERY)
        try:
            await running[-1].ready(PARTITIONS)
            await exporter.start()
            run = Recording({"worker": lambda: running[-1].url, "exporter": lambda: exporter.url})

            # Healthy: every alert is silent at every scrape.
            for partition in range(PARTITIONS):
                await produce(config, partition, 3)
            await run.until(STATUS, lambda status: status == 1, connection="sources.newsletter")
            await run.until_none(metrics.LAG_RECORDS.name)
            await run.steps(4)
            run.expect_silence_since(0)

            # The worker is stopped, and what waits is 200 s old where Kafka keeps 300.
            await running[-1].stop()
            begins = [await produce(config, partition, 4, ago=200) for partition in (0, 1)]
            await keep(broker, topics.WEBHOOKS, 300)
            await run.until(metrics.RETENTION.name, lambda kept: kept == 300, topic=topics.WEBHOOKS)
            await run.until(metrics.LAG_SECONDS.name, lambda age: age > 150)
            await run.steps(4)
            run.expect("ListwireNoWorker", "ListwireRecordsAboutToExpire")

            # As the runbook says, time first: the same records wait, and nothing is about to delete them.
            await keep(broker, topics.WEBHOOKS, 30 * 86_400)
            await run.until(metrics.RETENTION.name, lambda kept: kept == 30 * 86_400, topic=topics.WEBHOOKS)
            run.expect("ListwireNoWorker")

            # Two of four records are deleted in one partition, all four in another.
            async with admin_client(processes.settings_of(config).kafka) as admin:
                ends = (begins[0] + 2, begins[1] + 4)
                await admin.delete_records(
                    {TopicPartition(topics.WEBHOOKS, p): RecordsToDelete(before_offset=end) for p, end in enumerate(ends)}
                )  # fmt: skip
            await run.until(LOST, lambda lost: lost == 2, partition="0")
            await run.until(LOST, lambda lost: lost == 4, partition="1")
            run.expect("ListwireNoWorker", "ListwireRecordsLost")

            # A worker reads on: over the gap at once, and at the end of a partition with its next record.
            running.append(Worker(config, "successor"))
            await running[-1].ready(PARTITIONS)
            await run.until(metrics.GROUP_MEMBERS.name, lambda count: count == 1, group=topics.SUBSCRIPTIONS_GROUP)
            await run.until(LOST, lambda lost: lost == 0, topic=topics.WEBHOOKS, partition="0")
            await run.steps(2)
            run.expect("ListwireRecordsLost")
            await produce(config, 1, 1)
            await run.until_none(LOST)
            run.expect()

            # A source is paused for a day. In the night its worker is started anew.
            await operate(config, "pause", "newsletter", "--why", "a migration")
            await run.until(STATUS, lambda status: status == 4, connection="sources.newsletter")
            paused_at = len(run.scrapes)
            await produce(config, 2, 3)
            await run.until(WAITING, lambda count: count == 3, connection="sources.newsletter")
            await run.hold(DAY // 2)
            await run.step()
            run.expect("ListwireDeadLetters")
            await running[-1].stop()
            await run.steps(2)
            running.append(Worker(config, "of-the-morning"))
            await running[-1].ready(PARTITIONS)
            await run.until(metrics.GROUP_MEMBERS.name, lambda count: count == 1, group=topics.SUBSCRIPTIONS_GROUP)
            await run.until(STATUS, lambda status: status == 4, connection="sources.newsletter")
            await run.hold(DAY - 2 - (len(run.scrapes) - paused_at))
            run.expect("ListwireDeadLetters")
            await run.hold(3)
            await run.step()
            run.expect("ListwireDeadLetters", "ListwirePausedForLong")

            # Dead letters are kept for so short that Kafka will soon delete those of the pause.
            await keep(broker, topics.DEAD_LETTERS, 20)
            await run.until(metrics.LETTERS_OLDEST.name, lambda age: age > 15, connection="sources.newsletter")
            await run.until(metrics.RETENTION.name, lambda kept: kept == 20, topic=topics.DEAD_LETTERS)
            await run.steps(7)
            run.expect("ListwireDeadLetters", "ListwireDeadLettersAboutToExpire", "ListwirePausedForLong")

            # Resumed: the letters are replayed, so none is left to be deleted; the pause is forgotten a quarter of an hour later.
            await operate(config, "resume", "newsletter")
            await run.until_none(WAITING)
            await run.until(STATUS, lambda status: status == 1, connection="sources.newsletter")
            run.expect("ListwirePausedForLong")
            await run.hold(15)
            await run.step()
            run.expect()
        finally:
            await exporter.stop()
            for each in running:
                await each.end()
    run.check(tmp_path)
