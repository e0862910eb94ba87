"""What counts as moving, what counts as stuck, and how a process ends that must not go on."""

from __future__ import annotations

import asyncio
import os
import threading
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP
from prometheus_client import REGISTRY

from listwire.clock import SystemClock
from listwire.errors import VendorUnavailable
from stream import watchdog
from stream.fail_stop import EXIT_CODE, FailStop
from stream.progress import Progress
from stream.watchdog import Watchdog

T0 = TP("topic", 0)


class Hands(SystemClock):
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Hands:
    return Hands()


@pytest.fixture
def progress(clock: Hands) -> Progress:
    return Progress("watched", clock, stuck_after=120)


# Progress -------------------------------------------------------------------------------------------------------------


def test_records_that_wait_while_nothing_moves_are_stuck(clock: Hands, progress: Progress) -> None:
    clock.now += 119
    assert progress.look(waiting=True, rebalancing=False) is None
    clock.now += 2
    assert progress.look(waiting=True, rebalancing=False) == "records wait and nothing has moved for 121 s"


def test_a_session_that_kafka_has_not_confirmed_for_long_is_none_until_it_does(
    clock: Hands, progress: Progress
) -> None:
    progress.assigned([T0])
    clock.now += 8
    progress.require_session()
    asked = clock.now
    clock.now += 4  # the answer took so long, or this process slept
    with pytest.raises(VendorUnavailable, match="for 12 s; another worker may have them"):
        progress.require_session()
    progress.known_to_kafka(asked)
    progress.require_session()
    clock.now += 6
    with pytest.raises(VendorUnavailable):
        progress.require_session()
    progress.known_to_kafka(asked - 100)
    with pytest.raises(VendorUnavailable) as told:
        progress.require_session()
    assert (told.value.vendor, told.value.cause, told.value.may_have_happened) == ("kafka", "session", False)
    progress.assigned([T0])
    progress.require_session()


def test_attempts_count_as_moving_for_as_long_as_the_vendor_is_down(clock: Hands, progress: Progress) -> None:
    for _ in range(1000):
        clock.now += 100
        progress.moved()
        clock.now += 10
        assert progress.look(waiting=True, rebalancing=False) is None


def test_an_idle_worker_is_never_stuck_nor_at_once_when_records_come(clock: Hands, progress: Progress) -> None:
    clock.now += 10_000
    assert progress.look(waiting=False, rebalancing=False) is None
    clock.now += 5
    assert progress.look(waiting=True, rebalancing=False) is None


def test_a_rebalance_that_lasts_is_stuck_though_something_moves(clock: Hands, progress: Progress) -> None:
    assert progress.look(waiting=False, rebalancing=True) is None
    clock.now += 100
    progress.moved()
    assert progress.look(waiting=False, rebalancing=True) is None
    assert progress.look(waiting=False, rebalancing=False) is None
    clock.now += 100
    assert progress.look(waiting=False, rebalancing=True) is None
    clock.now += 121
    progress.moved()
    assert progress.look(waiting=False, rebalancing=True) == "rebalancing for 121 s"


def test_the_metric_shows_the_age_only_while_records_wait(clock: Hands, progress: Progress) -> None:
    def age() -> float | None:
        return REGISTRY.get_sample_value("listwire_progress_age_seconds", {"worker": "watched"})

    clock.now += 30
    progress.look(waiting=True, rebalancing=False)
    assert age() == 30
    progress.look(waiting=False, rebalancing=False)
    assert age() == 0


def test_ready_means_assigned_if_only_to_nothing(progress: Progress) -> None:
    assert not progress.ready
    progress.assigned([])
    assert (progress.ready, progress.partitions) == (True, frozenset())
    progress.assigned([T0])
    assert progress.partitions == {T0}


# The watchdog ---------------------------------------------------------------------------------------------------------


class Consumer:
    """aiokafka's, as far as the watchdog looks."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self._closed = False
        self.error: Exception | None = None
        self.state = SimpleNamespace(has_valid_position=True, position=10, lso=10)
        self._coordinator = SimpleNamespace(check_errors=self._check, _coordination_task=loop.create_future())
        self._fetcher = SimpleNamespace(_fetch_task=loop.create_future())
        assignment = SimpleNamespace(state_value=lambda _: self.state)
        self._subscription = SimpleNamespace(subscription=SimpleNamespace(assignment=assignment, topics={"events"}))
        self.known: set[int] | None = {0}
        self.asked = 0
        cluster = SimpleNamespace(partitions_for_topic=lambda _: self.known)
        self._client = SimpleNamespace(cluster=cluster, force_metadata_update=self._ask)

    def _ask(self) -> None:
        self.asked += 1

    def _check(self) -> None:
        if self.error is not None:
            error, self.error = self.error, None
            raise error


class App:
    def __init__(self, progress: Progress) -> None:
        async def call_thread(check: Any) -> None:
            await check()

        self.kafka = Consumer()
        self.consumer = SimpleNamespace(_thread=SimpleNamespace(_consumer=self.kafka, call_thread=call_thread))
        self.conf = SimpleNamespace(id="group")
        self.progress = progress
        self.looks = 0
        self.lanes = SimpleNamespace(waiting=False, report=self._report)
        self.rebalancing = self.should_stop = False

    def _report(self) -> None:
        self.looks += 1
        raise ZeroDivisionError  # whatever goes wrong here must not end the watch


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    found: list[float] = []
    monkeypatch.setattr(watchdog, "end_process_after", found.append)
    return found


async def looked(app: App) -> Watchdog:
    """After three looks; or after a while, where it must not look at all."""
    dog = Watchdog(app, every=0.005)
    before = app.looks
    await dog.start()
    for _ in range(300 if app.should_stop else 10_000):
        await asyncio.sleep(0.001)
        if app.looks >= before + 4:
            break
    await dog.stop()
    return dog


async def test_a_healthy_worker_is_left_alone(progress: Progress, ended: list[float]) -> None:
    app = App(progress)
    dog = await looked(app)
    assert (dog.words, ended) == (None, [])


async def test_a_parked_coordinator_goes_on_and_the_process_lives(progress: Progress, ended: list[float]) -> None:
    app = App(progress)
    app.kafka.error = RuntimeError("a failed join")
    labels = {"worker": "group", "event": "unparked"}
    before = REGISTRY.get_sample_value("listwire_watchdog_total", labels) or 0
    await looked(app)
    assert not app.kafka.error
    assert not ended
    assert REGISTRY.get_sample_value("listwire_watchdog_total", labels) == before + 1


@pytest.mark.parametrize("known", [None, set()])
async def test_kafka_is_asked_again_for_a_topic_of_which_no_partition_is_known(
    progress: Progress, ended: list[float], known: set[int] | None
) -> None:
    """A leader of the group would give nobody anything until then."""
    app = App(progress)
    await looked(app)
    assert app.kafka.asked == 0
    app.kafka.known = known
    await looked(app)
    assert app.kafka.asked >= 1
    assert not ended


@pytest.mark.parametrize(("owner", "task"), [("_coordinator", "_coordination_task"), ("_fetcher", "_fetch_task")])
async def test_a_dead_task_of_aiokafka_ends_the_process(
    progress: Progress, ended: list[float], owner: str, task: str
) -> None:
    app = App(progress)
    getattr(getattr(app.kafka, owner), task).set_result(None)
    dog = await looked(app)
    assert ended
    assert dog.words is not None
    assert "has ended" in dog.words


async def test_tasks_that_ended_because_the_consumer_closes_are_no_fault(
    progress: Progress, ended: list[float]
) -> None:
    app = App(progress)
    app.kafka._fetcher._fetch_task.set_result(None)
    app.kafka._closed = True
    await looked(app)
    assert ended == []


async def test_records_in_kafka_count_as_waiting(clock: Hands, progress: Progress, ended: list[float]) -> None:
    app = App(progress)
    progress.assigned([T0])
    app.kafka.state.lso = 11
    dog = await looked(app)
    assert ended == []
    clock.now += 121
    dog = await looked(app)
    assert ended
    assert dog.words == "records wait and nothing has moved for 121 s"


async def test_a_consumer_that_is_not_there_yet_is_no_fault(progress: Progress, ended: list[float]) -> None:
    app = App(progress)
    app.consumer = None  # type: ignore[assignment]
    dog = await looked(app)
    assert (dog.words, ended) == (None, [])


async def test_a_thread_that_does_not_answer_is_counted_and_does_not_stop_the_watch(
    clock: Hands, progress: Progress, ended: list[float]
) -> None:
    app = App(progress)
    app.lanes.waiting = True

    async def silent(_: Any) -> None:
        await asyncio.Event().wait()

    app.consumer._thread.call_thread = silent
    clock.now += 500
    await looked(app)
    assert ended
    assert REGISTRY.get_sample_value("listwire_watchdog_total", {"worker": "group", "event": "slow_poll"})


async def test_a_stopping_app_is_not_watched_any_more(clock: Hands, progress: Progress, ended: list[float]) -> None:
    app = App(progress)
    app.lanes.waiting = app.should_stop = True
    clock.now += 500
    await looked(app)
    assert ended == []


# Fail-stop ------------------------------------------------------------------------------------------------------------


async def test_a_fault_crashes_the_app_once_and_a_timer_stands_behind_it(monkeypatch: pytest.MonkeyPatch) -> None:
    crashed: list[BaseException] = []
    timers: list[tuple[float, bool]] = []
    codes: list[int] = []

    class Timer:
        def __init__(self, seconds: float, function: Any) -> None:
            self.seconds, self.function = seconds, function
            self.daemon = False

        def start(self) -> None:
            timers.append((self.seconds, self.daemon))
            self.function()

    async def crash(fault: BaseException) -> None:
        crashed.append(fault)

    monkeypatch.setattr(threading, "Timer", Timer)
    monkeypatch.setattr(os, "_exit", codes.append)
    stop = FailStop(SimpleNamespace(crash=crash), seconds=7)
    first = ValueError("first")
    stop(first)
    stop(ValueError("second"))
    await asyncio.sleep(0)
    assert (stop.fault, crashed) == (first, [first])
    assert timers == [(7, True)]
    assert codes == [EXIT_CODE] == [70]
