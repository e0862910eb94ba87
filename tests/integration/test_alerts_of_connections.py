"""The alerts on a webhook that Mailchimp has dropped, and on settings that a process does not run with, on a recorded run."""

from __future__ import annotations

from pathlib import Path

import pytest

from listwire import hooks, metrics
from listwire.settings import load
from sandbox.kafka import EmbeddedKafka
from sandbox.mailchimp import API_KEY, MailchimpStandIn
from tests.integration.operations import fresh_topics
from tests.recorded import Recording
from tests.worker_process import Worker
from vendors.mailchimp import Mailchimp

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]
OK = metrics.WEBHOOK_OK.name
STALE = metrics.SETTINGS_STALE.name
EXPORTER = """
import sys
from listwire import settings_watch
from listwire.cli import main
from vendors import webhooks
settings_watch.EVERY = 0.5
webhooks.WATCH_EVERY = 0.5
webhooks.GRACE = 0.5
sys.argv = ["listwire", "--config", sys.argv[1], "exporter"]
main()
"""


async def _reachable(_url: str) -> int:
    return 200


async def test_alerts_on_a_dropped_webhook_and_on_old_settings_fire_and_clear(
    broker: EmbeddedKafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with MailchimpStandIn() as mailchimp:
        monkeypatch.setattr(mailchimp.account.sender, "verify", _reachable)
        config = tmp_path / "listwire.toml"
        text = f"""
[kafka]
bootstrap_servers = "{broker.bootstrap_servers}"
[ingress]
public_url = "https://hooks.example.com"
[exporter]
host = "127.0.0.1"
port = 0
[amplitude.product]
api_key = "a-key-of-amplitude-0123456789abcdef"
[mailchimp.acme]
api_key = "{API_KEY}"
base_url = "{mailchimp.url}"
[sources.newsletter]
mailchimp = "acme"
audience = "{mailchimp.audience.id}"
amplitude = "product"
secrets = ["a-secret-in-the-path"]
"""
        config.write_text(text)
        settings = load(config, {})
        await fresh_topics(settings)
        exporter = Worker(config, "exporter", code=EXPORTER)
        run = Recording({"exporter": lambda: exporter.url})
        try:
            await exporter.ready()
            async with Mailchimp(mailchimp.url, api_key=API_KEY) as client:
                # Healthy: every alert is silent at every scrape.
                await hooks.ensure(client, settings, "newsletter")
                await run.until(OK, lambda value: value == 1)
                begin = len(run.scrapes)
                await run.steps(3)
                run.expect_silence_since(begin)

                # Mailchimp drops the webhook.
                mailchimp.audience.webhooks.clear()
                await run.until(OK, lambda value: value == 0)
                await run.steps(4)
                run.expect("ListwireWebhookGone")

                # It is made again; somebody changes the settings and starts nothing anew.
                await hooks.ensure(client, settings, "newsletter")
                await run.until(OK, lambda value: value == 1)
                config.write_text(text + "[delivery]\npark_after = 30\n")
                await run.until(STALE, lambda value: value == 1)
                await run.hold(16)
                await run.step()
                run.expect("ListwireSettingsStale")

                # The change is taken back.
                config.write_text(text)
                await run.until(STALE, lambda value: value == 0)
                run.expect()
        finally:
            await exporter.end()
        run.check(tmp_path)
