"""The way into Kafka: True only for what was acknowledged with acks=all, and a producer that mends itself.

Records go to lanes, one a partition, so that a partition in trouble makes nobody wait but its own keys. It must never
stay alive with a producer that cannot succeed any more: aiokafka counts a sequence number for every batch, also for one
that the broker has refused, and from then on the broker refuses the partition's later ones. So a failed batch closes its
lane, and another producer takes over as soon as it is connected.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from functools import partial
from typing import Any, Final

from aiokafka.errors import KafkaError as ClientError
from aiokafka.errors import KafkaTimeoutError, ProducerClosed
from aiokafka.structs import TopicPartition

from ingress.batches import Lane, UnderWay, heard
from ingress.keys import partition_of
from listwire import logs
from listwire.clock import Clock
from listwire.errors import ListwireError
from listwire.kafka import end_producer
from listwire.kafka_faults import denied
from listwire.topics import MIB

# Seconds. A lane is late when its oldest record waits longer than a request would; then others need not try.
LATE: Final = 8.0
# Kafka can be reached, and still nothing is acknowledged: another producer may do better.
HOPELESS: Final = 30.0
# An acknowledgement proves for so long that Kafka acknowledges; a question to the broker likewise.
FRESH: Final = 1.0
_ASK_WITHIN: Final = 2.0
_AGAIN_AFTER: Final = (0.2, 0.5, 1.0, 2.0)
# What an old producer has under way is acknowledged within milliseconds, or not at all.
_GRACE: Final = 1.0
# Turns of the loop from a batch's end to the sending of the next ones in aiokafka's sender.
_TURNS: Final = 3

log = logs.get("listwire.ingress")


class KafkaStore:
    """`connect` gives a started producer, or raises listwire's KafkaError; it is asked again until it does.

    Whoever runs the store calls `tick()` ten times a second.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[Any]],
        topics: Iterable[str],
        clock: Clock,
        *,
        late: float = LATE,
        hopeless: float = HOPELESS,
        most_bytes: int = 64 * MIB,
    ) -> None:
        self._connect = connect
        self._topics = tuple(topics)
        self._clock = clock
        self._now = clock.monotonic
        self._late = late
        self._hopeless = hopeless
        self._most_bytes = most_bytes
        self._bytes = 0
        self._producer: Any = None
        self._lanes: dict[str, list[Lane]] = {}
        self._since = 0.0
        self._acknowledged = False  # since the last tick
        self._last_acknowledged = float("-inf")
        self._last_asked = float("-inf")
        self._last_answer = False
        self._asking: asyncio.Task[bool] | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._errands: set[asyncio.Task[None]] = set()
        self._was_late = False
        self._loop: Any = None

    async def start(self, within: float) -> None:
        """Returns when connected, or after `within` seconds: then it goes on trying, and `put` says False."""
        self._loop = asyncio.get_running_loop()
        self._connecting = asyncio.create_task(self._connect_until_it_works())
        await asyncio.wait([self._connecting], timeout=within)

    async def stop(self, within: float) -> None:
        """Sends what waits, for `within` seconds at most; nobody was told 2xx for what is still left then."""
        if self._connecting is not None:
            self._connecting.cancel()
        producer, self._producer = self._producer, None
        if producer is not None:
            self._run(end_producer(producer, within))
        if self._errands:
            await asyncio.wait(self._errands, timeout=within + _GRACE)

    async def put(self, topic: str, key: bytes, value: bytes, headers: list[tuple[str, bytes]]) -> bool:
        producer = self._producer
        if producer is None or self._bytes + len(value) > self._most_bytes:
            return False
        lanes = self._lanes[topic]
        lane = lanes[partition_of(key, len(lanes))]
        if lane.closed:
            return False
        accumulator = producer._message_accumulator
        batch = lane.batch
        waiting = accumulator._batches.get(lane.partition)
        # What producer.send() comes down to for all records of a batch but its first. The rest of it would take a quarter of
        # all the time that a record costs here.
        if (
            not waiting
            or waiting[-1] is not batch
            or accumulator._exception is not None
            or batch._builder.append(timestamp=None, key=key, value=value, headers=headers) is None
        ):
            try:
                sent = await accumulator.add_message(lane.partition, key, value, self._late, headers=headers)
            except (KafkaTimeoutError, ProducerClosed):
                return False  # its batch was full for too long, or another producer takes over just now
            except ClientError as fault:
                self._broken(lane, fault)
                return False
            sent.add_done_callback(heard)
            batch = accumulator._batches[lane.partition][-1]
            if batch is not lane.batch:
                lane.batch = batch
                lane.newest = UnderWay(self._now())
                lane.under_way[lane.newest] = None
                batch.future.add_done_callback(partial(self._settled, lane, lane.newest))
        answer: asyncio.Future[bool] = self._loop.create_future()
        lane.newest.answers.append(answer)
        lane.newest.size += len(value)
        self._bytes += len(value)
        # Who gives up here leaves its record in the batch, which keeps its place and its bytes until it is settled.
        return await answer

    def _settled(self, lane: Lane, batch: UnderWay, settled: asyncio.Future[Any]) -> None:
        del lane.under_way[batch]
        self._bytes -= batch.size
        fault = settled.exception()
        if fault is None:
            self._acknowledged = True
            lane.closed = lane.broken
        else:
            self._broken(lane, fault)
        self._soon(_TURNS, batch, fault is None)

    def _soon(self, turns: int, batch: UnderWay, stored: bool) -> None:
        """The requests go on once the next batches have been sent, so that Kafka works on those while they are answered."""
        if turns:
            self._loop.call_soon(self._soon, turns - 1, batch, stored)
            return
        for answer in batch.answers:
            if not answer.done():
                answer.set_result(stored)

    def _broken(self, lane: Lane, fault: BaseException) -> None:
        if lane.broken or isinstance(fault, ProducerClosed):
            return  # said already, or the last words of a producer that was replaced
        lane.broken = lane.closed = True
        log.error(
            "Kafka has refused a batch", partition=str(lane.partition.partition), fault=denied(fault) or repr(fault)
        )
        self._replace()

    def tick(self) -> None:
        if self._producer is None:
            return
        now = self._now()
        if self._acknowledged:
            self._acknowledged = False
            self._last_acknowledged = now
        oldest = 0.0
        for lane in self._all_lanes():
            age = lane.age(now)
            lane.closed = lane.broken or age > self._late
            oldest = max(oldest, age)
        late = oldest > self._late
        if late != self._was_late:
            self._was_late = late
            if late:
                log.error("Kafka does not acknowledge; requests are answered 503 until it does")
            else:
                log.info("Kafka acknowledges again")
        if oldest > self._hopeless and now - self._since > self._hopeless:
            self._since = now
            self._run(self._try_another())

    async def ready(self) -> bool:
        """A recent acknowledgement, else a broker's answer that every partition of ours has a leader."""
        now = self._now()
        if self._producer is None:
            return False
        if self._acknowledged or now - self._last_acknowledged < FRESH:
            return True
        if any(lane.closed or lane.age(now) > _ASK_WITHIN for lane in self._all_lanes()):
            return False
        if now - self._last_asked >= FRESH:
            if self._asking is None or self._asking.done():
                self._asking = asyncio.create_task(_leads_all(self._producer, self._topics))
            await asyncio.wait([self._asking], timeout=_ASK_WITHIN)
            self._last_asked = self._now()
            self._last_answer = self._asking.done() and self._asking.result()
        return self._last_answer

    def _all_lanes(self) -> Iterable[Lane]:
        return (lane for lanes in self._lanes.values() for lane in lanes)

    def _replace(self) -> None:
        """The old producer goes on for the other lanes until a new one is connected."""
        if self._connecting is None or self._connecting.done():
            self._connecting = asyncio.create_task(self._connect_until_it_works())

    async def _try_another(self) -> None:
        if await _leads_all(self._producer, self._topics):
            log.error("nothing was acknowledged for long though Kafka can be reached; another producer takes over")
            self._replace()

    async def _connect_until_it_works(self) -> None:
        attempt = 0
        while True:
            try:
                producer = await self._connect()
                try:
                    lanes = {topic: await _lanes(producer, topic) for topic in self._topics}
                except BaseException:
                    self._run(end_producer(producer, 0))
                    raise
            except (
                Exception
            ) as fault:  # whatever it is, the next attempt may go well, and without one nothing ever would
                # Said once a minute or so; aiokafka's own lines are summed up by listwire.logs.
                if attempt % 30 == 0:
                    expected = isinstance(fault, ListwireError | ClientError)
                    words = denied(fault) or str(fault)
                    log.warning("no connection to Kafka yet", fault=words, exc_info=not expected)
                await self._clock.sleep(_AGAIN_AFTER[min(attempt, len(_AGAIN_AFTER) - 1)])
                attempt += 1
                continue
            old, self._producer = self._producer, producer
            self._lanes, self._since = lanes, self._now()
            if old is not None:
                self._run(end_producer(old, _GRACE))
            log.info("connected to Kafka")
            return

    def _run(self, errand: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(errand)
        self._errands.add(task)
        task.add_done_callback(self._errands.discard)


async def _lanes(producer: Any, topic: str) -> list[Lane]:
    return [Lane(TopicPartition(topic, at)) for at in range(len(await producer.partitions_for(topic)))]


async def _leads_all(producer: Any, topics: Iterable[str]) -> bool:
    """Asks a broker, now, whether every partition of these topics has a leader."""
    try:
        if not await producer.client.force_metadata_update():
            return False
    except ClientError:
        return False
    cluster = producer.client.cluster
    return all(
        bool(partitions := cluster.partitions_for_topic(topic))
        and all(cluster.leader_for_partition(TopicPartition(topic, at)) not in (None, -1) for at in partitions)
        for topic in topics
    )
