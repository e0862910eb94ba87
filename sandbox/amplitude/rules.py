"""What Amplitude's ingestion API accepts and in which words it refuses: pure functions from bytes to a verdict.

Sources: Amplitude's HTTP V2, Batch Event Upload and Identify API pages, its SDKs, and issue threads that quote live
answers. Where the pages are silent this module takes the stricter reading, and says so. It must never keep anything
between two calls: who was throttled, which key is known and what was seen before is not its business.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, Literal

import orjson

MAX_STRING: Final = 1024  # "All string values … have a character limit of 1024 characters"
MAX_DEPTH: Final = 40  # "Object depth may not exceed 40 layers"
MIN_ID_LENGTH: Final = 5  # "strings with a length of 5 characters or more"

# HTTP V2, "Invalid IDs that result in a 400 error". Compared without case: a live "Anonymous" was refused too.
BANNED_IDS: Final = frozenset(
    {
        "anonymous", "nil", "none", "null", "n/a", "na", "undefined", "unknown", "", '""',
        "00000000-0000-0000-0000-000000000000", "{}", "lmy47d", "0", "-1",
    }
)  # fmt: skip

# Amplitude's own event names. The pages call them reserved without naming an answer; here they are invalid.
RESERVED_EVENTS: Final = frozenset(
    f"[Amplitude] {name}"
    for name in ("Start Session", "End Session", "Revenue", "Revenue (Verified)", "Revenue (Unverified)", "Merged User")
)

# "User property operations are supported when event_type is $identify"; $clearAll is what the SDKs send.
OPERATORS: Final = frozenset(
    {"$set", "$setOnce", "$add", "$append", "$prepend", "$unset", "$preInsert", "$postInsert", "$remove", "$clearAll"}
)
IDENTIFYING_EVENTS: Final = frozenset({"$identify", "$groupidentify"})

_IDS: Final = frozenset({"user_id", "device_id"})
_OBJECTS: Final = frozenset(
    {"event_properties", "user_properties", "groups", "group_properties", "plan", "ingestion_metadata"}
)
_INTEGERS: Final = frozenset({"event_id", "session_id", "quantity"})
_NUMBERS: Final = frozenset({"price", "revenue", "location_lat", "location_lng"})
_BOOLEANS: Final = frozenset({"$skip_user_properties_sync"})
_STRINGS: Final = frozenset(
    {
        "insert_id", "app_version", "platform", "os_name", "os_version", "device_brand", "device_manufacturer", "device_model",
        "carrier", "country", "region", "city", "dma", "language", "productId", "revenueType", "currency", "ip", "idfa", "idfv",
        "adid", "android_id", "partner_id", "library", "user_agent", "version_name", "paying", "start_version",
    }
)  # fmt: skip

Kind = Literal["missing", "invalid", "short"]
_MAPS: Final[dict[Kind, str]] = {
    "missing": "events_with_missing_fields",
    "invalid": "events_with_invalid_fields",
    "short": "events_with_invalid_id_lengths",
}
_ERRORS: Final[dict[Kind, str]] = {
    "missing": "Request missing required field",
    "invalid": "Invalid field values on some events",
    "short": "Invalid id length for user_id or device_id",
}


@dataclass(slots=True)
class Limits:
    """One endpoint's limits; a test may tighten them. `max_bytes` and `max_events` are the largest still accepted.

    `eps` events per second and user or device, averaged over `eps_window` seconds, are enforced only with `limit_rate`.
    With `first_index_only` the maps of a 400 name the first bad event of each field, otherwise all. `short_ids`:
    a live HTTP V2 refuses an event with one short id ("refuse"); Batch drops that id and refuses only an event
    that has no other ("remove").
    """

    max_bytes: int
    max_events: int
    first_index_only: bool
    short_ids: Literal["refuse", "remove"]
    eps: int
    eps_window: float = 30.0
    limit_rate: bool = False


def http_v2_limits() -> Limits:
    """HTTP V2: "request sizes under 1 MB with fewer than 2000 events", 30 events a second and user or device."""
    return Limits(max_bytes=999_999, max_events=1999, first_index_only=True, short_ids="refuse", eps=30)


def batch_limits() -> Limits:
    """Batch: "must not exceed 20MB", "the limit per batch is 2000 events", 1000 EPS averaged over 30 seconds."""
    return Limits(max_bytes=20_000_000, max_events=2000, first_index_only=False, short_ids="remove", eps=1000)


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error answer. `text` stands in for `body` where the API answers plain words (Identify)."""

    status: int
    body: dict[str, Any] = field(default_factory=dict)
    text: str = ""


@dataclass(frozen=True, slots=True)
class Upload:
    """A readable request: not yet known to hold good events. `size` is the body's, decompressed."""

    api_key: str
    events: list[Any]
    min_id_length: int
    size: int


def refuse(status: int, error: str, **more: Any) -> Refusal:
    return Refusal(status, {"code": status, "error": error, **more})


INVALID_PATH: Final = refuse(400, "Invalid request path")
MISSING_BODY: Final = refuse(400, "Missing request body")
INVALID_JSON: Final = refuse(400, "Invalid JSON request body")
INVALID_EVENT: Final = refuse(400, "Invalid event JSON")
TOO_LARGE: Final = refuse(413, "Payload too large")
FORBIDDEN: Final = refuse(403, "Forbidden")
MISSING_IDENTIFICATION: Final = Refusal(400, text="missing_event")  # Identify: "missing or incorrectly formatted"


def invalid_api_key(api_key: str) -> Refusal:
    """The live answer repeats the key; Amplitude's SDKs test for the prefix "Invalid API key:"."""
    return refuse(400, f"Invalid API key: {api_key}")


def read_upload(body: bytes, limits: Limits) -> Upload | Refusal:
    """The body of HTTP V2 or Batch, up to but without its events: size, JSON, required request fields, event count."""
    if not body:
        return MISSING_BODY
    if len(body) > limits.max_bytes:
        return TOO_LARGE
    try:
        request = orjson.loads(body)
    except orjson.JSONDecodeError:
        return INVALID_JSON
    if type(request) is not dict:
        return INVALID_JSON
    api_key, events, options = request.get("api_key"), request.get("events"), request.get("options")
    if type(api_key) is not str or not api_key:
        return refuse(400, _ERRORS["missing"], missing_field="api_key")
    if type(events) is not list or not events:
        return refuse(400, _ERRORS["missing"], missing_field="events")
    if len(events) > limits.max_events:
        return TOO_LARGE
    if options is None:
        return Upload(api_key, events, MIN_ID_LENGTH, len(body))
    shortest = options.get("min_id_length", MIN_ID_LENGTH) if type(options) is dict else None
    if type(shortest) is not int or shortest < 1:
        return INVALID_JSON
    return Upload(api_key, events, shortest, len(body))


def read_identify(api_key: str | None, identification: str | None) -> Upload | Refusal:
    """Identify's two form fields. Each identification becomes a `$identify` event, so that one set of rules holds."""
    if not api_key:
        return Refusal(400, text="missing_api_key")
    try:
        given = orjson.loads(identification or "")
    except orjson.JSONDecodeError:
        return MISSING_IDENTIFICATION
    entries = given if type(given) is list else [given]
    if not entries or any(type(entry) is not dict for entry in entries):
        return MISSING_IDENTIFICATION
    events = [{**entry, "event_type": "$identify"} for entry in entries]
    return Upload(api_key, events, MIN_ID_LENGTH, len(identification or ""))


def check_events(events: list[Any], *, min_id_length: int, limits: Limits) -> Refusal | None:
    """None when every event is good; else the 400 that refuses them all. A short id that may be removed is removed
    from its event here, in place ("the ID value is removed from the event").
    """
    found: dict[tuple[Kind, str], list[int]] = {}
    for index, event in enumerate(events):
        if type(event) is not dict:
            return INVALID_EVENT
        for kind, name in problems(event, min_id_length=min_id_length, remove_short=limits.short_ids == "remove"):
            found.setdefault((kind, name), []).append(index)
    if not found:
        return None
    first: Kind = next(kind for kind in _ERRORS if any(kind == seen for seen, _ in found))
    maps: dict[str, dict[str, list[int]]] = {}
    for (kind, name), indexes in found.items():
        maps.setdefault(_MAPS[kind], {})[name] = indexes[:1] if limits.first_index_only else indexes
    return refuse(400, _ERRORS[first], **maps)


def problems(
    event: dict[str, Any], *, min_id_length: int = MIN_ID_LENGTH, remove_short: bool = False
) -> list[tuple[Kind, str]]:
    """Every fault of one event, as (kind, field). Unknown fields are ignored, as Amplitude does; null counts as absent."""
    found: list[tuple[Kind, str]] = []
    short: list[str] = []
    known = 0
    event_type = event.get("event_type")
    for name, value in event.items():
        if value is None:
            continue
        if name in _IDS:
            if type(value) is not str or len(value) > MAX_STRING or value.lower() in BANNED_IDS:
                found.append(("invalid", name))
                known += 1
            elif len(value) < min_id_length:
                short.append(name)
            else:
                known += 1
        elif not _fits(name, value, event_type):
            found.append(("invalid", name))
    if not event_type and ("invalid", "event_type") not in found:
        found.append(("missing", "event_type"))
    if short and remove_short and known:
        for name in short:
            del event[name]
    else:
        found.extend(("short", name) for name in short)
    if not known and not short:
        found.append(("missing", "user_id"))
    return found


def _fits(name: str, value: Any, event_type: Any) -> bool:
    kind = type(value)
    if name == "event_properties":
        return kind is dict and shallow(value, MAX_DEPTH)
    if name == "time":  # "You must send the time parameter … as millisecond since epoch. Any other format … 400"
        return kind is int and 0 <= value < 2**63
    if name == "event_type":
        return kind is str and len(value) <= MAX_STRING and value not in RESERVED_EVENTS
    if name in _STRINGS:
        return kind is str and len(value) <= MAX_STRING
    if name in _OBJECTS:
        return (
            kind is dict
            and shallow(value, MAX_DEPTH)
            and (name not in {"user_properties", "group_properties"} or _operates(value, event_type))
        )
    if name in _INTEGERS:
        return kind is int
    if name in _NUMBERS:
        return kind is int or kind is float
    return name not in _BOOLEANS or kind is bool


def _operates(properties: dict[str, Any], event_type: Any) -> bool:
    """Operators only with an identifying event, and never beside plain keys."""
    used = sum(name in OPERATORS for name in properties)
    if not used:
        return True
    return event_type in IDENTIFYING_EVENTS and used == len(properties)


def shallow(value: Any, depth: int) -> bool:
    """True when `value` nests at most `depth` objects or arrays and no string in it is longer than Amplitude takes."""
    if not depth:
        return False
    for inner in value.values() if type(value) is dict else value:
        kind = type(inner)
        if kind is str:
            if len(inner) > MAX_STRING:
                return False
        elif (kind is dict or kind is list) and not shallow(inner, depth - 1):
            return False
    return True
