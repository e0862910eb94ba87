"""The barest durable ingress: raw ASGI on granian and one idempotent producer; 204 once Kafka acknowledged.

What stands between this and an ingress that may face the internet is what Listwire's adds: caps and deadlines for bodies and
headers, 404 before the body is read, signatures, 415/405/413, an answer within Mailchimp's ten seconds when Kafka does not
acknowledge, metrics, readiness. Run: `granian --interface asgi bench.peers.bare_ingress:app` with KAFKA, TOPIC and SECRET set.
"""

from __future__ import annotations

import hmac
import os
import time
from collections.abc import Awaitable, Callable
from typing import Any

from aiokafka import AIOKafkaProducer

Message = dict[str, Any]
SECRET = os.environ["SECRET"].encode()
TOPIC = os.environ["TOPIC"]
ID = b"data%5Bid%5D="
producer: AIOKafkaProducer


async def app(
    scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
        return
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    _, _, path = scope["path"].encode().rpartition(b"/")
    if not hmac.compare_digest(path, SECRET):
        await answer(send, 404)
        return
    at = body.find(ID) + len(ID)
    headers = [("source", b"newsletter"), ("received_at", str(int(time.time() * 1000)).encode())]
    await producer.send_and_wait(TOPIC, body, key=b"newsletter:" + body[at : body.find(b"&", at)], headers=headers)
    await answer(send, 204)


async def answer(send: Callable[[Message], Awaitable[None]], status: int) -> None:
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def lifespan(receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]) -> None:
    global producer
    await receive()
    producer = AIOKafkaProducer(
        bootstrap_servers=os.environ["KAFKA"], acks="all", enable_idempotence=True, linger_ms=0, max_batch_size=1 << 18
    )
    await producer.start()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await producer.stop()
    await send({"type": "lifespan.shutdown.complete"})
