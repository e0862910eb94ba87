"""`listwire worker subscriptions` as a process of its own, and the Kafka around it: what is produced, committed, dead-lettered.

Nothing here asks Listwire how many records it has handled: what happened is read from the topics and from the stand-in.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import httpx
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import CommitFailedError

from listwire import topics
from listwire.kafka_admin import admin_client
from listwire.kafka_groups import read_group
from listwire.kafka_reader import Reader, Record
from listwire.settings import Settings, load
from tests.delivery_bench import Record as Webhook
from tests.forked import Forked
from tests.webhook_bodies import AUDIENCE

PARTITIONS: Final = 4
API_KEY: Final = "key-of-amplitude-0123456789abcdef"
OTHER_KEY: Final = "key-of-another-project-0123456789"
SECRETS: Final = (API_KEY, OTHER_KEY, "swordfish-swordfish-swordfish")


def settings_file(
    directory: Path, bootstrap: str, amplitude: str, *, other: str | None = None, delivery: str = ""
) -> Path:
    """Sources `newsletter` and `second` send to Amplitude project `product`; `other` to a project of its own."""
    file = directory / "listwire.toml"
    source = f'audience = "{AUDIENCE}"\nsecrets = ["{SECRETS[2]}"]\n'
    file.write_text(f"""
[kafka]
bootstrap_servers = "{bootstrap}"
[topics]
partitions = {PARTITIONS}
[worker]
host = "127.0.0.1"
port = 0
[delivery]
{delivery}
[amplitude.product]
api_key = "{API_KEY}"
base_url = "{amplitude}"
[amplitude.other]
api_key = "{OTHER_KEY}"
base_url = "{other or amplitude}"
[sources.newsletter]
amplitude = "product"
{source}
[sources.second]
amplitude = "product"
{source}
[sources.other]
amplitude = "other"
{source}
""")
    return file


class Worker:
    """`output` is all it has written so far. `code` runs instead of the command, with the settings file as its argument."""

    def __init__(
        self, config: Path, name: str = "worker", *, kind: str = "subscriptions", code: str | None = None
    ) -> None:
        self.config = config
        self._log = config.parent / f"{name}.log"
        self._url = ""
        clean = {name: value for name, value in os.environ.items() if not name.startswith("LISTWIRE_")}
        how: Any = {"cwd": Path(__file__).parent.parent, "env": clean}
        self.process: Forked | subprocess.Popen[bytes]
        with self._log.open("wb") as output, Path(os.devnull).open("rb") as nothing:
            how |= {"stdin": nothing, "stdout": output, "stderr": output}
            if code is None:
                self.process = Forked(["--config", str(config), "worker", kind], **how)
            else:
                self.process = subprocess.Popen([sys.executable, "-c", code, str(config)], **how)

    @property
    def output(self) -> str:
        return self._log.read_text(errors="replace")

    def logged(self, event: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.output.splitlines() if line.startswith("{")]
        return [line for line in lines if line.get("event") == event]

    @property
    def url(self) -> str:
        if not self._url and (found := self.logged("status")):
            self._url = str(found[0]["url"]).removesuffix("/metrics")
        return self._url

    async def get(self, path: str) -> tuple[int, str]:
        """Status and text; 0 where nobody answers yet."""
        try:
            async with httpx.AsyncClient(trust_env=False) as http:
                answer = await http.get(self.url + path)
        except (httpx.HTTPError, httpx.InvalidURL):
            return 0, ""
        return answer.status_code, answer.text

    async def ready(self, partitions: int | None = None, within: float = 60) -> None:
        """Until it has partitions: this many, if told."""

        async def so() -> bool:
            if self.process.poll() is not None:
                raise AssertionError(f"the worker ended with {self.process.returncode}: {self.output}")
            status, words = await self.get("/readyz") if self.url else (0, "")
            return status == 200 and (partitions is None or words.startswith(f"{partitions} "))

        await until(so, within, lambda: f"the worker is not ready: {self.output}")

    async def ends(self, within: float = 60) -> int:
        try:
            return await asyncio.to_thread(self.process.wait, within)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the worker did not end within {within} s: {self.output}") from None

    async def stop(self, within: float = 60) -> tuple[int, float]:
        """SIGTERM; exit code, and how many seconds it took."""
        begun = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        return await self.ends(within), time.monotonic() - begun

    async def end(self) -> None:
        """However it is done."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                await asyncio.to_thread(self.process.wait, 10)
        self.kill()

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


async def until(so: Any, within: float = 30, words: Any = lambda: "it never came") -> None:
    """Until `so()` (or what it awaits) is true."""
    end = time.monotonic() + within
    while True:
        found = so()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return
        if time.monotonic() > end:
            raise AssertionError(words())
        await asyncio.sleep(0.05)


def settings_of(config: Path) -> Settings:
    return load(config, environ={})


@asynccontextmanager
async def producer(config: Path, **more: Any) -> AsyncIterator[AIOKafkaProducer]:
    made = AIOKafkaProducer(bootstrap_servers=settings_of(config).kafka.bootstrap_servers, acks="all", **more)
    await made.start()
    try:
        yield made
    finally:
        await made.stop()


async def produce(config: Path, webhooks: Iterable[Webhook], *, partition: int | None = None) -> list[TopicPartition]:
    """As the ingress does: key `{source}:{contact}`. Returns where each of them is, as (partition, offset)."""
    async with producer(config) as out:
        acks = [
            await out.send(topics.WEBHOOKS, each.value, key=each.key, headers=list(each.headers), partition=partition)
            for each in webhooks
        ]
        return [(ack.partition, ack.offset) for ack in await asyncio.gather(*acks)]


async def begin_afresh(config: Path) -> dict[int, int]:
    """The group has read everything so far. Returns the ends of the dead letters, from which `dead_letters` reads on."""
    settings = settings_of(config)
    async with Reader(settings.kafka) as reader:
        ends = {p: bounds.end for p, bounds in (await reader.bounds(topics.WEBHOOKS)).items()}
        letters = {p: bounds.end for p, bounds in (await reader.bounds(topics.DEAD_LETTERS)).items()}
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka.bootstrap_servers,
        group_id=topics.SUBSCRIPTIONS_GROUP,
        enable_auto_commit=False,
    )
    await consumer.start()
    try:
        partitions = {TopicPartition(topics.WEBHOOKS, p): end for p, end in ends.items()}
        consumer.assign(list(partitions))
        end = time.monotonic() + 30
        while True:
            try:
                await consumer.commit(partitions)
                break
            except CommitFailedError:  # a worker that was killed is a member until its session ends
                if time.monotonic() > end:
                    raise
                await asyncio.sleep(0.5)
    finally:
        await consumer.stop()
    return letters


async def committed(config: Path) -> dict[int, int]:
    async with admin_client(settings_of(config).kafka) as admin:
        group = await read_group(admin, topics.SUBSCRIPTIONS_GROUP)
    return {partition: offset for (topic, partition), offset in group.committed.items() if topic == topics.WEBHOOKS}


async def dead_letters(config: Path, since: dict[int, int]) -> list[Record]:
    found: list[Record] = []
    async with Reader(settings_of(config).kafka) as reader:
        for partition, bounds in (await reader.bounds(topics.DEAD_LETTERS)).items():
            begin = max(bounds.begin, since.get(partition, 0))
            async for some in reader.read(topics.DEAD_LETTERS, partition, begin, bounds.end):
                found += some
    return found


def no_secret_in(texts: Sequence[str]) -> None:
    for text in texts:
        assert not [secret for secret in SECRETS if secret in text]
