"""The alerts on written numbers, and on what real processes show while faults of the worker's side come and go.

`ops/prometheus/tests/*.yml` are promtool's own unit tests; here they run, and together they name every alert. So do the recorded
runs together: those of time and loss, of a stuck worker, of cohorts and of the ingress are in files of their own.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
import yaml

from listwire import metrics, topics
from sandbox.amplitude import AmplitudeStandIn
from sandbox.faults import Fault
from sandbox.kafka import EmbeddedKafka
from tests import worker_process as processes
from tests.contract.commands import listwire
from tests.delivery_bench import event_record
from tests.exporter_process import Exporter
from tests.integration.operations import fresh_topics
from tests.recorded import RULES, SCRAPE_EVERY, Recording, promtool
from tests.worker_process import API_KEY, OTHER_KEY, PARTITIONS, Worker

WRITTEN = sorted((RULES.parent / "tests").glob("*.yml"))
ALERTS = {rule["alert"] for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]}
STATUS = metrics.CONNECTION_STATUS.name
WAITING = metrics.LETTERS_WAITING.name
# Longer than the longest `for:` that is played, five minutes, with a scrape on either side.
LONG = 8


def test_the_rules_are_valid() -> None:
    promtool("check", "rules", RULES)


@pytest.mark.parametrize("file", WRITTEN, ids=lambda path: path.stem)
def test_alerts_on_written_numbers_are_silent_fire_and_clear(file: Path) -> None:
    promtool("test", "rules", file)


def test_every_alert_is_seen_silent_firing_and_cleared() -> None:
    seen: dict[str, list[bool]] = {}
    for file in WRITTEN:
        for test in yaml.safe_load(file.read_text())["tests"]:
            moments: dict[str, list[bool]] = {}
            for each in sorted(test["alert_rule_test"], key=lambda case: int(case["eval_time"].removesuffix("m"))):
                moments.setdefault(each["alertname"], []).append(bool(each["exp_alerts"]))
            seen |= moments
    assert seen.keys() == ALERTS
    for alert, fired in seen.items():
        assert not fired[0], alert
        assert any(fired), alert
        assert not fired[-1], alert


async def produce_old(config: Path, count: int) -> None:
    """Records that were taken ten minutes ago, so that nobody has to wait for them to grow old."""
    async with processes.producer(config) as out:
        for number in range(count):
            record = event_record(1000 + number)
            await out.send_and_wait(
                topics.WEBHOOKS, record.value, key=record.key, headers=list(record.headers),
                partition=number % PARTITIONS, timestamp_ms=int(time.time() * 1000) - 600_000,
            )  # fmt: skip


@pytest.mark.kafka
@pytest.mark.timeout(400)
async def test_alerts_on_a_recorded_run_fire_in_the_fault_and_clear_after_it(
    broker: EmbeddedKafka, tmp_path: Path
) -> None:
    async with AmplitudeStandIn(api_keys={API_KEY, OTHER_KEY}) as amplitude:
        config = processes.settings_file(
            tmp_path, broker.bootstrap_servers, amplitude.url, delivery="park_after = 1\nprobe_every = 1"
        )
        await fresh_topics(processes.settings_of(config))
        worker = Worker(config)
        running = [worker]
        exporter = Exporter(config, every=SCRAPE_EVERY)
        try:
            await worker.ready(PARTITIONS)
            await exporter.start()
            run = Recording({"worker": lambda: running[-1].url, "exporter": lambda: exporter.url})

            # Healthy: every alert is silent at every scrape.
            await processes.produce(
                config, [event_record(n, n, source=("newsletter", "other")[n % 2]) for n in range(20)]
            )
            await run.until(STATUS, lambda status: status == 1, connection="sources.other")
            await run.until_none(metrics.LAG_RECORDS.name)
            await run.steps(LONG)
            run.expect_silence_since(0)

            # Amplitude refuses one source's key.
            amplitude.faults.refuse_key(OTHER_KEY)
            await processes.produce(config, [event_record(n, n, source="other") for n in range(100, 106)])
            await run.until(WAITING, lambda count: count == 6, connection="sources.other")
            await run.steps(LONG)
            run.expect("ListwireConnectionRefused", "ListwireDeadLetters")

            # The key is good again, and what was parked is brought back.
            amplitude.faults.accept_key(OTHER_KEY)
            await processes.produce(config, [event_record(200, 0, source="other")])
            await run.until(STATUS, lambda status: status == 1, connection="sources.other")
            said = await asyncio.to_thread(
                listwire, "dead-letters", "replay", "--reason", "connection_refused", "--yes", "--config", config,
                cwd=tmp_path,
            )  # fmt: skip
            assert said.code == 0, said.all
            await run.until_none(WAITING)
            await run.steps(2)
            run.expect()

            # Amplitude is down, and comes back.
            amplitude.faults.add(Fault(status=503))
            await processes.produce(config, [event_record(300, 0)])
            await run.until(STATUS, lambda status: status == 2, connection="sources.newsletter")
            await run.steps(LONG)
            run.expect("ListwireVendorDown")
            amplitude.faults.clear()
            await run.until_none(metrics.LAG_RECORDS.name)
            await run.steps(1)
            run.expect()

            # The worker is killed with records waiting; another takes its place.
            running[-1].kill()
            await produce_old(config, 8)
            await run.until(metrics.GROUP_MEMBERS.name, lambda count: count == 0, group=topics.SUBSCRIPTIONS_GROUP)
            await run.until(metrics.LAG_SECONDS.name, lambda age: age > 300)
            await run.steps(4)
            run.expect("ListwireBehind", "ListwireNoWorker")
            running.append(Worker(config, "successor"))
            await running[-1].ready(PARTITIONS)
            await run.until_none(metrics.LAG_RECORDS.name)
            await run.steps(1)
            run.expect()

            # The exporter goes, so nobody knows the lag; the worker's own numbers stay.
            await exporter.stop()
            await run.steps(4)
            run.expect("ListwireExporterBlind")
            await exporter.start()
            await run.steps(1)
            run.expect()
        finally:
            await exporter.stop()
            for each in running:
                await each.end()
    run.check(tmp_path)
