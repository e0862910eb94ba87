"""`/3.0/lists/{list}/webhooks…`: a URL is checked with a bare GET before it is saved, and each URL is saved once."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from aiohttp import web

from sandbox.mailchimp import bodies, problems
from sandbox.mailchimp.audience import Webhook
from sandbox.mailchimp.rules import webhook_url_key
from sandbox.mailchimp.views import answer, link, webhook_json

if TYPE_CHECKING:
    from sandbox.mailchimp.account import Account
    from sandbox.mailchimp.audience import Audience

EVENTS = ("subscribe", "unsubscribe", "profile", "cleaned", "upemail", "campaign")
SOURCES = ("user", "admin", "api")


class WebhookRoutes:
    def __init__(self, account: Account) -> None:
        self._account = account

    def _found(self, request: web.Request) -> tuple[Audience, Webhook]:
        audience = self._account.audience(request.match_info["list"])
        webhook = audience.webhooks.get(request.match_info["webhook"])
        if webhook is None:
            raise problems.not_found()
        return audience, webhook

    async def _usable(self, audience: Audience, url: str, but: str = "") -> None:
        if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
            raise problems.invalid(("url", "This value is not a valid URL."))
        self._unique(audience, url, but)
        status = await self._account.sender.verify(url)
        if status != 200:
            raise problems.webhook_not_working(status)
        self._unique(audience, url, but)  # again: another call may have saved it during the check

    def _unique(self, audience: Audience, url: str, but: str) -> None:
        same = (hook for hook in audience.webhooks.values() if webhook_url_key(hook.url) == webhook_url_key(url))
        if any(hook.id != but for hook in same):
            raise problems.same_webhook_url()

    async def many(self, request: web.Request) -> web.Response:
        audience, root = self._account.audience(request.match_info["list"]), self._account.root
        shown = [webhook_json(audience, webhook, root) for webhook in audience.webhooks.values()]
        links = [link("self", f"{root}/lists/{audience.id}/webhooks")]
        return answer(request, {"webhooks": shown, "list_id": audience.id, "total_items": len(shown), "_links": links})

    async def create(self, request: web.Request) -> web.Response:
        """What a call leaves out of `events` and `sources` is off: the real default is not documented."""
        audience = self._account.audience(request.match_info["list"])
        body = await bodies.json_body(request)
        url = bodies.text(body, "url", required=True) or ""
        events, sources = bodies.switches(body, "events", EVENTS), bodies.switches(body, "sources", SOURCES)
        await self._usable(audience, url)
        webhook = Webhook(
            secrets.token_hex(5),
            url,
            dict.fromkeys(EVENTS, False) | events,
            dict.fromkeys(SOURCES, False) | sources,
            secrets.token_hex(24) if self._account.behaviour.signing else "",
        )
        audience.webhooks[webhook.id] = webhook
        return answer(request, webhook_json(audience, webhook, self._account.root, show_secret=True))

    async def one(self, request: web.Request) -> web.Response:
        return answer(request, webhook_json(*self._found(request), self._account.root))

    async def patch(self, request: web.Request) -> web.Response:
        audience, webhook = self._found(request)
        body = await bodies.json_body(request)
        url = bodies.text(body, "url")
        events, sources = bodies.switches(body, "events", EVENTS), bodies.switches(body, "sources", SOURCES)
        if url is not None and url != webhook.url:
            await self._usable(audience, url, but=webhook.id)
            webhook.url = url
        webhook.events.update(events)
        webhook.sources.update(sources)
        return answer(request, webhook_json(audience, webhook, self._account.root))

    async def delete(self, request: web.Request) -> web.Response:
        audience, webhook = self._found(request)
        del audience.webhooks[webhook.id]
        return web.Response(status=204)


def routes(account: Account) -> list[web.RouteDef]:
    here, many = WebhookRoutes(account), "/3.0/lists/{list}/webhooks"
    one = many + "/{webhook}"
    return [
        web.get(many, here.many),
        web.post(many, here.create),
        web.get(one, here.one),
        web.patch(one, here.patch),
        web.delete(one, here.delete),
    ]
