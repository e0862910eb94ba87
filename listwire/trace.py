"""One address through Listwire: what came in, what became of it, which tags, which dead letters. Reads Kafka only.

What went out is told from committed offsets: before them a record is delivered, filtered on purpose, or a dead letter. So a
trace says what Listwire did; what the vendor made of it, only the vendor can tell. It must never log the address.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from listwire import dead_letters, glimpse, topics
from listwire.dead_letters import Letter
from listwire.kafka_reader import Record
from listwire.logs import address_hash
from listwire.masking import mentions, readable
from listwire.settings import Settings
from listwire.settings.models import CohortSync

# The newest of one person's records; more are counted, not shown.
MOST: Final = 1000
_HASH = re.compile(r"addr:[0-9a-f]{12}\Z")
_RUN = re.compile(r"[a-z0-9]+")
# (records read, records to read)
Progress = Callable[[int, int], None]


class Outcome(StrEnum):
    DELIVERED = "delivered"
    FILTERED = "filtered"
    WAITING = "waiting"
    DEAD = "dead letter"
    DONE = "dead letter, done"


@dataclass(frozen=True, slots=True)
class Step:
    """`at` in milliseconds since the epoch. `letter` is a dead letter's identity, else empty."""

    at: int
    what: str
    connection: str
    outcome: Outcome
    words: str
    origin: str
    letter: str = ""


@dataclass(frozen=True, slots=True)
class Tag:
    """The last word of a cohort for this address: `on` or off since `at`, and whether a worker has dealt with it."""

    connection: str
    name: str
    on: bool
    at: int
    outcome: Outcome


class Who:
    """An address, or the hash that stands for one in logs and on pages."""

    def __init__(self, text: str) -> None:
        self.text = text.strip().lower()
        self.is_hash = _HASH.match(self.text) is not None
        self.hash = self.text if self.is_hash else address_hash(self.text)
        # Letters and digits stand for themselves in every notation: the longest run of them finds candidates fast.
        runs = _RUN.findall(self.text.partition("@")[0]) or _RUN.findall(self.text)
        self._needle = b"" if self.is_hash else max(runs, key=len, default="").encode()

    def may_be_in(self, value: bytes) -> bool:
        """False only where it is certain."""
        return self._needle in value.lower()

    def matches(self, address: str | None) -> bool:
        if address is None:
            return False
        return address_hash(address) == self.hash if self.is_hash else address.strip().lower() == self.text

    def among(self, addresses: set[str] | tuple[str, ...]) -> bool:
        return any(map(self.matches, addresses))


@dataclass
class Trace:
    """`read` counts the records looked at, `left_out` matches beyond the newest `MOST`."""

    hash: str
    steps: list[Step] = field(default_factory=list)
    tags: list[Tag] = field(default_factory=list)
    read: int = 0
    left_out: int = 0


class Tracer:
    """Is given every record of the three topics, each partition in order, then asked for the `Trace`. Pure."""

    def __init__(self, who: Who, settings: Settings) -> None:
        self.who = who
        self.settings = settings
        self.read = 0
        self._webhooks: list[tuple[Record, glimpse.Webhook]] = []
        self._changes: list[tuple[Record, glimpse.Change, list[glimpse.User]]] = []
        self._letters: dict[str, tuple[Letter, bool]] = {}
        self._left_out = 0

    def add(self, topic: str, record: Record) -> None:
        self.read += 1
        if not record.readable:
            return
        if topic == topics.DEAD_LETTERS:
            self._letter(record)
        elif record.value is not None and self.who.may_be_in(record.value):
            if topic == topics.WEBHOOKS:
                self._webhook(record)
            else:
                self._change(record)

    def result(self, committed: Mapping[tuple[str, int], int]) -> Trace:
        """`committed`: topic and partition → the group's committed offset."""
        trace = Trace(self.who.hash, read=self.read, left_out=self._left_out)
        for record, webhook in self._webhooks:
            trace.steps.append(self._of_webhook(record, webhook, committed))
        for record, change, users in self._changes:
            self._of_change(record, change, users, committed, trace)
        for letter, done in self._letters.values():
            trace.steps.append(
                Step(
                    letter.failed_at, f"dead letter: {letter.reason}", letter.connection,
                    Outcome.DONE if done else Outcome.DEAD, letter.detail, letter.origin, letter.id,
                )
            )  # fmt: skip
        trace.steps.sort(key=lambda step: step.at)
        if len(trace.steps) > MOST:
            trace.left_out += len(trace.steps) - MOST
            del trace.steps[:-MOST]
        return trace

    def _webhook(self, record: Record) -> None:
        found = glimpse.webhook(record.value)
        if found is not None and self.who.among(found.addresses):
            self._webhooks.append((record, found))
            self._left_out += len(self._webhooks) > MOST
            del self._webhooks[:-MOST]

    def _change(self, record: Record) -> None:
        found = glimpse.change(record.value)
        if found is None:
            return
        named = [user for user in glimpse.users(found) if self.who.among(glimpse.texts_in(user))]
        if named:
            # Without the others' bytes: a change may hold thousands of users.
            light = glimpse.Change(found.cohort_id, found.cohort_name, found.in_cohort, [])
            slim = Record(
                record.partition, record.offset, record.timestamp, record.key, None, record.headers, record.readable
            )
            self._changes.append((slim, light, named))
            self._left_out += len(self._changes) > MOST
            del self._changes[:-MOST]

    def _letter(self, record: Record) -> None:
        found = dead_letters.read(record.key, record.value, record.headers, (record.partition, record.offset))
        if isinstance(found, str):
            if found in self._letters:
                self._letters[found] = (self._letters[found][0], True)
        elif isinstance(found, Letter) and self._named_in(found) and len(self._letters) < MOST:
            self._letters[found.id] = (found, False)

    def _named_in(self, letter: Letter) -> bool:
        if not self.who.may_be_in(letter.value):
            return False
        if (webhook := glimpse.webhook(letter.value)) is not None and self.who.among(webhook.addresses):
            return True
        if (change := glimpse.change(letter.value)) is not None:
            return any(self.who.among(glimpse.texts_in(user)) for user in glimpse.users(change))
        return not self.who.is_hash and mentions(readable(letter.value), self.who.text)

    def _of_webhook(self, record: Record, webhook: glimpse.Webhook, committed: Mapping[tuple[str, int], int]) -> Step:
        source = glimpse.header(record, topics.SOURCE) or "?"
        connection = f"sources.{source}"
        outcome, words = self._settled(topics.WEBHOOKS, record, connection, committed)
        if outcome is Outcome.DELIVERED and webhook.kind not in glimpse.SENT:
            outcome, words = Outcome.FILTERED, "only subscribe and unsubscribe become events"
        elif outcome is Outcome.DELIVERED and source in self.settings.sources:
            words = f"sent to Amplitude as [Mailchimp] {webhook.kind}"
        origin = dead_letters.origin_of(topics.WEBHOOKS, record.partition, record.offset)
        return Step(
            glimpse.received(record), f"webhook: {webhook.kind or 'no type'}{_again(record)}", connection, outcome, words, origin
        )  # fmt: skip

    def _of_change(
        self,
        record: Record,
        change: glimpse.Change,
        users: list[glimpse.User],
        committed: Mapping[tuple[str, int], int],
        trace: Trace,
    ) -> None:
        at = glimpse.received(record)
        origin = dead_letters.origin_of(topics.COHORT_CHANGES, record.partition, record.offset)
        verb = "entered" if change.in_cohort else "left"
        what = f"{verb} cohort {change.cohort_name}{_again(record)}"
        header = glimpse.header(record, topics.SYNC)
        names = glimpse.syncs_of(change.cohort_name, header, self.settings.cohort_syncs)
        if not names:
            connection = f"cohort_syncs.{header or '?'}"
            outcome, words = self._settled(topics.COHORT_CHANGES, record, connection, committed)
            if outcome is Outcome.DELIVERED:
                outcome, words = Outcome.FILTERED, "no cohort sync takes a cohort of this name"
            trace.steps.append(Step(at, what, connection, outcome, words, origin))
        for name in names:
            connection = f"cohort_syncs.{name}"
            outcome, words = self._settled(topics.COHORT_CHANGES, record, connection, committed)
            if outcome is Outcome.DELIVERED and not self._addressed(users, self.settings.cohort_syncs[name]):
                outcome, words = Outcome.FILTERED, "this sync reads the address from another property"
            elif outcome is Outcome.DELIVERED:
                verb = "added to" if change.in_cohort else "taken from"
                words = f"Mailchimp's tag {change.cohort_name} {verb} the address, if it is in the audience"
            trace.steps.append(Step(at, what, connection, outcome, words, origin))
            if outcome in {Outcome.DELIVERED, Outcome.WAITING}:
                trace.tags = [t for t in trace.tags if (t.connection, t.name) != (connection, change.cohort_name)]
                trace.tags.append(Tag(connection, change.cohort_name, change.in_cohort, at, outcome))

    def _addressed(self, users: list[glimpse.User], sync: CohortSync) -> bool:
        return any(self.who.matches(glimpse.address_in(user, sync.email_property)) for user in users)

    def _settled(
        self, topic: str, record: Record, connection: str, committed: Mapping[tuple[str, int], int]
    ) -> tuple[Outcome, str]:
        origin = dead_letters.origin_of(topic, record.partition, record.offset)
        for letter, done in self._letters.values():
            if letter.origin == origin and letter.connection == connection:
                return (
                    (Outcome.DONE, f"became a dead letter ({letter.reason}), which is replayed or forgotten since")
                    if done
                    else (Outcome.DEAD, f"became a dead letter: {letter.reason}")
                )
        if record.offset >= committed.get((topic, record.partition), 0):
            return Outcome.WAITING, "waits for the worker"
        return Outcome.DELIVERED, "dealt with"


def _again(record: Record) -> str:
    again = "" if glimpse.header(record, topics.REPLAY_OF) is None else ", replayed"
    return again if glimpse.header(record, topics.BACKFILLED) is None else f", backfilled{again}"
