"""A cohort flows while its worker is killed again and again and Mailchimp stumbles: the tag ends as the cohort, exactly.

`LISTWIRE_CHAOS_USERS` and `LISTWIRE_CHAOS_KILLS` make it larger, `LISTWIRE_CHAOS_SEED` another one. A killed worker's
partitions wait ten seconds for its session to end, so 100 000 users and 20 kills take some five minutes.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.kafka import EmbeddedKafka
from sandbox.mailchimp import membership
from sandbox.mailchimp.trouble import BAD_GATEWAY, BAD_GATEWAY_BUT_DONE, HAMMERED, TOO_MANY
from tests.cohort_process import AUDIENCE, TAG, Message, Stage, members, messages

USERS = int(os.environ.get("LISTWIRE_CHAOS_USERS", "20000"))
KILLS = int(os.environ.get("LISTWIRE_CHAOS_KILLS", "4"))
SEED = int(os.environ.get("LISTWIRE_CHAOS_SEED", "1"))
STUMBLES = 0.05

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.chaos,
    pytest.mark.timeout(180 + 40 * KILLS),
    pytest.mark.xdist_group("cohort kills"),
]


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedKafka]:
    with EmbeddedKafka() as found:
        yield found


def slices(users: list[str], parts: int) -> list[list[str]]:
    size = -(-len(users) // parts)
    return [users[at : at + size] for at in range(0, len(users), size)]


async def test_the_tag_is_the_cohort_after_every_kill(
    broker: EmbeddedKafka, tmp_path: Path, record_property: pytest.RecordProperty
) -> None:
    dice = random.Random(SEED)
    everybody = members(USERS)
    leaving = dice.sample(everybody, USERS // 10)
    async with Stage.set(broker.bootstrap_servers, tmp_path, latency=0.2) as stage:
        mailchimp = stage.mailchimp
        mailchimp.audience.seed(USERS)
        mailchimp.faults.mix(STUMBLES, [TOO_MANY, HAMMERED, BAD_GATEWAY, BAD_GATEWAY_BUT_DONE], seed=SEED)
        worker = await stage.worker(ready=False)
        flow = [
            *(messages(part, 1000) for part in slices(everybody, max(1, KILLS - KILLS // 4))),
            *(messages(part, 1000, entered=False) for part in slices(leaving, max(1, KILLS // 4))),
        ]
        for part in flow[:KILLS]:
            await stage.publish(*part)
            await stage.in_flight(dice.randint(1, 2 * len(part)), within=90)
            worker.kill()
            worker = await stage.worker(ready=False)
        for part in flow[KILLS:]:
            await stage.publish(*part)
        # A last word on some of them: who left comes back.
        back = leaving[: len(leaving) // 2]
        await stage.publish(Message(back))
        await stage.settled(within=120)
        wanted = set(everybody) - set(leaving[len(leaving) // 2 :])
        assert stage.tagged() == wanted
        assert membership(tmp_path / "journal")[AUDIENCE, TAG.casefold()] == wanted
        assert await stage.letters() == []
        assert mailchimp.max_connections_seen <= 10
        assert mailchimp.faults.injected
        for name, amount in sorted({**mailchimp.calls, **mailchimp.faults.injected}.items()):
            record_property(name, amount)
