"""What stands in front of every call: request ids, the limit of connections, faults, keys, and problem+json for all errors.

A request counts as a connection from its first byte to its last, whatever happens to it in between: an answer that is late
or never comes holds its place. It must never look into what a call means.
"""

from __future__ import annotations

import base64
import binascii
import re
import uuid
from collections import Counter, deque
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson
from aiohttp import web

from sandbox.mailchimp import problems
from sandbox.mailchimp.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp.typedefs import Handler, Middleware

    from sandbox.faults import Faults
    from sandbox.mailchimp.account import Account

REQUEST_ID: ContextVar[str] = ContextVar("request_id")
"""The call being answered; a context variable, since request storage is spelled differently in each aiohttp release."""

_REFERENCE = re.compile(r"/(members|segments|webhooks)/[^/]+")


@dataclass(frozen=True)
class Seen:
    """A call as the edge saw it; `status` is what was meant to be answered, even where the client never got it."""

    at: float
    method: str
    path: str
    query: str
    status: int
    request_id: str


def problem_answer(problem: Problem, request_id: str) -> web.Response:
    return web.Response(
        status=problem.status,
        body=orjson.dumps(problem.document(request_id)),
        content_type="application/problem+json",
        charset="utf-8",
        headers=problem.headers,
    )


class Edge:
    """`max_seen` is the largest number of calls under way at once, refused ones included."""

    def __init__(self, account: Account, faults: Faults) -> None:
        self.in_flight = 0
        self.max_seen = 0
        self.calls: Counter[str] = Counter()
        self.seen: deque[Seen] = deque(maxlen=20_000)
        self._account = account
        self._faults = faults
        self._refused: deque[float] = deque()

    def middleware(self) -> Middleware:
        @web.middleware
        async def stand_before(request: web.Request, handler: Handler) -> web.StreamResponse:
            REQUEST_ID.set(str(uuid.uuid4()))
            if request.path.startswith("/_sandbox"):
                return await self._said(request, handler)
            if not request.path.startswith("/3.0"):
                return await self._faults.around(request, handler)
            self.in_flight += 1
            self.max_seen = max(self.max_seen, self.in_flight)
            try:
                answer = await self._call(request, handler)
            finally:
                self.in_flight -= 1
            if not answer.prepared:
                answer.headers["X-Request-Id"] = REQUEST_ID.get()
            self._note(request, answer.status)
            return answer

        return stand_before

    def _note(self, request: web.Request, status: int) -> None:
        route = _REFERENCE.sub(r"/\1/*", request.path)
        self.calls[f"{request.method} {route} {status}"] += 1
        self.seen.append(
            Seen(self._account.clock(), request.method, request.path, request.query_string, status, REQUEST_ID.get())
        )

    async def _call(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        limit = self._account.behaviour.max_connections
        if self.in_flight > limit:
            return self._too_many(request, limit)

        async def accept(request: web.Request) -> web.StreamResponse:
            return await self._said(request, handler, check=self._check)

        return await self._faults.around(request, accept)

    def _too_many(self, request: web.Request, limit: int) -> web.Response:
        """Mailchimp: 429, and at high volume a 403 with no JSON body."""
        now = self._account.clock()
        self._refused.append(now)
        while self._refused[0] < now - 1:
            self._refused.popleft()
        if 0 < self._account.behaviour.hammered_after < len(self._refused):
            return web.Response(status=403)
        return problem_answer(problems.too_many_connections(limit), REQUEST_ID.get())

    async def _said(
        self, request: web.Request, handler: Handler, *, check: Callable[[web.Request], None] | None = None
    ) -> web.StreamResponse:
        """The handler's answer, or the problem it raised; the router's own 404 and 405 in the same form."""
        try:
            if check is not None:
                check(request)
            return await handler(request)
        except Problem as problem:
            return problem_answer(problem, REQUEST_ID.get())
        except web.HTTPNotFound:
            return problem_answer(problems.not_found(), REQUEST_ID.get())
        except web.HTTPMethodNotAllowed as refusal:
            return problem_answer(problems.named("MethodNotAllowed", Allow=refusal.headers["Allow"]), REQUEST_ID.get())

    def _check(self, request: web.Request) -> None:
        key = _key_of(request.headers.get("Authorization", ""))
        if not key:
            raise problems.named("APIKeyMissing")
        if key not in self._account.tokens and not self._account.any_key:
            if key not in self._account.keys:
                raise problems.named("APIKeyInvalid")
            _, dash, datacenter = key.rpartition("-")
            if dash and datacenter != self._account.datacenter:
                raise problems.wrong_datacenter(datacenter)
        if self._account.behaviour.account_disabled:
            raise problems.named("UserDisabled")
        if wanted := problems.triggered(request.headers.get("X-Trigger-Error", "")):
            raise wanted


def _key_of(authorization: str) -> str:
    """Basic with any user name and the key as password, or Bearer with a key or a token."""
    scheme, _, rest = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(rest, validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            return ""
    return ""
