"""Moments, as the API writes them and as webhooks do: whole seconds since the epoch on our side. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime, tzinfo
from typing import Final
from zoneinfo import ZoneInfo

# Mailchimp retries a webhook for 75 minutes; five more for the last attempt and for clocks that differ.
GIVEN_UP: Final = 80 * 60
_FIRED_AT: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}")


def instant(text: str) -> int | None:
    """An ISO 8601 time, UTC where it names no zone; None where it is none, is empty, or stands for none (1970). Parts of a second are cut off, as
    Mailchimp does.
    """
    try:
        at = datetime.fromisoformat(text.strip())
        found = int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError):
        return None
    return found if found > 0 else None


def iso(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat()


class Zone:
    """The zone of a source's `fired_at`, which names none. Read exactly as the worker's codec reads it."""

    def __init__(self, name: str) -> None:
        self._zone: tzinfo = UTC if name == "UTC" else ZoneInfo(name)

    def fired_at(self, at: int) -> str:
        """`2009-03-26 21:35:57`."""
        return datetime.fromtimestamp(at, self._zone).replace(tzinfo=None).isoformat(" ", "seconds")

    def read(self, fired_at: str) -> int | None:
        if not _FIRED_AT.fullmatch(fired_at):
            return None
        try:
            return int(datetime.fromisoformat(fired_at).replace(tzinfo=self._zone).timestamp())
        except (ValueError, OverflowError):
            return None

    def as_fired(self, at: int) -> int:
        """What a webhook of that moment is read as: in the hour that a clock repeats in autumn, an hour less."""
        read = self.read(self.fired_at(at))
        return at if read is None else read
