"""The calls of Amplitude's Behavioral Cohorts API, one method each. It reads what each answer means; waiting is `pull`'s.

The keys go to Amplitude alone: a finished file lies behind a redirect to somebody else's host, which is asked without them.
Neither they nor the file's signed link ever stand in an error.
"""

from __future__ import annotations

import asyncio
import base64
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import IO, Any, Self, TypeVar
from urllib.parse import quote

import httpx
import msgspec

from listwire import metrics
from listwire.errors import VendorError, VendorRefused, VendorRejected, VendorThrottled, VendorUnavailable
from listwire.redaction import Redactor
from vendors.amplitude_cohorts.pace import Pace

VENDOR = "amplitude"
HOSTS = {"us": "https://amplitude.com", "eu": "https://analytics.eu.amplitude.com"}
LARGEST_COHORT = 2_000_000
"""Amplitude: "a maximum cohort size of 2 million users"."""
COMPLETED = "JOB COMPLETED"
IN_PROGRESS = "JOB INPROGRESS"
# No file of 2 million users is near this; whatever is larger is no cohort.
LARGEST_FILE = 4 << 30

T = TypeVar("T")


class Cohort(msgspec.Struct):
    """`size` is as of Amplitude's last computation."""

    id: str
    name: str = ""
    size: int = 0
    archived: bool = False
    published: bool = True


class _Cohorts(msgspec.Struct):
    cohorts: list[Cohort]


class _Requested(msgspec.Struct):
    request_id: str


class _Status(msgspec.Struct):
    async_status: str = ""


class _Downloads(msgspec.Struct):
    limit: int
    usage: int
    resets_at: str | int | None = None


class _Usage(msgspec.Struct):
    rest_download: _Downloads


@dataclass(frozen=True)
class Usage:
    """Downloads of this month. `resets_at`: seconds since the epoch, None where Amplitude's word for it cannot be read."""

    limit: int
    used: int
    resets_at: float | None

    @property
    def left(self) -> int:
        return max(0, self.limit - self.used)


def base_url(region: str, override: str | None) -> str:
    return override.rstrip("/") if override else HOSTS[region]


class AmplitudeCohorts:
    """One project. `root` is the URL in front of `/api/3/cohorts`; `timeout` covers a call, `file_timeout` a file's whole way.

    Every method raises the tree of `listwire.errors`. Use as an async context manager, or call `aclose`.
    """

    def __init__(
        self,
        api_key: str,
        secret_key: str,
        *,
        root: str = HOSTS["us"],
        pace: Pace | None = None,
        timeout: float = 60.0,
        file_timeout: float = 1800.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.pace = pace or Pace()
        self._root = root.rstrip("/")
        self._timeout = timeout
        self._file_timeout = file_timeout
        token = base64.b64encode(f"{api_key}:{secret_key}".encode()).decode()
        # Given call by call, and never to the client: a redirect must not take it along.
        self._login = {"authorization": f"Basic {token}"}
        self._redact = Redactor((api_key, secret_key, token))
        self._http = httpx.AsyncClient(
            transport=transport,
            timeout=httpx.Timeout(timeout, connect=min(timeout, 10.0)),
            headers={"accept": "*/*", "user-agent": "listwire"},
            follow_redirects=False,
            trust_env=False,
        )

    async def cohorts(self) -> list[Cohort]:
        """All discoverable cohorts, archived ones too."""
        return (await self._call("/api/3/cohorts", _Cohorts)).cohorts

    async def usage(self) -> Usage:
        """How much of the month's 500 downloads is used. Asking costs none."""
        found = (await self._call("/api/3/cohorts/usage", _Usage)).rest_download
        return Usage(found.limit, found.usage, _moment(found.resets_at))

    async def request(self, cohort: str, properties: list[str]) -> str:
        """Begins a download: one of the month's. Returns the request's id, which is good for seven days."""
        query = httpx.QueryParams(
            [("props", "1"), *(("propKeys", each) for each in properties)] if properties else None
        )
        where = f"/api/5/cohorts/request/{quote(cohort, safe='')}"
        await self.pace.turn()
        return (await self._call(where, _Requested, query=query)).request_id

    async def completed(self, request_id: str) -> bool:
        """Raises `VendorRejected` where Amplitude has given the download up."""
        found = await self._call(f"/api/5/cohorts/request-status/{quote(request_id, safe='')}", _Status)
        if found.async_status not in {COMPLETED, IN_PROGRESS}:
            raise VendorRejected(VENDOR, 200, f"the download ended with {found.async_status or 'no status'!r}")
        return found.async_status == COMPLETED

    async def file(self, request_id: str, into: IO[bytes]) -> None:
        """Writes the whole file, or raises. Amplitude: a small one comes at once, for a large one 302 leads to a link that is
        valid for a minute; asking again gives a new link.
        """
        where = f"{self._root}/api/5/cohorts/request/{quote(request_id, safe='')}/file"
        try:
            async with asyncio.timeout(self._file_timeout), self.pace.slot():
                link = await self._written(where, self._login, into)
                if link is not None and await self._written(link, {}, into) is not None:
                    raise VendorUnavailable(VENDOR, 302, "the file's link leads on to another link", cause="redirect")
        except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL, TimeoutError) as fault:
            raise self._no_answer(fault) from None

    async def _written(self, url: str, headers: dict[str, str], into: IO[bytes]) -> str | None:
        """None when the file is written; else where it lies."""
        into.seek(0)
        into.truncate()
        async with self._http.stream("GET", url, headers=headers) as answer:
            metrics.REQUESTS(vendor=VENDOR, status=str(answer.status_code)).inc()
            if answer.status_code in {302, 303, 307} and (link := answer.headers.get("location")):
                return self._link(str(answer.url.join(link)))
            if answer.status_code != HTTPStatus.OK:
                error = self._error(answer.status_code, (await answer.aread())[:4096])
                if not headers and not isinstance(error, VendorUnavailable):
                    # The link is spent, or never was good: the next one may be.
                    raise VendorUnavailable(VENDOR, answer.status_code, "the file's link is refused", cause="link")
                raise error
            async for part in answer.aiter_bytes():
                into.write(part)
                if into.tell() > LARGEST_FILE:
                    raise VendorRejected(VENDOR, 200, f"the file is larger than {LARGEST_FILE >> 30} GiB")
        into.seek(0)
        return None

    def _link(self, link: str) -> str:
        """Only from http to http: nobody on the way may read who is in a cohort."""
        if self._root.startswith("https:") and not link.startswith("https:"):
            raise VendorRefused(VENDOR, 302, "the file's link is not https")
        return link

    async def _call(self, where: str, kind: type[T], *, query: httpx.QueryParams | None = None) -> T:
        async with self.pace.slot():
            try:
                # httpx's own time-outs are between two bytes: an answer that dribbles would never end.
                async with asyncio.timeout(self._timeout):
                    answer = await self._http.get(self._root + where, params=query, headers=self._login)
            except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL, TimeoutError) as fault:
                raise self._no_answer(fault) from None
        metrics.REQUESTS(vendor=VENDOR, status=str(answer.status_code)).inc()
        if not answer.is_success:
            raise self._error(answer.status_code, answer.content)
        try:
            return msgspec.json.decode(answer.content, type=kind)
        except msgspec.MsgspecError as fault:
            words = self._redact(f"the answer is not what was asked for: {fault}")
            raise VendorUnavailable(VENDOR, answer.status_code, words, cause="unreadable") from None

    def _error(self, status: int, body: bytes) -> VendorError:
        """Any status outside 2xx.

        ==========================  ==========================================================================
        401, 403; 3xx               `VendorRefused`: the keys, or the address of the API
        429                         `VendorThrottled`: the pace, or the month's downloads; `usage` tells which
        5xx; 408                    `VendorUnavailable`
        400, 404 and the like       `VendorRejected`: no such cohort, or one that cannot be downloaded
        ==========================  ==========================================================================
        """
        words = self._redact(_words(body)) or _phrase(status)
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            return VendorThrottled(VENDOR, status, words)
        if status in (401, 403) or status < 400:
            return VendorRefused(VENDOR, status, words)
        if status >= 500 or status == HTTPStatus.REQUEST_TIMEOUT:
            return VendorUnavailable(VENDOR, status, words, cause=str(status))
        return VendorRejected(VENDOR, status, words)

    def _no_answer(self, fault: Exception) -> VendorUnavailable:
        timeout = isinstance(fault, httpx.TimeoutException | TimeoutError)
        connect = isinstance(fault, httpx.ConnectError | httpx.ConnectTimeout | httpx.UnsupportedProtocol)
        cause = "connect" if connect else "timeout" if timeout else "reset"
        metrics.REQUESTS(vendor=VENDOR, status=cause).inc()
        words = self._redact(f"{type(fault).__name__} at {self._root}: {fault}".rstrip(": "))
        return VendorUnavailable(VENDOR, 0, words, cause=cause, may_have_happened=not connect)

    async def aclose(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()


def _words(body: bytes) -> str:
    """Amplitude's own words; a page of HTML is never quoted."""
    try:
        found = msgspec.json.decode(body)
    except msgspec.MsgspecError:
        text = body[:300].decode(errors="replace").strip()
        return "" if text.startswith("<") else text
    if isinstance(found, dict):
        error: Any = found.get("error", found.get("message", ""))
        if isinstance(error, dict):
            error = error.get("message", "")
        return str(error)[:2048]
    return ""


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "no words"


def _moment(value: str | int | None) -> float | None:
    """An ISO date, or seconds or milliseconds since the epoch: the page does not say which."""
    if isinstance(value, int):
        return value / 1000 if value > 10**11 else float(value)
    try:
        return datetime.fromisoformat(value).timestamp() if value else None
    except ValueError:
        return None
