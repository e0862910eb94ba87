"""A Mailchimp audience webhook to an Amplitude event. Pure; returns an `Event`, the type that was filtered, or a `Rejection`.

Checked in this order, so that a reason always means the same: type, filter, list_id, audience, fired_at, address, user id.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Any, Final
from zoneinfo import ZoneInfo

import orjson

from listwire.records import Reason, Rejection
from stream.codecs.form import BadText, split, text

KEPT: Final = {"subscribe": "[Mailchimp] subscribe", "unsubscribe": "[Mailchimp] unsubscribe"}
# The other types that Mailchimp has, and how their bodies begin.
OTHERS: Final = frozenset({"profile", "upemail", "cleaned", "campaign"})
DROPPED: Final = tuple(f"type={kind}&".encode() for kind in OTHERS)
# A later key that may spell `type`, which would be the one that counts.
PERHAPS_TYPE: Final = re.compile(rb"&[t%]")
# Amplitude: strings are cut at 1024 characters; ids below 5 characters, and these, are refused.
MAX_TEXT: Final = 1024
SHORTEST_ID: Final = 5
BANNED_IDS: Final = frozenset({
    "anonymous", "nil", "none", "null", "n/a", "na", "undefined", "unknown", "", "00000000-0000-0000-0000-000000000000", "{}", "lmy47d", "0", "-1",
})  # fmt: skip
# Event property → field. Mailchimp may leave out any of these (real payloads lack even `action`).
COPIED: Final = (
    ("web_id", "data[web_id]"), ("email_type", "data[email_type]"), ("action", "data[action]"),
    ("reason", "data[reason]"), ("campaign_id", "data[campaign_id]"),
)  # fmt: skip
# `datetime.fromisoformat` takes many shapes, some with a zone of their own; Mailchimp has one.
FIRED_AT: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}")
MOST_MOMENTS: Final = 1024
# A comma inside a group's name is escaped by a backslash.
COMMA: Final = re.compile(r"(?<!\\),")

UserId = Callable[[str, dict[str, str]], str | None]


class Event:
    """`body` is the event as JSON; `contact` is what keeps its order; `settled` is the courier's mark."""

    __slots__ = ("body", "contact", "record", "settled", "user_id")

    def __init__(self, body: bytes, contact: bytes, user_id: str) -> None:
        self.body = body
        self.contact = contact
        self.user_id = user_id
        self.record: Any = None
        self.settled = False


@dataclass(frozen=True)
class Filtered:
    why: str


@dataclass(frozen=True)
class Webhooks:
    """How the webhooks of one source are read. `policies`: the first that yields a usable user id wins."""

    source: str
    audience: str
    policies: Sequence[str] = ("email",)
    timezone: str = "UTC"
    merge_properties: Sequence[str] = ()

    def reader(self) -> Reader:
        return Reader(self)


class Reader:
    """Callable: bytes in; `Event`, `Filtered` or `Rejection` out."""

    def __init__(self, webhooks: Webhooks) -> None:
        self.webhooks = webhooks
        self.zone: tzinfo = UTC if webhooks.timezone == "UTC" else ZoneInfo(webhooks.timezone)
        self.user_ids: list[UserId] = [_policy(name) for name in webhooks.policies]
        self._filtered: dict[str, Filtered] = {}
        self._moments: dict[str, tuple[str, int | None]] = {}

    def __call__(self, value: bytes | None) -> Event | Filtered | Rejection:
        if not value or b"=" not in value:
            return Rejection(Reason.UNDECODABLE, "the body is no form: it has no key=value")
        if value.startswith(DROPPED) and not PERHAPS_TYPE.search(value):
            # The first `type` is the last: nothing else need be read.
            return self._filter(value[len(b"type=") : value.index(b"&")].decode())
        fields = split(value)
        try:
            return self._read(fields)
        except BadText:
            return Rejection(Reason.UNDECODABLE, "a field is not UTF-8 text")

    def _read(self, fields: dict[str, str]) -> Event | Filtered | Rejection:
        kind = _trimmed(fields, "type")
        if not kind:
            return Rejection(Reason.MISSING_FIELD, "type is missing")
        event_type = KEPT.get(kind)
        if event_type is None:
            return self._filter(kind)
        audience = _trimmed(fields, "data[list_id]")
        if not audience:
            return Rejection(Reason.MISSING_FIELD, "data[list_id] is missing")
        if audience != self.webhooks.audience:
            return Rejection(
                Reason.WRONG_AUDIENCE,
                f"data[list_id] is {audience[:100]!r}; the source's audience is {self.webhooks.audience!r}",
            )
        fired_at, when = self._moment(fields.get("fired_at", ""))
        if not fired_at:
            return Rejection(Reason.MISSING_FIELD, "fired_at is missing")
        if when is None:
            return Rejection(Reason.INVALID_FIELD, f"fired_at is {fired_at[:100]!r}, not like 2020-09-07 21:31:09")
        address = (_trimmed(fields, "data[email]") or _trimmed(fields, "data[merges][EMAIL]")).lower()
        if not address:
            return Rejection(Reason.MISSING_FIELD, "data[email] is missing")
        if "@" not in address:
            return Rejection(Reason.INVALID_FIELD, "data[email] has no @")
        for policy in self.user_ids:
            if (user_id := policy(address, fields)) is not None:
                break
        else:
            return Rejection(
                Reason.INVALID_FIELD, f"no user id that Amplitude takes from {', '.join(self.webhooks.policies)}"
            )
        contact = _trimmed(fields, "data[id]") or address
        event = {
            "event_type": event_type,
            "user_id": user_id,
            "time": when,
            "insert_id": insert_id(audience, kind, contact, fired_at),
            "event_properties": self._properties(fields, audience, contact, fired_at),
        }
        return Event(orjson.dumps(event), contact.encode(), user_id)

    def _filter(self, kind: str) -> Filtered:
        """Anybody may send any type, so only Mailchimp's own become labels of a metric."""
        known = kind if kind in OTHERS else "other"
        return self._filtered.setdefault(known, Filtered(known))

    def _moment(self, raw: str) -> tuple[str, int | None]:
        """`fired_at` as text and in milliseconds. Webhooks come in bursts of one second, so the last ones are remembered."""
        known = self._moments.get(raw)
        if known is None:
            fired_at = text(raw).strip()
            known = fired_at, self._milliseconds(fired_at)
            if len(self._moments) >= MOST_MOMENTS:
                self._moments.clear()
            if len(raw) <= 64:
                self._moments[raw] = known
        return known

    def _milliseconds(self, fired_at: str) -> int | None:
        if not FIRED_AT.fullmatch(fired_at):
            return None
        try:
            if self.zone is UTC:
                at = datetime.fromisoformat(fired_at + "+00:00")  # a fifth of what `replace` costs
            else:
                at = datetime.fromisoformat(fired_at).replace(tzinfo=self.zone)
            when = int(at.timestamp()) * 1000
        except (ValueError, OverflowError):
            return None
        return when if when >= 0 else None

    def _properties(self, fields: dict[str, str], audience: str, contact: str, fired_at: str) -> dict[str, Any]:
        found: dict[str, Any] = {
            "audience_id": audience,
            "source": self.webhooks.source,
            "contact_id": contact[:MAX_TEXT],
            "fired_at": fired_at,
        }
        for name, field in COPIED:
            if (raw := fields.get(field)) and (value := text(raw)):
                found[name] = value[:MAX_TEXT]
        if (raw := fields.get("data[merges][INTERESTS]")) and (groups := interests(text(raw))):
            found["interests"] = groups
        if self.webhooks.merge_properties and (merges := self._merges(fields)):
            found["merge_fields"] = merges
        return found

    def _merges(self, fields: dict[str, str]) -> dict[str, Any]:
        """Allowed merge fields; a nested one (ADDRESS) becomes an object of its parts."""
        found: dict[str, Any] = {}
        for tag in self.webhooks.merge_properties:
            prefix = f"data[merges][{tag}]"
            if value := text(fields.get(prefix, "")):
                found[tag] = value[:MAX_TEXT]
            parts = {
                name[len(prefix) + 1 : -1]: text(raw)[:MAX_TEXT]
                for name, raw in fields.items()
                if name.startswith(prefix + "[") and name.endswith("]") and raw
            }
            if parts:
                found[tag] = parts
        return found


def _trimmed(fields: dict[str, str], name: str) -> str:
    return text(fields.get(name, "")).strip()


def insert_id(audience: str, kind: str, contact: str, fired_at: str) -> str:
    """The same for every retry of one webhook. Each part is preceded by its length, so that no two joins are alike."""
    parts = f"{len(audience)}:{audience}{len(kind)}:{kind}{len(contact)}:{contact}{len(fired_at)}:{fired_at}"
    return hashlib.sha256(parts.encode("utf-8", "surrogatepass")).hexdigest()


def interests(raw: str) -> list[str]:
    """`Group1,Group2`, with or without a space."""
    if "\\" in raw:
        return [name.replace("\\,", ",").strip()[:MAX_TEXT] for name in COMMA.split(raw) if name.strip()]
    return [name[:MAX_TEXT] for part in raw.split(",") if (name := part.strip())]


def usable(user_id: str) -> bool:
    return SHORTEST_ID <= len(user_id) <= MAX_TEXT and user_id.lower() not in BANNED_IDS


def _policy(name: str) -> UserId:
    if name.startswith("merge:"):
        field = f"data[merges][{name.removeprefix('merge:')}]"

        def merge(_address: str, fields: dict[str, str]) -> str | None:
            value = _trimmed(fields, field)
            return value if usable(value) else None

        return merge
    if name == "email":
        return lambda address, _fields: address if usable(address) else None
    algorithm = {"email_sha256": hashlib.sha256, "email_md5": hashlib.md5}[name]
    return lambda address, _fields: algorithm(address.encode()).hexdigest()
