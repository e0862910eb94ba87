"""What the browser looks at: a real broker, a real `listwire console`, and records written straight into the topics.

No worker and no vendor runs: consumers of the stage's own stand in for the workers' groups and commit what a test wants
committed. Synchronous outside, like the browser's driver; a loop in a thread does the work.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Coroutine, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from listwire import dead_letters, kafka_admin, topics
from listwire.records import Reason
from listwire.settings.load import load
from sandbox.kafka import EmbeddedKafka
from sandbox.kafka.ports import pick_port
from tests.webhook_bodies import AUDIENCE, webhook

T = TypeVar("T")
TOKEN = "a-token-for-the-console-of-the-tests"
PARTITIONS = 2
INVALID_KEY = "amplitude answered 400: Invalid API key: [redacted]"

SETTINGS = """\
[kafka]
bootstrap_servers = "{bootstrap}"
[topics]
partitions = 2
[amplitude.product]
api_key = "0123456789abcdef0123456789abcdef"
base_url = "http://127.0.0.1:9"
[mailchimp.acme]
api_key = "fedcba9876543210fedcba9876543210-us6"
base_url = "http://127.0.0.1:9"
[console]
port = {port}
token = "{token}"
workers = ["http://127.0.0.1:9"]
{connections}
"""
SOURCE = """
[sources.{name}]
mailchimp = "acme"
audience = "{audience}"
amplitude = "product"
secrets = ["a-secret-in-the-path-of-{name}"]
"""
SYNC = """
[cohort_syncs.{name}]
mailchimp = "acme"
audience = "{audience}"
cohorts = ["{pattern}"]
"""


def now_ms() -> int:
    return int(time.time() * 1000)


class Stage:
    """Use as a context. `sources` and `syncs` (name → cohort pattern) are what the settings hold."""

    def __init__(self, directory: Path, sources: Iterable[str], syncs: dict[str, str]) -> None:
        self.directory = directory
        self.sources = list(sources)
        self.syncs = syncs
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._close = contextlib.ExitStack()
        self._members: dict[str, Any] = {}

    def __enter__(self) -> Self:
        self._thread.start()
        with contextlib.ExitStack() as stack:
            stack.callback(self._end_loop)
            broker = stack.enter_context(EmbeddedKafka())
            self.bootstrap = broker.bootstrap_servers
            self.port = pick_port()
            self.url = f"http://127.0.0.1:{self.port}"
            self.file = self.directory / "listwire.toml"
            connections = [SOURCE.format(name=name, audience=AUDIENCE) for name in self.sources]
            connections += [SYNC.format(name=n, audience=AUDIENCE, pattern=p) for n, p in self.syncs.items()]
            self.file.write_text(
                SETTINGS.format(bootstrap=self.bootstrap, port=self.port, token=TOKEN, connections="".join(connections))
            )
            self.settings = load(self.file, {})
            self.run(kafka_admin.ensure(self.settings))
            self._producer = self.run(self._started_producer())
            stack.callback(lambda: self.run(self._producer.stop()))
            stack.callback(self.stop_workers)
            self._start_console(stack)
            self._close = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    def _end_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _started_producer(self) -> Any:
        producer = AIOKafkaProducer(bootstrap_servers=self.bootstrap, enable_idempotence=True)
        await producer.start()
        return producer

    def _start_console(self, stack: contextlib.ExitStack) -> None:
        self.log = self.directory / "console.log"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("LISTWIRE_")}
        with self.log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "listwire", "console", "--config", str(self.file)],
                cwd=self.directory, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            )  # fmt: skip
        stack.callback(self._end, process)
        end = time.monotonic() + 60
        while time.monotonic() < end and process.poll() is None:
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"{self.url}/healthz", trust_env=False).status_code == 200:
                    return
            time.sleep(0.1)
        raise RuntimeError(f"The console did not start: {self.log.read_text()}")

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def send(
        self, topic: str, value: bytes | None, partition: int, headers: dict[str, str], at: int
    ) -> tuple[int, int]:
        """Written and acknowledged; returns its place."""

        async def sent() -> Any:
            given = [(name, text.encode()) for name, text in headers.items()]
            return await self._producer.send_and_wait(topic, value, partition=partition, headers=given, timestamp_ms=at)

        found = self.run(sent())
        return found.partition, found.offset

    def webhook(
        self,
        source: str,
        contact: int = 0,
        *,
        ago: float = 0.0,
        partition: int = 0,
        kind: str = "subscribe",
        **more: str,
    ) -> tuple[int, int]:
        """`ago`: seconds since it came in."""
        at = now_ms() - int(ago * 1000)
        body = webhook(contact, kind=kind, **more)
        return self.send(topics.WEBHOOKS, body, partition, {"source": source, "received_at": str(at)}, at)

    def change(self, cohort: str, users: Iterable[str], *, entered: bool = True, ago: float = 0.0) -> tuple[int, int]:
        at = now_ms() - int(ago * 1000)
        named = [{"user_id": user, "user_properties": {"email": user}} for user in users]
        body = {"cohort_id": cohort.lower(), "cohort_name": cohort, "in_cohort": entered, "users": named}
        return self.send(topics.COHORT_CHANGES, orjson.dumps(body), 0, {"received_at": str(at)}, at)

    def bury(
        self, topic: str, place: tuple[int, int], value: bytes, connection: str, reason: Reason, detail: str,
        *, ago: float = 0.0, headers: dict[str, str] | None = None,
    ) -> str:  # fmt: skip
        """A dead letter as a worker writes it; returns its identity."""
        at = now_ms() - int(ago * 1000)
        given = headers if headers is not None else {"source": connection.partition(".")[2], "received_at": str(at)}
        letter = dead_letters.make(
            topic=topic, partition=place[0], offset=place[1], key=None, value=value,
            headers=[(name, text.encode()) for name, text in given.items()], reason=reason, detail=detail,
            connection=connection, failed_at=at,
        )  # fmt: skip
        self.send(topics.DEAD_LETTERS, value, 0, {name: text.decode() for name, text in letter.headers()}, at)
        return letter.id

    @property
    def working(self) -> bool:
        return bool(self._members)

    def start_workers(self, *groups: str) -> None:
        """Members of the workers' groups: from then on the groups are at work."""
        for group in groups or topics.GROUPS:
            self._members[group] = self.run(self._member(group, topics.GROUPS[group]))

    def stop_workers(self) -> None:
        for group in list(self._members):
            self.run(self._members.pop(group).stop())

    async def _member(self, group: str, topic: str) -> Any:
        consumer = AIOKafkaConsumer(
            topic, bootstrap_servers=self.bootstrap, group_id=group, enable_auto_commit=False,
            auto_offset_reset="earliest", isolation_level="read_committed",
        )  # fmt: skip
        await consumer.start()
        async with asyncio.timeout(30):
            while not consumer.assignment():
                await asyncio.sleep(0.05)
        return consumer

    def settle(self, group: str = topics.SUBSCRIPTIONS_GROUP, partitions: Iterable[int] = range(PARTITIONS)) -> None:
        """Commits all that these partitions hold, as a worker does that has dealt with it."""

        async def commit() -> None:
            consumer = self._members[group]
            wanted = [TopicPartition(topics.GROUPS[group], p) for p in partitions]
            await consumer.commit(await consumer.end_offsets(wanted))

        self.run(commit())

    def values(self, topic: str) -> list[tuple[bytes | None, dict[str, str]]]:
        """Every committed record of a topic, with its headers."""

        async def read() -> list[tuple[bytes | None, dict[str, str]]]:
            from listwire.kafka_reader import Reader

            found: list[tuple[bytes | None, dict[str, str]]] = []
            async with Reader(self.settings.kafka) as reader:
                for partition, bounds in (await reader.bounds(topic)).items():
                    async for records in reader.read(topic, partition, bounds.begin, bounds.end):
                        found += [(r.value, {k: v.decode() for k, v in r.headers}) for r in records]
            return found

        return self.run(read())
