"""dead-letters replay against a real Kafka: once and only once, oldest first, whoever dies; never what would only fail again."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pty
import sys
from collections import Counter
from pathlib import Path

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete

from listwire import topics
from listwire.kafka_admin import admin_client
from listwire.kafka_reader import Reader
from listwire.letter_box import CHUNK
from listwire.records import Reason
from listwire.settings import Settings
from sandbox.amplitude import AmplitudeStandIn
from tests.integration import operations
from tests.integration.letter_stage import MS, change, run, run_apart, waiting, webhooks
from tests.unit.letters import letter

pytestmark = pytest.mark.kafka


async def replayed(settings: Settings) -> int:
    async with Reader(settings.kafka) as reader:
        return sum(bounds.end for bounds in (await reader.bounds(topics.WEBHOOKS)).values())


async def ask(config: Path, answer: bytes) -> tuple[int | None, str]:
    """On a terminal."""
    ours, theirs = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "listwire", "--config", str(config), "dead-letters", "replay",
        stdin=theirs, stdout=theirs, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    said = b""
    async with asyncio.timeout(60):
        while b"[y/N]" not in said:
            said += await asyncio.to_thread(os.read, ours, 4096)
        os.write(ours, answer)
        with contextlib.suppress(OSError):  # the terminal's other end is closed
            while more := await asyncio.to_thread(os.read, ours, 4096):
                said += more
        await process.wait()
    os.close(ours)
    return process.returncode, said.decode()


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


async def test_letters_of_a_connection_that_is_still_refused_wait_until_its_key_is_mended(
    settings: Settings, config: Path, tmp_path: Path
) -> None:
    await operations.bury(
        settings, [*webhooks(2), letter("listwire.webhooks/0/9", connection="sources.other", value=b"o")]
    )
    async with AmplitudeStandIn(api_keys=["another key"]) as amplitude:
        bootstrap = settings.kafka.bootstrap_servers or ""
        path = operations.settings_file(bootstrap, tmp_path / "refused.toml", amplitude=amplitude.url)
        left = await run(path, "replay", "--yes")
        assert "Left alone: 2 letters; sources.newsletter: still refused, amplitude answered 400" in left.out
        assert "0123456789abcdef" not in left.out
        assert await operations.records(settings, topics.WEBHOOKS) == []
        amplitude.api_keys = {settings.amplitude["product"].key.get_secret_value()}
        assert "2 letters replayed." in (await run(path, "replay", "--yes")).out
        amplitude.api_keys = {"another key"}
        await operations.bury(settings, webhooks(1, first=50))
        assert (
            "1 letter replayed."
            in (await run(path, "replay", "--yes", "--force", "--id", webhooks(1, first=50)[0].id)).out
        )
        assert len(amplitude.state) == 0, "asking sends no event"


async def test_on_a_terminal_it_asks_and_takes_no_for_an_answer(settings: Settings, config: Path) -> None:
    await operations.bury(settings, webhooks(3))
    code, said = await ask(config, b"n\n")
    assert "Replay 3 letters? [y/N]" in said
    assert code == 1
    assert await waiting(config) == 3
    code, said = await ask(config, b"y\n")
    assert (code, await waiting(config)) == (0, 0)
    assert "3 letters replayed." in said


async def test_an_origin_that_names_another_topic_is_never_written_to(settings: Settings, config: Path) -> None:
    await operations.bury(settings, [letter("listwire.dead-letters/0/1"), letter("payments/0/1", b"2")])
    ran = await run(config, "replay", "--yes", "--force")
    assert "Left alone: 2 letters; its origin names no topic that workers read." in ran.out
    assert await waiting(config) == 2


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
    ran = await asyncio.gather(*(run_apart(config, "replay", "--yes") for _ in range(2)))
    assert 0 in {each.code for each in ran}
    await run(config, "replay", "--yes")
    back = Counter(
        dict(record.headers)["replay_of"].decode() for record in await operations.records(settings, topics.WEBHOOKS)
    )
    assert back == Counter(made.origin for made in letters)
    for each in ran:
        # A broker that is asked to end a transaction just taken over may also know no better word than "unknown error".
        assert each.code == 0 or "Another replay has taken over" in each.err or "run it again" in each.err


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
