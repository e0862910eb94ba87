"""Amplitude's Behavioral Cohorts API over HTTP, and the host of its files, which takes no Authorization header, as S3.

Everything is asked with Basic `api_key:secret_key`. Under /_sandbox/cohorts tests in other processes put cohorts and look at what
was asked for.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from typing import TYPE_CHECKING, Any

import msgspec
import orjson
from aiohttp import web

from sandbox.amplitude.cohorts import Cohorts, Download, Refused

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sandbox.amplitude.server import AmplitudeStandIn

    Handler = Callable[[web.Request], Awaitable[web.Response]]

FILES = "/cohort-files"
"""Stands for the other host. Real S3 refuses a signed link together with an Authorization header; so does this."""


class PutCohort(msgspec.Struct, forbid_unknown_fields=True):
    """``POST /_sandbox/cohorts``"""

    id: str
    name: str
    users: list[dict[str, Any]] = []
    archived: bool = False


def routes(stand_in: AmplitudeStandIn) -> list[web.RouteDef]:
    cohorts = stand_in.cohorts

    def guarded(handler: Handler) -> Handler:
        """Asked with both keys, and not by too many at once."""

        async def guard(request: web.Request) -> web.Response:
            if not _known(stand_in, request.headers.get("Authorization", "")):
                return _json({"error": "Unauthorized"}, status=401)
            if cohorts.in_flight >= cohorts.limits.at_once:
                return _json({"error": f"Exceeded {cohorts.limits.at_once} concurrent requests"}, status=429)
            cohorts.in_flight += 1
            cohorts.max_in_flight = max(cohorts.max_in_flight, cohorts.in_flight)
            try:
                await asyncio.sleep(cohorts.seconds)
                return await handler(request)
            finally:
                cohorts.in_flight -= 1

        return guard

    async def listing(_: web.Request) -> web.Response:
        return _json({"cohorts": cohorts.described()})

    async def usage(_: web.Request) -> web.Response:
        return _json(cohorts.usage())

    async def begin(request: web.Request) -> web.Response:
        unknown = set(request.query) - {"props", "propKeys", "lastComputed"}
        props = request.query.get("props", "0")
        if unknown or props not in {"0", "1"} or ("propKeys" in request.query and props != "1"):
            return _json({"error": "Invalid query parameters"}, status=400)
        properties = request.query.getall("propKeys", []) if props == "1" else None
        found = cohorts.request(request.match_info["id"], properties)
        if isinstance(found, Refused):
            return _refusal(found)
        return _json({"request_id": found.id, "cohort_id": found.cohort.id}, status=202)

    async def status(request: web.Request) -> web.Response:
        found = cohorts.download(request.match_info["id"])
        if isinstance(found, Refused):
            return _refusal(found)
        done = cohorts.poll(found)
        words = "JOB COMPLETED" if done else "JOB INPROGRESS"
        body = {"request_id": found.id, "cohort_id": found.cohort.id, "async_status": words}
        return _json(body, status=200 if done else 202)

    async def file(request: web.Request) -> web.Response:
        found = cohorts.download(request.match_info["id"])
        if isinstance(found, Refused):
            return _refusal(found)
        if found.polls <= cohorts.polls:
            return _json({"error": "The cohort is not ready yet"}, status=400)
        if len(found.cohort.users) < cohorts.inline_below:
            return web.Response(body=cohorts.file(found), content_type="text/csv", charset="utf-8")
        name = cohorts.link(found)
        host = stand_in.files_host or stand_in.url
        return web.Response(
            status=302, headers={"Location": f"{host}{FILES}/{name}?X-Amz-Expires=60&X-Amz-Signature=5ec2e7"}
        )

    async def stored(request: web.Request) -> web.Response:
        if "Authorization" in request.headers:
            return _xml(400, "InvalidArgument", "Only one auth mechanism allowed")
        if "X-Amz-Signature" not in request.query or (found := cohorts.linked(request.match_info["name"])) is None:
            return _xml(403, "AccessDenied", "Request has expired")
        return _packed(cohorts, found)

    async def put(request: web.Request) -> web.Response:
        try:
            given = msgspec.json.decode(await request.read(), type=PutCohort)
        except msgspec.MsgspecError as error:
            return _json({"error": str(error)}, status=422)
        cohorts.add(given.id, given.name, given.users, archived=given.archived)
        return _json({"users": len(given.users)})

    async def show(_: web.Request) -> web.Response:
        return _json(
            {
                "cohorts": cohorts.described(),
                "requested": [cohort for _, cohort in cohorts.requested],
                "max_in_flight": cohorts.max_in_flight,
            }
        )

    return [
        web.get("/api/3/cohorts", guarded(listing)),
        web.get("/api/3/cohorts/usage", guarded(usage)),
        web.get("/api/5/cohorts/request/{id}", guarded(begin)),
        web.get("/api/5/cohorts/request-status/{id}", guarded(status)),
        web.get("/api/5/cohorts/request/{id}/file", guarded(file)),
        web.get(FILES + "/{name}", stored),
        web.post("/_sandbox/cohorts", put),
        web.get("/_sandbox/cohorts", show),
    ]


def _known(stand_in: AmplitudeStandIn, header: str) -> bool:
    """Both keys; with neither told to the stand-in, any that are there."""
    kind, _, token = header.partition(" ")
    try:
        api_key, colon, secret = base64.b64decode(token, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return False
    known = stand_in.api_keys is None or api_key in stand_in.api_keys
    right = stand_in.secret_keys is None or secret in stand_in.secret_keys
    return kind == "Basic" and bool(colon and api_key and secret) and known and right


def _packed(cohorts: Cohorts, found: Download) -> web.Response:
    body = cohorts.packed(found)
    match cohorts.encoding:
        case "plain":
            return web.Response(body=body, content_type="text/csv", charset="utf-8")
        case "gzip":
            return web.Response(body=body, content_type="application/gzip")
        case "content-encoding":
            return web.Response(body=body, content_type="text/csv", headers={"Content-Encoding": "gzip"})


def _refusal(refused: Refused) -> web.Response:
    return _json({"error": refused.words}, status=refused.status)


def _xml(status: int, code: str, words: str) -> web.Response:
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{words}</Message></Error>'
    return web.Response(status=status, text=body, content_type="application/xml")


def _json(content: Any, *, status: int = 200) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(content), content_type="application/json")
