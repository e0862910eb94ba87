"""Work that takes longer than a page: traces and replays. Each belongs to the session that began it; a few are kept, in memory.

The page of a job shows how far it is and loads itself again until it is done, so nothing needs a script.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from listwire import logs
from listwire.clock import Clock
from listwire.errors import ListwireError

MOST = 30
MOST_RUNNING = 4
KEPT_SECONDS = 3600.0

log = logs.get("listwire.console")
Work = Callable[["Job"], Awaitable[Any]]


@dataclass
class Job:
    """`result` or `fault` (one sentence) once it is `finished`."""

    id: str
    kind: str
    owner: str
    began: float
    title: str
    done: int = 0
    total: int = 0
    result: Any = None
    fault: str = ""
    finished: bool = False
    note: str = ""

    def progress(self, done: int, total: int) -> None:
        self.done, self.total = done, total

    def tell(self, words: str) -> None:
        """What it waits for just now."""
        self.note = words


class TooMany(ListwireError):
    pass


class Jobs:
    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def find(self, id_: str, kind: str, owner: str) -> Job | None:
        self._forget_old()
        job = self._jobs.get(id_)
        return job if job is not None and job.kind == kind and job.owner == owner else None

    def hold(self, kind: str, owner: str, title: str, result: Any) -> Job:
        """Something that is ready, kept under an id for the next page."""
        job = Job(secrets.token_urlsafe(16), kind, owner, self.clock.monotonic(), title, result=result, finished=True)
        self._keep(job)
        return job

    def start(self, kind: str, owner: str, title: str, work: Work) -> Job:
        """Raises TooMany."""
        if len(self._tasks) >= MOST_RUNNING:
            raise TooMany("Too much is going on already; wait until some of it is done.")
        job = Job(secrets.token_urlsafe(16), kind, owner, self.clock.monotonic(), title)
        self._keep(job)
        task = asyncio.create_task(self._run(job, work))
        self._tasks[job.id] = task
        task.add_done_callback(lambda _: self._tasks.pop(job.id, None))
        return job

    async def _run(self, job: Job, work: Work) -> None:
        try:
            job.result = await work(job)
        except ListwireError as fault:
            job.fault = str(fault)
        except Exception as fault:  # a guard: the page must say that it failed
            log.exception("a job of the console failed", kind=job.kind)
            job.fault = f"It failed: {type(fault).__name__}. The console's log says more."
        finally:
            job.finished = True

    def _keep(self, job: Job) -> None:
        self._forget_old()
        self._jobs[job.id] = job
        for id_ in list(self._jobs):
            if len(self._jobs) <= MOST:
                break
            if self._jobs[id_].finished:
                del self._jobs[id_]

    def _forget_old(self) -> None:
        limit = self.clock.monotonic() - KEPT_SECONDS
        for id_, job in list(self._jobs.items()):
            if job.finished and job.began < limit:
                del self._jobs[id_]

    async def stop(self) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
