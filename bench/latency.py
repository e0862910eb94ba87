"""Part 2: single records at a steady rate: how long until the sink has each event, and what the worker costs meanwhile."""

from __future__ import annotations

import time

from bench import check, workload
from bench.drain import Row, wait_for
from bench.kafka import Broker
from bench.runners import Runner, Sink

WARM_UP = 4.0


def latency(runner: Runner, broker: Broker, sink: Sink, rate: int, seconds: float) -> Row:
    """`p50` and `p99` in milliseconds from production to arrival, `core` in percent of one; the warm-up is left out."""
    broker.rewind(runner.group, to_end=True)
    sink.reset()
    with runner.started(broker, sink) as worker:
        # One record after another until the first has come through: the worker has joined and reads.
        produced: dict[int, float] = {}
        deadline = time.monotonic() + 90
        while not sink.state()["events"] and worker.running and time.monotonic() < deadline:
            produced |= broker.trickle(4, range(len(produced), len(produced) + 2))
        started = time.monotonic()
        measured = broker.trickle(rate, range(len(produced), len(produced) + int(rate * (WARM_UP + seconds))))
        ended = time.monotonic()
        expected = {number for number in produced | measured if workload.kept(number)}
        wait_for(worker, sink, len(expected), 30)
        worker.look()
        cpu = worker.cpu_at(ended) - worker.cpu_at(started + WARM_UP)
        words = "" if worker.running else f"ended by itself: {worker.tail(3)}"
    found = check.look(sink.bodies(), expected)
    times = check.latencies(found.arrivals, measured, WARM_UP)
    return {
        "name": runner.name,
        "p50": check.percentile(times, 0.5),
        "p99": check.percentile(times, 0.99),
        "core": 100 * cpu / (ended - started - WARM_UP),
        "rss_mb": worker.peak,
        "requests": found.requests,
        "check": words or found.words,
    }
