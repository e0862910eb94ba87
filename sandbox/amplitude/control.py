"""The stand-in over HTTP, for tests in other processes: /_sandbox/state, events, insert-ids, order, requests, faults, reset.

Reads and steers `AmplitudeStandIn`; knows nothing of the API that it stands in for. Lists come as lines, streamed, so
that a million of them cost no memory. Faults never touch these paths.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

import msgspec
import orjson
from aiohttp import web

from sandbox.amplitude.faults import AmplitudeCommand

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sandbox.amplitude.server import AmplitudeStandIn
    from sandbox.amplitude.state import Row

LINES_A_WRITE = 5_000


def routes(stand_in: AmplitudeStandIn) -> list[web.RouteDef]:
    state = stand_in.state

    async def show_state(request: web.Request) -> web.Response:
        """Cheap enough to be polled under load; ``?users=1`` also counts the users, which is not."""
        return _json(
            {
                "events": len(state),
                "duplicates": state.duplicates,
                **({"users": state.users()} if "users" in request.query else {}),
                "per_api_key": state.per_api_key(),
                "requests": state.requests,
                "by_status": {str(status): count for status, count in state.by_status.items()},
                "in_flight": state.in_flight,
                "max_in_flight": state.max_in_flight,
                "keep": state.keep,
                "faults": stand_in.faults.describe(),
            }
        )

    async def show_events(request: web.Request) -> web.Response:
        """Whole events with keep=full, else rows; `since` is a seq, `limit` 1000 unless told."""
        since, limit = int(request.query.get("since", "0")), int(request.query.get("limit", "1000"))
        rows = islice(state.rows(since, user_id=request.query.get("user_id")), limit)
        # Rows read back from a journal have no event; the whole events are the last ones accepted.
        known = len(state) - len(state.events)
        return _json(
            [{**_row(row), **({"event": state.events[row.seq - known]} if row.seq >= known else {})} for row in rows]
        )

    async def show_requests(request: web.Request) -> web.Response:
        limit = int(request.query.get("limit", "100"))
        return _json(list(state.recent)[-limit:])  # orjson knows dataclasses

    async def list_insert_ids(request: web.Request) -> web.StreamResponse:
        return await _lines(
            request, "text/plain", ((insert_id or "").encode() + b"\n" for insert_id in state.insert_ids())
        )

    async def list_order(request: web.Request) -> web.StreamResponse:
        rows = state.rows(int(request.query.get("since", "0")))
        return await _lines(
            request, "application/x-ndjson", (orjson.dumps(_row(row), option=orjson.OPT_APPEND_NEWLINE) for row in rows)
        )

    async def set_faults(request: web.Request) -> web.Response:
        try:
            stand_in.command(msgspec.json.decode(await request.read(), type=AmplitudeCommand))
        except msgspec.MsgspecError as error:
            return _json({"error": str(error)}, status=422)
        return _json(stand_in.faults.describe())

    async def reset(_: web.Request) -> web.Response:
        stand_in.reset()
        return _json({"events": len(state)})

    return [
        web.get("/_sandbox/state", show_state),
        web.get("/_sandbox/events", show_events),
        web.get("/_sandbox/requests", show_requests),
        web.get("/_sandbox/insert-ids", list_insert_ids),
        web.get("/_sandbox/order", list_order),
        web.post("/_sandbox/faults", set_faults),
        web.post("/_sandbox/reset", reset),
    ]


async def _lines(request: web.Request, content_type: str, lines: Iterable[bytes]) -> web.StreamResponse:
    answer = web.StreamResponse(headers={"Content-Type": content_type})
    await answer.prepare(request)
    rest = iter(lines)
    while chunk := b"".join(islice(rest, LINES_A_WRITE)):
        await answer.write(chunk)
    return answer


def _row(row: Row) -> dict[str, Any]:
    return row._asdict()


def _json(content: Any, *, status: int = 200) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(content), content_type="application/json")
