"""Plain Faust: `take()` and httpx, the way its documentation writes a batching agent.

What it loses: `take` acknowledges its batch in a `finally`, so an exception or a stop in mid-POST commits events that nobody
took, together with everything that is queued behind them (up to `stream_buffer_maxsize`). So a retry loop stands inside;
with it a stop has to wait for the sink, and hangs while that is down.
"""

from __future__ import annotations

import asyncio
import os

import faust
import httpx
import orjson

from bench.peers.event import to_event

app = faust.App(
    os.environ["GROUP"],
    broker=f"kafka://{os.environ['KAFKA']}",
    store="memory://",
    web_enabled=False,
    consumer_auto_offset_reset="earliest",
)
webhooks = app.topic(os.environ["TOPIC"], key_serializer="raw", value_serializer="raw")


@app.agent(webhooks)  # type: ignore[untyped-decorator]
async def to_amplitude(stream: faust.StreamT[bytes]) -> None:
    async with httpx.AsyncClient(timeout=8) as http:
        async for bodies in stream.take(1000, within=0.05):
            events = [event for body in bodies if (event := to_event(body))]
            if events:
                await post(http, orjson.dumps({"api_key": os.environ["API_KEY"], "events": events}))


async def post(http: httpx.AsyncClient, content: bytes) -> None:
    while True:
        try:
            answer = await http.post(os.environ["SINK"], content=content, headers={"content-type": "application/json"})
            answer.raise_for_status()
            return
        except httpx.HTTPError:
            await asyncio.sleep(1)


if __name__ == "__main__":
    app.main()
