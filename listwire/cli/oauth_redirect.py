"""Where Mailchimp's login sends a browser back to, for the command line: one page on 127.0.0.1, until it was answered right.

Only an answer with our state counts, once; whatever else comes is told that it does not, and changes nothing.
"""

from __future__ import annotations

import asyncio
import errno
import hmac
import secrets
from types import TracebackType
from typing import Final, Self

from aiohttp import web

from listwire.errors import ListwireError, SettingsError

WITHIN: Final = 600.0
LONGEST: Final = 500
_PAGE: Final = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Listwire</title></head>
<body><h1>{title}</h1><p>{words}</p></body></html>"""
_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
}


class Redirect:
    """Use as an async context. `uri` is the redirect URI, `state` goes with it; `answer` waits for what Mailchimp says."""

    def __init__(self, port: int, path: str) -> None:
        self.port = port
        self.path = path
        self.state = secrets.token_urlsafe(32)
        self._answer: asyncio.Future[dict[str, str]] | None = None
        self._runner: web.AppRunner | None = None

    @property
    def uri(self) -> str:
        """Mailchimp: a loopback address says 127.0.0.1, not localhost."""
        return f"http://127.0.0.1:{self.port}{self.path}"

    async def answer(self, within: float = WITHIN) -> dict[str, str]:
        """`code`, or `error` and its description. Raises `ListwireError` when nobody comes."""
        assert self._answer is not None  # noqa: S101 - made at the start
        try:
            return await asyncio.wait_for(self._answer, within)
        except TimeoutError:
            raise ListwireError("Nobody came back from Mailchimp's login. Nothing was changed; begin again.") from None

    async def _came(self, request: web.Request) -> web.Response:
        assert self._answer is not None  # noqa: S101 - made at the start
        given = {name: value[:LONGEST] for name, value in request.query.items()}
        state = given.get("state", "").encode("utf-8", "surrogatepass")
        if self._answer.done() or not hmac.compare_digest(state, self.state.encode()):
            return _page("Not this one", "This is not the answer that is waited for, or it was used already.", 403)
        self._answer.set_result(given)
        if given.get("error"):
            return _page("Not connected", "Nothing was changed. You can close this page.")
        return _page("Back at Listwire", "It goes on in the terminal. You can close this page.")

    async def __aenter__(self) -> Self:
        self._answer = asyncio.get_running_loop().create_future()
        app = web.Application()
        app.router.add_get(self.path, self._came)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", self.port).start()
        except OSError as fault:
            await runner.cleanup()
            if fault.errno != errno.EADDRINUSE:
                raise SettingsError(
                    f"127.0.0.1:{self.port} cannot be listened on: {fault.strerror or fault}."
                ) from None
            raise SettingsError(
                f"127.0.0.1:{self.port} is taken, by the console perhaps: press Connect there, stop it, or name another --port "
                "that is registered as the app's redirect URI."
            ) from None
        self._runner = runner
        self.port = runner.addresses[0][1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._runner is not None:
            await self._runner.cleanup()


def _page(title: str, words: str, status: int = 200) -> web.Response:
    return web.Response(
        text=_PAGE.format(title=title, words=words), status=status, content_type="text/html", headers=_HEADERS
    )
