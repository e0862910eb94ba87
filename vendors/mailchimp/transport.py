"""One call to Mailchimp: a place among the connections, the request, and an answer or one of our errors.

It never retries and never logs a body. The key stands in a header only and is cut out of everything that is raised.
"""

from __future__ import annotations

import asyncio
import base64
import copy
from typing import Any, Self, TypeVar
from urllib.parse import quote

import httpx
import msgspec

from listwire import metrics
from listwire.errors import VendorThrottled, VendorUnavailable
from listwire.redaction import Redactor
from vendors.mailchimp.connection_limit import ConnectionLimit
from vendors.mailchimp.problems import VENDOR, read_error

T = TypeVar("T")


def path(*parts: str | int) -> str:
    """Percent-encodes each part, so that an address or an id can't walk through the API."""
    return "/3.0/" + "/".join(quote(str(part), safe="") for part in parts)


def authorization(api_key: str | None, access_token: str | None) -> str:
    """Mailchimp: Basic with any user name and the key, or Bearer with an OAuth token."""
    if access_token:
        return f"Bearer {access_token}"
    return "Basic " + base64.b64encode(f"listwire:{api_key or ''}".encode()).decode()


def _decoded(answer: bytes, kind: type[T]) -> T:
    """Mailchimp is written in PHP: a null, or a number in quotes, where the description promises otherwise is let pass."""
    try:
        return msgspec.json.decode(answer, type=kind)
    except msgspec.ValidationError:
        return msgspec.convert(_without_nulls(msgspec.json.decode(answer)), type=kind, strict=False)


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nulls(below) for name, below in value.items() if below is not None}
    return [_without_nulls(below) for below in value] if isinstance(value, list) else value


class Transport:
    """`timeout` in seconds covers a whole request, from its first byte to the answer's last; waiting for a place among the
    connections is not part of it.
    """

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | None,
        access_token: str | None,
        limit: ConnectionLimit,
        timeout: float,
        transport: httpx.AsyncBaseTransport | None,
    ) -> None:
        self.limit = limit
        self._withdraw: asyncio.Event | None = None
        self._timeout = timeout
        header = authorization(api_key, access_token)
        self._redact = Redactor(filter(None, (api_key, access_token, header.partition(" ")[2])))
        self._base_url = base_url.rstrip("/")
        self._http = httpx.AsyncClient(
            transport=transport,
            timeout=httpx.Timeout(timeout, connect=min(timeout, 10.0)),
            limits=httpx.Limits(
                max_connections=limit.highest, max_keepalive_connections=limit.highest, keepalive_expiry=5
            ),
            headers={"authorization": header, "accept": "application/json", "user-agent": "listwire"},
            follow_redirects=False,
            trust_env=False,
        )

    def until(self, withdraw: asyncio.Event) -> Self:
        """The same connections, for calls that are not begun once `withdraw` is set."""
        other = copy.copy(self)
        other._withdraw = withdraw
        return other

    async def call(
        self, method: str, where: str, kind: type[T], *, query: dict[str, str] | None = None, body: Any = None
    ) -> T:
        """The 2xx answer read as `kind` (None for an answer without a body).

        Raises `VendorRefused`, `VendorThrottled`, `VendorUnavailable` or `VendorRejected`; see `problems`. And `Withdrawn`.
        """
        content = None if body is None else msgspec.json.encode(body)
        headers = None if body is None else {"content-type": "application/json"}
        async with self.limit.slot(self._withdraw) as slot:
            status, answer = await self._send(method, where, query, content, headers)
            metrics.REQUESTS(vendor=VENDOR, status=str(status)).inc()
            if 200 <= status < 300:
                slot.answered()
                return self._read(status, answer or b"null", kind)
            error = read_error(status, self._redact(answer.decode(errors="replace")).encode())
            if isinstance(error, VendorThrottled):
                slot.throttled()
            elif not isinstance(error, VendorUnavailable):
                slot.answered()
            raise error

    def _read(self, status: int, answer: bytes, kind: type[T]) -> T:
        try:
            return _decoded(answer, kind)
        except (msgspec.MsgspecError, ValueError, RecursionError) as fault:  # the last two: no UTF-8, and deep nesting
            words = self._redact(f"the answer is not what was asked for: {fault}")
            raise VendorUnavailable(VENDOR, status, words, cause="unreadable") from None

    async def _send(
        self,
        method: str,
        where: str,
        query: dict[str, str] | None,
        content: bytes | None,
        headers: dict[str, str] | None,
    ) -> tuple[int, bytes]:
        try:
            async with asyncio.timeout(self._timeout):
                response = await self._http.request(
                    method, self._base_url + where, params=query, content=content, headers=headers
                )
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol) as fault:
            raise self._no_answer(fault, "connect", may_have_happened=False) from None
        except (httpx.TimeoutException, TimeoutError) as fault:
            raise self._no_answer(fault, "timeout", may_have_happened=True) from None
        except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL) as fault:
            raise self._no_answer(fault, "reset", may_have_happened=True) from None
        return response.status_code, response.content

    def _no_answer(self, fault: Exception, cause: str, *, may_have_happened: bool) -> VendorUnavailable:
        metrics.REQUESTS(vendor=VENDOR, status=cause).inc()
        words = self._redact(f"{type(fault).__name__} at {self._base_url}: {fault}".rstrip(": "))
        return VendorUnavailable(VENDOR, 0, words, cause=cause, may_have_happened=may_have_happened)

    async def aclose(self) -> None:
        await self._http.aclose()
