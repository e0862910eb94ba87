"""A cohort change: Amplitude's cohort-webhook message, read strictly, and written back with only some of its users.

Pure; returns a `CohortChange` or a `Rejection`, never raises whatever the bytes. Keys it does not know are kept as they are, so
that a partial dead letter is the publisher's own message with fewer users. The schema is docs/cohort-change.schema.json.

A message may hold 60 000 users: reading one finds where each user stands, some 2 ms a MiB, and builds none of them.
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


class CohortChange:
    """Amplitude: `in_cohort` says for all users of the message whether they entered or left. `computed_time` and `message_id`
    may come in any form; order is by offset, so nothing of ours reads them.
    """

    __slots__ = ("_raw_users", "_rest", "cohort_id", "cohort_name", "entered", "value")

    def __init__(
        self,
        value: bytes,
        *,
        cohort_id: str,
        cohort_name: str,
        entered: bool,
        raw_users: Sequence[msgspec.Raw],
        rest: Mapping[str, msgspec.Raw],
    ) -> None:
        self.value = value
        self.cohort_id = cohort_id
        self.cohort_name = cohort_name
        self.entered = entered
        self._raw_users = raw_users
        self._rest = rest

    def __len__(self) -> int:
        return len(self._raw_users)

    def user(self, index: int) -> User | None:
        """None where the publisher's user at that place is none that the schema allows."""
        try:
            return _user.decode(self._raw_users[index])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError):
            return None

    @property
    def users(self) -> list[User | None]:
        """All of them, built at once."""
        return [self.user(index) for index in range(len(self))]

    def only(self, indices: Collection[int]) -> bytes:
        """The same message with only these users, in their order, each byte for byte; the message itself where that is all."""
        chosen = sorted(set(indices))
        if len(chosen) == len(self):
            return self.value
        kept = b"[" + b",".join([self._raw_users[index] for index in chosen]) + b"]"
        return _encode({**self._rest, "users": msgspec.Raw(kept)})


_user = msgspec.json.Decoder(User)
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_string = msgspec.json.Decoder(str)
_boolean = msgspec.json.Decoder(bool)
_list = msgspec.json.Decoder(list[msgspec.Raw])
_encode = msgspec.json.encode
_FIELDS: Final[tuple[tuple[str, Any], ...]] = (
    ("cohort_id", _string),
    ("cohort_name", _string),
    ("in_cohort", _boolean),
    ("users", _list),
)


def decode(value: bytes | None) -> CohortChange | Rejection:
    """Of equal keys the last one counts, here as in the ingress."""
    if not value:
        return Rejection(Reason.UNDECODABLE, "the record has no value")
    try:
        members = _members.decode(value)
    except msgspec.ValidationError as fault:
        return Rejection(Reason.UNDECODABLE, f"not a JSON object: {str(fault)[:200]}")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as fault:
        return Rejection(Reason.UNDECODABLE, f"not JSON: {str(fault)[:200]}")
    found: list[Any] = []
    for name, decoder in _FIELDS:
        raw = members.get(name)
        if raw is None:
            return Rejection(Reason.MISSING_FIELD, f"{name} is missing")
        try:
            found.append(decoder.decode(raw))
        except msgspec.ValidationError as fault:
            return Rejection(Reason.INVALID_FIELD, f"{name}: {str(fault)[:200]}")
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as fault:
            return Rejection(Reason.UNDECODABLE, f"not JSON: {name}: {str(fault)[:200]}")
    cohort_id, cohort_name, entered, raw_users = found
    for name, text in (("cohort_id", cohort_id), ("cohort_name", cohort_name)):
        if not text.strip():
            return Rejection(Reason.INVALID_FIELD, f"{name} is empty")
    return CohortChange(
        value, cohort_id=cohort_id, cohort_name=cohort_name, entered=entered, raw_users=raw_users, rest=members
    )


def address_of(user: User, email_property: str) -> str | None:
    """Trimmed and lower-cased; None where the property holds nothing that could be an address."""
    value: Any = user.user_id if email_property == USER_ID else (user.user_properties or {}).get(email_property)
    if not isinstance(value, str):
        return None
    address = value.strip().lower()
    return address if len(address) <= LONGEST_ADDRESS and ADDRESS.match(address) else None
