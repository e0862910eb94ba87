"""aiohttp under httpx's interface: a quarter of the CPU time that httpx's own transport takes for a request.

For the one client that sends hundreds of requests a second. What went wrong comes out as httpx would say it, because the
caller's decisions hang on it: `ConnectError` and `ConnectTimeout` say that nothing was sent, anything else may have arrived.
So it must never give one of those two for a connection that was there. It sends no request twice: aiohttp repeats only
methods that are idempotent by definition, and a POST is not.
"""

from __future__ import annotations

from io import BytesIO
from typing import Final

import aiohttp
import httpx

# aiohttp writes bytes at once, and warns above this; from a file it takes pieces, and lets others run in between.
_IN_ONE_GO: Final = 1 << 20


class AiohttpTransport(httpx.AsyncBaseTransport):
    """connect: seconds until a connection must be there. The whole request's time is the caller's to limit.

    Keeps connections for `idle` seconds; knows no cookies, redirects or proxies. To be used in one event loop, and closed.
    """

    def __init__(self, *, connect: float, idle: float = 30.0) -> None:
        self._connect = connect
        self._idle = idle
        self._made: aiohttp.ClientSession | None = None

    @property
    def _session(self) -> aiohttp.ClientSession:
        if self._made is None:  # not before there is a loop
            self._made = aiohttp.ClientSession(
                # Not limited here: lanes do it, and waiting for a free one would use up the request's time.
                connector=aiohttp.TCPConnector(
                    limit=0, keepalive_timeout=self._idle, ssl=httpx.create_ssl_context(trust_env=False)
                ),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._connect),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._made

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Returns when the answer has been read whole. Raises `httpx.TransportError`s."""
        content = request.content
        try:
            async with self._session.request(
                request.method,
                str(request.url),
                data=content if len(content) <= _IN_ONE_GO else BytesIO(content),
                headers=request.headers.multi_items(),
                allow_redirects=False,
            ) as answer:
                body = await answer.read()
        except aiohttp.ConnectionTimeoutError as fault:
            raise httpx.ConnectTimeout(str(fault), request=request) from fault
        except aiohttp.ClientConnectorError as fault:
            raise httpx.ConnectError(str(fault), request=request) from fault
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError) as fault:
            raise httpx.UnsupportedProtocol(str(fault), request=request) from fault
        except aiohttp.ClientPayloadError as fault:
            raise httpx.RemoteProtocolError(str(fault), request=request) from fault
        except (aiohttp.ClientError, OSError, ValueError) as fault:
            # A ValueError is an answer that is no HTTP: a header's bytes, a length, a chunk.
            raise httpx.ReadError(str(fault) or type(fault).__name__, request=request) from fault
        return httpx.Response(answer.status, content=body, request=request)

    async def aclose(self) -> None:
        if self._made is not None:
            await self._made.close()
