"""What opens a Mailchimp account: from its login (OAuth 2) or an API key to a table of the settings and the account's audiences.

A token or a key stands in a SecretStr and in no error. A data centre is checked before it becomes part of a host: whatever the
login service says, it can lead nowhere but to Mailchimp.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import SecretStr

from listwire.errors import ListwireError, SettingsError, VendorRefused, VendorUnavailable
from listwire.redaction import Redactor
from listwire.settings import Settings
from listwire.settings.people import Connect
from listwire.settings.values import DATACENTER
from vendors.accounts import mailchimp
from vendors.mailchimp import Audience, Mailchimp, authorize_url, exchange_code, metadata

MOST_AUDIENCES = 1000
CALLBACK = "/connect/callback"
"""The path of the redirect URI, the console's and the command's: one registered app serves both."""


@dataclass(frozen=True)
class Access:
    """`account`: the name of the `[mailchimp.NAME]` it came from, or None for a new one; `title` is Mailchimp's own name of it."""

    title: str
    audiences: tuple[Audience, ...]
    account: str | None = None
    api_key: SecretStr | None = None
    access_token: SecretStr | None = None
    datacenter: str = ""
    base_url: str | None = None

    def table(self) -> dict[str, Any]:
        """The keys of a `[mailchimp.NAME]`, secrets in plain text: for the file alone."""
        secret = {"api_key": self.api_key, "access_token": self.access_token}
        found: dict[str, Any] = {key: value.get_secret_value() for key, value in secret.items() if value}
        if self.datacenter:
            found["datacenter"] = self.datacenter
        if self.base_url:
            found["base_url"] = self.base_url
        return found

    def audience(self, id_: str) -> Audience | None:
        return next((each for each in self.audiences if each.id == id_), None)


def login_page(connect: Connect, redirect_uri: str, state: str) -> str:
    """Mailchimp's page with the *Allow* button. Raises `SettingsError` where no app is registered."""
    client_id, _ = _client(connect)
    return authorize_url(client_id, redirect_uri, state, login_url=connect.login_url)


def denied(answer: Mapping[str, str]) -> str:
    """What Mailchimp sent back instead of a code, as a sentence; empty where there is a code."""
    if answer.get("code") and not answer.get("error"):
        return ""
    error = answer.get("error", "")
    if error == "access_denied":
        return "Mailchimp was not allowed to open the account: somebody pressed Cancel. Nothing was changed."
    words = answer.get("error_description") or error or "it sent no code"
    return f"Mailchimp did not open the account: {words[:200]}. Nothing was changed."


async def by_code(connect: Connect, code: str, redirect_uri: str) -> Access:
    """The code of the redirect, for a token. Raises `ListwireError` with a way out."""
    client_id, client_secret = _client(connect)
    secret = client_secret.get_secret_value()
    try:
        token = await exchange_code(
            client_id=client_id, client_secret=secret, redirect_uri=redirect_uri, code=code,
            login_url=connect.login_url, timeout=15.0,
        )  # fmt: skip
    except VendorRefused as fault:
        raise ListwireError(_refused(fault, redirect_uri)) from None
    whose = await metadata(token, login_url=connect.login_url, timeout=15.0)
    if not DATACENTER.match(whose.dc):
        raise ListwireError(
            "Mailchimp's login service names a data centre that is none (like us6). Nothing was asked there, and nothing was kept."
        )
    base_url = connect.api_url
    root = base_url or f"https://{whose.dc}.api.mailchimp.com"
    async with Mailchimp(root, access_token=token, timeout=15.0) as client:
        audiences = await _audiences(client, token)
    title = whose.accountname or (whose.login.login_email if whose.login else "")
    return Access(title, audiences, access_token=SecretStr(token), datacenter=whose.dc, base_url=base_url)


def _refused(fault: VendorRefused, redirect_uri: str) -> str:
    words = fault.detail.lower()
    if "client" in words:
        return (
            f"Mailchimp refuses the app: {fault.detail}. Compare connect.client_id and connect.client_secret with those of "
            "Account, Extras, Registered apps."
        )
    return f"Mailchimp refuses the login: {fault.detail}. Begin again; the app's redirect URI at Mailchimp must be exactly {redirect_uri}"


async def by_key(connect: Connect, key: str) -> Access:
    """An API key, checked. Raises `ListwireError` with a way out; never repeats the key."""
    key = key.strip()
    datacenter = key.rpartition("-")[2] if "-" in key else ""
    if not DATACENTER.match(datacenter):
        raise ListwireError(
            "A Mailchimp API key ends with its data centre (…-us6), and none is there: copy the whole key."
        )
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ListwireError("A Mailchimp API key holds no spaces or special letters: copy it again.")
    root = connect.api_url or f"https://{datacenter}.api.mailchimp.com"
    async with Mailchimp(root, api_key=key, timeout=15.0) as client:
        audiences = await _audiences(client, key)
    return Access("", audiences, api_key=SecretStr(key), base_url=connect.api_url)


async def by_account(settings: Settings, account: str) -> Access:
    """An account that the settings hold already."""
    if account not in settings.mailchimp:
        known = ", ".join(settings.mailchimp) or "none"
        raise SettingsError(f"There is no Mailchimp account {account!r} in the settings; known are {known}.")
    async with mailchimp(settings, account) as client:
        return Access(account, await _audiences(client, ""), account=account)


async def _audiences(client: Mailchimp, secret: str) -> tuple[Audience, ...]:
    found: list[Audience] = []
    try:
        async for audience in client.lists():
            found.append(audience)
            if len(found) >= MOST_AUDIENCES:
                break
    except VendorRefused as fault:
        raise ListwireError(f"Mailchimp refuses this key or login: {Redactor([secret])(fault.detail)}") from None
    except VendorUnavailable as fault:
        raise ListwireError(
            f"Mailchimp does not answer: {Redactor([secret])(fault.detail)} Try again in a moment."
        ) from None
    return tuple(found)


def _client(connect: Connect) -> tuple[str, SecretStr]:
    if connect.client_id is None or connect.secret is None:
        raise SettingsError(
            "Mailchimp's login needs an app of your own: register one at Mailchimp (Account, Extras, Registered apps), and write "
            'under [connect]: client_id = "…" and client_secret = "…". An API key needs none of it.'
        )
    return connect.client_id, connect.secret
