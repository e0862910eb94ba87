"""One timer for all requests: each says until when it may wait, and is cancelled when it waits longer.

A timer of the loop for every request would cost more than the request's other bookkeeping together. It must never
cancel a task that does not wait under a deadline of its own.
"""

from __future__ import annotations

import asyncio

from listwire.clock import Clock

Task = asyncio.Task[object]


class Deadlines(dict[Task, float]):
    """Task → until when it may wait. Owned by one event loop; swept ten times a second, and as exact as that."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._now = clock.monotonic

    def passed(self, task: Task) -> bool:
        """Inside `except CancelledError`: whether it was the sweep that cancelled. If so the task may go on."""
        if task in self:
            return False
        task.uncancel()
        return True

    def sweep(self) -> None:
        now = self._now()
        for task in [task for task, until in self.items() if until <= now]:
            del self[task]
            task.cancel()
