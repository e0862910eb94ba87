"""The way into Kafka: what is true is acknowledged, a broken producer is replaced, and an outage costs neither time nor memory."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from aiokafka.errors import KafkaTimeoutError, MessageSizeTooLargeError, OutOfOrderSequenceNumber

from ingress.keys import partition_of
from ingress.producer import KafkaStore
from ingress.worker import BATCH_BYTES
from listwire import topics
from listwire.errors import SettingsError
from tests import virtual_time
from tests.broker_stand_in import PARTITIONS, TOPIC, A, B, Broker, put, running


def run(main: Coroutine[Any, Any, None]) -> None:
    virtual_time.run(main)


def test_true_means_that_the_broker_has_it_in_the_partition_of_its_key() -> None:
    async def main() -> None:
        broker = Broker()
        async with running(broker) as store:
            assert await put(store, A, b"one")
            assert await put(store, B, b"two")
        assert broker.records == [(partition_of(A, PARTITIONS), b"one"), (partition_of(B, PARTITIONS), b"two")]

    run(main())


def test_a_refused_batch_costs_the_producer_its_life_and_the_next_one_takes_over() -> None:
    async def main() -> None:
        broker = Broker()
        async with running(broker) as store:
            broker.refuses = MessageSizeTooLargeError()
            assert await put(store) is False
            assert await put(store) is False, "its sequence is broken"
            await asyncio.sleep(0.1)
            assert await put(store) is True
            assert [each.closed for each in broker.producers] == [True, False]

    run(main())


def test_while_one_producer_is_replaced_the_other_partitions_go_on() -> None:
    async def main() -> None:
        broker = Broker()
        async with running(broker) as store:
            broker.refuses = OutOfOrderSequenceNumber()
            assert await put(store, A) is False
            assert await put(store, A) is False
            assert await put(store, B) is True
            assert len(broker.producers) == 1
            broker.silent = {partition_of(B, PARTITIONS)}
            waiting = asyncio.create_task(put(store, B))
            await asyncio.sleep(0.3)
            assert len(broker.producers) == 2
            broker.silent = set()
            assert await waiting is True, "what the old one had under way is waited for"

    run(main())


def test_a_producer_whose_sender_has_died_is_replaced() -> None:
    async def main() -> None:
        broker = Broker()
        async with running(broker) as store:
            broker.broken_for_good = True
            assert await put(store) is False
            broker.broken_for_good = False
            await asyncio.sleep(0.1)
            assert await put(store) is True
            assert len(broker.producers) == 2

    run(main())


def test_an_outage_is_waited_out_once_and_then_costs_nothing() -> None:
    async def main() -> None:
        broker = Broker()
        loop = asyncio.get_running_loop()
        async with running(broker) as store:
            broker.up = False
            assert await put(store) is None
            await asyncio.sleep(0.2)
            began = loop.time()
            assert [await put(store) for _ in range(50)] == [False] * 50
            assert loop.time() - began < 0.001
            assert broker.producers[0].waiting == 1, "nothing more is handed over"
            broker.up = True
            broker.producers[0].answer()
            await asyncio.sleep(0)
            assert await put(store) is True
            assert broker.records == [(partition_of(A, PARTITIONS), b"v")] * 2
            assert len(broker.producers) == 1

    run(main())


def test_a_partition_that_keeps_silent_makes_nobody_wait_but_its_own_keys() -> None:
    async def main() -> None:
        broker = Broker()
        broker.silent = {partition_of(A, PARTITIONS)}
        async with running(broker) as store:
            assert await put(store, A) is None
            await asyncio.sleep(0.2)
            assert await put(store, A) is False
            assert await put(store, B) is True
            assert await store.ready()
            broker.silent = set()
            broker.producers[0].answer()

    run(main())


def test_bytes_under_way_are_bounded_also_after_their_requests_were_answered() -> None:
    async def main() -> None:
        broker = Broker()
        broker.silent = set(range(PARTITIONS))
        async with running(broker, most_bytes=250) as store:
            assert [await put(store, A, b"x" * 100, within=1) for _ in range(2)] == [None, None]
            assert await put(store, B, b"x" * 100, within=1) is False
            broker.silent = set()
            broker.producers[0].answer()
            await asyncio.sleep(0.01)
            assert await put(store, B, b"x" * 100) is True

    run(main())


def test_silence_of_a_kafka_that_can_be_reached_brings_another_producer() -> None:
    async def main() -> None:
        broker = Broker()
        broker.silent = {partition_of(A, PARTITIONS)}
        async with running(broker) as store:
            assert await put(store, A) is None
            await asyncio.sleep(20)
            assert len(broker.producers) == 1
            await asyncio.sleep(4)
            assert len(broker.producers) == 2
            broker.silent = set()
            assert await put(store, A) is True

    run(main())


def test_without_a_leader_another_producer_would_not_help() -> None:
    async def main() -> None:
        broker = Broker()
        broker.silent = broker.leaderless = {partition_of(A, PARTITIONS)}
        async with running(broker) as store:
            assert await put(store, A) is None
            await asyncio.sleep(120)
            assert len(broker.producers) == 1

    run(main())


def test_no_kafka_at_the_start_is_false_at_once_and_connected_later() -> None:
    async def main() -> None:
        broker = Broker()
        broker.up = False
        async with running(broker) as store:
            assert asyncio.get_running_loop().time() == pytest.approx(5, abs=0.1)
            assert await put(store) is False
            assert not await store.ready()
            broker.up = True
            await asyncio.sleep(2.1)
            assert await put(store) is True

    run(main())


def test_a_fault_that_nobody_thought_of_does_not_end_the_trying() -> None:
    async def main() -> None:
        broker = Broker()
        faults = [TypeError("a surprise"), SettingsError("a file is gone")]

        async def connect() -> Any:
            if faults:
                raise faults.pop()
            return await broker.connect()

        store = KafkaStore(connect, [TOPIC], virtual_time.LoopClock(asyncio.get_running_loop()))
        await store.start(5)
        sent = asyncio.create_task(put(store))
        await asyncio.sleep(0.1)
        assert await sent is True
        await store.stop(1)

    run(main())


def test_a_full_batch_that_does_not_drain_is_false_and_no_fault_of_the_producers() -> None:
    async def main() -> None:
        broker = Broker()
        async with running(broker) as store:

            async def full(*_: Any, **__: Any) -> Any:
                raise KafkaTimeoutError

            broker.producers[0]._message_accumulator.add_message = full  # type: ignore[method-assign]
            assert await put(store) is False
            await asyncio.sleep(1)
            assert len(broker.producers) == 1

    run(main())


# Readiness


def test_an_acknowledgement_is_proof_for_a_second_and_then_the_broker_is_asked() -> None:
    async def main() -> None:
        broker = Broker()
        async with running(broker) as store:
            await put(store)
            assert await store.ready()
            assert broker.asked == 0
            await asyncio.sleep(1.2)
            assert all([await store.ready() for _ in range(20)])
            assert broker.asked == 1, "once a second, however often we are asked"
            await asyncio.sleep(1.1)
            broker.up = False
            assert not await store.ready()

    run(main())


def test_not_ready_without_a_leader_for_every_partition() -> None:
    async def main() -> None:
        broker = Broker()
        async with running(broker) as store:
            broker.leaderless = {3}
            assert not await store.ready()
            broker.leaderless = set()
            assert not await store.ready(), "the same answer for a second"
            await asyncio.sleep(1)
            assert await store.ready()

    run(main())


def test_not_ready_while_a_record_has_waited_for_two_seconds() -> None:
    async def main() -> None:
        broker = Broker()
        broker.silent = set(range(PARTITIONS))
        async with running(broker) as store:
            await put(store, within=1.9)
            assert await store.ready()
            await asyncio.sleep(0.2)
            assert not await store.ready()

    run(main())


def test_a_broker_that_does_not_answer_in_time_is_not_ready() -> None:
    async def main() -> None:
        broker = Broker()
        async with running(broker) as store:

            async def never() -> bool:
                await asyncio.sleep(8)
                return True

            broker.producers[0].force_metadata_update = never  # type: ignore[method-assign]
            loop = asyncio.get_running_loop()
            began = loop.time()
            assert not await store.ready()
            assert loop.time() - began == pytest.approx(2, abs=0.1)

    run(main())


# The end


def test_stopping_sends_what_waits() -> None:
    async def main() -> None:
        broker = Broker()
        store = KafkaStore(broker.connect, [TOPIC], virtual_time.LoopClock(asyncio.get_running_loop()))
        await store.start(5)
        waiting = asyncio.create_task(put(store))
        await asyncio.sleep(0.001)
        await store.stop(1)
        assert await waiting is True
        assert broker.producers[0].closed

    run(main())


def test_stopping_does_not_wait_for_a_kafka_that_is_away() -> None:
    async def main() -> None:
        broker = Broker()
        store = KafkaStore(broker.connect, [TOPIC], virtual_time.LoopClock(asyncio.get_running_loop()))
        await store.start(5)
        broker.up = False
        waiting = asyncio.create_task(put(store))
        await asyncio.sleep(0.1)
        began = asyncio.get_running_loop().time()
        await store.stop(1)
        assert asyncio.get_running_loop().time() - began < 1.2
        assert await waiting is False
        assert broker.producers[0].closed

    run(main())


def test_no_batch_outgrows_what_a_topic_must_take() -> None:
    assert all(topics.BY_NAME[name].least_bytes >= BATCH_BYTES for name in (topics.WEBHOOKS, topics.COHORT_CHANGES))
