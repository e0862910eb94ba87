"""Runs cohort schedules when they are due, one at a time, for as long as it is let.

It keeps nothing: what is to be done is told by Amplitude and Mailchimp alone, so a run that was missed is made up for by the next
one, and two schedulers at once find the same differences and say the same thing twice, which does no harm. Never is a run made
faster than its schedule, since each costs one of a month's few downloads.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial

from listwire import logs, metrics
from listwire.clock import Clock
from listwire.cohorts.differences import GuardRefused
from listwire.cohorts.due import count_due, next_due
from listwire.errors import ListwireError
from listwire.settings.schedules import CohortSchedule
from listwire.spoken import duration

log = logs.get("listwire.scheduler")

# A wall clock may be set anew: no sleep is trusted for longer.
LOOK_EVERY = 30.0
NONE_YET, DONE, FAILED, REFUSED, PAUSED = range(5)

TOLD = {
    FAILED: (logging.ERROR, "a cohort schedule failed; it runs again when it is due"),
    REFUSED: (logging.ERROR, "a cohort schedule is refused by its guard; nothing was done"),
    PAUSED: (logging.WARNING, "a cohort schedule is skipped, its sync is paused"),
}


class Paused(ListwireError):
    """The schedule's sync is paused: whatever is published becomes dead letters."""


@dataclass(frozen=True)
class Done:
    cohort: str
    entered: int
    left: int
    absent: int
    left_alone: int = 0


@dataclass(frozen=True)
class Budget:
    """A project's downloads that are left, and until when; None where that is not known."""

    left: int
    until: float | None


Run = Callable[[str], Awaitable[Done]]
Ask = Callable[[str], Awaitable[Budget]]


class Scheduler:
    """`run` makes one run of the schedule of that name; `budget` asks how many downloads the project of that name has left."""

    def __init__(self, schedules: Mapping[str, CohortSchedule], run: Run, budget: Ask, clock: Clock) -> None:
        self.schedules = dict(schedules)
        self._run = run
        self._budget = budget
        self._clock = clock
        self._stop = asyncio.Event()
        self._turn = asyncio.Lock()
        self.due: dict[str, float] = {}
        for name in self.schedules:
            metrics.SCHEDULE_STATUS(schedule=name).set(NONE_YET)
            metrics.SCHEDULE_OVERDUE(schedule=name).set_function(partial(self.overdue, name))

    async def run(self) -> None:
        """Until `stop`. A run under way is cancelled then: nothing is published before its end, and that again is harmless."""
        async with asyncio.TaskGroup() as group:
            keepers = [group.create_task(self._keep(name)) for name in self.schedules]
            await self._stop.wait()
            for keeper in keepers:
                keeper.cancel()

    def stop(self) -> None:
        self._stop.set()

    def overdue(self, name: str) -> float:
        """Seconds since it was due and has not been done."""
        return max(0.0, self._clock.time() - self.due[name]) if name in self.due else 0.0

    async def once(self, name: str) -> bool:
        """One run, now; whether all is well with it. Never raises: what went wrong is told in the log and the metrics."""
        async with self._turn:
            status, outcome, why = FAILED, "failed", ""
            begun = self._clock.monotonic()
            try:
                found = await self._run(name)
                status, outcome = DONE, "published" if found.entered or found.left else "unchanged"
                self._note(name, found, self._clock.monotonic() - begun)
            except Paused as fault:
                status, outcome, why = PAUSED, "paused", str(fault)
            except GuardRefused as fault:
                status, outcome, why = REFUSED, "refused", str(fault)
            except ListwireError as fault:
                why = str(fault)
            except Exception:
                # A fault of ours: the other schedules go on. A start again would cost a download.
                log.exception("a cohort schedule met a fault of ours", schedule=name)
            if why:
                log.log(*TOLD[status], schedule=name, why=why)
            metrics.SCHEDULE_STATUS(schedule=name).set(status)
            metrics.SCHEDULE_RUNS(schedule=name, outcome=outcome).inc()
            return status in {DONE, PAUSED}

    def _note(self, name: str, found: Done, seconds: float) -> None:
        metrics.SCHEDULE_SUCCESS(schedule=name).set(self._clock.time())
        metrics.SCHEDULE_ABSENT(schedule=name).set(found.absent)
        for change, amount in (("entered", found.entered), ("left", found.left)):
            if amount:
                metrics.SCHEDULE_MEMBERS(schedule=name, change=change).inc(amount)
        log.info(
            "a cohort schedule is done", schedule=name, cohort=found.cohort, entered=found.entered, left=found.left,
            absent=found.absent, left_alone=found.left_alone, seconds=round(seconds, 1),
        )  # fmt: skip

    async def _keep(self, name: str) -> None:
        schedule = self.schedules[name]
        self._expect(name, schedule)
        if await self.may_catch_up(name):
            await self.once(name)
        while True:
            if self.due[name] <= self._clock.time():
                await self.once(name)
                # Whatever came due meanwhile is done with that.
                self._expect(name, schedule)
            else:
                await self._clock.sleep(min(LOOK_EVERY, max(0.1, self.due[name] - self._clock.time())))

    def _expect(self, name: str, schedule: CohortSchedule) -> None:
        self.due[name] = next_due(schedule.cron, schedule.timezone, self._clock.time())
        metrics.SCHEDULE_DUE(schedule=name).set(self.due[name])

    async def may_catch_up(self, name: str) -> bool:
        """At a start nobody knows what was missed, so one run is made: unless the month's downloads are all needed for what is still
        due. So a process that is started over and over never uses up what its schedules need.
        """
        schedule = self.schedules[name]
        try:
            budget = await self._budget(schedule.amplitude)
        except ListwireError as fault:
            log.warning(
                "no run at the start: nobody can tell how many downloads are left", schedule=name, why=str(fault)
            )
            return False
        now = self._clock.time()
        until = now + 31 * 86_400 if budget.until is None else budget.until
        needed = sum(
            count_due(each.cron, each.timezone, now, until)
            for each in self.schedules.values()
            if each.amplitude == schedule.amplitude
        )
        if budget.left > needed:
            return True
        wait = duration(self.due[name] - now) if name in self.due else "a while"
        log.warning(
            "no run at the start: the month's downloads are needed for what is still due",
            schedule=name, left=budget.left, needed=needed, next_in=wait,
        )  # fmt: skip
        return False
