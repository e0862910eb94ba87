"""A subscriptions delivery without Kafka and without a network: records in, an Amplitude that is steered, dead letters out.

Everything between is the real code: the reader, `Delivery`, `AmplitudeCourier`, the retry loop, the account and `DeadLetters`.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import orjson

from listwire import metrics
from listwire.redaction import Redactor
from listwire.settings.models import Delivery as Limits
from stream.agents.subscriptions import SortWebhooks
from stream.codecs.mailchimp_webhook import Webhooks
from stream.connections import Connection
from stream.dead_letters import DeadLetters
from stream.delivery import Delivery
from stream.to_amplitude import AmplitudeCourier
from tests.virtual_time import LoopClock
from tests.webhook_bodies import AUDIENCE, webhook
from vendors.amplitude import Accepted, Answer

WORKER = "bench"
# What a fake Amplitude does with a request: an answer, an exception, or something to wait for first.
Answering = Callable[[list[dict[str, Any]]], Awaitable[Answer]]


@dataclass
class Record:
    offset: int
    value: bytes | None
    key: bytes | None = b"newsletter:key"
    headers: Sequence[tuple[str, bytes]] = (("source", b"newsletter"), ("received_at", b"1"))
    topic: str = "listwire.webhooks"
    partition: int = 0


class FakeProducer:
    """An idempotent producer as `DeadLetters` uses one. `faults`: what becomes of the next sends, one each; None is silence."""

    def __init__(self) -> None:
        self.written: list[dict[str, Any]] = []
        self.faults: list[BaseException | None] = []
        self.stopped = 0
        self._waiting: list[asyncio.Future[None]] = []
        self._message_accumulator = SimpleNamespace(_batches={}, _pending_batches=set(), fail_all=self._fail_all)

    def _fail_all(self, fault: BaseException) -> None:
        for future in self._waiting:
            if not future.done():
                future.set_exception(fault)

    async def flush(self) -> None:
        await asyncio.wait(self._waiting or [asyncio.ensure_future(asyncio.sleep(0))])

    async def send(self, topic: str, value: bytes, key: bytes | None, headers: list[tuple[str, bytes]]) -> Any:
        acknowledged: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self.faults:
            fault = self.faults.pop(0)
            if fault is None:
                self._waiting.append(acknowledged)
            else:
                acknowledged.set_exception(fault)
        else:
            self.written.append({"topic": topic, "value": value, "key": key, "headers": dict(headers)})
            acknowledged.set_result(None)
        return acknowledged

    async def stop(self) -> None:
        self.stopped += 1


class FakeAmplitude:
    """Takes whatever it is sent, as Amplitude does: a repeated insert_id counts once. `script` comes first, one entry a
    request (an answer, an exception, or a function); then `rule`, if one is set; then everything is accepted.
    """

    def __init__(self) -> None:
        self.script: list[Answer | Exception | Answering] = []
        self.rule: Answering | None = None
        self.requests: list[list[dict[str, Any]]] = []
        self.accepted: dict[str, dict[str, Any]] = {}
        self.under_way = 0
        self.most_under_way = 0
        self.latency = 0.05

    async def send(self, events: Sequence[bytes]) -> Answer:
        parsed = [orjson.loads(body) for body in events]
        self.requests.append(parsed)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await asyncio.sleep(self.latency)
            answer = await self._answer(parsed)
        finally:
            self.under_way -= 1
        if isinstance(answer, Accepted):
            self.take(parsed)
        return answer

    def take(self, events: list[dict[str, Any]]) -> None:
        for event in events:
            self.accepted.setdefault(event["insert_id"], event)

    async def _answer(self, events: list[dict[str, Any]]) -> Answer:
        step: Answer | Exception | Answering = Accepted()
        if self.script:
            step = self.script.pop(0)
        elif self.rule is not None:
            step = self.rule
        if isinstance(step, Exception):
            raise step
        return step if isinstance(step, Answer) else await step(events)

    def by_contact(self) -> dict[str, list[int]]:
        """Each contact's events in the order of their first acceptance, by number (`web_id`)."""
        found: dict[str, list[int]] = defaultdict(list)
        for event in self.accepted.values():
            properties = event["event_properties"]
            found[properties["contact_id"]].append(int(properties["web_id"]))
        return dict(found)

    @property
    def numbers(self) -> list[int]:
        return [int(event["event_properties"]["web_id"]) for event in self.accepted.values()]

    @property
    def sizes(self) -> list[int]:
        return [len(request) for request in self.requests]


def event_record(
    number: int, contact: int | None = None, *, source: str = "newsletter", address: str | None = None
) -> Record:
    """The `number`-th event, of its own contact unless told; no two have one insert_id."""
    fired_at = (datetime(2026, 1, 1) + timedelta(seconds=number)).isoformat(" ")  # noqa: DTZ001 - Mailchimp sends no zone
    more: dict[str, Any] = {} if address is None else {"data_email": address}
    whose = number if contact is None else contact
    body = webhook(whose, fired_at=fired_at, data_web_id=str(number), **more)
    return Record(number, body, f"{source}:{whose}".encode(), (("source", source.encode()),))


@dataclass
class Bench:
    """`connections` are sources with one Amplitude each."""

    sources: Sequence[str] = ("newsletter",)
    max_events: int = 1000
    max_bytes: int = 1 << 20
    park_after: float = 60.0
    probe_every: float = 30.0
    secrets: Sequence[str] = ("secret-api-key",)
    policies: Sequence[str] = ("email",)
    amplitudes: dict[str, FakeAmplitude] = field(default_factory=dict)
    connections: dict[str, Connection] = field(default_factory=dict)
    producers: list[FakeProducer] = field(default_factory=list)
    connect_faults: list[BaseException | None] = field(default_factory=list)
    producer_faults: list[BaseException | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.clock = LoopClock(self.loop)
        self.worker = WORKER
        self.moves = 0
        self._before = {source: self._count(source) for source in self.sources}
        limits = Limits(park_after=self.park_after, probe_every=self.probe_every)
        couriers: dict[str, AmplitudeCourier] = {}
        readers = {}
        for source in self.sources:
            name = f"sources.{source}"
            self.amplitudes[source] = FakeAmplitude()
            self.connections[source] = Connection(name, "amplitude", self.clock, limits)
            couriers[name] = AmplitudeCourier(
                self.connections[source],
                self.amplitudes[source],
                self.clock,
                max_events=self.max_events,
                max_bytes=self.max_bytes,
                throttle_wait=15.0,
            )
            readers[source.encode()] = (name, Webhooks(source, AUDIENCE, self.policies).reader())
        self.letters = DeadLetters(self._connect, self.clock, Redactor(self.secrets))
        self.deliver_records = Delivery(
            self.worker, SortWebhooks(readers), couriers, self.letters, self.clock, moved=self._moved
        )
        self.closing = asyncio.Event()

    def _moved(self) -> None:
        self.moves += 1

    async def _connect(self) -> FakeProducer:
        """Connecting fails as `connect_faults` says; None never ends. Each producer's first sends fail as `producer_faults` says."""
        if self.connect_faults:
            fault = self.connect_faults.pop(0)
            if fault is None:
                await asyncio.Event().wait()
            else:
                raise fault
        self.producers.append(FakeProducer())
        self.producers[-1].faults = self.producer_faults
        return self.producers[-1]

    @property
    def amplitude(self) -> FakeAmplitude:
        return self.amplitudes["newsletter"]

    @property
    def connection(self) -> Connection:
        return self.connections["newsletter"]

    async def deliver(self, records: Sequence[Record]) -> bool:
        return await self.deliver_records(records, self.closing)

    async def events(self, *numbers: int) -> bool:
        return await self.deliver([event_record(number) for number in numbers])

    @property
    def written(self) -> list[dict[str, Any]]:
        return [letter for producer in self.producers for letter in producer.written]

    @property
    def buried(self) -> list[tuple[int, str]]:
        """Each dead letter's source offset and reason, in the order written."""
        return [
            (int(letter["headers"]["origin"].rsplit(b"/", 1)[1]), letter["headers"]["reason"].decode())
            for letter in self.written
        ]

    def counted(self, source: str = "newsletter") -> Mapping[str, int]:
        """`records_total` since this bench was made, by outcome, without those at 0."""
        now = self._count(source)
        return {name: now[name] - was for name, was in self._before[source].items() if now[name] != was}

    def _count(self, source: str) -> dict[str, int]:
        """Read from the counters themselves: collecting the registry takes longer than a delivery."""
        name = f"sources.{source}"
        return {
            outcome: int(metrics.RECORDS(worker=WORKER, connection=name, outcome=outcome)._value.get())
            for outcome in ("received", "delivered", "filtered", "dead_lettered", "returned")
        }

    def in_flight(self, source: str = "newsletter") -> float:
        return float(metrics.IN_FLIGHT(worker=WORKER, connection=f"sources.{source}")._value.get())
