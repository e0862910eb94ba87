"""A cohort change: Amplitude's cohort-webhook message, read strictly, and written back with only some of its users.

Pure; returns a `CohortChange` or a `Rejection`, never raises whatever the bytes. Keys it does not know are kept as they are, so
that a partial dead letter is the publisher's own message with fewer users. The schema is docs/cohort-change.schema.json.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import msgspec

from listwire.records import Reason, Rejection

# Mailchimp's tags and Amplitude's cohorts agree on names below 88 characters (code points).
NAME_LIMIT: Final = 88
# An address we would send: one @, something on both sides, no white space or control character, at most 254 long (RFC 5321).
ADDRESS: Final = re.compile(r"[^@\s\x00-\x1f\x7f,;<>]+@[^@\s\x00-\x1f\x7f,;<>]+\Z")
LONGEST_ADDRESS: Final = 254
USER_ID: Final = "user_id"


class User(msgspec.Struct, frozen=True):
    user_id: str | int | None = None
    user_properties: dict[str, Any] | None = None


class _Message(msgspec.Struct, frozen=True):
    """Amplitude: `in_cohort` says for all users of the message whether they entered or left. `computed_time` and `message_id`
    may come in any form; order is by offset, so nothing of ours reads them.
    """

    cohort_id: str
    cohort_name: str
    in_cohort: bool
    users: list[msgspec.Raw]


class CohortChange:
    """`users[i]` is None where the publisher's i-th user is no object."""

    __slots__ = ("cohort_id", "cohort_name", "entered", "users", "value")

    def __init__(self, message: _Message, users: Sequence[User | None], value: bytes) -> None:
        self.cohort_id = message.cohort_id
        self.cohort_name = message.cohort_name
        self.entered = message.in_cohort
        self.users = users
        self.value = value


_message = msgspec.json.Decoder(_Message)
_user = msgspec.json.Decoder(User)
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_list = msgspec.json.Decoder(list[msgspec.Raw])
_encode = msgspec.json.encode
_FIELD = re.compile(r"`\$\.?([^`]*)`")
_MISSING = re.compile(r"missing required field `([^`]*)`")


def decode(value: bytes | None) -> CohortChange | Rejection:
    if not value:
        return Rejection(Reason.UNDECODABLE, "the record has no value")
    try:
        message = _message.decode(value)
    except msgspec.ValidationError as fault:
        return _rejection(str(fault))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as fault:
        return Rejection(Reason.UNDECODABLE, f"not JSON: {str(fault)[:200]}")
    for name in ("cohort_id", "cohort_name"):
        if not getattr(message, name).strip():
            return Rejection(Reason.INVALID_FIELD, f"{name} is empty")
    return CohortChange(message, [_read_user(raw) for raw in message.users], value)


def _read_user(raw: msgspec.Raw) -> User | None:
    try:
        return _user.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError):
        return None


def _rejection(words: str) -> Rejection:
    if missing := _MISSING.search(words):
        return Rejection(Reason.MISSING_FIELD, f"{missing[1]} is missing")
    field = _FIELD.search(words)
    if field is None or not field[1]:
        return Rejection(Reason.UNDECODABLE, f"not a JSON object: {words[:200]}")
    return Rejection(Reason.INVALID_FIELD, f"{field[1]}: {words.split(' - at ', maxsplit=1)[0][:200]}")


def address_of(user: User, email_property: str) -> str | None:
    """Trimmed and lower-cased; None where the property holds nothing that could be an address."""
    value: Any = user.user_id if email_property == USER_ID else (user.user_properties or {}).get(email_property)
    if not isinstance(value, str):
        return None
    address = value.strip().lower()
    return address if len(address) <= LONGEST_ADDRESS and ADDRESS.match(address) else None


def only(value: bytes, indices: Collection[int]) -> bytes:
    """The same message with only these users, each byte for byte; the message itself where that is all of them."""
    members: Mapping[str, msgspec.Raw] = _members.decode(value)
    users = _list.decode(members["users"])
    if len(indices) == len(users):
        return value
    chosen = set(indices)
    kept = [user for i, user in enumerate(users) if i in chosen]
    return _encode({**members, "users": kept})
