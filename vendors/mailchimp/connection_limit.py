"""How many calls an account may have under way: ten at most, fewer while Mailchimp complains.

Mailchimp grants 10 simultaneous connections an account and answers more with 429, or with a 403 without a body when it is
hammered, never saying how long to wait. So the limit is halved at each complaint, everything pauses (longer each time, with
jitter), and every round of answered calls wins one connection back. It holds calls back and never repeats one: whoever
calls owns the retry.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Self

from listwire.clock import Clock, SystemClock

if TYPE_CHECKING:
    from collections.abc import Callable


class Withdrawn(Exception):
    """The call gave up waiting for its place: nothing of it was sent."""


class ConnectionLimit:
    """`current` is the number of calls granted at once, from 1 to `highest`; `in_use` those under way.

    `changed(current)` is called whenever it moved, for a metric. Waiting callers are served in the order they came.
    `allowed` is asked when a call has its place, right before it is sent; what it raises is raised, and nothing is sent.
    """

    def __init__(
        self,
        highest: int = 10,
        *,
        first_pause: float = 1.0,
        longest_pause: float = 60.0,
        clock: Clock | None = None,
        dice: random.Random | None = None,
        changed: Callable[[int], None] | None = None,
        allowed: Callable[[], None] = lambda: None,
    ) -> None:
        self.highest = max(1, highest)
        self.in_use = 0
        self.changed = changed
        self.allowed = allowed
        self.current = self.highest
        self._answered_since = 0
        self._first_pause = first_pause
        self._longest_pause = longest_pause
        self._clock = clock or SystemClock()
        self._dice = dice or random.Random()  # noqa: S311 - it spreads callers, it protects nothing
        self._paused_until = 0.0
        self._complaints_in_a_row = 0
        self._cuts = 0
        self._front = asyncio.Lock()
        self._moved = asyncio.Event()

    @property
    def paused_for(self) -> float:
        """Seconds until the next call may start; 0 while there is no pause."""
        return max(0.0, self._paused_until - self._clock.monotonic())

    def slot(self, withdraw: asyncio.Event | None = None) -> Slot:
        """`async with limit.slot() as slot`: waits for a place, then say `slot.answered()` or `slot.throttled()`.

        Raises `Withdrawn` as soon as `withdraw` is set: a pause may last a minute, and those in front may hang.
        """
        return Slot(self, withdraw)

    async def _enter(self, withdraw: asyncio.Event | None) -> int:
        if withdraw is None:
            return await self._granted()
        if withdraw.is_set():
            raise Withdrawn
        if not self._front.locked() and not self.paused_for and self.in_use < self.current:
            self.in_use += 1
            return self._cuts
        granted = asyncio.ensure_future(self._granted())
        withdrawn = asyncio.ensure_future(withdraw.wait())
        try:
            await asyncio.wait({granted, withdrawn}, return_when=asyncio.FIRST_COMPLETED)
            if withdraw.is_set():
                raise Withdrawn
            return granted.result()
        except BaseException:
            if not granted.cancel():
                self._leave()  # it had its place already
            raise
        finally:
            withdrawn.cancel()

    async def _granted(self) -> int:
        # An asyncio lock is fair: one caller stands at the front, the others queue behind it.
        async with self._front:
            while self.paused_for or self.in_use >= self.current:
                if self.paused_for:
                    await self._clock.sleep(self.paused_for)
                else:
                    self._moved.clear()
                    await self._moved.wait()
            self.in_use += 1
            return self._cuts

    def _leave(self) -> None:
        self.in_use -= 1
        self._moved.set()

    def _answered(self, cuts: int) -> None:
        if cuts != self._cuts:
            return  # it began before the last cut and says nothing about what is granted now
        self._complaints_in_a_row = 0
        self._answered_since += 1
        if self._answered_since >= self.current < self.highest:
            self._move(self.current + 1)

    def _throttled(self, cuts: int) -> None:
        """Calls that were under way together complain together: that is one complaint, not ten."""
        if cuts != self._cuts:
            return
        self._cuts += 1
        pause = min(self._longest_pause, self._first_pause * 2.0**self._complaints_in_a_row)
        self._complaints_in_a_row = min(self._complaints_in_a_row + 1, 30)
        self._paused_until = self._clock.monotonic() + pause * self._dice.uniform(0.5, 1.0)
        self._move(max(1, self.current // 2))

    def _move(self, granted: int) -> None:
        self._answered_since = 0
        if granted != self.current:
            self.current = granted
            self._moved.set()
            if self.changed is not None:
                self.changed(granted)


class Slot:
    """A place among the calls under way."""

    def __init__(self, limit: ConnectionLimit, withdraw: asyncio.Event | None = None) -> None:
        self._limit = limit
        self._withdraw = withdraw
        self._cuts = 0

    def answered(self) -> None:
        """Mailchimp dealt with the call, whatever it said."""
        self._limit._answered(self._cuts)

    def throttled(self) -> None:
        self._limit._throttled(self._cuts)

    async def __aenter__(self) -> Self:
        self._cuts = await self._limit._enter(self._withdraw)
        try:
            self._limit.allowed()
        except BaseException:
            self._limit._leave()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._limit._leave()
