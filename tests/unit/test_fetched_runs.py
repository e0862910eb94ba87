"""What the transport hands over: runs that know the offsets they cover, holes included, and that lose none on the way."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaTimeoutError
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from listwire.clock import SystemClock
from stream import transport
from stream.runs import RECORD_COST, Run
from stream.transport import RunConsumer, RunThread

T0, T1 = TP("topic", 0), TP("topic", 1)


class Assignment:
    """aiokafka's, as far as the transport looks at it."""

    def __init__(self, **positions: int | None) -> None:
        self.active = True
        self.states = {
            TP("topic", int(name[1:])): SimpleNamespace(
                position=at, has_valid_position=at is not None, _position_fut=object()
            )
            for name, at in positions.items()
        }

    def state_value(self, tp: TP) -> Any:
        return self.states.get(tp)

    def move(self, tp: TP, position: int) -> None:
        self.states[tp].position, self.states[tp].has_valid_position = position, True


def record(offset: int, tp: TP = T0, value: bytes = b"value") -> Any:
    return SimpleNamespace(
        topic=tp.topic,
        partition=tp.partition,
        offset=offset,
        value=value,
        key=b"k",
        timestamp=1,
        timestamp_type=0,
        headers=(),
    )


class Bench:
    """A `RunThread` over a scripted fetcher: each fetch runs the next step, which moves positions and returns records."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, assignment: Assignment) -> None:
        self.thread = RunThread.__new__(RunThread)
        self.thread._reading = None
        self.thread.consumer = SimpleNamespace(flow_active=True, gathering=False)
        self.sought: list[tuple[TP, int]] = []
        self.subscription = SimpleNamespace(assignment=assignment)
        self.aiokafka = SimpleNamespace(
            _subscription=SimpleNamespace(subscription=self.subscription),
            _fetcher=SimpleNamespace(seek_to=lambda tp, offset: self.sought.append((tp, offset))),
        )
        self.step: Callable[[], dict[TP, list[Any]]] = dict

        async def fetch(*_: Any, **__: Any) -> dict[TP, list[Any]]:
            return self.step()

        monkeypatch.setattr(driver.AIOKafkaConsumerThread, "_fetch_records", fetch)

    @property
    def assignment(self) -> Assignment:
        found: Assignment = self.subscription.assignment
        return found

    async def fetch(self, step: Callable[[], dict[TP, list[Any]]], *tps: TP) -> dict[TP, Run]:
        self.step = step
        runs = await self.thread._fetch_records(self.aiokafka, set(tps or self.assignment.states))
        return {tp: run for tp, (run,) in runs.items()}

    async def read(self, *offsets: int, to: int, tp: TP = T0) -> Run | None:
        """One fetch of these offsets that moves the position to `to`."""

        def step() -> dict[TP, list[Any]]:
            self.assignment.move(tp, to)
            return {tp: [record(offset, tp) for offset in offsets]} if offsets else {}

        return (await self.fetch(step, tp)).get(tp)


def span(run: Run | None) -> tuple[int, int, int]:
    assert run is not None
    return run.begin, run.end, run.first


async def test_after_a_pause_a_small_fetch_is_followed_by_one_for_what_came_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench(monkeypatch, Assignment(p0=0, p1=0))
    fetches = [{T0: [0]}, {T0: [1, 2], T1: [0]}, {T0: [3]}, {T0: [4]}]

    def step() -> dict[TP, list[Any]]:
        fetched = {tp: [record(offset, tp) for offset in offsets] for tp, offsets in fetches.pop(0).items()}
        for tp, records in fetched.items():
            bench.assignment.move(tp, records[-1].offset + 1)
        return fetched

    bench.thread.consumer.gathering = True
    runs = await bench.fetch(step, T0, T1)
    assert {tp: [each.offset for each in run.records] for tp, run in runs.items()} == {T0: [0, 1, 2], T1: [0]}
    assert (span(runs[T0]), span(runs[T1])) == ((0, 3, 0), (0, 1, 0))
    bench.thread.consumer.gathering = False
    assert span((await bench.fetch(step, T0, T1))[T0]) == (3, 4, 0)
    assert len(fetches) == 1


async def test_runs_follow_each_other_without_a_gap_whatever_holes_the_topic_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench(monkeypatch, Assignment(p0=10))
    assert span(await bench.read(10, 11, to=12)) == (10, 12, 10)
    assert span(await bench.read(15, 17, to=20)) == (12, 20, 10)  # 12..14 compacted, a marker at 18..19
    assert span(await bench.read(20, to=21)) == (20, 21, 10)


async def test_a_fetch_of_nothing_but_aborted_records_is_covered_by_the_next_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """aiokafka moves its position over them and returns no record: without this the next run would look like a lost one."""
    bench = Bench(monkeypatch, Assignment(p0=10))
    assert span(await bench.read(10, to=11)) == (10, 11, 10)
    assert await bench.read(to=30) is None
    assert await bench.read(to=30) is None
    assert await bench.read(to=35) is None
    assert span(await bench.read(35, to=36)) == (11, 36, 10)
    assert span(await bench.read(36, to=37)) == (36, 37, 10)


async def test_the_first_fetch_too_may_begin_with_a_hole(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, Assignment(p0=100))
    assert await bench.read(to=105) is None
    assert span(await bench.read(105, to=106)) == (100, 106, 100)


async def test_records_that_kafka_has_deleted_are_no_hole(monkeypatch: pytest.MonkeyPatch) -> None:
    """The position was out of range, so aiokafka went to the earliest record there is: a lane must not take that for holes."""
    bench = Bench(monkeypatch, Assignment(p0=10))

    def step() -> dict[TP, list[Any]]:
        bench.assignment.states[T0]._position_fut = object()
        bench.assignment.move(T0, 31)
        return {T0: [record(30)]}

    assert span((await bench.fetch(step)).get(T0)) == (30, 31, 30)


async def test_a_hole_is_forgotten_when_somebody_seeks_away_from_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, Assignment(p0=10))
    assert span(await bench.read(10, to=11)) == (10, 11, 10)
    assert await bench.read(to=30) is None
    bench.assignment.move(T0, 10)  # back to the commit
    assert span(await bench.read(10, to=30)) == (10, 30, 10)
    bench.assignment.move(T0, 50)  # nobody of ours does this; it must look lost
    assert span(await bench.read(50, to=51)) == (50, 51, 10)


async def test_without_a_position_the_first_record_is_the_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, Assignment(p0=None))
    assert span(await bench.read(7, 8, to=9)) == (7, 9, 7)


async def test_where_reading_began_is_known_anew_for_each_assignment(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, Assignment(p0=10))
    assert span(await bench.read(10, to=11)) == (10, 11, 10)
    assert await bench.read(to=15) is None
    bench.subscription.assignment = Assignment(p0=8)
    assert span(await bench.read(8, 9, to=10)) == (8, 10, 8)


async def test_records_fetched_while_the_flow_is_stopped_are_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """The main thread drops them, and Faust seeks back only where the group has committed something: a lane would then begin
    behind them.
    """
    bench = Bench(monkeypatch, Assignment(p0=0))

    def step() -> dict[TP, list[Any]]:
        bench.thread.consumer.flow_active = False
        bench.assignment.move(T0, 500)
        return {T0: [record(offset) for offset in range(3, 500)]}

    assert await bench.fetch(step) == {}
    assert bench.sought == [(T0, 0)]
    bench.thread.consumer.flow_active = True
    bench.assignment.move(T0, 0)
    assert span(await bench.read(3, to=4)) == (0, 4, 0)


@pytest.mark.parametrize("gathering", [False, True])
async def test_records_of_a_new_assignment_that_an_older_fetch_brings_are_put_back(
    monkeypatch: pytest.MonkeyPatch, gathering: bool
) -> None:
    old, new = Assignment(p0=0), Assignment(p0=100)
    bench = Bench(monkeypatch, old)
    bench.thread.consumer.gathering = gathering

    def step() -> dict[TP, list[Any]]:
        bench.step = dict  # nothing comes, should it be asked once more
        old.active = False
        bench.subscription.assignment = new
        new.move(T0, 150)
        return {T0: [record(offset) for offset in range(100, 150)]}

    assert await bench.fetch(step) == {}
    assert bench.sought == [(T0, 100)]
    new.move(T0, 100)
    assert span(await bench.read(100, to=101)) == (100, 101, 100)


@pytest.mark.parametrize("fails", [False, True])
async def test_what_was_in_hand_when_a_rebalance_came_is_not_put_back_into_the_next_assignment(
    monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    """Asked once more, aiokafka waits for the rebalance. What it gave before is of the assignment that has ended: put back, it would
    move the new one's position from the commit to behind all that was under way. Chaos lost 28 records so.
    """
    old, new = Assignment(p0=40), Assignment(p0=10, p1=100)
    bench = Bench(monkeypatch, old)
    bench.thread.consumer.gathering = True

    def before() -> dict[TP, list[Any]]:
        old.move(T0, 41)
        bench.step = meanwhile
        return {T0: [record(40)]}

    def meanwhile() -> dict[TP, list[Any]]:
        old.active = False
        bench.subscription.assignment = new
        if fails:
            raise RuntimeError("partition 1 cannot be read")
        new.move(T1, 101)
        return {T1: [record(100, T1)]}

    assert await bench.fetch(before) == {}
    assert bench.sought == ([] if fails else [(T1, 100)])
    new.move(T1, 100)
    bench.thread.consumer.gathering = False
    assert span(await bench.read(10, to=11)) == (10, 11, 10)


async def test_what_is_in_hand_goes_on_when_asking_once_more_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, Assignment(p0=0))
    bench.thread.consumer.gathering = True

    def first() -> dict[TP, list[Any]]:
        bench.assignment.move(T0, 2)
        bench.step = second
        return {T0: [record(0), record(1)]}

    def second() -> dict[TP, list[Any]]:
        raise RuntimeError("partition 1 cannot be read")

    assert span((await bench.fetch(first))[T0]) == (0, 2, 0)
    assert span(await bench.read(2, to=3)) == (2, 3, 0)


async def test_a_record_that_an_older_fetch_cannot_read_moves_no_position_of_the_next_assignment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    old, new = Assignment(p0=40), Assignment(p0=10)
    bench = Bench(monkeypatch, old)

    def step() -> dict[TP, list[Any]]:
        old.active = False
        bench.subscription.assignment = new
        return {T0: [b"\xff".decode()]}

    assert await bench.fetch(step) == {}  # the bench has no `seek`, which reading around would call
    assert (bench.sought, new.states[T0].position) == ([], 10)


async def test_a_fetch_that_fails_loses_no_hole(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, Assignment(p0=10, p1=0))

    def step() -> dict[TP, list[Any]]:
        bench.assignment.move(T0, 20)
        raise RuntimeError("partition 1 cannot be read")

    with pytest.raises(RuntimeError):
        await bench.fetch(step)
    assert span(await bench.read(20, to=21)) == (10, 21, 10)


async def test_before_the_first_assignment_nothing_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, Assignment())
    bench.subscription.assignment = None
    assert await bench.thread._fetch_records(bench.aiokafka, {T0}) == {}
    bench.aiokafka._subscription.subscription = None
    assert await bench.thread._fetch_records(bench.aiokafka, {T0}) == {}


def test_to_faust_a_run_is_one_message_at_its_last_offset() -> None:
    run = Run([record(3, value=b"abc"), record(5, value=b"")], 2, 9, 2)
    assert (run.topic, run.partition, run.offset, run.value, run.key, run.headers) == ("topic", 0, 8, run, None, ())
    assert run.weight == 3 + 2 * RECORD_COST
    assert (run.serialized_key_size, run.serialized_value_size) == (0, 0)


def test_a_run_frees_its_records_without_the_garbage_collector() -> None:
    class Record(SimpleNamespace):
        pass

    one = Record(**vars(record(0)))
    run, gone = Run([one], 0, 1, 0), weakref.ref(one)
    gc.disable()
    try:
        del one, run
        assert gone() is None
    finally:
        gc.enable()


# The consumer, on the main thread -------------------------------------------------------------------------------------


def consumer() -> Any:
    found = RunConsumer.__new__(RunConsumer)
    found._committed_offset, found._read_offset = {}, {}
    found._acked, found._acked_index = {}, {}
    return found


@pytest.mark.parametrize(
    ("committed", "begin", "first", "forgotten"),
    [
        (1000, 0, 0, True),
        (1000, 1000, 1000, False),
        (None, 0, 0, False),
        (50, 100, 100, False),
        (1000, 900, 500, False),
    ],
)
def test_faust_forgets_a_commit_that_the_topic_no_longer_reaches(
    committed: int | None, begin: int, first: int, forgotten: bool
) -> None:
    """It would drop all records below, unread, and commit none of them."""
    found = consumer()
    found._committed_offset[T0] = found._read_offset[T0] = committed
    found._note_made_anew({T0: [Run([record(begin)], begin, begin + 1, first)]})
    expected = None if forgotten else committed
    assert (found._committed_offset[T0], found._read_offset[T0]) == (expected, expected)


@pytest.mark.parametrize(
    ("committed", "begin", "first", "earliest", "again_from"),
    [
        (10, 10, 10, None, None),
        (10, 40, 10, None, None),  # the lane's own check
        (10, 5, 5, None, None),
        (0, 0, 0, None, None),
        (None, 0, 0, None, None),
        (10, 40, 40, 40, None),  # deleted by retention
        (10, 40, 40, 41, None),
        (None, 40, 40, 40, None),
        (10, 40, 40, 0, 10),
        (10, 40, 40, 39, 39),
        (None, 40, 40, 0, 0),
    ],
)
async def test_a_first_run_behind_the_commit_is_read_again_from_there_unless_kafka_has_deleted_what_is_missing(
    committed: int | None, begin: int, first: int, earliest: int | None, again_from: int | None
) -> None:
    found = consumer()
    found.flow_active = True
    found._committed_offset[T0] = committed
    sought: list[dict[TP, int]] = []

    async def earliest_offsets(tp: TP) -> dict[TP, int]:
        assert earliest is not None, "Kafka need not be asked"
        return {tp: earliest}

    async def seek_wait(partitions: dict[TP, int]) -> None:
        sought.append(partitions)

    found.earliest_offsets, found.seek_wait = earliest_offsets, seek_wait
    begins = await found._begins_at_the_commit(T0, Run([record(begin)], begin, begin + 1, first))
    assert (begins, sought) == ((True, []) if again_from is None else (False, [{T0: again_from}]))


async def test_kafka_is_asked_where_a_partition_begins_until_it_says_so_or_the_flow_stops(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(transport, "ASK_AGAIN", 0)
    found = consumer()
    found.flow_active = True
    answers: list[Any] = [KafkaTimeoutError(), {T0: 40}, KafkaTimeoutError()]

    async def earliest_offsets(_: TP) -> Any:
        answer = answers.pop(0)
        found.flow_active = bool(answers)
        if isinstance(answer, KafkaTimeoutError):
            raise answer
        return answer

    found.earliest_offsets = earliest_offsets
    found._committed_offset[T0] = 10
    run = Run([record(40)], 40, 41, 40)
    assert await found._begins_at_the_commit(T0, run)
    assert not await found._begins_at_the_commit(T0, run)
    assert answers == []


async def test_only_the_partition_that_begins_wrongly_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    fetched = {T0: [Run([record(40)], 40, 41, 40)], T1: [Run([record(7, T1)], 7, 8, 7)]}

    async def getmany(*_: Any) -> dict[TP, Any]:
        return fetched

    async def begins(tp: TP, _: Run) -> bool:
        return bool(tp == T1)

    monkeypatch.setattr(driver.Consumer, "_getmany", getmany)
    found = consumer()
    found._committed_offset = {T0: 10, T1: 7}
    found._begins_at_the_commit = begins
    found.app = SimpleNamespace(
        lanes=SimpleNamespace(full=lambda _: False), progress=SimpleNamespace(moved=lambda: None)
    )
    assert await found._getmany({T0, T1}, 1.0) == {T1: fetched[T1]}


async def test_a_seek_back_moves_where_reading_began(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, Assignment(p0=40))
    assert span(await bench.read(40, to=41)) == (40, 41, 40)
    bench.assignment.move(T0, 10)
    assert span(await bench.read(10, to=40)) == (10, 40, 10)
    assert span(await bench.read(40, to=41)) == (40, 41, 10)


def test_the_newest_acknowledged_run_stands_for_all_before_it() -> None:
    found = consumer()
    found._acked[T0], found._acked_index[T0] = [4, 9, 19], {4, 9, 19}
    assert found._new_offset(T0) == 20
    assert (found._acked[T0], found._acked_index[T0], found._new_offset(T0)) == ([], set(), None)


async def test_full_lanes_are_left_out_of_the_fetch_and_never_all_partitions_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[tuple[set[TP], float]] = []

    async def getmany(_: Any, active: set[TP], timeout: float) -> dict[TP, Any]:
        asked.append((active, timeout))
        return {}

    monkeypatch.setattr(driver.Consumer, "_getmany", getmany)
    found = consumer()
    full: set[TP] = {T0}
    room = asyncio.Event()
    found.app = SimpleNamespace(
        lanes=SimpleNamespace(full=full.__contains__, room=room), progress=SimpleNamespace(clock=SystemClock())
    )
    await found._getmany({T0, T1}, 1.0)
    full.clear()
    await found._getmany({T0, T1}, 1.0)
    full.update({T0, T1})
    assert await found._getmany({T0, T1}, 1.0) == {}, "though nothing has gone"
    monkeypatch.setattr(transport, "FULL", 60)
    room.set()  # before it was full
    waiting = asyncio.ensure_future(found._getmany({T0, T1}, 1.0))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    room.set()
    async with asyncio.timeout(5):
        assert await waiting == {}
    assert asked == [({T1}, 0.05), ({T0, T1}, 1.0)]


async def test_a_rebalance_ends_attempts_then_commits_and_only_then_lets_faust_forget(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[str] = []
    under_way = True

    async def forget(_: Any, revoked: set[TP]) -> None:
        seen.append(f"forget {len(revoked)}")

    async def close(revoked: set[TP]) -> None:
        seen.append(f"close {len(revoked)}")

    async def commit() -> bool:
        nonlocal under_way
        seen.append("waited for a commit" if under_way else "commit")
        under_way, before = False, under_way
        return not before

    monkeypatch.setattr(driver.Consumer, "on_partitions_revoked", forget)
    found = consumer()
    found.app = SimpleNamespace(
        lanes=SimpleNamespace(close=close),
        should_stop=False,
        flow_control=SimpleNamespace(suspend=lambda: seen.append("suspend")),
    )
    found.stop_flow = lambda: seen.append("stop")
    found.commit = commit
    await found.on_partitions_revoked({T0, T1})
    assert seen == ["stop", "suspend", "close 2", "waited for a commit", "commit", "forget 2"]
    seen.clear()
    await found.on_partitions_revoked(set())
    assert seen == ["forget 0"]
