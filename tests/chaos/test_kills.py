"""Ingress and worker are killed again and again under load: nothing that was answered 2xx is missing, nothing overtakes.

Told from outside only: by the poster, which knows what it was answered; by the topic; and by the stand-in for Amplitude, which
answers one request in ten with an error on either side of accepting it. Each kill waits for a delivery that is under way.
`LISTWIRE_CHAOS_KILLS` says how many of each kind (10).
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections import defaultdict
from pathlib import Path

import aiohttp
import orjson
import pytest

from listwire import topics
from listwire.kafka_admin import ensure
from listwire.kafka_reader import Reader
from sandbox.amplitude import AmplitudeStandIn
from sandbox.faults import Fault
from sandbox.kafka import EmbeddedKafka
from sandbox.kafka.ports import pick_port
from stream.codecs.mailchimp_webhook import Event, Webhooks
from tests import worker_process as processes
from tests.delivery_bench import event_record
from tests.ingress_process import FORM, Ingress
from tests.webhook_bodies import AUDIENCE
from tests.worker_process import API_KEY, PARTITIONS, SECRETS, Worker, until

KILLS = int(os.environ.get("LISTWIRE_CHAOS_KILLS", "10"))
CONTACTS = 40
# Between two webhooks of one contact, seconds.
EVERY = 0.6

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.chaos,
    pytest.mark.timeout(240 + 80 * KILLS),
    pytest.mark.xdist_group("subscription kills"),
]


class Poster:
    """Posts as Mailchimp does, each contact's webhooks in order, each until it is answered 2xx. `answered`: insert_ids by
    contact, in that order.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.read = Webhooks("newsletter", AUDIENCE).reader()
        self.answered: dict[int, list[str]] = defaultdict(list)
        self.refused = 0
        self.enough = asyncio.Event()
        self._number = 0

    async def run(self) -> None:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(12)) as http:
            await asyncio.gather(*[self._contact(contact, http) for contact in range(CONTACTS)])

    async def _contact(self, contact: int, http: aiohttp.ClientSession) -> None:
        await asyncio.sleep(EVERY * contact / CONTACTS)
        while not self.enough.is_set():
            self._number += 1
            body = event_record(self._number, contact).value or b""
            while not await self._taken(body, http):
                self.refused += 1
                await asyncio.sleep(0.2)
            event = self.read(body)
            assert isinstance(event, Event)
            self.answered[contact].append(orjson.loads(event.body)["insert_id"])
            await asyncio.sleep(EVERY)

    async def _taken(self, body: bytes, http: aiohttp.ClientSession) -> bool:
        try:
            async with http.post(self.url, data=body, headers=FORM) as answer:
                return answer.ok
        except (aiohttp.ClientError, TimeoutError):
            return False

    @property
    def ids(self) -> set[str]:
        return {each for answered in self.answered.values() for each in answered}


class Stage:
    def __init__(self, config: Path, amplitude: AmplitudeStandIn) -> None:
        self.config = config
        self.amplitude = amplitude
        self.outputs: list[str] = []
        self.starts = 0

    def start_worker(self) -> None:
        self.starts += 1
        self.worker = Worker(self.config, f"worker{self.starts}")

    def start_ingress(self) -> None:
        self.ingress = Ingress(self.config, self.config.parent / f"ingress{self.starts}.log")

    async def kill(self, how: signal.Signals) -> None:
        """Both at once, with a delivery under way; then both again, until events arrive that were posted afterwards."""
        await until(lambda: self.amplitude.state.in_flight > 0)
        pids = (
            [*self.ingress.workers(), self.ingress.process.pid] if how is signal.SIGKILL else [self.ingress.process.pid]
        )
        for pid in [self.worker.process.pid, *pids]:
            os.kill(pid, how)
        codes = await asyncio.gather(self.worker.ends(), asyncio.to_thread(self.ingress.process.wait, 30))
        if how is signal.SIGTERM:
            assert set(codes) == {0}, f"{self.worker.output}\n{self.ingress.output}"
        self.outputs += [self.worker.output, self.ingress.output]
        before = len(self.amplitude.state)
        self.start_ingress()
        self.start_worker()
        await asyncio.to_thread(self.ingress.wait_until_ready)
        await self.worker.ready(PARTITIONS)
        await until(lambda: len(self.amplitude.state) > before, 60, lambda: self.worker.output)

    async def end(self) -> None:
        await self.worker.end()
        await asyncio.to_thread(self.ingress.stop, signal.SIGKILL)
        self.outputs += [self.worker.output, self.ingress.output]


async def stored(config: Path) -> set[str]:
    """The insert_ids of all webhooks in the topic."""
    read = Webhooks("newsletter", AUDIENCE).reader()
    found: set[str] = set()
    async with Reader(processes.settings_of(config).kafka) as reader:
        for partition, bounds in (await reader.bounds(topics.WEBHOOKS)).items():
            async for records in reader.read(topics.WEBHOOKS, partition, bounds.begin, bounds.end):
                for record in records:
                    event = read(record.value)
                    assert isinstance(event, Event)
                    found.add(orjson.loads(event.body)["insert_id"])
    return found


async def test_nothing_answered_2xx_is_lost_and_nothing_overtakes_whoever_is_killed(tmp_path: Path) -> None:
    with EmbeddedKafka() as broker:
        async with AmplitudeStandIn(api_keys={API_KEY}, latency=0.2, jitter=0.15, keep="ids") as amplitude:
            port = pick_port()
            config = processes.settings_file(tmp_path, broker.bootstrap_servers, amplitude.url)
            config.write_text(config.read_text() + f'\n[ingress]\nhost = "127.0.0.1"\nport = {port}\n')
            await ensure(processes.settings_of(config))
            amplitude.faults.mix(
                0.1,
                [
                    Fault(status=500),
                    Fault(status=502, when="after"),
                    Fault(kind="reset", when="after"),
                    Fault(kind="reset"),
                ],
            )
            stage = Stage(config, amplitude)
            stage.start_ingress()
            stage.start_worker()
            poster = Poster(f"http://127.0.0.1:{port}/webhooks/mailchimp/newsletter/{SECRETS[2]}")
            posting = asyncio.ensure_future(poster.run())
            try:
                await stage.worker.ready(PARTITIONS)
                order = [signal.SIGKILL, signal.SIGTERM] * KILLS
                random.Random(1).shuffle(order)
                for how in order:
                    await stage.kill(how)
                poster.enough.set()
                await posting
                await until(
                    lambda: poster.ids <= set(amplitude.state.insert_ids()),
                    60,
                    lambda: f"{len(poster.ids - set(amplitude.state.insert_ids()))} missing at Amplitude",
                )
            finally:
                posting.cancel()
                await asyncio.gather(posting, return_exceptions=True)
                await stage.end()
            assert poster.ids <= await stored(config)

            accepted = {insert_id: at for at, insert_id in enumerate(amplitude.state.insert_ids())}
            for contact, ids in poster.answered.items():
                order_of_arrival = [accepted[insert_id] for insert_id in ids]
                assert order_of_arrival == sorted(order_of_arrival), f"contact {contact} out of order"
            assert len(poster.ids) > CONTACTS * KILLS
            assert poster.refused > 0
            processes.no_secret_in(stage.outputs)
