"""Both workers killed while records come in: whoever tells the lag tells the same, record for record, and all come to zero.

Four accounts are held against each other: Kafka's own tool, `listwire lag`, the exporter and the console with its page. No
number here comes from a worker: they are dead.
"""

from __future__ import annotations

import asyncio
import html
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import httpx
import pytest

from console.app import make_app
from console.sessions import Doorkeeper
from console.watch import Watch
from listwire import metrics, topics
from sandbox.amplitude import AmplitudeStandIn
from sandbox.kafka import EmbeddedKafka
from sandbox.mailchimp import API_KEY as MAILCHIMP_KEY
from sandbox.mailchimp import MailchimpStandIn
from tests import worker_process as processes
from tests.cohort_process import NEWSLETTER, Message, members
from tests.contract.commands import listwire
from tests.delivery_bench import event_record
from tests.exporter_process import Exporter, Series
from tests.integration.operations import fresh_topics
from tests.worker_process import API_KEY, OTHER_KEY, PARTITIONS, Worker, until

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]

Place = tuple[str, int]  # group, partition
PLACES: Final = [(group, partition) for group in topics.GROUPS for partition in range(PARTITIONS)]
WEBHOOKS, CHANGES = topics.SUBSCRIPTIONS_GROUP, topics.COHORTS_GROUP
EVERYBODY: Final = members(8)


class Accounts:
    """What each of the four says now: records by place, and seconds by place of what waits."""

    def __init__(self, broker: EmbeddedKafka, config: Path, exporter: Exporter, watch: Watch) -> None:
        self.broker = broker
        self.config = config
        self.exporter = exporter
        self.watch = watch
        self.doorkeeper = Doorkeeper("a-token-that-is-long-enough", watch.clock)
        self.console = make_app(watch.settings, self.doorkeeper, watch)

    async def of_kafka(self) -> dict[Place, int]:
        groups = [word for group in topics.GROUPS for word in ("--group", group)]
        said = await asyncio.to_thread(
            self.broker.tool, "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
            "--bootstrap-server", self.broker.bootstrap_servers, "--describe", *groups,
        )  # fmt: skip
        assert said.returncode == 0, said.stderr
        found = {}
        for line in said.stdout.splitlines():
            group, *row = line.split() or [""]
            if group in topics.GROUPS:
                topic, partition, _committed, _end, lag = row[:5]
                assert topic == topics.GROUPS[group]
                found[group, int(partition)] = int(lag)
        return found

    async def of_the_command(self) -> tuple[dict[Place, int], dict[Place, float]]:
        said = await asyncio.to_thread(listwire, "lag", "--json", "--config", self.config, cwd=self.config.parent)
        assert said.code == 0, said.all
        rows = {(g["group"], p["partition"]): p for g in json.loads(said.out)["groups"] for p in g["partitions"]}
        return {at: row["records"] for at, row in rows.items()}, {at: row["seconds"] or 0 for at, row in rows.items()}

    async def of_the_exporter(self) -> tuple[dict[Place, int], dict[Place, float]]:
        shown = await self.exporter.scrape()

        def of(metric: metrics.Metric) -> dict[Place, float]:
            return {_place(each): value for each, value in shown.items() if each[0] == metric.name}

        return {at: int(value) for at, value in of(metrics.LAG_RECORDS).items()}, of(metrics.LAG_SECONDS)

    async def of_the_console(self) -> tuple[dict[Place, int], dict[Place, float]]:
        places = [(lag.group, each) for lag in self.watch.picture.lags.values() for each in lag.partitions]
        return (
            {(group, each.partition): each.records for group, each in places},
            {(group, each.partition): each.seconds or 0 for group, each in places},
        )

    async def of_the_page(self) -> dict[str, tuple[str, str]]:
        """Worker: how many processes run and what waits, in the words of the overview."""
        transport = httpx.ASGITransport(self.console)
        async with httpx.AsyncClient(transport=transport, base_url="http://console.test") as browser:
            await browser.get(f"/login/{self.doorkeeper.new_link()}")
            page = (await browser.get("/")).text
        rows = re.findall(
            r'<tr><th scope="row">(\w+)</th>\s*<td>(.*?)</td>\s*<td class="number">(.*?)</td>', page, re.DOTALL
        )
        return {name: (_text(running), _text(waiting)) for name, running, waiting in rows}

    async def seconds(self) -> list[dict[Place, float]]:
        return [(await each())[1] for each in (self.of_the_command, self.of_the_exporter, self.of_the_console)]

    async def all_say(self, wanted: dict[Place, int]) -> None:
        """Workers commit every second, the exporter and the console look every few seconds: they are given time; then Kafka is asked."""
        said: dict[Place, int] = {}

        async def so() -> bool:
            said.clear()
            for each in (self.of_the_command, self.of_the_exporter, self.of_the_console):
                said.update((await each())[0])
                if said != wanted:
                    return False
            return True

        await until(so, 60, lambda: f"{said} and not {wanted}")
        assert await self.of_kafka() == wanted


def _place(each: Series) -> Place:
    labels = dict(each[1])
    assert labels["topic"] == topics.GROUPS[labels["group"]]
    return labels["group"], int(labels["partition"])


def _text(markup: str) -> str:
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", markup))).strip()


class Scene:
    """Both vendors' stand-ins, both workers, and what is produced for them."""

    def __init__(self, config: Path, amplitude: AmplitudeStandIn, mailchimp: MailchimpStandIn) -> None:
        self.config = config
        self.amplitude = amplitude
        self.mailchimp = mailchimp
        self.workers: list[Worker] = []
        self.webhooks = 0
        self.changes = 0

    @classmethod
    @asynccontextmanager
    async def set(cls, bootstrap: str, directory: Path) -> AsyncIterator[Scene]:
        async with (
            AmplitudeStandIn(api_keys={API_KEY, OTHER_KEY}) as amplitude,
            MailchimpStandIn(journal=directory / "journal") as mailchimp,
        ):
            config = processes.settings_file(directory, bootstrap, amplitude.url)
            account = f'[mailchimp.acme]\napi_key = "{MAILCHIMP_KEY}"\nbase_url = "{mailchimp.url}"\n'
            config.write_text(config.read_text() + account + NEWSLETTER)
            await fresh_topics(processes.settings_of(config))
            mailchimp.audience.seed(len(EVERYBODY))
            scene = cls(config, amplitude, mailchimp)
            try:
                yield scene
            finally:
                for worker in scene.workers:
                    worker.kill()

    async def start(self) -> None:
        number = len(self.workers)
        self.workers += [
            Worker(self.config, f"subscriptions{number}"),
            Worker(self.config, f"cohorts{number}", kind="cohorts"),
        ]
        for worker in self.workers[number:]:
            await worker.ready(PARTITIONS)

    def kill(self) -> None:
        for worker in self.workers:
            worker.kill()

    async def produce(self, amounts: dict[Place, int]) -> None:
        """So many more records at each place. Every cohort change names a tag and a cohort of its own."""
        async with processes.producer(self.config) as out:
            for (group, partition), amount in amounts.items():
                for _ in range(amount):
                    if group == WEBHOOKS:
                        self.webhooks += 1
                        webhook = event_record(self.webhooks, partition)
                        await out.send_and_wait(
                            topics.WEBHOOKS, webhook.value, key=webhook.key, headers=list(webhook.headers),
                            partition=partition,
                        )  # fmt: skip
                    else:
                        self.changes += 1
                        change = Message(EVERYBODY, name=f"Tag {self.changes}", cohort=f"c{self.changes}")
                        await out.send_and_wait(
                            topics.COHORT_CHANGES, change.value, key=change.cohort.encode(), partition=partition
                        )

    def all_delivered(self) -> bool:
        tags = [self.mailchimp.audience.tagged(f"Tag {number + 1}") for number in range(self.changes)]
        return len(self.amplitude.state) == self.webhooks and all(tag == set(EVERYBODY) for tag in tags)

    @property
    def said(self) -> str:
        return "\n".join(worker.output[-3000:] for worker in self.workers)


async def test_four_accounts_of_two_killed_workers_agree_grow_and_come_to_zero(
    broker: EmbeddedKafka, tmp_path: Path
) -> None:
    nothing = dict.fromkeys(PLACES, 0)
    first = {place: 2 + number % 3 for number, place in enumerate(PLACES)}
    more = dict(zip(PLACES, (3, 0, 5, 1, 2, 4, 0, 1), strict=True))
    yet_more = dict(zip(PLACES, (1, 2, 0, 0, 1, 0, 3, 1), strict=True))
    async with Scene.set(broker.bootstrap_servers, tmp_path) as scene:
        watch = Watch(processes.settings_of(scene.config))
        async with Exporter(scene.config, every=0.5) as exporter, watch.running():
            accounts = Accounts(broker, scene.config, exporter, watch)
            await scene.start()
            await scene.produce(first)
            await until(scene.all_delivered, 60, lambda: scene.said)
            # Where a group has committed, Kafka's tool tells of the partition: so all four tell of all partitions.
            await accounts.all_say(nothing)

            scene.kill()
            await scene.produce(more)
            await accounts.all_say(more)
            before = await accounts.seconds()
            await scene.produce(yet_more)
            waiting = {place: more[place] + yet_more[place] for place in PLACES}
            await accounts.all_say(waiting)
            after = await accounts.seconds()
            for earlier, later in zip(before, after, strict=True):
                assert all(later[place] > earlier[place] > 0 for place in PLACES if more[place])
                assert all(later[place] > earlier[place] == 0 for place in PLACES if not more[place])

            # The page speaks of workers once Kafka has given up on the dead ones.
            def words(group: str) -> tuple[str, str]:
                amount = sum(waiting[place] for place in PLACES if place[0] == group)
                return "No worker is running", f"{amount} records"

            wanted = {"subscriptions": words(WEBHOOKS), "cohorts": words(CHANGES)}
            page: dict[str, tuple[str, str]] = {}

            async def page_says_so() -> bool:
                page.update(await accounts.of_the_page())
                return page == wanted

            await until(page_says_so, 30, lambda: f"{page} and not {wanted}")

            await scene.start()
            await until(scene.all_delivered, 60, lambda: scene.said)
            await accounts.all_say(nothing)
            for seconds in await accounts.seconds():
                assert seconds == nothing
            assert await accounts.of_the_page() == dict.fromkeys(wanted, ("1 process", "0 records"))
