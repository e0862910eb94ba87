"""The ingress as a raw ASGI application: checks in the contract's order, then Kafka, then the answer.

It must never answer 2xx for a body that Kafka has not acknowledged with acks=all, never show a secret, and never say
more than 404 to somebody who does not know one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from ingress import answers, intake, keys, pages, signature
from ingress.counts import Counts
from ingress.deadlines import Deadlines
from ingress.intake import Body, Memory, Receive
from ingress.refusals import RefusalLog, Refused
from ingress.request_ids import RequestIds
from ingress.routes import Route, Routes
from listwire import logs, topics
from listwire.clock import Clock, milliseconds
from listwire.topics import MIB

Send = Callable[[dict[str, Any]], Awaitable[None]]
Scope = Mapping[str, Any]
Headers = dict[bytes, bytes]

log = logs.get("listwire.ingress")


@dataclass(frozen=True)
class Limits:
    """Seconds count from the end of the headers, except `kafka`: those from the moment the record is handed over.

    Mailchimp gives up after 10 s. `whole` leaves room below 9 for the tenth of a second between two sweeps.
    """

    body: float = 5.0
    kafka: float = 8.0
    whole: float = 8.6
    linger: float = 2.0  # reading on after an early answer
    linger_bytes: int = 16 * MIB
    memory: int = 64 * MIB


class Store(Protocol):
    async def put(self, topic: str, key: bytes, value: bytes, headers: list[tuple[str, bytes]]) -> bool:
        """True once Kafka has acknowledged; False at once where it is known not to. May be cancelled while it waits."""
        ...

    async def ready(self) -> bool:
        """Whether Kafka acknowledges, as far as can be told within a moment."""
        ...


class Ingress:
    """Requests only. Whoever runs it calls `tick()` ten times a second, and sets `stopping` when it is so."""

    def __init__(self, routes: Routes, store: Store, clock: Clock, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.stopping = False
        self._routes = routes
        self._store = store
        self._clock = clock
        self._now = clock.monotonic
        self._deadlines = Deadlines(clock)
        self._memory = Memory(self.limits.memory)
        self._counts = Counts()
        self._refusals = RefusalLog(clock)
        self._request_ids = RequestIds()
        self._pages = pages.pages(self._ready, self._move_counts)

    def tick(self) -> None:
        self._deadlines.sweep()
        self._move_counts()

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Coroutine[Any, Any, None]:
        path, method = scope["path"], scope["method"]
        if show := self._pages.get(path):
            return self._page(show, scope, receive, send)
        route = self._routes.find(path)
        if route is None:
            return self._refuse("other", 404, scope, receive, send)
        if method == "POST":
            return self._post(route, scope, receive, send, self._now())
        if method in route.methods:
            return self._answer(route.kind, 200, send)
        return self._refuse(route.kind, 405, scope, receive, send, answers.allowed(route.methods))

    async def _post(self, route: Route, scope: Scope, receive: Receive, send: Send, began: float) -> None:
        request_id = self._request_ids.next()
        named = (b"x-request-id", request_id)
        headers: Headers = dict(scope["headers"])
        body: Body | None = None
        try:
            body = self._admit(route, headers)
            status = await self._take(route, headers, scope, body, receive, request_id, began)
            if status == route.stored:
                self._counts.seconds[route.kind].observe(self._now() - began)
        except Refused as refused:
            self._refusals.note(route, refused, request_id)
            status = refused.status
        except Exception:  # a bug of ours: the peer tries again, and the log says where it is
            log.exception("a request failed", route=route.kind, name=route.name, request_id=request_id.decode())
            status = 500
        finally:
            if body is not None:
                body.release()
        if body is not None and body.whole:
            await self._answer(route.kind, status, send, named)
        else:
            await self._refuse(route.kind, status, scope, receive, send, named)

    def _admit(self, route: Route, headers: Headers) -> Body:
        length = declared_length(headers)
        if not _is(route.content_type, headers.get(b"content-type"), length):
            raise Refused(415, "another content type")
        return Body(length, route.most_bytes, self._memory)

    async def _take(
        self,
        route: Route,
        headers: Headers,
        scope: Scope,
        body: Body,
        receive: Receive,
        request_id: bytes,
        began: float,
    ) -> int:
        """The status of a body that was stored, or did not have to be; else Refused."""
        limits = self.limits
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine runs in a task
        self._deadlines[task] = began + limits.body
        try:
            value = await body.read(receive)
            if route.signing and (cause := self._signature_fault(route, headers, scope, value)):
                raise Refused(401, f"the signature is {cause}")
            if not value:
                return 200
            key = (keys.webhook_key if route.kind == "mailchimp" else keys.cohort_key)(route.origin[1], value)
            record_headers = [
                route.origin,
                (topics.RECEIVED_AT, milliseconds(self._clock)),
                (topics.REQUEST_ID, request_id),
            ]
            self._deadlines[task] = min(self._now() + limits.kafka, began + limits.whole)
            if await self._store.put(route.topic, key, value, record_headers):
                return route.stored
            raise Refused(503, "Kafka does not acknowledge")
        except asyncio.CancelledError:
            if not self._deadlines.passed(task):
                raise
            if body.whole:
                raise Refused(503, "Kafka did not acknowledge in time") from None
            raise Refused(408, "the body took too long") from None
        finally:
            self._deadlines.pop(task, None)

    def _signature_fault(self, route: Route, headers: Headers, scope: Scope, value: bytes) -> str | None:
        given = headers.get(signature.HEADER)
        if given is not None:
            # A header that is sent twice means the same as one with a comma between.
            given = b",".join(text for name, text in scope["headers"] if name == signature.HEADER)
        return signature.fault(given, value, route.signing, self._clock.time(), route.tolerance)

    async def _answer(self, label: str, status: int, send: Send, *more: answers.Header) -> None:
        self._counts.answered[label, status] += 1
        await send(answers.start(status, *more))
        await send(answers.BODIES[status])

    async def _refuse(
        self, label: str, status: int, scope: Scope, receive: Receive, send: Send, *more: answers.Header
    ) -> None:
        """An answer before the body was read: the connection ends with it, but the peer may finish its sentence."""
        headers: Headers = dict(scope["headers"])
        if declared_length(headers) == 0:
            await self._answer(label, status, send, *more)
            return
        await self._answer(label, status, send, *more, answers.CLOSE)
        if status in {400, 408} or b"expect" in headers:
            return  # nothing more is to be expected from this peer
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine runs in a task
        self._deadlines[task] = self._now() + self.limits.linger
        try:
            await intake.drain(receive, self.limits.linger_bytes)
        except asyncio.CancelledError:
            if not self._deadlines.passed(task):
                raise
        finally:
            self._deadlines.pop(task, None)

    async def _page(self, show: pages.Show, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in pages.METHODS:
            await self._refuse("other", 405, scope, receive, send, answers.allowed(pages.METHODS))
            return
        page = await show()
        self._counts.answered["other", page.status] += 1
        await send(
            {"type": "http.response.start", "status": page.status, "headers": [(b"content-type", page.content_type)]}
        )
        await send({"type": "http.response.body", "body": page.words})

    def _move_counts(self) -> None:
        self._counts.move(self._memory.held)

    async def _ready(self) -> bool:
        return not self.stopping and await self._store.ready()


def declared_length(headers: Headers) -> int | None:
    """Content-Length, or None where it does not say: a body in chunks."""
    length = headers.get(b"content-length", b"0")
    return int(length) if length.isdigit() and b"transfer-encoding" not in headers else None


def _is(wanted: bytes, given: bytes | None, length: int | None) -> bool:
    """Parameters such as charset are allowed. Nobody needs to name the type of a body that is not there."""
    if given == wanted:
        return True
    if given is None:
        return length == 0
    return given.partition(b";")[0].strip().lower() == wanted
