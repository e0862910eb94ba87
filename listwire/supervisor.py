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
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 15.0
STEADY_AFTER = 30.0
# An ingress answers what it has accepted for up to 10 s; a worker's attempt under way may take its HTTP time-out.
STOP_WITHIN = 20.0
# Between two that are started anew: a worker has joined its group by then, or has said why it can't.
SETTLES_WITHIN = 3.0
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
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._leaving: dict[str, asyncio.Event] = {}
        self._replacing = asyncio.Lock()

    async def run(self) -> int:
        """Until `stop` is called or a child cannot run; returns the exit code for the whole."""
        for child in self.children:
            self._begin(child)
        try:
            await self.stopping.wait()
        finally:
            self.stopping.set()
            async with self._replacing:  # who is being replaced just now ends there
                await asyncio.gather(*self._tasks.values())
        return 1 if self.failed else 0

    def stop(self) -> None:
        self.stopping.set()

    async def replace(self, children: Sequence[Child], again: Collection[str]) -> None:
        """These children from now on, in their order and one at a time: those named in `again` are ended in good order and
        started anew, new ones begin, and those that are no longer there end.
        """
        async with self._replacing:
            wanted = {child.name for child in children}
            for name in [name for name in self._tasks if name not in wanted]:
                await self._leave(name)
            for child in children:
                if self.stopping.is_set():
                    return
                if child.name in self._tasks and child.name not in again:
                    continue
                await self._leave(child.name)
                self._begin(child)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.stopping.wait(), SETTLES_WITHIN)
            self.children = children

    def _begin(self, child: Child) -> None:
        self._leaving[child.name] = asyncio.Event()
        task = asyncio.create_task(self._keep(child, self._leaving[child.name]))
        task.add_done_callback(lambda done: self.stopping.set() if not done.cancelled() and done.exception() else None)
        self._tasks[child.name] = task

    async def _leave(self, name: str) -> None:
        task = self._tasks.pop(name, None)
        if task is not None:
            self._leaving[name].set()
            await task

    async def _keep(self, child: Child, leaving: asyncio.Event) -> None:
        pause = FIRST_PAUSE
        loop = asyncio.get_running_loop()
        while not self.stopping.is_set():
            started = loop.time()
            code = await self._once(child, leaving)
            if self.stopping.is_set() or leaving.is_set():
                return
            if code == WRONG_SETTINGS or (code == 1 and loop.time() - started < 5 and pause > FIRST_PAUSE):
                self.failed = child.name
                self.show("listwire", f"{child.name} cannot run (exit code {code}); stopping.")
                self.stopping.set()
                return
            pause = FIRST_PAUSE if loop.time() - started > STEADY_AFTER else min(pause * 2, LONGEST_PAUSE)
            self.show("listwire", f"{child.name} ended with {_words(code)}; started again in {pause:.0f} s.")
            await self._either(leaving, pause)

    async def _either(self, leaving: asyncio.Event, within: float | None = None) -> None:
        """Until everything stops, or this child is to leave, or the time is over."""
        waits = [asyncio.ensure_future(event.wait()) for event in (self.stopping, leaving)]
        try:
            await asyncio.wait(waits, timeout=within, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waits:
                each.cancel()

    async def _once(self, child: Child, leaving: asyncio.Event) -> int:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "listwire", *child.arguments,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, stdin=asyncio.subprocess.DEVNULL,
            env={**os.environ, **child.environment}, preexec_fn=die_with_parent, limit=1 << 20,
        )  # fmt: skip
        self.processes[child.name] = process
        reading = asyncio.ensure_future(self._read(child.name, process))
        stopping = asyncio.ensure_future(self._either(leaving))
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
