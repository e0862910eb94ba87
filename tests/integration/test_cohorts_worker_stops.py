"""A cohorts worker that is told to stop, in each of Mailchimp's troubles: it waits for the call under way, for nothing else, and
acknowledges nothing that is open.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sandbox.faults import Fault
from sandbox.kafka import EmbeddedKafka
from sandbox.mailchimp.trouble import BAD_GATEWAY, HAMMERED, RESET, SILENT, TOO_MANY
from tests.cohort_process import Message, Stage, members, messages
from tests.worker_process import until

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300), pytest.mark.xdist_group("cohorts worker stops")]
HTTP_TIMEOUT = 4
EVERYBODY = members(20_000)


@pytest.fixture
async def stage(broker: EmbeddedKafka, tmp_path: Path) -> AsyncIterator[Stage]:
    async with Stage.set(broker.bootstrap_servers, tmp_path, http_timeout=HTTP_TIMEOUT) as found:
        found.mailchimp.audience.seed(20_000)
        yield found


@pytest.mark.parametrize("trouble", [TOO_MANY, HAMMERED, BAD_GATEWAY, RESET, SILENT], ids=lambda fault: fault.name)
async def test_sigterm_waits_for_the_call_under_way_and_for_nothing_else(stage: Stage, trouble: Fault) -> None:
    """Twenty seconds leave room for a busy machine: a pause after 429 lasts a minute, and forty calls that hang one after the
    other in ten places would take sixteen.
    """
    stage.mailchimp.faults.add(trouble)
    await stage.publish(*messages(EVERYBODY, 1000))
    worker = await stage.worker()
    await until(lambda: stage.mailchimp.faults.injected.total() >= 2, 60, lambda: stage.said)
    code, seconds = await worker.stop()
    assert (code, seconds < HTTP_TIMEOUT + 16) == (0, True), (code, seconds, worker.output)
    assert await stage.committed() == {}
    stage.mailchimp.faults.clear()
    await stage.worker()
    await stage.carried_by(EVERYBODY)
    await stage.settled()
    assert await stage.letters() == []


async def test_a_stop_in_the_middle_of_a_large_delivery_begins_no_further_call(stage: Stage) -> None:
    stage.mailchimp.faults.latency = 1.0
    await stage.publish(*messages(EVERYBODY, 1000))
    worker = await stage.worker()
    await until(lambda: stage.segment_calls >= 1, 60, lambda: stage.said)
    code, _ = await worker.stop()
    assert code == 0
    begun = stage.segment_calls
    assert begun <= 30, "forty were to come, ten at a time"
    stage.mailchimp.faults.latency = 0.0
    await stage.worker()
    await stage.carried_by(EVERYBODY)


async def test_a_second_worker_that_joins_takes_over_without_waiting_for_a_pause_to_end(stage: Stage) -> None:
    await stage.worker()
    stage.mailchimp.faults.add(TOO_MANY)
    await stage.publish(*(Message(EVERYBODY[:5000], name=f"Cohort {n}", cohort=f"c{n}") for n in range(8)))
    await until(lambda: stage.mailchimp.faults.injected.total() >= 2, 60, lambda: stage.said)
    second = await stage.worker()
    assert int((await second.get("/readyz"))[1].split()[0]) == 2
    stage.mailchimp.faults.clear()
    for n in range(8):
        await stage.carried_by(EVERYBODY[:5000], name=f"Cohort {n}", within=120)
    await stage.settled()
