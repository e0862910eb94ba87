"""What can go wrong between a client and a vendor, on command: the stand-ins' shared fault injection.

A `Fault` says what happens to the requests it matches; `Faults` holds those in force and stands around a handler:

* ``when="unread"``  before a byte of the body is read: the handler never runs;
* ``when="before"``  the body was read, the handler never runs: the vendor did **not** accept;
* ``when="after"``   the handler runs and its answer is thrown away or spoiled: the vendor **did** accept.

Faults with `times` come first, in the order in which they were added (a queue of canned answers); then standing
ones; then the seeded random mix. This module must never look into a vendor's payload beyond `contains`: what a
vendor's content means belongs to the stand-in, and what was accepted is for its state to say.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Literal

import msgspec
from aiohttp import web

from sandbox.wire import body_of, dribble, reset, truncate

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

HTML_502 = (
    "<html><head><title>502 Bad Gateway</title></head><body><center><h1>502 Bad Gateway</h1></center></body></html>"
)


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One thing that goes wrong; also the JSON that ``POST /_sandbox/faults`` takes.

    ============  ==========================================================================================
    answer        `status`, `body`, `content_type`, `headers` instead of the handler's answer
    hang          nothing is ever answered; the connection stays open until the client leaves or `release()`
    reset         the connection is reset (RST, not an orderly close)
    dribble       the answer (the real one after accepting, the canned one before) in `chunk` bytes each `pause` s
    truncate      half of that answer under the full Content-Length, then the connection closes
    pass          nothing but `delay`: before or after the handler, whose answer is kept
    ============  ==========================================================================================
    """

    kind: Literal["answer", "hang", "reset", "dribble", "truncate", "pass"] = "answer"
    when: Literal["unread", "before", "after"] = "before"
    status: int = 500
    body: str = ""
    content_type: str = "application/json"
    headers: dict[str, str] = {}
    delay: float = 0.0
    """Seconds to wait before this fault acts; any kind."""
    pause: float = 0.1
    chunk: int = 1
    path: str = ""
    """Regular expression searched in the request's path; empty matches all. `method` and `contains` narrow it too."""
    method: str = ""
    contains: str = ""
    """Only requests whose body (after decompression) holds this text."""
    times: int | None = None
    """How many requests; None: every one."""
    start: float = 0.0
    """Seconds from being added until it is in force, and `seconds` how long it then stays: a schedule."""
    seconds: float | None = None
    name: str = ""

    @property
    def label(self) -> str:
        """What it is counted under in `Faults.injected`."""
        return self.name or (f"{self.status}" if self.kind == "answer" else self.kind) + f" {self.when}"


class Mix(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A share `rate` (0..1) of all requests meets one of `faults`, chosen by `weights` (even when empty)."""

    rate: float
    faults: list[Fault]
    weights: list[float] = []
    seed: int = 0


class FaultsCommand(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A change of what is in force; fields left out stay as they are. `clear` is done first."""

    clear: bool = False
    add: list[Fault] = []
    mix: Mix | None = None
    latency: float | None = None
    jitter: float | None = None
    accept_at: float | None = None


class _Rule:
    """A fault in force, with what is left of it."""

    def __init__(self, fault: Fault, now: float) -> None:
        self.fault = fault
        self.left = fault.times
        self.begins = now + fault.start
        self.ends = float("inf") if fault.seconds is None else self.begins + fault.seconds
        self.path = re.compile(fault.path)
        self.needle = fault.contains.encode()

    def spent(self, now: float) -> bool:
        return self.left == 0 or now >= self.ends

    async def matches(self, request: web.Request, now: float) -> bool:
        if now < self.begins or (self.fault.method and self.fault.method != request.method):
            return False
        if not self.path.search(request.path):
            return False
        return not self.needle or self.needle in await body_of(request)


class Faults:
    """The faults in force around one stand-in. `latency` delays every answer, evenly spread by ± `jitter` (seconds);
    `accept_at` is the share of it that passes before the handler runs. `injected` counts what was done, by label.
    """

    def __init__(
        self, *, latency: float = 0.0, jitter: float = 0.0, seed: int = 0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.latency = latency
        self.jitter = jitter
        self._first_latency = (latency, jitter)
        self.accept_at = 0.5
        self.injected: Counter[str] = Counter()
        self._clock = clock
        self._jitter_dice = random.Random(seed)
        self._mix: Mix | None = None
        self._mix_dice = random.Random(seed)
        self._rules: list[_Rule] = []
        self._released = asyncio.Event()

    # What is in force ---------------------------------------------------------------------------------------------

    def add(self, *faults: Fault) -> None:
        self._rules.extend(_Rule(fault, self._clock()) for fault in faults)

    def queue(self, *answers: Fault | tuple[int, str] | tuple[int, str, int]) -> None:
        """Canned answers for the next requests, one each or `(status, body, times)`; nothing of them is accepted."""
        for given in answers:
            if isinstance(given, Fault):
                fault = given if given.times is not None else msgspec.structs.replace(given, times=1)
            else:
                fault = Fault(status=given[0], body=given[1], times=given[2] if len(given) == 3 else 1)
            self.add(fault)

    def mix(self, rate: float, faults: Sequence[Fault], *, weights: Sequence[float] = (), seed: int = 0) -> None:
        """Random faults; the same seed and the same number of requests give the same sequence."""
        self._mix = Mix(rate=rate, faults=list(faults), weights=list(weights), seed=seed) if rate else None
        self._mix_dice = random.Random(seed)

    def clear(self) -> None:
        """No faults, and the latency of the beginning. Requests that hang are let go (their connection closes)."""
        self._rules.clear()
        self._mix = None
        self.latency, self.jitter = self._first_latency
        self.release()

    def release(self) -> None:
        """Close the connection of every request that hangs now."""
        self._released.set()
        self._released = asyncio.Event()

    def apply(self, command: FaultsCommand) -> None:
        if command.clear:
            self.clear()
        self.add(*command.add)
        if command.mix is not None:
            self.mix(command.mix.rate, command.mix.faults, weights=command.mix.weights, seed=command.mix.seed)
        self.latency = self.latency if command.latency is None else command.latency
        self.jitter = self.jitter if command.jitter is None else command.jitter
        self.accept_at = self.accept_at if command.accept_at is None else command.accept_at

    def describe(self) -> dict[str, Any]:
        """For a stand-in's state page: JSON-ready."""
        now = self._clock()
        return {
            "latency": self.latency,
            "jitter": self.jitter,
            "in_force": [{"fault": r.fault.label, "left": r.left} for r in self._rules if not r.spent(now)],
            "mix": None
            if self._mix is None
            else {"rate": self._mix.rate, "faults": [f.label for f in self._mix.faults]},
            "injected": dict(self.injected),
        }

    # Around a handler ---------------------------------------------------------------------------------------------

    def middleware(self, *, exempt: str = "/_sandbox") -> Any:
        """For `web.Application(middlewares=[…])`; paths under `exempt` are never disturbed."""

        @web.middleware
        async def inject(request: web.Request, handler: Handler) -> web.StreamResponse:
            if request.path.startswith(exempt):
                return await handler(request)
            return await self.around(request, handler)

        return inject

    async def around(self, request: web.Request, accept: Handler) -> web.StreamResponse:
        """Run `accept`, or not, and answer, or not, as the faults in force want."""
        fault = await self._choose(request) if self._rules or self._mix is not None else None
        lag = (
            max(0.0, self.latency + self._jitter_dice.uniform(-self.jitter, self.jitter))
            if self.latency or self.jitter
            else 0.0
        )
        if fault is None:
            if lag and self.accept_at:
                await asyncio.sleep(lag * self.accept_at)
            answer = await accept(request)
            if lag and self.accept_at < 1:
                await asyncio.sleep(lag * (1 - self.accept_at))
            return answer
        self.injected[fault.label] += 1
        return await self._act(request, accept, fault, lag, self._released)

    async def _choose(self, request: web.Request) -> Fault | None:
        now = self._clock()
        self._rules = [rule for rule in self._rules if not rule.spent(now)]
        # One throw a request, matched or not, so that a seed gives the same sequence whatever else is in force.
        hit = self._mix is not None and self._mix_dice.random() < self._mix.rate
        for rule in sorted(self._rules, key=lambda rule: rule.left is None):
            # Looked at again: while a body was awaited another request may have used it up.
            if await rule.matches(request, now) and rule.left != 0:
                if rule.left is not None:
                    rule.left -= 1
                return rule.fault
        if hit and self._mix is not None:
            return self._mix_dice.choices(self._mix.faults, self._mix.weights or None)[0]
        return None

    async def _act(
        self, request: web.Request, accept: Handler, fault: Fault, lag: float, released: asyncio.Event
    ) -> web.StreamResponse:
        """`released` is set by the first `release()` after the fault was chosen."""
        canned: web.StreamResponse = web.Response(
            status=fault.status, body=fault.body.encode(), content_type=fault.content_type, headers=fault.headers
        )
        if fault.when != "unread":
            await body_of(request)
        if fault.when == "after":
            before = lag * self.accept_at
            await asyncio.sleep(before)
            try:
                real = await accept(request)
            except web.HTTPException as refusal:
                real = refusal
            await asyncio.sleep(lag - before + fault.delay)
        else:
            await asyncio.sleep(lag + fault.delay)
            real = await accept(request) if fault.kind == "pass" else canned
        match fault.kind:
            case "answer":
                return canned
            case "pass":
                return real
            case "dribble":
                return await dribble(request, real, chunk=fault.chunk, pause=fault.pause)
            case "truncate":
                return await truncate(request, real)
            case "hang":
                await _hang(request, released)
        reset(request)
        return canned


async def _hang(request: web.Request, released: asyncio.Event) -> None:
    """Until the client is gone or everything is released. aiohttp tells a handler of a lost client only through
    the transport, so it is looked at four times a second.
    """
    while request.transport is not None and not request.transport.is_closing() and not released.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(released.wait(), 0.25)


def outages(seed: int, span: float, faults: Sequence[Fault], *, gap: float, length: float) -> list[Fault]:
    """A seeded schedule: over `span` seconds, outages of about `length` seconds, about `gap` seconds apart, each one of
    `faults`. Hand the result to `Faults.add` (or send it as ``add``).
    """
    dice = random.Random(seed)
    planned: list[Fault] = []
    at = dice.expovariate(1 / gap)
    while at < span:
        lasts = min(dice.expovariate(1 / length), span - at)
        planned.append(msgspec.structs.replace(dice.choice(faults), start=at, seconds=lasts))
        at += lasts + dice.expovariate(1 / gap)
    return planned
