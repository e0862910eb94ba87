"""When a schedule is due. Pure: seconds since the epoch in, seconds since the epoch out."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from cronsim import CronSim


def due_times(cron: str, zone: str, after: float) -> Iterator[float]:
    """The times later than `after`, in order, without end."""
    for moment in CronSim(cron, datetime.fromtimestamp(int(after), ZoneInfo(zone))):
        # An hour that a zone passes twice shows up as one.
        if (at := moment.astimezone(UTC).timestamp()) > after:
            yield at


def next_due(cron: str, zone: str, after: float) -> float:
    return next(due_times(cron, zone, after))


def count_due(cron: str, zone: str, after: float, until: float) -> int:
    """How often it comes in between."""
    found = 0
    for at in due_times(cron, zone, after):
        if at >= until:
            break
        found += 1
    return found
