"""The connection limit: ten at most, halved at a complaint, won back one by one, and never below one."""

from __future__ import annotations

import asyncio
import random

import pytest

from vendors.mailchimp.connection_limit import ConnectionLimit, Withdrawn


class JumpingClock:
    """Sleeping moves it on at once; what was slept is kept."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)

    async def wait(self, event: asyncio.Event, seconds: float) -> bool:
        await self.sleep(seconds)
        return event.is_set()


@pytest.fixture
def clock() -> JumpingClock:
    return JumpingClock()


@pytest.fixture
def limit(clock: JumpingClock) -> ConnectionLimit:
    return ConnectionLimit(10, clock=clock, dice=random.Random(1))


async def answered(limit: ConnectionLimit, times: int = 1) -> None:
    for _ in range(times):
        async with limit.slot() as slot:
            slot.answered()


async def throttled(limit: ConnectionLimit) -> None:
    async with limit.slot() as slot:
        slot.throttled()


async def test_never_more_than_the_limit_are_under_way(limit: ConnectionLimit) -> None:
    most, under_way = 0, 0

    async def call() -> None:
        nonlocal most, under_way
        async with limit.slot() as slot:
            under_way += 1
            most = max(most, under_way)
            await asyncio.sleep(0)
            under_way -= 1
            slot.answered()

    await asyncio.gather(*(call() for _ in range(100)))
    assert (most, limit.in_use) == (10, 0)


async def test_each_complaint_halves_it_and_it_never_falls_below_one(limit: ConnectionLimit) -> None:
    granted = []
    for _ in range(6):
        await throttled(limit)
        granted.append(limit.current)
    assert granted == [5, 2, 1, 1, 1, 1]


async def test_pauses_grow_with_jitter_and_stay_below_the_longest(limit: ConnectionLimit, clock: JumpingClock) -> None:
    pauses = []
    for _ in range(40):
        await throttled(limit)
        pauses.append(limit.paused_for)
    for pause, full in zip(pauses, [1, 2, 4, 8, 16, 32, *[60] * 34], strict=True):
        assert full / 2 <= pause <= full
    assert len(set(pauses[6:])) > 1
    assert clock.slept


async def test_nothing_starts_during_a_pause(limit: ConnectionLimit, clock: JumpingClock) -> None:
    await throttled(limit)
    until = clock.now + limit.paused_for
    await answered(limit)
    assert clock.now >= until
    assert limit.paused_for == 0


async def test_calls_that_were_under_way_together_complain_once(limit: ConnectionLimit) -> None:
    slots = [limit.slot() for _ in range(10)]
    for slot in slots:
        await slot.__aenter__()
    for slot in slots:
        slot.throttled()
        await slot.__aexit__()
    assert limit.current == 5


async def test_a_late_answer_from_before_the_cut_wins_nothing_back(limit: ConnectionLimit) -> None:
    early = limit.slot()
    await early.__aenter__()
    for _ in range(3):
        await throttled(limit)
    assert limit.current == 1
    for _ in range(5):
        early.answered()
    assert limit.current == 1


async def test_it_recovers_one_connection_for_every_round_of_answers(limit: ConnectionLimit) -> None:
    moved: list[int] = []
    limit.changed = moved.append
    for _ in range(4):
        await throttled(limit)
    await answered(limit, sum(range(1, 10)))
    assert moved == [5, 2, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
    await answered(limit, 50)
    assert limit.current == 10


async def test_an_answer_makes_the_next_pause_short_again(limit: ConnectionLimit) -> None:
    for _ in range(5):
        await throttled(limit)
    await answered(limit)
    await throttled(limit)
    assert limit.paused_for <= 1.0


async def test_waiting_calls_are_served_in_order(clock: JumpingClock) -> None:
    limit, served = ConnectionLimit(1, clock=clock), []

    async def call(number: int) -> None:
        async with limit.slot():
            served.append(number)
            await asyncio.sleep(0)

    await asyncio.gather(*(call(number) for number in range(20)))
    assert served == list(range(20))


async def test_a_waiting_call_that_is_cancelled_leaves_no_hole(clock: JumpingClock) -> None:
    limit = ConnectionLimit(1, clock=clock)
    async with limit.slot():
        waiting = asyncio.create_task(answered(limit))
        behind = asyncio.create_task(answered(limit))
        await asyncio.sleep(0)
        waiting.cancel()
    await asyncio.wait_for(behind, 5)
    assert limit.in_use == 0


async def test_whoever_withdraws_waits_no_longer_and_leaves_the_place_to_the_next(clock: JumpingClock) -> None:
    limit = ConnectionLimit(1, clock=clock)
    withdraw = asyncio.Event()
    entered: list[str] = []

    async def call(name: str, event: asyncio.Event | None) -> None:
        async with limit.slot(event) as slot:
            entered.append(name)
            slot.answered()

    async with limit.slot(withdraw):
        leaving = [asyncio.ensure_future(call("leaving", withdraw)) for _ in range(3)]
        staying = asyncio.ensure_future(call("staying", asyncio.Event()))
        await asyncio.sleep(0)
        withdraw.set()
        results = await asyncio.gather(*leaving, return_exceptions=True)
        assert [type(result) for result in results] == [Withdrawn] * 3
    await staying
    assert (entered, limit.in_use) == (["staying"], 0)
    with pytest.raises(Withdrawn):
        await call("late", withdraw)


async def test_a_place_granted_in_the_moment_of_withdrawal_or_cancellation_is_given_back(clock: JumpingClock) -> None:
    limit = ConnectionLimit(1, clock=clock)
    for leave in ("withdraw", "cancel"):
        withdraw = asyncio.Event()

        async def call(event: asyncio.Event) -> None:
            async with limit.slot(event):
                raise AssertionError("it was not to begin")

        async with limit.slot():
            waiting = asyncio.ensure_future(call(withdraw))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        for _ in range(3):  # until the place is granted, one step before the caller learns of it
            if limit.in_use:
                break
            await asyncio.sleep(0)
        assert limit.in_use == 1
        if leave == "withdraw":
            withdraw.set()
        else:
            waiting.cancel()
        results = await asyncio.gather(waiting, return_exceptions=True)
        assert isinstance(results[0], Withdrawn if leave == "withdraw" else asyncio.CancelledError)
        assert limit.in_use == 0


async def test_withdrawing_ends_a_pause() -> None:
    limit = ConnectionLimit(2, first_pause=3600, longest_pause=3600)
    await throttled(limit)
    withdraw = asyncio.Event()

    async def call() -> None:
        async with limit.slot(withdraw):
            raise AssertionError("it was not to begin")

    waiting = asyncio.ensure_future(call())
    await asyncio.sleep(0)
    withdraw.set()
    with pytest.raises(Withdrawn):
        async with asyncio.timeout(60):
            await waiting


async def test_what_is_not_allowed_is_not_begun_and_takes_no_place(clock: JumpingClock) -> None:
    allowed = False

    def ask() -> None:
        if not allowed:
            raise LookupError("another one's")

    limit = ConnectionLimit(1, clock=clock, allowed=ask)
    begun = 0
    for _ in range(3):
        with pytest.raises(LookupError):
            async with limit.slot():
                begun += 1
    assert (begun, limit.in_use) == (0, 0)
    allowed = True
    await answered(limit)


async def test_it_is_asked_when_the_place_is_there_and_not_while_a_call_waits(clock: JumpingClock) -> None:
    asked: list[int] = []
    limit = ConnectionLimit(1, clock=clock, allowed=lambda: asked.append(1))
    async with limit.slot():
        waiting = asyncio.ensure_future(answered(limit))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert len(asked) == 1
    await waiting
    assert len(asked) == 2
