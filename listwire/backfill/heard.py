"""What `listwire.webhooks` holds of the contacts that are looked at: each webhook by contact id, web id and address. Pure.

A contact's id goes with its address; its web id stays when the address changes. So all three find a contact's webhooks, and
tell where the address has changed since.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import parse_qsl

from listwire import glimpse, topics
from listwire.backfill.contact import SUBSCRIBE, UNSUBSCRIBE, Contact
from listwire.backfill.times import Zone
from listwire.kafka_reader import Record

UPEMAIL = "upemail"
_PLAIN_IDS = re.compile(rb"&data%5B(id|web_id)%5D=([0-9a-zA-Z]+)(?=&|\Z)")
_KINDS = frozenset({SUBSCRIBE, UNSUBSCRIBE, UPEMAIL})


@dataclass(frozen=True, slots=True)
class Heard:
    """A webhook in the topic. Retries are one: they carry the same body. `address` is lower-cased."""

    kind: str
    at: int
    contact: str
    web_id: str = ""
    address: str = ""
    action: str = ""
    backfilled: bool = False


def read(record: Record, source: str, audience: str, zone: Zone) -> Heard | None:
    """None for every record that is not of this source, or of a type that says nothing of coming and going."""
    if not record.value or glimpse.header(record, topics.SOURCE) != source:
        return None
    try:
        fields = dict(parse_qsl(record.value.decode("utf-8", "replace"), keep_blank_values=True))
    except ValueError:
        return None

    def field(name: str) -> str:
        return fields.get(name, "").strip()

    kind, at = field("type"), zone.read(field("fired_at"))
    if kind not in _KINDS or at is None or field("data[list_id]") != audience:
        return None
    backfilled = glimpse.header(record, topics.BACKFILLED) is not None
    if kind == UPEMAIL:
        return Heard(kind, at, field("data[new_id]"), "", field("data[new_email]").lower())
    address = (field("data[email]") or field("data[merges][EMAIL]")).lower()
    contact = field("data[id]") or address
    return Heard(kind, at, contact, field("data[web_id]"), address, field("data[action]"), backfilled)


class Topic:
    """Is given every record, and keeps those of the contacts that are looked at."""

    def __init__(self, source: str, audience: str, zone: Zone, contacts: Iterable[Contact]) -> None:
        self._where = source, audience, zone
        self._ids: dict[str, set[Heard]] = {}
        self._web_ids: dict[str, set[Heard]] = {}
        self._addresses: dict[str, set[Heard]] = {}
        for contact in contacts:
            for index, key in self._keys(contact.id, contact.web_id, contact.address.strip().lower()):
                index.setdefault(key, set())
        self.first: int | None = None
        """When the oldest record of this source was written, in milliseconds."""

    def _keys(self, contact: str, web_id: str, address: str) -> list[tuple[dict[str, set[Heard]], str]]:
        keys = ((self._ids, contact), (self._web_ids, web_id), (self._addresses, address))
        return [(index, key) for index, key in keys if key]

    def add(self, record: Record) -> None:
        if not record.readable or glimpse.header(record, topics.SOURCE) != self._where[0]:
            return
        self.first = record.timestamp if self.first is None else min(self.first, record.timestamp)
        if not self._of_others(record.value or b"") and (found := read(record, *self._where)) is not None:
            for index, key in self._keys(found.contact, found.web_id, found.address):
                if key in index:
                    index[key].add(found)

    def _of_others(self, value: bytes) -> bool:
        """Whether both ids stand there as Mailchimp writes them, and are nobody's that is looked at: most records of a long topic
        are told apart like this in a tenth of the time that reading them takes.
        """
        found = dict(_PLAIN_IDS.findall(value))
        return (
            len(found) == 2
            and found[b"id"].decode() not in self._ids
            and found[b"web_id"].decode() not in self._web_ids
        )

    def of(self, contact: Contact) -> list[Heard]:
        """Oldest first."""
        found: set[Heard] = set()
        for index, key in self._keys(contact.id, contact.web_id, contact.address.strip().lower()):
            found |= index.get(key, set())
        return sorted(found, key=lambda heard: (heard.at, heard.kind, heard.contact, heard.backfilled))

    def ids(self, contact: Contact) -> defaultdict[bool, int]:
        """How often a webhook of this very address bore the id that the API tells, and how often another."""
        counts: defaultdict[bool, int] = defaultdict(int)
        address = contact.address.strip().lower()
        for heard in self._addresses.get(address, ()):
            if contact.id and heard.contact != heard.address:
                counts[heard.contact == contact.id] += 1
        return counts
