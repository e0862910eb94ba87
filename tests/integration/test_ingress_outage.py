"""The ingress while Kafka is away, frozen or restarted, and while it is told to stop: nothing answered 2xx is missing, nobody waits in vain."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from aiokafka.structs import TopicPartition

from ingress.keys import partition_of
from ingress.producer import KafkaStore
from listwire import kafka, topics
from listwire.clock import SystemClock
from listwire.settings import load
from sandbox.kafka import EmbeddedKafka
from tests.ingress_process import ALL_SECRETS, FORM, HOOK, Ingress, record, running, settings_file
from tests.integration.operations import fresh_topics, settings_of

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180), pytest.mark.xdist_group("ingress outage")]


@pytest.fixture(scope="module")
def own_topics(listwire_broker: EmbeddedKafka, tmp_path_factory: pytest.TempPathFactory) -> None:
    settings = settings_file(tmp_path_factory.mktemp("topics"), listwire_broker.start().bootstrap_servers)
    asyncio.run(fresh_topics(settings_of(settings)))


@pytest.fixture
def settings(own_topics: None, broker: EmbeddedKafka, tmp_path: Path) -> Path:
    return settings_file(tmp_path, broker.bootstrap_servers)


@pytest.fixture
def ingress(settings: Path, tmp_path: Path) -> Iterator[Ingress]:
    with running(settings, tmp_path / "log") as found:
        yield found
    assert "Traceback" not in found.output
    assert not [secret for secret in ALL_SECRETS if secret in found.output]


@contextmanager
def frozen(broker: EmbeddedKafka) -> Iterator[None]:
    """Stopped in the middle of everything: its sockets stay open, and nothing is answered."""
    os.kill(broker.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(broker.pid, signal.SIGCONT)


def body(contact: int) -> bytes:
    return b"type=subscribe&data%%5Bid%%5D=%010x" % contact


def post(ingress: Ingress, contact: int = 1) -> tuple[httpx.Response, float]:
    with httpx.Client(base_url=ingress.url, timeout=20, verify=False) as client:
        began = time.monotonic()
        answer = client.post(HOOK, content=body(contact), headers=FORM)
        return answer, time.monotonic() - began


def wait_until_accepted(ingress: Ingress, count: int) -> None:
    """Until the ingress holds that many bodies."""
    held = f"listwire_ingress_bytes_in_flight {float(count * len(body(0)))}"
    end = time.monotonic() + 7
    while held not in httpx.get(f"{ingress.url}/metrics").text:
        assert time.monotonic() < end


def many(ingress: Ingress, count: int) -> list[tuple[httpx.Response, float]]:
    """At once, each for another contact, so that every partition is met."""
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(lambda contact: post(ingress, contact), range(count)))


def memory(ingress: Ingress) -> int:
    [worker] = ingress.workers()
    line = next(line for line in Path(f"/proc/{worker}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) // 1024


def wait_for_204(ingress: Ingress, within: float = 40) -> httpx.Response:
    end = time.monotonic() + within
    while time.monotonic() < end:
        answer, _ = post(ingress, 7)
        if answer.status_code == 204:
            return answer
        time.sleep(0.1)
    raise AssertionError(f"no 204 after {within} s: {ingress.output}")


def check_an_outage(ingress: Ingress) -> None:
    """503 in time, then at once, never ready, and nothing piles up."""
    for answer, seconds in many(ingress, 12):
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "10"
        assert 7.5 < seconds < 10, "Mailchimp's patience"
    before = memory(ingress)
    began = time.monotonic()
    with httpx.Client(base_url=ingress.url, headers=FORM) as client:
        answers = {client.post(HOOK, content=b"x" * 60_000).status_code for _ in range(300)}
    assert answers == {503}
    assert time.monotonic() - began < 8, "refused at once: all of them in less time than one may wait"
    assert memory(ingress) - before < 8, "18 MB of bodies have passed"
    assert httpx.get(f"{ingress.url}/readyz").status_code == 503
    assert httpx.get(f"{ingress.url}/healthz").status_code == 200


async def test_a_killed_broker_is_503_in_time_then_at_once_and_its_return_is_noticed(
    ingress: Ingress, broker: EmbeddedKafka
) -> None:
    stored, _ = post(ingress)
    assert stored.status_code == 204
    broker.kill()
    check_an_outage(ingress)
    broker.start()
    again = wait_for_204(ingress)
    assert [answer.status_code for answer, _ in many(ingress, 12)] == [204] * 12
    assert httpx.get(f"{ingress.url}/readyz").status_code == 200
    for answer in (stored, again):
        await record(broker.bootstrap_servers, topics.WEBHOOKS, answer.headers["x-request-id"])
    assert ingress.process.poll() is None


async def test_a_frozen_broker_is_503_in_time_then_at_once_and_its_return_is_noticed(
    ingress: Ingress, broker: EmbeddedKafka
) -> None:
    assert post(ingress)[0].status_code == 204
    with frozen(broker):
        check_an_outage(ingress)
    answer = wait_for_204(ingress)
    await record(broker.bootstrap_servers, topics.WEBHOOKS, answer.headers["x-request-id"])


async def test_every_204_of_a_rough_time_is_in_kafka(ingress: Ingress, broker: EmbeddedKafka) -> None:
    stop = threading.Event()
    stored: list[str] = []

    def send(contact: int) -> None:
        with httpx.Client(base_url=ingress.url, timeout=20, verify=False, headers=FORM) as client:
            while not stop.is_set():
                answer = client.post(HOOK, content=body(contact))
                if answer.status_code == 204:
                    stored.append(answer.headers["x-request-id"])

    def wait_for_more() -> None:
        enough, end = len(stored) + 40, time.monotonic() + 40
        while len(stored) < enough:
            assert time.monotonic() < end, ingress.output
            time.sleep(0.01)

    with ThreadPoolExecutor(8) as pool:
        senders = [pool.submit(send, number) for number in range(8)]
        try:
            for _ in range(2):
                wait_for_more()
                broker.kill()
                time.sleep(0.5)
                broker.start()
            wait_for_more()
        finally:
            stop.set()
        for sender in senders:
            sender.result()
    assert set(stored) <= await request_ids(broker.bootstrap_servers)


async def request_ids(bootstrap: str) -> set[str]:
    from aiokafka import AIOKafkaConsumer

    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest", enable_auto_commit=False)
    await consumer.start()
    try:
        partitions = [TopicPartition(topics.WEBHOOKS, at) for at in range(2)]
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        found: set[str] = set()
        while any([await consumer.position(each) < ends[each] for each in partitions]):
            for some in (await consumer.getmany(timeout_ms=200)).values():
                found |= {dict(message.headers)["request_id"].decode() for message in some}
        return found
    finally:
        await consumer.stop()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
async def test_a_stop_answers_what_was_accepted(ingress: Ingress, broker: EmbeddedKafka, how: signal.Signals) -> None:
    post(ingress)
    with ThreadPoolExecutor(4) as pool:
        with frozen(broker):
            waiting: list[Future[tuple[httpx.Response, float]]] = [pool.submit(post, ingress, at) for at in range(4)]
            wait_until_accepted(ingress, 4)
            for pid in [ingress.process.pid, *ingress.workers()] * 4:  # as impatient people and supervisors do
                os.kill(pid, how)
                time.sleep(0.05)
            time.sleep(0.2)
            assert not any(each.done() for each in waiting)
            with pytest.raises(httpx.TransportError):
                httpx.get(f"{ingress.url}/healthz", timeout=2)
        answers = [each.result()[0] for each in waiting]
    assert [answer.status_code for answer in answers] == [204] * 4
    assert ingress.process.wait(10) == 0
    for answer in answers:
        await record(broker.bootstrap_servers, topics.WEBHOOKS, answer.headers["x-request-id"])


def test_a_stop_while_kafka_is_away_is_bounded_and_answers_503(ingress: Ingress, broker: EmbeddedKafka) -> None:
    post(ingress)
    with ThreadPoolExecutor(4) as pool, frozen(broker):
        waiting = [pool.submit(post, ingress, at) for at in range(4)]
        wait_until_accepted(ingress, 4)
        began = time.monotonic()
        ingress.process.send_signal(signal.SIGTERM)
        assert [each.result()[0].status_code for each in waiting] == [503] * 4
        assert ingress.process.wait(15) == 0
        assert time.monotonic() - began < 12


async def test_a_real_producer_whose_sequence_is_broken_is_replaced(settings: Path) -> None:
    found = load(settings, environ={})
    made = []

    async def connect() -> object:
        made.append(await kafka.durable_producer(found.kafka))
        return made[-1]

    store = KafkaStore(connect, [topics.WEBHOOKS], SystemClock())
    await store.start(10)
    try:
        key = b"newsletter:1"
        at = TopicPartition(topics.WEBHOOKS, partition_of(key, 2))
        assert await store.put(topics.WEBHOOKS, key, b"before", [])
        made[0]._txn_manager.increment_sequence_number(at, 5)
        assert not await store.put(topics.WEBHOOKS, key, b"refused", [])
        end = time.monotonic() + 15
        while not await store.put(topics.WEBHOOKS, key, b"after", []):
            assert time.monotonic() < end
            await SystemClock().sleep(0.02)
        assert len(made) == 2
    finally:
        await store.stop(2)


def test_the_ingress_starts_again_on_the_port_it_had(settings: Path, tmp_path: Path) -> None:
    """No wait for the system to forget the old one's connections."""
    with running(settings, tmp_path / "first") as first:
        port = first.port
        assert post(first)[0].status_code == 204
        assert first.stop() == 0
    with running(settings, tmp_path / "second", "--port", str(port)) as second:
        assert post(second)[0].status_code == 204
