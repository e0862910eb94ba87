"""The chaos run's checker is no rubber stamp: builds with one promise taken out are caught, each time, and the real one is not.

Each fault is set on a real stage where it must show: what the vendor has done and when is arranged, and not left to chance.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

import pytest
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from listwire import topics
from listwire.kafka_admin import admin_client
from sandbox.faults import Fault
from sandbox.kafka import EmbeddedKafka
from tests.chaos import evidence as reading
from tests.chaos.checker import Findings, check
from tests.chaos.load import change, user
from tests.chaos.processes import LAUNCH, WorkerMember
from tests.chaos.stage import PARTITIONS, Stage
from tests.integration.operations import settings_of, without_members
from tests.webhook_bodies import webhook
from tests.worker_process import until

pytestmark = [pytest.mark.kafka, pytest.mark.chaos, pytest.mark.timeout(120), pytest.mark.xdist_group("broken builds")]

ACKNOWLEDGES_FIRST: Final = """
import asyncio
from stream.delivery import Delivery
real = Delivery.__call__
async def at_once(self, records, closing):
    asyncio.ensure_future(real(self, records, closing))
    return True
Delivery.__call__ = at_once
"""
SWALLOWS_DEAD_LETTERS: Final = """
from listwire.errors import VendorUnavailable
from stream.dead_letters import DeadLetters
real = DeadLetters._write
async def swallowed(self, letters):
    try:
        await real(self, letters)
    except VendorUnavailable:
        pass
DeadLetters._write = swallowed
"""
IGNORES_REBALANCES: Final = """
from stream.lanes import Lanes
real = Lanes.close
async def ignored(self, partitions=None):
    if partitions is None:
        await real(self)
Lanes.close = ignored
"""
KNOWS_NO_SESSION: Final = """
from stream.progress import Progress
Progress.require_session = lambda self: None
"""
REAL: Final = ""


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedKafka]:
    with EmbeddedKafka() as found:
        yield found


@pytest.fixture
async def stage(broker: EmbeddedKafka, tmp_path: Path) -> AsyncIterator[Stage]:
    async with Stage.set(tmp_path, broker, latency=0.0) as found:
        yield found


async def begun(stage: Stage, name: str, kind: str, patch: str = REAL, partitions: int | None = None) -> WorkerMember:
    member = WorkerMember(name, kind, stage.config, patch + LAUNCH)
    await stage.begin(member)
    await member.worker.ready(partitions)
    return member


async def found(stage: Stage) -> Findings:
    return check(await stage.evidence())


# Acknowledging, dead letters ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("patch", [ACKNOWLEDGES_FIRST, REAL], ids=["acknowledges first", "real"])
async def test_a_build_that_acknowledges_before_it_delivers_is_caught(stage: Stage, patch: str) -> None:
    stage.amplitude.faults.add(Fault(kind="hang"))
    first = await begun(stage, "first", "subscriptions", patch)
    bodies = [webhook(number) for number in range(20)]
    await stage.store(topics.WEBHOOKS, bodies)
    await until(lambda: stage.amplitude.state.in_flight > 0)
    if patch:
        assert await stage.drained(30) is not None
    await first.kill()
    await without_members(settings_of(stage.config))
    stage.amplitude.faults.clear()
    del stage.members["first"]
    await begun(stage, "second", "subscriptions")
    assert await stage.drained(60) is not None
    findings = await found(stage)
    if patch:
        assert len(findings.lost) >= 1
        assert findings.broken.keys() == {"lost"}
    else:
        assert findings.broken == {}
        assert findings.counts["events delivered"] == len(bodies)


@pytest.mark.parametrize("patch", [SWALLOWS_DEAD_LETTERS, REAL], ids=["swallows dead letters", "real"])
async def test_a_build_that_swallows_a_failed_dead_letter_is_caught(stage: Stage, patch: str) -> None:
    await begun(stage, "only", "subscriptions", patch)
    await limit_dead_letters(stage, 1)
    bodies = [webhook(number, data_list_id="0123456789") for number in range(20)]
    await stage.store(topics.WEBHOOKS, bodies)
    assert (await stage.drained(30 if patch else 3) is not None) == bool(patch)
    await limit_dead_letters(stage, topics.BY_NAME[topics.DEAD_LETTERS].least_bytes)
    assert await stage.drained(60) is not None
    findings = await found(stage)
    if patch:
        assert len(findings.lost) == len(bodies)
        assert findings.broken.keys() == {"lost"}
    else:
        assert findings.broken == {}
        assert findings.counts["webhooks dead"] == len(bodies)


async def limit_dead_letters(stage: Stage, size: int) -> None:
    """Kafka takes no dead letter that is larger."""
    what = ConfigResource(ConfigResourceType.TOPIC, topics.DEAD_LETTERS, {"max.message.bytes": str(size)})
    async with admin_client(settings_of(stage.config).kafka) as admin:
        await admin.alter_configs([what])


# Rebalances -----------------------------------------------------------------------------------------------------------


def words(*, entered: bool) -> list[bytes]:
    """The same of one member a partition, each with a cohort and a tag of its own."""
    return [
        change(f"c{p}", f"Cohort {p}", [user(f"member{p}@example.com")], entered=entered, message=f"{p} {entered}")
        for p in range(PARTITIONS)
    ]


async def say(stage: Stage, *, entered: bool) -> None:
    for partition, body in enumerate(words(entered=entered)):
        await stage.store(topics.COHORT_CHANGES, [body], partition=partition)


async def all_under_way(stage: Stage, member: WorkerMember) -> None:
    """Until it holds a word of every partition, which Mailchimp does not take."""

    async def so() -> bool:
        counted = (await stage.accounts_of(member)).get("cohort_syncs.newsletter", {})
        return counted.get("in_flight", 0) == PARTITIONS

    await until(so, 30, lambda: member.output)


async def committed(stage: Stage, partitions: int) -> None:
    """Until so many partitions of the cohorts' topic are settled to their end."""
    settings = settings_of(stage.config)
    ends = await reading.ends_of(settings)

    async def so() -> bool:
        where = await reading.committed(settings, ends)
        done = [at >= end for (group, _), (at, end) in where.items() if group == topics.COHORTS_GROUP]
        return sum(done) >= partitions

    await until(so, 60, lambda: "\n".join(member.output[-3000:] for member in stage.members.values()))


@pytest.mark.parametrize("patch", [IGNORES_REBALANCES, REAL], ids=["ignores rebalances", "real"])
async def test_a_build_that_goes_on_with_lanes_it_has_lost_is_caught(stage: Stage, patch: str) -> None:
    """Its successor has carried out the newer words when it wakes, and carries out the older ones."""
    refusing = Fault(status=502)
    stage.mailchimp.faults.add(refusing)
    first = await begun(stage, "first", "cohorts", patch, PARTITIONS)
    await say(stage, entered=True)
    await all_under_way(stage, first)
    await begun(stage, "second", "cohorts", partitions=PARTITIONS // 2)
    await first.worker.ready(PARTITIONS // 2)
    first.freeze()
    stage.mailchimp.faults.clear()
    await say(stage, entered=False)
    await committed(stage, PARTITIONS // 2)
    first.thaw()
    await committed(stage, PARTITIONS)
    if patch:
        await until(lambda: stage.tagged >= 1, 30)
        findings = await found(stage)
        assert len(findings.wrong_tags) >= 1
    else:
        await stage.at_rest()
        findings = await found(stage)
        assert findings.broken == {}


@pytest.mark.parametrize("patch", [KNOWS_NO_SESSION, REAL], ids=["knows no session", "real"])
async def test_a_build_that_sends_older_words_after_it_slept_past_its_session_is_caught(
    stage: Stage, patch: str
) -> None:
    """Nobody could tell it meanwhile that its partitions are another one's; and Kafka is slow to tell when it wakes."""
    stage.mailchimp.faults.add(Fault(status=502, method="POST", path=r"/segments/\d+$"))
    first = await begun(stage, "first", "cohorts", patch, PARTITIONS)
    await say(stage, entered=True)
    await all_under_way(stage, first)
    first.freeze()
    await begun(stage, "second", "cohorts", partitions=PARTITIONS)
    stage.mailchimp.faults.clear()
    await say(stage, entered=False)
    await committed(stage, PARTITIONS)
    assert stage.tagged == 0
    stage.broker.freeze()
    first.thaw()
    if patch:
        await until(lambda: stage.tagged >= 1, 30)
        await first.kill()  # else it might go on and read the newer words itself
        stage.broker.thaw()
        assert len((await found(stage)).wrong_tags) >= 1
        return
    await until(lambda: any(line["cause"] == "session" for line in first.worker.logged("will be tried again")), 30)
    stage.broker.thaw()
    assert await stage.drained(30) is not None
    await stage.at_rest()
    assert (await found(stage)).broken == {}
