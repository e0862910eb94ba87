"""Stands in front of every page: who may see it, what a browser may do with it, and that a form came from a page of ours.

Nothing behind it runs for a stranger, and nothing is changed by a GET. No header, cookie or form is ever logged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from console.forms import read_form
from console.sessions import Doorkeeper, Session, same
from listwire import logs

CSP: Final = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS: Final = {
    "Content-Security-Policy": CSP,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not no-referrer: browsers would then send "Origin: null" with our own forms.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
# The callback is where Mailchimp sends a browser back to: from another site, so without our cookie. It shows a link onwards.
OPEN: Final = ("/login", "/static/", "/healthz", "/connect/callback")
SAFE: Final = frozenset({"GET", "HEAD"})

log = logs.get("listwire.console")


@dataclass(frozen=True)
class Cookie:
    """`secure`: sent over TLS only; told by the settings, or by the proxy for this request."""

    name: str
    secure: bool

    def put(self, response: Response, request: Request, session: Session) -> None:
        response.set_cookie(
            self.name, session.id, path="/", httponly=True, samesite="strict", secure=self.secure or _over_tls(request)
        )

    def remove(self, response: Response, request: Request) -> None:
        response.delete_cookie(
            self.name, path="/", httponly=True, samesite="strict", secure=self.secure or _over_tls(request)
        )


class Guard:
    """`public_origin`: the origin people see where a proxy changes the Host header, or None."""

    def __init__(self, app: ASGIApp, doorkeeper: Doorkeeper, cookie: Cookie, public_origin: str | None) -> None:
        self.app = app
        self.doorkeeper = doorkeeper
        self.cookie = cookie
        self.public_origin = public_origin

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope, receive)
        try:
            refused = await self._refused(request)
        except HTTPException as fault:
            refused = PlainTextResponse(f"{fault.detail}\n", fault.status_code)
        dressed = _Dressed(send, request.url.path)
        try:
            await (refused or self.app)(scope, receive, dressed)
        except Exception:  # a guard: the person must get an answer, and one with our headers
            log.exception("a page of the console failed")
            if not dressed.started:
                await PlainTextResponse("That did not work; the console's log says more.\n", 500)(
                    scope, receive, dressed
                )

    async def _refused(self, request: Request) -> Response | None:
        path = request.url.path
        session = self.doorkeeper.session(request.cookies.get(self.cookie.name, ""))
        request.scope["session"] = session
        if request.method not in SAFE and request.method != "POST":
            return PlainTextResponse("GET and POST only.\n", 405, {"Allow": "GET, HEAD, POST"})
        if session is None and not path.startswith(OPEN):
            return RedirectResponse("/login", 303)
        if request.method == "POST":
            return await self._forged(request, session)
        return None

    async def _forged(self, request: Request, session: Session | None) -> Response | None:
        if not self._from_here(request.headers):
            return PlainTextResponse("This form was not sent by a page of this console.\n", 403)
        request.scope["form"] = form = await read_form(request)
        token = form.get("csrf", "")
        good = self.doorkeeper.is_form_token(token) if session is None else same(token, session.csrf)
        if session is not None and not good and request.url.path == "/login":
            good = self.doorkeeper.is_form_token(token)
        return (
            None
            if good
            else PlainTextResponse("This page is too old: go back, load it again, and send it once more.\n", 403)
        )

    def _from_here(self, headers: Headers) -> bool:
        """A browser names the origin of a form; what names none is no browser, and must know the CSRF token anyway."""
        if headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
            return False
        origin = headers.get("origin")
        if origin is None:
            return True
        if self.public_origin is not None and origin == self.public_origin:
            return True
        found = urlsplit(origin)
        return found.scheme in {"http", "https"} and bool(found.netloc) and found.netloc == headers.get("host")


def _over_tls(request: Request) -> bool:
    """A proxy's word suffices: who forges it only loses their own cookie."""
    return request.url.scheme == "https" or _first(request, "x-forwarded-proto") == "https"


def _first(request: Request, name: str) -> str:
    return request.headers.get(name, "").partition(",")[0].strip().lower()


class _Dressed:
    """Sends with our headers."""

    def __init__(self, send: Send, path: str) -> None:
        self.send = send
        self.kept = path.startswith("/static/")
        self.started = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            headers: Any = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers[name] = value
            headers["Cache-Control"] = "no-cache" if self.kept else "no-store"
        await self.send(message)
