"""A part to name: what being watched costs. The same drain with `listwire exporter` beside it and both scraped, and without."""

from __future__ import annotations

import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.kafka import Broker
from bench.processes import Measured
from bench.runners import Runner, Sink, free_port

# Prometheus' usual interval is 15 s; a drain lasts a few seconds, so it is scraped more often than anybody would.
SCRAPE_EVERY = 1.0


@dataclass(frozen=True)
class Watched(Runner):
    """Listwire's worker with everything on: the exporter in a process of its own, both scraped."""

    @contextmanager
    def started(self, broker: Broker, sink: Sink, *, copy: int = 0) -> Iterator[Measured]:
        port, exporter_port = free_port(), free_port()
        exporter = [str(Path(sys.executable).with_name("listwire")), "exporter", "--config", str(broker.settings(sink.url)),
                    "--host", "127.0.0.1", "--port", str(exporter_port)]  # fmt: skip
        over = threading.Event()
        with ExitStack() as stack:
            watcher = stack.enter_context(Measured(exporter, broker.directory / "exporter.log"))
            stack.callback(over.set)
            for one in (port, exporter_port):
                threading.Thread(target=scrape, args=(one, over), daemon=True).start()
            yield stack.enter_context(super().start(broker, sink, port=port, copy=copy))
            if not watcher.running:
                raise SystemExit(f"the exporter ended:\n{watcher.tail()}")


def scrape(port: int, over: threading.Event) -> None:
    while not over.wait(SCRAPE_EVERY):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
                answer.read()
        except OSError:
            continue  # it is starting, or stopping


def ways() -> tuple[Runner, ...]:
    return (Runner("Listwire, watched by nobody"), Watched("Listwire, with the exporter, scraped"))
