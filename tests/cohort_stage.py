"""The cohort flow without Kafka and without a network: records in, a Mailchimp in memory, dead letters out.

Everything between is the real code: sorting, courier, segment calls, the vendor's client, the retry loop, the account and
`DeadLetters`.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from listwire import metrics, topics
from listwire.redaction import Redactor
from listwire.settings.models import CohortSync
from listwire.settings.models import Delivery as Limits
from stream.agents.cohort_tags import SortChanges
from stream.cohort_history import Hearing, Question, hear
from stream.connections import Connection
from stream.dead_letters import DeadLetters
from stream.delivery import Delivery
from stream.late_calls import LateCalls
from stream.tag_calls import TagCalls
from stream.tag_ids import TagIds
from stream.to_mailchimp import Change, MailchimpCourier
from tests.delivery_bench import FakeProducer
from tests.mailchimp_in_memory import AUDIENCE, TAG, InMemory
from tests.virtual_time import LoopClock
from vendors.mailchimp import ConnectionLimit, Mailchimp

_numbers = itertools.count()


@dataclass(frozen=True)
class Record:
    offset: int
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()
    partition: int = 0
    key: bytes | None = b"c1"
    topic: str = topics.COHORT_CHANGES


@dataclass(frozen=True)
class Letter:
    value: bytes
    headers: dict[str, str]

    @property
    def reason(self) -> str:
        return self.headers["reason"]

    @property
    def ids(self) -> list[Any]:
        """The users' ids; a user that is no object as it stands."""
        return [user.get("user_id") if isinstance(user, dict) else user for user in json.loads(self.value)["users"]]


@dataclass
class Stage:
    """`syncs` are cohort syncs by name, of one account; `partition` is what Kafka holds of the records' partition."""

    members: Iterable[str] = ()
    syncs: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: {"newsletter": {}})
    limits: Limits = field(default_factory=Limits)
    behaviour: Mapping[str, Any] = field(default_factory=dict)
    connections: int = 10
    partition: list[Record] = field(default_factory=list)
    oldest: int = 0

    def __post_init__(self) -> None:
        self.clock = LoopClock(asyncio.get_running_loop())
        self.mailchimp = InMemory(self.clock, self.members, self.behaviour)
        self.limit = ConnectionLimit(self.connections, clock=self.clock)
        client = Mailchimp(
            "https://mailchimp.invalid",
            api_key="key-us6",
            limiter=self.limit,
            transport=httpx.MockTransport(self.mailchimp),
        )
        self.number = next(_numbers)
        self.producer = FakeProducer()
        self.closing = asyncio.Event()
        self.reads: list[Hearing] = []
        calls = TagCalls(client, TagIds(self.clock), LateCalls(self.clock, 120))
        self.couriers: dict[str, MailchimpCourier] = {}
        for name, given in self.syncs.items():
            sync = CohortSync(**{"mailchimp": "acme", "audience": AUDIENCE, **given})
            connection = Connection(f"cohort_syncs.{name}", "mailchimp", self.clock, self.limits)
            self.couriers[name] = MailchimpCourier(name, sync, connection, calls, self.read_later)

        async def connect() -> FakeProducer:
            return self.producer

        letters = DeadLetters(connect, self.clock, Redactor(()))
        by_connection = {f"cohort_syncs.{name}": courier for name, courier in self.couriers.items()}
        self.delivery: Delivery[Change] = Delivery(
            self.worker, SortChanges(self.couriers), by_connection, letters, self.clock
        )

    @property
    def worker(self) -> str:
        """Its metrics are its own."""
        return f"cohorts-{self.number}"

    @property
    def courier(self) -> MailchimpCourier:
        return next(iter(self.couriers.values()))

    @property
    def connection(self) -> Connection:
        return self.courier.connection

    @property
    def letters(self) -> list[Letter]:
        return [
            Letter(each["value"], {name: bytes(text).decode() for name, text in each["headers"].items()})
            for each in self.producer.written
        ]

    async def read_later(self, hearing: Hearing, questions: Sequence[Question]) -> None:
        """What `PartitionReader` does, with a list for Kafka."""
        self.reads.append(hearing)
        begins = {id(each): begin for each in questions if (begin := each.begins(self.oldest)) is not None}
        asked = [each for each in questions if id(each) in begins]
        for record in self.partition:
            if asked and record.offset >= max(self.oldest, min(begins.values())):
                await hear(record.topic, record, hearing, asked)

    async def deliver(self, *records: Record, closing: asyncio.Event | None = None) -> bool:
        """True when all has settled; then the account must balance."""
        settled = await self.delivery(records, closing or self.closing)
        for name in (*self.syncs, "?"):
            counted = self.counted(name)
            assert counted.pop("received", 0) == counted.total(), counted
        return settled

    def counted(self, sync: str = "newsletter") -> Counter[str]:
        """Users by outcome."""
        found: Counter[str] = Counter()
        for outcome in (metrics.RECEIVED, metrics.DELIVERED, metrics.FILTERED, metrics.DEAD_LETTERED, metrics.RETURNED):
            counter = metrics.RECORDS(worker=self.worker, connection=f"cohort_syncs.{sync}", outcome=outcome)
            if amount := int(counter._value.get()):
                found[outcome] = amount
        return found

    def filtered(self, why: str, sync: str = "newsletter") -> int:
        return int(metrics.FILTERED_BY(worker=self.worker, connection=f"cohort_syncs.{sync}", why=why)._value.get())


def user(address: Any, user_id: Any = None, **more: Any) -> dict[str, Any]:
    return {"user_id": address if user_id is None else user_id, "user_properties": {"email": address, **more}}


def change(
    offset: int, *users: Any, entered: bool = True, name: Any = TAG, cohort: str = "c1", **headers: Any
) -> Record:
    """A record; strings among `users` are addresses."""
    message = {
        "cohort_name": name,
        "cohort_id": cohort,
        "in_cohort": entered,
        "computed_time": "1692206763",
        "users": [user(each) if isinstance(each, str) else each for each in users],
    }
    return Record(offset, json.dumps(message).encode(), [(key, str(value).encode()) for key, value in headers.items()])


def replay(offset: int, of: int, *users: Any, sync: str = "newsletter", **more: Any) -> Record:
    return change(offset, *users, **{"sync": sync, "replay_of": f"{topics.COHORT_CHANGES}/0/{of}", **more})


def members(amount: int, first: int = 0) -> list[str]:
    return [f"member{number}@example.com" for number in range(first, first + amount)]
