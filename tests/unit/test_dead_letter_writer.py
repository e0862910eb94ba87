"""The writer of dead letters: durable before anybody acknowledges, whatever Kafka does, and without a secret."""

from __future__ import annotations

import asyncio
from typing import Any
from unittest import mock
from urllib.parse import quote

import pytest
from aiokafka.errors import KafkaConnectionError, MessageSizeTooLargeError, OutOfOrderSequenceNumber
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from listwire.errors import KafkaError, VendorRefused
from listwire.records import Reason
from stream import dead_letters
from stream.accounts import Account
from stream.dead_letters import Dead, rejected
from stream.retry import Attempts, Closing
from stream.unreadable import Unreadable
from tests.delivery_bench import Bench, FakeProducer, Record, event_record
from tests.virtual_time import run
from tests.webhook_bodies import webhook

GONE = KafkaConnectionError("no broker")
KEY = 'api key/"0123"%&+x'


def letters(bench: Bench) -> list[dict[str, Any]]:
    return bench.written


def test_a_letter_is_the_source_record_with_its_headers_and_ours() -> None:
    async def main() -> None:
        bench = Bench()
        record = Record(
            7, webhook(data_list_id="another"), b"newsletter:0000000000",
            [("source", b"newsletter"), ("received_at", b"1"), ("request_id", b"r"), ("trace", b"t")], partition=3,
        )  # fmt: skip
        assert await bench.deliver([record])
        (letter,) = letters(bench)
        assert (letter["topic"], letter["key"], letter["value"]) == ("listwire.dead-letters", record.key, record.value)
        assert letter["headers"] == {
            "source": b"newsletter",
            "received_at": b"1",
            "request_id": b"r",
            "trace": b"t",
            "reason": b"wrong_audience",
            "detail": b"data[list_id] is 'another'; the source's audience is 'f1243a3b12'",
            "connection": b"sources.newsletter",
            "origin": b"listwire.webhooks/3/7",
            "failed_at": b"1760000000000",
        }
        assert bench.counted() == {"received": 1, "dead_lettered": 1}

    run(main())


@pytest.mark.parametrize(
    ("record", "reason", "connection"),
    [
        (Record(0, b"junk"), "undecodable", "sources.newsletter"),
        (Record(0, None), "undecodable", "sources.newsletter"),
        (Record(0, webhook(), headers=()), "unknown_connection", "sources.?"),
        (Record(0, webhook(), headers=(("source", b"gone"),)), "unknown_connection", "sources.gone"),
        (Record(0, webhook(), headers=(("source", b"\xff" * 9000),)), "unknown_connection", None),
        (Record(0, webhook(), key=None, headers=(("source", None),)), "unknown_connection", "sources.?"),  # type: ignore[arg-type]
        (Unreadable("listwire.webhooks", 0, 0), "unknown_connection", "sources.?"),
    ],
)
def test_whatever_a_producer_wrote_ends_as_a_letter(record: Any, reason: str, connection: str | None) -> None:
    async def main() -> None:
        bench = Bench()
        assert await bench.deliver([record, event_record(1)])
        assert bench.amplitude.numbers == [1]
        (letter,) = letters(bench)
        assert letter["headers"]["reason"].decode() == reason
        assert letter["value"] == (record.value or b"")
        assert len(letter["headers"]["connection"]) <= 1024
        if connection is not None:
            assert letter["headers"]["connection"].decode() == connection

    run(main())


@pytest.mark.parametrize(
    "written", [KEY, quote(KEY, safe=""), quote(quote(KEY, safe=""), safe=""), KEY.replace('"', '\\"')]
)
def test_the_api_key_is_cut_out_of_amplitudes_words_in_any_notation(written: str) -> None:
    async def main() -> None:
        bench = Bench(park_after=0, secrets=[KEY])

        async def refuse(_: Any) -> Any:
            raise VendorRefused("amplitude", 400, f"Invalid API key: {written}")

        bench.amplitude.rule = refuse
        assert await bench.events(1)
        detail = letters(bench)[0]["headers"]["detail"].decode()
        assert detail == "amplitude answered 400: Invalid API key: [redacted]"

    run(main())


def test_a_detail_is_at_most_2_kib_and_no_secret_is_left_where_it_is_cut() -> None:
    async def main() -> None:
        bench = Bench(secrets=["S" * 20])
        detail = "é" * 1000 + "S" * 20 + "x" * 5000
        account, attempts = Account(bench.worker), Attempts(bench.clock, bench.closing)
        account.received({"sources.newsletter": 1})
        await bench.letters.bury(
            [rejected(event_record(1), "sources.newsletter", Reason.UNDECODABLE, detail)], account, attempts
        )
        written = letters(bench)[0]["headers"]["detail"]
        assert len(written) <= 2048
        assert b"SSS" not in written
        written.decode()

    run(main())


def test_a_part_of_a_record_has_its_own_value_and_amount() -> None:
    async def main() -> None:
        bench = Bench()
        account, attempts = Account(bench.worker), Attempts(bench.clock, bench.closing)
        account.received({"sources.newsletter": 5})
        part = Dead(
            event_record(1), "sources.newsletter", rejected(None, "", Reason.OVER_QUOTA, "").rejection, b"part", 5
        )
        await bench.letters.bury([part], account, attempts)
        assert letters(bench)[0]["value"] == b"part"
        assert account.settled
        await bench.letters.bury([], account, attempts)
        assert len(letters(bench)) == 1

    run(main())


# Kafka in trouble -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        GONE,
        MessageSizeTooLargeError("too large"),
        OutOfOrderSequenceNumber("sequence"),
        OSError("reset"),
        TimeoutError(),
    ],
)
def test_a_failed_write_is_made_again_with_a_new_producer_and_counted_only_then(fault: BaseException) -> None:
    async def main() -> None:
        bench = Bench(producer_faults=[fault, fault])
        delivery = asyncio.ensure_future(bench.deliver([Record(1, b"junk"), Record(2, b"junk")]))
        await asyncio.sleep(0.01)
        assert bench.counted() == {"received": 2}
        assert await delivery
        assert len(bench.producers) > 1
        assert [producer.stopped for producer in bench.producers[:-1]] == [1] * (len(bench.producers) - 1)
        assert {offset for offset, _ in bench.buried} == {1, 2}
        assert {letter["value"] for letter in letters(bench)} == {b"junk"}, "also where the topic takes too little"
        assert bench.counted() == {"received": 2, "dead_lettered": 2}

    run(main())


@pytest.mark.parametrize("at_once", [False, True])
def test_a_letter_that_is_too_large_for_the_topic_tells_where_its_record_is_and_holds_up_nobody(
    at_once: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A publisher may compress: what fits into the source topic need not fit into this one. It was tried for ever."""

    monkeypatch.setattr(dead_letters, "ALWAYS_FITS", 1000)

    async def main() -> None:
        bench = Bench()
        real = FakeProducer.send

        async def send(self: Any, topic: str, value: bytes, **more: Any) -> Any:
            if len(value) + sum(map(len, dict(more["headers"]).values())) < 1000:
                return await real(self, topic, value, **more)
            refused: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            if at_once:
                raise MessageSizeTooLargeError("too large")
            refused.set_exception(MessageSizeTooLargeError("too large"))
            return refused

        with mock.patch.object(FakeProducer, "send", send):
            large = Record(2, b"x" * 1000, b"key")
            heavy = Record(3, b"x" * 1000, b"key", (("source", b"newsletter"), ("trace", b"y" * 1000)))
            assert await bench.deliver([Record(1, b"junk"), large, heavy, Record(4, b"junk")])
        assert bench.loop.time() < 5
        found = {int(each["headers"]["origin"].rpartition(b"/")[2]): each for each in letters(bench)}
        assert len(letters(bench)) == 4, "nothing is written twice"
        assert [found[offset]["value"] for offset in (1, 2, 3, 4)] == [b"junk", b"", b"", b"junk"]
        assert found[2]["headers"]["detail"].startswith(
            b"its 1000 bytes are too many for the topic of dead letters; they stay at listwire.webhooks/0/2: the body is"
        )
        assert (found[2]["key"], found[3]["key"], "trace" in found[3]["headers"]) == (b"key", None, False)
        assert bench.counted() == {"received": 4, "dead_lettered": 4}

    run(main())


@pytest.mark.parametrize(
    ("faults", "words"),
    [
        ({"producer_faults": [OSError("reset")]}, "dead letters not written: OSError: reset"),
        ({"connect_faults": [KafkaError("refused")]}, "no connection for dead letters: refused"),
    ],
)
def test_what_keeps_letters_from_being_written_is_logged_and_counted_as_theirs(
    faults: dict[str, Any], words: str
) -> None:
    labels = {"vendor": "kafka", "cause": "dead_letter"}

    async def main() -> None:
        before = REGISTRY.get_sample_value("listwire_delivery_retries_total", labels) or 0
        with capture_logs() as logged:
            assert await Bench(**faults).deliver([Record(1, b"junk")])
        assert [(line["vendor"], line["cause"], line["detail"]) for line in logged] == [("kafka", "dead_letter", words)]
        assert REGISTRY.get_sample_value("listwire_delivery_retries_total", labels) == before + 1

    run(main())


def test_a_write_that_is_never_answered_is_given_up_and_made_again() -> None:
    async def main() -> None:
        bench = Bench(producer_faults=[None])
        assert await bench.deliver([Record(1, b"junk")])
        assert 8 <= bench.loop.time() < 10
        assert [producer.stopped for producer in bench.producers] == [1, 0]

    run(main())


@pytest.mark.parametrize("fault", [GONE, KafkaError("refused"), OSError("no route"), None])
def test_without_a_connection_it_goes_on_trying_and_acknowledges_nothing(fault: BaseException | None) -> None:
    async def main() -> None:
        bench = Bench(connect_faults=[fault] * 3)
        delivery = asyncio.ensure_future(bench.deliver([Record(1, b"junk"), event_record(2)]))
        await asyncio.sleep(0.1)
        assert bench.amplitude.numbers == [2]  # what can go its way goes it
        assert await delivery
        assert bench.counted() == {"received": 2, "dead_lettered": 1, "delivered": 1}

    run(main())


def test_a_delivery_never_settles_while_a_letter_is_not_written_and_closing_gives_it_back() -> None:
    async def main() -> None:
        bench = Bench(connect_faults=[GONE] * 1000)
        delivery = asyncio.ensure_future(bench.deliver([Record(1, b"junk")]))
        await asyncio.sleep(3600)
        assert not delivery.done()
        bench.closing.set()
        assert await delivery is False
        assert bench.counted() == {"received": 1, "returned": 1}

    run(main())


def test_lanes_that_wait_for_one_connection_fail_together_and_not_one_after_the_other() -> None:
    """Eight lanes and 8 s each would be a minute, longer than any grace."""

    async def main() -> None:
        bench = Bench(connect_faults=[None] * 100)
        deliveries = [asyncio.ensure_future(bench.deliver([Record(n, b"junk")])) for n in range(8)]
        await asyncio.sleep(1)
        bench.closing.set()
        assert await asyncio.gather(*deliveries) == [False] * 8
        assert bench.loop.time() < 9

    run(main())


def test_a_producer_that_was_given_up_by_one_is_not_ended_twice_nor_its_successor_with_it() -> None:
    async def main() -> None:
        bench = Bench(producer_faults=[None, None, None])
        deliveries = [bench.deliver([Record(n, b"junk")]) for n in range(3)]
        assert await asyncio.gather(*deliveries) == [True] * 3
        assert [producer.stopped for producer in bench.producers] == [1, 0]

    run(main())


def test_a_stop_while_kafka_is_away_ends_at_once() -> None:
    async def main() -> None:
        bench = Bench(producer_faults=[None])
        await bench.letters.start()
        delivery = asyncio.ensure_future(bench.deliver([Record(1, b"junk")]))
        await asyncio.sleep(0.1)
        delivery.cancel()
        await asyncio.gather(delivery, return_exceptions=True)
        await bench.letters.stop()
        assert bench.loop.time() < 0.2
        assert bench.producers[0].stopped == 1
        await bench.letters.stop()

    run(main())


def test_a_start_without_kafka_is_no_fault() -> None:
    async def main() -> None:
        bench = Bench(connect_faults=[GONE])
        await bench.letters.start()
        assert await bench.deliver([Record(1, b"junk")])

    run(main())


def test_a_bug_while_writing_is_not_retried() -> None:
    async def main() -> None:
        bench = Bench(producer_faults=[ZeroDivisionError()])
        with pytest.raises(ZeroDivisionError):
            await bench.deliver([Record(1, b"junk")])

    run(main())


def test_closing_is_heard_before_the_first_write() -> None:
    async def main() -> None:
        bench = Bench()
        bench.closing.set()
        account, attempts = Account(bench.worker), Attempts(bench.clock, bench.closing)
        with pytest.raises(Closing):
            await bench.letters.bury([rejected(event_record(1), "c", Reason.UNDECODABLE, "d")], account, attempts)
        assert bench.producers == []

    run(main())
