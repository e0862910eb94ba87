"""Whether webhooks failed to arrive for a while: counts of quarters of an hour in, gaps out. Pure.

It says no more than it knows: between two times nothing came, for longer than Mailchimp tries, and at that time of day other
days brought something. It may have been quiet all the same. Without another day to compare with, nothing is said.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from listwire.backfill.times import GIVEN_UP

SLOT: Final = 900
DAY: Final = 86_400 // SLOT
DAYS: Final = 7
# Whole quarters without a webhook: Mailchimp gives up on one after 75 minutes.
LEAST: Final = 75 * 60 // SLOT


@dataclass(frozen=True)
class Gap:
    """Seconds since the epoch: the last quarter before it in which something came ends at `since`, the next begins at `until`;
    None while it lasts.
    """

    since: int
    until: int | None


def gaps(counts: Mapping[int, int], now: float) -> list[Gap]:
    """Oldest first. `counts`: quarter (seconds // 900) → webhooks that came in it; those that are not known are left out."""
    present = math.floor(now) // SLOT
    found = []
    heard = sorted(slot for slot, count in counts.items() if count > 0 and slot <= present)
    for before, after in itertools.zip_longest(heard, heard[1:]):
        begin, end = before + 1, present if after is None else after
        empty = range(begin, end)
        if len(empty) >= LEAST and all(slot in counts for slot in empty) and _unusual(empty, counts):
            found.append(Gap(begin * SLOT, None if after is None else after * SLOT))
    return found


def _unusual(empty: range, counts: Mapping[int, int]) -> bool:
    """Whether most other days that are known brought something at that time of day."""
    brought = silent = 0
    for days in (*range(-DAYS, 0), *range(1, DAYS + 1)):
        other = [counts.get(slot + days * DAY) for slot in empty]
        if None not in other:
            brought, silent = (brought + 1, silent) if any(other) else (brought, silent + 1)
    return brought > silent


def command(gap: Gap, source: str, now: float) -> str:
    """Begins a quarter before the gap and ends a quarter into what came after; what is there already is not written again."""
    words = f"listwire backfill --source {source} --since {_written(gap.since - SLOT)}"
    end = None if gap.until is None else gap.until + SLOT
    return words if end is None or end > now - GIVEN_UP else f"{words} --until {_written(end)}"


def _written(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M")
