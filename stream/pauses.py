"""Keeps a worker's connections paused or not, as the control topic says. Read before anything is delivered, then every few seconds."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any

import mode

from listwire import logs
from listwire.control import Pauses
from stream.connections import Connection

log = logs.get("stream.pauses")
EVERY = 2.0
STOP_WITHIN = 2.0


class PauseWatch(mode.Service):
    def __init__(
        self, pauses: Pauses, connections: Mapping[str, Connection], every: float = EVERY, **kwargs: Any
    ) -> None:
        self.pauses = pauses
        self.connections = connections
        self.every = every
        self._looking: asyncio.Task[None] | None = None
        super().__init__(**kwargs)

    async def look(self) -> None:
        """Raises nothing: a worker that cannot read the pauses goes on with those it knows."""
        try:
            async with asyncio.timeout(30):
                in_force = await self.pauses.read()
        except Exception as fault:
            log.warning("the control topic cannot be read; pauses stay as they are", detail=str(fault))
            return
        for name, connection in self.connections.items():
            pause = in_force.get(name)
            connection.pause(pause.detail if pause else None)

    @mode.Service.task
    async def _watch(self) -> None:
        while not self.should_stop:
            await self.sleep(self.every)  # a stop ends it
            if not self.should_stop:
                self._looking = asyncio.ensure_future(self.look())
                await asyncio.wait({self._looking})

    async def on_stop(self) -> None:
        """A look under way would open again what is closed here; while Kafka is away it takes half a minute. So it is cut off."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait({self._looking}, timeout=STOP_WITHIN)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_WITHIN):
                await self.pauses.close()
