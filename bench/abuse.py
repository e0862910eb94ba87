"""A part to name: regular requests beside peers that mean harm (bench.attacks), one kind after the other.

Regular requests come at a steady rate, half of them over connections of their own, so that their times tell of waiting and not
of what the machine can do at most. The usual times are measured just before each kind, in the same process.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable

import orjson
import uvloop

from bench import workload
from bench.attacks import KINDS, Kind
from bench.check import percentile
from bench.drain import Row
from bench.ingress import INGRESSES, PATH, wait_until_stored
from bench.kafka import Broker
from bench.processes import Measured
from bench.runners import free_port

RATE = 200
# The attack's own start, which takes the machine's processor and is none of its doing.
SETTLE = 1.0


class Regular:
    """So many a second on one port, each with a body of its own. `times` in milliseconds; `failed`: anything but 204."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.times: list[float] = []
        self.failed = 0
        self.kept: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def run(self, seconds: float) -> None:
        begun = []
        start = time.perf_counter()
        for number in range(int(RATE * seconds)):
            await asyncio.sleep(max(0.0, start + number / RATE - time.perf_counter()))
            begun.append(asyncio.create_task(self.one(number)))
        await asyncio.gather(*begun)
        for _, writer in self.kept:
            writer.close()

    async def one(self, number: int) -> None:
        body = workload.form(number)
        head = (
            f"POST {PATH} HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-www-form-urlencoded\r\n"
            f"content-length: {len(body)}\r\n\r\n"
        ).encode()
        began = time.perf_counter()
        try:
            async with asyncio.timeout(20):
                keeps = number % 2 == 0
                peer = self.kept.pop() if keeps and self.kept else await asyncio.open_connection("127.0.0.1", self.port)
                peer[1].write(head + body)
                answer = await peer[0].readuntil(b"\r\n\r\n")
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            answer = b""
        self.times.append((time.perf_counter() - began) * 1000)
        if not answer.startswith(b"HTTP/1.1 204 "):
            self.failed += 1
        elif keeps:
            self.kept.append(peer)
        else:
            peer[1].close()


def regular(port: int, seconds: float) -> Regular:
    found = Regular(port)
    uvloop.run(found.run(seconds))
    found.times.sort()
    return found


def abuse(broker: Broker, rounds: int, seconds: float, say: Callable[[Row], None]) -> list[Row]:
    port = free_port()
    rows = []
    with Measured(INGRESSES[0].command(broker, port), broker.directory / "abused.log") as process:
        wait_until_stored(f"http://127.0.0.1:{port}{PATH}", process)
        regular(port, 2)  # warm
        for number in range(rounds):
            for kind in KINDS:
                rows.append({"round": number, **measure(kind, broker, process, port, seconds)})
                say(rows[-1])
    return rows


def measure(kind: Kind, broker: Broker, process: Measured, port: int, seconds: float) -> Row:
    before = broker.records()
    usual = regular(port, seconds)
    command = [sys.executable, "-m", "bench.attacks", kind.name, str(port), f"{seconds + 2 * SETTLE:g}", PATH]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as attack:
        time.sleep(SETTLE)
        began = time.monotonic()
        beside = regular(port, seconds)
        took = time.monotonic() - began
        out, _ = attack.communicate()
    peers = orjson.loads(out)
    stored = broker.records() - before
    sent = len(usual.times) + len(beside.times)
    failed = usual.failed + beside.failed
    faults = [f"{failed} not answered 204"] if failed else []
    faults += [f"{sent} sent, {stored} stored"] if stored != sent - failed else []
    faults += [] if process.running else [f"the ingress ended: {process.tail(3)}"]
    usual_p99, p99 = percentile(usual.times, 0.99), percentile(beside.times, 0.99)
    return {
        "name": kind.words,
        "rate": len(beside.times) / took,
        "usual_p99": usual_p99,
        "p99": p99,
        "ratio": p99 / usual_p99,
        "connections": peers["most"],
        "rss_mb": process.look().rss / 1e6,
        "check": ", ".join(faults) or "all 204, each stored once",
    }
