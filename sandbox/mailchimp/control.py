"""`/_sandbox/…`: what a person in Mailchimp's web app would do, and what a test wants to know. JSON, no key.

It is for tests and demos on the own machine: other processes reach here what the attributes give within one. Nothing of it
exists at Mailchimp.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import msgspec
from aiohttp import web

from sandbox.faults import FaultsCommand
from sandbox.mailchimp import forms, problems
from sandbox.mailchimp.account import Account, OAuthClient
from sandbox.mailchimp.audience import STATUSES
from sandbox.mailchimp.behaviour import Behaviour
from sandbox.mailchimp.rules import tag_key

if TYPE_CHECKING:
    from sandbox.faults import Faults
    from sandbox.mailchimp.edge import Edge

T = TypeVar("T")


class _Strict(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    pass


class NewAudience(_Strict):
    id: str
    name: str = "Sandbox"


class NewMember(_Strict):
    email_address: str
    status: str = "subscribed"
    merge_fields: dict[str, Any] = {}
    compliance: bool = False


class NewMembers(_Strict):
    """`members` one by one; or `count` of them after `pattern`, from number `first`. Nothing is fired."""

    members: list[NewMember] = []
    count: int = 0
    pattern: str = "member{}@example.com"
    first: int = 0
    status: str = "subscribed"


class Happening(_Strict):
    """Something a person did. `source` decides which webhooks hear of it."""

    what: Literal["subscribe", "unsubscribe", "profile", "upemail", "cleaned", "archive", "forget", "campaign"]
    email_address: str = ""
    source: Literal["user", "admin", "api"] = "user"
    merge_fields: dict[str, Any] = {}
    new_address: str = ""
    reason: str = "manual"
    campaign_id: str = ""
    subject: str = ""


class KeyChange(_Strict):
    """API keys and OAuth tokens alike."""

    add: list[str] = []
    revoke: list[str] = []


class NewOAuthClient(_Strict):
    id: str
    secret: str
    redirect_uris: list[str] = []


def happen(account: Account, audience_id: str, event: Happening) -> None:
    """The same for tests in process: carries out `event` and fires its webhooks."""
    audience, contacts = account.audience(audience_id), account.contacts
    if event.what == "campaign":
        form = forms.campaign(
            audience,
            account.clock(),
            campaign_id=event.campaign_id,
            subject=event.subject,
            status="sent",
            reason=event.reason,
        )
        account.sender.fire(audience, "campaign", event.source, form)
        return
    member = audience.member(event.email_address)
    if event.what == "subscribe":
        if member is None:
            contacts.add(audience, event.email_address, "subscribed", event.source, event.merge_fields or None)
            return
        member.compliance = False  # the contact's own will ends the compliance state
        contacts.set_status(audience, member, "subscribed", event.source)
        return
    if member is None:
        raise problems.not_found()
    match event.what:
        case "profile":
            contacts.update(audience, member, event.merge_fields, event.source)
        case "upemail":
            contacts.change_address(audience, member, event.new_address, event.source)
        case "forget":
            contacts.delete_permanently(audience, member, event.source, "sandbox")
        case "unsubscribe" | "cleaned" | "archive":
            status = {"unsubscribe": "unsubscribed", "cleaned": "cleaned", "archive": "archived"}[event.what]
            contacts.set_status(
                audience, member, status, event.source, reason=event.reason, campaign_id=event.campaign_id
            )
            member.compliance = member.compliance or event.what == "cleaned" or event.reason == "abuse"


def add_members(account: Account, audience_id: str, given: NewMembers) -> int:
    audience = account.audience(audience_id)
    for new in given.members:
        if new.status not in STATUSES | {"archived"}:
            raise problems.invalid(("status", f"{new.status} is no status."))
        member = audience.member(new.email_address)
        member = member or audience.add_member(
            new.email_address, new.status, account.clock(), merge_fields=new.merge_fields or None
        )
        member.status, member.compliance = new.status, new.compliance
    audience.seed(given.count, pattern=given.pattern, status=given.status, now=account.clock(), first=given.first)
    return len(audience.members)


class Control:
    def __init__(self, account: Account, edge: Edge, faults: Faults) -> None:
        self._account = account
        self._edge = edge
        self._faults = faults

    async def _read(self, request: web.Request, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(await request.read() or b"{}", type=kind)
        except msgspec.MsgspecError as error:
            raise problems.invalid(("", str(error))) from error

    async def state(self, request: web.Request) -> web.Response:
        account, edge = self._account, self._edge
        return _json(
            {
                "url": account.url,
                "in_flight": edge.in_flight,
                "max_connections_seen": edge.max_seen,
                "calls": dict(edge.calls),
                "faults": self._faults.describe(),
                "behaviour": msgspec.to_builtins(account.behaviour),
                "audiences": {
                    audience.id: {
                        "name": audience.name,
                        "members": len(audience.members),
                        "tags": {s.name: len(s.members) for s in audience.segments.values() if s.type == "static"},
                        "webhooks": [
                            {"id": w.id, "url": w.url, "disabled": w.disabled} for w in audience.webhooks.values()
                        ],
                    }
                    for audience in account.audiences.values()
                },
            }
        )

    async def behave(self, request: web.Request) -> web.Response:
        behaviour = self._account.behaviour
        changes = await self._read(request, dict[str, Any])
        try:
            wanted = msgspec.convert({**msgspec.to_builtins(behaviour), **changes}, Behaviour)
        except msgspec.ValidationError as error:
            raise problems.invalid(("", str(error))) from error
        for name in Behaviour.__struct_fields__:
            setattr(behaviour, name, getattr(wanted, name))
        return _json(msgspec.to_builtins(behaviour))

    async def go_wrong(self, request: web.Request) -> web.Response:
        self._faults.apply(await self._read(request, FaultsCommand))
        return _json(self._faults.describe())

    async def go_right(self, request: web.Request) -> web.Response:
        self._faults.clear()
        return _json(self._faults.describe())

    async def audience(self, request: web.Request) -> web.Response:
        new = await self._read(request, NewAudience)
        self._account.add_audience(new.id, new.name)
        return _json(msgspec.to_builtins(new))

    async def members(self, request: web.Request) -> web.Response:
        total = add_members(self._account, request.match_info["list"], await self._read(request, NewMembers))
        return _json({"members": total})

    async def happening(self, request: web.Request) -> web.Response:
        happen(self._account, request.match_info["list"], await self._read(request, Happening))
        return _json({})

    async def tags(self, request: web.Request) -> web.Response:
        audience = self._account.audience(request.match_info["list"])
        names = [segment.name for segment in audience.segments.values() if segment.type == "static"]
        return _json({"tags": {name: sorted(audience.tagged(name)) for name in names}})

    async def tag_by_hand(self, request: web.Request) -> web.Response:
        """Deleting a tag in the web app."""
        audience = self._account.audience(request.match_info["list"])
        found = audience.tag_ids.get(tag_key(request.match_info["tag"]))
        if found is None:
            raise problems.not_found()
        self._account.tags.delete(audience, audience.segments[found], "sandbox")
        return _json({})

    async def disable_webhook(self, request: web.Request) -> web.Response:
        """Mailchimp may disable or drop a webhook at its discretion; `?drop=1` takes it off the list."""
        webhooks = self._account.audience(request.match_info["list"]).webhooks
        webhook = webhooks.get(request.match_info["webhook"])
        if webhook is None:
            raise problems.not_found()
        webhook.disabled = True
        if request.query.get("drop"):
            del webhooks[webhook.id]
        return _json({})

    async def calls(self, request: web.Request) -> web.Response:
        return _json({"calls": [asdict(seen) for seen in self._edge.seen]})

    async def deliveries(self, request: web.Request) -> web.Response:
        """`?settled=1` waits until each one was delivered or given up."""
        if request.query.get("settled"):
            await self._account.sender.settled()
        return _json({"deliveries": [delivery.as_json() for delivery in self._account.sender.deliveries]})

    async def keys(self, request: web.Request) -> web.Response:
        change = await self._read(request, KeyChange)
        self._account.keys.update(change.add)
        self._account.keys.difference_update(change.revoke)
        self._account.tokens.difference_update(change.revoke)
        return _json({})

    async def oauth_client(self, request: web.Request) -> web.Response:
        new = await self._read(request, NewOAuthClient)
        self._account.oauth_clients[new.id] = OAuthClient(new.secret, new.redirect_uris)
        return _json({})


def _json(body: Any) -> web.Response:
    return web.Response(body=msgspec.json.encode(body), content_type="application/json")


def routes(account: Account, edge: Edge, faults: Faults) -> list[web.RouteDef]:
    here, one = Control(account, edge, faults), "/_sandbox/audiences/{list}"
    return [
        web.get("/_sandbox/state", here.state),
        web.patch("/_sandbox/behaviour", here.behave),
        web.post("/_sandbox/faults", here.go_wrong),
        web.delete("/_sandbox/faults", here.go_right),
        web.post("/_sandbox/audiences", here.audience),
        web.post(one + "/members", here.members),
        web.post(one + "/happenings", here.happening),
        web.get(one + "/tags", here.tags),
        web.delete(one + "/tags/{tag}", here.tag_by_hand),
        web.post(one + "/webhooks/{webhook}/disable", here.disable_webhook),
        web.get("/_sandbox/calls", here.calls),
        web.get("/_sandbox/deliveries", here.deliveries),
        web.post("/_sandbox/keys", here.keys),
        web.post("/_sandbox/oauth-clients", here.oauth_client),
    ]
