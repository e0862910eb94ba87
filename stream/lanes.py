"""Lanes: one partition in order, and the only place that acknowledges.

A lane takes every run that waits, up to a limit, as one delivery; when that has settled it acknowledges those runs, in
order. So batches grow by themselves under load and a lone event leaves at once. Where a lane may have several deliveries
under way, no two of them hold records of one key, and none is acknowledged before those that began earlier: within a key
nothing overtakes, and what is acknowledged is all there is up to there. A lane refuses a run that does not begin where the
last one ended: Faust's own gap check is off, and that refusal makes a swallowed run a crash instead of a loss.

Nothing here knows Faust, so that the invariant is tested without it. It must never acknowledge what was not settled, and
`put` must never wait: one partition may not hold up the others, nor may a rebalance find the agent waiting.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Iterable, Sequence
from typing import Any, Protocol

from listwire import logs, metrics

log = logs.get("stream.lanes")

Partition = tuple[str, int]
_NOBODY: frozenset[Hashable] = frozenset()
# Records in, true out when all have settled; false when the lane is closing and some have not.
Deliver = Callable[[Sequence[Any], asyncio.Event], Awaitable[bool]]


class Coverage(Protocol):
    """A run: what it covers (`begin <= offset < end`), and where the first run since the assignment began."""

    begin: int
    end: int
    first: int
    weight: int

    @property
    def records(self) -> Sequence[Any]: ...


Waiting = tuple[Sequence[Any], int, Callable[[], Any], frozenset[Hashable]]


class LostRun(AssertionError):
    """A run went missing between the fetch and its lane: a fault of ours or of Faust. The process must end."""


class UnderWay:
    """One delivery: its task, what its runs weigh, how they are acknowledged, and whose records they hold."""

    __slots__ = ("acks", "keys", "task", "weight")

    def __init__(
        self, task: asyncio.Future[bool], weight: int, acks: list[Callable[[], Any]], keys: set[Hashable]
    ) -> None:
        self.task = task
        self.weight = weight
        self.acks = acks
        self.keys = keys


class Lane:
    """`next` is the offset that must come next; `committed` is the group's, None where it has committed nothing."""

    def __init__(self, partition: Partition, committed: int | None, lanes: Lanes) -> None:
        self.partition = partition
        self.committed = committed
        self.next: int | None = None
        self.lanes = lanes
        self.waiting: deque[Waiting] = deque()
        self.under_way: deque[UnderWay] = deque()
        self.weight = 0
        self.stirred = asyncio.Event()  # something has arrived or settled, or the lane closes
        self.closing = asyncio.Event()
        self.given_up = False
        self.proven = False  # something of it has been acknowledged
        self.task = asyncio.ensure_future(self._run())

    @property
    def idle(self) -> bool:
        return self.weight == 0

    def put(self, run: Coverage, ack: Callable[[], Any]) -> None:
        """Raises `LostRun`."""
        if self.closing.is_set():
            return  # read again by whoever owns the partition next
        records = run.records
        # Before its first run a lane expects what Kafka gave us first. The committed offset would not do: Kafka may have
        # deleted what stood there, and that hole would hide a lost run.
        expected = run.first if self.next is None else self.next
        if run.begin > expected:
            raise LostRun(f"{self.partition}: records {expected}..{run.begin - 1} never arrived")
        if self.next is None:
            self._begin(run.first)
        elif run.end <= self.next:
            return  # read twice around a seek
        elif run.begin < self.next:
            records = [record for record in records if record.offset >= expected]
        self.next = run.end
        keys = frozenset(map(_key, records)) if self.lanes.abreast > 1 else _NOBODY
        self.waiting.append((records, run.weight, ack, keys))
        self.weight += run.weight
        self.stirred.set()

    def _begin(self, first: int) -> None:
        if self.committed is not None and first > self.committed:
            log.error(
                "records are gone from Kafka before we read them",
                partition=self.partition,
                first=self.committed,
                last=first - 1,
            )

    async def _run(self) -> None:
        try:
            try:
                while self._goes_on():
                    while self._may_begin():
                        self._begin_delivery()
                    await self.stirred.wait()
                    self.stirred.clear()
            except Exception as fault:
                self.lanes.fail(fault)
            if self.under_way:  # after a fault; what they come to is nobody's any more
                await asyncio.wait([delivery.task for delivery in self.under_way])
        except asyncio.CancelledError:
            for delivery in self.under_way:
                delivery.task.cancel()
            if not self.closing.is_set():
                self.lanes.fail(LostRun(f"{self.partition}: its lane was cancelled"))
            raise

    def _goes_on(self) -> bool:
        """Acknowledges what has settled, in order. False at the lane's end; raises what went wrong in a delivery."""
        for delivery in self.under_way:
            if delivery.task.done() and not delivery.task.cancelled() and (fault := delivery.task.exception()):
                raise fault
        if self.lanes.failed:
            return False
        while self.under_way and self.under_way[0].task.done():
            delivery = self.under_way.popleft()
            if not delivery.task.result():
                if not self.closing.is_set():
                    raise AssertionError(f"{self.partition}: a delivery gave up while its lane was open")
                self.given_up = True
            if self.given_up:
                continue  # not settled, so neither it nor anything behind it is acknowledged
            for ack in delivery.acks:
                ack()
            self.weight -= delivery.weight
            self.proven = True
            self.lanes.room.set()
            self.lanes.moved()
        return bool(self.under_way) or not self.closing.is_set()

    def _may_begin(self) -> bool:
        if not self.waiting or self.closing.is_set() or len(self.under_way) >= self.lanes.abreast:
            return False
        return self._next_is_free()

    def _next_is_free(self) -> bool:
        """Whether no record of the run that waits longest has a key that is under way."""
        keys = self.waiting[0][3]
        return all(delivery.keys.isdisjoint(keys) for delivery in self.under_way)

    def _begin_delivery(self) -> None:
        records, weight, acks, keys = self._take()
        task = asyncio.ensure_future(self.lanes.deliver(records, self.closing) if records else _nothing_to_do())
        task.add_done_callback(lambda _: self.stirred.set())
        self.under_way.append(UnderWay(task, weight, acks, keys))

    def _take(self) -> tuple[list[Any], int, list[Callable[[], Any]], set[Hashable]]:
        """Runs for one delivery, up to the first one with a key that is under way."""
        records: list[Any] = []
        weight = 0
        acks: list[Callable[[], Any]] = []
        keys: set[Hashable] = set()
        while self.waiting and (not acks or len(records) + len(self.waiting[0][0]) <= self.lanes.limit):
            if not self._next_is_free():
                break
            more, its_weight, ack, its_keys = self.waiting.popleft()
            records.extend(more)
            weight += its_weight
            acks.append(ack)
            keys |= its_keys
        return records, weight, acks, keys


def _key(record: Any) -> Hashable:
    key: Hashable = record.key
    return key


async def _nothing_to_do() -> bool:
    return True


class Lanes:
    """All lanes of a process.

    limit: records a delivery, unless one run alone has more. abreast: deliveries that a lane may have under way. budget: bytes
    that may wait in all lanes together, each of them some 2.5 in truth (headers, objects, the event made of it); `unproven`
    as long as nothing of a lane was acknowledged, since with its vendor away they would only cost memory: a worker that
    starts in an outage has 105 MB, and would have 119. With 3 MiB for all it drains an eighth slower. A lane's share is
    never under `least_share`. grace: seconds that an attempt under way may take when its lane closes.
    """

    def __init__(
        self,
        worker: str,
        deliver: Deliver,
        fail: Callable[[BaseException], None],
        *,
        limit: int = 4000,
        abreast: int = 1,
        budget: int = 8 << 20,
        unproven: int = 3 << 20,
        least_share: int = 256 << 10,
        most_share: int = 4 << 20,
        grace: float = 12.0,
        moved: Callable[[], None] = lambda: None,
    ) -> None:
        self.worker = worker
        self.deliver = deliver
        self.on_fail = fail
        self.limit = limit
        self.abreast = abreast
        self.budget, self.unproven = budget, unproven
        self.least_share, self.most_share = least_share, most_share
        self.grace = grace
        self.moved = moved
        self.lanes: dict[Partition, Lane] = {}
        self.failed = False
        self.ended = False
        self.room = asyncio.Event()  # a lane has less in it than before

    def full(self, partition: Partition) -> bool:
        lane = self.lanes.get(partition)
        return lane is not None and lane.weight >= self.share(proven=lane.proven)

    def share(self, *, proven: bool) -> int:
        """Bytes that may wait in one lane."""
        all_ = self.budget if proven else self.unproven
        return min(self.most_share, max(self.least_share, all_ // max(1, len(self.lanes))))

    @property
    def waiting(self) -> bool:
        """Whether anything is fetched and not yet settled."""
        return any(not lane.idle for lane in self.lanes.values())

    def put(self, partition: Partition, run: Coverage, ack: Callable[[], Any], committed: int | None) -> None:
        """Raises `LostRun`. `committed` is the group's offset, for the log."""
        if self.failed or self.ended:
            return
        lane = self.lanes.get(partition)
        if lane is None:
            lane = self.lanes[partition] = Lane(partition, committed, self)
        lane.put(run, ack)

    async def close(self, partitions: Iterable[Partition] | None = None) -> None:
        """Ends the attempt under way and drops what waits: the next owner reads it again from the commit. Without partitions
        it ends all of them, for good.
        """
        wanted = None if partitions is None else set(partitions)
        self.ended = self.ended or wanted is None
        closed = [self.lanes.pop(tp) for tp in list(self.lanes) if wanted is None or tp in wanted]
        for lane in closed:
            lane.closing.set()
            lane.stirred.set()
        if closed:
            await asyncio.wait([lane.task for lane in closed], timeout=self.grace)
        for lane in closed:
            lane.task.cancel()
        self.report()

    def report(self) -> None:
        """Bytes waiting, as a metric; only partitions that are ours."""
        gauge = metrics.LANE_BYTES._made  # one series a partition of ours, and none of a partition that left
        gauge.clear()
        for (_topic, number), lane in self.lanes.items():
            metrics.LANE_BYTES(worker=self.worker, partition=str(number)).set(lane.weight)

    def fail(self, fault: BaseException) -> None:
        self.failed = True
        self.on_fail(fault)
