"""With no worker alive, `listwire lag`, the exporter and Kafka's own tool say the same of every partition; a worker ends it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from listwire import metrics, topics
from sandbox.amplitude import AmplitudeStandIn
from sandbox.kafka import EmbeddedKafka
from tests import worker_process as processes
from tests.contract.commands import listwire
from tests.delivery_bench import event_record
from tests.exporter_process import Exporter, Series, series
from tests.integration.operations import fresh_topics
from tests.worker_process import API_KEY, OTHER_KEY, PARTITIONS, Worker, until

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]
GROUP = topics.SUBSCRIPTIONS_GROUP
# Partition: records, committed offset. One partition is wholly read, one not at all (never committed), two in part.
WAITING = {0: (9, 4), 1: (5, 5), 2: (7, None), 3: (12, 1)}
LEFT = {p: records - (committed or 0) for p, (records, committed) in WAITING.items()}


async def commit(config: Path) -> None:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=processes.settings_of(config).kafka.bootstrap_servers,
        group_id=GROUP,
        enable_auto_commit=False,
    )
    await consumer.start()
    try:
        offsets = {TopicPartition(topics.WEBHOOKS, p): at for p, (_records, at) in WAITING.items() if at is not None}
        consumer.assign(list(offsets))
        await consumer.commit(offsets)
    finally:
        await consumer.stop()


def kafkas_table(broker: EmbeddedKafka) -> dict[int, tuple[int, int]]:
    """Partition: committed offset and lag, in the words of Kafka's own tool."""
    said = broker.tool(
        "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
        "--bootstrap-server", broker.bootstrap_servers, "--describe", "--group", GROUP,
    )  # fmt: skip
    assert said.returncode == 0, said.stderr
    rows = [line.split() for line in said.stdout.splitlines() if line.startswith(GROUP)]
    found = {}
    for _group, topic, partition, at, _end, lag, *_member in rows:
        assert topic == topics.WEBHOOKS
        found[int(partition)] = (int(at), int(lag))
    return found


def ours(config: Path) -> dict[str, dict[str, object]]:
    said = listwire("lag", "--json", "--config", config, cwd=config.parent)
    assert said.code == 0, said.all
    group = next(each for each in json.loads(said.out)["groups"] if each["group"] == GROUP)
    return {str(p["partition"]): p for p in group["partitions"]}


def of_partition(metric: metrics.Metric, partition: int) -> Series:
    return series(metric.name, {"group": GROUP, "topic": topics.WEBHOOKS, "partition": str(partition)})


async def test_three_accounts_of_a_dead_workers_lag_agree_and_a_worker_brings_all_to_zero(
    broker: EmbeddedKafka, tmp_path: Path
) -> None:
    async with AmplitudeStandIn(api_keys={API_KEY, OTHER_KEY}) as amplitude:
        config = processes.settings_file(tmp_path, broker.bootstrap_servers, amplitude.url)
        await fresh_topics(processes.settings_of(config))
        number = 0
        for partition, (records, _committed) in WAITING.items():
            batch = [event_record(number + n, partition) for n in range(records)]
            await processes.produce(config, batch, partition=partition)
            number += records
        await commit(config)

        async with Exporter(config, every=0.5) as exporter:
            kafka, listed = kafkas_table(broker), ours(config)
            shown = await exporter.scrape()
            # Kafka's tool leaves out a partition where nothing was ever committed; the other two count all of its log.
            assert kafka == {p: (at, LEFT[p]) for p, (_records, at) in WAITING.items() if at is not None}
            assert {int(p): row["records"] for p, row in listed.items()} == LEFT
            assert {p: shown[of_partition(metrics.LAG_RECORDS, p)] for p in WAITING} == LEFT
            assert {int(p): row["committed"] for p, row in listed.items()} == {p: at for p, (_r, at) in WAITING.items()}
            assert shown[series(metrics.GROUP_MEMBERS.name, {"group": GROUP})] == 0

            # What waits grows older, in both; what is read has no age.
            before = {p: shown[of_partition(metrics.LAG_SECONDS, p)] for p in WAITING}
            assert before[1] == 0
            assert listed["1"]["seconds"] is None

            async def older() -> bool:
                later = await exporter.scrape()
                return all(later[of_partition(metrics.LAG_SECONDS, p)] > before[p] for p in (0, 2, 3))

            await until(older, 60, lambda: "the exporter's age of the oldest record stood still")
            again = await asyncio.to_thread(ours, config)
            for p in (0, 2, 3):
                age, then = again[str(p)]["seconds"], listed[str(p)]["seconds"]
                assert isinstance(age, float)
                assert isinstance(then, float)
                assert age > then

            worker = Worker(config)
            try:
                await worker.ready(PARTITIONS)

                async def nothing_waits() -> bool:
                    now = await exporter.scrape()
                    return all(now[of_partition(metrics.LAG_RECORDS, p)] == 0 for p in WAITING)

                await until(nothing_waits, 60, lambda: f"records still wait; {worker.output}")
                assert len(amplitude.state) == sum(LEFT.values())
                assert all(row["records"] == 0 for row in (await asyncio.to_thread(ours, config)).values())
                end = await asyncio.to_thread(kafkas_table, broker)
                assert end == {p: (records, 0) for p, (records, _at) in WAITING.items()}
                shown = await exporter.scrape()
                assert {shown[of_partition(metrics.LAG_SECONDS, p)] for p in WAITING} == {0}
                assert shown[series(metrics.GROUP_MEMBERS.name, {"group": GROUP})] == 1
            finally:
                await worker.end()
