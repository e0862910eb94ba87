"""Topics: created, verified, and named exactly where they are wrong. Never adds a partition: keys would move."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    for_code,
)
from aiokafka.errors import KafkaError as ClientError

from listwire import topics
from listwire.errors import KafkaError, TopicsError
from listwire.kafka import client_options, not_connected, unreachable
from listwire.kafka_faults import LIST, not_allowed
from listwire.settings import Settings
from listwire.settings.models import Kafka

ALL = (*topics.TOPICS, topics.CONTROL_TOPIC)
ENSURE = "run `listwire topics ensure`"
_DENIED = (TopicAuthorizationFailedError, ClusterAuthorizationFailedError)


@asynccontextmanager
async def admin_client(kafka: Kafka) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(**client_options(kafka), request_timeout_ms=15_000)
    try:
        try:
            await admin.start()
        except (ClientError, OSError) as fault:
            raise await not_connected(kafka, fault) from fault
        yield admin
    except (ClientError, OSError) as fault:
        raise unreachable(kafka, fault) from fault
    finally:
        await admin.close()


@dataclass(frozen=True)
class TopicState:
    name: str
    partitions: int
    replication: int
    config: dict[str, str]
    overrides: dict[str, str]

    @property
    def retention_ms(self) -> int | None:
        """-1 keeps for ever; None where Kafka does not say."""
        text = self.config.get("retention.ms", "")
        return int(text) if text.lstrip("-").isdigit() else None

    @property
    def max_bytes(self) -> int:
        return int(self.config.get("max.message.bytes", "0"))

    def faults(self, wanted: topics.Topic) -> list[str]:
        found = []
        policy, right = self.config.get("cleanup.policy", ""), wanted.config["cleanup.policy"]
        if policy != right:
            found.append(f"cleanup.policy is {policy!r}, it must be {right!r}")
        most = self.max_bytes
        if most < wanted.least_bytes:
            found.append(f"max.message.bytes is {most}, it must be at least {wanted.least_bytes}")
        return found


async def read_topics(admin: AIOKafkaAdminClient, *wanted: str) -> dict[str, TopicState]:
    """The wanted topics as the cluster has them, or all of ours; absent ones are left out, and so is a control topic that this
    user may not see.
    """
    described = await admin.describe_topics(list(wanted or (topic.name for topic in ALL)))
    hidden = [d["topic"] for d in described if d["error_code"] == TopicAuthorizationFailedError.errno]
    if hidden := [name for name in hidden if name in (wanted or topics.BY_NAME)]:
        raise KafkaError(
            f"This user may not see {', '.join(hidden)}: allow it Describe there, which Read and Write include. {LIST}"
        )
    present = {d["topic"]: d["partitions"] for d in described if not d["error_code"]}
    configs = await topic_configs(admin, list(present))
    return {
        name: TopicState(name, len(parts), min((len(p["replicas"]) for p in parts), default=0), *configs[name])
        for name, parts in present.items()
    }


async def topic_configs(
    admin: AIOKafkaAdminClient, names: list[str]
) -> dict[str, tuple[dict[str, str], dict[str, str]]]:
    """Name → (all values in force, those set on the topic itself)."""
    if not names:
        return {}
    found: dict[str, tuple[dict[str, str], dict[str, str]]] = {}
    for response in await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name) for name in names]):
        for code, message, _kind, name, entries in response.resources:
            if for_code(code) is TopicAuthorizationFailedError:
                raise KafkaError(not_allowed(f"DescribeConfigs on the topic {name}"))
            if code:
                raise KafkaError(
                    f"Kafka refuses to show the configuration of {name}: {message or for_code(code).__name__}."
                )
            # entry: name, value, read only, source (1 = set on the topic), ...
            found[name] = ({e[0]: e[1] for e in entries}, {e[0]: e[1] for e in entries if e[3] == 1})
    return found


async def states(settings: Settings, *wanted: str) -> dict[str, TopicState]:
    async with admin_client(settings.kafka) as admin:
        return await read_topics(admin, *wanted)


async def verify(settings: Settings, *wanted: str) -> dict[str, TopicState]:
    """Raises `TopicsError` naming what is wrong with the wanted topics (all of ours if none are named)."""
    found = await states(settings, *wanted)
    for name in wanted or tuple(topics.BY_NAME):
        if name not in found:
            raise TopicsError(f"The topic {name} does not exist: {ENSURE}.")
        if faults := found[name].faults(topics.BY_NAME[name]):
            raise TopicsError(f"The topic {name} is not fit: {'; '.join(faults)}. To mend it, {ENSURE}.")
    return found


async def ensure(settings: Settings, *, partitions: int | None = None) -> list[str]:
    """Creates what is absent, mends what `verify` would refuse; returns a line per topic about what it found or did.

    `partitions` is for topics that do not exist yet: where one exists with another number, a TopicsError says so and
    nothing is changed.
    """
    wanted = partitions or settings.topics.partitions
    lines: list[str] = []
    async with admin_client(settings.kafka) as admin:
        brokers = len((await admin.describe_cluster())["brokers"])
        replication = settings.topics.replication or (3 if brokers >= 3 else 1)
        present = await read_topics(admin, *(topic.name for topic in ALL))
        for state in present.values():
            if partitions is not None and state.partitions != partitions and state.name in topics.BY_NAME:
                raise TopicsError(
                    f"{state.name} has {state.partitions} partitions and keeps them: with {partitions}, keys would move to "
                    "other partitions and later changes could overtake earlier ones. Leave --partitions out."
                )
        for topic in ALL:
            found = present.get(topic.name)
            number = topic.partitions or wanted
            if found is None:
                await _create(admin, topic, number, replication)
                lines.append(f"{topic.name}: created, {number} partitions, replication {replication}")
            else:
                lines.append(await _kept(admin, topic, found, number))
        await _visible(admin)
    return lines


async def _kept(admin: AIOKafkaAdminClient, topic: topics.Topic, state: TopicState, wanted: int) -> str:
    line = f"{topic.name}: {state.partitions} partitions, replication {state.replication}"
    if faults := state.faults(topic):
        await _mend(admin, topic, state)
        line += f"; mended: {'; '.join(faults)}"
    if state.partitions != wanted:
        line += f" (the settings say {wanted}; left as it is, since keys would move)"
    kept = state.retention_ms
    if kept is not None and 0 <= kept < topic.retention_ms:
        line += f"; retention.ms is {kept}, shorter than the {topic.retention_ms} we would choose"
    return line


async def _visible(admin: AIOKafkaAdminClient) -> None:
    """The controller has a new topic at once, the brokers a moment later; whoever starts next should find it."""
    for _ in range(50):
        if len(await read_topics(admin)) == len(ALL):
            return
        await asyncio.sleep(0.1)


async def _create(admin: AIOKafkaAdminClient, topic: topics.Topic, partitions: int, replication: int) -> None:
    config = dict(topic.config)
    if replication >= 3:
        config["min.insync.replicas"] = "2"
    response = await admin.create_topics([NewTopic(topic.name, partitions, replication, topic_configs=config)])
    for name, code, *message in response.topic_errors:
        if for_code(code) in _DENIED:
            raise TopicsError(not_allowed(f"Create on the topic {name}"))
        if code and for_code(code) is not TopicAlreadyExistsError:
            words = next((m for m in message if m), None) or for_code(code).__name__
            raise TopicsError(f"Kafka refuses to create {name}: {words}.")


async def _mend(admin: AIOKafkaAdminClient, topic: topics.Topic, state: TopicState) -> None:
    """AlterConfigs replaces all of a topic's own values, so those already set are sent along."""
    config: dict[str, Any] = {**state.overrides, "cleanup.policy": topic.config["cleanup.policy"]}
    if state.max_bytes < topic.least_bytes:
        config["max.message.bytes"] = topic.config["max.message.bytes"]
    for response in await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic.name, config)]):
        for code, message, *_ in response.resources:
            if for_code(code) in _DENIED:
                raise TopicsError(not_allowed(f"AlterConfigs on the topic {topic.name}"))
            if code:
                raise TopicsError(f"Kafka refuses to change {topic.name}: {message or for_code(code).__name__}.")
