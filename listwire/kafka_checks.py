"""What `listwire check` asks Kafka: whether it is there, whether the topics are right, and what this user may do.

Writes nothing: that a producer may begin says that it may write, as far as can be told without a record.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError as ClientError

from listwire import glimpse, topics
from listwire.errors import ListwireError
from listwire.findings import Finding, failed, note, ok
from listwire.kafka import durable_producer
from listwire.kafka_admin import ENSURE, TopicState, admin_client, read_topics
from listwire.kafka_groups import read_group
from listwire.kafka_reader import Reader
from listwire.settings import Settings
from listwire.spoken import count, duration

# Of each partition the last so many cohort changes are looked at for names that two cohorts share, and so many bytes in all.
RECENT = 50
RECENT_BYTES = 32 << 20


async def kafka(settings: Settings) -> list[Finding]:
    servers = settings.kafka.bootstrap_servers
    if servers is None:
        return [
            note(
                "Kafka",
                "kafka.bootstrap_servers is not set: only `listwire up` and `demo` run, with a Kafka of their own",
            )
        ]
    try:
        async with admin_client(settings.kafka) as admin:
            cluster = await admin.describe_cluster()
            brokers = len(cluster["brokers"])
            findings = [ok("Kafka", f"{servers} answers, {count(brokers, 'broker')}")]
            states = await read_topics(admin)
            findings += [_topic(topic, states.get(topic.name), brokers) for topic in topics.TOPICS]
            findings += await _partitions(admin, states)
            findings += [await _group(admin, group) for group in topics.GROUPS]
    except ListwireError as fault:
        return [failed("Kafka", str(fault))]
    findings += [await _read(settings, name) for name in states]
    findings.append(await _write(settings))
    if topics.COHORT_CHANGES in states:
        findings += await _told("cohort names", lambda: _cohort_names(settings))
    return findings


def _topic(topic: topics.Topic, state: TopicState | None, brokers: int) -> Finding:
    if state is None:
        return failed(topic.name, "does not exist", ENSURE)
    if faults := state.faults(topic):
        return failed(topic.name, "; ".join(faults), ENSURE)
    words = f"{count(state.partitions, 'partition')}, replication {state.replication}"
    kept = state.retention_ms
    if kept is not None and 0 <= kept < topic.retention_ms:
        return note(
            topic.name, f"{words}, kept {duration(kept / 1000)}, shorter than the {duration(topic.retention_ms / 1000)} we would choose",
            f"set retention.ms to {topic.retention_ms}, unless it is shorter on purpose",
        )  # fmt: skip
    if state.replication < min(3, brokers):
        return note(topic.name, f"{words} on {brokers} brokers: a broker's disk is the only copy" if state.replication == 1 else words,
                    "raise the replication with Kafka's own kafka-reassign-partitions")  # fmt: skip
    return ok(topic.name, words)


async def _partitions(admin: AIOKafkaAdminClient, states: dict[str, TopicState]) -> list[Finding]:
    findings = []
    for topic in await admin.describe_topics(list(states)):
        leaderless = [p["partition"] for p in topic["partitions"] if p["leader"] < 0]
        behind = [p["partition"] for p in topic["partitions"] if len(p["isr"]) < len(p["replicas"])]
        if leaderless:
            findings.append(
                failed(topic["topic"], f"no leader for partition {_listed(leaderless)}", "bring their brokers back")
            )
        elif behind:
            findings.append(note(topic["topic"], f"replicas are behind in partition {_listed(behind)}"))
    return findings


def _listed(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers[:8])) + (" …" if len(numbers) > 8 else "")


async def _group(admin: AIOKafkaAdminClient, name: str) -> Finding:
    try:
        group = await read_group(admin, name)
    except (ClientError, OSError) as fault:
        return failed(
            f"group {name}", f"cannot be read: {fault}", f"allow this user Read and Describe on the group {name}"
        )
    if not group.members:
        return ok(f"group {name}", "may be read; no worker runs now")
    return ok(f"group {name}", f"{count(len(group.members), 'worker')}, {group.state}")


async def _read(settings: Settings, name: str) -> Finding:
    try:
        async with Reader(settings.kafka, fetch_bytes=1) as reader:
            for partition, bounds in (await reader.bounds(name)).items():
                if bounds.end > bounds.begin:
                    await reader.take(name, partition, bounds.begin, bounds.end)
                    return ok(f"read {name}", "this user may")
    except ListwireError as fault:
        return failed(f"read {name}", str(fault), f"allow this user Read and Describe on the topic {name}")
    return note(f"read {name}", "it is empty, so reading cannot be tried")


async def _write(settings: Settings) -> Finding:
    try:
        producer = await durable_producer(settings.kafka)
    except ListwireError as fault:
        return failed("write", str(fault), "allow this user Write on our topics")
    await producer.stop()
    return ok("write", "an idempotent producer may begin; no record was written")


async def _told(check: str, ask: Callable[[], Awaitable[list[Finding]]]) -> list[Finding]:
    try:
        return await ask()
    except ListwireError as fault:
        return [note(check, str(fault))]


async def _cohort_names(settings: Settings) -> list[Finding]:
    """Two cohorts of one name are one tag, and each takes away what the other gave."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    left = RECENT_BYTES
    async with Reader(settings.kafka) as reader:
        for partition, bounds in (await reader.bounds(topics.COHORT_CHANGES)).items():
            start = max(bounds.begin, bounds.end - RECENT)
            async for records in reader.read(topics.COHORT_CHANGES, partition, start, bounds.end):
                for record in records:
                    left -= len(record.value or b"")
                    if (change := glimpse.change(record.value)) is not None:
                        found[change.cohort_name.casefold()][change.cohort_id] = change.cohort_name
                if left < 0:
                    break
    return [_shared(ids) for ids in found.values() if len(ids) > 1]


def _shared(ids: dict[str, Any]) -> Finding:
    names = " and ".join(sorted(set(ids.values())))
    return note(
        "cohort names",
        f"cohorts {', '.join(sorted(ids)[:5])} share the tag {names}: each takes away what the other gave",
        "rename one in Amplitude",
    )
