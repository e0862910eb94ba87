"""How far back the topic proves that a webhook did not come. Pure.

What Kafka has deleted may have been there, and would be written a second time. Retention deletes only records that are older
than it; a topic that was never cut knows of everything since its first record.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Reach:
    """Of one partition: whether records of it were deleted, and when the oldest that is left was written (ms)."""

    cut: bool
    oldest: int | None


def known_since(partitions: Iterable[Reach], now: int, retention: int | None) -> int | None:
    """Milliseconds; None where there is no record at all. `retention` is the topic's in ms, None where it cannot be relied on:
    unknown, or limited in bytes as well.
    """
    whole, cuts = [], []
    for each in partitions:
        if not each.cut:
            whole += [] if each.oldest is None else [each.oldest]
            continue
        kept = now if each.oldest is None else each.oldest
        cuts.append(kept if retention is None or retention < 0 else min(kept, now - retention))
    if cuts:
        return max(cuts)
    return min(whole, default=None)
