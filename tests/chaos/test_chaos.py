"""A short chaos run with a fixed seed, so that `make chaos` itself cannot rot; longer ones are for `make chaos` and for the night."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.run import run

SEED = 1306
MINUTES = 0.4

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.chaos,
    # Half a minute of chaos, and up to two to find the way back on a machine with other work.
    pytest.mark.timeout(420),
    pytest.mark.xdist_group("chaos"),
]


async def test_half_a_minute_of_chaos_keeps_every_promise(tmp_path: Path) -> None:
    report = await run(SEED, MINUTES, tmp_path, pace=2.0)
    assert report.kept, report.text()
    assert report.findings.counts["webhooks answered"] > 0
    assert report.findings.counts["changes answered"] > 0
    assert {"subscriptions", "cohorts", "ingress", "broker"} <= report.tallies.keys()
    assert report.counted > 0, "nothing was under way at any process that was killed"
