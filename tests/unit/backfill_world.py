"""A small Mailchimp in which contacts come and go, webhooks get lost, and everything that really happened is written down.

The contacts are the stand-in's own; only the wire is missing. The record and the feed are read as the command reads them.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlencode

import msgspec
import orjson

from listwire.backfill.contact import Contact, Entry
from listwire.backfill.derive import Missed, Rules
from listwire.backfill.form import body, key
from listwire.backfill.heard import Topic
from listwire.backfill.makers import Hook
from listwire.backfill.plan import Plan, plan, suspects
from listwire.backfill.times import Zone
from listwire.cli.backfill_mailchimp import contact_of, entries_of
from listwire.kafka_reader import Record
from sandbox.mailchimp.audience import Audience
from sandbox.mailchimp.behaviour import Behaviour
from sandbox.mailchimp.contacts import CAME_BY, Contacts, Source
from sandbox.mailchimp.forms import Form, encode
from sandbox.mailchimp.journal import Journal
from sandbox.mailchimp.tags import Tags
from sandbox.mailchimp.views import activity_json, member_json
from stream.codecs.mailchimp_webhook import Event, Webhooks
from vendors.mailchimp import Activity, Member

AUDIENCE = "a6b5da1054"
SOURCE = "newsletter"
NOON = 1_767_268_800  # 2026-01-01T12:00:00Z
HOUR = 3600
USERS = Hook(frozenset({"subscribe", "unsubscribe"}), frozenset({"user"}))
EVERYBODY = Hook(frozenset({"subscribe", "unsubscribe"}), frozenset({"user", "admin", "api"}))
READ = Webhooks(SOURCE, AUDIENCE).reader()


@dataclass(frozen=True)
class Fired:
    """A webhook that Mailchimp would have sent: the truth."""

    kind: str
    contact: str
    at: int
    value: bytes


class World:
    def __init__(self, hook: Hook = USERS, **behaviour: Any) -> None:
        self.now = float(NOON)
        self.hook = hook
        self.fired: list[Fired] = []
        self.audience = Audience(AUDIENCE, "Newsletter", 0, 1)
        self.behaviour = Behaviour(**behaviour)
        tags = Tags(self.behaviour, Journal(None), lambda: self.now)
        self.contacts = Contacts(self.behaviour, tags, self._fire, lambda: self.now, random.Random(0))

    def _fire(self, _audience: Audience, event: str, source: str, form: Form) -> None:
        if event in self.hook.events and source in self.hook.sources:
            found = dict(form)
            at = Zone("UTC").read(found["fired_at"])
            assert at is not None
            self.fired.append(Fired(event, found["data[id]"], at, encode(form)))

    def happens(self, what: str, at: float, address: str = "ann@example.com", source: Source = "user") -> None:
        """What cannot happen does not: nobody leaves who is not there."""
        self.now = at
        member = self.audience.member(address)
        if member is None:
            if what == "subscribe":
                self.contacts.add(self.audience, address, "subscribed", source)
            return
        statuses = {"subscribe": "subscribed", "unsubscribe": "unsubscribed", "archive": "archived", "clean": "cleaned"}
        if what == "profile":
            self.contacts.update(self.audience, member, {"FNAME": str(at)}, source)
        elif (
            (what == "archive" and member.status in {"cleaned", "pending", "archived"})
            or (what == "clean" and member.status != "subscribed")
            or (what == "unsubscribe" and member.status != "subscribed")
        ):
            return
        elif what == "subscribe" and source != "user" and _left_by_themselves(member.history):
            return  # Mailchimp: a member in compliance state
        elif what == "subscribe" and member.status in {"archived", "cleaned"} and CAME_BY[source] != member.source:
            return  # who is brought back by others than those who brought them first leaves no trace of that
        else:
            self.contacts.set_status(self.audience, member, statuses[what], source)

    def told(self, since: int) -> tuple[list[Contact], dict[str, list[Entry] | None]]:
        contacts, feeds = [], {}
        for member in self.audience.members.values():
            if member.last_changed < since:
                continue
            found = msgspec.convert(orjson.loads(orjson.dumps(member_json(self.audience, member, ""))), Member)
            contacts.append(contact_of(found))
            activities = [msgspec.convert(activity_json(each), Activity) for each in reversed(member.history)]
            feeds[member.id] = entries_of(activities)
        return contacts, feeds

    def backfill(self, topic: Iterable[Record], rules: Rules) -> Plan:
        contacts, feeds = self.told(rules.since)
        held = Topic(SOURCE, AUDIENCE, rules.zone, contacts)
        for each in topic:
            held.add(each)
        wanted: Mapping[str, list[Entry] | None] = {c.hash: feeds[c.hash] for c in suspects(contacts, held, rules)}
        return plan(contacts, wanted, held, rules)


def _left_by_themselves(history: tuple[Any, ...]) -> bool:
    last = [each for each in history if each.type == "unsub"]
    return bool(last) and not last[-1].by_admin


def rules(since: int = NOON, until: int = NOON + 24 * HOUR, hook: Hook = USERS, **more: Any) -> Rules:
    return Rules(since, until, Zone("UTC"), hook, **more)


def record(value: bytes, offset: int = 0, **headers: str) -> Record:
    made = (("source", SOURCE.encode()), *((name, text.encode()) for name, text in headers.items()))
    return Record(0, offset, NOON * 1000, b"", value, made)


def arrived(fired: Fired) -> Record:
    return record(fired.value)


def written(missed: Missed) -> Record:
    assert key(SOURCE, missed).decode() == f"{SOURCE}:{missed.contact.id}"
    return record(body(missed, AUDIENCE), backfilled="1767268800000")


def event(value: bytes) -> dict[str, Any]:
    """As the worker reads it."""
    found = READ(value)
    assert isinstance(found, Event), found
    return dict(orjson.loads(found.body))


def with_field(value: bytes, name: str, text: str) -> bytes:
    fields = {known: values[0] for known, values in parse_qs(value.decode(), keep_blank_values=True).items()}
    return urlencode({**fields, name: text}).encode()
