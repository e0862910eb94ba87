"""`/3.0/lists/{list}/members…`: pages of members, one member, and one member's tags."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import web

from sandbox.mailchimp import bodies, problems
from sandbox.mailchimp.audience import STATUSES
from sandbox.mailchimp.edge import REQUEST_ID
from sandbox.mailchimp.rules import from_iso, iso
from sandbox.mailchimp.views import activity_json, answer, link, member_json, page

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandbox.mailchimp.account import Account
    from sandbox.mailchimp.audience import Audience, Member

_SORT_FIELDS = ("timestamp_opt", "last_changed")
ACTIVITIES = frozenset({
    "open", "click", "bounce", "unsub", "sent", "conversation", "note", "marketing_permission", "postcard_sent",
    "squatter_signup", "website_signup", "landing_page_signup", "ecommerce_signup", "generic_signup", "order", "event",
    "survey_response",
})  # fmt: skip
"""Mailchimp: what `activity_filters` may name."""


def _moment(request: web.Request, name: str) -> int | None:
    text = request.query.get(name, "")
    if not text:
        return None
    try:
        return int(from_iso(text))
    except ValueError as error:
        raise problems.invalid((name, "This value is not a valid datetime.")) from error


def _wanted(request: web.Request) -> Callable[[Member], bool]:
    """Mailchimp: `since_last_changed` means after that time, `before_last_changed` before it, in whole seconds.

    Archived members are shown only where `status=archived` asks for them.
    """
    since, before = _moment(request, "since_last_changed"), _moment(request, "before_last_changed")
    opted, unopted = _moment(request, "since_timestamp_opt"), _moment(request, "before_timestamp_opt")
    status = request.query.get("status", "")
    if status and status not in STATUSES | {"archived"}:
        raise problems.invalid(("status", "The value you selected is not a valid choice."))

    def passes(member: Member) -> bool:
        return (
            (member.status == status if status else member.status != "archived")
            and (since is None or int(member.last_changed) > since)
            and (before is None or int(member.last_changed) < before)
            and (opted is None or int(member.timestamp_opt) > opted)
            and (unopted is None or int(member.timestamp_opt) < unopted)
        )

    return passes


class MemberRoutes:
    def __init__(self, account: Account) -> None:
        self._account = account

    def _found(self, request: web.Request) -> tuple[Audience, Member]:
        audience = self._account.audience(request.match_info["list"])
        return audience, self._account.member(audience, request.match_info["member"])

    def _shown(self, request: web.Request, audience: Audience, member: Member) -> web.Response:
        return answer(request, member_json(audience, member, self._account.root))

    async def many(self, request: web.Request) -> web.Response:
        audience = self._account.audience(request.match_info["list"])
        found = list(filter(_wanted(request), audience.members.values()))
        if field := request.query.get("sort_field"):
            if field not in _SORT_FIELDS:
                raise problems.invalid(("sort_field", "The value you selected is not a valid choice."))
            found.sort(
                key=lambda member: float(getattr(member, field)), reverse=request.query.get("sort_dir") == "DESC"
            )
        shown = [member_json(audience, member, self._account.root) for member in page(request, found)]
        links = [link("self", f"{self._account.root}/lists/{audience.id}/members")]
        return answer(request, {"members": shown, "list_id": audience.id, "total_items": len(found), "_links": links})

    async def activity(self, request: web.Request) -> web.Response:
        """The newest first. `activity_filters` names types; the schema of the answer promises no `total_items`."""
        audience, member = self._found(request)
        wanted = set(filter(None, request.query.get("activity_filters", "").split(",")))
        if not wanted <= ACTIVITIES:
            raise problems.invalid(("activity_filters", "One or more of the given values is invalid."))
        entries = [each for each in reversed(member.history) if not wanted or each.type in wanted]
        links = [link("self", f"{self._account.root}/lists/{audience.id}/members/{member.id}/activity-feed")]
        return answer(
            request,
            {
                "activity": [activity_json(each) for each in page(request, entries)],
                "email_id": member.id,
                "contact_id": member.contact_id,
                "list_id": audience.id,
                "_links": links,
            },
        )

    async def one(self, request: web.Request) -> web.Response:
        return self._shown(request, *self._found(request))

    async def add(self, request: web.Request) -> web.Response:
        audience = self._account.audience(request.match_info["list"])
        body = await bodies.json_body(request)
        address = bodies.text(body, "email_address", required=True) or ""
        status = bodies.choice(body, "status", STATUSES)
        if status is None:
            raise problems.invalid(("status", "This value should not be blank."))
        present = audience.member(address)
        if present is not None and present.status != "archived":
            raise problems.member_exists(address)
        return self._shown(request, audience, self._put(audience, present, address, status, body))

    async def put(self, request: web.Request) -> web.Response:
        """Insert or update. `status_if_new` counts for newcomers only, and an archived contact is a newcomer."""
        audience = self._account.audience(request.match_info["list"])
        body = await bodies.json_body(request)
        status, if_new = bodies.choice(body, "status", STATUSES), bodies.choice(body, "status_if_new", STATUSES)
        present = audience.member(request.match_info["member"])
        new = present is None or present.status == "archived"
        if new:
            address = bodies.text(body, "email_address", required=True) or ""
            status = if_new or status
            if status is None:
                raise problems.invalid(("status_if_new", "This value should not be blank."))
        else:
            address = bodies.text(body, "email_address") or ""
        return self._shown(request, audience, self._put(audience, present, address, status, body))

    async def patch(self, request: web.Request) -> web.Response:
        audience, member = self._found(request)
        body = await bodies.json_body(request)
        status, address = bodies.choice(body, "status", STATUSES), bodies.text(body, "email_address") or ""
        return self._shown(request, audience, self._put(audience, member, address, status, body))

    def _put(
        self, audience: Audience, member: Member | None, address: str, status: str | None, body: dict[str, Any]
    ) -> Member:
        contacts, merges = self._account.contacts, bodies.mapping(body, "merge_fields")
        if member is None:
            return contacts.add(audience, address, status or "subscribed", "api", merges or None)
        if status is not None:
            contacts.set_status(audience, member, status, "api")
        contacts.update(audience, member, merges, "api")
        if address and address.strip().lower() != member.address.lower():
            contacts.change_address(audience, member, address, "api")
        return member

    async def archive(self, request: web.Request) -> web.Response:
        """Mailchimp: 405 for members that are bounced, pending or archived already."""
        audience, member = self._found(request)
        if member.status in ("cleaned", "pending", "archived"):
            raise problems.cannot_be_removed()
        self._account.contacts.set_status(audience, member, "archived", "api")
        return web.Response(status=204)

    async def delete_permanently(self, request: web.Request) -> web.Response:
        audience, member = self._found(request)
        self._account.contacts.delete_permanently(audience, member, "api", REQUEST_ID.get())
        return web.Response(status=204)

    async def tags(self, request: web.Request) -> web.Response:
        audience, member = self._found(request)
        shown = [
            {"id": tag, "name": audience.segments[tag].name, "date_added": iso(audience.segments[tag].updated_at)}
            for tag in page(request, sorted(member.tags))
        ]
        links = [link("self", f"{self._account.root}/lists/{audience.id}/members/{member.id}/tags")]
        return answer(request, {"tags": shown, "total_items": len(member.tags), "_links": links})

    async def set_tags(self, request: web.Request) -> web.Response:
        """Mailchimp: 204; a missing tag is made, removing a missing one is silent, an unknown member is 404."""
        audience, member = self._found(request)
        body = await bodies.json_body(request)
        wanted = body.get("tags")
        if not isinstance(wanted, list) or not wanted:
            raise problems.invalid(("tags", "This value should not be blank."))
        for index, tag in enumerate(wanted):
            if (
                not isinstance(tag, dict)
                or not isinstance(tag.get("name"), str)
                or tag.get("status") not in ("active", "inactive")
            ):
                raise problems.invalid((f"tags.{index}", "A tag needs a name and the status active or inactive."))
        for tag in wanted:
            active = tag["status"] == "active"
            self._account.tags.set_for_member(audience, member, tag["name"], active=active, request=REQUEST_ID.get())
        return web.Response(status=204)


def routes(account: Account) -> list[web.RouteDef]:
    here, many = MemberRoutes(account), "/3.0/lists/{list}/members"
    one = many + "/{member}"
    return [
        web.get(many, here.many),
        web.post(many, here.add),
        web.get(one, here.one),
        web.put(one, here.put),
        web.patch(one, here.patch),
        web.delete(one, here.archive),
        web.post(one + "/actions/delete-permanent", here.delete_permanently),
        web.get(one + "/activity-feed", here.activity),
        web.get(one + "/tags", here.tags),
        web.post(one + "/tags", here.set_tags),
    ]
