"""One worker process: the application between its start and its end, and its tenth-of-a-second clock.

It must never outlive the process that started it, nor end while a request that was accepted waits for its answer.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable
from typing import Any, Final

from ingress import listeners, routes
from ingress.app import Ingress, Scope, Send
from ingress.intake import Receive
from ingress.producer import KafkaStore
from ingress.stopping import Stopping
from listwire import kafka
from listwire.clock import SystemClock
from listwire.settings import Settings
from listwire.settings_watch import SettingsWatch

_TICK: Final = 0.1
_CONNECT_WITHIN: Final = 5.0
_FLUSH_WITHIN: Final = 1.0
# Kafka holds a topic's max.message.bytes against whole batches, so none may outgrow what `topics ensure` insists on. One
# record may be larger than this, alone.
BATCH_BYTES: Final = 64 * 1024


class Worker:
    """The ASGI callable."""

    def __init__(self, settings: Settings, stopping: Stopping) -> None:
        self._settings = settings
        self._stopping = stopping
        self._serving = False
        self._listens = False
        clock = SystemClock()
        table = routes.from_settings(settings)
        self._store = KafkaStore(self._connect, {route.topic for route in table}, clock)
        self._ingress = Ingress(table, self._store, clock)
        self._timer: asyncio.TimerHandle | None = None

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        return self._ingress(scope, receive, send) if scope["type"] == "http" else self._lifespan(receive, send)

    async def _connect(self) -> Any:
        return await kafka.durable_producer(
            self._settings.kafka, client_id="listwire-ingress", max_batch_size=BATCH_BYTES, linger_ms=0
        )

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        self._tick()
        watching = SettingsWatch(self._settings).start()
        await self._store.start(_CONNECT_WITHIN)
        _spare_the_collector()
        await send({"type": "lifespan.startup.complete"})
        self._serving = True
        await receive()
        self._ingress.stopping = True
        await self._store.stop(_FLUSH_WITHIN)
        watching.stop()
        if self._timer is not None:
            self._timer.cancel()
        await send({"type": "lifespan.shutdown.complete"})

    def _tick(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(_TICK, self._tick)
        self._ingress.tick()
        self._store.tick()
        if self._serving and not self._listens:  # granian opens its socket after the application has started
            self._listens = listeners.limit_unread_answers() > 0
        if self._stopping.wanted():
            self._ingress.stopping = True
            if self._serving:
                self._stopping.tell_granian()


def _spare_the_collector() -> None:
    """What is here now stays until the end, so the garbage collector need not look through it again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)
