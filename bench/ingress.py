"""Part 3: durable requests a second. Listwire's ingress and the barest one of the same shape, under one load generator.

wrk where it is installed (Debian: `apt-get install wrk`), else bench.load, which is ours and slower; both sides always get
the same. Each run ends with a count: what was answered with 2xx must be in the topic.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import orjson

from bench import workload
from bench.drain import Row
from bench.kafka import Broker
from bench.processes import Measured
from bench.runners import free_port
from listwire import topics

PATH = f"/webhooks/mailchimp/{workload.SOURCE}/{workload.SECRET}"
SCRIPT = Path(__file__).with_name("wrk.lua")
BODIES = 2000
# Connections of the part `capacity`: enough that nothing waits for the load generator.
CAPACITY = 256
_TURNS = 3_000_000


@dataclass(frozen=True)
class Load:
    connections: int
    seconds: float

    def run(self, url: str, bodies: Path) -> Row:
        """requests: answered with 2xx; failed: anything else; p50 and p99 in milliseconds."""
        if wrk := shutil.which("wrk"):
            command = [wrk, "--threads", "1", "--connections", str(self.connections), "--timeout", "10s",
                       "--duration", f"{self.seconds:g}s", "--script", str(SCRIPT), url, "--", str(bodies)]  # fmt: skip
        else:
            command = [sys.executable, "-m", "bench.load", url, str(bodies), str(self.connections), str(self.seconds)]
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        found: Row = orjson.loads(out[out.rindex("{") :])
        return found


def load_generator() -> str:
    if wrk := shutil.which("wrk"):
        return f"load by {wrk}"
    return "load by bench.load, since wrk is not installed (Debian: apt-get install wrk)"


@dataclass(frozen=True)
class Ingress:
    name: str
    command: Callable[[Broker, int], list[str]]


def _beside(program: str) -> str:
    return str(Path(sys.executable).with_name(program))


INGRESSES = (
    Ingress(
        "Listwire",
        lambda broker, port: [
            _beside("listwire"), "ingress", "--config", str(broker.config), "--host", "127.0.0.1", "--port", str(port),
        ],
    ),
    Ingress(
        "granian and aiokafka, bare",
        lambda _broker, port: [
            _beside("granian"), "--interface", "asgi", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
            "--loop", "uvloop", "--http", "1", "--no-ws", "--log-level", "warning", "bench.peers.bare_ingress:app",
        ],
    ),
)  # fmt: skip


def measure(ingress: Ingress, broker: Broker, load: Load) -> Row:
    bodies = broker.directory / "bodies"
    bodies.write_bytes(b"\n".join(workload.form(number) for number in range(BODIES)))
    port = free_port()
    env = {"KAFKA": broker.servers, "TOPIC": topics.WEBHOOKS, "SECRET": workload.SECRET}
    url = f"http://127.0.0.1:{port}{PATH}"
    turn = turn_ns()
    with Measured(ingress.command(broker, port), broker.directory / "ingress.log", env) as process:
        wait_until_stored(url, process)
        Load(load.connections, 2).run(url, bodies)  # warm
        time.sleep(0.5)  # the last of these were stored unheard
        before, cpu = broker.records(), process.look().cpu
        found = load.run(url, bodies)
        cpu = process.look().cpu - cpu
        time.sleep(0.5)
        stored = broker.records() - before
    faults = [f"{found['failed']} failed"] if found["failed"] else []
    if not 0 <= stored - found["requests"] <= load.connections:
        faults.append(f"{found['requests']} answered, {stored} stored")
    return {
        "name": ingress.name,
        "rate": found["requests"] / found["seconds"],
        "p50": found["p50"],
        "p99": found["p99"],
        "cpu_us": cpu * 1e6 / max(1, found["requests"]),
        "rss_mb": process.peak,
        "turn_ns": turn,
        "check": ", ".join(faults) or "each 2xx is stored",
    }


def turn_ns() -> float:
    """How fast this machine is just now: nanoseconds for a turn of a plain Python loop. Rented processors differ from minute
    to minute, and this part feels it most.
    """
    total, begun = 0, time.perf_counter()
    for turn in range(_TURNS):
        total += turn * turn
    return (time.perf_counter() - begun) * 1e9 / _TURNS


def wait_until_stored(url: str, process: Measured) -> None:
    request = urllib.request.Request(
        url, workload.form(0), {"content-type": "application/x-www-form-urlencoded"}, method="POST"
    )
    for _ in range(300):
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                if answer.status == 204:
                    return
        except OSError:
            if not process.running:
                break
        time.sleep(0.1)
    raise SystemExit(f"the ingress does not answer:\n{process.tail()}")
