"""The records that everybody is measured with: Mailchimp's webhook forms, the same for each run of one number.

A form is what Mailchimp sends, some 450 bytes. Seven in ten are subscribe or unsubscribe; the others every reader must
throw away. `data[web_id]` is the record's number: with it the sink's events can be put in order and timed afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

SOURCE = "newsletter"
AUDIENCE = "a6b5da1054"
API_KEY = "0123456789abcdef0123456789abcdef"
SECRET = "s" * 32
PARTITIONS = 4
# Some thirty events a contact at 200 000 records: enough that a broken order shows.
CONTACTS = 5_003

TYPES = ("subscribe", "unsubscribe", "subscribe", "profile", "unsubscribe", "subscribe", "upemail", "unsubscribe", "subscribe", "cleaned")  # fmt: skip
KEPT = frozenset({"subscribe", "unsubscribe"})
FIRST = ("Josh", "Anna-Lena", "Zoë", "Mehmet", "Ольга", "Maria José", "Li", "O'Brien")
LAST = ("Smith", "Núñez", "van der Berg", "Müller", "Иванова", "Kowalczyk", "Wang", "Sánchez Ruiz")
INTERESTS = ("", "Weekly,Offers", "Weekly", "Events, Books", "")
BEGIN = datetime(2026, 10, 22, 13, 10, 40, tzinfo=UTC)

Headers = list[tuple[str, bytes]]


def kind(number: int) -> str:
    """A contact's own events change type, since 10 and CONTACTS have no common divisor."""
    return TYPES[number % 10]


def kept(number: int) -> bool:
    return kind(number) in KEPT


def contact(number: int) -> str:
    return f"{number % CONTACTS * 104_729 + 17:010x}"


def address(number: int) -> str:
    return f"josh.smith.{number % CONTACTS}@mail{number % CONTACTS % 7}.example.com"


def key(number: int) -> bytes:
    return f"{SOURCE}:{contact(number)}".encode()


def form(number: int) -> bytes:
    who = number % CONTACTS
    of_kind = kind(number)
    pairs = [("type", of_kind), ("fired_at", f"{BEGIN + timedelta(seconds=number // 50):%Y-%m-%d %H:%M:%S}")]
    if of_kind == "unsubscribe":
        pairs += [("data[action]", "unsub"), ("data[reason]", "manual")]
    pairs += [
        ("data[id]", contact(number)),
        ("data[email]", address(number)),
        ("data[email_type]", "html"),
        ("data[ip_opt]", f"82.225.{who % 251}.{who % 241}"),
        ("data[web_id]", str(number)),
        ("data[merges][EMAIL]", address(number)),
        ("data[merges][FNAME]", FIRST[who % 8]),
        ("data[merges][LNAME]", LAST[who % 7]),
        ("data[merges][PHONE]", ""),
    ]
    if groups := INTERESTS[who % 5]:
        pairs.append(("data[merges][INTERESTS]", groups))
    pairs.append(("data[list_id]", AUDIENCE))
    return urlencode(pairs).encode()


def headers(received_at: int) -> Headers:
    """What the ingress writes beside a body."""
    return [("source", SOURCE.encode()), ("received_at", str(received_at).encode()), ("request_id", b"0" * 26)]


def forms(count: int, begin: int = 0) -> Iterator[tuple[bytes, bytes]]:
    for number in range(begin, begin + count):
        yield key(number), form(number)
