"""A peer and a Kafka for the ingress as an ASGI application, without a server. Time is virtual: a wait of eight seconds takes none."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from ingress import routes
from ingress.app import Ingress, Limits
from listwire.settings import Settings
from tests import virtual_time

HOOK = "/webhooks/mailchimp/newsletter/s3cret"
SIGNED = "/webhooks/mailchimp/signed/s3cret"
COHORTS = "/webhooks/amplitude/cohorts/daily/c0hort"
FORM = "application/x-www-form-urlencoded"
COHORT = b'{"cohort_id":"7khm89cz","cohort_name":"x","in_cohort":true,"users":[]}'
SOURCE = {"audience": "a", "amplitude": "product"}
SETTINGS = Settings(
    amplitude={"product": {"api_key": "key"}},
    mailchimp={"acme": {"api_key": "key-us6"}},
    sources={
        "newsletter": {**SOURCE, "secrets": ["s3cret"]},
        "signed": {**SOURCE, "secrets": ["s3cret"], "signing_secret": ["whsec"], "signature_tolerance": 300},
    },
    cohort_syncs={"daily": {"mailchimp": "acme", "audience": "a", "secrets": ["c0hort"]}},
)


@dataclass
class Kafka:
    """Acknowledges after `delay` seconds; `refuses` at once; what it acknowledged is in `records`."""

    delay: float = 0.0
    refuses: bool = False
    breaks: bool = False
    acknowledges: bool = True
    records: list[tuple[str, bytes, bytes, dict[str, bytes]]] = field(default_factory=list)

    async def put(self, topic: str, key: bytes, value: bytes, headers: list[tuple[str, bytes]]) -> bool:
        if self.breaks:
            raise RuntimeError("a bug")
        if self.refuses:
            return False
        await asyncio.sleep(self.delay)
        self.records.append((topic, key, value, dict(headers)))
        return True

    async def ready(self) -> bool:
        return self.acknowledges


@dataclass
class Answer:
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    seconds: float = 0.0
    read: int = 0  # pieces of the body that were read
    read_before: int = 0  # of these, before the answer began


class Peer:
    """Sends its body in pieces, each after some seconds; then waits, or hangs up."""

    def __init__(self, app: Ingress) -> None:
        self.app = app

    async def ask(
        self,
        method: str,
        path: str,
        body: bytes | list[tuple[float, bytes]] = b"",
        *,
        content_type: str | None = FORM,
        length: int | None = None,
        chunked: bool = False,
        hangs_up: bool = False,
        **headers: str,
    ) -> Answer:
        pieces = [(0.0, body)] if isinstance(body, bytes) else body
        raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        if content_type is not None:
            raw.append((b"content-type", content_type.encode()))
        total = sum(len(piece) for _, piece in pieces) if length is None else length
        if chunked:
            raw.append((b"transfer-encoding", b"chunked"))
        else:
            raw.append((b"content-length", b"%d" % total))
        waiting = list(pieces)
        answer = Answer()

        async def receive() -> Mapping[str, Any]:
            if not waiting:
                if hangs_up:
                    return {"type": "http.disconnect"}
                if chunked or total == sum(len(piece) for _, piece in pieces):
                    return {"type": "http.request", "body": b"", "more_body": False}
                await asyncio.Event().wait()
            seconds, piece = waiting.pop(0)
            await asyncio.sleep(seconds)
            answer.read += 1
            return {"type": "http.request", "body": piece, "more_body": True}

        async def send(message: Mapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                assert answer.status == 0, "an answer begins once"
                answer.status = message["status"]
                answer.headers = {name.decode(): value.decode() for name, value in message["headers"]}
                answer.seconds = round(loop.time() - began, 3)
                answer.read_before = answer.read
            else:
                answer.body += message["body"]

        loop = asyncio.get_running_loop()
        began = loop.time()
        await self.app({"type": "http", "method": method, "path": path, "headers": raw}, receive, send)
        return answer


@asynccontextmanager
async def running(kafka: Kafka | None = None, **limits: Any) -> AsyncIterator[Peer]:
    loop = asyncio.get_running_loop()
    app = Ingress(routes.from_settings(SETTINGS), kafka or Kafka(), virtual_time.LoopClock(loop), Limits(**limits))

    async def tick() -> None:
        while True:
            await asyncio.sleep(0.1)
            app.tick()

    ticking = asyncio.create_task(tick())
    try:
        yield Peer(app)
    finally:
        ticking.cancel()


def ask(method: str, path: str, *args: Any, kafka: Kafka | None = None, **more: Any) -> Answer:
    async def main() -> Answer:
        async with running(kafka) as peer:
            return await peer.ask(method, path, *args, **more)

    return virtual_time.run(main())


def signed(body: bytes, age: int = 0) -> str:
    at = int(virtual_time.EPOCH) - age
    return f"t={at},v1={hmac.new(b'whsec', b'%d.%b' % (at, body), hashlib.sha256).hexdigest()}"
