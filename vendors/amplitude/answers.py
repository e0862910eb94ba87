"""What an Amplitude answer means for the events of one request. Pure: a status and a body in, a decision out.

The table is Amplitude's HTTP V2 and Batch documentation, with its official Python SDK's reading where the two are silent:
a 400 rejects the whole request, so that every event it does not name is sent again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from listwire.errors import VendorRefused, VendorUnavailable

VENDOR = "amplitude"
# Keys of a 400 that hold {field: [index of an event]}; every key of that shape counts, these have words of their own.
WORDS = {
    "events_with_invalid_fields": "invalid value in",
    "events_with_missing_fields": "missing",
    "events_with_invalid_id_lengths": "too short an id in",
}
# What a dead letter's `detail` can hold; an answer may say as much of each of a thousand events.
MOST_WORDS = 2048


@dataclass(frozen=True, slots=True)
class Accepted:
    """200: all of them, repeated `insert_id`s included."""


@dataclass(frozen=True, slots=True)
class Invalid:
    """400 naming events: index → Amplitude's words. None of the request was taken."""

    faults: Mapping[int, str]


@dataclass(frozen=True, slots=True)
class Rejected:
    """400 naming no event: something in the request is bad, halve it to find out what."""

    detail: str


@dataclass(frozen=True, slots=True)
class TooLarge:
    """413: halve, left half first."""


@dataclass(frozen=True, slots=True)
class Doubted:
    """403: a refused key, or a firewall's doubt about the content of this one request; only other requests can tell."""

    detail: str


@dataclass(frozen=True, slots=True)
class Throttled:
    """429: users (or events, where only these are named) that must wait, and those over their daily quota. Names nobody where
    the whole request came too soon.
    """

    users: frozenset[str] = frozenset()
    events: frozenset[int] = frozenset()
    over_quota_users: frozenset[str] = frozenset()
    over_quota_events: frozenset[int] = frozenset()
    detail: str = field(default="", compare=False)


Answer = Accepted | Invalid | Rejected | TooLarge | Doubted | Throttled


def accepts(status: int, body: bytes) -> bool:
    """A 200 with a page of HTML comes from somebody else."""
    return status == 200 and body.lstrip()[:1] != b"<"


def read_answer(status: int, body: bytes) -> Answer:
    """Raises `VendorUnavailable` for what may pass and `VendorRefused` for a refused key or account."""
    if accepts(status, body):
        return Accepted()
    parsed = _object(body)
    detail = _words(parsed, body)
    if status == 400:
        return _read_400(parsed, detail)
    if status == 413:
        return TooLarge()
    if status == 403:
        return Doubted(detail)
    if status == 429:
        return _read_429(parsed, detail)
    if status == 408 or status >= 500:
        # 500, 502, 504 and a 408 may have been accepted; 503 was not (Amplitude's HTTP V2 page).
        raise VendorUnavailable(VENDOR, status, detail, cause=str(status), may_have_happened=status != 503)
    if 200 <= status < 300:
        # A 200 too, where a page came with it: a proxy or a website answered, not Amplitude.
        raise VendorUnavailable(VENDOR, status, f"an answer we do not know: {detail}", cause=str(status))
    raise VendorRefused(VENDOR, status, detail)


def _read_400(parsed: Mapping[str, Any], detail: str) -> Answer:
    error = str(parsed.get("error", ""))[:MOST_WORDS]
    if error.lower().startswith(("invalid api key", "invalid request path")):
        # The path comes from our settings: no event is at fault.
        raise VendorRefused(VENDOR, 400, detail)
    faults: dict[int, str] = {}
    for key, value in parsed.items():
        if isinstance(value, dict):
            for name, indices in value.items():
                words = f"{error}: {WORDS.get(key, key)} {name}"[:MOST_WORDS]
                for index in _indices(indices):
                    before = faults.get(index)
                    faults[index] = words if before is None else f"{before}; {words}"[:MOST_WORDS]
    for index in _indices(parsed.get("silenced_events")):
        faults.setdefault(index, error or "silenced")
    return Invalid(faults) if faults else Rejected(detail)


def _read_429(parsed: Mapping[str, Any], detail: str) -> Answer:
    def ids(key: str) -> frozenset[str]:
        value = parsed.get(key)
        return frozenset(str(name) for name in value) if isinstance(value, dict) else frozenset()

    over = ids("exceeded_daily_quota_users")
    users = ids("throttled_users") - over
    events = frozenset(_indices(parsed.get("throttled_events")))
    if not users and not over and ids("exceeded_daily_quota_devices") and not ids("throttled_devices"):
        # Amplitude derives a device id from each user id, and may speak of those: the events tell whose they are. Waiting
        # would hold the partition up for a day.
        return Throttled(over_quota_events=events, detail=detail)
    return Throttled(users, events, over, detail=detail)


def _indices(value: Any) -> list[int]:
    return (
        [i for i in value if isinstance(i, int) and not isinstance(i, bool) and i >= 0]
        if isinstance(value, list)
        else []
    )


def _object(body: bytes) -> dict[str, Any]:
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return parsed if isinstance(parsed, dict) else {}


def _words(parsed: Mapping[str, Any], body: bytes) -> str:
    """Amplitude's own words, or the beginning of whatever came instead of JSON."""
    error = parsed.get("error")
    if isinstance(error, str) and error:
        missing = parsed.get("missing_field")
        return (f"{error} ({missing})" if missing else error)[:MOST_WORDS]
    return body[:200].decode("utf-8", "replace").strip() or "no body"
