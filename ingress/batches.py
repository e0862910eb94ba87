"""What the producer has under way: for each partition a lane, and its batches until Kafka has acknowledged them.

It must never lose count of a batch whose requests have given up: their records still go to Kafka.
"""

from __future__ import annotations

import asyncio
from typing import Any

from aiokafka.structs import TopicPartition


class UnderWay:
    """A batch that aiokafka has and Kafka has not acknowledged: when it began, how many bytes of bodies it holds, and who
    waits to hear whether it was stored.
    """

    __slots__ = ("answers", "began", "size")

    def __init__(self, began: float) -> None:
        self.began = began
        self.size = 0
        self.answers: list[asyncio.Future[bool]] = []


class Lane:
    """One partition, and its batches that are under way, oldest first.

    `closed` lanes take nothing: their oldest batch is late, or their producer's sequence is broken for good.
    """

    __slots__ = ("batch", "broken", "closed", "newest", "partition", "under_way")

    def __init__(self, partition: TopicPartition) -> None:
        self.partition = partition
        self.closed = False
        self.broken = False
        self.batch: Any = None  # aiokafka's, the newest, which may still grow; `newest` is ours for it
        self.newest = UnderWay(0.0)
        self.under_way: dict[UnderWay, None] = {}

    def age(self, now: float) -> float:
        """Of the oldest batch; 0 when nothing is under way."""
        oldest = next(iter(self.under_way), None)
        return 0.0 if oldest is None else now - oldest.began


def heard(sent: asyncio.Future[Any]) -> None:
    """Its batch says the same for all of its records."""
    if not sent.cancelled():
        sent.exception()
