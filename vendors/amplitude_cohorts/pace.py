"""How fast Amplitude lets one project ask: waits before a call, so that no call is answered with a 429 of our own making.

Amplitude's Behavioral Cohorts page: 5 requests at once across cohort downloads and the Dashboard REST API; a single cohort is asked
for at most 60 times in 10 minutes and 4 times in a minute, per app. Others may use the same project: that shows as a 429.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from listwire.clock import Clock, SystemClock

AT_ONCE = 5
# (requests, seconds) for asking for a single cohort.
WINDOWS = ((4, 60.0), (60, 600.0))


class Pace:
    """Of one project in one process. `slot` around every call; `turn` before a download is asked for."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._places = asyncio.Semaphore(AT_ONCE)
        self._line = asyncio.Lock()
        self._asked: deque[float] = deque(maxlen=max(requests for requests, _ in WINDOWS))

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        async with self._places:
            yield

    async def turn(self) -> None:
        """Returns when one more download may be asked for, and counts it."""
        async with self._line:
            while (wait := self._wait()) > 0:
                await self._clock.sleep(wait)
            self._asked.append(self._clock.monotonic())

    def _wait(self) -> float:
        now = self._clock.monotonic()
        waits = [0.0]
        for requests, seconds in WINDOWS:
            if len(self._asked) >= requests:
                waits.append(self._asked[-requests] + seconds - now)
        return max(waits)
