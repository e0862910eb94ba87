"""Long listings from Mailchimp, asked for again where they break off: one 502 among five hundred pages must not cost them all.

For commands of people only. Records are delivered by the workers, whose retry has no end; this one gives up and says why.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from listwire.clock import Clock
from listwire.errors import VendorUnavailable

T = TypeVar("T")
# Seconds before each further try. Mailchimp answers 429 while others use the account's connections; that takes a while.
WAITS = (1.0, 2.0, 4.0, 8.0, 16.0, 16.0, 16.0, 16.0)


async def asked(call: Callable[[], Awaitable[T]], clock: Clock) -> T:
    """The call's result. Raises its last VendorUnavailable, or whatever else it raises at once."""
    for wait in WAITS:
        try:
            return await call()
        except VendorUnavailable:
            await clock.sleep(wait)
    return await call()


async def listed(pages: Callable[[T | None], AsyncIterator[T]], take: Callable[[T], None], clock: Clock) -> None:
    """Hands every item to `take`, some of them more than once.

    `pages` is called with the last item that was taken, and goes on somewhere at or before it.
    """
    last: T | None = None

    async def to_the_end() -> None:
        nonlocal last
        async for item in pages(last):
            take(item)
            last = item

    await asked(to_the_end, clock)


async def by_hands(count: int, hand: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """So many at once, each until it ends; the first fault ends all, and is raised as it is."""
    try:
        async with asyncio.TaskGroup() as hands:
            for _ in range(count):
                hands.create_task(hand())
    except ExceptionGroup as faults:
        raise faults.exceptions[0] from None
