"""The alerts on cohort schedules, on a recorded run of the scheduler: it fails, is refused by its guard, ends, and is well again.

It is started anew for each: at a start it makes a run, and nobody has to wait for a due time.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from listwire import metrics
from sandbox.amplitude import AmplitudeStandIn
from sandbox.kafka import EmbeddedKafka
from sandbox.mailchimp import API_KEY, MailchimpStandIn
from tests.cohort_process import AUDIENCE, TAG, members
from tests.exporter_process import Exporter
from tests.integration.operations import fresh_topics, settings_of
from tests.recorded import SCRAPE_EVERY, Recording
from tests.worker_process import Worker

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]
STATUS = metrics.SCHEDULE_STATUS.name
SCHEDULER = """
import sys
from listwire.cli import main
sys.argv = ["listwire", "--config", sys.argv[1], "cohorts", "sync", "--scheduled"]
main()
"""


async def test_alerts_on_a_schedule_fire_while_it_is_unwell_and_clear_after_it(
    broker: EmbeddedKafka, tmp_path: Path
) -> None:
    async with AmplitudeStandIn() as amplitude, MailchimpStandIn() as mailchimp:
        config = tmp_path / "listwire.toml"
        config.write_text(f"""
[kafka]
bootstrap_servers = "{broker.bootstrap_servers}"
[scheduler]
host = "127.0.0.1"
port = 0
[amplitude.product]
api_key = "a-key-of-amplitude-0123456789abcdef"
secret_key = "a-secret-of-amplitude-0123456789"
base_url = "{amplitude.url}"
[mailchimp.acme]
api_key = "{API_KEY}"
base_url = "{mailchimp.url}"
[cohort_syncs.newsletter]
mailchimp = "acme"
audience = "{AUDIENCE}"
[cohort_schedules.power]
sync = "newsletter"
amplitude = "product"
cohort = "{TAG}"
cron = "0 4 1 1 *"
""")
        await fresh_topics(settings_of(config))
        mailchimp.audience.seed(10)
        mailchimp.account.tags.create(mailchimp.audience, TAG, members(10), "hand")
        people = [{"user_id": address, "email": address} for address in members(10)]
        amplitude.cohorts.add("c1", TAG, people)
        amplitude.cohorts.polls = 0
        running: list[Worker] = []
        exporter = Exporter(config, every=SCRAPE_EVERY)
        run = Recording({"scheduler": lambda: running[-1].url, "exporter": lambda: exporter.url})

        async def start() -> None:
            for each in running:
                await each.end()
            running.append(Worker(config, f"scheduler{len(running)}", code=SCHEDULER))

        try:
            await exporter.start()

            # Healthy: every alert is silent at every scrape.
            await start()
            await run.until(STATUS, lambda status: status == 1)
            await run.steps(3)
            run.expect_silence_since(0)

            # Mailchimp refuses the key.
            mailchimp.api_keys.clear()
            await start()
            await run.until(STATUS, lambda status: status == 2)
            run.expect("ListwireCohortScheduleFailed")

            # The key is good again, and the cohort has nobody in it.
            mailchimp.api_keys.add(API_KEY)
            amplitude.cohorts.add("c1", TAG, [])
            await start()
            await run.until(STATUS, lambda status: status == 3)
            run.expect("ListwireCohortScheduleRefused")

            # No scheduler at all.
            await running[-1].end()
            await run.hold(65)
            run.expect("ListwireCohortScheduleLate")

            # It is back, and so are the cohort's people.
            amplitude.cohorts.add("c1", TAG, people)
            await start()
            await run.until(STATUS, lambda status: status == 1)
            await run.step()
            run.expect()
        finally:
            await exporter.stop()
            for each in running:
                await each.end()
    assert mailchimp.audience.tagged(TAG) == set(members(10))
    run.check(tmp_path)
