"""Part 4: the sink refuses everything while many records wait: what does a worker hold in memory, and does it grow?"""

from __future__ import annotations

import time

from bench.drain import Row
from bench.kafka import Broker
from bench.runners import Runner, Sink


def outage(runner: Runner, broker: Broker, sink: Sink, seconds: float) -> Row:
    """`rss_mb` at the end, `growth_mb` of the last half, `core` in percent over that half."""
    broker.rewind(runner.group)
    sink.reset(refuse=True)
    with runner.started(broker, sink) as worker:
        while worker.running and time.monotonic() < worker.started + seconds:
            time.sleep(0.2)
        end = worker.look()
        words = "runs" if worker.running else f"ended by itself: {worker.tail(3)}"
        half = worker.started + seconds / 2
        attempts = sink.state()["refused"]
        asked = time.monotonic()
    return {
        "name": runner.name,
        "rss_mb": end.rss / 1e6,
        "peak_mb": worker.peak,
        "growth_mb": end.rss / 1e6 - worker.rss_at(seconds / 2),
        "core": 100 * (end.cpu - worker.cpu_at(half)) / (seconds / 2),
        "attempts": attempts,
        "stop_s": time.monotonic() - asked,
        "check": words,
    }
