"""The scheduler, in a time of its own: when runs are made, that they never overlap, and what is told of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from listwire.cohorts.differences import GuardRefused
from listwire.cohorts.scheduler import Budget, Done, Paused, Scheduler
from listwire.errors import ListwireError
from listwire.settings.schedules import CohortSchedule
from tests.virtual_time import EPOCH, LoopClock, VirtualLoop

HOUR = 3600.0
NOTHING = Done("Power users", 0, 0, 7)


def schedule(cron: str, project: str = "product") -> CohortSchedule:
    return CohortSchedule(sync="newsletter", amplitude=project, cohort="Power users", cron=cron)


class Stage:
    """`results`: what the runs of a schedule end in, the last one for ever."""

    def __init__(self, crons: dict[str, str], *, left: int = 500, takes: float = 1.0) -> None:
        self.crons = crons
        self.left = left
        self.takes = takes
        self.begun: list[tuple[str, float]] = []
        self.under_way = 0
        self.results: dict[str, list[Done | Exception]] = {}
        self.unasked: Exception | None = None

    async def run(self, name: str) -> Done:
        self.begun.append((name, self.clock.time()))
        self.under_way += 1
        assert self.under_way == 1
        try:
            await self.clock.sleep(self.takes)
        finally:
            self.under_way -= 1
        results = self.results.get(name, [NOTHING])
        found = results.pop(0) if len(results) > 1 else results[0]
        if isinstance(found, Exception):
            raise found
        return found

    async def budget(self, project: str) -> Budget:
        if self.unasked is not None:
            raise self.unasked
        return Budget(self.left, EPOCH + 10 * 86_400)

    def during(self, seconds: float, then: Callable[[], None] = lambda: None) -> list[dict[str, Any]]:
        """The log lines."""

        async def main() -> None:
            self.clock = LoopClock(asyncio.get_running_loop())
            scheduler = Scheduler({n: schedule(c) for n, c in self.crons.items()}, self.run, self.budget, self.clock)
            running = asyncio.create_task(scheduler.run())
            await self.clock.sleep(seconds)
            then()
            scheduler.stop()
            await running

        with capture_logs() as logs, asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(main())
        return logs

    def times(self, name: str) -> list[float]:
        return [at for of, at in self.begun if of == name]


def metric(name: str, schedule: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(f"listwire_cohort_schedule_{name}", {"schedule": schedule, **labels})


def test_a_schedule_runs_at_the_start_and_then_when_it_is_due() -> None:
    stage = Stage({"s1": "0 * * * *"})
    stage.during(4 * HOUR)
    first, *due = stage.times("s1")
    assert first < EPOCH + 1
    assert len(due) == 4
    assert all(0 <= at % HOUR < 1 for at in due)
    assert metric("runs_total", "s1", outcome="unchanged") == 5
    assert metric("status", "s1") == 1
    assert metric("absent", "s1") == 7
    assert metric("due_timestamp_seconds", "s1") == due[-1] // HOUR * HOUR + HOUR


def test_runs_never_overlap_and_what_came_due_meanwhile_is_not_made_up_for() -> None:
    stage = Stage({"s2": "* * * * *", "s3": "* * * * *"}, takes=150)
    stage.during(HOUR)
    assert len(stage.begun) in {23, 24, 25}  # `run` itself sees to it that no two are under way
    assert stage.times("s2")
    assert stage.times("s3")


@pytest.mark.parametrize(("left", "runs"), [(250, []), (480, []), (481, ["s4", "s5"])])
def test_a_start_costs_no_download_that_the_schedules_will_need(left: int, runs: list[str]) -> None:
    stage = Stage({"s4": "30 * * * *", "s5": "30 * * * *"}, left=left)
    logs = stage.during(60)
    assert [name for name, _ in stage.begun] == runs
    # Every hour of ten days, two schedules.
    assert [line["needed"] for line in logs if "needed" in line] == ([] if runs else [480, 480])


def test_a_start_makes_no_run_where_nobody_can_tell_what_is_left() -> None:
    stage = Stage({"s6": "0 * * * *"})
    stage.unasked = ListwireError("no answer")
    logs = stage.during(60)
    assert stage.begun == []
    assert [line["why"] for line in logs] == ["no answer"]


def test_what_a_run_ends_in_is_told_and_the_next_one_is_made_all_the_same() -> None:
    stage = Stage({"s7": "0 * * * *"})
    stage.results["s7"] = [
        Done("Power users", 3, 2, 0),
        GuardRefused("too many"),
        ListwireError("away"),
        Paused("paused"),
        ValueError("a bug"),
        Done("Power users", 1, 0, 0),
    ]
    logs = stage.during(5 * HOUR)
    assert len(stage.begun) == 6
    told = [(line["log_level"], line.get("why")) for line in logs]
    assert told == [
        ("info", None), ("error", "too many"), ("error", "away"), ("warning", "paused"), ("error", None), ("info", None),
    ]  # fmt: skip
    runs = {
        outcome: metric("runs_total", "s7", outcome=outcome) for outcome in ("published", "refused", "failed", "paused")
    }
    assert runs == {"published": 2, "refused": 1, "failed": 2, "paused": 1}
    changes = [metric("members_total", "s7", change=change) for change in ("entered", "left")]
    assert changes == [4, 2]


@pytest.mark.parametrize(
    ("fault", "status"), [(GuardRefused("many"), 3), (ListwireError("away"), 2), (Paused("p"), 4), (KeyError("bug"), 2)]
)
def test_the_status_is_that_of_the_last_run_and_the_success_stays(fault: Exception, status: int) -> None:
    name = f"s8-{status}-{type(fault).__name__}"
    stage = Stage({name: "0 * * * *"})
    stage.results[name] = [NOTHING, fault]
    stage.during(HOUR)
    assert metric("status", name) == status
    succeeded = metric("success_timestamp_seconds", name)
    assert succeeded is not None
    assert succeeded < EPOCH + 10


def test_a_stop_ends_a_run_that_is_under_way() -> None:
    stage = Stage({"s9": "0 * * * *"}, takes=HOUR * 9)
    stage.during(60)
    assert stage.under_way == 0
    assert metric("status", "s9") == 0


def test_a_run_that_does_not_end_is_overdue() -> None:
    stage = Stage({"s10": "0 * * * *"}, takes=HOUR * 9)
    seen: list[float | None] = []
    stage.during(3 * HOUR, lambda: seen.append(metric("overdue_seconds", "s10")))
    (overdue,) = seen
    assert overdue is not None
    assert HOUR < overdue <= 3 * HOUR
