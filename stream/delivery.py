"""Delivery: what one lane hands over is read, routed to its connections, and settled.

**Settled** means for every record: the vendor took it, or it was filtered on purpose and counted, or Kafka acknowledged its
dead letter. Only then does `deliver` return True, and only then may the lane acknowledge. When the lane closes meanwhile, it
returns False: what was settled stays so at the vendor, and all of it is delivered again, which `insert_id`s and tags absorb.
Anything unexpected is raised: it ends the process.

Each connection's part settles by itself; the delivery when all have.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from listwire import metrics
from listwire.clock import Clock
from stream.accounts import Account
from stream.dead_letters import Dead, DeadLetters
from stream.retry import Attempts, Closing, Parked

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)

# Records sorted between two looks at the event loop, some 5 ms: other lanes must be able to send meanwhile.
SORTED_AT_ONCE = 500


@dataclass
class Sorted(Generic[T]):
    """Records read and routed. `received` counts all of them by connection; the other three say what became of each."""

    received: Counter[str] = field(default_factory=Counter)
    work: dict[str, list[T]] = field(default_factory=dict)
    filtered: Counter[tuple[str, str]] = field(default_factory=Counter)
    dead: list[Dead] = field(default_factory=list)


class Sort(Protocol[T]):
    """Reads records into a `Sorted`; must not raise whatever the bytes."""

    def __call__(self, records: Sequence[Any], into: Sorted[T], /) -> None: ...


class Settlement:
    """What a courier needs to settle one delivery: the retry loop, dead letters, and the account."""

    def __init__(self, attempts: Attempts, account: Account, letters: DeadLetters) -> None:
        self.attempts = attempts
        self.account = account
        self.letters = letters

    async def bury(self, dead: Sequence[Dead]) -> None:
        await self.letters.bury(dead, self.account, self.attempts)


class Courier(Protocol[T_contra]):
    """A connection's way to its vendor: returns when every item has settled, in order per contact or cohort."""

    async def deliver(self, items: Sequence[T_contra], settlement: Settlement) -> None: ...


class Delivery(Generic[T]):
    """Callable as a lane's `deliver`."""

    def __init__(
        self,
        worker: str,
        sort: Sort[T],
        couriers: Mapping[str, Courier[T]],
        letters: DeadLetters,
        clock: Clock,
        *,
        moved: Callable[[], None] = lambda: None,
    ) -> None:
        self.worker = worker
        self.sort = sort
        self.couriers = couriers
        self.letters = letters
        self.clock = clock
        self.moved = moved
        self._seconds = metrics.DELIVERY_SECONDS(worker=worker)
        self._records = metrics.DELIVERY_RECORDS(worker=worker)

    async def __call__(self, records: Sequence[Any], closing: asyncio.Event) -> bool:
        started = self.clock.monotonic()
        account = Account(self.worker)
        try:
            found = await self._sorted(records, account)
            settlement = Settlement(Attempts(self.clock, closing, self.moved), account, self.letters)
            for (connection, why), amount in found.filtered.items():
                account.filtered(connection, why, amount)
            parts = [self.couriers[connection].deliver(items, settlement) for connection, items in found.work.items()]
            await together([settlement.bury(found.dead), *parts])
            if not account.settled:
                raise AssertionError(f"a courier returned with records unsettled: {account.open}")
        except Closing:
            return False
        finally:
            account.close()
        self._seconds.observe(self.clock.monotonic() - started)
        self._records.observe(len(records))
        return True

    async def _sorted(self, records: Sequence[Any], account: Account) -> Sorted[T]:
        found: Sorted[T] = Sorted()
        for begin in range(0, len(records), SORTED_AT_ONCE):
            if begin:
                await asyncio.sleep(0)
            self.sort(records[begin : begin + SORTED_AT_ONCE], found)
        account.received(found.received)
        return found


async def together(parts: Sequence[Coroutine[Any, Any, None]]) -> None:
    """All parts end before this does, whatever becomes of one: an attempt under way is never cut off. A fault of ours is
    raised before `Parked`, and that before `Closing`: it must end the process.
    """
    if len(parts) == 1:
        await parts[0]
        return
    results = await asyncio.gather(*parts, return_exceptions=True)
    faults = [result for result in results if isinstance(result, BaseException)]
    if faults:
        raise min(faults, key=lambda fault: (isinstance(fault, Parked | Closing), isinstance(fault, Closing)))
