"""How an answer is spoiled on the wire: dribbled, cut short, or replaced by a reset connection.

The lowest part of the stand-ins' fault injection; `sandbox.faults` decides when. Must never decide anything itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct

from aiohttp import web


async def body_of(request: web.Request) -> bytes:
    """The whole body; b"" where it is larger than the application takes (its handler answers 413 itself)."""
    try:
        return await request.read()
    except web.HTTPRequestEntityTooLarge:
        return b""


def _bytes_of(answer: web.StreamResponse) -> bytes:
    return answer.body if isinstance(answer, web.Response) and isinstance(answer.body, bytes) else b""


async def _begin(request: web.Request, answer: web.StreamResponse) -> tuple[web.StreamResponse, bytes]:
    body = _bytes_of(answer)
    spoiled = web.StreamResponse(
        status=answer.status, headers={"Content-Type": answer.headers.get("Content-Type", "text/plain")}
    )
    spoiled.content_length = len(body)
    await spoiled.prepare(request)
    return spoiled, body


async def dribble(request: web.Request, answer: web.StreamResponse, *, chunk: int, pause: float) -> web.StreamResponse:
    spoiled, body = await _begin(request, answer)
    with contextlib.suppress(ConnectionError):
        for at in range(0, len(body), chunk):
            await spoiled.write(body[at : at + chunk])
            await asyncio.sleep(pause)
    return spoiled


async def truncate(request: web.Request, answer: web.StreamResponse) -> web.StreamResponse:
    spoiled, body = await _begin(request, answer)
    with contextlib.suppress(ConnectionError):
        await spoiled.write(body[: len(body) // 2])
    if request.transport is not None:
        request.transport.close()
    return spoiled


def reset(request: web.Request) -> None:
    """An RST. Zero linger makes close() send one; set through a duplicate, since uvloop's socket object refuses it."""
    transport = request.transport
    if transport is None:
        return
    descriptor = transport.get_extra_info("socket").fileno()
    if descriptor >= 0:
        with socket.socket(fileno=os.dup(descriptor)) as twin:
            twin.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
