"""Trace: one address through Listwire. The address comes by POST and is kept with its result in memory, never in a URL or a log."""

from __future__ import annotations

import asyncio

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from console.jobs import Job, Jobs
from console.views import Views
from listwire.errors import ListwireError
from listwire.topics import DAY_MS
from listwire.trace import Trace, Who
from listwire.trace_reader import trace

TRACE = "trace"
# Of the form's choice: key → (words, milliseconds back; 0: all that Kafka has).
SPANS = {
    "day": ("the last 24 hours", DAY_MS),
    "week": ("the last 7 days", 7 * DAY_MS),
    "all": ("all that Kafka still has", 0),
}
LONGEST = 320


class TracePages:
    def __init__(self, views: Views, jobs: Jobs) -> None:
        self.views = views
        self.jobs = jobs

    def routes(self) -> list[Route]:
        return [
            Route("/trace", self.form, methods=["GET"]),
            Route("/trace", self.start, methods=["POST"]),
            Route("/trace/{id}", self.result, methods=["GET"]),
        ]

    async def form(self, request: Request) -> Response:
        """`who` fills the form in: only the hash of an address may stand in a URL."""
        who = Who(request.query_params.get("who", "")[:LONGEST])
        return self._form(request, who.text if who.is_hash else "")

    async def start(self, request: Request) -> Response:
        form = request.scope["form"]
        text, span = form.get("address", "").strip()[:LONGEST], form.get("since", "all")
        who = Who(text)
        if not who.is_hash and "@" not in who.text:
            return self._form(request, text, "An address has an @; a hash from a log begins with addr:.", 400)
        back = SPANS.get(span, SPANS["all"])[1]
        since = int(self.views.watch.clock.time() * 1000) - back if back else None

        async def work(job: Job) -> tuple[str, Trace]:
            return text, await trace(self.views.settings, who, since=since, progress=job.progress)

        try:
            job = self.jobs.start(TRACE, request.scope["session"].id, "Reading Kafka for this address", work)
        except ListwireError as fault:
            return self._form(request, text, str(fault), 503)
        return RedirectResponse(f"/trace/{job.id}", 303)

    async def result(self, request: Request) -> Response:
        job = self.jobs.find(request.path_params["id"], TRACE, request.scope["session"].id)
        if job is None:
            raise HTTPException(404)
        for _ in range(20):
            if job.finished:
                break
            await asyncio.sleep(0.05)
        if not job.finished or job.fault:
            return self.views.page(request, "job", job=job)
        text, found = job.result
        return self.views.page(request, "trace", address=text, found=found, spans=SPANS, fault="")

    def _form(self, request: Request, text: str, fault: str = "", status: int = 200) -> Response:
        return self.views.page(request, "trace", status=status, address=text, found=None, spans=SPANS, fault=fault)
