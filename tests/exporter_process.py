"""`listwire exporter` as a process of its own, and what it shows, as numbers by name and labels."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.worker_process import until

Series = tuple[str, frozenset[tuple[str, str]]]


def samples(text: str) -> dict[Series, float]:
    """Every sample of a /metrics page."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def series(name: str, labels: Mapping[str, str]) -> Series:
    return name, frozenset(labels.items())


LOOKS_OFTEN = """
import sys
from listwire import exporter
from listwire.cli import main
exporter.EVERY = float(sys.argv.pop(1))
sys.argv[0] = "listwire"
main()
"""


class Exporter:
    """Runs while it is entered. `output` is all it has written so far. `every`: seconds between two readings of Kafka,
    other than its own five.
    """

    def __init__(self, config: Path, *, every: float | None = None) -> None:
        self.config = config
        self._program = ["-m", "listwire"] if every is None else ["-c", LOOKS_OFTEN, str(every)]
        self._log = config.parent / "exporter.log"
        self.url = ""
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def output(self) -> str:
        return self._log.read_text(errors="replace")

    async def start(self) -> None:
        """Until it is ready."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith("LISTWIRE_")}
        command = ["exporter", "--config", str(self.config), "--host", "127.0.0.1", "--port", "0"]
        with self._log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, *self._program, *command],
                env=clean,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        try:
            await until(self._answers, 60, lambda: f"the exporter is not ready: {self.output}")
        except BaseException:
            self.kill()
            raise

    async def stop(self) -> None:
        """SIGTERM, and SIGKILL where that does not help. Stopping what does not run is nothing."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                await asyncio.to_thread(self.process.wait, 20)
        self.kill()
        self.url = ""

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def kill(self) -> None:
        if self.process is not None:
            if self.process.poll() is None:
                self.process.kill()
            self.process.wait()

    async def _answers(self) -> bool:
        if self.process is not None and self.process.poll() is not None:
            raise AssertionError(f"the exporter ended with {self.process.returncode}: {self.output}")
        if "127.0.0.1:" not in self.output:
            return False
        self.url = "http://127.0.0.1:" + self.output.split("127.0.0.1:")[1].split("/")[0].split()[0]
        with contextlib.suppress(httpx.HTTPError):
            async with httpx.AsyncClient(trust_env=False) as http:
                return (await http.get(self.url + "/readyz")).status_code == 200
        return False

    async def scrape(self) -> dict[Series, float]:
        async with httpx.AsyncClient(trust_env=False) as http:
            return samples((await http.get(self.url + "/metrics")).text)
