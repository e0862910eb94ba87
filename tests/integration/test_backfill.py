"""An outage of two hours, played through: Mailchimp's stand-in, the ingress, a real Kafka, the worker, Amplitude's stand-in.

People go on subscribing and leaving while webhooks reach nobody. Afterwards `listwire backfill` writes what was missed, and
Amplitude holds every event once, those that arrived unchanged, and nothing that only might have been.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pty
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete

from console.quiet import A_LOOK, Quiet
from ingress.keys import webhook_key
from listwire import topics
from listwire.backfill.gaps import DAY
from listwire.backfill.publish import CHUNK
from listwire.clock import SystemClock
from listwire.kafka_admin import admin_client
from listwire.kafka_reader import Reader
from sandbox.amplitude import AmplitudeStandIn
from sandbox.kafka import EmbeddedKafka
from sandbox.mailchimp import API_KEY, AUDIENCE, Happening, MailchimpStandIn
from stream.codecs.mailchimp_webhook import insert_id
from tests.contract.commands import Ran, listwire, listwire_here
from tests.ingress_process import running
from tests.integration.operations import fresh_topics, producer, records, settings_of
from tests.worker_process import Worker, until
from vendors.mailchimp import Mailchimp

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240), pytest.mark.xdist_group("backfill")]

KEY = "key-of-amplitude-0123456789abcdef"
SECRET = "swordfish-swordfish-swordfish"
HOUR = 3600


@dataclass
class Stage:
    """`at` is Mailchimp's clock: the outage lies hours ago, when Mailchimp has long given up."""

    config: Path
    amplitude: AmplitudeStandIn
    mailchimp: MailchimpStandIn = field(init=False)
    start: int = field(default_factory=lambda: int(time.time()) - 6 * HOUR)
    at: int = 0

    def __post_init__(self) -> None:
        self.at = self.start
        self.mailchimp = MailchimpStandIn(clock=lambda: self.at)

    def happens(self, what: Any, minute: float, who: str, **more: Any) -> None:
        self.at = self.start + int(minute * 60)
        self.mailchimp.happen(Happening(what=what, email_address=f"{who}@example.com", **more))

    async def hook(self, url: str) -> None:
        await self.mailchimp.webhooks_settled()
        sources = dict.fromkeys(("user", "admin", "api"), False) | {"user": True}
        async with Mailchimp(self.mailchimp.url, api_key=API_KEY) as client:
            await client.create_webhook(
                AUDIENCE, f"{url}/webhooks/mailchimp/newsletter/{SECRET}", events={"subscribe", "unsubscribe"},
                sources={name for name, on in sources.items() if on},
            )  # fmt: skip

    async def old_record(self) -> None:
        """The topic goes back to before the outage."""
        body = b"type=profile&fired_at=2026-01-01+00%3A00%3A00&data[id]=0&data[list_id]=" + AUDIENCE.encode()
        async with producer(settings_of(self.config)) as out:
            await out.send_and_wait(
                topics.WEBHOOKS, body, key=b"newsletter:0", timestamp_ms=(self.start - 12 * HOUR) * 1000,
                headers=[("source", b"newsletter"), ("received_at", b"1"), ("request_id", b"r")],
            )  # fmt: skip

    async def backfill(self, *arguments: str, since: int | None = None) -> Ran:
        where = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(self.start if since is None else since))
        ran = await asyncio.to_thread(
            listwire_here, "--config", self.config, "backfill", "--source", "newsletter", "--since", where, *arguments,
            cwd=self.config.parent,
        )  # fmt: skip
        assert "Traceback" not in ran.all
        return ran

    async def report(self, *arguments: str) -> dict[str, Any]:
        ran = await self.backfill("--json", *arguments)
        assert ran.code == 0, ran.all
        return dict(json.loads(ran.out))

    async def webhooks(self) -> int:
        return len(await records(settings_of(self.config), topics.WEBHOOKS))

    def events(self) -> Counter[tuple[str, str, int]]:
        """What Amplitude holds: who, what, minute."""
        return Counter(
            (
                event["user_id"].partition("@")[0],
                event["event_type"].partition(" ")[2],
                round((event["time"] / 1000 - self.start) / 60, 3),
            )
            for event in self.amplitude.state.events
        )

    async def holds(self, *wanted: tuple[str, str, float]) -> None:
        await until(lambda: self.events() == Counter(wanted), 30, lambda: f"{self.events()} instead of {wanted}")


@pytest.fixture
async def stage(broker: EmbeddedKafka, tmp_path: Path) -> AsyncIterator[Stage]:
    async with AmplitudeStandIn(api_keys={KEY}) as amplitude:
        found = Stage(tmp_path / "listwire.toml", amplitude)
        async with found.mailchimp:
            found.config.write_text(f"""
[kafka]
bootstrap_servers = "{broker.bootstrap_servers}"
[topics]
partitions = 3
[ingress]
host = "127.0.0.1"
port = 0
[worker]
host = "127.0.0.1"
port = 0
[amplitude.product]
api_key = "{KEY}"
base_url = "{amplitude.url}"
[mailchimp.acme]
api_key = "{API_KEY}"
base_url = "{found.mailchimp.url}"
[sources.newsletter]
mailchimp = "acme"
audience = "{AUDIENCE}"
amplitude = "product"
secrets = ["{SECRET}"]
[sources.unread]
audience = "{AUDIENCE}"
amplitude = "product"
secrets = ["{SECRET}"]
""")
            await fresh_topics(settings_of(found.config))
            yield found


@asynccontextmanager
async def whole(stage: Stage) -> AsyncIterator[None]:
    """With ingress and worker."""
    worker = Worker(stage.config)
    try:
        with running(stage.config, stage.config.parent / "ingress.log") as ingress:
            await worker.ready(3)
            await stage.hook(ingress.url)
            yield
    finally:
        await worker.end()


async def test_after_two_hours_of_outage_amplitude_holds_each_event_that_can_be_told_exactly_once(stage: Stage) -> None:
    await stage.old_record()
    async with whole(stage):
        # Before: everything arrives.
        stage.happens("subscribe", 1, "ann")
        stage.happens("subscribe", 2, "bob")
        stage.happens("subscribe", 3, "cat")
        stage.happens("subscribe", 4, "dan")
        await stage.mailchimp.webhooks_settled()
        # Two hours: nothing does.
        stage.mailchimp.behaviour.send_webhooks = False
        stage.happens("unsubscribe", 60, "ann", campaign_id="c0ffee")
        stage.happens("subscribe", 70, "eve")  # new, and stays
        stage.happens("subscribe", 75, "fox")  # came and went, and came again
        stage.happens("unsubscribe", 80, "fox")
        stage.happens("unsubscribe", 90, "bob")
        stage.happens("profile", 95, "bob", merge_fields={"FNAME": "Bob"})  # hides when he left
        stage.happens("subscribe", 100, "fox")
        stage.happens("profile", 105, "cat", merge_fields={"FNAME": "Cat"})  # no event
        stage.happens("archive", 110, "dan", source="admin")
        stage.happens("subscribe", 115, "api", source="api")  # no webhook tells of it
        stage.happens("unsubscribe", 118, "eve", source="admin")  # nor of this
        # After: it goes on, also for those who were there meanwhile.
        stage.mailchimp.behaviour.send_webhooks = True
        stage.happens("subscribe", 130, "ann")
        stage.happens("subscribe", 131, "gus")
        await stage.mailchimp.webhooks_settled()
        before = (
            ("ann", "subscribe", 1), ("bob", "subscribe", 2), ("cat", "subscribe", 3), ("dan", "subscribe", 4),
            ("ann", "subscribe", 130), ("gus", "subscribe", 131),
        )  # fmt: skip
        await stage.holds(*before)

        dry = await stage.backfill("--dry-run")
        assert dry.code == 0, dry.all
        assert "5 would be written" in dry.out
        assert "@example.com" not in dry.all
        assert "eve@example.com" not in dry.out
        held = await stage.webhooks()

        done = await stage.report("--yes")
        assert (done["found"], done["already_there"], done["written"], done["not_told"]) == (11, 6, 5, 1)
        assert await stage.webhooks() == held + 5
        missed = (
            ("ann", "unsubscribe", 60), ("eve", "subscribe", 70), ("fox", "unsubscribe", 80), ("bob", "unsubscribe", 90),
            ("fox", "subscribe", 100),
        )  # fmt: skip
        await stage.holds(*before, *missed)

        listed = (await stage.report("--yes", "--show-addresses"))["listed"]
        assert {(each["who"].partition("@")[0], each["kind"], each["why"]) for each in listed} == {
            ("fox", "subscribe", "time_unknown"), ("dan", "unsubscribe", "archived"), ("api", "subscribe", "maker_unknown"),
        }  # fmt: skip

        # Again adds nothing, and neither does one webhook that comes after all.
        assert (await stage.report("--yes"))["written"] == 0
        assert await stage.webhooks() == held + 5
        (ann,) = [
            each
            for each in stage.amplitude.state.events
            if each["user_id"].startswith("ann") and each["event_type"].endswith("unsubscribe")
        ]
        contact = stage.mailchimp.audience.member("ann@example.com")
        assert contact is not None
        fired_at = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(stage.start + HOUR))
        assert ann["insert_id"] == insert_id(AUDIENCE, "unsubscribe", contact.legacy_id, fired_at)
        assert ann["event_properties"] == {
            "audience_id": AUDIENCE, "source": "newsletter", "contact_id": contact.legacy_id, "fired_at": fired_at,
            "web_id": str(contact.web_id), "email_type": "html", "campaign_id": "c0ffee",
        }  # fmt: skip


async def test_a_backfilled_webhook_lies_behind_the_contact_s_others_and_is_marked(stage: Stage) -> None:
    await stage.old_record()
    stage.happens("subscribe", 10, "ann")
    assert (await stage.report("--yes"))["written"] == 1
    (found,) = [
        each for each in await records(settings_of(stage.config), topics.WEBHOOKS) if b"ann" in (each.value or b"")
    ]
    headers = dict(found.headers)
    assert found.key == webhook_key(b"newsletter", found.value or b"")
    assert set(headers) == {"source", "received_at", "request_id", "backfilled"}
    assert (headers["source"], headers["backfilled"]) == (b"newsletter", headers["received_at"])
    async with producer(settings_of(stage.config)) as out:
        other = await out.send_and_wait(topics.WEBHOOKS, b"x=y", key=found.key)
    assert other.partition == found.partition


# As the command runs, in transactions so small that a signal comes between two of them.
SLOWLY = """
import sys, time
from listwire.backfill import publish
from listwire.cli import main
publish.CHUNK = 4
now = publish.milliseconds
def later(clock):
    time.sleep(0.02)
    return now(clock)
publish.milliseconds = later
main(sys.argv[1:])
"""


async def test_interrupted_in_the_middle_and_run_again_it_ends_the_same(stage: Stage) -> None:
    await stage.old_record()
    people = 600
    for number in range(people):
        stage.happens("subscribe", 10 + number / 60, f"p{number}")
    since = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(stage.start))
    arguments = ("--config", str(stage.config), "backfill", "--source", "newsletter", "--since", since, "--yes")
    clean = {name: value for name, value in os.environ.items() if not name.startswith("LISTWIRE_")}
    for how in (signal.SIGKILL, signal.SIGINT):
        held = await stage.webhooks()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", SLOWLY, *arguments, env=clean, cwd=stage.config.parent,
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        try:
            # What is committed, that is: the log itself grows as well by what never is, and by how that is ended.
            while process.returncode is None and await stage.webhooks() == held:
                await asyncio.sleep(0.005)
        finally:
            if process.returncode is None:
                process.send_signal(how)
        assert await asyncio.wait_for(process.wait(), 30) in {-signal.SIGKILL, 130, 1}
        assert held < await stage.webhooks() < people
    assert (await stage.backfill("--yes")).code == 0
    found = [each.value or b"" for each in await records(settings_of(stage.config), topics.WEBHOOKS)]
    told = Counter(value for value in found if b"type=subscribe" in value)
    assert len(told) == people
    assert set(told.values()) == {1}
    assert (await stage.report("--yes"))["written"] == 0


async def test_on_a_terminal_it_asks_and_a_no_writes_nothing(stage: Stage) -> None:
    await stage.old_record()
    stage.happens("subscribe", 10, "ann")
    since = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(stage.start))
    for answer, code, webhooks in ((b"n\n", 1, 1), (b"y\n", 0, 2)):
        ours, theirs = pty.openpty()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "listwire", "--config", str(stage.config), "backfill", "--source", "newsletter",
            "--since", since, stdin=theirs, stdout=theirs, stderr=theirs, cwd=stage.config.parent,
        )  # fmt: skip
        os.close(theirs)
        said = b""
        async with asyncio.timeout(60):
            while b"[y/N]" not in said:
                said += await asyncio.to_thread(os.read, ours, 4096)
            os.write(ours, answer)
            with contextlib.suppress(OSError):  # the terminal's other end is closed
                while await asyncio.to_thread(os.read, ours, 4096):
                    pass
            assert await process.wait() == code
        os.close(ours)
        assert b"Write 1 webhook to listwire.webhooks?" in said
        assert await stage.webhooks() == webhooks


async def test_the_console_sees_a_gap_by_offsets_alone(stage: Stage) -> None:
    """Ten minutes apart for three days, but for three hours of today."""
    now = int(time.time())
    gap = range(now - 6 * HOUR, now - 3 * HOUR)
    async with producer(settings_of(stage.config)) as out:
        for at in range(now - 3 * 24 * HOUR, now, 600):
            if at not in gap:
                await out.send(topics.WEBHOOKS, b"x=y", key=b"%d" % at, timestamp_ms=at * 1000)
        await out.flush()
    quiet = Quiet(SystemClock())
    async with Reader(settings_of(stage.config).kafka) as reader:
        for _ in range(8 * DAY // A_LOOK + 1):
            await quiet.look(reader)
    found = quiet.gap()
    assert found is not None
    assert found.until is not None
    assert abs(found.since - gap.start) <= 1500
    assert abs(found.until - gap.stop) <= 1500


async def test_two_at_once_write_each_webhook_once(stage: Stage) -> None:
    await stage.old_record()
    for number in range(CHUNK + 50):
        stage.happens("subscribe", 10 + number / 60, f"p{number}")
    since = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(stage.start))
    arguments = (
        "--config",
        str(stage.config),
        "backfill",
        "--source",
        "newsletter",
        "--since",
        since,
        "--yes",
        "--json",
    )
    ran = await asyncio.gather(*(asyncio.to_thread(listwire, *arguments, cwd=stage.config.parent) for _ in range(2)))
    # Where the second began before the first had finished, the first is told so, or what Kafka told its client.
    assert 0 in {each.code for each in ran}
    for each in ran:
        assert each.code == 0 or "stays done" in each.err, each.all
    assert await stage.webhooks() == 1 + CHUNK + 50


async def test_a_webhook_that_fired_a_second_late_is_not_written_a_second_time(stage: Stage) -> None:
    await stage.old_record()
    stage.mailchimp.behaviour.fired_at_lag = 2.0
    with running(stage.config, stage.config.parent / "ingress.log") as ingress:
        await stage.hook(ingress.url)
        stage.happens("subscribe", 10, "ann")
        stage.happens("unsubscribe", 20, "ann")
        await stage.mailchimp.webhooks_settled()
    done = await stage.report("--dry-run")
    assert (done["already_there"], done["missing"], done["not_derivable"]) == (2, 0, 0)


async def test_times_before_the_oldest_record_are_refused_with_the_way_out(stage: Stage) -> None:
    empty = await stage.backfill("--dry-run")
    assert empty.code == 2
    assert "listwire.webhooks is empty" in empty.err
    await stage.old_record()
    early = await stage.backfill("--dry-run", since=stage.start - 13 * HOUR)
    assert early.code == 2
    assert "count twice" in early.err
    way_out = early.err.partition("Use --since ")[2].partition(";")[0]
    ran = await asyncio.to_thread(
        listwire_here, "--config", stage.config, "backfill", "--source", "newsletter", "--dry-run", "--since", way_out,
        cwd=stage.config.parent,
    )  # fmt: skip
    assert ran.code == 0, ran.all
    assert (await stage.backfill("--dry-run", "--force", since=stage.start - 13 * HOUR)).code == 0


async def test_what_kafka_has_deleted_bounds_how_far_back_is_safe(stage: Stage) -> None:
    await stage.old_record()
    settings = settings_of(stage.config)
    (old,) = await records(settings, topics.WEBHOOKS)
    async with admin_client(settings.kafka) as admin:
        await admin.delete_records({TopicPartition(topics.WEBHOOKS, old.partition): RecordsToDelete(1)})
    # Deleted by hand: retention, by which only older ones would be gone, is seven days.
    ran = await stage.backfill("--dry-run", since=int(time.time()) - 8 * 24 * HOUR)
    assert ran.code == 2
    assert "is complete" in ran.err
    assert (await stage.backfill("--dry-run")).code == 0
