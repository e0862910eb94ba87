"""Faust's aiokafka transport, handing over fetched runs instead of single messages.

It must keep three things that Faust's own loses (each was seen to lose events): the order of a rebalance (lanes end their
attempt, commit, and only then does Faust forget what was acknowledged), backpressure for each partition by itself, and
committed reads only. It also tells `Progress` of every heartbeat that Kafka has answered.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

from aiokafka.errors import KafkaError
from faust.transport.drivers import aiokafka as driver

from listwire import logs
from stream.runs import Run
from stream.unreadable import read_around

log = logs.get("stream.transport")

# A fetch with fewer records than this is small: the next one waits until `GATHER` seconds after it, since every fetch costs
# Faust some 1 ms whatever it holds, and every delivery a request. A record that comes alone waits for nobody.
SMALL = 64
GATHER = 0.04
# What aiokafka has ready then is what it was given `GATHER` ago, when the first record came. So it is asked once more, for as
# many seconds at most as a broker needs to hand over what it has.
ONCE_MORE = 0.01
# Seconds between two looks at lanes that are all full and stay so.
FULL = 0.1
# Seconds until Kafka is asked again where a partition begins.
ASK_AGAIN = 0.5
# Seconds that the commit of a stopping process may take.
LAST_COMMIT = 5.0


class RunThread(driver.AIOKafkaConsumerThread):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # Only the consumer's thread touches it.
        self._reading: Reading | None = None
        super().__init__(*args, **kwargs)

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        # Faust offers no setting for these. Records of aborted transactions are nobody's; a long broker wait delays a stop.
        for name, value in (("_isolation_level", "read_committed"), ("_fetch_max_wait_ms", 500)):
            if not hasattr(consumer, name):
                raise AssertionError(f"aiokafka's consumer has no {name} any more: this version is not fit")
            setattr(consumer, name, value)
        return consumer

    async def on_start(self) -> None:
        await super().on_start()
        self._listen_to_heartbeats()

    def _listen_to_heartbeats(self) -> None:
        """A process that was frozen past its session is told so by its next heartbeat: until then it may not know that its
        partitions are another one's. So progress hears when Kafka last knew us, counted from before it was asked.
        """
        coordinator = self._consumer._coordinator
        if not hasattr(coordinator, "_do_heartbeat"):
            raise AssertionError("aiokafka's coordinator has no _do_heartbeat any more: this version is not fit")
        beat, progress = coordinator._do_heartbeat, self.consumer.app.progress

        async def heard() -> bool:
            asked = progress.clock.monotonic()
            alive: bool = await beat()
            if alive:
                progress.known_to_kafka(asked)
            return alive

        coordinator._do_heartbeat = heard

    async def _shutdown_thread(self) -> None:
        """While Kafka is away, aiokafka's consumer ends its own closing by a cancellation; mode would take that for the end of the
        thread, and wait a minute for its word.
        """
        try:
            await super()._shutdown_thread()
        except asyncio.CancelledError:
            log.info("the consumer could not close cleanly")
        finally:
            self.set_shutdown()

    async def _fetch_records(
        self, consumer: Any, active_partitions: Any, timeout: float | None = None, max_records: int | None = None
    ) -> Any:
        subscription = consumer._subscription.subscription
        assignment = subscription.assignment if subscription is not None else None
        if assignment is None:
            return {}
        reading = self._reading
        if reading is None or reading.assignment is not assignment:
            reading = self._reading = Reading(assignment)
        before = {tp: reading.position(tp) for tp in active_partitions}
        positions = {tp: reading.established(tp) for tp in active_partitions}
        fetched: Any = {}
        try:
            fetched = await super()._fetch_records(consumer, active_partitions, timeout, max_records)
            # Not where a rebalance came in between: what is in hand is of the next assignment then, and put back below.
            if self.consumer.gathering and assignment.active and 0 < sum(map(len, fetched.values())) < SMALL:
                fetched = await self._once_more(assignment, fetched, consumer, active_partitions, max_records)
        except UnicodeDecodeError:
            # Of another assignment by now, it is met again there, from where that one stands.
            fetched = await read_around(consumer, before) if assignment.active else {}
        finally:
            if assignment.active:
                # Where the position was out of Kafka's range meanwhile, nothing was read from it on.
                before = {tp: at for tp, at in before.items() if reading.established(tp) is positions[tp]}
                reading.skipped(before, fetched)
            else:
                before = {}  # where another assignment stood
        # No await since the positions moved: they are exactly what this fetch covers.
        fetched = {tp: records for tp, records in fetched.items() if records}
        if not assignment.active or not self.consumer.flow_active:
            # Fetched while the partitions were not yet handed out: the main thread would drop these records, and Faust seeks
            # back to the commit only where there is one. So they are put back here.
            for tp, records in fetched.items():
                consumer._fetcher.seek_to(tp, min(_or(before.get(tp), records[0].offset), records[0].offset))
            return {}
        return {tp: [reading.run(tp, records, before.get(tp))] for tp, records in fetched.items()}

    async def _once_more(
        self, assignment: Any, fetched: Any, consumer: Any, active_partitions: Any, max_records: int | None
    ) -> Any:
        """What has come meanwhile, behind what is in hand; nothing that happens here may lose that. aiokafka may wait here for a
        whole rebalance: then what is in hand is of an assignment that has ended, and read again from the commit by whoever
        has the partition now. To put it back would move the new assignment's position, past all that was not committed.
        """
        more: Any = {}
        try:
            more = await super()._fetch_records(consumer, active_partitions, ONCE_MORE, max_records)
        except UnicodeDecodeError:
            raise  # read around, from in front of both
        except Exception as fault:
            log.warning("a fetch failed; what was there before it goes on", fault=repr(fault))
        if not assignment.active:
            return more
        return {tp: [*fetched.get(tp, ()), *more.get(tp, ())] for tp in {**fetched, **more}}


class Reading:
    """Where reading stands in the partitions of one assignment, and what it skipped on the way."""

    def __init__(self, assignment: Any) -> None:
        self.assignment = assignment
        self.first: dict[Any, int] = {}
        self.holes: dict[Any, tuple[int, int]] = {}

    def position(self, tp: Any) -> int | None:
        state = self.assignment.state_value(tp)
        return state.position if state and state.has_valid_position else None

    def established(self, tp: Any) -> Any:
        """Another object after each reset of the position by aiokafka (not by a seek)."""
        return getattr(self.assignment.state_value(tp), "_position_fut", None)

    def skipped(self, before: Mapping[Any, int | None], fetched: Mapping[Any, Any]) -> None:
        """A fetch of nothing but aborted records or markers moves the position too. The next run covers them."""
        for tp, begin in before.items():
            end = self.position(tp)
            if begin is not None and end is not None and end > begin and not fetched.get(tp):
                self.holes[tp] = self._covered_from(tp, begin), end

    def run(self, tp: Any, records: Sequence[Any], before: int | None) -> Run:
        begin = records[0].offset if before is None else self._covered_from(tp, before)
        self.holes.pop(tp, None)
        begin = min(begin, records[0].offset)
        end = max(_or(self.position(tp), 0), records[-1].offset + 1)
        self.first[tp] = min(begin, self.first.get(tp, begin))
        return Run(records, begin, end, self.first[tp])

    def _covered_from(self, tp: Any, begin: int) -> int:
        hole = self.holes.get(tp)
        return hole[0] if hole is not None and hole[1] == begin else begin


def _or(value: int | None, other: int) -> int:
    return other if value is None else value


class RunConsumer(driver.Consumer):
    _small_fetch_at = 0.0
    gathering = False

    def _new_consumer_thread(self) -> RunThread:
        return RunThread(self, loop=self.loop, beacon=self.beacon)

    async def _getmany(self, active_partitions: Any, timeout: float) -> Mapping[Any, Any]:
        """Leaves a full lane's records in Kafka; the other lanes go on."""
        wait = self._small_fetch_at + GATHER - time.monotonic()
        self.gathering = wait > 0
        if self.gathering:
            await asyncio.sleep(wait)
        ready = {tp for tp in active_partitions if not self.app.lanes.full(tp)}
        if not ready:
            await self._room()
            return {}  # an empty set would mean all partitions
        runs: Mapping[Any, Any] = await super()._getmany(
            ready, timeout if len(ready) == len(active_partitions) else 0.05
        )
        if runs:
            self.app.progress.moved()
            self._note_made_anew(runs)
            runs = {tp: [run] for tp, (run,) in runs.items() if await self._begins_at_the_commit(tp, run)}
            if sum(len(run.records) for batch in runs.values() for run in batch) < SMALL:
                self._small_fetch_at = time.monotonic()
        return runs

    async def _room(self) -> None:
        """Until a lane has some, or for `FULL` seconds."""
        room = self.app.lanes.room
        room.clear()
        await self.app.progress.clock.wait(room, FULL)

    def _note_made_anew(self, runs: Mapping[Any, Any]) -> None:
        """The committed offset is not in the topic any more, which was made anew or cut: what it holds is new to us. Faust would
        drop every record below that offset, and commit none.
        """
        for tp, (run,) in runs.items():
            committed = self._committed_offset[tp]
            if committed is not None and run.begin == run.first < committed:
                log.error(
                    "reading from before the committed offset", partition=tp, committed=committed, begin=run.begin
                )
                self._committed_offset[tp] = self._read_offset[tp] = None

    async def _begins_at_the_commit(self, tp: Any, run: Run) -> bool:
        """An assignment's first run begins at the group's commit, or where Kafka has deleted what stood there. Whatever else is
        missing in front of it was fetched and went astray, and no lane could tell, since it takes the first run for the
        beginning. Then this run is left out, and reading begins again.
        """
        committed = self._committed_offset[tp] or 0
        if not run.begin == run.first > committed:
            return True
        while self.flow_active:
            try:
                offsets = await self.earliest_offsets(tp)
                at = max(committed, offsets[tp])
                if at >= run.begin:
                    return True
                log.error("reading did not begin at the commit; it begins again", partition=tp, at=at, was=run.begin)
                await self.seek_wait({tp: at})
                return False
            except (KafkaError, TimeoutError) as fault:
                log.warning("Kafka does not say where a partition begins", partition=tp, fault=repr(fault))
                await asyncio.sleep(ASK_AGAIN)
        return False  # a rebalance: whoever owns the partition next begins at the commit

    async def _add_gap(self, tp: Any, offset_from: int, offset_to: int) -> None:
        """Runs account for their own holes; Faust's gap tree would grow by one interval a run for ever."""

    def _new_offset(self, tp: Any) -> int | None:
        """Lanes acknowledge contiguous runs in order, so the newest stands for all before it."""
        acked = self._acked[tp]
        if not acked:
            return None
        newest: int = max(acked)
        self._acked_index[tp].difference_update(acked)
        acked.clear()
        return newest + 1

    async def commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:
        """Aiokafka asks for the group's coordinator for ever; a process that is told to stop must end all the same."""
        if not self.app.should_stop:
            return bool(await super().commit(topics, start_new_transaction))
        try:
            async with asyncio.timeout(LAST_COMMIT):
                return bool(await super().commit(topics, start_new_transaction))
        except TimeoutError:
            log.warning(
                "Kafka did not take the last commit; what it covered is delivered once more", seconds=LAST_COMMIT
            )
            return False

    async def on_partitions_revoked(self, revoked: Any) -> None:
        """Let the attempt under way end, commit, and only then let Faust forget and give the partitions away."""
        if revoked:
            self.stop_flow()
            self.app.flow_control.suspend()
            await self.app.lanes.close(revoked)
            # Twice, since a commit that is under way already is only waited for.
            if not self.app.should_stop and not await self.commit():
                await self.commit()
        await super().on_partitions_revoked(revoked)

    async def on_partitions_assigned(self, assigned: Any, generation_id: int = 0) -> None:
        await super().on_partitions_assigned(assigned, generation_id)
        self.app.progress.assigned(assigned)


class RunTransport(driver.Transport):
    Consumer = RunConsumer
