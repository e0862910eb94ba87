"""A strict stand-in for Amplitude's ingestion API, for tests, load runs and the demo.

    async with AmplitudeStandIn(api_keys={"key"}) as amplitude:
        …post to amplitude.url + "/batch"…
        amplitude.faults.queue((503, "{}"))
        assert [row.insert_id for row in amplitude.state.rows()] == […]

HTTP V2, Batch and Identify behave by `rules`, whatever arrives stays in `state`, what goes wrong is set in `faults`, and
`control` offers both over HTTP under /_sandbox. `cohorts` holds what the Behavioral Cohorts API gives away. It must never be kinder than Amplitude: what Amplitude's pages leave
open is refused here.
"""

from __future__ import annotations

import asyncio
import time
from contextvars import ContextVar
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Literal, Self

import orjson
from aiohttp import web

from listwire.errors import SandboxError
from sandbox.amplitude import cohort_routes, control, rules
from sandbox.amplitude.cohorts import Cohorts
from sandbox.amplitude.faults import AmplitudeCommand, AmplitudeFaults, LimitsChange, too_many_requests
from sandbox.amplitude.journal import Journal
from sandbox.amplitude.rates import Rates
from sandbox.amplitude.rules import Limits, Refusal, Upload
from sandbox.amplitude.state import RequestSeen, State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from sandbox.faults import Handler

MAX_BODY = 32 * 1024 * 1024  # above every endpoint's own limit, so that the 413 is theirs
MAX_URL = 8190  # Identify by GET: "414: you might be using GET, which has a URL character limit"

_seen: ContextVar[RequestSeen] = ContextVar("request")  # aiohttp's own place for it differs between its versions


class AmplitudeStandIn:
    """`api_keys` None takes every key, `secret_keys` (cohorts only) likewise. `clock` (seconds since the epoch) rules the seven days, rates and schedules.
    State, faults and the port survive `stop()` and another `start()`: that is an outage in which nobody listens.
    """

    def __init__(
        self,
        *,
        api_keys: Iterable[str] | None = None,
        secret_keys: Iterable[str] | None = None,
        latency: float = 0.0,
        jitter: float = 0.0,
        seed: int = 0,
        keep: Literal["full", "ids"] = "full",
        journal: Path | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.api_keys: set[str] | None = None if api_keys is None else set(api_keys)
        self.secret_keys: set[str] | None = None if secret_keys is None else set(secret_keys)
        self.limits: dict[str, Limits] = {}
        self._clock = clock
        self._journal = None if journal is None else Journal(journal)
        self.state = State(clock=clock, keep=keep, journal=self._journal)
        self.faults = AmplitudeFaults(clock=clock, latency=latency, jitter=jitter, seed=seed)
        self.cohorts = Cohorts(clock)
        self.files_host = ""
        """The root that files of cohorts are linked to; empty: this one's."""
        self._rates = Rates()
        self._arrived = asyncio.Event()
        self._runner: web.AppRunner | None = None
        self.port = 0
        self.host = "127.0.0.1"
        self._default_limits()

    @property
    def url(self) -> str:
        """The root in front of /batch, /2/httpapi and /identify: a `base_url`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    # Starting and stopping ----------------------------------------------------------------------------------------

    async def start(self, host: str = "127.0.0.1", port: int | None = None) -> None:
        """Listen. Port 0 is any free one; None is the one of the last start, or any. Raises SandboxError when taken."""
        app = web.Application(middlewares=[self._observe], client_max_size=MAX_BODY)
        app.add_routes(control.routes(self))
        app.add_routes(cohort_routes.routes(self))
        app.router.add_post("/2/httpapi", self._httpapi)
        app.router.add_post("/batch", self._batch)
        app.router.add_post("/identify", self._identify)
        app.router.add_get("/identify", self._identify)
        app.router.add_route("*", "/{path:.*}", self._elsewhere)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5, max_line_size=2 * MAX_URL)
        await self._runner.setup()
        wanted = self.port if port is None else port
        try:
            await web.TCPSite(self._runner, host, wanted, backlog=1024).start()
        except OSError as error:
            await self._runner.cleanup()
            self._runner = None
            raise SandboxError(f"the Amplitude stand-in cannot listen on {host}:{wanted}: {error.strerror}") from error
        self.host, self.port = host, int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Close the port and every connection. What was accepted stays readable."""
        if self._runner is not None:
            self.faults.release()
            await self._runner.cleanup()
            self._runner = None

    async def close(self) -> None:
        """`stop()`, and the journal's file too."""
        await self.stop()
        if self._journal is not None:
            self._journal.close()
            self._journal = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def wait_for(self, events: int, timeout: float = 10.0) -> None:
        """Until that many events are accepted, or TimeoutError with how many there are."""
        try:
            async with asyncio.timeout(timeout):
                while len(self.state) < events:
                    self._arrived.clear()
                    await self._arrived.wait()
        except TimeoutError:
            raise TimeoutError(f"{len(self.state)} of {events} events accepted after {timeout} s") from None

    def reset(self) -> None:
        """As new: no events, no faults, documented limits; the journal is emptied."""
        self.state.reset()
        self.faults.clear()
        self._rates.clear()
        self.cohorts.reset()
        self._default_limits()

    def command(self, command: AmplitudeCommand) -> None:
        """What ``POST /_sandbox/faults`` does."""
        self.faults.apply(command)
        for name, change in command.limits.items():
            self._change(self.limits[name], change)

    def _default_limits(self) -> None:
        # In place of "identify": "all throttling and status code guidance from Amplitude's HTTP V2 API applies".
        self.limits = {
            "httpapi": rules.http_v2_limits(),
            "batch": rules.batch_limits(),
            "identify": rules.http_v2_limits(),
        }

    @staticmethod
    def _change(limits: Limits, change: LimitsChange) -> None:
        for field in fields(limits):
            if (value := getattr(change, field.name)) is not None:
                setattr(limits, field.name, value)

    # Requests -----------------------------------------------------------------------------------------------------

    @web.middleware
    async def _observe(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path.startswith("/_sandbox"):
            return await handler(request)
        seen = RequestSeen(self._clock(), request.path)
        _seen.set(seen)
        self.state.enter()
        try:
            answer = await self.faults.around(request, handler)
            # Where the client or a fault ended the connection, nothing was answered.
            seen.status = 0 if request.transport is None or request.transport.is_closing() else answer.status
            return answer
        finally:
            self.state.leave(seen)

    async def _httpapi(self, request: web.Request) -> web.Response:
        return await self._json(request, self.limits["httpapi"])

    async def _batch(self, request: web.Request) -> web.Response:
        return await self._json(request, self.limits["batch"])

    async def _json(self, request: web.Request, limits: Limits) -> web.Response:
        """HTTP V2 and Batch: "Content-type must be application/json"; gzip is undone by aiohttp, as the SDKs rely on."""
        if request.content_type != "application/json":
            return _answer(rules.INVALID_JSON)
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            return _answer(rules.TOO_LARGE)
        except (web.RequestPayloadError, ValueError):  # neither gzip nor whole
            return _answer(rules.INVALID_JSON)
        return self._take(rules.read_upload(body, limits), limits)

    async def _identify(self, request: web.Request) -> web.Response:
        """Identify: a form, or the same two names in a GET's query; answers plain "success"."""
        if request.method == "GET" and len(request.path_qs) > MAX_URL:
            return web.Response(status=414, text="Request-URI Too Long")
        form = request.query if request.method == "GET" else await request.post()
        api_key, identification = form.get("api_key"), form.get("identification")
        upload = rules.read_identify(
            api_key if isinstance(api_key, str) else None, identification if isinstance(identification, str) else None
        )
        limits = self.limits["identify"]
        if isinstance(upload, Upload) and upload.size > limits.max_bytes:
            upload = rules.TOO_LARGE
        answer = self._take(upload, limits, keep=False)
        return web.Response(text="success") if answer.status == 200 else answer

    def _take(self, upload: Upload | Refusal, limits: Limits, *, keep: bool = True) -> web.Response:
        if isinstance(upload, Refusal):
            return _answer(upload)
        seen = _seen.get()
        seen.api_key, seen.events, seen.size = upload.api_key, len(upload.events), upload.size
        refusal = self._refusal(upload, limits)
        if refusal is not None:
            return _answer(refusal)
        now = self._clock()
        # "Because these calls aren't counted as events": an identification is checked and leaves no event.
        if keep:
            seen.accepted, seen.duplicates = self.state.accept(upload.api_key, upload.events)
            self._arrived.set()
        taken = {
            "code": 200,
            "events_ingested": len(upload.events),
            "payload_size_bytes": upload.size,
            "server_upload_time": int(now * 1000),
        }
        return _json_response(200, taken)

    def _refusal(self, upload: Upload, limits: Limits) -> Refusal | None:
        if self.api_keys is not None and upload.api_key not in self.api_keys:
            return rules.invalid_api_key(upload.api_key)
        refusal = (
            self.faults.refused_key(upload.api_key)
            or rules.check_events(upload.events, min_id_length=upload.min_id_length, limits=limits)
            or self.faults.refused_content(upload, eps=limits.eps, first_index_only=limits.first_index_only)
        )
        if refusal is not None or not limits.limit_rate:
            return refusal
        over = self._rates.over(
            upload.api_key, upload.events, eps=limits.eps, window=limits.eps_window, now=self._clock()
        )
        if not over:
            return None
        throttled: dict[str, dict[str, int]] = {"user_id": {}, "device_id": {}}
        for (_, name, who), rate in over.items():
            throttled[name][who] = rate
        indexes = [
            i for i, e in enumerate(upload.events) if any(e.get(name) in found for name, found in throttled.items())
        ]
        return too_many_requests(limits.eps, throttled, {}, indexes)

    async def _elsewhere(self, request: web.Request) -> web.Response:
        return _answer(rules.INVALID_PATH)


def _answer(refusal: Refusal) -> web.Response:
    if refusal.text:
        return web.Response(status=refusal.status, text=refusal.text)
    return _json_response(refusal.status, refusal.body)


def _json_response(status: int, body: dict[str, Any]) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(body), content_type="application/json")
