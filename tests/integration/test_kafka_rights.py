"""Each process with its own Kafka user and no right but those on its list does its whole work; with any one taken away it fails,
in a sentence that names the missing right, and nothing is lost or acknowledged.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import GroupAuthorizationFailedError

from console.watch import Watch
from listwire import kafka_admin, kafka_checks, metrics, topics
from listwire.acls import BY_NAME, Acl
from listwire.cli.cohorts_sync_topic import carried_out, mark, not_paused, spoken_of
from listwire.clock import SystemClock
from listwire.cohorts.last_words import LastWords
from listwire.cohorts.messages import Message
from listwire.cohorts.publishing import publish_together
from listwire.control import Pauses
from listwire.errors import KafkaError, ListwireError
from listwire.exporter import Exporter
from listwire.findings import State
from listwire.kafka import client_options, durable_producer, unreachable
from listwire.kafka_groups import read_group
from listwire.kafka_reader import Reader
from sandbox.amplitude import AmplitudeStandIn
from sandbox.mailchimp import MailchimpStandIn
from stream.worker import letters_producer
from tests import exporter_process
from tests.contract.commands import listwire_here
from tests.contract.test_console_command import running as console_running
from tests.ingress_process import FORM, Ingress
from tests.integration import operations
from tests.secured_kafka import AMPLITUDE_KEY, AUDIENCE, HOOK, TOKEN, Secured, secured_kafka
from tests.unit.letters import letter
from tests.webhook_bodies import webhook
from tests.worker_process import Worker, until

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180), pytest.mark.xdist_group("secured kafka")]
BODY = webhook(1, data_list_id=AUDIENCE)
URL = f"/webhooks/mailchimp/newsletter/{HOOK}"
SUBSCRIPTIONS = Acl("group", topics.SUBSCRIPTIONS_GROUP, "Read")


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    with secured_kafka(tmp_path_factory.mktemp("rights")) as found:
        yield found


@pytest.fixture
async def allowed(kafka: Secured) -> Secured:
    """With our topics, and every user's rights."""
    await kafka_admin.ensure(kafka.administrator())
    for name, process in BY_NAME.items():
        await kafka.allow(name, *process.acls)
    return kafka


async def test_topics_are_made_with_exactly_these_rights(kafka: Secured) -> None:
    """First in this file: there are no topics yet."""
    mine = kafka.settings("topics")
    rights = BY_NAME["topics"].acls
    await kafka.allow("topics", *rights)
    for operation in ("Describe", "Create"):
        for right in (acl for acl in rights if acl.operation == operation):
            async with kafka.without("topics", right):
                with pytest.raises(KafkaError, match=rf"{operation}.*`listwire topics acls`") as said:
                    await kafka_admin.ensure(mine)
                assert right.name in str(said.value)
    assert len(await kafka_admin.ensure(mine)) == 4
    async with kafka_admin.admin_client(kafka.administrator().kafka) as admin:
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, {"max.message.bytes": "1000"}) for name in topics.BY_NAME])  # fmt: skip
    for right in (acl for acl in rights if acl.operation == "AlterConfigs" and acl.name != topics.CONTROL):
        only_seen = Acl("topic", right.name, "DescribeConfigs")
        await kafka.allow("topics", only_seen)
        async with kafka.without("topics", right):
            with pytest.raises(KafkaError, match=f"AlterConfigs on the topic {right.name}"):
                await kafka_admin.ensure(mine)
        await kafka.deny("topics", only_seen)
    assert "mended" in str(await kafka_admin.ensure(mine))


# What each process does with Kafka, but for the workers, which are processes below. Raises, or tells, what went wrong.


async def ingress(kafka: Secured) -> str:
    mine = kafka.settings("ingress")
    wanted = (topics.WEBHOOKS, topics.COHORT_CHANGES)
    await kafka_admin.verify(mine, *wanted)
    producer = await durable_producer(mine.kafka)
    await producer.stop()
    return ""


async def exporter(kafka: Secured) -> str:
    exporting = Exporter(kafka.settings("exporter").kafka)
    metrics.TOPIC_BYTES.replace({})
    try:
        if not await exporting.refresh():
            return exporting.ready()[1]
        shown = [sample for family in metrics.TOPIC_BYTES._made.collect() for sample in family.samples]
        return "" if shown else "Describe on the cluster is missing: no sizes"
    finally:
        await exporting._disconnect()


async def console(kafka: Secured) -> str:
    watch = Watch(kafka.settings("console"))
    async with watch.running():
        async with asyncio.timeout(20):
            while watch.picture.at is None and watch.picture.fault is None:
                await asyncio.sleep(0.02)
        return watch.picture.fault or ""


async def command(kafka: Secured, name: str, *arguments: str) -> str:
    config = kafka.config(name)
    ran = await asyncio.to_thread(listwire_here, "--config", config, *arguments, cwd=config.parent)
    assert "Traceback" not in ran.all
    return ran.err if ran.code else ""


async def publisher(kafka: Secured) -> str:
    people = kafka.directory / "people.txt"
    people.write_text("ann@example.com\n")
    return await command(kafka, "publisher", "cohorts", "publish", "--name", "Acls", "--enter", str(people))


async def scheduler(kafka: Secured) -> str:
    """What one run asks of Kafka; what it asks of the vendors is told elsewhere."""
    mine = kafka.settings("scheduler")
    await not_paused(mine.kafka, "daily")
    since = await mark(mine.kafka, "c1")
    try:
        await carried_out(mine.kafka, since, SystemClock(), 0)
    except KafkaError:
        raise
    except ListwireError as fault:
        if "has not carried out" not in str(fault):  # no worker runs
            raise
    async with operations.producer(kafka.administrator()) as out:
        await out.send_and_wait(topics.COHORT_CHANGES, b"{}", key=b"c1")
    await spoken_of(mine.kafka, since, LastWords("Acls", "daily", mine.cohort_syncs["daily"]))
    await publish_together(
        mine.kafka,
        [[Message(b"{}", True, 1)]],
        key="c1",
        sync="daily",
        clock=SystemClock(),
        acknowledged=lambda _: None,
    )
    return ""


async def replay(kafka: Secured) -> str:
    await operations.bury(kafka.administrator(), [letter(f"{topics.WEBHOOKS}/0/{next(NUMBERS)}", BODY)])
    await operations.bury(
        kafka.administrator(),
        [letter(f"{topics.COHORT_CHANGES}/0/{next(NUMBERS)}", b"{}", connection="cohort_syncs.daily")],
    )
    return await command(kafka, "replay", "dead-letters", "replay", "--yes", "--force")


async def reader(kafka: Secured) -> str:
    findings = await kafka_checks.kafka(kafka.settings("reader"))
    wrong = [
        f"{each.words} {each.way_out}" for each in findings if each.state is State.FAILED and each.check != "write"
    ]
    return "; ".join(wrong) or await command(kafka, "reader", "trace", "a@example.com")


async def work_of(kafka: Secured, kind: str) -> str:
    """What a worker asks of Kafka, its group last: there it has passed all else. The processes themselves run further down."""
    mine = kafka.settings(f"worker-{kind}")
    group = f"listwire-{kind}"
    await kafka_admin.verify(mine, topics.GROUPS[group], topics.DEAD_LETTERS)
    pauses = Pauses(mine.kafka)
    await pauses.read()
    await pauses.close()
    await (await letters_producer(mine)).stop()
    consumer = AIOKafkaConsumer(topics.GROUPS[group], **client_options(mine.kafka), group_id=group)
    try:
        async with asyncio.timeout(20):
            await consumer.start()
            await consumer.getmany(timeout_ms=100)
    except GroupAuthorizationFailedError as fault:
        return str(unreachable(mine.kafka, fault))
    finally:
        await consumer.stop()
    return ""


NUMBERS = iter(range(1000, 100_000))
WORK: dict[str, Callable[[Secured], Awaitable[str]]] = {
    "ingress": ingress, "exporter": exporter, "console": console, "publisher": publisher, "scheduler": scheduler, "worker-subscriptions": partial(work_of, kind="subscriptions"), "worker-cohorts": partial(work_of, kind="cohorts"), "replay": replay, "reader": reader,
}  # fmt: skip


async def tried(work: Callable[[Secured], Awaitable[str]], kafka: Secured) -> str:
    try:
        return await work(kafka)
    except KafkaError as fault:
        return str(fault)


@pytest.mark.parametrize("name", WORK)
async def test_the_list_of_a_process_is_enough_and_holds_nothing_it_could_do_without(
    allowed: Secured, name: str
) -> None:
    async with operations.producer(allowed.administrator()) as out:
        for topic in topics.BY_NAME:
            await out.send_and_wait(topic, BODY, headers=[("source", b"newsletter")])
    assert await tried(WORK[name], allowed) == ""
    rights = BY_NAME[name].acls
    # Of the console's, those of its replays are the replay's, and tried there.
    if name == "console":
        rights = tuple(acl for acl in rights if acl.operation != "Write")
    unnoticed, unclear = [], []
    for right in rights:
        async with allowed.without(name, right):
            said = await tried(WORK[name], allowed)
        if not said:
            unnoticed.append(right)
        elif right.name not in said and not (right.resource == "cluster" or name == "ingress"):
            unclear.append((right, said))
    assert unnoticed == []
    assert unclear == []


def worker(kafka: Secured, kind: str, amplitude: str, mailchimp: str) -> Worker:
    config = kafka.config(f"worker-{kind}")
    text = config.read_text().replace('base_url = "http://127.0.0.1:1"', f'base_url = "{mailchimp}"', 1)
    config.write_text(text.replace('base_url = "http://127.0.0.1:1"', f'base_url = "{amplitude}"'))
    return Worker(config, kind, kind=kind)


@contextlib.asynccontextmanager
async def vendors() -> AsyncIterator[tuple[AmplitudeStandIn, MailchimpStandIn]]:
    async with AmplitudeStandIn(api_keys={AMPLITUDE_KEY}) as amplitude, MailchimpStandIn() as mailchimp:
        mailchimp.audience.add_member("ann@example.com", "subscribed", 0)
        yield amplitude, mailchimp


async def test_every_process_does_its_whole_work_over_tls_with_its_own_user_and_rights(
    allowed: Secured, tmp_path: Path
) -> None:
    async with vendors() as (amplitude, mailchimp):
        workers = [worker(allowed, kind, amplitude.url, mailchimp.url) for kind in ("subscriptions", "cohorts")]
        web = Ingress(allowed.config("ingress"), tmp_path / "ingress.log")
        try:
            await asyncio.gather(*(each.ready(1) for each in workers), asyncio.to_thread(web.wait_until_ready))
            async with httpx.AsyncClient(base_url=web.url, trust_env=False) as http:
                assert (await http.post(URL, content=BODY, headers=FORM)).status_code == 204
                assert (await http.post(URL, content=b"rubbish", headers=FORM)).status_code == 204
            assert await publisher(allowed) == ""
            await until(lambda: mailchimp.audience.tagged("Acls") == {"ann@example.com"}, 30, lambda: workers[1].output)
            await until(lambda: len(amplitude.state.events) > 0, 30, lambda: workers[0].output)
            async with exporter_process.Exporter(allowed.config("exporter")) as exported:
                shown = await exported.scrape()
                waiting = [
                    value for (metric, _labels), value in shown.items() if metric == "listwire_dead_letters_waiting"
                ]
                assert sum(waiting) >= 1
                config = allowed.config("console", f'[console]\ntoken = "{TOKEN}"\n')
                await asyncio.to_thread(overview, config)
            assert await command(allowed, "replay", "dead-letters", "replay", "--yes", "--force") == ""
            # Taken away while it runs: 503, and nothing is lost.
            async with allowed.without("ingress", Acl("topic", topics.WEBHOOKS, "Write")):
                async with httpx.AsyncClient(base_url=web.url, trust_env=False, timeout=20) as http:
                    assert (await http.post(URL, content=BODY, headers=FORM)).status_code == 503
                    await asyncio.sleep(0.5)
                assert f"Read or Write on the topic {topics.WEBHOOKS}" in web.output
        finally:
            for each in workers:
                await each.end()
            await asyncio.to_thread(web.stop)
    said = "".join(each.output for each in workers) + web.output
    assert "pass-word" not in said
    assert "AuthorizationFailed" not in "".join(each.output for each in workers)


def overview(config: Path) -> None:
    with console_running(config.parent, "--port", "0", token=TOKEN) as (_process, url, _shown):
        assert httpx.get(f"{url}/healthz", trust_env=False).status_code == 200


async def test_a_worker_whose_rights_are_taken_away_says_which_and_settles_nothing_it_did_not_deliver(
    allowed: Secured,
) -> None:
    administrator = allowed.administrator()
    async with vendors() as (amplitude, mailchimp):
        # Without its group from the start: alive, never ready, and it says why.
        async with allowed.without("worker-subscriptions", SUBSCRIPTIONS):
            first = worker(allowed, "subscriptions", amplitude.url, mailchimp.url)
            try:
                await until(lambda: f"Read on the group {SUBSCRIPTIONS.name}" in first.output, 30, lambda: first.output)
                assert (await first.get("/readyz"))[0] == 503
            except BaseException:
                await first.end()
                raise
        try:
            await first.ready(1, 30)
            for right in (Acl("topic", topics.CONTROL, "Read"), Acl("topic", topics.DEAD_LETTERS, "Write")):
                async with allowed.without("worker-subscriptions", right):
                    async with operations.producer(administrator) as out:
                        await out.send_and_wait(topics.WEBHOOKS, b"rubbish", headers=[("source", b"newsletter")])
                    await until(lambda r=right: str(r) in first.output, 20, lambda: first.output)
            await settled(allowed)
            async with allowed.without("worker-subscriptions", Acl("topic", topics.WEBHOOKS, "Read")):
                async with operations.producer(administrator) as out:
                    await out.send_and_wait(topics.WEBHOOKS, BODY, headers=[("source", b"newsletter")])
                assert await first.ends(30) != 0
                assert f"Read or Write on the topic {topics.WEBHOOKS}" in first.output
                assert await behind(allowed) == 1, "nothing was settled"
        finally:
            await first.end()
        await operations.without_members(administrator)  # the session of the one that ended would hold this one up
        second = worker(allowed, "subscriptions", amplitude.url, mailchimp.url)
        try:
            await second.ready(1, 30)
            await settled(allowed)
        finally:
            await second.end()


async def behind(kafka: Secured) -> int:
    """Records of the webhooks' topic that its group has not committed."""
    settings = kafka.administrator()
    async with kafka_admin.admin_client(settings.kafka) as admin:
        committed = (await read_group(admin, topics.SUBSCRIPTIONS_GROUP)).committed
    async with Reader(settings.kafka) as reading:
        bounds = await reading.bounds(topics.WEBHOOKS)
    return sum(b.end - committed.get((topics.WEBHOOKS, p), b.begin) for p, b in bounds.items())


async def settled(kafka: Secured) -> None:
    async def so() -> bool:
        return await behind(kafka) == 0

    await until(so, 40, lambda: "records are left")
