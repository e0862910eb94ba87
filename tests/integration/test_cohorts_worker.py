"""The cohorts worker as it runs: a process between a real Kafka and a strict stand-in for Mailchimp."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sandbox.kafka import EmbeddedKafka
from tests.cohort_process import AUDIENCE, NEWSLETTER, PARTITIONS, TAG, Message, Stage, ids, members, messages, text
from tests.worker_process import until

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300), pytest.mark.xdist_group("cohorts worker")]
ANN, BOB, EVE = "ann@example.com", "bob@example.com", "eve@example.com"


@pytest.fixture
async def stage(broker: EmbeddedKafka, tmp_path: Path) -> AsyncIterator[Stage]:
    async with Stage.set(broker.bootstrap_servers, tmp_path) as found:
        for address in (ANN, BOB, EVE):
            found.mailchimp.audience.add_member(address, "subscribed", 0)
        yield found


async def test_a_cohort_of_5000_is_its_tag_exactly_in_as_few_calls_as_mailchimp_allows(stage: Stage) -> None:
    everybody = members(5000)
    stage.mailchimp.audience.seed(5000)
    await stage.publish(*messages(everybody, 500))
    await stage.worker()
    await stage.carried_by(everybody)
    await stage.publish(*messages(everybody[:500], 500, entered=False))
    await stage.carried_by(everybody[500:])
    await stage.settled()
    assert stage.segment_calls == 11
    assert await stage.letters() == []
    assert stage.mailchimp.max_connections_seen <= 10


async def test_what_cannot_be_tagged_becomes_dead_letters_that_say_why_and_hold_only_that(stage: Stage) -> None:
    stage.mailchimp.audience.add_member("bounced@example.com", "cleaned", 0)
    wrong = [
        Message([ANN], name="x" * 88),
        Message([ANN], headers={"sync": "unknown", "received_at": "1700000000000"}),
        Message([ANN, "nowhere", 7, BOB, "bounced@example.com"]),
    ]
    where = await stage.publish(*wrong, partition=2)
    await stage.worker()
    await stage.carried_by([ANN, BOB])
    await stage.settled()
    letters = {
        (text(each)["reason"], text(each)["connection"], text(each)["origin"][-3:]): each
        for each in await stage.letters()
    }
    places = [f"{partition}/{offset}" for partition, offset in where]
    assert sorted(letters) == [
        ("cohort_name_too_long", "cohort_syncs.newsletter", places[0]),
        ("invalid_field", "cohort_syncs.newsletter", places[2]),
        ("no_usable_address", "cohort_syncs.newsletter", places[2]),
        ("rejected_by_mailchimp", "cohort_syncs.newsletter", places[2]),
        ("unknown_connection", "cohort_syncs.unknown", places[1]),
    ]
    assert {reason: ids(each) for (reason, _, _), each in letters.items()} == {
        "cohort_name_too_long": [ANN],
        "invalid_field": [7],
        "no_usable_address": ["nowhere"],
        "rejected_by_mailchimp": ["bounced@example.com"],
        "unknown_connection": [ANN],
    }
    unknown = next(each for (reason, _, _), each in letters.items() if reason == "unknown_connection")
    assert unknown.value == wrong[1].value
    assert (unknown.key, text(unknown)["sync"], text(unknown)["received_at"]) == (b"c1", "unknown", "1700000000000")
    assert all(int(text(each)["failed_at"]) > 1_700_000_000_000 for each in letters.values())


async def test_each_sync_hears_what_its_patterns_and_the_header_let_it_hear(stage: Stage) -> None:
    other = stage.mailchimp.account.add_audience("0ther", "Other")
    other.add_member(ANN, "subscribed", 0)
    stage.settings(
        NEWSLETTER
        + '[cohort_syncs.trial]\nmailchimp = "acme"\naudience = "0ther"\ncohorts = ["Trial*"]\nemail_property = "user_id"\n'
    )
    await stage.publish(
        Message([ANN]),
        Message([ANN], name="Trial"),
        Message([ANN], name="Trial only", headers={"sync": "trial"}),
        Message([ANN], name="Newsletter only", headers={"sync": "newsletter"}),
        Message([ANN], headers={"sync": "trial"}),
    )
    await stage.worker()
    await stage.settled()
    ours = {segment.name for segment in stage.mailchimp.audience.segments.values() if segment.members}
    assert ours == {TAG, "Trial", "Newsletter only"}
    assert {segment.name for segment in other.segments.values() if segment.members} == {"Trial", "Trial only"}
    assert await stage.letters() == []


async def test_two_workers_share_the_partitions_keep_each_cohort_s_order_and_ten_connections(stage: Stage) -> None:
    """Partitions move while changes flow: every cohort ends as its last words say, whoever delivered them."""
    cohorts, everybody, dice = 12, members(300), random.Random(7)
    stage.mailchimp.audience.seed(300)
    stage.mailchimp.faults.latency = 0.05
    stage.settings(max_connections=5)
    expected: dict[str, set[str]] = {f"Cohort {number}": set() for number in range(cohorts)}

    done = asyncio.Event()

    async def keep_publishing() -> int:
        """Each round says something of forty members of each cohort."""
        rounds = 0
        while not done.is_set():
            rounds += 1
            made = []
            for name, carriers in expected.items():
                entered, users = dice.random() < 0.6, dice.sample(everybody, 40)
                made.append(Message(users, entered=entered, name=name, cohort=name))
                carriers.update(users) if entered else carriers.difference_update(users)
            await stage.publish(*made)
        return rounds

    publishing = asyncio.ensure_future(keep_publishing())
    first = await stage.worker()
    second = await stage.worker()
    shares = [int((await each.get("/readyz"))[1].split()[0]) for each in (first, second)]
    assert (sum(shares), min(shares) > 0) == (PARTITIONS, True)
    assert (await first.stop())[0] == 0
    third = await stage.worker()
    second.kill()
    await third.ready(PARTITIONS)
    done.set()
    assert await publishing > 10
    await stage.settled()
    assert {name: stage.tagged(name) for name in expected} == expected
    assert 0 < stage.mailchimp.max_connections_seen <= 10
    assert not [call for call in stage.mailchimp.calls if call.endswith(" 429")]
    assert await stage.letters() == []


async def test_nothing_is_acknowledged_before_it_is_settled_and_a_restart_delivers(stage: Stage) -> None:
    stage.settings(http_timeout=5)
    stage.mailchimp.behaviour.account_disabled = True
    await stage.publish(Message([ANN, BOB]), Message([BOB], entered=False), Message([EVE]))
    worker = await stage.worker()
    await until(lambda: any(call.endswith(" 403") for call in stage.mailchimp.calls), 30)
    await asyncio.sleep(2)  # two commits' time
    assert await stage.committed() == {}
    worker.kill()
    stage.mailchimp.behaviour.account_disabled = False
    await stage.worker()
    await stage.carried_by([ANN, EVE])
    await stage.settled()
    assert await stage.letters() == []


async def test_a_refused_key_makes_dead_letters_after_park_after_and_one_real_word_finds_it_good_again(
    stage: Stage,
) -> None:
    stage.settings(delivery="park_after = 1\nprobe_every = 1")
    stage.mailchimp.behaviour.account_disabled = True
    await stage.publish(Message([ANN]))
    worker = await stage.worker()
    await stage.settled()
    (letter,) = await stage.letters()
    assert text(letter)["reason"] == "connection_refused"
    assert (await worker.get("/metrics"))[1].count(
        'listwire_connection_status{connection="cohort_syncs.newsletter"} 3.0'
    ) == 1
    stage.mailchimp.behaviour.account_disabled = False
    await asyncio.sleep(1.1)
    await stage.publish(Message([BOB]))
    await stage.carried_by([BOB])
    assert len(await stage.letters()) == 1


async def test_a_dead_letter_of_eight_mebibytes_is_written(stage: Stage) -> None:
    """The largest message that the ingress takes, with an unknown sync and long headers."""
    users = [{"user_id": number, "user_properties": {"note": "x" * 100}} for number in range(54_000)]
    message = Message(users, headers={"sync": "s" * 200_000, "received_at": "1"})
    assert 8_000_000 < len(message.value) < 8 << 20
    await stage.publish(message, Message([*users[:-1], ANN]), partition=1)
    await stage.worker()
    await stage.carried_by([ANN], within=120)
    await stage.settled()
    letters = {text(each)["reason"]: each for each in await stage.letters()}
    assert letters["unknown_connection"].value == message.value
    assert len(ids(letters["no_usable_address"])) == 53_999


async def test_an_audience_that_is_not_there_is_said_in_words_and_holds_up_no_other_sync(stage: Stage) -> None:
    stage.settings(
        NEWSLETTER + '[cohort_syncs.gone]\nmailchimp = "acme"\naudience = "gone"\n', delivery="park_after = 1"
    )
    await stage.publish(Message([ANN]), Message([BOB]))
    await stage.worker()
    await stage.carried_by([ANN, BOB])
    await stage.settled()
    letters = await stage.letters()
    assert {text(each)["connection"] for each in letters} == {"cohort_syncs.gone"}
    assert "could not be found" in text(letters[0])["detail"]
    assert AUDIENCE not in json.dumps([text(each) for each in letters])
