"""Cohort-change messages from users: Amplitude's own schema, cut into sizes that Mailchimp and Kafka take well. Pure.

All messages of one cohort have one key, its id: that alone keeps their order.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

import orjson

from listwire.cohorts.members import Member

# Mailchimp: at most 500 members a call. A message whose number of users is a multiple wastes none.
TAG_CALL = 500
# Kafka's own default limit for a record is 1 MiB, headers included: what fits there fits every cluster.
LARGEST = 1_000_000
USER_ID = "user_id"


@dataclass(frozen=True, slots=True)
class Message:
    value: bytes
    entered: bool
    users: int


@dataclass(frozen=True)
class Cohort:
    """`email_properties`: where the syncs that will hear the message look for the address."""

    id: str
    name: str
    email_properties: Collection[str] = ("email",)


@dataclass
class Landed:
    """Where the messages of one partition stand in it."""

    partition: int
    first: int
    last: int
    messages: int = 0


@dataclass
class Published:
    messages: int = 0
    users: int = 0
    entered: int = 0
    left: int = 0
    places: dict[int, Landed] = field(default_factory=dict)

    def count(self, message: Message) -> None:
        self.messages += 1
        self.users += message.users
        self.entered += message.users if message.entered else 0
        self.left += 0 if message.entered else message.users

    def add(self, message: Message, partition: int, offset: int) -> None:
        self.count(message)
        found = self.places.setdefault(partition, Landed(partition, offset, offset))
        found.first, found.last = min(found.first, offset), max(found.last, offset)
        found.messages += 1


def default_id(name: str) -> str:
    """The same for the same tag, in any case and with any white space around it; another for any other tag.

    So publishing a cohort again reaches the same partition, and order holds from run to run.
    """
    tag = name.strip().casefold()
    plain = unicodedata.normalize("NFKD", tag).encode("ascii", "ignore").decode()
    slug = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:48].strip("-") or "cohort"
    return f"{slug}-{hashlib.sha256(tag.encode()).hexdigest()[:8]}"


def messages(
    cohort: Cohort,
    enter: Iterable[Member],
    leave: Iterable[Member],
    *,
    run_id: str,
    computed_at: int,
    chunk: int = 1000,
    largest: int = LARGEST,
) -> Iterator[Message]:
    """First those who leave, then those who enter: whoever reads half of it has tagged nobody too many.

    At most `chunk` users each, fewer where `largest` bytes are reached. `computed_at` is in seconds since the epoch;
    `run_id` makes the messages' ids, as Amplitude's: `{run_id}::enter::0`.
    """
    for entered, members in ((False, leave), (True, enter)):
        users = (_user(cohort, member) for member in members)
        for number, part in enumerate(_cut(users, chunk, largest - _frame(cohort))):
            message_id = f"{run_id}::{'enter' if entered else 'leave'}::{number}"
            yield Message(_value(cohort, entered, message_id, computed_at, part), entered, len(part))


def pairs(
    cohort: Cohort, enter: Iterable[Member], leave: Iterable[Member], *, run_id: str, computed_at: int
) -> Iterator[Sequence[Message]]:
    """500 who leave beside 500 who enter, as long as there are both: Mailchimp takes 500 of each in one call.

    A pair lies together in the topic (`publish_together`), so wherever the worker cuts, it makes max(enter, leave) / 500 calls.
    """
    made: dict[bool, list[Message]] = {True: [], False: []}
    for message in messages(cohort, enter, leave, run_id=run_id, computed_at=computed_at, chunk=TAG_CALL):
        made[message.entered].append(message)
    for pair in zip_longest(made[False], made[True]):
        yield [message for message in pair if message is not None]


def _cut(users: Iterable[bytes], chunk: int, room: int) -> Iterator[list[bytes]]:
    found: list[bytes] = []
    size = 0
    for user in users:
        if found and (len(found) >= chunk or size + len(user) + 1 > room):
            yield found
            found, size = [], 0
        found.append(user)
        size += len(user) + 1
    if found:
        yield found


def _user(cohort: Cohort, member: Member) -> bytes:
    where = [name for name in cohort.email_properties if name != USER_ID]
    user: dict[str, Any] = {}
    if USER_ID in cohort.email_properties or member.user_id is None:
        user[USER_ID] = member.address
    else:
        user[USER_ID] = member.user_id
    if where:
        user["user_properties"] = dict.fromkeys(where, member.address)
    return orjson.dumps(user)


def _value(cohort: Cohort, entered: bool, message_id: str, computed_at: int, users: list[bytes]) -> bytes:
    return orjson.dumps(
        {
            "cohort_name": cohort.name,
            "cohort_id": cohort.id,
            "in_cohort": entered,
            "computed_time": str(computed_at),
            "message_id": message_id,
            "users": [orjson.Fragment(user) for user in users],
        }
    )


def _frame(cohort: Cohort) -> int:
    """What a message takes beside its users, at most."""
    return len(_value(cohort, False, "x" * 80, 10**12, []))
