"""A short chaos run with a fixed seed, so that `make chaos` itself cannot rot; longer ones are for `make chaos` and for the night."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.run import run

SEED = 2065
MINUTES = 0.3

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.chaos,
    # Twenty seconds of chaos, and up to two minutes to find the way back on a machine with other work.
    pytest.mark.timeout(420),
    pytest.mark.xdist_group("chaos"),
]


async def test_twenty_seconds_of_chaos_keep_every_promise(tmp_path: Path) -> None:
    report = await run(SEED, MINUTES, tmp_path, pace=1.6)
    assert report.kept, report.text()
    assert report.findings.counts["webhooks answered"] > 0
    assert report.findings.counts["changes answered"] > 0
    assert {"subscriptions", "cohorts", "ingress", "broker"} <= report.tallies.keys()
    assert report.counted > 0, "nothing was under way at any process that was killed"
