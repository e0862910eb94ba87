"""A part: two workers share the partitions under a steady rate; one is killed with SIGKILL. How long do its events wait?"""

from __future__ import annotations

import signal
import time

from bench import check, workload
from bench.drain import Row, wait_for
from bench.kafka import Broker
from bench.runners import Runner, Sink

BEFORE, AFTER = 5.0, 30.0


def takeover(runner: Runner, broker: Broker, sink: Sink, rate: int) -> Row:
    """`gap` in seconds: the longest that an event produced around the kill took to arrive. `start` in seconds: from the start
    of the first worker, alone, to the first event's arrival.
    """
    broker.rewind(runner.group, to_end=True)
    sink.reset()
    with runner.started(broker, sink) as stays:
        produced: dict[int, float] = {}
        deadline = time.monotonic() + 90
        while not sink.state()["events"] and stays.running and time.monotonic() < deadline:
            produced |= broker.trickle(20, range(len(produced), len(produced) + 2))
        start = sink.state()["first"] - stays.started
        with runner.started(broker, sink, copy=1) as killed:
            time.sleep(12)  # until it has joined, and the rebalance is over
            first = len(produced)
            produced |= broker.trickle(rate, range(first, first + int(rate * BEFORE)))
            killed.process.send_signal(signal.SIGKILL)
            at = time.monotonic()
            middle = len(produced)
            produced |= broker.trickle(rate, range(middle, middle + int(rate * AFTER)))
        expected = {number for number in produced if workload.kept(number)}
        wait_for(stays, sink, 10 * len(expected), 15)  # repeated ones count there, so until nothing more comes
        words = "" if stays.running else f"ended by itself: {stays.tail(3)}"
    found = check.look(sink.bodies(), expected)
    waited = [found.arrivals[n] - produced[n] for n in expected if n in found.arrivals and produced[n] > at - 1]
    lost = f"{found.missing} missing" if found.missing else "nothing lost"
    overtaken = f", {found.overtaken} overtaken" if found.overtaken else ""
    return {
        "name": runner.name,
        "gap": max(waited, default=float("nan")),
        "start": start,
        "repeated": found.repeated,
        "check": words or lost + overtaken,
    }
