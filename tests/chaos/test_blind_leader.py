"""A worker that leads its group while it knows of no partition, as a broker that has just started may tell it, gives itself none. It must
not wait for five minutes, which is how long aiokafka leaves that so.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from sandbox.kafka import EmbeddedKafka
from tests.chaos.processes import LAUNCH, WorkerMember
from tests.chaos.stage import PARTITIONS, Stage

# For eight seconds the consumer forgets what Kafka tells it; only its cluster has a listener.
BLIND: Final = """
import time
from aiokafka.cluster import ClusterMetadata
real, add = ClusterMetadata.update_metadata, ClusterMetadata.add_listener
def forgets(self, metadata):
    real(self, metadata)
    if time.monotonic() < getattr(self, "sees_from", 0):
        self._partitions = {}
def listened(self, listener):
    add(self, listener)
    self._partitions = {}
    self.sees_from = time.monotonic() + 8
ClusterMetadata.update_metadata, ClusterMetadata.add_listener = forgets, listened
"""

pytestmark = [pytest.mark.kafka, pytest.mark.chaos, pytest.mark.timeout(120), pytest.mark.xdist_group("broken builds")]


async def test_a_leader_that_knew_of_no_partition_has_all_of_them_soon(tmp_path: Path) -> None:
    with EmbeddedKafka() as broker:
        async with Stage.set(tmp_path, broker, latency=0.0) as stage:
            member = WorkerMember("blind", "subscriptions", stage.config, BLIND + LAUNCH)
            await stage.begin(member)
            await member.worker.ready(PARTITIONS, within=45)
            assert "No partition metadata for topic" in member.output, "it was never blind"
