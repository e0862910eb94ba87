"""Processes that are measured: started, watched through /proc, stopped. Linux only.

Only processes started here are ever signalled, each by its own id.
"""

from __future__ import annotations

import bisect
import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Self

TICKS = os.sysconf("SC_CLK_TCK")
LOOK_EVERY = 0.1


class Sample(NamedTuple):
    at: float
    cpu: float
    rss: int


def children(pid: int) -> list[int]:
    found = [pid]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                found += [int(child) for child in task.read_text().split()]
            except (OSError, ValueError):
                continue
    return found


def cpu_and_rss(pid: int) -> tuple[float, int]:
    """CPU seconds (user and system) and resident bytes of a process and its children; zeroes where it has gone."""
    cpu, rss = 0.0, 0
    for one in children(pid):
        try:
            fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        cpu += (int(fields[11]) + int(fields[12])) / TICKS
        rss += int(fields[21]) * os.sysconf("SC_PAGE_SIZE")
    return cpu, rss


class Measured:
    """A process under measure, as a context manager; its output goes to `log`."""

    def __init__(
        self, command: Sequence[str], log: Path, env: Mapping[str, str] | None = None, stop_within: float = 30
    ) -> None:
        self.stop_within = stop_within
        self.samples: list[Sample] = []
        self._over = threading.Event()
        self.started = time.monotonic()
        self.log = log
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                command, stdout=out, stderr=subprocess.STDOUT, env={**os.environ, **(env or {})}
            )
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def _watch(self) -> None:
        while not self._over.wait(LOOK_EVERY) and self.running:
            self.look()

    def look(self) -> Sample:
        cpu, rss = cpu_and_rss(self.process.pid)
        if cpu:
            self.samples.append(Sample(time.monotonic(), cpu, rss))
        return self.samples[-1] if self.samples else Sample(self.started, 0.0, 0)

    def cpu_at(self, at: float) -> float:
        """CPU seconds used up to a moment, between the two looks around it."""
        after = bisect.bisect_left(self.samples, (at,))
        if after == len(self.samples):
            return self.samples[-1].cpu if self.samples else 0.0
        then = self.samples[after]
        before = self.samples[after - 1] if after else Sample(self.started, 0.0, 0)
        return before.cpu + (then.cpu - before.cpu) * (at - before.at) / max(then.at - before.at, 1e-9)

    @property
    def peak(self) -> float:
        """MB resident at most, at any look."""
        return max((sample.rss for sample in self.samples), default=0) / 1e6

    def rss_at(self, seconds: float) -> float:
        """MB resident so many seconds after the start."""
        wanted = self.started + seconds
        return next((s.rss for s in reversed(self.samples) if s.at <= wanted), 0) / 1e6

    def stop(self) -> int:
        """SIGTERM, then SIGKILL; waits, so that the next run meets a quiet machine."""
        self._over.set()
        if self.running:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(self.stop_within)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self._thread.join(2)
        return self.process.wait()

    def tail(self, lines: int = 8) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
