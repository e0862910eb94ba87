"""Which letters a replay takes, in which order, and which it leaves alone and why. Pure: it only decides.

Order: within a partition of the source topic by offset, so that a contact's and a cohort's letters go back in the order they
came; across partitions the ones that failed first go first.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from listwire import topics
from listwire.errors import SettingsError
from listwire.letter_index import Entry

# Amplitude remembers insert_ids for 7 days; what was accepted before that and is sent again counts twice.
REMEMBERED_MS = 7 * topics.DAY_MS
_AGE = re.compile(r"(\d{1,6})\s*(s|m|min|h|d)\Z")
_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True)
class Selection:
    """Empty means all. `origins` are whole origins, or a topic, or a topic and partition; `ids` may be cut short."""

    reasons: frozenset[str] = frozenset()
    connections: frozenset[str] = frozenset()
    origins: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    since: int | None = None
    until: int | None = None

    def __contains__(self, entry: object) -> bool:
        return (
            isinstance(entry, Entry)
            and (not self.reasons or entry.reason in self.reasons)
            and (not self.connections or entry.connection in self.connections)
            and (not self.origins or any(_below(entry.origin, origin) for origin in self.origins))
            and (not self.ids or any(entry.id.startswith(prefix.lower()) for prefix in self.ids))
            and (self.since is None or entry.failed_at >= self.since)
            and (self.until is None or entry.failed_at < self.until)
        )


def _below(origin: str, wanted: str) -> bool:
    return origin == wanted or origin.startswith(wanted.rstrip("/") + "/")


def parse_moment(text: str, now: float, flag: str) -> int:
    """Milliseconds: an ISO date or time (UTC unless it says otherwise), or an age such as 90m, 24h, 7d."""
    if age := _AGE.match(text.strip()):
        return int((now - int(age[1]) * _SECONDS[age[2]]) * 1000)
    try:
        moment = datetime.fromisoformat(text.strip())
        return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
    except (ValueError, OverflowError):
        raise SettingsError(
            f"{flag} {text!r} is no time: write 2026-03-01, 2026-03-01T08:30, or an age like 24h or 7d."
        ) from None


@dataclass
class Plan:
    """`left` names each cause with its letters; `old` counts webhooks that Amplitude may count twice."""

    take: list[Entry] = field(default_factory=list)
    left: dict[str, list[Entry]] = field(default_factory=lambda: defaultdict(list))
    old: int = 0


def plan(
    entries: Iterable[Entry],
    *,
    refused: Mapping[str, str],
    begins: Mapping[int, int],
    force: bool,
    now: float,
) -> Plan:
    """`refused`: connection → why it would only fail again. `begins`: the oldest offset of each partition of the cohort topic.

    `force` takes what is refused, and cohort changes whose origin is no longer in Kafka; nothing goes to a topic that is
    not one of our two, whatever its origin says.
    """
    made = Plan()
    for entry in entries:
        place = entry.origin_place
        if place is None or place[0] not in topics.GROUPS.values():
            made.left["its origin names no topic that workers read"].append(entry)
        elif not force and entry.connection in refused:
            made.left[f"{entry.connection}: {refused[entry.connection]}"].append(entry)
        elif not force and place[0] == topics.COHORT_CHANGES and place[2] < begins.get(place[1], place[2] + 1):
            made.left["its origin is no longer in Kafka, so later changes cannot be told"].append(entry)
        else:
            made.take.append(entry)
            sent = entry.received_at or entry.failed_at
            made.old += place[0] == topics.WEBHOOKS and now * 1000 - sent > REMEMBERED_MS
    made.take = in_order(made.take)
    return made


def in_order(entries: Iterable[Entry]) -> list[Entry]:
    """Each entry's origin must be readable."""
    by_offset = sorted(entries, key=lambda entry: (entry.origin_place, entry.places[0]))
    turns: list[tuple[int, int, Entry]] = []
    latest: dict[tuple[str, int], int] = {}
    for number, entry in enumerate(by_offset):
        place = entry.origin_place
        if place is None:
            raise ValueError(entry.origin)
        # Never before an older one of its partition, even where that one failed later.
        latest[place[:2]] = max(latest.get(place[:2], 0), entry.failed_at)
        turns.append((latest[place[:2]], number, entry))
    return [entry for *_, entry in sorted(turns, key=lambda turn: turn[:2])]
