"""`listwire worker cohorts` as a process of its own, between a real Kafka and the stand-in for Mailchimp.

Nothing here asks Listwire what it has done: that is read from the topics, the committed offsets and the stand-in's state.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from aiokafka import AIOKafkaProducer

from listwire import topics
from listwire.kafka_admin import admin_client
from listwire.kafka_groups import read_group
from listwire.kafka_reader import Reader, Record
from sandbox.mailchimp import API_KEY, MailchimpStandIn
from tests.integration.operations import fresh_topics, records, settings_of
from tests.worker_process import Worker, until

PARTITIONS: Final = 4
AUDIENCE: Final = "a6b5da1054"
TAG: Final = "Power users"
NEWSLETTER: Final = f"""
[cohort_syncs.newsletter]
mailchimp = "acme"
audience = "{AUDIENCE}"
"""


@dataclass(frozen=True)
class Message:
    """A cohort change; strings among `users` are addresses, and ids too."""

    users: Iterable[Any]
    entered: bool = True
    name: str = TAG
    cohort: str = "c1"
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def value(self) -> bytes:
        users = [
            {"user_id": each, "user_properties": {"email": each}} if isinstance(each, str) else each
            for each in self.users
        ]
        message = {"cohort_name": self.name, "cohort_id": self.cohort, "in_cohort": self.entered, "users": users}
        return json.dumps(message).encode()


@dataclass
class Stage:
    bootstrap: str
    mailchimp: MailchimpStandIn
    config: Path
    workers: list[Worker] = field(default_factory=list)

    @classmethod
    @asynccontextmanager
    async def set(cls, bootstrap: str, directory: Path, **more: Any) -> AsyncIterator[Stage]:
        """Fresh topics, a fresh Mailchimp, no worker yet; every worker is ended at the end."""
        async with MailchimpStandIn(latency=more.pop("latency", 0.0), journal=directory / "journal") as mailchimp:
            stage = cls(bootstrap, mailchimp, directory / "listwire.toml")
            stage.settings(**more)
            await fresh_topics(settings_of(stage.config))
            try:
                yield stage
            finally:
                mailchimp.faults.release()
                for worker in stage.workers:
                    worker.kill()
        assert not [worker for worker in stage.workers if API_KEY in worker.output]

    def settings(self, syncs: str = NEWSLETTER, delivery: str = "", **mailchimp: Any) -> None:
        """For workers that are started from now on. `mailchimp`: keys of the account's table."""
        account = "\n".join(f"{key} = {json.dumps(value)}" for key, value in mailchimp.items())
        self.config.write_text(f"""
[kafka]
bootstrap_servers = "{self.bootstrap}"
[topics]
partitions = {PARTITIONS}
[worker]
host = "127.0.0.1"
port = 0
[delivery]
{delivery}
[mailchimp.acme]
api_key = "{API_KEY}"
base_url = "{self.mailchimp.url}"
{account}
{syncs}
""")

    async def worker(self, *, ready: bool = True) -> Worker:
        made = Worker(self.config, f"worker{len(self.workers)}", kind="cohorts")
        self.workers.append(made)
        if ready:
            await made.ready()
        return made

    @property
    def said(self) -> str:
        return "\n".join(worker.output[-3000:] for worker in self.workers)

    async def publish(self, *messages: Message, partition: int | None = None) -> list[tuple[int, int]]:
        """Keyed by the cohort, as the ingress keys them. Where each of them is: (partition, offset)."""
        out = AIOKafkaProducer(
            bootstrap_servers=self.bootstrap, acks="all", max_request_size=topics.MAX_REQUEST_SIZE, linger_ms=5
        )
        await out.start()
        try:
            acks = [
                await out.send(
                    topics.COHORT_CHANGES,
                    each.value,
                    key=each.cohort.encode(),
                    headers=[(name, text.encode()) for name, text in each.headers.items()],
                    partition=partition,
                )
                for each in messages
            ]
            return [(ack.partition, ack.offset) for ack in await asyncio.gather(*acks)]
        finally:
            await out.stop()

    def tagged(self, name: str = TAG) -> set[str]:
        return self.mailchimp.audience.tagged(name)

    async def carried_by(self, wanted: Iterable[str], name: str = TAG, within: float = 60) -> None:
        """Until exactly these carry the tag."""
        everybody = set(wanted)
        await until(
            lambda: self.tagged(name) == everybody,
            within,
            lambda: f"{len(self.tagged(name))} of {len(everybody)} carry it; {self.said}",
        )

    async def committed(self) -> dict[int, int]:
        async with admin_client(settings_of(self.config).kafka) as admin:
            group = await read_group(admin, topics.COHORTS_GROUP)
        return {partition: offset for (topic, partition), offset in group.committed.items()}

    async def settled(self, within: float = 60) -> None:
        """Until the group has committed all there is."""
        async with Reader(settings_of(self.config).kafka) as reader:
            ends = {p: bounds.end for p, bounds in (await reader.bounds(topics.COHORT_CHANGES)).items() if bounds.end}
        found: dict[int, int] = {}

        async def all_committed() -> bool:
            found.update(await self.committed())
            return all(found.get(p, 0) >= end for p, end in ends.items())

        await until(all_committed, within, lambda: f"committed {found} of {ends}; {self.said}")

    async def letters(self) -> list[Record]:
        return await records(settings_of(self.config), topics.DEAD_LETTERS)

    @property
    def segment_calls(self) -> int:
        """Answered ones, whatever the answer."""
        return sum(amount for call, amount in self.mailchimp.calls.items() if call.startswith("POST") and "*" in call)

    async def in_flight(self, least: int = 1, within: float = 30) -> None:
        """Until so many calls are under way, five at most."""
        await until(
            lambda: self.mailchimp.in_flight >= min(least, 5), within, lambda: f"no call under way; {self.said}"
        )


def members(amount: int, first: int = 0) -> list[str]:
    """The stand-in's own pattern: see `Audience.seed`."""
    return [f"member{number}@example.com" for number in range(first, first + amount)]


def messages(users: list[str], size: int, **more: Any) -> list[Message]:
    return [Message(users[at : at + size], **more) for at in range(0, len(users), size)]


def text(record: Record) -> dict[str, str]:
    return {name: value.decode() for name, value in record.headers}


def ids(record: Record) -> list[Any]:
    return [
        user.get("user_id") if isinstance(user, dict) else user for user in json.loads(record.value or b"{}")["users"]
    ]


def shuffled(dice: random.Random, users: list[str]) -> list[str]:
    return dice.sample(users, len(users))
