"""The console's words beside a real worker whose key Amplitude refuses, and accepts again."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from console.status import NO_WORKER, Verdict
from console.watch import Watch
from listwire import kafka_admin, topics
from listwire.settings import Settings
from sandbox.amplitude import AmplitudeStandIn
from sandbox.kafka import EmbeddedKafka
from sandbox.kafka.ports import pick_port
from tests.integration import operations
from tests.webhook_bodies import webhook

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]

SHOP = "sources.newsletter"


@asynccontextmanager
async def worker(file: Path, port: int) -> AsyncIterator[None]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LISTWIRE_")}
    with (file.parent / "worker.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "listwire", "worker", "subscriptions", "--config", str(file), "--port", str(port)],
            env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        yield
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait, 60)


async def post(settings: Settings, number: int) -> None:
    body = webhook(number, data_list_id="a6b5da1054")
    async with operations.producer(settings) as out:
        await out.send_and_wait(topics.WEBHOOKS, body, partition=0, headers=[("source", b"newsletter")])


async def until(watch: Watch, good: Callable[[Verdict], bool]) -> Verdict:
    try:
        async with asyncio.timeout(60):
            while True:
                found = watch.picture.verdict(SHOP, watch.clock.time())
                if watch.picture.at is not None and good(found):
                    return found
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise AssertionError(f"{found} {watch.picture.evidence(SHOP)}") from None


async def test_refused_as_the_worker_says_then_as_the_letters_say_then_connected_again(
    broker: EmbeddedKafka, tmp_path: Path
) -> None:
    port = pick_port()
    async with AmplitudeStandIn(api_keys={"another-key"}) as amplitude:
        file = operations.settings_file(broker.bootstrap_servers, tmp_path / "listwire.toml", amplitude=amplitude.url)
        file.write_text(
            f"{file.read_text()}\n[delivery]\npark_after = 8\nprobe_every = 1\n"
            f'[console]\nworkers = ["http://127.0.0.1:{port}"]\n'
        )
        settings = operations.settings_of(file)
        await operations.fresh_topics(settings)
        watch = Watch(settings)
        async with watch.running():
            async with worker(file, port):
                await until(watch, lambda v: v.words == "Waiting for the first event" and not v.notes)
                await post(settings, 1)
                # No letter yet: the vendor itself is asked what it has against the key.
                await until(watch, lambda v: v.words == "Refused: Amplitude says the API key is invalid")
                async with asyncio.timeout(60):
                    while not watch.picture.letters.count:
                        await asyncio.sleep(0.1)
                await until(watch, lambda v: v.words == "Refused: Amplitude says the API key is invalid")
            found = await until(watch, lambda v: NO_WORKER in v.notes)
            assert found.words == "Refused: Amplitude says the API key is invalid", "the letters say it too"
            amplitude.api_keys = None
            async with worker(file, port):
                await until(watch, lambda v: "started since" in "".join(v.notes))
                await post(settings, 2)
                await until(watch, lambda v: v.words == "Connected")
            await post(settings, 3)
            found = await until(watch, lambda v: v.words.startswith("Behind by"))
            assert found.notes == (NO_WORKER,)


async def test_a_kafka_that_goes_and_comes_back_leaves_the_picture_standing_meanwhile(tmp_path: Path) -> None:
    with EmbeddedKafka(tmp_path / "kafka") as broker:
        settings = operations.settings_of(
            operations.settings_file(broker.bootstrap_servers, tmp_path / "listwire.toml")
        )
        await kafka_admin.ensure(settings)
        await post(settings, 1)
        watch = Watch(settings)
        async with watch.running():
            await until(watch, lambda v: v.words.startswith("Behind by"))
            await asyncio.to_thread(broker.stop)
            async with asyncio.timeout(60):
                while watch.picture.fault is None:
                    await asyncio.sleep(0.1)
            assert len(watch.picture.events.of[SHOP].newest) == 1
            await asyncio.to_thread(broker.start)
            assert broker.bootstrap_servers in (settings.kafka.bootstrap_servers or "")
            async with asyncio.timeout(60):
                while watch.picture.fault is not None:
                    await asyncio.sleep(0.1)
            await post(settings, 2)
            async with asyncio.timeout(60):
                while len(watch.picture.events.of[SHOP].newest) != 2:
                    await asyncio.sleep(0.1)
