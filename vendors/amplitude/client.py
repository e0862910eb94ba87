"""The client, on httpx's interface. It sends fragments that are serialized already, so that halving or sending again costs no second dump.

It holds no retry loop: the delivery core owns the only one. The API key stands in the body only; it is cut out of
Amplitude's words before anything shortens them, so that no part of it is left either.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self

import httpx
import orjson

from listwire import metrics
from listwire.errors import VendorRefused, VendorRejected, VendorUnavailable
from listwire.redaction import Redactor
from vendors.aiohttp_transport import AiohttpTransport
from vendors.amplitude.answers import VENDOR, Answer, Doubted, Rejected, accepts, read_answer

Endpoint = Literal["batch", "httpapi"]
HOSTS = {"us": "https://api2.amplitude.com", "eu": "https://api.eu.amplitude.com"}
PATHS = {"batch": "/batch", "httpapi": "/2/httpapi"}


@dataclass(frozen=True)
class Limits:
    """Of one request. Amplitude: Batch at most 20 MB and 2000 events; HTTP V2 under 1 MB and under 2000 events.
    `throttle_wait`: seconds a throttled user waits (Amplitude: some 15 s on Batch, 30 s on HTTP V2).
    """

    max_events: int
    max_bytes: int
    throttle_wait: float


LIMITS: dict[str, Limits] = {
    "batch": Limits(2000, 16 << 20, 15.0),
    "httpapi": Limits(1999, 900 << 10, 30.0),
}


def base_url(region: str, override: str | None) -> str:
    return override.rstrip("/") if override else HOSTS[region]


class Amplitude:
    """One Amplitude project at one endpoint.

    `root` is the URL in front of `/batch` or `/2/httpapi`; `timeout` in seconds covers a whole request.
    Use as an async context manager, or call `aclose`.
    """

    def __init__(
        self,
        api_key: str,
        *,
        root: str = HOSTS["us"],
        endpoint: Endpoint = "batch",
        timeout: float = 8.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.limits = LIMITS[endpoint]
        self.url = root.rstrip("/") + PATHS[endpoint]
        self.timeout = timeout
        self._redact = Redactor([api_key])
        self._head = b'{"api_key":' + orjson.dumps(api_key) + b',"events":['
        self._url = httpx.URL(self.url)
        # No httpx.AsyncClient around it: redirects, cookies and the rest of what it knows are not wanted here, and it takes
        # more time than the request.
        self._transport = transport or AiohttpTransport(connect=timeout / 2)
        self._headers = httpx.Headers(
            {"content-type": "application/json", "accept": "application/json", "user-agent": "listwire"}
        )

    @property
    def overhead(self) -> int:
        """Bytes of a request besides its events and their commas."""
        return len(self._head) + 2

    async def send(self, events: Sequence[bytes]) -> Answer:
        """Posts JSON fragments as one request.

        Raises `VendorUnavailable` (no answer, or one that may pass) and `VendorRefused` (the key or account).
        """
        status, body = await self._post(self._head + b",".join(events) + b"]}")
        metrics.EVENTS_SENT(vendor=VENDOR).observe(len(events))
        return read_answer(status, body)

    async def check_key(self) -> None:
        """Returns when the key is not refused; leaves no event behind.

        No events at all are answered with 400 `Request missing required field`, before the key is looked at or after: nobody
        says which. So after that 400 one thing follows that is no event, without type and user, which only the key can precede.
        Raises as `send` does, and `VendorRefused` for a 403, which no content can have caused here.
        """
        if isinstance(await self._judged(b""), Rejected):
            await self._judged(b"{}")

    async def _judged(self, events: bytes) -> Answer:
        status, body = await self._post(self._head + events + b"]}")
        try:
            answer = read_answer(status, body)
        except VendorRejected as fault:
            raise VendorRefused(VENDOR, fault.status, fault.detail) from None
        if isinstance(answer, Doubted):
            raise VendorRefused(VENDOR, status, answer.detail)
        if isinstance(answer, Rejected) and "api key" in answer.detail.lower():
            raise VendorRefused(VENDOR, status, answer.detail)
        return answer

    async def _post(self, content: bytes) -> tuple[int, bytes]:
        try:
            # Time-outs between two bytes would not do: an answer that dribbles would never end.
            async with asyncio.timeout(self.timeout):
                response = await self._transport.handle_async_request(
                    httpx.Request("POST", self._url, headers=self._headers, content=content)
                )
                body = await response.aread()
        except (TimeoutError, httpx.ReadTimeout, httpx.WriteTimeout) as fault:
            raise self._unavailable(fault, "timeout", may_have_happened=True) from None
        except (httpx.ConnectTimeout, httpx.ConnectError, httpx.UnsupportedProtocol) as fault:
            raise self._unavailable(fault, "connect", may_have_happened=False) from None
        except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL) as fault:
            raise self._unavailable(fault, "reset", may_have_happened=True) from None
        status = response.status_code
        metrics.REQUESTS(vendor=VENDOR, status=str(status)).inc()
        return status, body if accepts(status, body) else self._redact(body.decode(errors="replace")).encode()

    def _unavailable(self, fault: Exception, cause: str, *, may_have_happened: bool) -> VendorUnavailable:
        metrics.REQUESTS(vendor=VENDOR, status=cause).inc()
        words = f"{type(fault).__name__} at {self.url}: {fault}".rstrip(": ")
        return VendorUnavailable(VENDOR, 0, words, cause=cause, may_have_happened=may_have_happened)

    async def aclose(self) -> None:
        await self._transport.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()
