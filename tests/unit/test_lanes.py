"""Lanes: what may be acknowledged and when, what a lane refuses, how much may wait, and how lanes end."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from structlog.testing import capture_logs

from stream.lanes import Lanes, LostRun

P0, P1 = ("topic", 0), ("topic", 1)


class Record:
    def __init__(self, offset: int, key: bytes | None = None) -> None:
        self.offset = offset
        self.key = key

    def __repr__(self) -> str:
        return f"#{self.offset}"


class Run:
    """Covers begin..end; holds records at `offsets`, or at all of them."""

    def __init__(
        self,
        begin: int,
        end: int,
        *,
        first: int | None = None,
        offsets: Sequence[int] | None = None,
        weight: int = 1,
        keys: bytes = b"",
    ) -> None:
        """`keys`: a letter for each record; without them all have the same one."""
        self.begin, self.end, self.weight = begin, end, weight
        self.first = begin if first is None else first
        found = range(begin, end) if offsets is None else offsets
        self.records = [Record(o, keys[n : n + 1] or None) for n, o in enumerate(found)]


class Desk:
    """Deliveries as the lanes hand them over; each waits until the test settles it. Acknowledgements by run end."""

    def __init__(self, **more: Any) -> None:
        self.deliveries: list[tuple[list[int], asyncio.Future[bool]]] = []
        self.acked: list[int] = []
        self.faults: list[BaseException] = []
        self.lanes = Lanes("test", self.deliver, self.faults.append, **{"grace": 0.05, **more})

    async def deliver(self, records: Sequence[Any], closing: asyncio.Event) -> bool:
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.deliveries.append(([record.offset for record in records], future))
        return await future

    def put(self, run: Run, partition: tuple[str, int] = P0, committed: int | None = None) -> None:
        self.lanes.put(partition, run, lambda: self.acked.append(run.end), committed)

    async def settle(self, result: bool | BaseException = True) -> list[int]:
        """Answers the oldest open delivery; returns its offsets."""
        await turn()
        offsets, future = next(each for each in self.deliveries if not each[1].done())
        if isinstance(result, BaseException):
            future.set_exception(result)
        else:
            future.set_result(result)
        await turn()
        return offsets

    @property
    def open(self) -> list[list[int]]:
        return [offsets for offsets, future in self.deliveries if not future.done()]


async def two_under_way(**more: Any) -> Desk:
    """A lane with two deliveries, of one record each: offset 0 of the key a, and offset 1 of b."""
    desk = Desk(abreast=2, **more)
    for offset, key in enumerate((b"a", b"b")):
        desk.put(Run(offset, offset + 1, keys=key))
        await turn()
    return desk


async def turn() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


# Acknowledging --------------------------------------------------------------------------------------------------------


async def test_a_run_is_acknowledged_only_after_its_delivery_has_settled() -> None:
    desk = Desk()
    desk.put(Run(0, 3))
    await turn()
    assert (desk.open, desk.acked) == ([[0, 1, 2]], [])
    await desk.settle()
    assert desk.acked == [3]


async def test_whoever_waits_for_room_hears_of_each_delivery_that_is_acknowledged() -> None:
    desk = Desk()
    desk.put(Run(0, 3))
    await turn()
    assert not desk.lanes.room.is_set()
    await desk.settle()
    assert desk.lanes.room.is_set()


async def test_what_waits_meanwhile_is_the_next_delivery_and_a_partition_has_one_at_a_time() -> None:
    desk = Desk()
    desk.put(Run(0, 2))
    await turn()
    for begin in (2, 4, 6):
        desk.put(Run(begin, begin + 2))
    await turn()
    assert desk.open == [[0, 1]]
    await desk.settle()
    assert desk.open == [[2, 3, 4, 5, 6, 7]]
    assert desk.acked == [2]
    await desk.settle()
    assert desk.acked == [2, 4, 6, 8]


async def test_partitions_do_not_wait_for_each_other() -> None:
    desk = Desk()
    desk.put(Run(0, 1), P0)
    desk.put(Run(5, 6), P1)
    await turn()
    assert desk.open == [[0], [5]]


async def test_a_delivery_takes_whole_runs_up_to_the_limit_and_at_least_one() -> None:
    desk = Desk(limit=5)
    desk.put(Run(0, 1))
    await turn()
    for begin, end in ((1, 3), (3, 6), (6, 7), (7, 20)):
        desk.put(Run(begin, end))
    sizes = [len(await desk.settle()) for _ in range(4)]
    assert sizes == [1, 5, 1, 13]


async def test_a_run_of_nothing_new_is_acknowledged_without_a_delivery() -> None:
    desk = Desk()
    desk.put(Run(0, 5))
    await desk.settle()
    desk.put(Run(2, 8, offsets=[2, 3, 4]))  # the rest is a hole
    await turn()
    assert (desk.open, desk.acked) == ([], [5, 8])


async def test_a_delivery_that_did_not_settle_acknowledges_nothing() -> None:
    desk = Desk(grace=5)
    desk.put(Run(0, 2))
    await turn()
    closing = asyncio.ensure_future(desk.lanes.close())
    await desk.settle(False)
    await closing
    assert (desk.acked, desk.faults) == ([], [])


async def test_a_delivery_that_gives_up_in_an_open_lane_is_a_bug() -> None:
    desk = Desk()
    desk.put(Run(0, 2))
    await desk.settle(False)
    assert list(map(repr, desk.faults)) == [
        """AssertionError("('topic', 0): a delivery gave up while its lane was open")"""
    ]
    assert desk.acked == []


async def test_a_delivery_hears_that_its_lane_closes() -> None:
    heard: list[bool] = []

    async def deliver(records: Sequence[Any], closing: asyncio.Event) -> bool:
        heard.append(closing.is_set())
        await closing.wait()
        heard.append(closing.is_set())
        return False

    faults: list[BaseException] = []
    lanes = Lanes("test", deliver, faults.append, grace=5)
    lanes.put(P0, Run(0, 1), lambda: None, None)
    await turn()
    await lanes.close()
    assert (heard, faults) == ([False, True], [])


# Several deliveries abreast --------------------------------------------------------------------------------------------


async def test_what_arrives_for_other_keys_need_not_wait_for_the_delivery_under_way() -> None:
    desk = Desk(abreast=2)
    desk.put(Run(0, 2, keys=b"ab"))
    await turn()
    desk.put(Run(2, 4, keys=b"cd"))
    await turn()
    desk.put(Run(4, 5, keys=b"e"))
    await turn()
    assert desk.open == [[0, 1], [2, 3]], "and no third one"
    await desk.settle()
    assert (desk.open, desk.acked) == ([[2, 3], [4]], [2])


async def test_unless_told_a_partition_has_one_delivery_whatever_the_keys() -> None:
    desk = Desk()
    desk.put(Run(0, 1, keys=b"a"))
    await turn()
    desk.put(Run(1, 2, keys=b"b"))
    await turn()
    assert desk.open == [[0]]


async def test_the_keys_of_every_run_of_a_delivery_are_waited_for() -> None:
    desk = Desk(abreast=2)
    for begin, keys in ((0, b"a"), (1, b"b"), (2, b"c")):
        desk.put(Run(begin, begin + 1, keys=keys))
    await turn()
    assert desk.open == [[0, 1, 2]]
    for offset, key in enumerate((b"a", b"b", b"c"), 3):
        desk.put(Run(offset, offset + 1, keys=key))
        await turn()
        assert desk.open == [[0, 1, 2]]
    await desk.settle()
    assert desk.open == [[3, 4, 5]]


async def test_a_key_under_way_is_waited_for_and_so_is_all_that_came_after_it() -> None:
    desk = Desk(abreast=3)
    desk.put(Run(0, 2, keys=b"ab"))
    await turn()
    for begin, keys in ((2, b"c"), (3, b"xb"), (5, b"d")):
        desk.put(Run(begin, begin + len(keys), keys=keys))
    await turn()
    assert desk.open == [[0, 1], [2]], "the batch ends before the run that must wait, and nothing goes round it"
    await desk.settle()
    assert desk.open == [[2], [3, 4, 5]]


async def test_records_without_a_key_go_one_delivery_after_the_other() -> None:
    desk = Desk(abreast=2)
    desk.put(Run(0, 1))
    await turn()
    desk.put(Run(1, 2))
    await turn()
    assert desk.open == [[0]]


async def test_what_settles_first_is_acknowledged_in_its_turn() -> None:
    desk = Desk(abreast=2)
    desk.put(Run(0, 1, keys=b"a", weight=3))
    await turn()
    desk.put(Run(1, 2, keys=b"b", weight=4))
    await turn()
    desk.deliveries[1][1].set_result(True)
    await turn()
    assert (desk.acked, desk.lanes.lanes[P0].weight) == ([], 7)
    await desk.settle()
    assert (desk.acked, desk.lanes.waiting) == ([1, 2], False)


async def test_closing_acknowledges_nothing_behind_a_delivery_that_gave_up() -> None:
    desk = await two_under_way(grace=5)
    closing = asyncio.ensure_future(desk.lanes.close())
    await turn()
    desk.deliveries[1][1].set_result(True)
    await turn()
    assert not closing.done()
    await desk.settle(False)
    assert closing.done(), "nothing is under way any more"
    await closing
    assert (desk.acked, desk.faults) == ([], [])


async def test_closing_acknowledges_what_settled_before_a_delivery_that_gave_up() -> None:
    desk = await two_under_way(grace=5)
    closing = asyncio.ensure_future(desk.lanes.close())
    await desk.settle(True)
    await desk.settle(False)
    await closing
    assert (desk.acked, desk.faults) == ([1], [])


async def test_a_bug_in_a_later_delivery_ends_the_process_though_an_earlier_one_hangs() -> None:
    desk = await two_under_way()
    bug = ValueError("a bug")
    desk.deliveries[1][1].set_exception(bug)
    await turn()
    await desk.settle()
    assert (desk.faults, desk.acked) == ([bug], [])


async def test_at_the_end_of_the_grace_all_that_is_under_way_is_cut_off() -> None:
    desk = await two_under_way(grace=0.02)
    await asyncio.wait_for(desk.lanes.close(), 5)
    await turn()
    assert [future.cancelled() for _, future in desk.deliveries] == [True, True]
    assert (desk.acked, desk.faults) == ([], [])


# What a lane refuses --------------------------------------------------------------------------------------------------


async def test_a_run_that_went_missing_is_a_crash() -> None:
    desk = Desk()
    desk.put(Run(0, 5))
    with pytest.raises(LostRun, match=r"^\('topic', 0\): records 5\.\.9 never arrived$"):
        desk.put(Run(10, 15))


async def test_the_first_run_going_missing_is_a_crash_too() -> None:
    """Kafka gave us records from 100 on; the run that begins at 200 proves that the one before it never came."""
    desk = Desk()
    for committed in (None, 100):
        with pytest.raises(LostRun, match=r"100\.\.199 never arrived"):
            desk.put(Run(200, 300, first=100), committed=committed)
    await desk.lanes.close()


async def test_records_that_kafka_has_deleted_are_no_crash() -> None:
    """Committed 50, retention took 50..99: the first fetch began at 100."""
    desk = Desk()
    with capture_logs() as logged:
        desk.put(Run(100, 102, first=100), committed=50)
    assert await desk.settle() == [100, 101]
    assert desk.acked == [102]
    assert logged == [
        {"log_level": "error", "event": "records are gone from Kafka before we read them", "partition": P0, "first": 50, "last": 99}
    ]  # fmt: skip


async def test_a_partition_that_is_read_from_its_commit_lacks_nothing() -> None:
    desk = Desk()
    with capture_logs() as logged:
        desk.put(Run(50, 52), P0, committed=50)
        desk.put(Run(50, 52), P1, committed=None)
    assert logged == []
    await desk.lanes.close()


async def test_a_topic_made_anew_is_read_from_its_beginning() -> None:
    desk = Desk()
    desk.put(Run(0, 2, first=0), committed=1000)
    assert await desk.settle() == [0, 1]
    assert desk.acked == [2]


async def test_holes_that_a_run_covers_are_no_loss() -> None:
    desk = Desk()
    desk.put(Run(0, 10, offsets=[0, 4]))
    desk.put(Run(10, 20, offsets=[19]))
    assert await desk.settle() == [0, 4, 19]
    assert desk.acked == [10, 20]


async def test_a_run_read_twice_around_a_seek_is_delivered_once() -> None:
    desk = Desk()
    desk.put(Run(0, 5))
    await desk.settle()
    desk.put(Run(0, 5, first=0))
    desk.put(Run(3, 8, first=0))
    assert await desk.settle() == [5, 6, 7]
    assert desk.acked == [5, 8]


# Faults of ours -------------------------------------------------------------------------------------------------------


async def test_after_a_bug_nothing_more_is_acknowledged_anywhere() -> None:
    desk = Desk()
    desk.put(Run(0, 1), P0)
    desk.put(Run(5, 6), P1)
    bug = ValueError("a bug")
    await desk.settle(bug)
    assert desk.faults == [bug]
    await desk.settle()
    desk.put(Run(6, 7), P1)
    desk.put(Run(0, 1), ("topic", 2))
    await turn()
    assert (desk.acked, desk.open) == ([], [])


async def test_a_lane_that_has_not_begun_when_another_fails_begins_nothing() -> None:
    desk = Desk()
    desk.put(Run(0, 1), P1)
    desk.lanes.fail(ValueError("a bug elsewhere"))
    await turn()
    assert (desk.deliveries, desk.lanes.lanes[P1].task.done()) == ([], True)


async def test_a_bug_cuts_off_no_delivery_beside_it_and_the_lane_ends_with_the_last() -> None:
    desk = Desk(abreast=2, grace=5)
    desk.put(Run(0, 1, keys=b"a"))
    await turn()
    desk.put(Run(1, 2, keys=b"b"))
    bug = ValueError("a bug")
    await desk.settle(bug)
    closing = asyncio.ensure_future(desk.lanes.close())
    await turn()
    assert not closing.done()
    assert await desk.settle() == [1]
    await closing
    assert (desk.faults, desk.acked) == ([bug], [])


async def test_a_lane_that_is_cancelled_by_anybody_is_a_bug_and_no_silence() -> None:
    desk = Desk()
    desk.put(Run(0, 1))
    await turn()
    desk.lanes.lanes[P0].task.cancel()
    await turn()
    assert list(map(repr, desk.faults)) == ["""LostRun("('topic', 0): its lane was cancelled")"""]


# How much may wait ----------------------------------------------------------------------------------------------------


async def test_put_never_waits_and_a_lane_is_full_by_bytes_until_they_are_settled() -> None:
    desk = Desk(budget=100, unproven=100, least_share=10, most_share=1000, limit=40)
    assert not desk.lanes.full(P0)
    for begin in range(50):
        desk.put(Run(begin, begin + 1, weight=2, first=0))
        assert desk.lanes.full(P0) == (begin >= 49)
    await turn()
    assert desk.lanes.full(P0)  # under way is not settled
    await desk.settle()
    assert (desk.lanes.full(P0), desk.lanes.waiting) == (False, True)
    await desk.settle()
    assert (desk.lanes.full(P0), desk.lanes.waiting, desk.lanes.full(P1)) == (False, False, False)


async def test_a_lane_holds_less_until_something_of_it_was_acknowledged() -> None:
    """Its vendor may be away: then all that waits costs memory, and brings nothing."""
    desk = Desk(budget=100, unproven=30, least_share=10, most_share=1000)
    desk.put(Run(0, 1, weight=29))
    assert not desk.lanes.full(P0)
    desk.put(Run(1, 2, weight=1))
    assert desk.lanes.full(P0)
    assert await desk.settle() == [0, 1]
    desk.put(Run(2, 3, weight=99))
    assert not desk.lanes.full(P0)
    desk.put(Run(3, 4, weight=1))
    assert desk.lanes.full(P0)
    desk.put(Run(0, 1, weight=15), P1)
    assert desk.lanes.full(P1), "each lane proves itself"
    await desk.lanes.close()


async def test_the_budget_is_shared_within_bounds() -> None:
    desk = Desk(budget=100, least_share=10, most_share=60)
    shares = []
    for number in range(20):
        desk.put(Run(0, 1), ("topic", number))
        shares.append(desk.lanes.share(proven=True))
    assert shares[:5] == [60, 50, 33, 25, 20]
    assert shares[-1] == 10
    await desk.lanes.close()


# Closing --------------------------------------------------------------------------------------------------------------


async def test_closing_lets_the_attempt_under_way_end_and_drops_what_waits() -> None:
    desk = Desk(grace=5)
    desk.put(Run(0, 2))
    await turn()
    desk.put(Run(2, 4))
    closing = asyncio.ensure_future(desk.lanes.close([P0]))
    await turn()
    assert not closing.done()
    await desk.settle()
    await closing
    assert (desk.acked, desk.open) == ([2], [])


async def test_closing_ends_within_its_grace_and_then_nothing_is_acknowledged() -> None:
    desk = Desk(grace=0.02)
    desk.put(Run(0, 2))
    await turn()
    await asyncio.wait_for(desk.lanes.close(), 5)
    await turn()
    assert desk.deliveries[0][1].cancelled()
    assert (desk.acked, desk.faults) == ([], [])


async def test_closing_touches_only_the_partitions_that_go() -> None:
    desk = Desk()
    desk.put(Run(0, 1), P0)
    desk.put(Run(5, 6), P1)
    await turn()
    closing = asyncio.ensure_future(desk.lanes.close([P0]))
    await turn()
    desk.deliveries[1][1].set_result(True)
    await turn()
    assert desk.acked == [6]
    await closing
    desk.put(Run(6, 7), P1)
    assert await desk.settle() == [6]


async def test_a_partition_that_comes_back_begins_anew() -> None:
    desk = Desk()
    desk.put(Run(0, 5))
    await turn()
    await desk.lanes.close([P0])
    desk.put(Run(0, 5), committed=None)
    assert await desk.settle() == [0, 1, 2, 3, 4]
    assert desk.acked == [5]


async def test_after_the_last_close_nothing_begins_any_more() -> None:
    """A rebalance that ends during a stop hands out partitions once more."""
    desk = Desk()
    await desk.lanes.close()
    desk.put(Run(0, 5))
    await turn()
    assert (desk.open, desk.lanes.lanes) == ([], {})


async def test_bytes_that_wait_are_reported_for_our_partitions_only() -> None:
    from prometheus_client import REGISTRY

    desk = Desk()
    desk.put(Run(0, 1, weight=7), P0)
    desk.put(Run(0, 1, weight=9), P1)
    desk.lanes.report()

    def shown(number: str) -> float | None:
        return REGISTRY.get_sample_value("listwire_lane_bytes", {"worker": "test", "partition": number})

    assert (shown("0"), shown("1")) == (7, 9)
    await desk.lanes.close([P1])
    assert (shown("0"), shown("1")) == (7, None)
    await desk.lanes.close()
