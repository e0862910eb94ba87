"""A delivery: sorted, routed by connection, settled part by part; and counted so that nothing is ever unaccounted for."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from listwire import metrics
from listwire.errors import VendorUnavailable
from listwire.records import Reason, Rejection
from stream.accounts import Account
from stream.dead_letters import Dead
from stream.delivery import SORTED_AT_ONCE, Delivery, Settlement, Sorted, together
from stream.retry import Attempts, Closing, Parked
from tests.delivery_bench import Bench, Record, event_record
from tests.virtual_time import run
from tests.webhook_bodies import webhook

# Sorting and routing --------------------------------------------------------------------------------------------------


def test_each_record_goes_its_own_way_and_all_are_counted() -> None:
    async def main() -> None:
        bench = Bench(sources=("newsletter", "shop"))
        records = [
            event_record(1),
            event_record(2, source="shop"),
            Record(3, webhook(kind="profile")),
            Record(4, b"junk"),
            Record(5, webhook(), headers=(("source", b"gone"),)),
            event_record(6),
        ]
        assert await bench.deliver(records)
        assert bench.amplitude.numbers == [1, 6]
        assert bench.amplitudes["shop"].numbers == [2]
        assert sorted(bench.buried) == [(4, "undecodable"), (5, "unknown_connection")]
        assert bench.counted() == {"received": 4, "delivered": 2, "filtered": 1, "dead_lettered": 1}
        assert bench.counted("shop") == {"received": 1, "delivered": 1}

    run(main())


def test_what_is_only_filtered_settles_without_a_request() -> None:
    async def main() -> None:
        bench = Bench()
        by_type = metrics.FILTERED_BY(worker="bench", connection="sources.newsletter", why="cleaned")._value
        before = by_type.get()
        assert await bench.deliver([Record(n, webhook(kind="cleaned")) for n in range(3)])
        assert by_type.get() == before + 3
        assert bench.amplitude.requests == []
        assert bench.counted() == {"received": 3, "filtered": 3}

    run(main())


def test_many_records_are_sorted_with_a_look_at_the_loop_in_between() -> None:
    """Sorting thousands at once would keep the other lanes from sending."""

    async def main() -> None:
        sizes: list[int] = []
        looks = 0

        def sort(records: Sequence[Any], into: Sorted[Any]) -> None:
            sizes.append(len(records))

        async def look() -> None:
            nonlocal looks
            while True:
                looks += 1
                await asyncio.sleep(0)

        bench = Bench()
        delivery: Delivery[Any] = Delivery("sorting", sort, {}, bench.letters, bench.clock)
        task = asyncio.ensure_future(look())
        assert await delivery([None] * (SORTED_AT_ONCE * 3 + 1), asyncio.Event())
        task.cancel()
        assert sizes == [SORTED_AT_ONCE] * 3 + [1]
        assert looks >= 3
        assert bench.loop.time() < 0.1, "a look is no pause"

    run(main())


# Settling -------------------------------------------------------------------------------------------------------------


def test_a_delivery_that_is_tried_again_counts_as_moving() -> None:
    async def main() -> None:
        bench = Bench()
        bench.amplitude.script = [VendorUnavailable("amplitude", 500, "down", cause="500")]
        assert await bench.events(1)
        assert bench.moves >= 3

    run(main())


class Idle:
    """A courier that forgets its work."""

    async def deliver(self, items: Sequence[Any], settlement: Settlement) -> None:
        pass


def test_a_courier_that_returns_with_records_unsettled_is_a_bug() -> None:
    async def main() -> None:
        def sort(records: Sequence[Any], into: Sorted[Any]) -> None:
            into.received["lazy"] += len(records)
            into.work["lazy"] = list(records)

        bench = Bench()
        delivery: Delivery[Any] = Delivery("lazy", sort, {"lazy": Idle()}, bench.letters, bench.clock)
        with pytest.raises(AssertionError, match="unsettled"):
            await delivery([1, 2], asyncio.Event())
        assert metrics.IN_FLIGHT(worker="lazy", connection="lazy")._value.get() == 0

    run(main())


def test_a_reader_that_raises_is_a_bug_and_leaves_nothing_in_flight() -> None:
    async def main() -> None:
        def sort(records: Sequence[Any], into: Sorted[Any]) -> None:
            raise KeyError("a bug")

        bench = Bench()
        delivery: Delivery[Any] = Delivery("buggy", sort, {}, bench.letters, bench.clock)
        with pytest.raises(KeyError):
            await delivery([1], asyncio.Event())

    run(main())


async def after(seconds: float, fault: BaseException | None, ended: list[float]) -> None:
    await asyncio.sleep(seconds)
    ended.append(seconds)
    if fault is not None:
        raise fault


BUG, PARKED, CLOSING = ValueError("bug"), Parked("refused"), Closing()


@pytest.mark.parametrize(
    ("faults", "raised"),
    [
        ([None, None], None),
        ([CLOSING, None, PARKED], PARKED),
        ([CLOSING, BUG, PARKED], BUG),
        ([None, CLOSING], CLOSING),
        ([PARKED], PARKED),
        ([], None),
    ],
)
def test_all_parts_end_and_the_gravest_fault_is_raised(
    faults: list[Exception | None], raised: Exception | None
) -> None:
    async def main() -> None:
        ended: list[float] = []
        parts = [after(3.0 - i, fault, ended) for i, fault in enumerate(faults)]
        try:
            await together(parts)
        except Exception as found:
            assert found is raised  # noqa: PT017 - which one, is the test
        else:
            assert raised is None
        assert len(ended) == len(faults)

    run(main())


def test_how_long_and_how_much_is_observed_only_for_what_settled() -> None:
    async def main() -> None:
        bench = Bench()
        seconds, records = metrics.DELIVERY_SECONDS(worker="bench")._sum, metrics.DELIVERY_RECORDS(worker="bench")._sum
        before = seconds.get(), records.get()
        await asyncio.sleep(100)
        bench.amplitude.latency = 2.0
        assert await bench.events(1, 2, 3)
        bench.closing.set()
        assert not await bench.events(4)
        assert (round(seconds.get() - before[0], 1), records.get() - before[1]) == (2.0, 3)

    run(main())


# The account ----------------------------------------------------------------------------------------------------------


OUTCOMES = ("received", "delivered", "filtered", "dead_lettered", "returned")


def counted(connection: str) -> dict[str, float]:
    return {
        outcome: metrics.RECORDS(worker="books", connection=connection, outcome=outcome)._value.get()
        for outcome in OUTCOMES
    }


def in_flight(connection: str) -> float:
    return float(metrics.IN_FLIGHT(worker="books", connection=connection)._value.get())


@given(
    st.dictionaries(st.sampled_from(["a", "b"]), st.integers(0, 20), min_size=1),
    st.lists(
        st.tuples(st.sampled_from(["delivered", "filtered", "dead"]), st.sampled_from(["a", "b"]), st.integers(0, 9))
    ),
)
def test_received_is_always_delivered_filtered_dead_lettered_returned_and_in_flight(
    received: dict[str, int], steps: list[tuple[str, str, int]]
) -> None:
    before = {name: counted(name) for name in "ab"}
    account = Account("books")
    account.received(received)

    def balanced() -> None:
        for name in "ab":
            now = {outcome: value - before[name][outcome] for outcome, value in counted(name).items()}
            assert now.pop("received") == sum(now.values()) + in_flight(name)

    for kind, name, amount in steps:
        amount = min(amount, account.open[name])  # noqa: PLW2901 - nobody settles more than there is
        if kind == "delivered":
            account.delivered(name, amount)
        elif kind == "filtered":
            account.filtered(name, "type", amount)
        else:
            account.dead_lettered(name, "undecodable", amount)
        balanced()
    assert account.settled == (sum(account.open.values()) == 0)
    account.close()
    balanced()
    assert in_flight("a") == in_flight("b") == 0


def test_the_same_delivery_twice_at_once_is_counted_twice() -> None:
    """Deliveries of several lanes share couriers and counters."""

    async def main() -> None:
        bench = Bench()
        assert await asyncio.gather(*[bench.events(n) for n in range(5)]) == [True] * 5
        assert bench.counted() == {"received": 5, "delivered": 5}

    run(main())


def test_a_letter_may_be_counted_under_another_label_than_it_names() -> None:
    async def main() -> None:
        bench = Bench()
        account = Account("books")
        account.received({"sources.?": 1})
        settlement = Settlement(Attempts(bench.clock, bench.closing), account, bench.letters)
        dead = Dead(
            event_record(1), "sources.whatever", Rejection(Reason.UNKNOWN_CONNECTION, ""), counted_as="sources.?"
        )
        await settlement.bury([dead])
        assert account.settled
        assert bench.written[0]["headers"]["connection"] == b"sources.whatever"

    run(main())
