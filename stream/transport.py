"""Faust's aiokafka transport, handing over fetched runs instead of single messages.

It must keep three things that Faust's own loses (each was seen to lose events): the order of a rebalance (lanes end their
attempt, commit, and only then does Faust forget what was acknowledged), backpressure for each partition by itself, and
committed reads only.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from faust.transport.drivers import aiokafka as driver

from listwire import logs
from stream.runs import Run
from stream.unreadable import read_around

log = logs.get("stream.transport")

# A fetch with fewer records than this is small: the next one waits until `GATHER` seconds after it, since every fetch costs
# Faust some 1 ms whatever it holds. Measured at 500 single records/s: 63 % of a core without, 25 % with 15 ms.
SMALL = 64
GATHER = 0.012


class RunThread(driver.AIOKafkaConsumerThread):
    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        # Faust offers no setting for these. Records of aborted transactions are nobody's; a long broker wait delays a stop.
        for name, value in (("_isolation_level", "read_committed"), ("_fetch_max_wait_ms", 500)):
            if not hasattr(consumer, name):
                raise AssertionError(f"aiokafka's consumer has no {name} any more: this version is not fit")
            setattr(consumer, name, value)
        return consumer

    async def _fetch_records(
        self, consumer: Any, active_partitions: Any, timeout: float | None = None, max_records: int | None = None
    ) -> Any:
        before = {tp: _position(consumer, tp) for tp in active_partitions}
        try:
            fetched = await super()._fetch_records(consumer, active_partitions, timeout, max_records)
        except UnicodeDecodeError:
            fetched = await read_around(consumer, before)
        # No await since the positions moved: they are exactly what this fetch covers.
        runs = {}
        for tp, records in fetched.items():
            if records:
                run = Run(records, _or(before.get(tp), records[0].offset), _or(_position(consumer, tp), 0))
                self.consumer.first_fetched.setdefault(tp, run.begin)
                runs[tp] = [run]
        return runs


def _or(value: int | None, other: int) -> int:
    return other if value is None else value


def _position(consumer: Any, tp: Any) -> int | None:
    subscription = consumer._subscription.subscription
    state = subscription and subscription.assignment and subscription.assignment.state_value(tp)
    return state.position if state and state.has_valid_position else None


class RunConsumer(driver.Consumer):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # Where the first fetch after an assignment began: the start of a lane whose group has committed nothing yet.
        self.first_fetched: dict[Any, int] = {}
        self._small_fetch_at = 0.0
        super().__init__(*args, **kwargs)

    def _new_consumer_thread(self) -> RunThread:
        return RunThread(self, loop=self.loop, beacon=self.beacon)

    async def _getmany(self, active_partitions: Any, timeout: float) -> Mapping[Any, Any]:
        """Leaves a full lane's records in Kafka; the other lanes go on."""
        if (wait := self._small_fetch_at + GATHER - time.monotonic()) > 0:
            await asyncio.sleep(wait)
        ready = {tp for tp in active_partitions if not self.app.lanes.full(tp)}
        if not ready:
            await asyncio.sleep(0.02)
            return {}  # an empty set would mean all partitions
        runs: Mapping[Any, Any] = await super()._getmany(
            ready, timeout if len(ready) == len(active_partitions) else 0.05
        )
        if runs:
            self.app.progress.moved()
            if sum(len(run.records) for batch in runs.values() for run in batch) < SMALL:
                self._small_fetch_at = time.monotonic()
        return runs

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

    async def on_partitions_revoked(self, revoked: Any) -> None:
        """Let the attempt under way end, commit, and only then let Faust forget and give the partitions away."""
        if revoked:
            self.stop_flow()
            self.app.flow_control.suspend()
            await self.app.lanes.close(revoked)
            for tp in revoked:
                self.first_fetched.pop(tp, None)
            if not self.app.should_stop:
                await self.commit()
        await super().on_partitions_revoked(revoked)

    async def on_partitions_assigned(self, assigned: Any, generation_id: int = 0) -> None:
        for tp in assigned:
            self.first_fetched.pop(tp, None)
        await super().on_partitions_assigned(assigned, generation_id)
        self.app.progress.assigned(assigned)


class RunTransport(driver.Transport):
    Consumer = RunConsumer
