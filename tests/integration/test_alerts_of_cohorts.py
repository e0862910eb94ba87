"""The alerts on the way to Mailchimp, on a recorded run: an account that is throttled for long, and two cohorts of one name.

A scrape is played as a minute, and the worker's clock runs at that pace: its pauses after a complaint, up to a minute each,
are up to one scrape, as they would be for a Prometheus.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from listwire import metrics
from sandbox.faults import Fault
from sandbox.kafka import EmbeddedKafka
from tests.cohort_process import Message, Stage, members
from tests.exporter_process import Exporter
from tests.fast_clock import build
from tests.recorded import SCRAPE_EVERY, Recording
from tests.worker_process import Worker

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]
PACE = int(60 / SCRAPE_EVERY)
LIMIT = metrics.CONNECTION_LIMIT.name
STATUS = metrics.CONNECTION_STATUS.name
SHARED = metrics.SHARED_TAGS.name
FIRST, SECOND = members(4)[:2], members(4)[2:]


async def test_alerts_on_a_slow_mailchimp_and_a_shared_tag_fire_and_clear(
    broker: EmbeddedKafka, tmp_path: Path
) -> None:
    async with (
        Stage.set(broker.bootstrap_servers, tmp_path) as stage,
        Exporter(stage.config, every=SCRAPE_EVERY) as exporter,
    ):
        stage.mailchimp.audience.seed(4)
        worker = Worker(stage.config, code=build(PACE, "cohorts"))
        stage.workers.append(worker)
        await worker.ready()
        run = Recording({"worker": lambda: worker.url, "exporter": lambda: exporter.url})

        # Healthy: every alert is silent at every scrape.
        await stage.publish(Message(FIRST, name="Power users", cohort="c1"), Message(FIRST, name="Trial", cohort="c2"))
        await stage.carried_by(FIRST, "Power users")
        await stage.carried_by(FIRST, "Trial")
        await run.until(STATUS, lambda status: status == 1, connection="cohort_syncs.newsletter")
        await run.until_none(metrics.LAG_RECORDS.name)
        await run.steps(4)
        run.expect_silence_since(0)

        # Mailchimp answers 429 to whatever it is asked.
        stage.mailchimp.faults.add(Fault(status=429))
        await stage.publish(Message(SECOND, name="Power users", cohort="c1"))
        await run.until(LIMIT, lambda granted: granted <= 2, account="acme")
        await run.until(metrics.RETRIES.name, lambda count: count > 1, vendor="mailchimp", cause="429")
        await run.steps(14)
        run.expect("ListwireMailchimpSlowedDown", "ListwireVendorDown")

        # It answers again. One call is all there is to do, so the connections are not won back; and yet nothing is slow.
        stage.mailchimp.faults.clear()
        await stage.carried_by([*FIRST, *SECOND], "Power users")
        await run.until_none(metrics.LAG_RECORDS.name)
        await run.hold(5)
        latest = await run.step()
        run.expect()
        assert [value <= 2 for (name, _labels), value in latest.items() if name == LIMIT] == [True]

        # Amplitude has another cohort whose name is the same tag.
        await stage.publish(Message(FIRST, name="POWER users", cohort="c3"))
        await run.until(SHARED, lambda cohorts: cohorts == 2, connection="cohort_syncs.newsletter")
        run.expect("ListwireCohortsShareATag")

        # Somebody renames it.
        await stage.publish(Message(FIRST, name="Power users of the club", cohort="c3"))
        await run.until(SHARED, lambda cohorts: cohorts == 0, connection="cohort_syncs.newsletter")
        run.expect()
    run.check(tmp_path)
