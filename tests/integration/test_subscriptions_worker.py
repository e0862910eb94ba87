"""The subscriptions worker as it runs: a process between a real Kafka and a strict stand-in for Amplitude."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import NewTopic, RecordsToDelete

from listwire import topics
from listwire.kafka_admin import admin_client
from listwire.kafka_reader import Reader, Record
from sandbox.amplitude import AmplitudeStandIn
from sandbox.faults import Fault
from sandbox.kafka import EmbeddedKafka
from stream.codecs.mailchimp_webhook import insert_id
from tests import webhook_bodies as bodies
from tests import worker_process as processes
from tests.delivery_bench import Record as Webhook
from tests.delivery_bench import event_record
from tests.integration.operations import fresh_topics
from tests.webhook_bodies import AUDIENCE, webhook
from tests.worker_process import API_KEY, OTHER_KEY, PARTITIONS, Worker, until

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180), pytest.mark.xdist_group("subscriptions worker")]


@pytest.fixture(scope="module")
def own_topics(listwire_broker: EmbeddedKafka, tmp_path_factory: pytest.TempPathFactory) -> None:
    directory = tmp_path_factory.mktemp("topics")
    config = processes.settings_file(directory, listwire_broker.start().bootstrap_servers, "http://127.0.0.1:1")
    asyncio.run(fresh_topics(processes.settings_of(config)))


@dataclass
class Stage:
    broker: EmbeddedKafka
    amplitude: AmplitudeStandIn
    directory: Path
    config: Path
    letters_from: dict[int, int] = field(default_factory=dict)
    workers: list[Worker] = field(default_factory=list)

    def set(self, delivery: str) -> None:
        processes.settings_file(self.directory, self.broker.bootstrap_servers, self.amplitude.url, delivery=delivery)

    async def worker(self, *, partitions: int | None = PARTITIONS, code: str | None = None) -> Worker:
        made = Worker(self.config, f"worker{len(self.workers)}", code=code)
        self.workers.append(made)
        if partitions is not None:
            await made.ready(partitions)
        return made

    async def produce(self, *webhooks: Webhook, partition: int | None = None) -> list[tuple[int, int]]:
        return await processes.produce(self.config, webhooks, partition=partition)

    async def letters(self) -> list[Record]:
        return await processes.dead_letters(self.config, self.letters_from)

    async def buried(self, count: int, within: float = 60) -> list[Record]:
        """The dead letters, when there are so many."""
        found: list[Record] = []

        async def enough() -> bool:
            found[:] = await self.letters()
            return len(found) >= count

        await until(enough, within, lambda: f"{len(found)} of {count} letters; {self.said}")
        return found

    async def delivered(self, count: int, within: float = 60) -> None:
        await until(
            lambda: len(self.amplitude.state) >= count,
            within,
            lambda: f"{len(self.amplitude.state)} of {count} events; {self.said}",
        )

    async def settled(self, within: float = 30) -> None:
        """Until the group has committed all there is."""
        async with Reader(processes.settings_of(self.config).kafka) as reader:
            ends = {p: bounds.end for p, bounds in (await reader.bounds(topics.WEBHOOKS)).items()}
        found: dict[int, int] = {}

        async def all_committed() -> bool:
            found.update(await processes.committed(self.config))
            return all(found.get(p, 0) >= end for p, end in ends.items())

        await until(all_committed, within, lambda: f"committed {found} of {ends}; {self.said}")

    @property
    def said(self) -> str:
        return "\n".join(worker.output for worker in self.workers)

    @property
    def numbers(self) -> list[int]:
        return [int(event["event_properties"]["web_id"]) for event in self.amplitude.state.events]

    def by_contact(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for event in self.amplitude.state.events:
            properties = event["event_properties"]
            found.setdefault(properties["contact_id"], []).append(int(properties["web_id"]))
        return found


@pytest.fixture
async def stage(own_topics: None, broker: EmbeddedKafka, tmp_path: Path) -> AsyncIterator[Stage]:
    async with AmplitudeStandIn(api_keys={API_KEY, OTHER_KEY}) as amplitude:
        config = processes.settings_file(tmp_path, broker.bootstrap_servers, amplitude.url)
        found = Stage(broker, amplitude, tmp_path, config)
        found.letters_from = await processes.begin_afresh(config)
        try:
            yield found
        finally:
            for worker in found.workers:
                await worker.end()
    processes.no_secret_in([worker.output for worker in found.workers])


def every(n: int, *, contacts: int = 7, source: str = "newsletter", begin: int = 0) -> list[Webhook]:
    """Events begin..begin+n of a few contacts, keyed as the ingress keys them."""
    found = []
    for number in range(begin, begin + n):
        record = event_record(number, number % contacts, source=source)
        record.key = f"{source}:{number % contacts:010x}".encode()
        found.append(record)
    return found


# What is delivered ----------------------------------------------------------------------------------------------------


async def test_events_dead_letters_and_statuses_are_those_of_the_contract(stage: Stage) -> None:
    wrong = Webhook(0, webhook(1, data_list_id="another"), b"newsletter:0000000001", [("source", b"newsletter")])
    unknown = Webhook(0, webhook(2), b"gone:0000000002", [("source", b"gone"), ("received_at", b"17"), ("x", b"y")])
    junk = Webhook(0, b"\x00not a form", None, [("source", b"newsletter"), ("request_id", b"r-1")])
    unsubscribed = Webhook(0, bodies.UNSUBSCRIBE, b"newsletter:94826aa750", [("source", b"newsletter")])
    profile = Webhook(0, bodies.PROFILE, b"newsletter:b748506b63", [("source", b"newsletter")])
    subscribed = Webhook(0, bodies.SUBSCRIBE, b"second:b748506b63", [("source", b"second")])
    places = await stage.produce(wrong, unknown, junk, unsubscribed, profile, subscribed)

    worker = await stage.worker()
    await stage.delivered(2)
    letters = await stage.buried(3)
    await stage.settled()

    events = {event["user_id"]: event for event in stage.amplitude.state.events}
    assert events["josh+news@example.com"] == {
        "event_type": "[Mailchimp] unsubscribe",
        "user_id": "josh+news@example.com",
        "time": 1413983440000,
        "insert_id": insert_id(AUDIENCE, "unsubscribe", "94826aa750", "2014-10-22 13:10:40"),
        "event_properties": {
            "audience_id": AUDIENCE, "source": "newsletter", "contact_id": "94826aa750", "fired_at": "2014-10-22 13:10:40",
            "web_id": "203740265", "email_type": "html", "action": "unsub", "reason": "manual",
        },
    }  # fmt: skip
    assert events["ada.lovelace@example.com"]["event_properties"]["source"] == "second"
    assert len(stage.amplitude.state) == 2

    found = {dict(letter.headers)["reason"]: letter for letter in letters}
    assert found.keys() == {b"wrong_audience", b"unknown_connection", b"undecodable"}
    for reason, source, place, connection in (
        (b"wrong_audience", wrong, places[0], b"sources.newsletter"),
        (b"unknown_connection", unknown, places[1], b"sources.gone"),
        (b"undecodable", junk, places[2], b"sources.newsletter"),
    ):
        letter, headers = found[reason], dict(found[reason].headers)
        assert (letter.key, letter.value) == (source.key, source.value)
        assert headers.items() >= dict(source.headers).items()
        assert headers["origin"] == f"{topics.WEBHOOKS}/{place[0]}/{place[1]}".encode()
        assert headers["connection"] == connection
        assert headers["failed_at"].isdigit()
        assert len(headers["failed_at"]) == 13

    assert (await worker.get("/readyz")) == (200, "4 partitions\n")
    assert (await worker.get("/healthz")) == (200, "moving\n")
    status, metrics = await worker.get("/metrics")
    assert status == 200
    assert 'listwire_connection_status{connection="sources.newsletter"} 1.0' in metrics
    assert 'listwire_connection_status{connection="sources.other"} 0.0' in metrics
    assert (
        'listwire_dead_letters_total{connection="sources.?",reason="unknown_connection",worker="subscriptions"} 1.0'
        in metrics
    )
    code, _ = await worker.stop()
    assert code == 0


async def test_records_of_aborted_transactions_are_never_delivered_and_stop_nobody(stage: Stage) -> None:
    """An aborted transaction alone moves the position without a record; markers are holes in every partition."""
    bootstrap = stage.broker.bootstrap_servers
    worker = await stage.worker()
    out = AIOKafkaProducer(bootstrap_servers=bootstrap, transactional_id="upstream", enable_idempotence=True)
    await out.start()

    async def transaction(*numbers: int, commit: bool) -> None:
        await out.begin_transaction()
        for number in numbers:
            record = event_record(number, 1)
            await out.send(topics.WEBHOOKS, record.value, key=b"k", headers=list(record.headers), partition=0)
        await (out.commit_transaction() if commit else out.abort_transaction())

    try:
        await transaction(100, 101, commit=False)
        await transaction(0, 1, commit=True)
        await stage.delivered(2)
        for aborted in (110, 120):
            await transaction(*range(aborted, aborted + 5), commit=False)
            await asyncio.sleep(1.5)  # longer than a fetch waits: one that brings nothing but aborted records
        await transaction(2, commit=True)
        await stage.delivered(3)
        await stage.produce(event_record(3, 1), partition=0)
        await stage.delivered(4)
    finally:
        await out.stop()
    assert stage.numbers == [0, 1, 2, 3]
    code, _ = await worker.stop()
    assert code == 0
    assert "gone from Kafka" not in worker.output


# Stopping -------------------------------------------------------------------------------------------------------------


async def test_a_stop_while_amplitude_fails_is_quick_acknowledges_nothing_and_the_next_worker_delivers(
    stage: Stage,
) -> None:
    stage.set("http_timeout = 60")
    before = await processes.committed(stage.config)
    await stage.produce(*every(40))
    stage.amplitude.faults.add(Fault(status=500))
    worker = await stage.worker()
    await until(lambda: stage.amplitude.state.requests >= 8)
    code, seconds = await worker.stop()
    assert code == 0
    assert seconds < 8  # neither a back-off of 10 s nor a time-out of 60
    assert await processes.committed(stage.config) == before
    stage.amplitude.faults.clear()
    await stage.worker()
    await stage.delivered(40)
    await stage.settled()
    assert all(numbers == sorted(numbers) for numbers in stage.by_contact().values())


async def test_a_stop_while_amplitude_hangs_waits_for_the_attempt_and_no_longer(stage: Stage) -> None:
    stage.set("http_timeout = 4")
    before = await processes.committed(stage.config)
    await stage.produce(*every(10))
    stage.amplitude.faults.add(Fault(kind="hang", when="after"))
    worker = await stage.worker()
    await until(lambda: stage.amplitude.state.in_flight > 0)
    requests = stage.amplitude.faults.injected.total()
    code, seconds = await worker.stop()
    assert code == 0
    assert seconds < 4 + 6
    assert stage.amplitude.faults.injected.total() <= requests + PARTITIONS
    assert await processes.committed(stage.config) == before
    stage.amplitude.faults.clear()
    await stage.worker()
    await stage.settled()
    assert len(stage.amplitude.state) == 10  # taken the first time, and counted once


async def test_a_stop_while_kafka_is_away_ends(stage: Stage) -> None:
    worker = await stage.worker()
    await stage.produce(*every(4))
    await stage.delivered(4)
    stage.broker.kill()
    await asyncio.sleep(1)
    code, seconds = await worker.stop()
    assert code == 0
    assert seconds < 40
    stage.broker.start()


async def test_a_stop_at_any_moment_of_the_start_ends_it(stage: Stage) -> None:
    workers = [await stage.worker(partitions=None) for _ in range(3)]
    for worker, wait in zip(workers, (0.7, 0.7, 1.2), strict=True):
        await asyncio.sleep(wait)
        worker.process.send_signal(signal.SIGTERM)
        worker.process.send_signal(signal.SIGTERM)
    codes = [await worker.ends(60) for worker in workers]
    # Before it has handlers, Python itself ends it.
    assert set(codes) <= {0, -signal.SIGTERM}, stage.said


async def test_signals_that_ask_how_it_stands_stop_nothing_and_show_no_secret(stage: Stage) -> None:
    worker = await stage.worker()
    for asking in (signal.SIGUSR1, signal.SIGUSR2):
        worker.process.send_signal(asking)
    await until(lambda: worker.output.count("most recent call first") >= 2)
    await stage.produce(event_record(1), partition=0)
    await stage.delivered(1)


# Faults of ours -------------------------------------------------------------------------------------------------------


BROKEN = """
import sys
from listwire import logs, redaction, topics
from listwire.settings import load
from stream.agents.subscriptions import make_agent
from stream.worker import run

def broken(settings, clock, progress):
    agent = make_agent(settings, clock, progress)
    for courier in agent.deliver.couriers.values():
        def wrapped(events, send=courier.client.send):
            if any(b"poison" in event for event in events):
                raise ZeroDivisionError("a bug of ours")
            return send(events)
        courier.client.send = wrapped
    return agent

settings = load(sys.argv[1], environ={})
logs.configure("broken", redaction.for_settings(settings), style="json")
sys.exit(run(settings, broken, (topics.WEBHOOKS, topics.DEAD_LETTERS), name="subscriptions", host="127.0.0.1", port=0, default_port=0))
"""


async def test_a_bug_ends_the_process_with_70_and_nothing_is_committed_beyond_it(stage: Stage) -> None:
    poison = event_record(5, 1)
    poison.value = webhook(1, data_reason="poison", data_web_id="5")
    worker = await stage.worker(code=BROKEN)
    (good,) = await stage.produce(event_record(4, 1), partition=0)
    await stage.delivered(1)
    (bad,) = await stage.produce(poison, partition=0)
    await stage.produce(event_record(6, 1), partition=0)
    assert await worker.ends(30) == 70
    assert "a bug of ours" in worker.output
    committed = (await processes.committed(stage.config)).get(0, 0)
    assert good[1] <= committed <= bad[1]
    await stage.worker()
    await stage.delivered(3)
    assert stage.numbers == [4, 5, 6]


# Rebalances and outages -----------------------------------------------------------------------------------------------


async def test_a_rebalance_in_the_middle_of_deliveries_loses_and_reorders_nothing(stage: Stage) -> None:
    stage.amplitude.faults.latency = 0.3
    first = await stage.worker()
    enough, total = asyncio.Event(), 0

    async def keep_producing() -> None:
        nonlocal total
        while not enough.is_set():
            await stage.produce(*every(20, contacts=23, begin=total))
            total += 20
            await asyncio.sleep(0.05)

    producing = asyncio.ensure_future(keep_producing())
    await stage.delivered(20)
    second = await stage.worker(partitions=PARTITIONS // 2)
    await first.ready(PARTITIONS // 2)
    await until(lambda: stage.amplitude.state.in_flight > 0)
    code, _ = await first.stop()
    assert code == 0
    await second.ready(PARTITIONS)
    enough.set()
    await producing
    await stage.delivered(total)
    await stage.settled()
    assert sorted(stage.numbers) == list(range(total))
    assert all(numbers == sorted(numbers) for numbers in stage.by_contact().values())
    assert (await second.stop())[0] == 0


async def test_a_broker_that_is_killed_while_delivering_loses_and_reorders_nothing(stage: Stage) -> None:
    stage.amplitude.faults.latency = 0.2
    worker = await stage.worker()
    await stage.produce(*every(200, contacts=23))
    await stage.delivered(20)
    stage.broker.kill()
    await asyncio.sleep(3)
    stage.broker.start()
    await stage.produce(*every(200, contacts=23, begin=200))
    await stage.delivered(400, 90)
    await stage.settled(60)
    assert sorted(stage.numbers) == list(range(400))
    assert all(numbers == sorted(numbers) for numbers in stage.by_contact().values())
    assert worker.process.poll() is None
    assert (await worker.stop())[0] == 0


# Refused keys ---------------------------------------------------------------------------------------------------------


async def test_a_refused_key_parks_while_another_source_of_the_same_partition_flows_and_comes_back(
    stage: Stage,
) -> None:
    stage.set("park_after = 3\nprobe_every = 2")
    stage.amplitude.faults.refuse_key(OTHER_KEY)
    worker = await stage.worker()
    await stage.produce(event_record(0, 0, source="other"), event_record(1, 1), partition=0)
    await stage.produce(event_record(2, 0, source="other"), event_record(3, 1), partition=0)
    await stage.delivered(2)
    letters = await stage.buried(2)
    assert stage.numbers == [1, 3]
    for letter in letters:
        headers = dict(letter.headers)
        assert (headers["reason"], headers["connection"]) == (b"connection_refused", b"sources.other")
        assert headers["detail"] == b"amplitude answered 400: Invalid API key: [redacted]"
    assert 'listwire_connection_status{connection="sources.other"} 3.0' in (await worker.get("/metrics"))[1]
    stage.amplitude.faults.accept_key(OTHER_KEY)
    number = 10

    async def accepted_again() -> bool:
        nonlocal number
        number += 1
        await stage.produce(event_record(number, 0, source="other"), partition=0)
        await asyncio.sleep(0.3)
        return number in stage.numbers

    await until(accepted_again)
    metrics = (await worker.get("/metrics"))[1]
    assert 'listwire_connection_status{connection="sources.other"} 1.0' in metrics
    assert (await worker.stop())[0] == 0


# Where the group stands -----------------------------------------------------------------------------------------------


async def test_records_that_kafka_deleted_before_we_read_them_are_said_and_the_rest_is_delivered(stage: Stage) -> None:
    await stage.produce(event_record(99, 1), partition=0)
    await processes.begin_afresh(stage.config)
    places = await stage.produce(*[event_record(n, 1) for n in range(10)], partition=0)
    async with admin_client(processes.settings_of(stage.config).kafka) as admin:
        await admin.delete_records({TopicPartition(topics.WEBHOOKS, 0): RecordsToDelete(places[6][1])})
    worker = await stage.worker()
    await stage.delivered(4)
    await stage.settled()
    assert stage.numbers == [6, 7, 8, 9]
    (said,) = worker.logged("records are gone from Kafka before we read them")
    assert (said["first"], said["last"]) == (places[0][1], places[5][1])


async def test_a_commit_beyond_the_end_of_the_topic_hides_no_record(stage: Stage) -> None:
    """A topic that was made anew, or cut by an unclean election: what it holds has not been read."""
    places = await stage.produce(*[event_record(n, 1) for n in range(5)], partition=3)
    beyond = places[-1][1] + 1000
    consumer: Any = AIOKafkaConsumer(
        bootstrap_servers=stage.broker.bootstrap_servers, group_id=topics.SUBSCRIPTIONS_GROUP, enable_auto_commit=False
    )
    await consumer.start()
    consumer.assign([TopicPartition(topics.WEBHOOKS, 3)])
    await consumer.commit({TopicPartition(topics.WEBHOOKS, 3): beyond})
    await consumer.stop()
    worker = await stage.worker()
    await until(lambda: set(stage.numbers) >= set(range(5)), words=lambda: stage.said)
    assert worker.logged("reading from before the committed offset")
    await stage.produce(event_record(5, 1), partition=3)
    await until(lambda: 5 in stage.numbers, words=lambda: stage.said)

    async def committed_anew() -> bool:
        return (await processes.committed(stage.config))[3] == places[-1][1] + 2

    await until(committed_anew)
    assert (await worker.stop())[0] == 0


# Topics ---------------------------------------------------------------------------------------------------------------


async def test_absent_and_unfit_topics_are_refused_with_the_command_that_mends_them(tmp_path: Path) -> None:
    with EmbeddedKafka() as broker:
        config = processes.settings_file(tmp_path, broker.bootstrap_servers, "http://127.0.0.1:1")
        absent = Worker(config, "absent")
        assert await absent.ends() == 1
        assert "listwire.webhooks does not exist" in absent.output
        settings = processes.settings_of(config)
        async with admin_client(settings.kafka) as admin:
            compacted = NewTopic(topics.WEBHOOKS, 1, 1, topic_configs={"cleanup.policy": "compact"})
            await admin.create_topics([compacted, NewTopic(topics.DEAD_LETTERS, 1, 1)])
        unfit = Worker(config, "unfit")
        assert await unfit.ends() == 1
        assert "cleanup.policy" in unfit.output
        for worker in (absent, unfit):
            assert "listwire topics ensure" in worker.output
            assert "Traceback" not in worker.output


async def test_without_a_broker_it_says_so_and_ends_with_1(tmp_path: Path) -> None:
    worker = Worker(processes.settings_file(tmp_path, "127.0.0.1:1", "http://127.0.0.1:1"))
    assert await worker.ends() == 1
    assert "Kafka at 127.0.0.1:1 cannot be used" in worker.output
    assert "Traceback" not in worker.output
