"""Several of our processes under one roof: started, watched, started again, stopped together; their lines named and interleaved.

A child that ends by itself is started again after a pause that grows; one that ends with 2 (wrong settings) ends everything,
since a second try would say the same. It must never show an environment, nor put a secret on a command line.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 15.0
STEADY_AFTER = 30.0
# An ingress answers what it has accepted for up to 10 s; a worker's attempt under way may take its HTTP time-out.
STOP_WITHIN = 20.0
WRONG_SETTINGS = 2
PR_SET_PDEATHSIG = 1

Show = Callable[[str, str], None]


@dataclass
class Child:
    """`arguments` follow `listwire` on the command line."""

    name: str
    arguments: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)


class Supervisor:
    """`show(name, line)` gets every line a child prints, and what the supervisor itself has to say."""

    def __init__(self, children: Sequence[Child], show: Show) -> None:
        self.children = children
        self.show = show
        self.processes: dict[str, asyncio.subprocess.Process] = {}
        self.stopping = asyncio.Event()
        self.failed: str | None = None

    async def run(self) -> int:
        """Until `stop` is called or a child cannot run; returns the exit code for the whole."""
        try:
            await asyncio.gather(*(self._keep(child) for child in self.children))
        finally:
            self.stopping.set()
        return 1 if self.failed else 0

    def stop(self) -> None:
        self.stopping.set()

    async def _keep(self, child: Child) -> None:
        pause = FIRST_PAUSE
        loop = asyncio.get_running_loop()
        while not self.stopping.is_set():
            started = loop.time()
            code = await self._once(child)
            if self.stopping.is_set():
                return
            if code == WRONG_SETTINGS or (code == 1 and loop.time() - started < 5 and pause > FIRST_PAUSE):
                self.failed = child.name
                self.show("listwire", f"{child.name} cannot run (exit code {code}); stopping.")
                self.stopping.set()
                return
            pause = FIRST_PAUSE if loop.time() - started > STEADY_AFTER else min(pause * 2, LONGEST_PAUSE)
            self.show("listwire", f"{child.name} ended with {_words(code)}; started again in {pause:.0f} s.")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.stopping.wait(), pause)

    async def _once(self, child: Child) -> int:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "listwire", *child.arguments,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, stdin=asyncio.subprocess.DEVNULL,
            env={**os.environ, **child.environment}, preexec_fn=die_with_parent, limit=1 << 20,
        )  # fmt: skip
        self.processes[child.name] = process
        reading = asyncio.ensure_future(self._read(child.name, process))
        stopping = asyncio.ensure_future(self.stopping.wait())
        try:
            ended = asyncio.ensure_future(process.wait())
            await asyncio.wait([ended, stopping], return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                await self._end(process)
            return await ended
        finally:
            stopping.cancel()
            if process.returncode is None:
                process.kill()
            await reading

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(process.wait(), STOP_WITHIN)
            except TimeoutError:
                process.kill()

    async def _read(self, name: str, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None  # noqa: S101 - it was asked for above
        while True:
            try:
                line = await process.stdout.readline()
            except ValueError:
                continue  # a line beyond the limit is left out rather than held in memory
            if not line:
                return
            self.show(name, line.decode("utf-8", "replace").rstrip())


def die_with_parent() -> None:
    """Linux: the child gets SIGTERM when this process ends, however it ends."""
    with contextlib.suppress(OSError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _words(code: int) -> str:
    if code < 0:
        with contextlib.suppress(ValueError):
            return signal.Signals(-code).name
    return f"exit code {code}"


def printer(names: Sequence[str], colours: bool) -> Show:
    """Lines on stdout, each behind the padded name of the process that wrote it."""
    width = max(map(len, [*names, "listwire"]))
    tones = [36, 33, 35, 32, 34, 31]

    def show(name: str, line: str) -> None:
        label = f"{name:<{width}}"
        if colours:
            tone = tones[names.index(name) % len(tones)] if name in names else 1
            label = f"\x1b[{tone}m{label}\x1b[0m"
        print(f"{label} │ {line}", flush=True)

    return show
