"""The watchdog: keeps aiokafka's coordinator going, and ends a process that is stuck.

aiokafka parks its coordinator on an error until somebody calls `getone` or `getmany`; Faust calls neither, so one failed join
leaves a process alive and silent for ever (faust-streaming #175, #471, #532, #640). Calling `check_errors` un-parks it.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import mode

from listwire import logs, metrics
from listwire.kafka_faults import denied
from stream.fail_stop import end_process_after

log = logs.get("stream.watchdog")
EVERY = 5.0


class Watchdog(mode.Service):
    """Started before the consumer (`App.on_init_dependencies`): timers of the app would start only after the first assignment."""

    def __init__(self, app: Any, every: float = EVERY, **kwargs: Any) -> None:
        self.app = app
        self.every = every
        self.words: str | None = None
        super().__init__(**kwargs)

    @mode.Service.task
    async def _watch(self) -> None:
        while not self.should_stop:
            await self.sleep(self.every)
            if self.app.should_stop:
                return
            # A fault here must not end the worker: this task only looks.
            with contextlib.suppress(Exception):
                self.app.lanes.report()
            try:
                await self._unpark()
                self.words = self._dead() or self._look()
            except asyncio.CancelledError:
                raise
            except Exception as fault:
                log.warning("the watchdog could not look", detail=repr(fault))
                continue
            if self.words is not None:
                log.critical("stuck, so this process ends and is started again", why=self.words)
                end_process_after(0.2)

    async def _unpark(self) -> None:
        thread: Any = getattr(self.app.consumer, "_thread", None)
        consumer = getattr(thread, "_consumer", None)
        coordinator = getattr(consumer, "_coordinator", None)
        if coordinator is None or not hasattr(coordinator, "check_errors"):
            return

        async def check() -> None:
            _ask_for_unknown_topics(consumer)
            coordinator.check_errors()

        try:
            async with asyncio.timeout(self.every):
                await thread.call_thread(check)
        except TimeoutError:
            metrics.WATCHDOG(worker=self.app.conf.id, event="slow_poll").inc()
        except Exception as fault:
            # The coordinator's own error: raising it to us is what lets it go on.
            metrics.WATCHDOG(worker=self.app.conf.id, event="unparked").inc()
            log.warning(
                "the group coordinator had stopped on an error and goes on", detail=denied(fault) or repr(fault)
            )

    def _dead(self) -> str | None:
        """Aiokafka's own tasks end on a fault of theirs, and nobody is told: without one nothing is ever fetched again, without
        the other this worker goes on with partitions that the group has long given to somebody else.
        """
        consumer = getattr(getattr(self.app.consumer, "_thread", None), "_consumer", None)
        if consumer is None or consumer._closed:
            return None
        for owner, name in (("_coordinator", "_coordination_task"), ("_fetcher", "_fetch_task")):
            task = getattr(getattr(consumer, owner, None), name, None)
            if task is not None and task.done():
                return f"aiokafka's {name.strip('_').replace('_', ' ')} has ended"
        return None

    def _look(self) -> str | None:
        app = self.app
        words: str | None = app.progress.look(
            waiting=app.lanes.waiting or self._more_in_kafka(), rebalancing=bool(app.rebalancing)
        )
        return words

    def _more_in_kafka(self) -> bool:
        """Whether an assigned partition's end, as last fetched, is beyond where we have read."""
        consumer = getattr(getattr(self.app.consumer, "_thread", None), "_consumer", None)
        if consumer is None:
            return False
        for tp in self.app.progress.partitions:
            subscription = consumer._subscription.subscription
            state = subscription and subscription.assignment and subscription.assignment.state_value(tp)
            if state and state.has_valid_position and (state.lso or 0) > state.position:
                return True
        return False


def _ask_for_unknown_topics(consumer: Any) -> None:
    """A group's leader that knows no partitions of its topic gives nobody any. A broker that has just started tells it so, and
    aiokafka would ask again after five minutes only. What it then learns makes it join again.
    """
    client = getattr(consumer, "_client", None)
    topics = getattr(consumer._subscription.subscription, "topics", ())
    if client is not None and any(not client.cluster.partitions_for_topic(topic) for topic in topics):
        client.force_metadata_update()
