"""Mailchimp's OAuth 2: the page with the Allow button, the token, and the metadata that names the datacenter.

Mailchimp's tokens never expire and have no scopes and no refresh; one that fails was revoked. A redirect to a loopback
address must say 127.0.0.1, not localhost.
"""

from __future__ import annotations

import html
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit

import orjson
from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sandbox.mailchimp.account import Account

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title></head><body><h1>{title}</h1>{body}</body></html>"""
_FORM = """<p>{client} wants to use the Mailchimp account <strong>Sandbox</strong>.</p>
<form method="post" action="/oauth2/authorize">{fields}
<p><label>User name <input name="username" autocomplete="off" value="owner"></label></p>
<p><label>Password <input name="password" type="password" autocomplete="off"></label> (this is a stand-in: any will do)</p>
<p><button type="submit" id="allow">Log in and allow</button> <button type="submit" id="cancel" name="cancel" value="1">Cancel</button></p></form>"""


@dataclass
class _Grant:
    client_id: str
    redirect_uri: str
    expires: float


def _json(body: Mapping[str, object], status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(body), status=status, content_type="application/json")


def _page(title: str, body: str, status: int = 200) -> web.Response:
    return web.Response(text=_PAGE.format(title=html.escape(title), body=body), status=status, content_type="text/html")


class OAuthRoutes:
    def __init__(self, account: Account) -> None:
        self._account = account
        self._grants: dict[str, _Grant] = {}

    def _refusal(self, query: Mapping[str, str]) -> str:
        """Why this authorization request is wrong; empty where it is right."""
        client = self._account.oauth_clients.get(query.get("client_id", ""))
        if client is None:
            return "Unknown client_id."
        if query.get("response_type") != "code":
            return "response_type must be code."
        redirect = query.get("redirect_uri", "")
        parts = urlsplit(redirect)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            return "redirect_uri is not a URL."
        if parts.hostname == "localhost":
            return "Use 127.0.0.1 instead of localhost in redirect_uri."
        if client.redirect_uris and redirect not in client.redirect_uris:
            return "redirect_uri does not match the one that was registered."
        return ""

    async def ask(self, request: web.Request) -> web.Response:
        if refusal := self._refusal(request.query):
            return _page("Error", f"<p>{html.escape(refusal)}</p>", 400)
        names = ("response_type", "client_id", "redirect_uri", "state")
        fields = "".join(
            f'<input type="hidden" name="{name}" value="{html.escape(request.query[name])}">'
            for name in names
            if name in request.query
        )
        return _page(
            "Connect to Mailchimp", _FORM.format(client=html.escape(request.query["client_id"]), fields=fields)
        )

    async def allow(self, request: web.Request) -> web.Response:
        given = {name: str(value) for name, value in (await request.post()).items()}
        if refusal := self._refusal(given):
            return _page("Error", f"<p>{html.escape(refusal)}</p>", 400)
        if given.get("cancel"):
            answer = {"error": "access_denied", "error_description": "The user denied the request"}
        else:
            answer = {"code": secrets.token_hex(16)}
            expires = self._account.clock() + 60
            self._grants[answer["code"]] = _Grant(given["client_id"], given["redirect_uri"], expires)
        query = {**answer, **({"state": given["state"]} if "state" in given else {})}
        separator = "&" if urlsplit(given["redirect_uri"]).query else "?"
        return web.Response(status=302, headers={"Location": given["redirect_uri"] + separator + urlencode(query)})

    async def token(self, request: web.Request) -> web.Response:
        """A code is good once, for a minute, for the client and the redirect_uri it was given to."""
        form = {name: str(value) for name, value in (await request.post()).items()}
        client = self._account.oauth_clients.get(form.get("client_id", ""))
        if client is None or not secrets.compare_digest(client.secret, form.get("client_secret", "")):
            return _json({"error": "invalid_client", "error_description": "The client credentials are invalid"}, 400)
        if form.get("grant_type") != "authorization_code":
            return _json({"error": "unsupported_grant_type", "error_description": "Invalid grant_type parameter"}, 400)
        grant = self._grants.pop(form.get("code", ""), None)
        if (
            grant is None
            or grant.client_id != form["client_id"]
            or grant.redirect_uri != form.get("redirect_uri")
            or grant.expires < self._account.clock()
        ):
            return _json({"error": "invalid_grant", "error_description": "Invalid or expired code"}, 400)
        return _json({"access_token": self._account.new_token(), "expires_in": 0, "scope": None})

    async def metadata(self, request: web.Request) -> web.Response:
        """`api_endpoint` is this stand-in, so that whoever connects through it also calls it."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme not in ("OAuth", "Bearer") or token not in self._account.tokens:
            return _json({"error": "invalid_token", "error_description": "The access token is invalid"}, 401)
        return _json(
            {
                "dc": self._account.datacenter,
                "role": "owner",
                "accountname": "Sandbox",
                "user_id": 1234567,
                "login": {
                    "email": "owner@example.com",
                    "avatar": None,
                    "login_id": 7654321,
                    "login_name": "sandbox",
                    "login_email": "owner@example.com",
                },
                "login_url": f"{self._account.url}/oauth2",
                "api_endpoint": self._account.url,
            }
        )


def routes(account: Account) -> list[web.RouteDef]:
    here = OAuthRoutes(account)
    return [
        web.get("/oauth2/authorize", here.ask),
        web.post("/oauth2/authorize", here.allow),
        web.post("/oauth2/token", here.token),
        web.get("/oauth2/metadata", here.metadata),
    ]
