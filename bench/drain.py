"""Part 1: how fast each worker drains records that wait, through a sink that answers after 50 ms.

Everybody reads the same records from one broker; within a round one after the other, and each round begins with another.
The rate counts from the first request's arrival to the last one's, without the first's own events, so that start-up and
joining the group are left out; they are in `with_start`. CPU is the worker's alone, between the same two moments.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from bench import check, workload
from bench.kafka import Broker
from bench.processes import Measured
from bench.runners import Runner, Sink

Row = dict[str, Any]


def drain(runner: Runner, broker: Broker, sink: Sink, count: int, *, most: float = 300) -> Row:
    expected = {number for number in range(count) if workload.kept(number)}
    broker.rewind(runner.group)
    sink.reset()
    with runner.started(broker, sink) as worker:
        state = wait_for(worker, sink, len(expected), most)
        time.sleep(0.3)  # a look at the process after the last arrival; a repetition under way is seen too
        worker.look()
        words = "" if worker.running else f"ended by itself: {worker.tail(3)}"
    found = check.look(sink.bodies(), expected)
    return {
        "name": runner.name,
        **rates(state, worker),
        "rss_mb": worker.peak,
        "requests": found.requests,
        "check": words or found.words,
    }


def wait_for(worker: Measured, sink: Sink, events: int, most: float) -> dict[str, Any]:
    """Until the sink has so many events, the worker ends, or nothing has come for `most` seconds."""
    state, quiet_since = sink.state(), time.monotonic()
    while state["events"] < events and worker.running and time.monotonic() - quiet_since < most:
        time.sleep(0.1)
        before, state = state["events"], sink.state()
        if state["events"] != before:
            quiet_since, most = time.monotonic(), min(most, 30)
    return state


def rates(state: dict[str, Any], worker: Measured) -> Row:
    seconds = state["last"] - state["first"]
    if seconds <= 0:
        return {"rate": 0.0, "with_start": 0.0, "cpu_s": 0.0, "cpu_all_s": worker.look().cpu, "cpu_us": 0.0}
    cpu = worker.cpu_at(state["last"]) - worker.cpu_at(state["first"])
    return {
        "rate": (state["events"] - state["first_events"]) / seconds,
        "with_start": state["events"] / (state["last"] - worker.started),
        "cpu_s": cpu,
        "cpu_all_s": worker.cpu_at(state["last"]),
        "cpu_us": cpu * 1e6 / max(1, state["events"] - state["first_events"]),
    }


def turns(runners: Sequence[Runner], rounds: int) -> list[tuple[int, Runner]]:
    """Interleaved, each round beginning one further, so that nobody always runs on the same neighbour's heels."""
    return [
        (round_, runners[(index + round_) % len(runners)]) for round_ in range(rounds) for index in range(len(runners))
    ]
