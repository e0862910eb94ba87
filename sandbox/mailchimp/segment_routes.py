"""`/3.0/lists/{list}/segments…`: tags and saved segments, and the batch call that changes who carries a tag."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from sandbox.mailchimp import bodies, problems
from sandbox.mailchimp.edge import REQUEST_ID
from sandbox.mailchimp.views import answer, link, member_json, page, segment_json

if TYPE_CHECKING:
    from sandbox.mailchimp.account import Account
    from sandbox.mailchimp.audience import Audience, Member, Segment

_TYPES = ("saved", "static", "fuzzy")
_HIDDEN = {
    "unsubscribed": "include_unsubscribed",
    "cleaned": "include_cleaned",
    "transactional": "include_transactional",
}


class SegmentRoutes:
    def __init__(self, account: Account) -> None:
        self._account = account

    def _found(self, request: web.Request) -> tuple[Audience, Segment]:
        audience = self._account.audience(request.match_info["list"])
        return audience, self._account.segment(audience, request.match_info["segment"])

    async def many(self, request: web.Request) -> web.Response:
        audience = self._account.audience(request.match_info["list"])
        kind, now = request.query.get("type", ""), self._account.clock()
        if kind and kind not in _TYPES:
            raise problems.invalid(("type", "The value you selected is not a valid choice."))
        found = [s for s in audience.segments.values() if kind in ("", s.type) and s.visible_from <= now]
        shown = [segment_json(audience, segment, self._account.root) for segment in page(request, found)]
        links = [link("self", f"{self._account.root}/lists/{audience.id}/segments")]
        return answer(request, {"segments": shown, "list_id": audience.id, "total_items": len(found), "_links": links})

    async def create(self, request: web.Request) -> web.Response:
        """Mailchimp: `static_segment` (an empty list makes an empty tag) or `options`, never both and never neither."""
        audience = self._account.audience(request.match_info["list"])
        body = await bodies.json_body(request)
        name = bodies.text(body, "name", required=True) or ""
        addresses = bodies.strings(body, "static_segment")
        if (addresses is None) is ("options" not in body):
            raise problems.neither_options_nor_static()
        if addresses is None:
            segment = self._account.tags.create_saved(audience, name, bodies.mapping(body, "options"))
        else:
            segment = self._account.tags.create(audience, name, addresses, REQUEST_ID.get())
        return answer(request, segment_json(audience, segment, self._account.root))

    async def one(self, request: web.Request) -> web.Response:
        audience, segment = self._found(request)
        return answer(request, segment_json(audience, segment, self._account.root))

    async def patch(self, request: web.Request) -> web.Response:
        audience, segment = self._found(request)
        body = await bodies.json_body(request)
        addresses, name = bodies.strings(body, "static_segment"), bodies.text(body, "name")
        if addresses is not None and segment.type != "static":
            raise problems.no_static_segment(str(segment.id))
        if name is not None:
            self._account.tags.rename(audience, segment, name)
        if addresses is not None:
            self._account.tags.replace(audience, segment, addresses, REQUEST_ID.get())
        return answer(request, segment_json(audience, segment, self._account.root))

    async def delete(self, request: web.Request) -> web.Response:
        audience, segment = self._found(request)
        self._account.tags.delete(audience, segment, REQUEST_ID.get())
        return web.Response(status=204)

    async def change(self, request: web.Request) -> web.Response:
        """200 with `errors[]` is the normal answer; what is in none of the three lists was ignored or changed nothing."""
        audience, segment = self._found(request)
        body = await bodies.json_body(request)
        add, remove = bodies.strings(body, "members_to_add") or [], bodies.strings(body, "members_to_remove") or []
        if segment.type != "static":
            raise problems.no_static_segment(str(segment.id))
        result = self._account.tags.change(audience, segment, add, remove, REQUEST_ID.get())
        return answer(
            request,
            {
                "members_added": [member_json(audience, member, self._account.root) for member in result.added],
                "members_removed": [member_json(audience, member, self._account.root) for member in result.removed],
                "errors": [{"email_addresses": named, "error": sentence} for sentence, named in result.errors.items()],
                "total_added": len(result.added),
                "total_removed": len(result.removed),
                "error_count": sum(map(len, result.errors.values())),
                "_links": [link("self", f"{self._account.root}/lists/{audience.id}/segments/{segment.id}")],
            },
        )

    async def members(self, request: web.Request) -> web.Response:
        """Subscribed members; the others only where the query includes them."""
        audience, segment = self._found(request)

        def shown(member: Member) -> bool:
            asked = _HIDDEN.get(member.status)
            return member.status == "subscribed" or (
                asked is not None and request.query.get(asked, "").lower() in ("true", "1")
            )

        found = [member for key in segment.members if shown(member := audience.members[key])]
        root = self._account.root
        return answer(
            request,
            {
                "members": [member_json(audience, member, root) for member in page(request, found)],
                "total_items": len(found),
                "_links": [link("self", f"{root}/lists/{audience.id}/segments/{segment.id}/members")],
            },
        )


def routes(account: Account) -> list[web.RouteDef]:
    here, many = SegmentRoutes(account), "/3.0/lists/{list}/segments"
    one = many + "/{segment}"
    return [
        web.get(many, here.many),
        web.post(many, here.create),
        web.get(one, here.one),
        web.patch(one, here.patch),
        web.delete(one, here.delete),
        web.post(one, here.change),
        web.get(one + "/members", here.members),
    ]
