"""The answer table, row by row: what becomes of every event, in which order, and how long anybody waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from listwire.errors import VendorRefused, VendorUnavailable
from listwire.metrics import Status
from stream.codecs.mailchimp_webhook import Event
from stream.to_amplitude import WITNESS_FOR, by_contact, limited
from tests.delivery_bench import Bench, event_record
from tests.virtual_time import run
from vendors.amplitude import Accepted, Answer, Doubted, Invalid, Rejected, Throttled, TooLarge

REFUSED = VendorRefused("amplitude", 401, "Unauthorized")
DOWN = VendorUnavailable("amplitude", 500, "Internal Server Error", cause="500")
REJECTED, LARGE, PARKED, QUOTA = "rejected_by_amplitude", "too_large", "connection_refused", "over_quota"

Rule = Callable[[list[dict[str, Any]]], Answer]


def rule(answer: Rule) -> Callable[[list[dict[str, Any]]], Awaitable[Answer]]:
    async def ask(events: list[dict[str, Any]]) -> Answer:
        return answer(events)

    return ask


def number(event: dict[str, Any]) -> int:
    return int(event["event_properties"]["web_id"])


def bad_ones(bad: set[int], *, first_only: bool = False) -> Callable[[list[dict[str, Any]]], Awaitable[Answer]]:
    """A 400 that names the bad events, all of them or the first."""

    def answer(events: list[dict[str, Any]]) -> Answer:
        found = {i: f"event {number(e)} is bad" for i, e in enumerate(events) if number(e) in bad}
        if first_only:
            found = dict(list(found.items())[:1])
        return Invalid(found) if found else Accepted()

    return rule(answer)


def whole(bad: set[int], answer: Answer) -> Callable[[list[dict[str, Any]]], Awaitable[Answer]]:
    """The same answer for every request that holds one of these."""
    return rule(lambda events: answer if bad & {number(e) for e in events} else Accepted())


async def refuse(_: Any) -> Answer:
    raise REFUSED


async def hang(_: Any) -> Answer:
    """The client's time-out ends it."""
    await asyncio.sleep(8)
    raise VendorUnavailable("amplitude", 0, "ReadTimeout", cause="timeout")


# 200 and the limits ---------------------------------------------------------------------------------------------------


def test_a_delivery_that_is_taken_is_delivered_and_counted() -> None:
    async def main() -> None:
        bench = Bench()
        assert await bench.events(*range(5))
        assert bench.amplitude.numbers == [0, 1, 2, 3, 4]
        assert bench.amplitude.sizes == [5]
        assert bench.counted() == {"received": 5, "delivered": 5}
        assert bench.in_flight() == 0
        assert bench.connection.status is Status.CONNECTED

    run(main())


def test_a_large_delivery_goes_out_as_four_requests_at_once_and_each_contact_in_one_of_them() -> None:
    async def main() -> None:
        bench = Bench(max_events=10)
        records = [event_record(i, contact=i % 13) for i in range(40)]
        assert await bench.deliver(records)
        assert bench.amplitude.most_under_way == 4
        assert max(bench.amplitude.sizes) <= 10
        assert len(bench.amplitude.requests) <= 8
        for contact, numbers in bench.amplitude.by_contact().items():
            assert numbers == [i for i in range(40) if f"{i % 13:010x}" == contact]

    run(main())


def test_a_request_is_within_the_limit_of_bytes_unless_one_event_alone_is_larger() -> None:
    async def main() -> None:
        bench = Bench(max_bytes=1500)
        assert await bench.events(*range(12))
        sent = [sum(len(orjson.dumps(e)) + 1 for e in request) for request in bench.amplitude.requests]
        assert len(sent) >= 3
        assert max(sent) <= 1500
        small = Bench(max_bytes=10)
        assert await small.events(1, 2)
        assert small.amplitude.sizes == [1, 1]

    run(main())


def sized(contact: bytes, size: int = 9) -> Event:
    return Event(b"e" * size, contact, "user")


def test_requests_sent_together_are_alike_in_size_however_busy_a_contact_is() -> None:
    shards = by_contact([sized(bytes([name])) for name in b"aaaaaabcdbcd"], 4, 4)
    assert [b"".join(event.contact for event in shard) for shard in shards] == [b"aaaaaa", b"bdbd", b"cc"]
    shards = by_contact([sized(bytes([name])) for name in b"aabbccdd"], 4, 2)
    assert [b"".join(event.contact for event in shard) for shard in shards] == [b"aacc", b"bbdd"]


@pytest.mark.parametrize(
    ("contacts", "size", "most", "shards"),
    [(b"", 4, 4, 0), (b"abcd", 4, 4, 1), (b"abcde", 4, 4, 2), (b"abcdefgh", 1, 3, 3), (b"aaaaaa", 2, 4, 1), (b"ab", 1, 1, 1)],
)  # fmt: skip
def test_there_are_as_many_requests_as_the_events_need_and_no_more_than_may_be_under_way(
    contacts: bytes, size: int, most: int, shards: int
) -> None:
    found = by_contact([sized(bytes([name])) for name in contacts], size, most)
    assert len(found) == shards
    assert sorted(event.contact for shard in found for event in shard) == sorted(bytes([name]) for name in contacts)


@pytest.mark.parametrize(
    ("sizes", "max_events", "max_bytes", "batches"),
    [
        ([9, 9, 9, 9], 9, 20, [2, 2]),
        ([9, 9, 9, 9], 9, 19, [1, 1, 1, 1]),
        ([9, 9, 9, 9, 9], 2, 999, [2, 2, 1]),
        ([9, 99, 9, 9], 9, 20, [1, 1, 2]),
        ([99, 9], 9, 20, [1, 1]),
        ([9, 4, 5, 9, 9], 9, 20, [2, 2, 1]),
        ([], 9, 20, []),
    ],
)
def test_batches_are_full_up_to_either_limit(
    sizes: list[int], max_events: int, max_bytes: int, batches: list[int]
) -> None:
    """A byte more for each event: the comma between two, or a bracket."""
    events = [sized(b"a", size) for size in sizes]
    found = list(limited(events, max_events, max_bytes))
    assert [len(batch) for batch in found] == batches
    assert [event for batch in found for event in batch] == events


# 400 naming events ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first_only", [False, True])
def test_400_naming_events_buries_those_with_amplitudes_words_and_sends_the_rest_again(first_only: bool) -> None:
    async def main() -> None:
        bench = Bench()
        bench.amplitude.rule = bad_ones({1, 3}, first_only=first_only)
        assert await bench.events(*range(5))
        assert bench.amplitude.numbers == [0, 2, 4]
        assert bench.buried == [(1, REJECTED), (3, REJECTED)]
        assert bench.written[0]["headers"]["detail"] == b"event 1 is bad"
        assert bench.amplitude.sizes == ([5, 4, 3] if first_only else [5, 3])
        assert bench.counted() == {"received": 5, "delivered": 3, "dead_lettered": 2}

    run(main())


def test_400_naming_every_event_leaves_nothing_to_send() -> None:
    async def main() -> None:
        bench = Bench()
        bench.amplitude.rule = bad_ones({0, 1})
        assert await bench.events(0, 1)
        assert (len(bench.amplitude.requests), len(bench.written)) == (1, 2)

    run(main())


@pytest.mark.parametrize("answer", [Rejected("Invalid event JSON"), Invalid({999: "no such event"})])
def test_400_naming_none_is_halved_until_the_culprit_is_alone(answer: Answer) -> None:
    async def main() -> None:
        bench = Bench()
        bench.amplitude.rule = whole({5}, answer)
        assert await bench.events(*range(8))
        assert bench.amplitude.numbers == [0, 1, 2, 3, 4, 6, 7]
        assert bench.buried == [(5, REJECTED)]
        assert bench.amplitude.sizes == [8, 4, 4, 2, 1, 1, 2]
        words = answer.detail if isinstance(answer, Rejected) else "no such event"
        assert bench.written[0]["headers"]["detail"].decode() == words

    run(main())


# 413 ------------------------------------------------------------------------------------------------------------------


def test_400_naming_events_that_were_not_sent_is_told_in_all_of_its_words() -> None:
    async def main() -> None:
        bench = Bench()
        bench.amplitude.script = [Invalid({7: "no time", 8: "a bad id"})]
        assert await bench.events(1)
        assert bench.buried == [(1, REJECTED)]
        assert bench.written[0]["headers"]["detail"] == b"a bad id; no time"

    run(main())


def test_413_halves_left_half_first_and_finished_before_the_right() -> None:
    async def main() -> None:
        bench = Bench()
        bench.amplitude.rule = rule(lambda events: TooLarge() if len(events) > 2 else Accepted())
        bench.amplitude.script = [TooLarge(), DOWN, DOWN]
        assert await bench.events(*range(4))
        assert bench.amplitude.sizes == [4, 2, 2, 2, 2]
        assert bench.amplitude.numbers == [0, 1, 2, 3]
        assert bench.amplitude.most_under_way == 1

    run(main())


def test_413_for_a_single_event_is_a_dead_letter() -> None:
    async def main() -> None:
        bench = Bench()
        bench.amplitude.rule = whole({2}, TooLarge())
        assert await bench.events(1, 2, 3)
        assert bench.buried == [(2, LARGE)]
        assert bench.written[0]["headers"]["detail"] == b"413: one event alone is larger than Amplitude takes"
        assert sorted(bench.amplitude.numbers) == [1, 3]

    run(main())


# 429 ------------------------------------------------------------------------------------------------------------------


def users(*numbers: int) -> frozenset[str]:
    return frozenset(f"contact{n}@example.com" for n in numbers)


def test_429_all_events_of_the_throttled_users_wait_and_the_others_go_out_at_once() -> None:
    async def main() -> None:
        bench = Bench()
        bench.amplitude.script = [Throttled(users(1))]
        records = [event_record(n, contact=n % 3) for n in range(6)]
        assert await bench.deliver(records)
        assert [[number(e) for e in request] for request in bench.amplitude.requests] == [
            [0, 1, 2, 3, 4, 5], [0, 2, 3, 5], [1, 4],
        ]  # fmt: skip
        assert 15 <= bench.loop.time() < 16
        assert bench.counted() == {"received": 6, "delivered": 6}

    run(main())


def test_429_says_in_the_log_how_many_wait() -> None:
    async def main() -> None:
        bench = Bench()
        bench.amplitude.script = [Throttled(users(1), over_quota_users=users(2))]
        with capture_logs() as logged:
            assert await bench.events(1, 2, 3, 4)
        (line,) = [line for line in logged if line["event"] == "users are throttled"]
        assert {name: line[name] for name in ("connection", "waiting", "over_quota", "others")} == {
            "connection": "sources.newsletter", "waiting": 1, "over_quota": 1, "others": 2,
        }  # fmt: skip

    run(main())


def test_429_a_contact_whose_address_changed_waits_whole() -> None:
    async def main() -> None:
        bench = Bench()
        bench.amplitude.script = [Throttled(users(1))]
        changed = event_record(3, contact=1, address="new@example.com")
        assert await bench.deliver([event_record(1), event_record(2), changed, event_record(4)])
        assert [[number(e) for e in request] for request in bench.amplitude.requests[1:]] == [[2, 4], [1, 3]]

    run(main())


def test_429_naming_only_events_holds_back_the_others_of_their_users_too() -> None:
    async def main() -> None:
        bench = Bench()
        bench.amplitude.script = [Throttled(events=frozenset({1, 77}))]
        assert await bench.deliver([event_record(n, contact=n % 3) for n in range(6)])
        assert [len(request) for request in bench.amplitude.requests] == [6, 4, 2]
        assert bench.amplitude.by_contact()["0000000001"] == [1, 4]

    run(main())


@pytest.mark.parametrize(
    "answer",
    [
        Throttled(),
        Throttled(users(99)),
        Throttled(events=frozenset({99})),
        Throttled(events=frozenset({2}), over_quota_events=frozenset({2})),  # of two events, the third
    ],
)
def test_429_naming_nobody_we_know_lets_all_wait(answer: Answer) -> None:
    async def main() -> None:
        bench = Bench()
        bench.amplitude.script = [answer]
        assert await bench.events(1, 2)
        assert bench.amplitude.sizes == [2, 2]
        assert bench.loop.time() >= 15

    run(main())


def test_429_again_and_again_goes_on_until_it_passes_and_nobody_is_lost() -> None:
    """Each of a hundred users throttled in turn: the others' way out nests, it never forgets anybody."""

    async def main() -> None:
        bench = Bench()
        left = set(range(100))

        def answer(events: list[dict[str, Any]]) -> Answer:
            throttled = [number(e) for e in events if number(e) in left]
            if not throttled:
                return Accepted()
            left.discard(throttled[0])
            return Throttled(users(throttled[0]))

        bench.amplitude.rule = rule(answer)
        assert await bench.events(*range(100))
        assert sorted(bench.amplitude.numbers) == list(range(100))
        assert bench.loop.time() < 100

    run(main())


@pytest.mark.parametrize(
    "answer",
    [
        Throttled(over_quota_users=users(2), detail="quota"),
        Throttled(over_quota_events=frozenset({1}), detail="quota"),
        Throttled(events=frozenset({1}), over_quota_users=users(2), detail="quota"),
    ],
)
def test_429_parks_who_is_over_the_daily_quota_and_waits_for_nobody(answer: Answer) -> None:
    async def main() -> None:
        bench = Bench()
        bench.amplitude.script = [answer]
        assert await bench.events(1, 2, 3)
        assert bench.buried == [(2, QUOTA)]
        assert bench.written[0]["headers"]["detail"] == b"quota"
        assert sorted(bench.amplitude.numbers) == [1, 3]
        assert bench.loop.time() < 1

    run(main())


# Refused keys and parking ---------------------------------------------------------------------------------------------


def test_a_refused_key_is_retried_for_park_after_and_then_its_records_are_dead_letters() -> None:
    async def main() -> None:
        bench = Bench()
        bench.amplitude.rule = refuse
        assert await bench.events(1, 2)
        assert 60 <= bench.loop.time() < 63
        assert bench.buried == [(1, PARKED), (2, PARKED)]
        assert b"401" in bench.written[0]["headers"]["detail"]
        assert bench.connection.status is Status.REFUSED
        assert len(bench.amplitude.requests) < 30
        assert bench.counted() == {"received": 2, "dead_lettered": 2}

    run(main())


def test_park_after_counts_once_for_a_connection_and_not_for_each_delivery() -> None:
    async def main() -> None:
        bench = Bench()
        bench.amplitude.rule = refuse
        first = asyncio.ensure_future(bench.events(1))
        await asyncio.sleep(40)
        second = asyncio.ensure_future(bench.events(2))
        await asyncio.gather(first, second)
        assert bench.loop.time() < 63

    run(main())


def test_once_parked_records_are_dead_letters_at_once_and_nothing_is_asked_between_probes() -> None:
    async def main() -> None:
        bench = Bench()
        bench.amplitude.rule = refuse
        assert await bench.events(1)
        begun, asked = bench.loop.time(), len(bench.amplitude.requests)
        for n in range(2, 12):
            assert await bench.events(n)
        assert bench.loop.time() - begun < 1
        assert len(bench.amplitude.requests) == asked
        assert len(bench.buried) == 11

    run(main())


def test_one_refused_key_does_not_hold_up_another_source_for_longer_than_park_after() -> None:
    async def main() -> None:
        bench = Bench(sources=("newsletter", "shop"))
        bench.amplitude.rule = refuse
        delivery = [event_record(1), event_record(2, source="shop")]
        assert await bench.deliver(delivery)
        assert bench.amplitudes["shop"].numbers == [2]
        waited = bench.loop.time()
        assert await bench.deliver([event_record(3), event_record(4, source="shop")])
        assert bench.loop.time() - waited < 1
        assert bench.amplitudes["shop"].numbers == [2, 4]
        assert bench.connections["shop"].status is Status.CONNECTED
        assert bench.counted("shop") == {"received": 2, "delivered": 2}

    run(main())


def test_a_parked_connection_is_asked_with_one_real_record_and_goes_on_when_accepted_again() -> None:
    async def main() -> None:
        bench = Bench()
        bench.amplitude.rule = refuse
        assert await bench.events(1)
        await asyncio.sleep(31)
        asked = len(bench.amplitude.requests)
        assert await bench.events(2, 3)
        assert bench.amplitude.sizes[asked:] == [1]  # one probe, refused
        assert await bench.events(4)  # no probe so soon
        assert len(bench.amplitude.requests) == asked + 1
        await asyncio.sleep(31)
        bench.amplitude.rule = None
        assert await bench.events(5, 6, 7)
        assert sorted(bench.amplitude.numbers) == [5, 6, 7]
        assert bench.connection.status is Status.CONNECTED
        assert bench.buried == [(1, PARKED), (2, PARKED), (3, PARKED), (4, PARKED)]
        assert await bench.events(8)
        assert bench.loop.time() < 130
        # Never an invented event: all that was ever sent are records of ours.
        assert {number(e) for request in bench.amplitude.requests for e in request} <= set(range(1, 9))

    run(main())


@pytest.mark.parametrize("answer", [DOWN, Doubted("Forbidden")])
def test_a_probe_without_a_clear_answer_leaves_the_connection_parked(answer: Any) -> None:
    async def main() -> None:
        bench = Bench()
        bench.amplitude.rule = refuse
        assert await bench.events(1)
        await asyncio.sleep(31)
        bench.amplitude.script = [answer]
        assert await bench.events(2)
        assert bench.connection.parked
        assert bench.buried == [(1, PARKED), (2, PARKED)]

    run(main())


def test_a_probe_that_is_refused_in_other_words_is_told_in_those() -> None:
    async def main() -> None:
        bench = Bench()
        bench.amplitude.rule = refuse
        assert await bench.events(1)
        await asyncio.sleep(31)
        bench.amplitude.script = [VendorRefused("amplitude", 400, "Invalid API key")]
        assert await bench.events(2)
        assert b"Invalid API key" in bench.written[-1]["headers"]["detail"]

    run(main())


def test_a_probe_that_fails_is_said_in_the_log() -> None:
    async def main() -> None:
        bench = Bench()
        bench.amplitude.rule = refuse
        assert await bench.events(1)
        await asyncio.sleep(31)
        bench.amplitude.script = [DOWN]
        with capture_logs() as logged:
            assert await bench.events(2)
        assert logged == [
            {
                "event": "the probe of a parked connection failed", "log_level": "warning",
                "connection": "sources.newsletter", "detail": DOWN.detail,
            }
        ]  # fmt: skip

    run(main())


def test_any_answer_about_the_events_ends_a_refusal_of_the_key() -> None:
    async def main() -> None:
        bench = Bench()
        bench.amplitude.script = [REFUSED, Rejected("not this one")]
        assert await bench.events(1)
        assert bench.buried == [(1, REJECTED)]
        assert (bench.connection.refused_since, bench.connection.status) == (None, Status.CONNECTED)

    run(main())


def test_a_probe_that_is_read_but_rejected_shows_that_the_key_is_accepted() -> None:
    async def main() -> None:
        bench = Bench()
        bench.amplitude.rule = refuse
        assert await bench.events(1)
        await asyncio.sleep(31)
        bench.amplitude.rule = bad_ones({2})
        assert await bench.events(2, 3)
        assert bench.buried == [(1, PARKED), (2, REJECTED)]
        assert bench.amplitude.numbers == [3]

    run(main())


def test_a_key_accepted_again_in_time_parks_nothing_and_the_count_begins_anew() -> None:
    async def main() -> None:
        bench = Bench()
        bench.amplitude.rule = refuse
        delivery = asyncio.ensure_future(bench.events(1))
        await asyncio.sleep(50)
        assert bench.connection.status is Status.REFUSED
        bench.amplitude.rule = None
        assert await delivery
        assert (bench.written, bench.connection.refused_since) == ([], None)
        begun = bench.loop.time()
        bench.amplitude.rule = refuse
        assert await bench.events(2)
        assert bench.loop.time() - begun >= 60

    run(main())


def test_with_park_after_zero_the_first_refusal_parks() -> None:
    async def main() -> None:
        bench = Bench(park_after=0)
        bench.amplitude.rule = refuse
        assert await bench.events(1, 2)
        assert bench.loop.time() < 1
        assert len(bench.amplitude.requests) == 1

    run(main())


def test_what_had_settled_before_the_key_was_refused_is_not_parked() -> None:
    async def main() -> None:
        bench = Bench(max_events=2)
        accepted = 0

        def answer(_: Any) -> Answer:
            nonlocal accepted
            accepted += 1
            if accepted > 1:
                raise REFUSED
            return Accepted()

        bench.amplitude.rule = rule(answer)
        assert await bench.deliver([event_record(n, contact=1) for n in range(6)])
        assert bench.amplitude.numbers == [0, 1]
        assert bench.buried == [(n, PARKED) for n in range(2, 6)]
        assert bench.counted() == {"received": 6, "delivered": 2, "dead_lettered": 4}

    run(main())


@pytest.mark.parametrize("left", [Accepted(), Rejected("bad")])
def test_of_a_halved_request_only_the_half_that_is_refused_is_parked(left: Answer) -> None:
    async def main() -> None:
        bench = Bench(park_after=0)
        bench.amplitude.script = [TooLarge(), left, REFUSED]
        assert await bench.deliver([event_record(n, contact=1) for n in (1, 2)])
        assert bench.buried == ([(2, PARKED)] if isinstance(left, Accepted) else [(1, REJECTED), (2, PARKED)])

    run(main())


# 403 ------------------------------------------------------------------------------------------------------------------


def firewall(*blocked: int) -> Callable[[list[dict[str, Any]]], Awaitable[Answer]]:
    return whole(set(blocked), Doubted("Forbidden"))


def test_403_for_one_content_while_others_pass_is_halved_and_only_the_lone_event_is_rejected() -> None:
    async def main() -> None:
        bench = Bench()
        assert await bench.events(0)  # the witness
        bench.amplitude.rule = firewall(3)
        assert await bench.events(1, 2, 3, 4)
        assert bench.buried == [(3, REJECTED)]
        assert sorted(bench.amplitude.numbers) == [0, 1, 2, 4]
        assert bench.connection.status is Status.CONNECTED
        assert bench.loop.time() < 2

    run(main())


def test_403_without_a_witness_asks_two_contacts_each_alone() -> None:
    async def main() -> None:
        bench = Bench()
        bench.amplitude.rule = firewall(1)
        assert await bench.deliver([event_record(1), event_record(2), event_record(3, contact=2)])
        assert bench.amplitude.sizes[:3] == [3, 1, 1]
        assert bench.buried == [(1, REJECTED)]
        assert bench.amplitude.by_contact() == {"0000000002": [2, 3]}

    run(main())


def test_403_without_a_witness_is_a_refused_key_once_two_contacts_were_doubted() -> None:
    async def main() -> None:
        bench = Bench(park_after=0)
        bench.amplitude.rule = rule(lambda _: Doubted("Forbidden"))
        assert await bench.deliver([event_record(n, contact=contact) for n, contact in enumerate((1, 1, 2, 3))])
        assert [[number(e) for e in request] for request in bench.amplitude.requests] == [[0, 1, 2, 3], [0], [2]]
        assert {offset for offset, reason in bench.buried if reason == PARKED} == {0, 1, 2, 3}
        assert bench.written[0]["headers"]["detail"] == b"amplitude answered 403: Forbidden"

    run(main())


def test_what_passed_while_asking_is_the_next_witness() -> None:
    async def main() -> None:
        bench = Bench()
        bench.amplitude.rule = firewall(1)
        bench.amplitude.script = [Doubted("Forbidden")] * 2
        assert await bench.events(1, 2, 3)
        asked = len(bench.amplitude.requests)
        bench.amplitude.rule = firewall(4)
        assert await bench.events(4)
        known = {1, 2, 3}
        assert {number(e) for request in bench.amplitude.requests[asked:] for e in request} <= {4, *known}
        assert bench.buried == [(1, REJECTED), (4, REJECTED)]

    run(main())


@pytest.mark.parametrize(("after", "asked_again"), [(WITNESS_FOR - 10, True), (WITNESS_FOR + 10, False)])
def test_a_witness_is_asked_for_six_days(after: float, asked_again: bool) -> None:
    async def main() -> None:
        bench = Bench()
        assert await bench.events(0)
        await asyncio.sleep(after)
        bench.amplitude.rule = firewall(1)
        assert await bench.events(1, 2)
        again = {number(e) for request in bench.amplitude.requests[1:] for e in request}
        assert (0 in again) == asked_again
        assert bench.buried == [(1, REJECTED)]

    run(main())


def test_403_whatever_is_sent_is_a_refused_key() -> None:
    async def main() -> None:
        bench = Bench()
        assert await bench.events(0)
        bench.amplitude.rule = rule(lambda _: Doubted("Forbidden"))
        assert await bench.events(1, 2, 3)
        assert 60 <= bench.loop.time() < 63
        assert bench.buried == [(1, PARKED), (2, PARKED), (3, PARKED)]

    run(main())


def test_403_for_a_lone_event_without_a_witness_is_a_refused_key() -> None:
    async def main() -> None:
        bench = Bench()
        bench.amplitude.rule = firewall(1)
        assert await bench.events(1)
        assert bench.buried == [(1, PARKED)]
        alone = Bench(park_after=0)
        alone.amplitude.rule = firewall(1)
        assert await alone.events(1)
        assert alone.amplitude.sizes == [1], "asked with itself it would say the same"

    run(main())


def test_a_witness_that_amplitude_may_have_forgotten_is_not_sent_again() -> None:
    """After 7 days its insert_id would count as a new event."""

    async def main() -> None:
        bench = Bench()
        assert await bench.events(0)
        await asyncio.sleep(7 * 86_400)
        bench.amplitude.rule = firewall(1)
        asked = len(bench.amplitude.requests)
        assert await bench.events(1, 2, 3)
        assert 0 not in {number(e) for request in bench.amplitude.requests[asked:] for e in request}
        assert bench.buried == [(1, REJECTED)]

    run(main())


def test_a_witness_that_is_throttled_has_passed_the_firewall_too() -> None:
    async def main() -> None:
        bench = Bench()
        assert await bench.events(0)

        def answer(events: list[dict[str, Any]]) -> Answer:
            numbers = {number(e) for e in events}
            return Throttled(users(0)) if 0 in numbers else Doubted("Forbidden") if 1 in numbers else Accepted()

        bench.amplitude.rule = rule(answer)
        assert await bench.events(1, 2)
        assert bench.buried == [(1, REJECTED)]
        assert bench.amplitude.numbers == [0, 2]

    run(main())


# 5xx, time-outs -------------------------------------------------------------------------------------------------------


def test_an_outage_is_retried_with_growing_waits_and_the_same_insert_ids() -> None:
    async def main() -> None:
        bench = Bench()
        bench.amplitude.script = [DOWN] * 12
        delivery = asyncio.ensure_future(bench.events(1, 2))
        await asyncio.sleep(10)
        assert bench.connection.status is Status.RETRYING
        assert await delivery
        assert len({tuple(e["insert_id"] for e in request) for request in bench.amplitude.requests}) == 1
        assert 30 < bench.loop.time() < 90
        assert bench.counted() == {"received": 2, "delivered": 2}
        assert bench.written == []

    run(main())


def test_a_request_that_timed_out_but_was_taken_counts_once() -> None:
    async def main() -> None:
        bench = Bench()

        async def taken_but_silent(events: list[dict[str, Any]]) -> Answer:
            bench.amplitude.take(events)
            return await hang(events)

        bench.amplitude.script = [taken_but_silent]
        assert await bench.events(1, 2)
        assert bench.amplitude.numbers == [1, 2]

    run(main())


def test_an_outage_parks_nothing_however_long_it_lasts() -> None:
    async def main() -> None:
        bench = Bench()
        delivery = asyncio.ensure_future(bench.events(1))

        async def down(_: Any) -> Answer:
            raise DOWN

        bench.amplitude.rule = down
        await asyncio.sleep(6 * 3600)
        assert not delivery.done()
        moves = bench.moves
        await asyncio.sleep(60)
        assert bench.moves > moves + 4  # the watchdog sees that it tries
        bench.amplitude.rule = None
        assert await delivery
        assert bench.written == []

    run(main())


# Closing in the middle of each ----------------------------------------------------------------------------------------


async def throttle_all(_: Any) -> Answer:
    return Throttled()


async def down(_: Any) -> Answer:
    raise DOWN


@pytest.mark.parametrize(
    ("behaviour", "within"),
    [(down, 0.2), (refuse, 0.2), (throttle_all, 0.2), (hang, 8.2), (whole({1}, TooLarge()), 0.2), (rule(lambda _: Doubted("no")), 0.3)],
    ids=["500", "refused", "throttled", "hanging", "halving", "doubted"],
)  # fmt: skip
@pytest.mark.parametrize("after", [0.01, 0.06, 0.11, 1.0, 5.0])
def test_closing_ends_the_attempt_under_way_and_begins_no_other(behaviour: Any, within: float, after: float) -> None:
    async def main() -> None:
        bench = Bench()
        bench.amplitude.rule = behaviour
        delivery = asyncio.ensure_future(bench.events(*range(1, 5)))
        await asyncio.sleep(after)
        bench.closing.set()
        begun, asked = bench.loop.time(), len(bench.amplitude.requests)
        settled = await delivery
        assert bench.loop.time() - begun <= within
        assert len(bench.amplitude.requests) <= asked
        counted = dict(bench.counted())
        returned = counted.pop("returned", 0)
        assert settled == (returned == 0)
        assert counted.pop("received") == returned + sum(counted.values())
        assert bench.in_flight() == 0

    run(main())


def test_closing_while_parked_letters_are_written_returns_what_is_not_durable() -> None:
    async def main() -> None:
        bench = Bench(park_after=0)
        bench.amplitude.rule = refuse
        bench.connect_faults = [OSError("no broker")] * 1000
        delivery = asyncio.ensure_future(bench.events(1, 2))
        await asyncio.sleep(5)
        bench.closing.set()
        assert not await delivery
        assert bench.written == []
        assert bench.counted() == {"received": 2, "returned": 2}

    run(main())


def test_a_closed_lane_asks_no_witness_any_more() -> None:
    """Each question may take the whole time-out; three of them outlast any grace."""

    async def main() -> None:
        bench = Bench()
        assert await bench.events(0)
        asked = len(bench.amplitude.requests)

        async def close_and_doubt(_: Any) -> Answer:
            bench.closing.set()
            return Doubted("Forbidden")

        bench.amplitude.rule = close_and_doubt
        assert not await bench.events(1, 2)
        assert len(bench.amplitude.requests) == asked + 1

    run(main())


# Faults of ours -------------------------------------------------------------------------------------------------------


def test_a_bug_is_raised_after_all_parts_have_ended_and_before_anything_else() -> None:
    async def main() -> None:
        bench = Bench(sources=("newsletter", "shop"))

        async def bug(_: Any) -> Answer:
            raise ZeroDivisionError

        bench.amplitude.rule = bug
        with pytest.raises(ZeroDivisionError):
            await bench.deliver([event_record(1), event_record(2, source="shop")])
        assert bench.amplitudes["shop"].numbers == [2]
        assert bench.in_flight() == bench.in_flight("shop") == 0

    run(main())


# Whatever Amplitude answers -------------------------------------------------------------------------------------------


def names(kind: str, numbers: list[int]) -> Answer | Exception | Any:
    if kind == "invalid":
        return Invalid(dict.fromkeys(numbers, "bad"))
    if kind == "over quota":
        return Throttled(over_quota_users=users(*numbers))
    return Throttled(users(*numbers), frozenset(numbers[:2]))


STEPS = st.one_of(
    st.sampled_from([
        Accepted(), Rejected("no"), TooLarge(), Doubted("no"), Throttled(), DOWN, REFUSED, hang, "taken but silent",
        VendorUnavailable("amplitude", 0, "reset", cause="reset"),
    ]),
    st.builds(names, st.sampled_from(["invalid", "over quota", "throttled"]), st.lists(st.integers(0, 12), max_size=4)),
)  # fmt: skip


@settings(max_examples=60)
@given(
    st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=14), min_size=1, max_size=4),
    st.lists(STEPS, max_size=40),
    st.integers(1, 5),
    st.sampled_from([300, 700, 100_000]),
    st.none() | st.floats(0, 120),
)
def test_each_event_ends_delivered_or_dead_lettered_once_and_contacts_keep_their_order(
    deliveries: list[list[int]], steps: list[Any], max_events: int, max_bytes: int, close_after: float | None
) -> None:
    async def main() -> None:
        bench = Bench(max_events=max_events, max_bytes=max_bytes)
        amplitude = bench.amplitude

        async def taken_but_silent(events: list[dict[str, Any]]) -> Answer:
            amplitude.take(events)
            return await hang(events)

        amplitude.script = [taken_but_silent if step == "taken but silent" else step for step in steps]
        if close_after is not None:
            bench.loop.call_later(close_after, bench.closing.set)
        total, settled = 0, True
        for contacts in deliveries:
            # Contact 4 changes its address, again and again: one contact, two users.
            records = [
                event_record(total + i, contact, address=f"contact{i % 2}@example.com" if contact == 4 else None)
                for i, contact in enumerate(contacts)
            ]
            total += len(records)
            settled = await bench.deliver(records)
            if not settled:
                break
        counted = dict(bench.counted())
        received, returned = counted.pop("received"), counted.pop("returned", 0)
        assert received == total == returned + sum(counted.values())
        assert bench.in_flight() == 0
        assert settled == (returned == 0)
        buried = [offset for offset, _ in bench.buried]
        assert len(buried) == len(set(buried))
        assert counted.get("dead_lettered", 0) == len(buried)
        assert counted.get("delivered", 0) <= len(amplitude.numbers)
        if settled:
            assert sorted({*amplitude.numbers, *buried}) == list(range(total))
        for numbers in amplitude.by_contact().values():
            assert numbers == sorted(numbers)
        for request in amplitude.requests:
            assert len(request) <= max_events
            assert len(request) == 1 or sum(len(orjson.dumps(e)) + 1 for e in request) <= max_bytes

    run(main())
