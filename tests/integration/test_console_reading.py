"""What the console and trace read of a real Kafka: newest first, back to the beginning where they must, and past bad records."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import orjson
import pytest

from console import feed as reading
from console.events import Events
from console.feed import Feed
from console.waiting import Waiting
from console.watch import Watch
from listwire import topics
from listwire.clock import SystemClock
from listwire.kafka_reader import Reader
from listwire.lag_reader import LagReader
from listwire.letter_box import LetterBox
from listwire.logs import address_hash
from listwire.settings import Settings
from listwire.trace import Outcome, Who
from listwire.trace_reader import trace
from sandbox.kafka import EmbeddedKafka
from tests.contract.commands import listwire
from tests.integration import operations
from tests.integration.operations import PARTITIONS
from tests.unit.letters import letter
from tests.webhook_bodies import webhook

pytestmark = pytest.mark.kafka

HOUR = 3600.0
ADA = "ada@example.com"


@pytest.fixture(scope="module")
def file(listwire_broker: EmbeddedKafka, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return operations.settings_file(
        listwire_broker.bootstrap_servers, tmp_path_factory.mktemp("console") / "listwire.toml"
    )


@pytest.fixture
async def settings(file: Path) -> Settings:
    found = operations.settings_of(file)
    await operations.fresh_topics(found)
    return found


async def produce(
    settings: Settings,
    number: int,
    *,
    source: str = "newsletter",
    ago: float = 5.0,
    partition: int = 0,
    email: str = ADA,
) -> None:
    at = int((time.time() - ago) * 1000)
    headers = [("source", source.encode()), ("received_at", str(at).encode())]
    async with operations.producer(settings) as out:
        acks = [
            await out.send(
                topics.WEBHOOKS, webhook(n, data_email=email), partition=partition, headers=headers, timestamp_ms=at
            )
            for n in range(number)
        ]
        await asyncio.gather(*acks)


async def looked(settings: Settings, feed: Feed | None = None) -> Feed:
    feed = feed or Feed(Events(settings), SystemClock())
    async with Reader(settings.kafka) as reader:
        await feed.look(reader)
    return feed


async def test_the_first_look_reads_back_and_the_next_goes_on(settings: Settings) -> None:
    await produce(settings, 60)
    await produce(settings, 7, partition=1)
    feed = await looked(settings)
    lately = feed.events.of["sources.newsletter"]
    assert sum(lately.a_minute(time.time())) == 67
    assert len(lately.newest) == 50
    assert feed.looked_through("sources.newsletter")
    await produce(settings, 3, partition=2)
    await looked(settings, feed)
    await looked(settings, feed)
    assert sum(lately.a_minute(time.time())) == 70, "no record is counted twice"


async def test_an_event_from_before_the_chart_is_found_all_the_same(settings: Settings) -> None:
    await produce(settings, 1, ago=30 * HOUR)
    await produce(settings, 5, ago=20 * HOUR, source="somebody-elses")
    feed = await looked(settings)
    lately = feed.events.of["sources.newsletter"]
    assert lately.last_event is not None
    assert time.time() - lately.last_event == pytest.approx(30 * HOUR, abs=60)
    assert sum(lately.a_minute(time.time())) == 0


async def test_nothing_is_said_of_a_first_event_before_all_was_looked_through(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "STEP_BACK", 5)
    monkeypatch.setattr(reading, "BACK_A_LOOK", 10)
    await produce(settings, 40, ago=2 * HOUR, source="somebody-elses")
    feed = await looked(settings)
    assert not feed.looked_through("sources.newsletter")
    for _ in range(10):
        await looked(settings, feed)
    assert feed.looked_through("sources.newsletter")
    assert feed.events.of["sources.newsletter"].last_event is None


async def test_the_way_back_ends_where_there_is_too_much(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "STEP_BACK", 5)
    monkeypatch.setattr(reading, "MOST_BACK", 20)
    await produce(settings, 60, ago=2 * HOUR, source="somebody-elses")
    feed = await looked(settings)
    assert feed.gave_up("sources.newsletter")
    assert not feed.looked_through("sources.newsletter")
    assert not feed.gave_up("cohort_syncs.daily")


async def test_a_record_that_cannot_be_decoded_hides_no_other(settings: Settings) -> None:
    await produce(settings, 2)
    await operations.produce_undecodable(settings, topics.WEBHOOKS, 0)
    await produce(settings, 2)
    feed = await looked(settings)
    assert len(feed.events.of["sources.newsletter"].newest) == 4


async def test_what_waits_is_told_apart_by_connection(settings: Settings) -> None:
    await produce(settings, 3, source="somebody-elses", ago=500)
    await produce(settings, 2, ago=240)
    events = Events(settings)
    waiting = Waiting(events)
    async with LagReader(settings.kafka) as lags, Reader(settings.kafka) as reader:
        await waiting.look(reader, await lags.read())
        assert time.time() - waiting.oldest["sources.newsletter"] == pytest.approx(240, abs=30)
        async with operations.member(settings, topics.SUBSCRIPTIONS_GROUP, topics.WEBHOOKS) as consumer:
            while not consumer.assignment():
                await asyncio.sleep(0.05)
            await consumer.commit({tp: 5 for tp in consumer.assignment() if tp.partition == 0})
            await waiting.look(reader, await lags.read())
            assert waiting.oldest == {}


async def test_beyond_its_reach_a_connection_is_rather_too_late_than_not_late(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("console.waiting.REACH", 3)
    monkeypatch.setattr("listwire.lag_reader.FETCH_BYTES", 400)
    await produce(settings, 30, source="somebody-elses", ago=500)
    await produce(settings, 2, ago=100)
    feed = await looked(settings)
    waiting = Waiting(feed.events)
    async with LagReader(settings.kafka) as lags, Reader(settings.kafka, fetch_bytes=400) as reader:
        await waiting.look(reader, await lags.read())
    assert time.time() - waiting.oldest["sources.newsletter"] >= 100


async def test_the_watch_paints_a_whole_picture_and_a_refusal_with_its_words(settings: Settings) -> None:
    await produce(settings, 1)
    await operations.bury(
        settings, [letter("listwire.webhooks/0/0", detail="amplitude answered 400: Invalid API key: [redacted]")]
    )
    watch = Watch(settings)
    async with watch.running():
        async with asyncio.timeout(30):
            while watch.picture.at is None:
                await asyncio.sleep(0.05)
        async with watch.letters() as box:
            assert len(box.index.open) == 1
    picture = watch.picture
    assert picture.fault is None
    assert picture.refusals["sources.newsletter"].words.startswith("amplitude answered 400")
    assert picture.evidence("sources.newsletter").oldest_waiting is not None
    assert not picture.evidence("sources.newsletter").working


async def test_the_watch_says_what_is_wrong_and_recovers(settings: Settings) -> None:
    async with Reader(settings.kafka):
        pass
    gone = settings.model_copy(update={"kafka": settings.kafka.model_copy(update={"bootstrap_servers": "127.0.0.1:9"})})
    watch = Watch(gone)
    async with watch.running(), asyncio.timeout(30):
        while watch.picture.fault is None:
            await asyncio.sleep(0.05)
        assert "127.0.0.1:9" in watch.picture.fault
        watch.settings = settings
        while watch.picture.fault is not None:
            await asyncio.sleep(0.05)
    assert watch.picture.at is not None


async def test_a_trace_reads_all_topics_or_only_what_is_new_enough(settings: Settings) -> None:
    await produce(settings, 1, ago=3 * HOUR)
    await produce(settings, 1, email="somebody@example.com")
    await produce(settings, 1, partition=2)
    change = {"cohort_id": "c", "cohort_name": "VIP", "in_cohort": True, "users": [{"user_properties": {"email": ADA}}]}
    async with operations.producer(settings) as out:
        await out.send_and_wait(topics.COHORT_CHANGES, orjson.dumps(change), partition=1)
    await operations.bury(settings, [letter("listwire.webhooks/0/0", webhook(0, data_email=ADA))])
    async with operations.member(settings, topics.COHORTS_GROUP, topics.COHORT_CHANGES) as consumer:
        while not consumer.assignment():
            await asyncio.sleep(0.05)
        await consumer.commit({tp: 1 for tp in consumer.assignment() if tp.partition == 1})
    told: list[tuple[int, int]] = []
    found = await trace(settings, Who(ADA), progress=lambda done, total: told.append((done, total)))
    assert [step.outcome for step in found.steps if step.what == "webhook: subscribe"] == [
        Outcome.DEAD,
        Outcome.WAITING,
    ]
    assert [(tag.name, tag.on, tag.outcome) for tag in found.tags] == [("VIP", True, Outcome.DELIVERED)]
    assert found.read == 5
    assert told[-1] == (5, 5)
    recent = await trace(settings, Who(ADA), since=int((time.time() - HOUR) * 1000))
    assert [step.what for step in recent.steps].count("webhook: subscribe") == 1


async def test_a_letter_box_with_a_bound_keeps_the_newest_and_counts_the_others(settings: Settings) -> None:
    async def bury(start: int, number: int) -> None:
        async with operations.producer(settings) as out:
            for n in range(start, start + number):
                made = letter(f"listwire.webhooks/0/{n}", b"%d" % n)
                await out.send_and_wait(topics.DEAD_LETTERS, made.value, headers=made.headers(), partition=0)

    await bury(0, 30)
    async with Reader(settings.kafka) as reader:
        box = LetterBox(reader, most=10 * PARTITIONS)
        index = await box.refresh()
        assert sorted(entry.places[0][1] for entry in index.open.values()) == list(range(20, 30))
        assert box.left_out == 20
        await bury(30, 5)
        index = await box.refresh()
        assert sorted(entry.places[0][1] for entry in index.open.values()) == list(range(25, 35))
        assert box.left_out == 25


async def test_the_trace_command_tells_the_same_in_words_and_for_scripts(settings: Settings, file: Path) -> None:
    await produce(settings, 1)
    said = await asyncio.to_thread(listwire, "trace", ADA, "--config", file, cwd=file.parent)
    assert said.code == 0, said.err
    assert "webhook: subscribe" in said.out
    assert "waits for the worker" in said.out
    assert ADA not in said.all
    told = await asyncio.to_thread(listwire, "trace", address_hash(ADA), "--json", "--config", file, cwd=file.parent)
    (step,) = orjson.loads(told.out)["steps"]
    assert (step["connection"], step["outcome"]) == ("sources.newsletter", "waiting")
    none = await asyncio.to_thread(listwire, "trace", "nobody@example.com", "--config", file, cwd=file.parent)
    assert (none.code, "Nothing in Kafka names this address" in none.out) == (0, True)
