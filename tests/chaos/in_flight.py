"""Whether a delivery is under way at a process, told from outside and without asking it, so that a kill can wait for one.

A worker: a vendor's stand-in has not answered a request of this very process. The ingress: it has read a request and not answered
it; it takes some two milliseconds for one, so Kafka is held for a moment in which none can be answered. The broker: a worker
delivers what it will have to commit.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

from tests.chaos.load import Senders
from tests.chaos.processes import BrokerMember, Member
from tests.chaos.sockets import UnderWay, unread

# Kafka is held so long at most, seconds: all are some requests a second.
HELD: Final = 0.5
# What Kafka has not taken by then, because it is away, no answer is on its way for.
LONG_AGO: Final = 0.1


class InFlight:
    def __init__(self, under_way: UnderWay, senders: Senders, port: int, broker: BrokerMember) -> None:
        self.under_way = under_way
        self.senders = senders
        self.port = port
        self.broker = broker
        self._holds = False

    async def at(self, member: Member) -> bool:
        """Does not suspend after its last look, so what it saw is still so for a signal that follows at once. The caller then calls `release`."""
        if member.kind == "broker":
            return self.under_way.any()
        return await self._at_ingress() if member.kind == "ingress" else self.under_way.of(member.pids())

    async def _at_ingress(self) -> bool:
        if self.broker.busy.locked() or self.broker.code() is not None:
            return self._read(before=time.monotonic() - LONG_AGO)
        await self.broker.busy.acquire()  # at once: nobody has it
        self._holds = True
        self.broker.freeze()
        since = time.monotonic()
        while time.monotonic() < since + HELD:
            await asyncio.sleep(0.01)
            if self._read(since=since):
                return True
        self.release()
        return False

    def _read(self, *, since: float = 0.0, before: float = float("inf")) -> bool:
        """Whether more such requests are sent and unanswered than there is data waiting at either end: the ingress has the rest."""
        sent = sum(post.sent_at is not None and since < post.sent_at < before for post in self.senders.open)
        return sent > 0 and sent > unread(self.port)

    def release(self) -> None:
        """Kafka goes on, where it was held."""
        if self._holds:
            self._holds = False
            self.broker.thaw()
            self.broker.busy.release()
