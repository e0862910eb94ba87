"""The alerts on what the ingress answers, on a recorded run: a stranger posts what no webhook is, and then the broker goes.

Good webhooks come beside it, and a worker delivers them, as in life.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from listwire import metrics
from sandbox.amplitude import AmplitudeStandIn
from sandbox.kafka import EmbeddedKafka
from tests.exporter_process import Exporter
from tests.ingress_process import FORM, HOOK, SIGNED, running, settings_file
from tests.integration.operations import fresh_topics
from tests.recorded import SCRAPE_EVERY, Recording
from tests.webhook_bodies import webhook
from tests.worker_process import Worker, settings_of

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]
REQUESTS = metrics.INGRESS_REQUESTS.name
LARGEST = 64 * 1024
# Played minutes: the longest `for:` here after the first scrape that shows a rise, and the longest window of a rate.
QUARTER = 15


class Senders:
    """Mailchimp, and a stranger who knows the URLs and neither the signing secret nor how large a webhook may be."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.answers: Counter[int] = Counter()
        self.mailchimp = True
        self.stranger = False

    async def post(self, path: str, body: bytes) -> None:
        async with httpx.AsyncClient(base_url=self.url, trust_env=False, verify=False, timeout=20) as http:
            answer = await http.post(path, content=body, headers=FORM)
        self.answers[answer.status_code] += 1

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        """Twice a scrape; a slow answer holds up nobody else's request."""
        async with asyncio.TaskGroup() as group:

            async def work() -> None:
                number = 0
                while True:
                    number += 1
                    if self.mailchimp:
                        group.create_task(self.post(HOOK, webhook(number, data_list_id="a6b5da1054")))
                    if self.stranger:
                        group.create_task(self.post(SIGNED, webhook(number)))
                        group.create_task(self.post(HOOK, b"x" * (LARGEST + 1)))
                    await asyncio.sleep(SCRAPE_EVERY / 2)

            working = group.create_task(work())
            try:
                yield
            finally:
                working.cancel()


async def test_alerts_on_what_the_ingress_answers_fire_and_clear(broker: EmbeddedKafka, tmp_path: Path) -> None:
    async with AmplitudeStandIn() as amplitude:
        config = settings_file(tmp_path, broker.bootstrap_servers, more='[worker]\nhost = "127.0.0.1"\nport = 0\n')
        table = "[amplitude.product]\n"
        config.write_text(config.read_text().replace(table, f'{table}base_url = "{amplitude.url}"\n'))
        await fresh_topics(settings_of(config))
        worker = Worker(config)
        exporter = Exporter(config, every=SCRAPE_EVERY)
        with running(config, tmp_path / "ingress.log") as ingress:
            try:
                await worker.ready()
                await exporter.start()
                run = Recording(
                    {"ingress": lambda: ingress.url, "worker": lambda: worker.url, "exporter": lambda: exporter.url}
                )
                senders = Senders(ingress.url)
                async with senders.at_work():
                    await faults_come_and_go(run, senders, broker)
            finally:
                await exporter.stop()
                await worker.end()
    assert {204, 401, 413, 503} <= senders.answers.keys() <= {0, 204, 401, 413, 503}
    run.check(tmp_path)


async def faults_come_and_go(run: Recording, senders: Senders, broker: EmbeddedKafka) -> None:
    # Healthy: every alert is silent at every scrape.
    await run.until(metrics.CONNECTION_STATUS.name, lambda status: status == 1, connection="sources.newsletter")
    await run.steps(6)
    run.expect_silence_since(0)

    # A stranger posts what is not signed, and what is too large.
    senders.stranger = True
    for status in ("401", "413"):
        await run.until(REQUESTS, lambda count: count > 0, route="mailchimp", status=status)
    await run.steps(QUARTER + 2)
    run.expect("ListwireWebhooksRejected")

    # The broker is killed: after 8 s Mailchimp is told to come again.
    await asyncio.to_thread(broker.kill)
    await run.until(REQUESTS, lambda count: count > 0, route="mailchimp", status="503")
    await run.until(metrics.EXPORTER_UP.name, lambda up: up == 0)
    await run.steps(4)
    run.expect("ListwireExporterBlind", "ListwireIngressRefuses", "ListwireWebhooksRejected")

    # The broker is back, and the stranger has gone. Nothing of it lasts but the rates' windows.
    senders.stranger = False
    await asyncio.to_thread(broker.start)
    await run.until(metrics.EXPORTER_UP.name, lambda up: up == 1)
    stored = senders.answers[204]
    await run.until(REQUESTS, lambda _count: senders.answers[204] > stored, route="mailchimp", status="204")
    senders.mailchimp = False  # or something would be under way at almost every look
    await run.until_none(metrics.LAG_RECORDS.name)
    await run.hold(QUARTER + 1)
    await run.step()
    run.expect()
