"""`/3.0`, `/3.0/ping`, `/3.0/lists`, one list, and its tag search."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from sandbox.mailchimp.rules import tag_key
from sandbox.mailchimp.views import answer, audience_json, link, page

if TYPE_CHECKING:
    from sandbox.mailchimp.account import Account


def routes(account: Account) -> list[web.RouteDef]:
    async def root(request: web.Request) -> web.Response:
        total = sum(len(audience.members) for audience in account.audiences.values())
        body = {"account_id": "8d3a3db4d97663a9074efcc16", "account_name": "Sandbox", "total_subscribers": total}
        return answer(request, {**body, "_links": [link("self", account.root)]})

    async def ping(request: web.Request) -> web.Response:
        return answer(request, {"health_status": "Everything's Chimpy!"})

    async def lists(request: web.Request) -> web.Response:
        shown = [audience_json(audience, account.root) for audience in page(request, account.audiences.values())]
        total = len(account.audiences)
        constraints = {"may_create": True, "max_instances": 100, "current_total_instances": total}
        links = [link("self", f"{account.root}/lists")]
        return answer(request, {"lists": shown, "total_items": total, "constraints": constraints, "_links": links})

    async def one(request: web.Request) -> web.Response:
        return answer(request, audience_json(account.audience(request.match_info["list"]), account.root))

    async def tag_search(request: web.Request) -> web.Response:
        """Mailchimp: tags whose names begin with `name`; without it, all of them."""
        audience = account.audience(request.match_info["list"])
        prefix, now = tag_key(request.query.get("name", "")), account.clock()
        found = [
            {"id": segment.id, "name": segment.name}
            for segment in audience.segments.values()
            if segment.type == "static" and segment.visible_from <= now and tag_key(segment.name).startswith(prefix)
        ]
        links = [link("self", f"{account.root}/lists/{audience.id}/tag-search")]
        return answer(request, {"tags": found, "total_items": len(found), "_links": links})

    return [
        web.get("/3.0", root),
        web.get("/3.0/", root),
        web.get("/3.0/ping", ping),
        web.get("/3.0/lists", lists),
        web.get("/3.0/lists/{list}", one),
        web.get("/3.0/lists/{list}/tag-search", tag_search),
    ]
