"""The one retry loop, and what a worker knows of a connection while it runs."""

from __future__ import annotations

import asyncio
import time

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from listwire.clock import SystemClock
from listwire.errors import VendorRefused, VendorUnavailable
from listwire.metrics import Status
from listwire.settings.models import Delivery
from stream.connections import Connection
from stream.retry import LONGEST_WAIT, Attempts, Closing, Parked
from tests.virtual_time import LoopClock, run

DOWN = VendorUnavailable("amplitude", 500, "down", cause="500")
REFUSED = VendorRefused("amplitude", 401, "no such key")


class Call:
    """Fails with `faults`, then answers "done"; notes when it was made."""

    def __init__(self, *faults: Exception) -> None:
        self.faults = list(faults)
        self.at: list[float] = []

    async def __call__(self) -> str:
        self.at.append(asyncio.get_running_loop().time())
        if self.faults:
            raise self.faults.pop(0)
        return "done"

    @property
    def waits(self) -> list[float]:
        return [after - before for before, after in zip(self.at, self.at[1:], strict=False)]


class Bench:
    def __init__(self, **limits: float) -> None:
        self.clock = LoopClock(asyncio.get_running_loop())
        self.closing = asyncio.Event()
        self.moved: list[float] = []
        self.attempts = Attempts(self.clock, self.closing, lambda: self.moved.append(self.clock.monotonic()))
        self.connection = Connection("sources.retry", "amplitude", self.clock, Delivery(**limits))


def test_a_call_that_passes_is_made_once() -> None:
    async def main() -> None:
        bench, call = Bench(), Call()
        assert await bench.attempts.until_it_passes(call) == "done"
        assert call.at == [0] or len(call.at) == 1

    run(main())


def test_waits_double_with_jitter_up_to_a_longest_one() -> None:
    async def main() -> None:
        bench, call = Bench(), Call(*[DOWN] * 12)
        await bench.attempts.until_it_passes(call)
        expected = 0.2
        for wait in call.waits:
            assert expected / 2 <= wait <= expected + 0.01
            expected = min(expected * 2, LONGEST_WAIT)
        assert call.waits[-1] >= LONGEST_WAIT / 2
        assert len({round(wait / LONGEST_WAIT, 3) for wait in call.waits[6:]}) > 1

    run(main())


def test_each_attempt_and_every_five_seconds_of_a_wait_count_as_moving() -> None:
    async def main() -> None:
        bench, call = Bench(), Call(*[DOWN] * 20)
        await bench.attempts.until_it_passes(call)
        await bench.attempts.pause(60)
        assert max(after - before for before, after in zip(bench.moved, bench.moved[1:], strict=False)) <= 5.01

    run(main())


@pytest.mark.parametrize("waiting", ["back-off", "pause", "refused"])
def test_closing_ends_a_wait_at_once(waiting: str) -> None:
    async def main() -> None:
        bench = Bench()
        call = Call(*[REFUSED if waiting == "refused" else DOWN] * 1000)
        task = asyncio.ensure_future(
            bench.attempts.pause(30) if waiting == "pause" else bench.attempts.until_it_passes(call, bench.connection)
        )
        await asyncio.sleep(20)
        bench.closing.set()
        with pytest.raises(Closing):
            await task
        assert asyncio.get_running_loop().time() < 20.01
        made = len(call.at)
        with pytest.raises(Closing):
            await bench.attempts.until_it_passes(call)
        assert len(call.at) == made

    run(main())


def test_an_attempt_under_way_is_not_cut_off_and_its_result_counts() -> None:
    async def main() -> None:
        bench = Bench()

        async def call() -> str:
            await asyncio.sleep(5)
            return "done"

        task = asyncio.ensure_future(bench.attempts.until_it_passes(call))
        await asyncio.sleep(1)
        bench.closing.set()
        assert await task == "done"

    run(main())


def test_a_refusal_without_a_connection_is_the_callers() -> None:
    async def main() -> None:
        with pytest.raises(VendorRefused):
            await Bench().attempts.until_it_passes(Call(REFUSED))

    run(main())


def test_a_bug_is_not_retried() -> None:
    async def main() -> None:
        call = Call(ZeroDivisionError())
        with pytest.raises(ZeroDivisionError):
            await Bench().attempts.until_it_passes(call)
        assert len(call.at) == 1

    run(main())


def test_a_refused_connection_is_parked_after_park_after_and_not_a_back_off_later() -> None:
    async def main() -> None:
        bench = Bench(park_after=33)
        call = Call(*[REFUSED] * 1000)
        with pytest.raises(Parked) as raised:
            await bench.attempts.until_it_passes(call, bench.connection)
        assert raised.value.detail == "amplitude answered 401: no such key"
        assert 33 <= asyncio.get_running_loop().time() < 33.5
        assert len(call.at) < 25
        made = len(call.at)
        with pytest.raises(Parked, match="no such key") as again:
            await bench.attempts.until_it_passes(call, bench.connection)
        assert (again.value.detail, len(call.at)) == ("amplitude answered 401: no such key", made)
        assert asyncio.get_running_loop().time() < 33.5

    run(main())


def test_what_is_refused_for_park_after_while_others_pass_is_given_up_by_itself_and_parks_nobody() -> None:
    """A gateway may refuse one body for its content, for ever. Each success of another delivery ended the count."""

    async def main() -> None:
        bench = Bench(park_after=60)

        async def others() -> None:
            while True:
                await asyncio.sleep(5)
                bench.connection.passed()

        passing = asyncio.ensure_future(others())
        call = Call(*[REFUSED] * 1000)
        with pytest.raises(Parked, match="no such key"):
            await bench.attempts.until_it_passes(call, bench.connection)
        assert 60 <= call.at[-1] - call.at[0] <= 60 + LONGEST_WAIT
        assert not bench.connection.parked
        passing.cancel()

    run(main())


def test_the_metric_counts_attempts_that_are_made_again_by_vendor_and_cause() -> None:
    async def main() -> None:
        labels = {"vendor": "retry-test", "cause": "timeout"}
        before = REGISTRY.get_sample_value("listwire_delivery_retries_total", labels) or 0
        await Bench().attempts.until_it_passes(Call(*[VendorUnavailable("retry-test", 0, "", cause="timeout")] * 3))
        assert REGISTRY.get_sample_value("listwire_delivery_retries_total", labels) == before + 3

    run(main())


def test_a_refusal_counts_as_an_attempt_that_is_made_again() -> None:
    async def main() -> None:
        labels = {"vendor": "retry-refused", "cause": "refused"}
        bench = Bench()
        await bench.attempts.until_it_passes(Call(*[VendorRefused("retry-refused", 401, "")] * 2), bench.connection)
        assert REGISTRY.get_sample_value("listwire_delivery_retries_total", labels) == 2
        with pytest.raises(VendorRefused):
            await bench.attempts.until_it_passes(Call(VendorRefused("retry-refused", 401, "")))
        assert REGISTRY.get_sample_value("listwire_delivery_retries_total", labels) == 3

    run(main())


def test_the_log_says_what_is_tried_again_why_and_after_how_long() -> None:
    async def main() -> None:
        fault = VendorUnavailable("amplitude", 500, "x" * 300, cause="500")
        with capture_logs() as logged:
            await Bench().attempts.until_it_passes(Call(fault, fault))
        line = {"log_level": "warning", "event": "will be tried again", "vendor": "amplitude", "cause": "500"}
        assert logged == [{**line, "detail": "x" * 200, "seconds": seconds} for seconds in (0.2, 0.4)]

    run(main())


# Connections ----------------------------------------------------------------------------------------------------------


def status(connection: Connection) -> tuple[Status, float | None]:
    return connection.status, REGISTRY.get_sample_value("listwire_connection_status", {"connection": connection.name})


def test_a_connection_shows_what_it_is_in_status_and_metric() -> None:
    async def main() -> None:
        connection = Bench(park_after=10).connection
        assert status(connection) == (Status.WAITING, 0)
        connection.passed()
        assert status(connection) == (Status.CONNECTED, 1)
        connection.retrying(DOWN)
        assert status(connection) == (Status.RETRYING, 2)
        connection.refused(REFUSED)
        assert status(connection) == (Status.REFUSED, 3)
        await asyncio.sleep(10)
        connection.refused(REFUSED)
        assert connection.parked
        connection.retrying(DOWN)  # an outage does not hide that it is parked, nor why
        assert status(connection) == (Status.REFUSED, 3)
        assert "401" in connection.detail
        connection.passed()
        assert status(connection) == (Status.CONNECTED, 1)
        assert (connection.parked, connection.refused_since, connection.detail) == (False, None, "")

    run(main())


def test_a_parked_connection_gives_one_probe_each_probe_every() -> None:
    async def main() -> None:
        connection = Bench(park_after=0, probe_every=30).connection
        connection.refused(REFUSED)
        assert not connection.take_probe()
        await asyncio.sleep(30.1)
        assert [connection.take_probe() for _ in range(3)] == [True, False, False]
        await asyncio.sleep(30.1)
        assert connection.take_probe()

    run(main())


def test_the_time_until_it_is_parked_runs_from_the_first_refusal() -> None:
    async def main() -> None:
        connection = Bench(park_after=60).connection
        assert connection.seconds_until_parked() == 60
        connection.refused(REFUSED)
        await asyncio.sleep(45)
        connection.refused(REFUSED)
        assert 14.9 < connection.seconds_until_parked() <= 15
        await asyncio.sleep(45)
        assert connection.seconds_until_parked() == 0.05  # never a busy loop

    run(main())


# The real clock -------------------------------------------------------------------------------------------------------


async def test_the_system_clock_waits_no_longer_than_the_event() -> None:
    clock, event = SystemClock(), asyncio.Event()
    assert await clock.wait(event, 0.01) is False
    asyncio.get_running_loop().call_later(0.01, event.set)
    begun = time.monotonic()
    assert await clock.wait(event, 60) is True
    assert await clock.wait(event, 60) is True
    assert time.monotonic() - begun < 30
    await clock.sleep(0)
    assert abs(clock.time() - time.time()) < 60
