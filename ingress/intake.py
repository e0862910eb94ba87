"""Reading a body without ever holding more than allowed: of one request, and of all requests together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from ingress.refusals import Refused

Receive = Callable[[], Awaitable[Mapping[str, Any]]]

_PIECE: Final = 4096


class Memory:
    """How many bytes of bodies the process holds."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.held = 0

    def take(self, size: int) -> None:
        if self.held + size > self.most:
            raise Refused(503, "too many bytes in flight")
        self.held += size


class Body:
    """One request's body. `length` is its Content-Length, or None where it comes in chunks.

    Its whole length is set aside before a byte is read, so that what was let in can also be finished. Raises Refused,
    with 413 as soon as it is known to be over `most`, 503 when there is no room, and 400 when it ends too soon: the peer has
    hung up, or sends chunks that are none, which the server does not tell apart.
    """

    __slots__ = ("_length", "_memory", "_most", "_taken", "whole")

    def __init__(self, length: int | None, most: int, memory: Memory) -> None:
        self._length = length
        self._most = most
        self._memory = memory
        self._taken = 0
        self.whole = length == 0
        if length is not None:
            self._grow(length)

    def _grow(self, size: int) -> None:
        if self._taken + size > self._most:
            raise Refused(413, "the body is too large")
        self._memory.take(size)
        self._taken += size

    def release(self) -> None:
        self._memory.held -= self._taken
        self._taken = 0

    async def read(self, receive: Receive) -> bytes:
        """Stops at Content-Length, without asking whether there is more: one turn of the loop less for most requests."""
        length = self._length
        if length == 0:
            return b""
        pieces: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] != "http.request":
                raise Refused(400, "the body broke off")
            piece: bytes = message.get("body", b"")
            size += len(piece)
            if length is None:
                self._grow(len(piece))
            if size == length or not message.get("more_body", False):
                self.whole = True
                return b"".join((*pieces, piece)) if pieces else piece
            pieces.append(piece)


async def drain(receive: Receive, most: int) -> None:
    """Reads on after an early answer, and forgets: a peer that still sends would see a reset instead of the answer. `most` bytes,
    where a piece counts as 4 KiB at least: sixteen million pieces of a byte would keep the process busy, and sixteen thousand
    make everybody else wait for a tenth of a second.
    """
    size = 0
    while size <= most:
        message = await receive()
        if message["type"] != "http.request" or not message.get("more_body", False):
            return
        size += max(_PIECE, len(message.get("body", b"")))
