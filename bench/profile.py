"""A part to name: where the CPU time of a drain goes, by who runs. One drain of Listwire, with bench.sampled in it."""

from __future__ import annotations

import json
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from bench import check, workload
from bench.drain import Row, rates, wait_for
from bench.kafka import Broker, broker
from bench.processes import Measured
from bench.runners import LISTWIRE, Runner, Sink, sink

LOOP = "the event loop, system calls included"
# In a file's path → whose it is; the first that fits.
WHOSE = (
    ("/stream/codecs/", "webhooks to events (stream/codecs)"),
    ("/stream/transport.py", "runs of records from Kafka, commits (stream/transport.py, runs.py)"),
    ("/stream/runs.py", "runs of records from Kafka, commits (stream/transport.py, runs.py)"),
    ("/stream/worker.py", LOOP),  # what runs it; uvloop itself is in C
    ("/stream/", "lanes, deliveries, answers (the rest of stream/)"),
    ("/vendors/", "Amplitude's client (vendors/)"),
    ("/listwire/", "metrics, clock, logs (listwire/)"),
    ("/site-packages/aiokafka/", "aiokafka"),
    ("/site-packages/faust/", "Faust and mode"),
    ("/site-packages/mode/", "Faust and mode"),
    ("/site-packages/aiohttp/", "HTTP (aiohttp, httpx)"),
    ("/site-packages/httpx/", "HTTP (aiohttp, httpx)"),
    ("/site-packages/", "other libraries"),
    ("/asyncio/", LOOP),
    ("/selectors.py", LOOP),
)
SHOWN = 4


@dataclass(frozen=True)
class Sampled(Runner):
    def start(self, broker: Broker, sink: Sink, *, port: int = 0, copy: int = 0) -> Measured:
        config, out = broker.settings(sink.url), broker.directory / "samples.json"
        command = [sys.executable, "-m", "bench.sampled", str(out), "worker", "subscriptions", "--config", str(config)]
        return Measured([*command, "--host", "127.0.0.1", "--port", str(port)], broker.directory / "sampled.log")


def profile(count: int, latency: float) -> list[Row]:
    expected = {number for number in range(count) if workload.kept(number)}
    with tempfile.TemporaryDirectory() as directory, sink(Path(directory), latency) as one, broker(one.url) as kafka:
        kafka.fill(count)
        kafka.rewind(LISTWIRE.group)
        with Sampled("Listwire").started(kafka, one) as worker:
            state = wait_for(worker, one, len(expected), 120)
            worker.look()
            rate = rates(state, worker)
        words = check.look(one.bodies(), expected).words
        samples = json.loads((kafka.directory / "samples.json").read_bytes())
    found = [(file, function) for at, file, function in samples if state["first"] <= at <= state["last"]]
    rows: list[Row] = [{"name": "all of it", "share": 100.0, "cpu_us": rate["cpu_us"], "check": words}]
    by_owner: dict[str, Counter[str]] = {}
    for file, function in found:
        by_owner.setdefault(owner(file), Counter())[function] += 1
    for name, functions in sorted(by_owner.items(), key=lambda each: -each[1].total()):
        share = functions.total() / len(found)
        heavy = (f"`{one}` {100 * times / len(found):.0f} %" for one, times in functions.most_common(SHOWN))
        rows.append({"name": name, "share": 100 * share, "cpu_us": rate["cpu_us"] * share, "check": ", ".join(heavy)})
    return rows


def owner(file: str) -> str:
    return next((name for part, name in WHOSE if part in file), "the rest of Python's library")
