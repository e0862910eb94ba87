"""The processes of a chaos run, each under a name: started, killed, stopped, frozen, and started again as a supervisor would.

A process that ends by itself is started again too, and its exit code kept. Only processes started here are ever signalled.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections import Counter
from pathlib import Path
from typing import Final

from listwire.errors import SandboxError
from sandbox.kafka import EmbeddedKafka
from tests.chaos.small_disk import SmallDisk
from tests.ingress_process import Ingress
from tests.worker_process import Worker

# A supervisor's grace: longer than any stop of ours may take.
STOPS_WITHIN: Final = 60.0
LAUNCH: Final = """
import sys, time
right_time = time.time
time.time = lambda: right_time() + {skew}
from listwire.cli import main
sys.argv = ["listwire", "--config", sys.argv[1], "worker", "{kind}"]
main()
"""


class Member(ABC):
    """`busy` is held by whoever acts on it. `ended` counts how it ended by itself, by exit code."""

    def __init__(self, name: str, kind: str) -> None:
        self.name = name
        self.kind = kind
        self.busy = asyncio.Lock()
        self.ended: Counter[int] = Counter()
        self.wanted = True

    @abstractmethod
    async def start(self, skew: float = 0.0) -> None: ...

    @abstractmethod
    def pids(self) -> list[int]:
        """Of those that live, children first; empty when it has ended."""

    def signal(self, how: signal.Signals) -> None:
        """To all of it, and at once: whoever has just looked at it and does not wait meanwhile signals what it saw."""
        for pid in self.pids():
            os.kill(pid, how)

    @abstractmethod
    async def gone(self, within: float = STOPS_WITHIN) -> int:
        """Waits for its end, and kills it where that does not come; the exit code."""

    async def kill(self) -> None:
        self.signal(signal.SIGKILL)
        await self.gone()

    async def stop(self) -> int:
        self.signal(signal.SIGTERM)
        return await self.gone()

    @abstractmethod
    def code(self) -> int | None:
        """None while it runs."""

    @property
    @abstractmethod
    def output(self) -> str: ...

    def freeze(self) -> None:
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        for pid in reversed(self.pids()):
            os.kill(pid, signal.SIGCONT)


class WorkerMember(Member):
    def __init__(self, name: str, kind: str, config: Path, code: str = LAUNCH) -> None:
        super().__init__(name, kind)
        self.config = config
        self.starts = 0
        self._code = code
        self.worker: Worker

    async def start(self, skew: float = 0.0) -> None:
        self.starts += 1
        code = self._code.replace("{skew}", str(skew)).replace("{kind}", self.kind)
        self.worker = Worker(self.config, f"{self.name}-{self.starts}", code=code)

    def pids(self) -> list[int]:
        return [self.worker.process.pid] if self.worker.process.poll() is None else []

    async def gone(self, within: float = STOPS_WITHIN) -> int:
        return await _ended(self, self.worker.process, within)

    def code(self) -> int | None:
        return self.worker.process.poll()

    @property
    def output(self) -> str:
        return self.worker.output


class IngressMember(Member):
    def __init__(self, config: Path) -> None:
        super().__init__("ingress", "ingress")
        self.config = config
        self.starts = 0
        self.process: Ingress

    async def start(self, skew: float = 0.0) -> None:
        self.starts += 1
        self.process = Ingress(self.config, self.config.parent / f"ingress-{self.starts}.log")

    def pids(self) -> list[int]:
        if self.process.process.poll() is not None:
            return []
        return [*self.process.workers(), self.process.process.pid]

    def signal(self, how: signal.Signals) -> None:
        """SIGTERM is for its first process only, which ends the others."""
        if how is signal.SIGTERM and self.code() is None:
            self.process.process.send_signal(how)
        else:
            super().signal(how)

    async def gone(self, within: float = STOPS_WITHIN) -> int:
        return await _ended(self, self.process.process, within)

    def code(self) -> int | None:
        return self.process.process.poll()

    @property
    def output(self) -> str:
        return self.process.output


class BrokerMember(Member):
    """On its own directory and port all along; `disk` is what the directory lies on, where that can be filled."""

    disk: SmallDisk | None = None

    def __init__(self, broker: EmbeddedKafka) -> None:
        super().__init__("broker", "broker")
        self.broker = broker
        self._stops = False

    async def start(self, skew: float = 0.0) -> None:
        await asyncio.to_thread(self.broker.start)

    def pids(self) -> list[int]:
        return [self.broker.pid] if self.broker.running else []

    def signal(self, how: signal.Signals) -> None:
        self._stops = how is signal.SIGTERM
        super().signal(how)

    async def gone(self, within: float = 20) -> int:
        """0 however it ended: Java's exit code after a SIGTERM says nothing. Only one that stopped may keep what a later start uses."""
        await (asyncio.to_thread(self.broker.stop, within) if self._stops else asyncio.to_thread(self.broker.kill))
        return 0

    def code(self) -> int | None:
        return None if self.broker.running else 1

    @property
    def output(self) -> str:
        return (self.broker.directory / "broker.log").read_text(errors="replace")


async def _ended(member: Member, process: subprocess.Popen[bytes], within: float) -> int:
    end = time.monotonic() + within
    while (code := process.poll()) is None:
        if time.monotonic() > end:
            member.signal(signal.SIGKILL)
            end += within
        await asyncio.sleep(0.02)
    return code


async def supervise(members: list[Member]) -> None:
    """For ever. A process that is not held by an action and has ended is started again a moment later."""
    while True:
        await asyncio.sleep(0.25)
        for member in members:
            if member.busy.locked() or not member.wanted or (code := member.code()) is None:
                continue
            async with member.busy:
                member.ended[code] += 1
                await asyncio.sleep(0.5)
                try:
                    await member.start()
                except SandboxError:
                    continue  # the next round tries again
