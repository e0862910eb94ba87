"""`cohorts sync` between a real Kafka, the cohorts worker as a process, and strict stand-ins for Amplitude and Mailchimp."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from listwire import topics
from listwire.cli.cohorts_sync_run import How, sync_once
from listwire.clock import SystemClock
from listwire.errors import ListwireError
from sandbox.amplitude import AmplitudeStandIn
from sandbox.kafka import EmbeddedKafka
from tests.cohort_process import AUDIENCE, NEWSLETTER, TAG, Message, Stage, members, text
from tests.contract.commands import Ran, listwire
from tests.integration.operations import records, settings_of
from tests.worker_process import Worker, until
from vendors.amplitude_cohorts import Pace

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300), pytest.mark.xdist_group("cohorts sync")]
KEY, SECRET = "key-of-amplitude-0123456789abcdef", "secret-of-amplitude-0123456789abc"
# Its wall clock is ahead, so that nobody has to wait for a full minute.
SCHEDULER = """
import sys
import listwire.clock

class Ahead(listwire.clock.SystemClock):
    def time(self):
        return super().time() + {ahead}

listwire.clock.SystemClock = Ahead
from listwire.cli import main, cohorts_sync
assert cohorts_sync.SystemClock is Ahead
sys.argv = ["listwire", "--config", sys.argv[1], "cohorts", "sync", "--scheduled"]
main()
"""
# A scheduler has started and looks at its clock within so many seconds.
STARTED = 10


@dataclass
class Scene:
    stage: Stage
    amplitude: AmplitudeStandIn

    def settings(self, **schedule: Any) -> None:
        keys = {"sync": "newsletter", "amplitude": "product", "cohort": TAG, **schedule}
        table = "\n".join(f"{key} = {json.dumps(value)}" for key, value in keys.items())
        self.stage.settings(f"""{NEWSLETTER}
[scheduler]
host = "127.0.0.1"
port = 0
[amplitude.product]
api_key = "{KEY}"
secret_key = "{SECRET}"
base_url = "{self.amplitude.url}"
[cohort_schedules.power]
{table}
""")

    def cohort(self, addresses: Iterable[str], cohort_id: str = "7khm89cz") -> None:
        people = [{"user_id": f"u{n}", "email": address} for n, address in enumerate(addresses)]
        self.amplitude.cohorts.add(cohort_id, TAG, people)

    async def sync(self, *options: str, code: int = 0) -> dict[str, Any]:
        ran = await self.ran(*options, "--json")
        assert ran.code == code, ran.all
        assert SECRET not in ran.all
        found: dict[str, Any] = json.loads(ran.out) if code == 0 else {"words": ran.err}
        return found

    async def ran(self, *options: str) -> Ran:
        return await asyncio.to_thread(
            listwire,
            "--config",
            self.stage.config,
            "cohorts",
            "sync",
            "power",
            *options,
            cwd=self.stage.config.parent,
            timeout=120,
        )

    async def tag_by_hand(self, addresses: Iterable[str]) -> None:
        tags = self.stage.mailchimp.account.tags
        audience = self.stage.mailchimp.audience
        if audience.tag(TAG) is None:
            tags.create(audience, TAG, [], "hand")
        segment = audience.tag(TAG)
        assert segment is not None
        tags.replace(audience, segment, list(addresses), "hand")


@pytest.fixture
async def scene(broker: EmbeddedKafka, tmp_path: Path) -> AsyncIterator[Scene]:
    async with (
        AmplitudeStandIn(api_keys={KEY}, secret_keys={SECRET}) as amplitude,
        Stage.set(broker.bootstrap_servers, tmp_path) as stage,
    ):
        amplitude.cohorts.limits.windows = ()  # these tests ask more often than a person would
        found = Scene(stage, amplitude)
        found.settings()
        yield found


async def test_fifty_thousand_become_the_tag_from_any_state_in_the_fewest_calls_and_a_second_run_makes_none(
    scene: Scene,
) -> None:
    stage = scene.stage
    stage.mailchimp.audience.seed(60_000)
    scene.settings(max_removal=1.0)
    await stage.worker()
    everybody = members(60_000)
    dice = random.Random(7)
    strangers = [f"stranger{n}@example.com" for n in range(2_000)]
    # What the tag holds before, as share of the cohort's people and of others.
    for state, cohort, before in (
        ("empty", everybody[:48_000], []),
        ("edited by hand", everybody[:48_000], dice.sample(everybody[:48_000], 40_000) + everybody[50_000:53_210]),
        ("wrong people", everybody[5_000:53_000], everybody[53_000:] + everybody[:5_000]),
    ):
        scene.cohort([address.upper() if n % 3 else f" {address}" for n, address in enumerate(cohort)] + strangers)
        await scene.tag_by_hand(before)
        calls = stage.segment_calls
        found = await scene.sync()
        enter, leave = set(cohort) - set(before), set(before) - set(cohort)
        assert (found["entering"], found["leaving"], found["absent"]) == (len(enter), len(leave), 2_000), state
        assert found["users"] == 50_000
        await stage.carried_by(cohort, within=120)
        await stage.settled()
        fewest = -(-max(len(enter), len(leave)) // 500)
        assert stage.segment_calls - calls == fewest == found["segment_calls"], state
        again = await scene.sync()
        assert (again["entering"], again["leaving"], again["messages"], again["published"]) == (0, 0, 0, []), state
        assert stage.segment_calls - calls == fewest
    assert await stage.letters() == []
    assert stage.mailchimp.max_connections_seen <= 14  # the worker's ten, and the four of a sync that reads


async def test_messages_lie_where_the_cohorts_webhook_puts_them_and_pairs_lie_together(scene: Scene) -> None:
    stage = scene.stage
    stage.mailchimp.audience.seed(3_000)
    scene.settings(max_removal=1.0)
    await scene.tag_by_hand(members(1_200, first=1_800))
    scene.cohort(members(1_700))
    found = await scene.sync()
    written = await records(settings_of(stage.config), topics.COHORT_CHANGES)
    assert len(written) == found["messages"] == 7
    producer = AIOKafkaProducer(bootstrap_servers=stage.bootstrap)
    await producer.start()
    try:
        webhook = await producer.send_and_wait(topics.COHORT_CHANGES, b"{}", key=b"7khm89cz")
    finally:
        await producer.stop()
    assert {each.partition for each in written} == {webhook.partition}
    assert {each.key for each in written} == {b"7khm89cz"}
    assert {text(each)["sync"] for each in written} == {"newsletter"}
    directions = [json.loads(each.value or b"")["in_cohort"] for each in written]
    assert directions == [False, True, False, True, False, True, True]
    assert [len(json.loads(each.value or b"")["users"]) for each in written] == [500, 500, 500, 500, 200, 500, 200]


async def test_too_many_removals_are_refused_and_nothing_is_done_until_somebody_says_so(scene: Scene) -> None:
    stage = scene.stage
    stage.mailchimp.audience.seed(1_000)
    await scene.tag_by_hand(members(1_000))
    scene.cohort(members(499))
    refused = await scene.sync(code=1)
    assert "501 of the tag's 1,000 members would lose it (50%; max_removal is 50%)" in refused["words"]
    scene.cohort([])
    refused = await scene.sync(code=1)
    assert "nobody with an address, and the tag has 1,000 members" in refused["words"]
    assert await records(settings_of(stage.config), topics.COHORT_CHANGES) == []
    scene.cohort(members(499))
    await stage.worker()
    assert (await scene.sync("--force"))["leaving"] == 501
    await stage.carried_by(members(499))


async def test_what_is_pushed_while_a_cohort_is_on_its_way_is_never_undone(scene: Scene) -> None:
    stage = scene.stage
    stage.mailchimp.audience.seed(100)
    await stage.worker()
    await stage.publish(Message(members(50), cohort="7khm89cz"))
    await stage.carried_by(members(50))
    scene.cohort(members(50))
    scene.amplitude.cohorts.polls = 10**9
    running = asyncio.create_task(scene.sync())
    await until(lambda: scene.amplitude.cohorts.downloads, 30)
    # The cohort is settled; now one of it leaves, and one who is not in it enters.
    await stage.publish(
        Message(members(1), entered=False, cohort="7khm89cz"), Message(members(1, first=90), cohort="7khm89cz")
    )
    now = [*members(49, first=1), *members(1, first=90)]
    await stage.carried_by(now)
    scene.amplitude.cohorts.polls = 1
    found = await running
    assert (found["entering"], found["leaving"], found["left_alone"], found["messages"]) == (0, 0, 2, 0)
    await stage.settled()
    assert stage.tagged() == set(now)


async def test_a_worker_that_does_not_run_is_named_instead_of_publishing_the_same_again(scene: Scene) -> None:
    stage = scene.stage
    stage.mailchimp.audience.seed(10)
    scene.cohort(members(10))
    assert (await scene.sync())["messages"] == 1
    how = How(SystemClock(), Pace(), patience=1.0)
    with pytest.raises(ListwireError, match=r"1 record of listwire.cohort-changes/.*listwire worker cohorts"):
        await sync_once(settings_of(stage.config), "power", how)
    assert len(await records(settings_of(stage.config), topics.COHORT_CHANGES)) == 1


async def test_a_paused_sync_publishes_nothing_and_spends_no_download(scene: Scene) -> None:
    scene.stage.mailchimp.audience.seed(10)
    scene.cohort(members(10))

    async def said(command: str) -> None:
        ran = await asyncio.to_thread(
            listwire, "--config", scene.stage.config, command, "cohort_syncs.newsletter", cwd=scene.stage.config.parent
        )
        assert ran.code == 0, ran.all

    await said("pause")
    try:
        assert "paused by `listwire pause`" in (await scene.sync(code=1))["words"]
        assert scene.amplitude.cohorts.requested == []
    finally:
        await said("resume")
    assert (await scene.sync())["entering"] == 10


async def test_two_schedulers_and_a_worker_make_the_tag_right_and_say_how_it_went(scene: Scene) -> None:
    stage = scene.stage
    stage.mailchimp.audience.seed(2_000)
    scene.cohort(members(1_500))
    scene.settings(cron="* * * * *")
    await stage.worker()
    code = SCHEDULER.format(ahead=(60 - STARTED - time.time()) % 60)
    schedulers = [Worker(stage.config, f"scheduler{n}", code=code) for n in range(2)]
    stage.workers += schedulers
    await stage.carried_by(members(1_500), within=120)
    for each in schedulers:
        await until(lambda each=each: each.logged("a cohort schedule is done"), 60, lambda: stage.said)
        status, page = await each.get("/metrics")
        assert status == 200
        assert 'listwire_cohort_schedule_status{schedule="power"} 1.0' in page
        assert 'listwire_cohort_schedule_absent{schedule="power"} 0.0' in page
        assert (await each.get("/healthz"))[0] == 200
    codes = [(await each.stop())[0] for each in schedulers]
    assert codes == [0, 0]
    await stage.settled()
    assert stage.tagged() == set(members(1_500))
    assert not [each for each in schedulers if SECRET in each.output or KEY in each.output]


async def test_a_cron_of_ones_own_runs_each_schedule_once_and_tells_by_its_exit_code(scene: Scene) -> None:
    stage = scene.stage
    stage.mailchimp.audience.seed(20)
    scene.cohort(members(20))

    async def once() -> Ran:
        command = ("--config", stage.config, "cohorts", "sync", "--scheduled", "--once")
        return await asyncio.to_thread(listwire, *command, cwd=stage.config.parent, timeout=120)

    ran = await once()
    assert ran.code == 0, ran.all
    assert "a cohort schedule is done" in ran.err
    await scene.tag_by_hand(members(20))
    await stage.worker()
    await stage.settled()
    scene.cohort(members(5))
    ran = await once()
    assert ran.code == 1
    assert "refused by its guard" in ran.err
    assert AUDIENCE not in ran.err
