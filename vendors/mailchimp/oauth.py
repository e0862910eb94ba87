"""Connecting a Mailchimp account with OAuth 2: where to send the person, the code for a token, whose account it is.

Mailchimp's tokens never expire, have no scopes and no refresh; one that fails was revoked. Secrets travel in bodies and
headers, never in a URL, and never stand in an error.
"""

from __future__ import annotations

import asyncio
from typing import TypeVar
from urllib.parse import urlencode

import httpx
import msgspec

from listwire.errors import VendorRefused, VendorUnavailable
from listwire.redaction import Redactor
from vendors.mailchimp.problems import VENDOR

T = TypeVar("T")
LOGIN = "https://login.mailchimp.com"


class Login(msgspec.Struct):
    email: str = ""
    login_email: str = ""


class Metadata(msgspec.Struct):
    """`dc` is the datacenter (make it a host with `base_url_for`); `api_endpoint` the root in front of `/3.0`."""

    dc: str
    api_endpoint: str = ""
    accountname: str = ""
    login_url: str = ""
    role: str = ""
    user_id: int | None = None
    login: Login | None = None


class _Token(msgspec.Struct):
    access_token: str


class _Refusal(msgspec.Struct):
    error: str = ""
    error_description: str = ""


def authorize_url(client_id: str, redirect_uri: str, state: str, *, login_url: str = LOGIN) -> str:
    """Where the person presses Allow. Mailchimp: a loopback `redirect_uri` says 127.0.0.1, not localhost.

    `state` comes back with the code: whoever receives it must compare it with the one that was sent.
    """
    query = {"response_type": "code", "client_id": client_id, "redirect_uri": redirect_uri, "state": state}
    return f"{login_url.rstrip('/')}/oauth2/authorize?{urlencode(query)}"


async def exchange_code(
    *,
    client_id: str,
    client_secret: str,
    redirect_uri: str,
    code: str,
    login_url: str = LOGIN,
    timeout: float = 30.0,
    transport: httpx.AsyncBaseTransport | None = None,
) -> str:
    """The access token. Raises `VendorRefused` where the code, the client or the redirect is not accepted."""
    form = {
        "grant_type": "authorization_code",
        "client_id": client_id,
        "client_secret": client_secret,
        "redirect_uri": redirect_uri,
        "code": code,
    }
    request = httpx.Request("POST", f"{login_url.rstrip('/')}/oauth2/token", data=form)
    return (await _ask(request, _Token, (client_secret, code), timeout, transport)).access_token


async def metadata(
    access_token: str,
    *,
    login_url: str = LOGIN,
    timeout: float = 30.0,
    transport: httpx.AsyncBaseTransport | None = None,
) -> Metadata:
    """Whose account the token opens. Raises `VendorRefused` where the token was revoked."""
    headers = {"authorization": f"OAuth {access_token}"}
    request = httpx.Request("GET", f"{login_url.rstrip('/')}/oauth2/metadata", headers=headers)
    return await _ask(request, Metadata, (access_token,), timeout, transport)


async def _ask(
    request: httpx.Request,
    kind: type[T],
    secrets: tuple[str, ...],
    timeout: float,
    transport: httpx.AsyncBaseTransport | None,
) -> T:
    redact = Redactor(secrets)
    try:
        async with (
            asyncio.timeout(timeout),
            httpx.AsyncClient(transport=transport, timeout=timeout, trust_env=False) as http,
        ):
            answer = await http.send(request)
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.UnsupportedProtocol) as fault:
        raise _no_answer(fault, "connect", redact, may_have_happened=False) from None
    except (httpx.TimeoutException, TimeoutError) as fault:
        raise _no_answer(fault, "timeout", redact, may_have_happened=True) from None
    except (httpx.HTTPError, httpx.InvalidURL) as fault:
        raise _no_answer(fault, "reset", redact, may_have_happened=True) from None
    if answer.status_code >= 500 or answer.status_code == 429:
        words = f"the login service answered {answer.status_code}"
        raise VendorUnavailable(VENDOR, answer.status_code, words, cause=str(answer.status_code))
    try:
        if answer.is_success:
            return msgspec.json.decode(answer.content, type=kind)
        refusal = msgspec.json.decode(answer.content, type=_Refusal)
    except msgspec.MsgspecError:
        # The body may hold the token, so it is not quoted.
        raise VendorRefused(
            VENDOR, answer.status_code, "the login service's answer is not what was asked for"
        ) from None
    words = refusal.error_description or refusal.error or "the login service refused"
    raise VendorRefused(VENDOR, answer.status_code, redact(words))


def _no_answer(fault: Exception, cause: str, redact: Redactor, *, may_have_happened: bool) -> VendorUnavailable:
    words = redact(f"{type(fault).__name__}: {fault}".rstrip(": "))
    return VendorUnavailable(VENDOR, 0, words, cause=cause, may_have_happened=may_have_happened)
