"""`cohorts publish` and `missing` against a real Kafka and the Mailchimp stand-in, as a person runs them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from listwire import topics
from listwire.kafka_admin import admin_client
from listwire.logs import address_hash
from listwire.settings import Settings
from sandbox.faults import HTML_502, Fault
from sandbox.kafka import EmbeddedKafka
from sandbox.mailchimp import AUDIENCE, MailchimpStandIn
from stream.codecs.cohort_change import CohortChange, address_of, decode
from stream.worker import letters_producer
from tests.contract.commands import Ran, listwire
from tests.integration import operations
from vendors.mailchimp import Mailchimp

pytestmark = pytest.mark.kafka

NAME = "Power users"
KEY = b"power-users-63872142"


@pytest.fixture(scope="module")
def config(listwire_broker: EmbeddedKafka, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return operations.settings_file(
        listwire_broker.bootstrap_servers, tmp_path_factory.mktemp("cohorts") / "listwire.toml"
    )


@pytest.fixture
async def settings(config: Path) -> AsyncIterator[Settings]:
    found = operations.settings_of(config)
    await operations.fresh_topics(found)
    return found


@pytest.fixture
async def mailchimp(settings: Settings, config: Path) -> AsyncIterator[MailchimpStandIn]:
    async with MailchimpStandIn() as stand_in:
        operations.settings_file(settings.kafka.bootstrap_servers or "", config, mailchimp=stand_in.url)
        yield stand_in


async def cohorts(config: Path, *arguments: str | Path, stdin: str | None = None) -> Ran:
    """In a thread: the stand-in answers in this test's own loop."""
    ran = await asyncio.to_thread(listwire, "cohorts", *arguments, "--config", config, cwd=config.parent, stdin=stdin)
    assert "Traceback" not in ran.all
    return ran


async def publish(config: Path, *arguments: str | Path, stdin: str | None = None) -> Any:
    ran = await cohorts(config, "publish", "--name", NAME, *arguments, "--json", stdin=stdin)
    assert ran.code == 0, ran.err
    return json.loads(ran.out)


async def missing(config: Path, name: str = NAME, *arguments: str) -> Any:
    ran = await cohorts(config, "missing", "--sync", "daily", "--cohort", name, "--json", *arguments)
    assert ran.code == 0, ran.err
    return json.loads(ran.out)


def lines(count: int, first: int = 0) -> str:
    return "".join(f"member{number}@example.com\n" for number in range(first, first + count))


def change(value: bytes | None) -> CohortChange:
    found = decode(value)
    assert isinstance(found, CohortChange)
    return found


async def test_two_and_a_half_thousand_users_are_three_messages_in_order_under_one_key(
    settings: Settings, config: Path, tmp_path: Path
) -> None:
    (tmp_path / "users.csv").write_text(
        "email,user_id\n" + "".join(f"{a},{n}\n" for n, a in enumerate(lines(2500).split()))
    )
    told = await publish(config, "--enter", tmp_path / "users.csv", "--sync", "daily")
    again = await publish(config, "--leave", "-", stdin=lines(1))
    records = await operations.records(settings, topics.COHORT_CHANGES)
    assert {record.key for record in records} == {KEY}
    assert len({record.partition for record in records}) == 1
    assert [record.offset for record in records] == [0, 1, 2, 3]
    names = [[name for name, _ in record.headers] for record in records]
    assert names == [["sync", "received_at"]] * 3 + [["received_at"]]
    assert dict(records[0].headers)["sync"] == b"daily"
    assert dict(records[0].headers)["received_at"].isdigit()

    changes = [change(record.value) for record in records]
    assert {each.cohort_id.encode() for each in changes} == {KEY}
    assert [(each.entered, len(each.users)) for each in changes] == [
        (True, 1000),
        (True, 1000),
        (True, 500),
        (False, 1),
    ]
    users = [user for each in changes[:3] for user in each.users]
    assert [user and address_of(user, "email") for user in users] == lines(2500).split()
    assert [user and user.user_id for user in users] == [str(number) for number in range(2500)]

    (place,) = told["published"]
    assert place == {"partition": records[0].partition, "messages": 3, "first_offset": 0, "last_offset": 2}
    assert (told["users"], told["entered"], told["left"], told["messages"]) == (2500, 2500, 0, 3)
    assert again["published"][0]["first_offset"] == 3


async def test_what_was_published_is_said_in_words(settings: Settings, config: Path) -> None:
    ran = await cohorts(config, "publish", "--name", NAME, "--id", "7khm89cz", "--leave", "-", stdin=lines(1501))
    assert ran.code == 0, ran.err
    (partition,) = {record.partition for record in await operations.records(settings, topics.COHORT_CHANGES)}
    assert ran.out == (
        "Published 'Power users', cohort 7khm89cz: 1,501 users (1,501 left) in 2 messages.\n"
        f"In listwire.cohort-changes/{partition} offset 0 to 1.\n"
    )


async def test_a_topic_that_is_absent_is_not_made(settings: Settings, config: Path) -> None:
    async with admin_client(settings.kafka) as admin:
        await admin.delete_topics([topics.COHORT_CHANGES])
        while not (await admin.describe_topics([topics.COHORT_CHANGES]))[0]["error_code"]:
            await asyncio.sleep(0.05)
        ran = await cohorts(config, "publish", "--name", NAME, "--enter", "-", stdin=lines(1))
        assert ran.code == 1
        assert ran.err == "listwire: The topic listwire.cohort-changes does not exist: run `listwire topics ensure`.\n"
        assert (await admin.describe_topics([topics.COHORT_CHANGES]))[0]["error_code"]


async def test_a_message_that_the_topic_does_not_take_is_told_with_the_way_out(
    settings: Settings, config: Path
) -> None:
    async with admin_client(settings.kafka) as admin:
        small = ConfigResource(ConfigResourceType.TOPIC, topics.COHORT_CHANGES, {"max.message.bytes": "20000"})
        await admin.alter_configs([small])
    ran = await cohorts(config, "publish", "--name", NAME, "--enter", "-", "--leave", "/dev/null", stdin=lines(1000))
    assert ran.code == 1
    assert "does not take messages of this size" in ran.err
    assert "Acknowledged until then: 0 messages" in ran.err
    assert len(ran.err.strip().splitlines()) == 1


async def tag(mailchimp: MailchimpStandIn, name: str, addresses: list[str]) -> None:
    async with Mailchimp(mailchimp.url, api_key=next(iter(mailchimp.api_keys))) as client:
        segment = await client.create_segment(AUDIENCE, name)
        for at in range(0, len(addresses), 500):
            await client.update_segment_members(AUDIENCE, segment.id, addresses[at : at + 500], [])


async def test_the_missing_are_those_who_entered_last_and_are_not_in_the_audience(
    settings: Settings, config: Path, mailchimp: MailchimpStandIn
) -> None:
    mailchimp.audience.seed(2300)
    await publish(config, "--enter", "-", stdin=lines(2500))
    await publish(config, "--leave", "-", "--sync", "daily", stdin=lines(10) + lines(10, 2490))
    await tag(mailchimp, "POWER users", lines(2200, 10).split())
    # The second page of the audience breaks off: it is asked for again, and nobody is counted twice or forgotten.
    mailchimp.faults.add(
        Fault(status=502, body=HTML_502, content_type="text/html", path=f"/lists/{AUDIENCE}/members$", times=1)
    )
    found = await missing(config, NAME, "--hash")
    absent = lines(190, 2300).split()
    assert (len(found["missing"]), set(found["missing"])) == (190, set(map(address_hash, absent)))
    assert set(found["untagged"]) == set(map(address_hash, lines(90, 2210).split()))
    assert (found["should_carry"], found["in_audience"], found["tagged"], found["messages"]) == (2480, 2290, 2200, 4)
    revealed = await missing(config, NAME.upper())
    assert revealed["missing"] == sorted(absent)
    assert mailchimp.faults.injected.total() == 1
    assert any("/members 200" in call for call in mailchimp.calls)


async def test_a_small_cohort_costs_a_large_audience_few_calls(
    settings: Settings, config: Path, mailchimp: MailchimpStandIn
) -> None:
    mailchimp.audience.seed(3)
    mailchimp.audience.add_member("Gone@example.com", "archived", 0)
    mailchimp.audience.seed(1, pattern="unsubscribed{}@example.com", status="unsubscribed")
    entering = [*lines(4).split(), "gone@example.com", "unsubscribed0@example.com", "not an address"]
    await publish(config, "--enter", "-", "--format", "lines", "--skip-bad", stdin="\n".join(entering))
    found = await missing(config, NAME)
    assert found["missing"] == ["gone@example.com", "member3@example.com"]
    assert found["untagged"] == [*lines(3).split(), "unsubscribed0@example.com"]
    assert not any("/members 200" in call for call in mailchimp.calls)


async def test_the_answer_in_words_names_addresses_or_their_hashes(
    settings: Settings, config: Path, mailchimp: MailchimpStandIn
) -> None:
    mailchimp.audience.seed(1)
    await publish(config, "--enter", "-", stdin=lines(2))
    async with operations.producer(settings) as out:
        other = {"cohort_id": "other", "cohort_name": "power USERS", "in_cohort": True, "users": [{}, {"user_id": "7"}]}
        await out.send_and_wait(topics.COHORT_CHANGES, json.dumps(other).encode(), key=b"other")
        await out.send_and_wait(topics.COHORT_CHANGES, b"not JSON", key=b"other")
    ran = await cohorts(config, "missing", "--sync", "daily", "--cohort", NAME, "--hash")
    assert ran.code == 0, ran.err
    assert "'Power users' for daily: 2 addresses should carry the tag, after 2 messages since " in ran.out
    assert "These cohorts share the tag: other, power-users-63872142." in ran.out
    assert "2 users had no usable address" in ran.out
    assert "  0 carry it\n  1 are in the audience and do not carry it (yet); --json lists them\n" in ran.out
    assert "  1 are not in the audience\n" in ran.out
    assert address_hash("member1@example.com") in ran.out
    assert "@example.com" not in ran.out
    ran = await cohorts(config, "missing", "--sync", "daily", "--cohort", NAME)
    assert ran.out.endswith("Not in the audience:\nmember1@example.com\n")


async def test_a_cohort_that_nobody_published_is_one_sentence_with_the_names_there_are(
    settings: Settings, config: Path, mailchimp: MailchimpStandIn
) -> None:
    ran = await cohorts(config, "missing", "--sync", "daily", "--cohort", NAME)
    assert ran.code == 1
    assert "holds no change of 'Power users' that daily hears (it is empty)." in ran.err
    await publish(config, "--enter", "-", stdin=lines(1))
    ran = await cohorts(config, "missing", "--sync", "daily", "--cohort", "Power user")
    assert ran.code == 1
    assert ran.err.splitlines()[-1].endswith("; there is 'Power users'.")


async def test_a_mailchimp_that_refuses_is_one_sentence(
    settings: Settings, config: Path, mailchimp: MailchimpStandIn
) -> None:
    await publish(config, "--enter", "-", stdin=lines(30))
    ran = await cohorts(config, "missing", "--sync", "daily", "--cohort", NAME)
    assert ran.code == 0
    mailchimp.api_keys.clear()
    ran = await cohorts(config, "missing", "--sync", "daily", "--cohort", NAME)
    assert ran.code == 1
    assert ran.err.splitlines()[-1].startswith("listwire: mailchimp answered 401: ")
    mailchimp.api_keys.add("0123456789abcdef0123456789abcdef-us6")
    mailchimp.audiences.clear()
    ran = await cohorts(config, "missing", "--sync", "daily", "--cohort", NAME)
    assert ran.code == 1
    assert f"listwire: Mailchimp does not know the audience '{AUDIENCE}'" in ran.err.splitlines()[-1]


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
async def test_a_publisher_may_compress_as_it_likes(settings: Settings, codec: str) -> None:
    """One batch that a worker cannot unpack would stop it for good."""
    value = json.dumps({"cohort_id": "c", "cohort_name": NAME, "in_cohort": True, "users": [{}] * 5000}).encode()
    async with operations.producer(settings, compression_type=codec) as out:
        await out.send_and_wait(topics.COHORT_CHANGES, value, key=b"c")
    assert [record.value for record in await operations.records(settings, topics.COHORT_CHANGES)] == [value]


async def test_what_a_publisher_has_compressed_fits_into_the_topic_of_dead_letters(settings: Settings) -> None:
    """13 MiB of it, where the topic takes 10: its limit is for what is sent."""
    value = json.dumps({"users": [{"user_id": number} for number in range(600_000)]}).encode()
    assert len(value) > 10 << 20
    producer = await letters_producer(settings)
    try:
        await producer.send_and_wait(topics.DEAD_LETTERS, value)
    finally:
        await producer.stop()
    assert [record.value for record in await operations.records(settings, topics.DEAD_LETTERS)] == [value]
