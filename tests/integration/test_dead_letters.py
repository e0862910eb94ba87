"""dead-letters against a real Kafka: listed, shown, exported, forgotten; nothing unreadable is in the way."""

from __future__ import annotations

import base64
import json
import stat
from pathlib import Path

import pytest

from listwire import topics
from listwire.settings import Settings
from tests.integration import operations
from tests.integration.letter_stage import MS, change, run, waiting, webhooks
from tests.unit.letters import letter

pytestmark = pytest.mark.kafka


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
