"""Peers that mean harm, each kind as a process of its own: `python -m bench.attacks KIND PORT SECONDS PATH`.

Speaks to 127.0.0.1 alone. Each kind is paced: what is shown is what its *shape* costs, not that a flood takes a core, which
a flood of good requests does as well. Ends with a line of JSON: how many connections and how many at once, at most.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import socket
import struct
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import uvloop

_FORM: Final = "Host: x\r\nContent-Type: application/x-www-form-urlencoded\r\n"


class Peers:
    """Opens connections to the ingress until the time is over; `path` is a webhook's, with its secret."""

    def __init__(self, port: int, path: str, until: float) -> None:
        self.port = port
        self.path = path
        self.until = until
        self.opened = self.now = self.most = self.refused = 0

    @property
    def over(self) -> bool:
        return time.monotonic() >= self.until

    def head(self, *lines: str, path: str | None = None, method: str = "POST") -> bytes:
        more = "".join(f"{line}\r\n" for line in lines)
        return f"{method} {path or self.path} HTTP/1.1\r\n{_FORM}{more}\r\n".encode()

    async def connect(self, buffer: int = 0) -> socket.socket | None:
        peer = socket.socket()
        peer.setblocking(False)
        if buffer:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        try:
            await asyncio.get_running_loop().sock_connect(peer, ("127.0.0.1", self.port))
        except OSError:
            self.refused += 1
            peer.close()
            return None
        self.opened += 1
        self.now += 1
        self.most = max(self.most, self.now)
        return peer

    def close(self, peer: socket.socket, *, reset: bool = False) -> None:
        if reset:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
        self.now -= 1

    async def once(self, *pieces: bytes, pause: float = 0.0, wait: float = 12.0, reset: bool = False) -> None:
        """One connection: sends the pieces, then reads until the ingress closes it, or for `wait` seconds."""
        if (peer := await self.connect()) is None:
            return
        loop = asyncio.get_running_loop()
        try:
            for piece in pieces:
                await loop.sock_sendall(peer, piece)
                if pause:
                    await asyncio.sleep(pause)
                if self.over:
                    return
            async with asyncio.timeout(min(wait, max(0.0, self.until - time.monotonic()))):
                while await loop.sock_recv(peer, 65536):
                    pass
        except (OSError, TimeoutError):
            pass  # cut off, which is what they are there for
        finally:
            self.close(peer, reset=reset)

    async def keep(self, count: int, one: Callable[[], Awaitable[None]]) -> None:
        """So many at once, each beginning again when the ingress has ended it."""

        async def again() -> None:
            while not self.over:
                await one()
                await asyncio.sleep(0.01)

        await asyncio.gather(*(again() for _ in range(count)))

    async def pace(self, rate: float, one: Callable[[], Awaitable[None]]) -> None:
        """So many a second, whatever becomes of those before."""
        begun: set[asyncio.Task[None]] = set()
        start = time.monotonic()
        number = 0
        while not self.over:
            task = asyncio.ensure_future(one())
            begun.add(task)
            task.add_done_callback(begun.discard)
            number += 1
            await asyncio.sleep(max(0.0, start + number / rate - time.monotonic()))
        await asyncio.gather(*begun)


async def silent(peers: Peers) -> None:
    """Connected, and not a byte. As many as the machine's limit of open files allows."""
    count = min(10_000, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 200)
    await peers.keep(count, peers.once)


async def slow_headers(peers: Peers) -> None:
    head = peers.head("Content-Length: 3", "X: " + "y" * 8000)
    await peers.keep(500, lambda: peers.once(head[:8000], *(b"y" for _ in range(60)), pause=1.0))


async def slow_bodies(peers: Peers) -> None:
    await peers.keep(
        500, lambda: peers.once(peers.head("Content-Length: 60000"), *(b"y" for _ in range(60)), pause=1.0)
    )


async def broken_off(peers: Peers) -> None:
    """Half a body, then gone: every second one with a reset."""
    half = peers.head("Content-Length: 60000") + b"y" * 30_000
    resets = iter(range(1 << 60))
    await peers.pace(100, lambda: peers.once(half, wait=0.01, reset=next(resets) % 2 == 0))


async def unread(peers: Peers) -> None:
    """Asks and asks, and reads no answer."""
    many = peers.head(path="/metrics", method="GET") * 5

    async def one() -> None:
        if (peer := await peers.connect(buffer=2048)) is None:
            return
        try:
            async with asyncio.timeout(max(0.0, peers.until - time.monotonic())):
                while True:
                    await asyncio.get_running_loop().sock_sendall(peer, many)
                    await asyncio.sleep(0.5)
        except (OSError, TimeoutError):
            pass
        finally:
            peers.close(peer)

    await peers.keep(10, one)


async def pipelined(peers: Peers) -> None:
    many = peers.head(path="/nothing", method="GET") * 50 + b"junk\r\n\r\n"
    await peers.pace(10, lambda: peers.once(many))


async def malformed(peers: Peers) -> None:
    chunked = peers.head("Transfer-Encoding: chunked")
    shapes = (
        chunked + b"zz\r\nabc\r\n0\r\n\r\n",
        chunked + b"3;" + b"x" * 100_000 + b"\r\nabc\r\n0\r\n\r\n",
        peers.head("Content-Length: 5", "Content-Length: 6") + b"hello",
        peers.head(*(f"X{number}: y" for number in range(1000))),
        peers.head(path="/" + "x" * 100_000),
        b"\x16\x03\x01\x02\x00\x01\x00",
    )
    turn = iter(range(1 << 60))
    await peers.pace(200, lambda: peers.once(shapes[next(turn) % len(shapes)]))


async def oversized(peers: Peers) -> None:
    """32 MiB where 64 KiB may come, by somebody who knows the secret; half of them in chunks, which tell no length before."""
    pieces = [b"10000\r\n" + b"y" * 65536 + b"\r\n"] * 512
    heads = (peers.head("Content-Length: 33554432"), peers.head("Transfer-Encoding: chunked"))
    turn = iter(range(1 << 60))
    await peers.pace(2, lambda: peers.once(heads[next(turn) % 2], *pieces, wait=3))


async def crumbs(peers: Peers) -> None:
    """Chunks of one byte, to a path that is not there: the refusal reads on for a while, so that it is not lost."""
    crumb = peers.head("Transfer-Encoding: chunked", path="/nothing") + b"1\r\ny\r\n" * 10_000
    await peers.pace(2, lambda: peers.once(crumb, *[b"1\r\ny\r\n" * 10_000] * 20, wait=3))


@dataclass(frozen=True)
class Kind:
    name: str
    words: str
    run: Callable[[Peers], Awaitable[None]]


KINDS: Final = (
    Kind("silent", "10 000 connections that say nothing", silent),
    Kind("slow-headers", "500 heads of 8 kB that never end, a byte a second", slow_headers),
    Kind("slow-bodies", "500 bodies, a byte a second", slow_bodies),
    Kind("broken-off", "100 bodies a second that break off", broken_off),
    Kind("unread", "10 that ask and never read", unread),
    Kind("pipelined", "500 requests a second, fifty at once", pipelined),
    Kind("malformed", "200 requests a second that are none", malformed),
    Kind("oversized", "2 bodies of 32 MiB a second", oversized),
    Kind("crumbs", "2 bodies a second of 210 000 one-byte chunks", crumbs),
)


async def attack(kind: Kind, port: int, seconds: float, path: str) -> None:
    peers = Peers(port, path, time.monotonic() + seconds)
    with contextlib.suppress(asyncio.CancelledError):
        await kind.run(peers)
    print(json.dumps({"opened": peers.opened, "most": peers.most, "refused": peers.refused}))


if __name__ == "__main__":
    _, chosen, to, span, where = sys.argv
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    uvloop.run(attack(next(kind for kind in KINDS if kind.name == chosen), int(to), float(span), where))
