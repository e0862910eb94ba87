"""Lag against a real Kafka: what a group has left, whoever runs or does not."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete

from listwire import topics
from listwire.errors import TopicsError
from listwire.kafka_admin import admin_client
from listwire.kafka_reader import Reader
from listwire.lag import GroupLag
from listwire.lag_reader import LagReader
from listwire.replay import visible
from listwire.settings import Settings
from tests.contract.commands import listwire
from tests.integration import operations

pytestmark = pytest.mark.kafka


async def lag_of(settings: Settings, group: str = topics.SUBSCRIPTIONS_GROUP) -> GroupLag:
    async with LagReader(settings.kafka) as reader:
        return next(lag for lag in await reader.read() if lag.group == group)


async def produce(settings: Settings, count: int, *, topic: str = topics.WEBHOOKS, size: int = 10) -> None:
    async with operations.producer(settings) as out:
        for number in range(count):
            await out.send_and_wait(topic, b"x" * size, partition=number % operations.PARTITIONS)


async def transact(settings: Settings, count: int, *, commit: bool = True) -> None:
    """Returns when committed reads see it: Kafka answers before it has written the marker."""
    async with operations.producer(settings, transactional_id="upstream") as out:
        await out.begin_transaction()
        written = [await out.send_and_wait(topics.WEBHOOKS, b"x", partition=0) for _ in range(count)]
        await (out.commit_transaction() if commit else out.abort_transaction())
    async with Reader(settings.kafka) as reader:
        await visible(reader, written)


async def consume_all(consumer: object, count: int) -> None:
    seen = 0
    async with asyncio.timeout(30):
        while seen < count:
            seen += sum(len(found) for found in (await consumer.getmany(timeout_ms=500)).values())


async def test_a_group_that_never_was_has_everything_before_it(settings: Settings) -> None:
    await produce(settings, 7)
    lag = await lag_of(settings)
    assert (lag.working, lag.members, lag.records, lag.lost) == (False, (), 7, 0)
    assert [p.records for p in lag.partitions] == [3, 2, 2]
    assert all(p.committed is None for p in lag.partitions)
    assert lag.seconds is not None
    assert 0 <= lag.seconds < 60


async def test_what_is_committed_counts_whether_a_worker_runs_or_not(settings: Settings) -> None:
    await produce(settings, 6)
    async with operations.member(settings, topics.SUBSCRIPTIONS_GROUP, topics.WEBHOOKS) as consumer:
        await consume_all(consumer, 6)
        assert (await lag_of(settings)).records == 6
        await consumer.commit()
        lag = await lag_of(settings)
        assert (lag.state, lag.records, lag.seconds) == ("Stable", 0, None)
        (only,) = lag.members
        assert only.partitions == tuple((topics.WEBHOOKS, p) for p in range(operations.PARTITIONS))
    await produce(settings, 3)
    lag = await lag_of(settings)
    assert (lag.state, lag.records) == ("Empty", 3)


async def test_markers_are_not_lag(settings: Settings) -> None:
    await transact(settings, 5)
    assert (await lag_of(settings)).records == 5
    async with operations.member(settings, topics.SUBSCRIPTIONS_GROUP, topics.WEBHOOKS) as consumer:
        await consume_all(consumer, 5)
        # Right behind the last record, in front of its transaction's marker.
        await consumer.commit({tp: 5 for tp in consumer.assignment() if tp.partition == 0})
    lag = await lag_of(settings)
    assert (lag.partitions[0].committed, lag.partitions[0].end) == (5, 6)
    assert (lag.records, lag.seconds) == (0, None)


async def test_an_aborted_transaction_is_not_lag(settings: Settings) -> None:
    await transact(settings, 5, commit=False)
    assert (await lag_of(settings)).records == 0
    await transact(settings, 1)
    assert (await lag_of(settings)).records == 1


async def test_a_transaction_under_way_is_not_yet_lag(settings: Settings) -> None:
    async with operations.producer(settings, transactional_id="upstream") as out:
        await out.begin_transaction()
        await out.send_and_wait(topics.WEBHOOKS, b"x", partition=0)
        assert (await lag_of(settings)).records == 0
        await out.commit_transaction()
    async with asyncio.timeout(30):
        while (await lag_of(settings)).records != 1:
            await asyncio.sleep(0.05)


async def test_a_large_record_is_read_whole_for_its_age(settings: Settings) -> None:
    await produce(settings, 2, topic=topics.COHORT_CHANGES, size=3 << 20)
    lag = await lag_of(settings, topics.COHORTS_GROUP)
    assert lag.records == 2
    assert lag.seconds is not None


async def test_a_record_that_cannot_be_decoded_still_waits(settings: Settings) -> None:
    await operations.produce_undecodable(settings, topics.WEBHOOKS, 1)
    await produce(settings, 3)
    assert (await lag_of(settings)).records == 4


async def test_what_kafka_deleted_unread_is_told(settings: Settings) -> None:
    await produce(settings, 9)
    async with operations.member(settings, topics.SUBSCRIPTIONS_GROUP, topics.WEBHOOKS) as consumer:
        await consume_all(consumer, 9)
        await consumer.commit(dict.fromkeys(consumer.assignment(), 1))
    async with admin_client(settings.kafka) as admin:
        await admin.delete_records({TopicPartition(topics.WEBHOOKS, 0): RecordsToDelete(2)})
    lag = await lag_of(settings)
    assert [(p.records, p.lost) for p in lag.partitions] == [(1, 1), (2, 0), (2, 0)]


async def test_one_reader_follows_what_happens(settings: Settings) -> None:
    async with LagReader(settings.kafka) as reader:
        seen = []
        for count in (2, 0, 4):
            await produce(settings, count)
            seen.append((await reader.read())[0].records)
        async with operations.member(settings, topics.SUBSCRIPTIONS_GROUP, topics.WEBHOOKS) as consumer:
            await consume_all(consumer, 6)
            await consumer.commit()
        seen.append((await reader.read())[0].records)
    assert seen == [2, 2, 6, 0]


async def test_an_absent_topic_is_one_sentence(settings: Settings) -> None:
    async with admin_client(settings.kafka) as admin:
        await admin.delete_topics([topics.WEBHOOKS])
    with pytest.raises(TopicsError, match=r"listwire\.webhooks does not exist: run `listwire topics ensure`"):
        await lag_of(settings)


async def test_the_command_speaks_to_people_and_to_scripts(settings: Settings, config: Path) -> None:
    await produce(settings, 5)
    said = await asyncio.to_thread(listwire, "lag", "--config", config, cwd=config.parent)
    assert said.code == 0
    assert "subscriptions: 5 records wait, the oldest for" in said.out
    assert "cohorts: nothing waits; no worker runs." in said.out
    read = await asyncio.to_thread(listwire, "lag", "--json", "--config", config, cwd=config.parent)
    document = json.loads(read.out)
    assert document["records"] == 5
    assert [(g["group"], g["records"], g["members"]) for g in document["groups"]] == [
        ("listwire-subscriptions", 5, []),
        ("listwire-cohorts", 0, []),
    ]


async def test_watching_without_a_terminal_is_a_line_a_look(settings: Settings, config: Path) -> None:
    await produce(settings, 5)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "listwire", "--config", str(config), "lag", "--watch", "--json", "--interval", "0.2",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    async with asyncio.timeout(60):
        first = json.loads(await process.stdout.readline())
        await produce(settings, 2)
        while (latest := json.loads(await process.stdout.readline()))["records"] != 7:
            assert latest["records"] >= 5
        process.send_signal(2)
        _out, err = await process.communicate()
    assert first["records"] == 5
    assert (process.returncode, err) == (0, b"")
