"""Amplitude is away for minutes with more waiting than a worker may hold; then Kafka is away too, for longer than any session. All of it
comes back by itself, and nothing was skipped.

The workers' clocks run twenty times as fast, their watchdogs with them: what is stuck for two minutes must end, what waits for a
vendor must not. One worker has the only partition, one is a spare without any, one has nothing to do.
"""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Final

import httpx
import pytest
from aiokafka import AIOKafkaProducer

from ingress.keys import webhook_key
from listwire import topics
from sandbox.kafka import EmbeddedKafka
from stream.progress import STUCK_AFTER
from tests.chaos import evidence as reading
from tests.chaos.checker import check
from tests.chaos.processes import IngressMember, Member, WorkerMember, supervise
from tests.chaos.stage import Stage
from tests.fast_clock import build
from tests.integration.operations import settings_of
from tests.webhook_bodies import webhook
from tests.worker_process import until

PACE: Final = 20
# To a worker each of them is longer than its watchdog lets anything stand still.
AMPLITUDE_AWAY: Final = 1.2 * STUCK_AFTER / PACE
KAFKA_AWAY: Final = 12.0
CONTACTS: Final = 40
# Of some 580 bytes each in a worker, which holds four mebibytes of a partition at most.
WAITING: Final = 12_000
FORM: Final = {"content-type": "application/x-www-form-urlencoded"}

pytestmark = [pytest.mark.kafka, pytest.mark.chaos, pytest.mark.timeout(240), pytest.mark.xdist_group("chaos")]


async def put(stage: Stage, bodies: list[tuple[int, bytes]]) -> None:
    """As the ingress would, without its HTTP."""
    out = AIOKafkaProducer(bootstrap_servers=settings_of(stage.config).kafka.bootstrap_servers, acks="all")
    await out.start()
    try:
        acks = [
            await out.send(
                topics.WEBHOOKS, body, key=webhook_key(b"newsletter", body), headers=[(topics.SOURCE, b"newsletter")]
            )
            for _, body in bodies
        ]
        await asyncio.gather(*acks)
    finally:
        await out.stop()


async def committed(stage: Stage) -> tuple[int, int]:
    """Of the one partition of webhooks: how far, and its end."""
    settings = settings_of(stage.config)
    found = await reading.committed(settings, await reading.ends_of(settings))
    return found[topics.SUBSCRIPTIONS_GROUP, 0]


def hooks(begin: int, end: int) -> list[tuple[int, bytes]]:
    """Contacts and bodies; of one contact each fired later than the one before."""
    return [
        (at % CONTACTS, webhook(at % CONTACTS, fired_at=f"2026-01-01 {at // 3600:02}:{at // 60 % 60:02}:{at % 60:02}"))
        for at in range(begin, end)
    ]


async def test_after_a_long_outage_of_both_sides_all_comes_back_by_itself_and_nothing_was_skipped(
    tmp_path: Path,
) -> None:
    with EmbeddedKafka(tmp_path / "kafka") as broker:
        async with Stage.set(tmp_path, broker, latency=0.0, partitions=1) as stage:
            workers = [
                WorkerMember("holds", "subscriptions", stage.config, build(PACE, "subscriptions")),
                WorkerMember("spare", "subscriptions", stage.config, build(PACE, "subscriptions")),
                WorkerMember("has nothing to do", "cohorts", stage.config, build(PACE, "cohorts")),
            ]
            ingress = IngressMember(stage.config)
            await stage.begin(ingress, *workers)
            await asyncio.to_thread(ingress.process.wait_until_ready, 60)
            for member in workers:
                await member.worker.ready()
            everybody: list[Member] = [ingress, *workers]
            watching = asyncio.ensure_future(supervise(everybody))
            try:
                await carried_out(stage, workers)
                assert {member.name: dict(member.ended) for member in everybody if member.ended} == {}
            finally:
                watching.cancel()
                await asyncio.gather(watching, return_exceptions=True)


async def carried_out(stage: Stage, workers: list[WorkerMember]) -> None:
    url = stage.senders(1).webhooks_url
    first, late = hooks(0, WAITING), hooks(WAITING, WAITING + CONTACTS)
    await stage.amplitude.stop()
    await put(stage, first)
    await asyncio.sleep(AMPLITUDE_AWAY)
    assert await committed(stage) == (0, WAITING)
    for member in workers:
        assert (await member.worker.get("/healthz"))[0] == 200, member.output

    stage.broker.signal(signal.SIGKILL)
    await stage.broker.gone()
    await asyncio.sleep(KAFKA_AWAY)
    async with httpx.AsyncClient(timeout=15, trust_env=False) as http:
        assert (await http.post(url, content=late[0][1], headers=FORM)).status_code == 503
        await stage.broker.start()
        for _, body in late:

            async def taken(body: bytes = body) -> bool:
                return (await http.post(url, content=body, headers=FORM)).is_success

            await until(taken, 60)
    assert len(stage.amplitude.state) == 0

    await stage.amplitude.start()
    assert await stage.drained(90) is not None, "\n".join(member.output[-3000:] for member in workers)
    await stage.at_rest()
    sent: dict[int, list[bytes]] = {contact: [] for contact in range(CONTACTS)}
    for contact, body in [*first, *late]:
        sent[contact].append(body)
    findings = check(await stage.evidence(webhooks=sent))
    assert findings.broken == {}
    assert findings.counts["events delivered"] == WAITING + CONTACTS
