"""An event loop in which waiting takes no time: when every task waits, its clock jumps to the next timer.

So a test of back-off, time-outs and grace runs in milliseconds, the same way each time. When nothing can ever happen any more it
says so, instead of hanging. It must not be used with real sockets: nobody would be given the time to answer.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

from structlog.testing import capture_logs

from listwire.clock import SystemClock

T = TypeVar("T")
EPOCH = 1_760_000_000.0
# Each turn of the loop takes a moment, as in life: who waits until a moment that is 1e-15 s away must get there.
TICK = 1e-6


class Deadlock(AssertionError):
    """Every task waits for something that will never happen."""


class _Selector(selectors.BaseSelector):
    def __init__(self) -> None:
        self._inner = selectors.DefaultSelector()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = self._inner.select(0)
        if not ready and timeout is None:
            raise Deadlock
        if not ready and timeout:
            self.now += timeout
        self.now += TICK
        return ready

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._inner.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._inner.unregister(fileobj)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._inner.get_map()

    def close(self) -> None:
        self._inner.close()


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.now

    def idle(self) -> None:
        """Runs whatever can run now, without the clock moving."""
        for _ in range(200):
            self.run_until_complete(asyncio.sleep(0))
            if not self._ready:  # type: ignore[attr-defined]
                return


class LoopClock(SystemClock):
    """The clock of the running loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop

    def time(self) -> float:
        return EPOCH + self.loop.time()

    def monotonic(self) -> float:
        return self.loop.time()


def run(main: Coroutine[Any, Any, T]) -> T:
    """Without log lines: a day of retries writes thousands."""
    with capture_logs(), asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
