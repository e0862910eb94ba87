"""A load generator for machines without wrk: raw sockets on uvloop, one request at a time on each connection.

Run: `python -m bench.load URL BODIES CONNECTIONS SECONDS`; prints the same line of JSON as wrk.lua. Half as fast as wrk, so
it costs more of a small machine; compare only what was measured with the same generator.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import uvloop


class Client(asyncio.Protocol):
    def __init__(self, requests: list[bytes], skip: int, until: float) -> None:
        self.requests = cycle(requests[skip:] + requests[:skip])
        self.until = until
        self.times: list[float] = []
        self.failed = 0
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        self.next()

    def next(self) -> None:
        self.sent = time.perf_counter()
        if self.sent >= self.until:
            self.transport.close()
        else:
            self.transport.write(next(self.requests))

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        _, _, rest = self.buffer[:end].lower().partition(b"content-length:")
        if len(self.buffer) < end + 4 + int(rest.split(b"\r\n", 1)[0] or b"0"):
            return
        if self.buffer[9:10] == b"2":
            self.times.append(time.perf_counter() - self.sent)
        else:
            self.failed += 1
        self.buffer = b""
        self.next()

    def connection_lost(self, fault: Exception | None) -> None:
        if time.perf_counter() < self.until:
            self.failed += 1
        if not self.over.done():
            self.over.set_result(None)


async def run(url: str, bodies: list[bytes], connections: int, seconds: float) -> None:
    where = urlsplit(url)
    head = f"POST {where.path} HTTP/1.1\r\nhost: {where.netloc}\r\ncontent-type: application/x-www-form-urlencoded\r\n"
    requests = [f"{head}content-length: {len(body)}\r\n\r\n".encode() + body for body in bodies]
    started = time.perf_counter()
    loop = asyncio.get_running_loop()
    clients = []
    for index in range(connections):
        skip = index * len(requests) // connections
        make = partial(Client, requests, skip, started + seconds)
        _, client = await loop.create_connection(make, where.hostname or "127.0.0.1", where.port or 80)
        clients.append(client)
    await asyncio.gather(*(client.over for client in clients))
    times = sorted(at for client in clients for at in client.times)
    print(json.dumps({
        "requests": len(times),
        "failed": sum(client.failed for client in clients),
        "seconds": time.perf_counter() - started,
        "p50": times[len(times) // 2] * 1000 if times else 0.0,
        "p99": times[int(len(times) * 0.99)] * 1000 if times else 0.0,
    }))  # fmt: skip


if __name__ == "__main__":
    _, to, file, at_once, span = sys.argv
    uvloop.run(run(to, Path(file).read_bytes().split(b"\n"), int(at_once), float(span)))
