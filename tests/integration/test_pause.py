"""pause and resume with a real worker: what is held becomes dead letters, what comes back comes oldest first, others never wait."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from listwire import topics
from listwire.kafka_reader import Reader
from listwire.settings import Settings, load
from sandbox.amplitude import AmplitudeStandIn
from sandbox.kafka import EmbeddedKafka
from tests.contract.commands import listwire
from tests.integration.operations import fresh_topics, producer

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]


def settings_file(directory: Path, bootstrap: str, amplitude: str) -> Path:
    file = directory / "listwire.toml"
    sources = "".join(
        f'[sources.{name}]\naudience = "{name}"\namplitude = "product"\nsecrets = ["a-secret-of-{name}"]\n'
        for name in ("one", "two")
    )
    file.write_text(
        f'[kafka]\nbootstrap_servers = "{bootstrap}"\n[topics]\npartitions = 1\n'
        f'[amplitude.product]\napi_key = "0123456789abcdef"\nbase_url = "{amplitude}"\n[worker]\nhost = "127.0.0.1"\nport = 0\n{sources}'
    )
    return file


def webhook(source: str, number: int) -> bytes:
    return f"type=subscribe&fired_at=2026-11-22+10%3A00%3A{number:02}&data[id]=c{number}&data[email]=p{number}%40example.com&data[list_id]={source}".encode()


async def post(settings: Settings, source: str, numbers: range) -> None:
    async with producer(settings) as made:
        for number in numbers:
            await made.send_and_wait(
                topics.WEBHOOKS,
                webhook(source, number),
                key=f"{source}:c{number}".encode(),
                headers=[("source", source.encode())],
            )


async def count(settings: Settings, topic: str) -> int:
    async with Reader(settings.kafka) as reader:
        return sum(bounds.end for bounds in (await reader.bounds(topic)).values())


async def until(condition, seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.1)


@asynccontextmanager
async def worker(file: Path) -> AsyncIterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "listwire", "worker", "subscriptions", "--config", str(file)],
        env=dict(os.environ),
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(process.wait, 30)


async def test_a_paused_source_is_parked_the_other_flows_and_resume_brings_it_all_back(
    broker: EmbeddedKafka, tmp_path: Path
) -> None:
    async with AmplitudeStandIn(keep="full") as amplitude:
        file = settings_file(tmp_path, broker.bootstrap_servers, amplitude.url)
        settings = load(file, {})
        await fresh_topics(settings)
        paused = await asyncio.to_thread(
            listwire, "pause", "one", "--why", "a migration", "--config", file, cwd=tmp_path
        )
        assert paused.code == 0, paused.err
        assert "sources.one is paused" in paused.out
        async with worker(file):
            await post(settings, "one", range(5))
            await post(settings, "two", range(5, 10))
            await until(lambda: _async(len(amplitude.state) == 5))
            await until(lambda: _dead(settings, 5))
            assert {event["event_properties"]["source"] for event in amplitude.state.events} == {"two"}
            letters = await asyncio.to_thread(listwire, "dead-letters", "ls", "--json", "--config", file, cwd=tmp_path)
            assert "connection_refused" in letters.out
            assert "sources.one" in letters.out
            resumed = await asyncio.to_thread(listwire, "resume", "sources.one", "--config", file, cwd=tmp_path)
            assert resumed.code == 0, resumed.err
            assert "5 letters replayed" in resumed.out
            await until(lambda: _async(len(amplitude.state) == 10))
            back = [
                event["event_properties"]["contact_id"]
                for event in amplitude.state.events
                if event["event_properties"]["source"] == "one"
            ]
            assert back == [f"c{number}" for number in range(5)]


async def _async(value: bool) -> bool:
    return value


async def _dead(settings: Settings, wanted: int) -> bool:
    return await count(settings, topics.DEAD_LETTERS) >= wanted


async def test_a_name_that_two_connections_have_must_be_written_whole(tmp_path: Path) -> None:
    file = settings_file(tmp_path, "127.0.0.1:1", "http://127.0.0.1:1")
    with file.open("a") as more:
        more.write('[mailchimp.acme]\napi_key = "k-us6"\n[cohort_syncs.one]\nmailchimp = "acme"\naudience = "a"\n')
    answer = listwire("pause", "one", "--config", file, cwd=tmp_path)
    assert answer.code == 2
    assert "sources.one or cohort_syncs.one" in answer.err
    unknown = listwire("resume", "nobody", "--config", file, cwd=tmp_path)
    assert unknown.code == 2
    assert "There is no connection 'nobody'" in unknown.err
