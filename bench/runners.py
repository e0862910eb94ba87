"""How each worker is started: the command, its environment, the group whose offsets it reads from."""

from __future__ import annotations

import socket
import sys
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from bench import workload
from bench.kafka import Broker
from bench.processes import Measured
from listwire import topics


@dataclass(frozen=True)
class Runner:
    """A worker that can be measured. `module` None: Listwire itself, as a user starts it."""

    name: str
    module: str | None = None
    arguments: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def group(self) -> str:
        return topics.SUBSCRIPTIONS_GROUP if self.module is None else f"bench-{self.slug}"

    @property
    def slug(self) -> str:
        return "".join(letter if letter.isalnum() else "-" for letter in self.name.lower())

    @contextmanager
    def started(self, broker: Broker, sink: Sink, *, copy: int = 0) -> Iterator[Measured]:
        """Runs it for the length of a `with`. `copy`: which one, where several run at once."""
        with self.start(broker, sink, copy=copy) as process:
            yield process

    def start(self, broker: Broker, sink: Sink, *, port: int = 0, copy: int = 0) -> Measured:
        log = broker.directory / f"{self.slug}{copy or ''}.log"
        if self.module is None:
            config = broker.settings(sink.url)
            command = [str(Path(sys.executable).with_name("listwire")), "worker", "subscriptions"]
            return Measured([*command, "--config", str(config), "--host", "127.0.0.1", "--port", str(port)], log)
        env = {
            "KAFKA": broker.servers, "SINK": f"{sink.url}/batch", "TOPIC": topics.WEBHOOKS,
            "GROUP": self.group, "API_KEY": workload.API_KEY, "AUDIENCE": workload.AUDIENCE, **self.env,
        }  # fmt: skip
        if "faust" in self.module:
            env["FAUST_WEB_PORT"] = str(free_port())
        return Measured([sys.executable, "-m", self.module, *self.arguments], log, env)


LISTWIRE = Runner("Listwire")
READ_AHEAD = Runner("aiokafka by hand, read-ahead", "bench.peers.by_hand", env={"READ_AHEAD": "1"})
OUR_CODEC = Runner(
    "aiokafka by hand, Listwire's codec", "bench.peers.by_hand", env={"READ_AHEAD": "1", "CODEC": "listwire"}
)
NO_READ_AHEAD = Runner("aiokafka by hand, no read-ahead", "bench.peers.by_hand", env={"READ_AHEAD": "0"})
QUIX = Runner("Quix Streams", "bench.peers.quix")
FAUST = Runner(
    "plain Faust take()", "bench.peers.plain_faust", ("-L", "uvloop", "worker", "--without-web", "-l", "warn")
)
ALL = (LISTWIRE, READ_AHEAD, OUR_CODEC, NO_READ_AHEAD, QUIX, FAUST)


class Sink:
    """The client's side of bench.sink."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"

    def _ask(self, path: str, method: str = "GET") -> bytes:
        request = urllib.request.Request(self.url + path, method=method)
        with urllib.request.urlopen(request, timeout=120) as answer:
            body: bytes = answer.read()
        return body

    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = orjson.loads(self._ask("/state"))
        return found

    def bodies(self) -> bytes:
        return self._ask("/bodies")

    def reset(self, *, refuse: bool = False) -> None:
        self._ask("/reset", "POST")
        self._ask("/refuse" if refuse else "/accept", "POST")


@contextmanager
def sink(directory: Path, latency: float) -> Iterator[Sink]:
    log = directory / "sink.log"
    with Measured([sys.executable, "-m", "bench.sink", "--latency", str(latency)], log) as process:
        while process.running and not log.read_text().strip().isdigit():
            pass
        if not process.running:
            raise SystemExit(f"the sink did not start:\n{process.tail()}")
        yield Sink(int(log.read_text()))


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port
