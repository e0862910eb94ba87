"""The alert on a worker that hangs, on a recorded run: it must be seen although the watchdog ends the process a minute later.

A scrape is played as 10 s, about as often as a Prometheus looks, and the planted build's clock and watchdog run at that same
pace: so what is played lasts as long as it would in truth, and the two minutes of the hang are twelve seconds of the test.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from listwire import metrics
from sandbox.amplitude import AmplitudeStandIn
from sandbox.kafka import EmbeddedKafka
from stream.fail_stop import EXIT_CODE
from tests import worker_process as processes
from tests.delivery_bench import event_record
from tests.exporter_process import Exporter
from tests.fast_clock import build
from tests.integration.operations import fresh_topics
from tests.recorded import Recording
from tests.worker_process import API_KEY, OTHER_KEY, PARTITIONS, Worker

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]
PACE = 10
# Seconds between two scrapes: the numbers of a worker that is about to be ended stand for three of them.
EVERY = 1.0
# What a fault of ours could be: whatever comes of the source `second` is never settled, nor tried again.
HANG = """
import asyncio
from stream.to_amplitude import AmplitudeCourier
deliver = AmplitudeCourier.deliver

async def hang(self, items, settlement):
    if self.connection.name == "sources.second":
        await asyncio.Event().wait()
    await deliver(self, items, settlement)

AmplitudeCourier.deliver = hang
"""


async def test_a_worker_that_hangs_is_told_of_before_and_after_its_watchdog_has_ended_it(
    broker: EmbeddedKafka, tmp_path: Path
) -> None:
    async with AmplitudeStandIn(api_keys={API_KEY, OTHER_KEY}) as amplitude:
        config = processes.settings_file(tmp_path, broker.bootstrap_servers, amplitude.url)
        await fresh_topics(processes.settings_of(config))
        running = [Worker(config, "planted", code=build(PACE, "subscriptions", HANG))]
        exporter = Exporter(config, every=EVERY)
        try:
            await running[-1].ready(PARTITIONS)
            await exporter.start()
            run = Recording(
                {"worker": lambda: running[-1].url, "exporter": lambda: exporter.url}, interval=PACE, every=EVERY
            )

            # Healthy: every alert is silent at every scrape.
            await processes.produce(config, [event_record(n, n) for n in range(8)])
            await run.until(metrics.CONNECTION_STATUS.name, lambda status: status == 1)
            await run.until_none(metrics.LAG_RECORDS.name)
            await run.steps(4)
            run.expect_silence_since(0)

            # One delivery hangs.
            await processes.produce(config, [event_record(100, 0, source="second")])
            await run.until(metrics.PROGRESS_AGE.name, lambda age: age > 90)
            run.expect("ListwireWorkerStuck")
            assert await running[-1].ends() == EXIT_CODE
            await run.steps(2)
            run.expect("ListwireWorkerStuck")

            # Another build takes its place, and what hung is delivered.
            running.append(Worker(config, "mended"))
            await running[-1].ready(PARTITIONS)
            await run.until_none(metrics.LAG_RECORDS.name)
            assert len(amplitude.state) == 9
            await run.until_none(metrics.PROGRESS_AGE.name)
            await run.hold(5 * 60 // PACE)
            await run.step()
            run.expect()
        finally:
            await exporter.stop()
            for each in running:
                await each.end()
    run.check(tmp_path)
