"""What the sink took, looked at after the run: is each event there, once, and is each contact's order kept?

Latencies come from the same look: an event's `web_id` is its record's number, whose time of production the caller knows.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

import orjson

HEAD = struct.Struct("<dI")


@dataclass
class Found:
    """missing: events expected and not seen. repeated: seen again with the same insert_id. overtaken: events that first
    came after a later one of the same contact.
    """

    events: int = 0
    requests: int = 0
    missing: int = 0
    repeated: int = 0
    overtaken: int = 0
    arrivals: dict[int, float] = field(default_factory=dict)

    @property
    def words(self) -> str:
        faults = [f"{count} {name}" for name in ("missing", "overtaken", "repeated") if (count := getattr(self, name))]
        return ", ".join(faults) or "all, in order"


def look(bodies: bytes, expected: set[int]) -> Found:
    """`expected`: numbers of the records whose events must have come."""
    found = Found()
    seen: set[str] = set()
    newest: dict[str, int] = {}
    at = 0
    while at < len(bodies):
        arrived, size = HEAD.unpack_from(bodies, at)
        at += HEAD.size
        events = orjson.loads(memoryview(bodies)[at : at + size])["events"]
        at += size
        found.requests += 1
        found.events += len(events)
        for event in events:
            if event["insert_id"] in seen:
                found.repeated += 1
                continue
            seen.add(event["insert_id"])
            number = int(event["event_properties"]["web_id"])
            found.arrivals[number] = arrived
            if newest.get(event["user_id"], -1) > number:
                found.overtaken += 1
            else:
                newest[event["user_id"]] = number
    found.missing = len(expected - found.arrivals.keys())
    return found


def latencies(arrivals: Mapping[int, float], produced: Mapping[int, float], skip: float) -> list[float]:
    """Milliseconds from production to arrival, sorted, without the first `skip` seconds of production."""
    begin = min(produced.values()) + skip
    return sorted(
        (arrivals[number] - at) * 1000 for number, at in produced.items() if at >= begin and number in arrivals
    )


def percentile(values: list[float], share: float) -> float:
    return values[min(len(values) - 1, int(len(values) * share))] if values else float("nan")
