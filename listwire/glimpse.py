"""What a record of our topics says at a glance: for people's pages and traces, never for delivery.

Bytes in, or None where they are not what the topic carries; cannot raise. The codecs in stream/ decide; this only shows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec

from listwire.dead_letters import milliseconds_in
from listwire.kafka_reader import Record
from listwire.patterns import matches
from listwire.settings.models import CohortSync

# The types that become events; every other one is filtered.
SENT: Final = frozenset({"subscribe", "unsubscribe"})
# Where an address may stand in a webhook; the first is whom it is about.
_ADDRESSES: Final = ("data[email]", "data[merges][EMAIL]", "data[new_email]", "data[old_email]")
_MOST_FIELDS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Webhook:
    """`addresses` are trimmed and lower-cased, each once."""

    kind: str
    audience: str
    fired_at: str
    addresses: tuple[str, ...]


class Change(msgspec.Struct, frozen=True):
    """A cohort change; its users stay bytes until somebody asks for them."""

    cohort_id: str
    cohort_name: str
    in_cohort: bool
    users: list[msgspec.Raw]


class User(msgspec.Struct, frozen=True):
    user_id: Any = None
    user_properties: Any = None


_change = msgspec.json.Decoder(Change)
_user = msgspec.json.Decoder(User)


def webhook(value: bytes | None) -> Webhook | None:
    if not value or b"=" not in value:
        return None
    try:
        fields = dict(parse_qsl(value.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=_MOST_FIELDS))
    except ValueError:
        return None
    found = (fields.get(name, "").strip().lower() for name in _ADDRESSES)
    return Webhook(
        fields.get("type", "").strip()[:60],
        fields.get("data[list_id]", "").strip()[:60],
        fields.get("fired_at", "").strip()[:40],
        tuple(dict.fromkeys(address for address in found if address)),
    )


def change(value: bytes | None) -> Change | None:
    try:
        return _change.decode(value or b"")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError):
        return None


def users(found: Change) -> Iterator[User]:
    """Those that are objects."""
    for raw in found.users:
        try:
            yield _user.decode(raw)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError):
            continue


def address_in(user: User, email_property: str) -> str | None:
    """Where a sync looks for the address; trimmed and lower-cased."""
    properties = user.user_properties if isinstance(user.user_properties, dict) else {}
    value = user.user_id if email_property == "user_id" else properties.get(email_property)
    return value.strip().lower() if isinstance(value, str) else None


def texts_in(user: User) -> set[str]:
    """The user id and every property that is a text, trimmed and lower-cased."""
    properties = user.user_properties if isinstance(user.user_properties, dict) else {}
    return {value.strip().lower() for value in (user.user_id, *properties.values()) if isinstance(value, str)}


def syncs_of(cohort_name: str, header: str | None, syncs: Mapping[str, CohortSync]) -> list[str]:
    """The names of the syncs that a change is for: the one its header names, or each whose patterns match."""
    named: Collection[str] = syncs if header is None else [header] if header in syncs else []
    return [name for name in named if matches(cohort_name, syncs[name].cohorts)]


def header(record: Record, name: str) -> str | None:
    value = next((value for key, value in record.headers if key == name), None)
    return None if value is None else value.decode("utf-8", "replace")


def received(record: Record) -> int:
    """Milliseconds since the epoch: when the ingress took it, else Kafka's own time; 0 where neither is known."""
    return milliseconds_in(header(record, "received_at") or "") or max(0, record.timestamp)
