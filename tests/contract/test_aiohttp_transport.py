"""aiohttp under httpx's interface: what went wrong on the wire is told as it was, above all whether anything can have arrived."""

from __future__ import annotations

import asyncio
import gzip
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
import httpx
import pytest

from vendors.aiohttp_transport import AiohttpTransport

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"


class Server:
    """Counts connections and bodies; what it answers is the test's."""

    def __init__(self, serve: Serve) -> None:
        self.serve = serve
        self.connections = 0
        self.url = ""

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            await self.serve(reader, writer)
        finally:
            writer.close()


@asynccontextmanager
async def server(serve: Serve) -> AsyncIterator[Server]:
    found = Server(serve)
    listening = await asyncio.start_server(found.take, "127.0.0.1", 0)
    found.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/batch"
    try:
        yield found
    finally:
        listening.close()


async def request_of(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
    return head, await reader.readexactly(length)


async def post(transport: AiohttpTransport, url: str, content: bytes = b"{}") -> httpx.Response:
    request = httpx.Request("POST", url, headers={"content-type": "application/json"}, content=content)
    async with asyncio.timeout(5):
        return await transport.handle_async_request(request)


@pytest.fixture
async def transport() -> AsyncIterator[AiohttpTransport]:
    made = AiohttpTransport(connect=2)
    yield made
    await made.aclose()


async def test_body_headers_and_answer_go_through_as_they_are(transport: AiohttpTransport) -> None:
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head, body = await request_of(reader)
            heads.append(head)
            writer.write(b"HTTP/1.1 418 Teapot\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))

    async with server(serve) as one:
        for content in (b'{"a":1}', bytes(range(256)) * 4096):
            answer = await post(transport, one.url, content)
            assert (answer.status_code, answer.content) == (418, content)
        assert one.connections == 1, "it is kept for the next request"
    assert heads[0].startswith(b"POST /batch HTTP/1.1\r\n")
    assert heads[0].lower().count(b"content-length:") == 1
    assert b"content-type: application/json\r\n" in heads[0].lower()


async def test_an_answer_may_be_packed(transport: AiohttpTransport) -> None:
    packed = gzip.compress(b'{"code":200}')

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n%b" % (len(packed), packed)
        )
        await writer.drain()

    async with server(serve) as one:
        assert (await post(transport, one.url)).content == b'{"code":200}'


async def test_nobody_listens_means_that_nothing_was_sent(transport: AiohttpTransport) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(httpx.ConnectError):
        await post(transport, f"http://127.0.0.1:{port}/batch")


async def test_a_connection_that_does_not_come_means_that_nothing_was_sent() -> None:
    """A queue of two that nobody empties: the kernel leaves further greetings unanswered."""
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        fillers = [socket.socket() for _ in range(3)]
        transport = AiohttpTransport(connect=0.3)
        try:
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(deaf.getsockname())
            with pytest.raises(httpx.ConnectTimeout):
                await post(transport, f"http://127.0.0.1:{deaf.getsockname()[1]}/batch")
        finally:
            await transport.aclose()
            for filler in fillers:
                filler.close()


async def test_a_server_without_tls_is_told_nothing(transport: AiohttpTransport) -> None:
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(1 << 16))
        writer.write(OK)

    async with server(serve) as one:
        with pytest.raises(httpx.ConnectError):
            await post(transport, one.url.replace("http:", "https:"), b"the key")
    assert b"the key" not in heard[0]


async def test_certificates_and_names_are_checked(transport: AiohttpTransport) -> None:
    tls = transport._session.connector._ssl  # type: ignore[union-attr]
    assert isinstance(tls, ssl.SSLContext)
    assert (tls.verify_mode, tls.check_hostname) == (ssl.CERT_REQUIRED, True)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\ncontent-le",
        b"HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: two\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 2\r\n\r\n{}",
        b"SSH-2.0-OpenSSH_9.2p1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000 + b"\r\n\r\n",
    ],
    ids=["none", "cut head", "cut body", "bad chunk", "bad length", "bad gzip", "no HTTP", "long header"],
)
async def test_an_answer_that_breaks_off_or_is_none_may_have_arrived(
    transport: AiohttpTransport, answer: bytes
) -> None:
    bodies: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        bodies.append((await request_of(reader))[1])
        writer.write(answer)
        await writer.drain()

    async with server(serve) as one:
        with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
            await post(transport, one.url, b"once")
        await asyncio.sleep(0.05)
    assert bodies == [b"once"], "and it is not sent a second time"


async def test_a_reset_in_the_middle_of_the_body_may_have_arrived(transport: AiohttpTransport) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.abort()

    async with server(serve) as one:
        with pytest.raises(httpx.ReadError):
            await post(transport, one.url, b"x" * (8 << 20))
        assert one.connections == 1


async def test_a_kept_connection_that_was_closed_meanwhile_is_not_used_again(transport: AiohttpTransport) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        writer.write(OK)
        await writer.drain()

    async with server(serve) as one:
        for _ in range(3):
            assert (await post(transport, one.url)).status_code == 200
            await asyncio.sleep(0.05)
        assert one.connections == 3


async def test_an_answer_before_the_body_is_whole_counts(transport: AiohttpTransport) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        await writer.drain()
        while await reader.read(1 << 16):
            pass

    async with server(serve) as one:
        assert (await post(transport, one.url, b"x" * (4 << 20))).status_code == 413


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/batch", "http://[::1/batch", "http:///batch"])
async def test_an_address_that_is_none_means_that_nothing_was_sent(transport: AiohttpTransport, url: str) -> None:
    with pytest.raises((httpx.UnsupportedProtocol, httpx.InvalidURL)):
        await post(transport, url)


async def test_it_can_be_closed_before_it_was_used() -> None:
    made = AiohttpTransport(connect=1)
    await made.aclose()


def test_a_post_is_none_of_the_methods_that_aiohttp_repeats_by_itself() -> None:
    assert "POST" not in aiohttp.client.IDEMPOTENT_METHODS
