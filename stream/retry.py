"""The one retry loop. A fault that may pass is tried again for as long as Kafka keeps the record; closing ends it at once."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from listwire import logs, metrics
from listwire.clock import Clock
from listwire.errors import VendorRefused, VendorUnavailable
from stream.connections import Connection

log = logs.get("stream.retry")
T = TypeVar("T")

FIRST_WAIT = 0.2
LONGEST_WAIT = 10.0


class Closing(Exception):
    """The lane is closing: nothing more is tried, and nothing of this delivery is acknowledged."""


class Parked(Exception):
    """The connection has been refused for longer than `park_after`: its records go to dead letters."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class Attempts:
    """Attempts of one delivery. `moved` is called at each, for the watchdog: a vendor that is down is not a stuck worker."""

    def __init__(self, clock: Clock, closing: asyncio.Event, moved: Callable[[], None] = lambda: None) -> None:
        self.clock = clock
        self.closing = closing
        self.moved = moved

    async def until_it_passes(self, call: Callable[[], Awaitable[T]], connection: Connection | None = None) -> T:
        """The call's result. Raises `Closing`, or `Parked` where a refusal of the connection has lasted too long."""
        wait = FIRST_WAIT
        refused_since: float | None = None
        while True:
            self.go_on()
            if connection is not None and connection.parked:
                raise Parked(connection.parked_because)
            try:
                result = await call()
            except VendorUnavailable as fault:
                metrics.RETRIES(vendor=fault.vendor, cause=fault.cause).inc()
                if connection is not None:
                    connection.retrying(fault)
                log.warning(
                    "will be tried again",
                    vendor=fault.vendor,
                    cause=fault.cause,
                    detail=fault.detail[:200],
                    seconds=round(wait, 1),
                )
            except VendorRefused as fault:
                metrics.RETRIES(vendor=fault.vendor, cause="refused").inc()
                if connection is None:
                    raise
                connection.refused(fault)
                if connection.parked:
                    raise Parked(connection.parked_because) from None
                # Others of the connection may pass all the time, and this one never: it may hold them up no longer either.
                now = self.clock.monotonic()
                refused_since = now if refused_since is None else refused_since
                if now - refused_since >= connection.limits.park_after:
                    raise Parked(str(fault)) from None
                wait = min(wait, connection.seconds_until_parked())
            else:
                self.moved()
                return result
            await self.pause(wait * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
            wait = min(wait * 2, LONGEST_WAIT)

    async def pause(self, seconds: float) -> None:
        """Waits; raises `Closing` as soon as the lane closes."""
        self.go_on()
        # In steps, so that a long wait still counts as moving.
        end = self.clock.monotonic() + seconds
        while (left := end - self.clock.monotonic()) > 0:
            await self.clock.wait(self.closing, min(left, 5.0))
            self.go_on()

    def go_on(self) -> None:
        """Counts as moving; raises `Closing` when the lane closes. Stands before every request."""
        if self.closing.is_set():
            raise Closing
        self.moved()
