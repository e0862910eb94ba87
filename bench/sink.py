"""Stands where Amplitude would: answers every POST after a fixed latency, and keeps what it was sent for a look afterwards.

It must cost as little as it can while others are measured: bytes are only counted and kept, nothing is parsed. One process,
uvloop, HTTP/1.1 with Content-Length. Run: `python -m bench.sink --latency 0.05`; it prints its port.

    POST /batch     200 after the latency, or 500 while it refuses
    GET  /state     {"events", "requests", "refused", "first", "last", "first_events"}; times of time.monotonic()
    GET  /bodies    everything kept: for each request 8 bytes of arrival (double), 4 bytes of length, the body
    POST /reset     forgets everything;  POST /refuse  500 from now on;  POST /accept  200 from now on
"""

from __future__ import annotations

import argparse
import asyncio
import json
import struct
import time
from typing import cast

import uvloop

MARK = b'"event_type"'
GOOD = b'{"code":200,"events_ingested":0,"payload_size_bytes":0,"server_upload_time":0}'
BAD = b'{"code":500,"error":"the sink refuses"}'


def answer(status: bytes, body: bytes) -> bytes:
    return b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (status, len(body), body)


ACCEPTED, REFUSED, UNKNOWN = (
    answer(b"200 OK", GOOD),
    answer(b"500 Internal Server Error", BAD),
    answer(b"404 Not Found", b"{}"),
)


class Kept:
    def __init__(self, latency: float) -> None:
        self.latency = latency
        self.refuses = False
        self.reset()

    def reset(self) -> None:
        self.bodies: list[tuple[float, bytes]] = []
        self.events = self.refused = self.first_events = 0
        self.first = self.last = 0.0

    def take(self, body: bytes) -> bytes:
        now = time.monotonic()
        if self.refuses:
            self.refused += 1
            return REFUSED
        count = body.count(MARK)
        if not self.bodies:
            self.first, self.first_events = now, count
        self.last = now
        self.events += count
        self.bodies.append((now, body))
        return ACCEPTED

    def state(self) -> bytes:
        names = ("events", "refused", "first", "last", "first_events")
        return json.dumps({"requests": len(self.bodies), **{name: getattr(self, name) for name in names}}).encode()

    def all_bodies(self) -> bytes:
        return b"".join(part for at, body in self.bodies for part in (struct.pack("<dI", at, len(body)), body))


class Connection(asyncio.Protocol):
    def __init__(self, kept: Kept) -> None:
        self.kept = kept
        self.parts: list[bytes] = []
        self.missing = 0  # bytes of the body that have not come yet
        self.head = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        while data:
            if self.missing:
                taken, data = data[: self.missing], data[self.missing :]
                self.parts.append(taken)
                self.missing -= len(taken)
            else:
                self.head += data
                end = self.head.find(b"\r\n\r\n")
                if end < 0:
                    return
                head, data = self.head[:end], self.head[end + 4 :]
                self.head, self.parts = b"", []
                self.method, self.path = head.split(b" ", 2)[:2]
                self.missing = length(head)
            if not self.missing:
                self.answer(b"".join(self.parts))

    def answer(self, body: bytes) -> None:
        kept = self.kept
        match self.method, self.path:
            case b"POST", b"/batch":
                asyncio.get_running_loop().call_later(kept.latency, self.write, kept.take(body))
            case b"GET", b"/state":
                self.write(answer(b"200 OK", kept.state()))
            case b"GET", b"/bodies":
                self.write(answer(b"200 OK", kept.all_bodies()))
            case b"POST", b"/reset":
                kept.reset()
                self.write(answer(b"200 OK", b"{}"))
            case b"POST", b"/refuse" | b"/accept":
                kept.refuses = self.path == b"/refuse"
                self.write(answer(b"200 OK", b"{}"))
            case _:
                self.write(UNKNOWN)

    def write(self, data: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(data)


def length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name == b"content-length":
            return int(value)
    return 0


async def serve(latency: float) -> None:
    kept = Kept(latency)
    server = await asyncio.get_running_loop().create_server(lambda: Connection(kept), "127.0.0.1", 0, backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--latency", type=float, default=0.05)
    uvloop.run(serve(arguments.parse_args().latency))
