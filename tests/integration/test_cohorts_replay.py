"""Replayed cohort changes on a real partition: what came later wins, and the worker reads it from Kafka itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete

from listwire import topics
from listwire.kafka_admin import admin_client
from sandbox.kafka import EmbeddedKafka
from tests.cohort_process import Message, Stage, ids, text
from tests.integration.operations import produce_undecodable, settings_of
from tests.worker_process import Worker

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300), pytest.mark.xdist_group("cohorts replay")]
ANN, BOB, EVE, DAN = "ann@example.com", "bob@example.com", "eve@example.com", "dan@example.com"


@pytest.fixture
async def stage(broker: EmbeddedKafka, tmp_path: Path) -> AsyncIterator[Stage]:
    async with Stage.set(broker.bootstrap_servers, tmp_path) as found:
        for address in (ANN, BOB, EVE, DAN):
            found.mailchimp.audience.add_member(address, "subscribed", 0)
        yield found


def again(origin: int, *users: str, partition: int = 0, force: bool = False, entered: bool = True) -> Message:
    headers = {"sync": "newsletter", "replay_of": f"{topics.COHORT_CHANGES}/{partition}/{origin}"}
    return Message(users, entered, headers={**headers, "replay_force": "1"} if force else headers)


async def filtered(worker: Worker, why: str) -> int:
    name = f'listwire_filtered_total{{connection="cohort_syncs.newsletter",why="{why}",worker="cohorts"}} '
    lines = (await worker.get("/metrics"))[1].splitlines()
    return sum(int(float(line.removeprefix(name))) for line in lines if line.startswith(name))


async def test_a_replayed_change_speaks_only_for_users_of_whom_nothing_later_was_said(stage: Stage) -> None:
    await stage.publish(
        Message([ANN, BOB, EVE, DAN], name="x" * 90),  # 0: a dead letter, now to be replayed under its new name
        Message([BOB], entered=False),  # 1
        Message([EVE], entered=False, headers={"sync": "unknown"}),  # 2: not for this sync
        Message(["nowhere", DAN], entered=False, name="y" * 90),  # 3: only a dead letter, and yet a later word
        Message([ANN], entered=False, cohort="other"),  # 4
        partition=0,
    )
    await produce_undecodable(settings_of(stage.config), topics.COHORT_CHANGES, 0)  # 5
    worker = await stage.worker()
    await stage.settled()
    before = len(await stage.letters())
    await stage.publish(again(0, ANN, BOB, EVE, DAN), partition=0)
    await stage.settled()
    assert stage.tagged() == {ANN, EVE}
    assert await filtered(worker, "out_of_date") == 2
    assert len(await stage.letters()) == before


async def test_two_replays_in_either_order_end_as_their_origins_say(stage: Stage) -> None:
    stage.settings(delivery="park_after = 0")
    stage.mailchimp.behaviour.account_disabled = True
    await stage.publish(Message([ANN, BOB]), Message([ANN, EVE], entered=False), partition=0)
    worker = await stage.worker()
    await stage.settled()
    letters = await stage.letters()
    assert [text(each)["reason"] for each in letters] == ["connection_refused"] * 2
    worker.kill()
    stage.mailchimp.behaviour.account_disabled = False
    # A partial letter of 0 too, and 1 in front of it.
    await stage.publish(again(1, ANN, EVE, entered=False), again(0, ANN), again(0, BOB, "nowhere"), partition=0)
    await stage.worker()
    await stage.settled()
    assert stage.tagged() == {BOB}
    (letter,) = (await stage.letters())[2:]
    assert (text(letter)["origin"], ids(letter)) == (f"{topics.COHORT_CHANGES}/0/0", ["nowhere"])


async def test_without_its_origin_a_replay_is_skipped_unless_forced_and_even_then_hears_what_is_left(
    stage: Stage,
) -> None:
    await stage.publish(Message([ANN], entered=False), Message([EVE]), Message([BOB], entered=False), partition=0)
    async with admin_client(settings_of(stage.config).kafka) as admin:
        await admin.delete_records({TopicPartition(topics.COHORT_CHANGES, 0): RecordsToDelete(2)})
    worker = await stage.worker()
    await stage.publish(
        again(0, ANN, BOB),
        again(900, DAN),
        again(0, DAN, partition=3),
        again(1, ANN, BOB, force=True),
        partition=0,
    )
    await stage.settled()
    assert stage.tagged() == {ANN}
    assert await filtered(worker, "origin_gone") == 4
    assert await filtered(worker, "out_of_date") == 1
    assert await stage.letters() == []


async def test_a_replay_that_must_look_through_thousands_of_messages_finds_the_one_word(stage: Stage) -> None:
    noise = [Message([f"noise{n}@example.com"] * 20, cohort=f"c{n % 7}") for n in range(3000)]
    await stage.publish(Message([ANN, BOB]), *noise[:2000], Message([ANN], entered=False), *noise[2000:], partition=0)
    worker = await stage.worker()
    await stage.settled(within=120)
    assert stage.tagged() == {BOB}
    await stage.publish(*(again(0, ANN, BOB) for _ in range(50)), partition=0)
    await stage.settled(within=120)
    assert stage.tagged() == {BOB}
    assert await filtered(worker, "out_of_date") == 50
