"""How much and how long the ingress takes from one request and from all: caps, memory, deadlines."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from ingress import intake
from tests import virtual_time
from tests.ingress_peer import COHORTS, FORM, HOOK, SIGNED, Answer, Kafka, Peer, ask, running

# Caps


@pytest.mark.parametrize(("path", "kind", "cap"), [(HOOK, FORM, 64 << 10), (COHORTS, "application/json", 8 << 20)])
def test_a_body_may_be_as_large_as_the_cap_and_no_larger(path: str, kind: str, cap: int) -> None:
    assert ask("POST", path, b"x" * cap, content_type=kind).status in {200, 204}
    answer = ask("POST", path, b"x" * (cap + 1), content_type=kind)
    assert (answer.status, answer.read_before, answer.headers["connection"]) == (413, 0, "close")


def test_a_body_in_chunks_is_413_as_soon_as_the_cap_is_passed() -> None:
    pieces = [(0.1, b"x" * 30_000)] * 10
    answer = ask("POST", HOOK, pieces, chunked=True)
    assert (answer.status, answer.read_before) == (413, 3)
    assert answer.read == 10, "the rest is read and forgotten, so that the peer sees the answer and no reset"


def test_reading_on_after_an_answer_ends_soon() -> None:
    async def main() -> float:
        async with running() as peer:
            loop = asyncio.get_running_loop()
            began = loop.time()
            answer = await peer.ask("POST", HOOK, [(0.5, b"x")] * 100, length=100_000)
            assert (answer.status, answer.seconds) == (413, 0)
            return loop.time() - began

    assert 2.0 <= virtual_time.run(main()) < 2.2


def test_reading_on_counts_pieces_as_well_as_bytes() -> None:
    async def main() -> int:
        asked = 0

        async def a_byte_more() -> dict[str, object]:
            nonlocal asked
            asked += 1
            return {"type": "http.request", "body": b"x", "more_body": True}

        await intake.drain(a_byte_more, 16 * 1024)
        return asked

    assert asyncio.run(main()) == 5


def test_a_peer_that_waits_for_100_continue_is_not_waited_for() -> None:
    assert ask("POST", HOOK, [(0.5, b"x")], length=100_000, expect="100-continue").read == 0


def test_all_bodies_together_are_bounded_and_more_is_503_at_once() -> None:
    async def main() -> list[int]:
        async with running(Kafka(delay=1), memory=100_000) as peer:
            first = [asyncio.create_task(peer.ask("POST", HOOK, b"x" * 50_000)) for _ in range(2)]
            await asyncio.sleep(0.1)
            declared = await peer.ask("POST", HOOK, b"x")
            chunked = await peer.ask("POST", HOOK, b"x", chunked=True)
            assert declared.seconds == chunked.seconds == 0
            assert declared.headers["retry-after"] == "10"
            both = [(await task).status for task in first]
            return [declared.status, chunked.status, *both, (await peer.ask("POST", HOOK, b"x" * 60_000)).status]

    assert virtual_time.run(main()) == [503, 503, 204, 204, 204]


@pytest.mark.parametrize(
    "request_",
    [
        lambda peer: peer.ask("POST", HOOK, b"x" * 9),
        lambda peer: peer.ask("POST", SIGNED, b"x" * 9),
        lambda peer: peer.ask("POST", HOOK, [(9.0, b"x")]),
        lambda peer: peer.ask("POST", HOOK, [(0.1, b"x")], length=5, hangs_up=True),
        lambda peer: peer.ask("POST", HOOK, [(0.1, b"x" * 40_000)] * 2, chunked=True),
        lambda peer: peer.ask("POST", HOOK, b"x", content_type="text/plain"),
    ],
)
def test_memory_is_given_back_whatever_becomes_of_a_request(request_: Callable[[Peer], Awaitable[Answer]]) -> None:
    async def main() -> None:
        async with running() as peer:
            await request_(peer)
            assert peer.app._memory.held == 0
            assert not peer.app._deadlines

    virtual_time.run(main())


# Deadlines


def test_a_slow_body_is_408_after_five_seconds_and_the_connection_ends() -> None:
    answer = ask("POST", HOOK, [(1.0, b"x")] * 10)
    assert answer.status == 408
    assert 5.0 <= answer.seconds < 5.2
    assert answer.headers["connection"] == "close"


def test_no_acknowledgement_is_503_with_retry_after_within_nine_seconds() -> None:
    answer = ask("POST", HOOK, b"a=b", kafka=Kafka(delay=60))
    assert (answer.status, answer.headers["retry-after"]) == (503, "10")
    assert 8.0 <= answer.seconds < 8.2
    assert "connection" not in answer.headers


def test_a_slow_body_leaves_kafka_less_time_so_that_the_whole_stays_below_nine_seconds() -> None:
    answer = ask("POST", HOOK, [(4.9, b"a=b")], kafka=Kafka(delay=60))
    assert answer.status == 503
    assert 8.5 <= answer.seconds < 9.0


def test_kafka_known_to_be_away_is_503_at_once() -> None:
    answer = ask("POST", HOOK, b"a=b", kafka=Kafka(refuses=True))
    assert (answer.status, answer.seconds, answer.headers["retry-after"]) == (503, 0, "10")


def test_an_acknowledgement_in_the_last_moment_is_a_204() -> None:
    kafka = Kafka(delay=7.9)
    assert ask("POST", HOOK, b"a=b", kafka=kafka).status == 204


def test_a_body_that_breaks_off_is_400_for_a_peer_that_may_still_read_and_is_not_stored() -> None:
    kafka = Kafka()
    answer = ask("POST", HOOK, [(0.1, b"a=b")], length=10, hangs_up=True, kafka=kafka)
    assert (answer.status, answer.headers["connection"], kafka.records) == (400, "close", [])


def test_who_cancels_from_outside_is_not_mistaken_for_a_deadline() -> None:
    async def main() -> None:
        async with running(Kafka(delay=60)) as peer:
            task = asyncio.create_task(peer.ask("POST", HOOK, b"a=b"))
            await asyncio.sleep(0.1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert peer.app._memory.held == 0

    virtual_time.run(main())
