"""dead-letters against a real Kafka: looked at, replayed once and only once whoever dies, exported, forgotten."""

from __future__ import annotations

import asyncio
import base64
import json
import stat
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete

from listwire import topics
from listwire.dead_letters import Letter
from listwire.kafka_admin import admin_client
from listwire.kafka_reader import Reader
from listwire.letter_box import CHUNK, LetterBox
from listwire.records import Reason
from listwire.settings import Settings
from tests.contract.commands import Ran, listwire
from tests.integration import operations
from tests.unit.letters import NOW, letter

pytestmark = pytest.mark.kafka
MS = int(NOW * 1000)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with operations.listwire_kafka(tmp_path_factory.mktemp("letters")) as (_broker, path):
        yield path


@pytest.fixture
async def settings(config: Path) -> Settings:
    found = operations.settings_of(config)
    await operations.fresh_topics(found)
    return found


async def run(config: Path, *arguments: str) -> Ran:
    ran = await asyncio.to_thread(listwire, "--config", config, "dead-letters", *arguments, cwd=config.parent)
    assert "Traceback" not in ran.all
    return ran


async def waiting(config: Path) -> int:
    async with Reader(operations.settings_of(config).kafka) as reader:
        return len((await LetterBox(reader).refresh()).open)


def webhooks(count: int, *, partition: int = 0, first: int = 0, key: bytes = b"newsletter:1") -> list[Letter]:
    return [
        letter(
            f"listwire.webhooks/{partition}/{first + n}",
            b"data%%5Bemail%%5D=jane%d%%40x.org" % n,
            key=key,
            failed_at=MS + n,
        )
        for n in range(count)
    ]


def change(offset: int = 0, *people: str) -> Letter:
    users = [{"user_id": who} for who in people or ("jane@x.org",)]
    value = json.dumps({"cohort_id": "c1", "cohort_name": "C", "in_cohort": True, "users": users}).encode()
    return letter(
        f"listwire.cohort-changes/1/{offset}", value, connection="cohort_syncs.daily", key=b"c1", failed_at=MS,
        headers=(("received_at", b"1"),), reason=Reason.REJECTED_BY_MAILCHIMP,
    )  # fmt: skip


async def test_nothing_waits_at_first(settings: Settings, config: Path) -> None:
    assert "No dead letters wait." in (await run(config, "ls")).out
    replayed = await run(config, "replay", "--yes")
    assert (replayed.code, replayed.out) == (0, "Nothing to replay.\n")


async def test_letters_are_listed_by_reason_and_connection(settings: Settings, config: Path) -> None:
    await operations.bury(settings, [*webhooks(5), change()])
    document = json.loads((await run(config, "ls", "--json")).out)
    assert document["letters"] == 6
    first, second = document["groups"]
    assert (first["reason"], first["connection"], first["letters"]) == ("connection_refused", "sources.newsletter", 5)
    assert (first["first_failed_at"], first["last_failed_at"]) == (MS, MS + 4)
    assert second["reason"] == "rejected_by_mailchimp"
    table = (await run(config, "ls")).out
    assert "sources.newsletter" in table
    assert "connection_refused: The vendor refuses the key" in table
    lines = (await run(config, "ls", "--all", "--reason", "rejected_by_mailchimp")).out.splitlines()
    assert len(lines) == 1
    assert change().id in lines[0]


async def test_a_letter_is_shown_without_its_addresses_unless_they_are_asked_for(
    settings: Settings, config: Path
) -> None:
    made = letter(
        "listwire.webhooks/0/7", b"type=subscribe&data%5Bemail%5D=jane%40x.org&evil=%1b%5B2J", detail="jane@x.org is bad",
        headers=(("source", b"newsletter"), ("from", b"jane@x.org")), key=b"newsletter:jane@x.org",
    )  # fmt: skip
    await operations.bury(settings, [made])
    for name in (made.id, made.id[:10], "listwire.webhooks/0/7"):
        hidden = (await run(config, "show", name)).out
        assert "jane" not in hidden
        assert "x.org" not in hidden
        assert hidden.count("addr:") == 4
        assert "\x1b" not in hidden
        assert "type = subscribe" in hidden
    assert "data[email] = jane@x.org" in (await run(config, "show", made.id, "--reveal")).out
    assert "jane" not in (await run(config, "show", made.id, "--json")).out
    nobody = await run(config, "show", "listwire.webhooks/0/8")
    assert nobody.code == 1
    assert "No dead letter has the id or origin" in nobody.err


async def test_a_letter_goes_back_as_it_was_to_the_partition_it_came_from(settings: Settings, config: Path) -> None:
    headers = (("source", b"newsletter"), ("received_at", b"1"), ("request_id", b"r1"))
    made = letter("listwire.webhooks/2/7", b"body \xff", key=b"newsletter:9", headers=headers)
    await operations.bury(settings, [made])
    ran = await run(config, "replay", "--yes")
    assert "1 letter replayed." in ran.out
    (record,) = await operations.records(settings, topics.WEBHOOKS)
    assert (record.partition, record.key, record.value) == (2, made.key, made.value)
    assert record.headers == (*headers, ("replay_of", b"listwire.webhooks/2/7"))
    written, mark = await operations.records(settings, topics.DEAD_LETTERS)
    assert mark.value is None
    assert mark.partition == written.partition
    assert mark.headers == (("replayed", made.id.encode()),)


async def test_a_cohort_change_goes_back_for_its_one_sync(settings: Settings, config: Path) -> None:
    async with operations.producer(settings) as out:
        await out.send_and_wait(topics.COHORT_CHANGES, b"{}", partition=1)
    await operations.bury(settings, [change()])
    assert "1 letter replayed." in (await run(config, "replay", "--yes")).out
    *_, record = await operations.records(settings, topics.COHORT_CHANGES)
    assert dict(record.headers) == {"received_at": b"1", "sync": b"daily", "replay_of": b"listwire.cohort-changes/1/0"}


async def test_a_cohort_change_whose_origin_is_gone_is_left_alone_unless_forced(
    settings: Settings, config: Path
) -> None:
    async with operations.producer(settings) as out:
        await out.send_and_wait(topics.COHORT_CHANGES, b"{}", partition=1)
    async with admin_client(settings.kafka) as admin:
        await admin.delete_records({TopicPartition(topics.COHORT_CHANGES, 1): RecordsToDelete(1)})
    await operations.bury(settings, [change()])
    left = await run(config, "replay", "--yes")
    assert "Left alone: 1 letter; its origin is no longer in Kafka" in left.out
    assert await waiting(config) == 1
    assert "1 letter replayed." in (await run(config, "replay", "--yes", "--force")).out
    (record,) = await operations.records(settings, topics.COHORT_CHANGES)
    assert dict(record.headers)["replay_force"] == b"1"


async def test_a_second_replay_replays_nothing_twice_and_oldest_go_first(settings: Settings, config: Path) -> None:
    letters = [*webhooks(6, partition=0, first=10), *webhooks(6, partition=1, first=3)]
    await operations.bury(settings, reversed(letters))
    first = json.loads((await run(config, "replay", "--yes", "--json")).out)
    second = json.loads((await run(config, "replay", "--yes", "--json")).out)
    assert (first["replayed"], second["selected"], second["replayed"]) == (12, 0, 0)
    back = await operations.records(settings, topics.WEBHOOKS)
    origins = [dict(record.headers)["replay_of"].decode() for record in back]
    assert origins == [made.origin for made in letters]


async def test_a_letter_that_fails_again_waits_again(settings: Settings, config: Path) -> None:
    made = letter("listwire.webhooks/0/3")
    for _ in range(2):
        await operations.bury(settings, [made])
        assert await waiting(config) == 1
        await run(config, "replay", "--yes")
        assert await waiting(config) == 0
    assert len(await operations.records(settings, topics.WEBHOOKS)) == 2


async def test_filters_choose_what_goes_back_and_a_dry_run_only_tells(settings: Settings, config: Path) -> None:
    letters = [
        *webhooks(3),
        *webhooks(2, partition=1),
        letter("listwire.webhooks/0/9", reason=Reason.TOO_LARGE, failed_at=MS),
    ]
    await operations.bury(settings, letters)
    dry = await run(config, "replay", "--dry-run", "--origin", "listwire.webhooks/1")
    assert "2 letters of sources.newsletter, connection_refused" in dry.out
    assert await waiting(config) == 6
    assert "2 letters replayed." in (await run(config, "replay", "--yes", "--origin", "listwire.webhooks/1")).out
    assert "1 letter replayed." in (await run(config, "replay", "--yes", "--reason", "too_large")).out
    assert "1 letter replayed." in (await run(config, "replay", "--yes", "--id", letters[1].id[:12])).out
    assert "Nothing to replay." in (await run(config, "replay", "--yes", "--connection", "sources.daily")).out
    assert await waiting(config) == 2


async def test_webhooks_older_than_amplitudes_memory_are_warned_of(settings: Settings, config: Path) -> None:
    await operations.bury(
        settings, [letter(failed_at=MS, headers=(("source", b"newsletter"), ("received_at", b"1000")))]
    )
    assert "1 webhook is older than 7 days" in (await run(config, "replay", "--dry-run")).out


async def test_letters_of_what_is_not_in_the_settings_are_left_alone_and_named(
    settings: Settings, config: Path
) -> None:
    await operations.bury(
        settings, [letter(connection="sources.unknown"), letter(connection="sources.?", value=b"other")]
    )
    ran = await run(config, "replay", "--yes")
    assert "Left alone: 1 letter; sources.unknown: it is not in the settings." in ran.out
    assert "Left alone: 1 letter; sources.?: their records name no source." in ran.out
    assert await waiting(config) == 2
    assert await operations.records(settings, topics.WEBHOOKS) == []


async def test_an_origin_that_names_another_topic_is_never_written_to(settings: Settings, config: Path) -> None:
    await operations.bury(settings, [letter("listwire.dead-letters/0/1"), letter("payments/0/1", b"2")])
    ran = await run(config, "replay", "--yes", "--force")
    assert "Left alone: 2 letters; its origin names no topic that workers read." in ran.out
    assert await waiting(config) == 2


async def test_what_cannot_be_read_is_counted_and_stops_nothing(settings: Settings, config: Path) -> None:
    for partition in range(operations.PARTITIONS):
        await operations.produce_undecodable(settings, topics.DEAD_LETTERS, partition)
    await operations.bury(settings, webhooks(4))
    async with operations.producer(settings) as out:
        await out.send_and_wait(topics.DEAD_LETTERS, b"garbage", key=b"k")
        await out.send_and_wait(topics.DEAD_LETTERS, None, key=b"k")
    assert "5 records in the topic can be read neither as a letter nor as a mark" in (await run(config, "ls")).out
    assert json.loads((await run(config, "ls", "--json")).out)["unreadable"] == operations.PARTITIONS + 2
    assert "4 letters replayed." in (await run(config, "replay", "--yes")).out
    assert await waiting(config) == 0


async def replayed(settings: Settings) -> int:
    async with Reader(settings.kafka) as reader:
        return sum(bounds.end for bounds in (await reader.bounds(topics.WEBHOOKS)).values())


async def test_a_replay_that_is_killed_and_run_again_replays_each_letter_once(settings: Settings, config: Path) -> None:
    total = CHUNK * 8
    letters = [
        each for p in range(operations.PARTITIONS) for each in webhooks(total // operations.PARTITIONS, partition=p)
    ]
    await operations.bury(settings, letters)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "listwire", "--config", str(config), "dead-letters", "replay", "--yes",
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    while process.returncode is None and await replayed(settings) < CHUNK * 2:
        await asyncio.sleep(0.005)
    if process.returncode is None:
        process.kill()
    await process.wait()
    second = await run(config, "replay", "--yes")
    assert second.code == 0
    back = Counter(
        dict(record.headers)["replay_of"].decode() for record in await operations.records(settings, topics.WEBHOOKS)
    )
    assert back == Counter(made.origin for made in letters)
    assert await waiting(config) == 0


async def test_two_replays_at_once_replay_each_letter_once(settings: Settings, config: Path) -> None:
    letters = webhooks(CHUNK * 4)
    await operations.bury(settings, letters)
    ran = await asyncio.gather(*(run(config, "replay", "--yes") for _ in range(2)))
    assert 0 in {each.code for each in ran}
    await run(config, "replay", "--yes")
    back = Counter(
        dict(record.headers)["replay_of"].decode() for record in await operations.records(settings, topics.WEBHOOKS)
    )
    assert back == Counter(made.origin for made in letters)
    for each in ran:
        assert each.code == 0 or "Another replay has taken over" in each.err


async def test_large_letters_go_back_whole(settings: Settings, config: Path) -> None:
    async with operations.producer(settings) as out:
        for _ in range(3):
            await out.send_and_wait(topics.COHORT_CHANGES, b"{}", partition=1)
    people = [f"person-{n}@x.org" for n in range(120_000)]
    letters = [change(n, *people) for n in range(3)]
    assert len(letters[0].value) > 3 << 20
    await operations.bury(settings, letters)
    assert "3 letters replayed." in (await run(config, "replay", "--yes")).out
    back = [record.value for record in await operations.records(settings, topics.COHORT_CHANGES)][3:]
    assert back == [made.value for made in letters]


async def test_an_export_holds_everything_and_only_its_owner_reads_it(
    settings: Settings, config: Path, tmp_path: Path
) -> None:
    made = letter(value=b"\x00\xff", key=None, headers=(("source", b"newsletter"),))
    await operations.bury(settings, [made, *webhooks(2)])
    target = tmp_path / "letters.jsonl"
    ran = await run(config, "export", str(target))
    assert (ran.code, ran.out) == (0, "")
    assert "3 letters exported" in ran.err
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    lines = {line["id"]: line for line in map(json.loads, target.read_text().splitlines())}
    line = lines[made.id]
    assert (base64.b64decode(line["value"]), line["key"], line["origin"]) == (made.value, None, made.origin)
    assert [(name, base64.b64decode(value)) for name, value in line["headers"]] == [("source", b"newsletter")]
    assert (await run(config, "export", str(target))).code == 2
    assert (await run(config, "export", str(target), "--force", "--id", made.id)).code == 0
    assert len(target.read_text().splitlines()) == 1
    await run(config, "replay", "--yes")
    assert (await run(config, "export", "-")).out == ""
    assert len((await run(config, "export", "-", "--done")).out.splitlines()) == 3


async def test_a_forgotten_person_is_never_replayed_and_nobody_else_is_forgotten(
    settings: Settings, config: Path
) -> None:
    async with operations.producer(settings) as out:
        await out.send_and_wait(topics.COHORT_CHANGES, b"{}", partition=1)
    await operations.bury(settings, [*webhooks(3), change(0, "JANE1@x.org", "jack@x.org")])
    ran = await run(config, "forget", "jane1@x.org", "--yes")
    assert "1 waiting letter names this address alone, 1 beside other people" in ran.out
    assert "2 letters marked done" in ran.out
    assert "Kafka cannot change a record" in ran.out
    assert await waiting(config) == 3
    await run(config, "replay", "--yes")
    values = [
        r.value for name in (topics.WEBHOOKS, topics.COHORT_CHANGES) for r in await operations.records(settings, name)
    ]
    assert not any(b"jane1" in value.lower() for value in values)
    assert sum(b"jack@x.org" in value for value in values) == 1
    again = await run(config, "forget", "jane1@x.org", "--yes")
    assert "0 waiting letters" in again.out
    assert "2 that are done already still hold it" in again.out


async def test_a_purge_deletes_what_stands_before_the_first_letter_that_waits(settings: Settings, config: Path) -> None:
    await operations.bury(settings, [*webhooks(3), letter("listwire.webhooks/0/9", b"data%5Bemail%5D=jack%40x.org")])
    held = await run(config, "forget", "jane1@x.org", "--yes", "--purge")
    assert "deleted, all before offset" in held.out
    assert "there still waits" in held.out
    assert any(b"jane1" in (r.value or b"") for r in await operations.records(settings, topics.DEAD_LETTERS))
    await run(config, "replay", "--yes")
    await run(config, "forget", "jane1@x.org", "--yes", "--purge")
    assert not any(b"jane1" in (r.value or b"") for r in await operations.records(settings, topics.DEAD_LETTERS))
    nobody = await run(config, "forget", "jane1@x.org", "--yes")
    assert "0 waiting letters" in nobody.out
    assert "0 that are done" in nobody.out
