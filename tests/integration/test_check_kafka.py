"""What `check` and `topics` say of a real Kafka: topics absent or wrong, cohorts that share a tag, a user who may do little."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka.admin import NewTopic

from listwire import kafka_admin, kafka_checks, topics
from listwire.errors import TopicsError
from listwire.findings import Finding, State, all_right
from listwire.settings import Settings
from sandbox.kafka import EmbeddedKafka, SecureListener
from tests.contract.commands import Ran, listwire_here
from tests.integration import operations
from tests.unit.letters import letter

pytestmark = [pytest.mark.kafka, pytest.mark.xdist_group("check kafka")]
PASSWORD = "correct horse battery"


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[EmbeddedKafka, Path]]:
    directory = tmp_path_factory.mktemp("check")
    with EmbeddedKafka(secure=SecureListener({"listwire": PASSWORD})) as broker:
        yield broker, operations.settings_file(broker.bootstrap_servers, directory / "listwire.toml")


@pytest.fixture
def config(kafka: tuple[EmbeddedKafka, Path]) -> Path:
    return kafka[1]


@pytest.fixture
async def settings(config: Path) -> Settings:
    found = operations.settings_of(config)
    await operations.fresh_topics(found)
    return found


async def run(config: Path, *arguments: str) -> Ran:
    return await asyncio.to_thread(listwire_here, "--config", config, *arguments, cwd=config.parent)


async def checked(settings: Settings) -> dict[str, Finding]:
    return {finding.check: finding for finding in await kafka_checks.kafka(settings)}


async def replace_topic(settings: Settings, name: str, partitions: int = 1, **config: str) -> None:
    async with kafka_admin.admin_client(settings.kafka) as admin:
        await admin.delete_topics([name])
        while not (await admin.describe_topics([name]))[0]["error_code"]:
            await asyncio.sleep(0.05)
        await admin.create_topics([NewTopic(name, partitions, 1, topic_configs=config)])
        while (await admin.describe_topics([name]))[0]["error_code"]:
            await asyncio.sleep(0.05)


async def test_all_is_right(settings: Settings) -> None:
    found = await checked(settings)
    assert all_right(found.values())
    assert found["listwire.webhooks"].words == f"{operations.PARTITIONS} partitions, replication 1"
    assert found["read listwire.webhooks"].state is State.NOTE, "it is empty"
    assert found["write"].state is State.OK
    assert await operations.records(settings, topics.WEBHOOKS) == [], "a check writes nothing"


async def test_absent_and_unfit_topics_are_named_with_the_way_out(settings: Settings, config: Path) -> None:
    await replace_topic(settings, topics.WEBHOOKS, **{"cleanup.policy": "compact"})
    await replace_topic(settings, topics.COHORT_CHANGES, **{"max.message.bytes": "1000"})
    async with kafka_admin.admin_client(settings.kafka) as admin:
        await admin.delete_topics([topics.DEAD_LETTERS])
    found = await checked(settings)
    assert "cleanup.policy is 'compact'" in found["listwire.webhooks"].words
    assert "max.message.bytes is 1000" in found["listwire.cohort-changes"].words
    assert found["listwire.dead-letters"].words == "does not exist"
    assert {found[name].state for name in topics.BY_NAME} == {State.FAILED}
    assert {found[name].way_out for name in topics.BY_NAME} == {kafka_admin.ENSURE}
    with pytest.raises(TopicsError, match="listwire topics ensure"):
        await kafka_admin.verify(settings)
    assert (await run(config, "topics", "verify")).code == 1
    mended = await run(config, "topics", "ensure")
    assert mended.code == 0
    assert "mended" in mended.out
    assert (await run(config, "topics", "verify")).code == 0
    states = {each["topic"]: each for each in json.loads((await run(config, "topics", "ls", "--json")).out)}
    assert states["listwire.cohort-changes"]["faults"] == []
    assert states["listwire.webhooks"]["partitions"] == 1


async def test_mending_keeps_what_was_set_on_purpose(settings: Settings) -> None:
    await replace_topic(settings, topics.WEBHOOKS, **{"max.message.bytes": "1000", "retention.ms": "123456789"})
    await kafka_admin.ensure(settings)
    state = (await kafka_admin.states(settings))[topics.WEBHOOKS]
    assert state.retention_ms == 123456789
    assert state.max_bytes == topics.MIB
    assert (await checked(settings))["listwire.webhooks"].state is State.NOTE, "shorter than we would choose"


async def test_partitions_of_a_live_topic_are_never_changed(settings: Settings, config: Path) -> None:
    refused = await run(config, "topics", "ensure", "--partitions", str(operations.PARTITIONS + 1))
    assert refused.code == 1
    assert "keys would move" in refused.err
    assert (await run(config, "topics", "ensure", "--partitions", str(operations.PARTITIONS))).code == 0
    assert (await kafka_admin.states(settings))[topics.WEBHOOKS].partitions == operations.PARTITIONS


async def test_cohorts_of_one_name_are_told(settings: Settings) -> None:
    async with operations.producer(settings) as out:
        for cohort, name in (("c1", "VIP"), ("c2", "vip"), ("c3", "other"), ("c1", "VIP")):
            change = {"cohort_id": cohort, "cohort_name": name, "in_cohort": True, "users": []}
            await out.send_and_wait(topics.COHORT_CHANGES, json.dumps(change).encode(), key=cohort.encode())
        await out.send_and_wait(topics.COHORT_CHANGES, b"not json")
    finding = (await checked(settings))["cohort names"]
    assert finding.words == "cohorts c1, c2 share the tag VIP and vip: each takes away what the other gave"


async def test_without_a_bootstrap_server_kafka_is_left_out(settings: Settings) -> None:
    bare = settings.model_copy(update={"kafka": settings.kafka.model_copy(update={"bootstrap_servers": None})})
    (finding,) = await kafka_checks.kafka(bare)
    assert finding.state is State.NOTE


def secured(broker: EmbeddedKafka, config: Path, password: str) -> Path:
    path = config.with_name("secured.toml")
    path.write_text(
        config.read_text().replace(
            f'bootstrap_servers = "{broker.bootstrap_servers}"',
            f'bootstrap_servers = "{broker.secure_bootstrap_servers}"\nsecurity_protocol = "SASL_SSL"\n'
            f'sasl_mechanism = "SCRAM-SHA-512"\nsasl_username = "listwire"\nsasl_password = "{password}"\n'
            f'ssl_cafile = "{broker.certificate}"',
        )
    )
    return path


def allow(broker: EmbeddedKafka, *rights: str) -> None:
    said = broker.tool(
        "org.apache.kafka.tools.AclCommand", "--bootstrap-server", broker.bootstrap_servers, "--add",
        "--allow-principal", "User:listwire", *rights,
    )  # fmt: skip
    assert said.returncode == 0, said.stderr


async def test_a_user_is_told_what_is_not_allowed(kafka: tuple[EmbeddedKafka, Path], settings: Settings) -> None:
    broker, config = kafka
    path = secured(broker, config, "wrong " + PASSWORD)
    ran = await run(path, "topics", "verify")
    assert ran.code == 1
    assert PASSWORD not in ran.all
    secure = operations.settings_of(secured(broker, config, PASSWORD))
    found = await checked(secure)
    assert found["Kafka"].state is State.FAILED
    assert "This user may not see listwire.webhooks" in found["Kafka"].words
    for topic in topics.BY_NAME:
        await asyncio.to_thread(
            allow,
            broker,
            "--topic",
            topic,
            *(f for right in ("Describe", "DescribeConfigs", "Write") for f in ("--operation", right)),
        )
    async with operations.producer(settings) as out:
        await out.send_and_wait(topics.WEBHOOKS, b"x")
    found = await checked(secure)
    assert found["listwire.webhooks"].state is State.OK
    assert found["read listwire.webhooks"].state is State.FAILED
    assert found["group listwire-cohorts"].state is State.FAILED
    assert found["group listwire-cohorts"].way_out == "allow this user Read and Describe on the group listwire-cohorts"
    await operations.bury(settings, [letter()])
    for topic in topics.BY_NAME:
        await asyncio.to_thread(allow, broker, "--topic", topic, "--operation", "Read")
    replayed = await run(secured(broker, config, PASSWORD), "dead-letters", "replay", "--yes", "--force")
    assert replayed.code == 1
    assert "allow it Write and Describe on the transactional id listwire-replay" in replayed.err
