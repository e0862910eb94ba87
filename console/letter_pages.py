"""Dead letters: by reason and connection, one by one, and back again. Must never replay what was not shown before.

A replay is prepared first, by the same code as the command's, and kept under an id; what goes back is what was shown.
"""

from __future__ import annotations

import asyncio
import functools
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from console.jobs import Job, Jobs
from console.views import Views
from listwire.dead_letters import Letter
from listwire.errors import KafkaError, ListwireError
from listwire.kafka_reader import Reader
from listwire.letter_box import LetterBox
from listwire.letter_index import Entry, heaps, named
from listwire.masking import mask, printable, readable
from listwire.records import MEANINGS, Reason
from listwire.replay import Outcome, replay
from listwire.replay_plan import Plan, Selection
from listwire.replay_prepare import prepared
from listwire.spoken import count
from vendors import accounts

MOST_LISTED = 200
MOST_SHOWN = 64 * 1024
PREPARED, REPLAY = "prepared replay", "replay"


def meaning(reason: str) -> tuple[str, str]:
    """What it means, and the way out."""
    known = reason in set(Reason)
    return (
        MEANINGS[Reason(reason)] if known else ("This version does not know the reason.", "Read the letter's detail.")
    )


class LetterPages:
    def __init__(self, views: Views, jobs: Jobs) -> None:
        self.views = views
        self.watch = views.watch
        self.jobs = jobs

    def routes(self) -> list[Route]:
        return [
            Route("/dead-letters", self.overview, methods=["GET"]),
            Route("/dead-letters/list", self.each, methods=["GET"]),
            Route("/dead-letters/letter/{id}", self.letter, methods=["GET"]),
            Route("/dead-letters/prepare", self.prepare, methods=["POST"]),
            Route("/dead-letters/prepared/{id}", self.shown, methods=["GET"]),
            Route("/dead-letters/replay", self.go, methods=["POST"]),
            Route("/dead-letters/replay/{id}", self.going, methods=["GET"]),
        ]

    async def overview(self, request: Request) -> Response:
        found = self.watch.picture.letters.heaps
        return self.views.page(request, "letters", heaps=[(heap, *meaning(heap.reason)) for heap in found])

    async def each(self, request: Request) -> Response:
        reason, connection = (request.query_params.get(name, "") for name in ("reason", "connection"))
        try:
            async with self.watch.letters() as box:
                entries = [e for e in box.index.open.values() if (e.reason, e.connection) == (reason, connection)]
        except KafkaError as fault:
            return self._fault(request, fault)
        entries.sort(key=lambda entry: entry.failed_at, reverse=True)
        return self.views.page(
            request, "letter_list", entries=entries[:MOST_LISTED], total=len(entries), reason=reason,
            connection=connection, meaning=meaning(reason),
        )  # fmt: skip

    async def letter(self, request: Request) -> Response:
        reveal = request.query_params.get("reveal") == "1"
        try:
            async with self.watch.letters() as box:
                entries = named(box.index.open.values(), request.path_params["id"])
                pairs = [pair async for some in box.letters(entries[:1]) for pair in some]
        except KafkaError as fault:
            return self._fault(request, fault)
        entry, letter = pairs[0] if pairs else (None, None)
        if letter is None:
            raise HTTPException(404)
        return self.views.page(
            request, "letter", entry=entry, reveal=reveal, meaning=meaning(letter.reason),
            **self._contents(letter, reveal=reveal),
        )  # fmt: skip

    def _contents(self, letter: Letter, *, reveal: bool) -> dict[str, Any]:
        def shown(data: bytes | str) -> str:
            text = data if isinstance(data, str) else data.decode("utf-8", "replace")
            return printable(self.watch.redact(text if reveal else mask(text)))

        return {
            "detail": shown(letter.detail),
            "key": shown(letter.key or b""),
            "headers": [(shown(name), shown(value)) for name, value in letter.source_headers],
            "value": shown(readable(letter.value[:MOST_SHOWN])),
            "cut": len(letter.value) > MOST_SHOWN,
        }

    async def prepare(self, request: Request) -> Response:
        """The dry run. Asks the vendors about their keys, which takes a moment, so it is a job like the replay itself."""
        form, owner = request.scope["form"], request.scope["session"].id
        reason, connection, id_ = (form.get(name, "") for name in ("reason", "connection", "id"))
        force = form.get("force") == "1"
        selection = Selection(
            frozenset({reason}) if reason else frozenset(),
            frozenset({connection}) if connection else frozenset(),
            (),
            (id_,) if id_ else (),
        )

        async def work(job: Job) -> tuple[Plan, bool, dict[str, str]]:
            async with self.watch.letters() as box:
                return (
                    await prepared(
                        box, selection, functools.partial(accounts.refused, self.views.settings), force=force
                    ),
                    force,
                    form,
                )

        try:
            job = self.jobs.start(PREPARED, owner, "Looking at what a replay would do", work)
        except ListwireError as fault:
            return self._fault(request, fault)
        return RedirectResponse(f"/dead-letters/prepared/{job.id}", 303)

    async def shown(self, request: Request) -> Response:
        job = await self._job(request, request.path_params["id"], PREPARED)
        if not job.finished or job.fault:
            return self.views.page(request, "job", job=job)
        made, force, form = job.result
        return self.views.page(
            request,
            "replay",
            job=job,
            force=force,
            form=form,
            take=heaps(made.take),
            letters=len(made.take),
            old=made.old,
            left=[(why, len(entries)) for why, entries in made.left.items()],
        )

    async def go(self, request: Request) -> Response:
        owner = request.scope["session"].id
        ready = self.jobs.find(request.scope["form"].get("plan", ""), PREPARED, owner)
        if ready is None or not ready.finished or ready.fault:
            return self._fault(request, ListwireError("What was shown is too old: look again at what would be done."))
        made, force, _ = ready.result
        entries: list[Entry] = made.take

        async def work(job: Job) -> Outcome:
            job.total = len(entries)
            # A box of its own: the pages go on while it works.
            async with Reader(self.views.settings.kafka) as reader:
                return await replay(
                    self.views.settings.kafka, LetterBox(reader), entries, force=force,
                    progress=lambda more: job.progress(job.done + more, job.total),
                )  # fmt: skip

        try:
            job = self.jobs.start(REPLAY, owner, f"Replaying {count(len(entries), 'letter')}", work)
        except ListwireError as fault:
            return self._fault(request, fault)
        return RedirectResponse(f"/dead-letters/replay/{job.id}", 303)

    async def going(self, request: Request) -> Response:
        job = await self._job(request, request.path_params["id"], REPLAY)
        if not job.finished or job.fault:
            return self.views.page(request, "job", job=job)
        return self.views.page(request, "replayed", outcome=job.result)

    async def _job(self, request: Request, id_: str, kind: str) -> Job:
        """Waits a moment for it: most are done before a page that shows progress could be read."""
        job = self.jobs.find(id_, kind, request.scope["session"].id)
        if job is None:
            raise HTTPException(404)
        for _ in range(20):
            if job.finished:
                break
            await asyncio.sleep(0.05)
        return job

    def _fault(self, request: Request, fault: ListwireError) -> Response:
        return self.views.page(request, "fault", status=503, title="That did not work", words=str(fault))
