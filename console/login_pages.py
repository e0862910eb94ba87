"""The door: a form for the token, an address that opens once, and the way out."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from console.guard import Cookie
from console.sessions import Doorkeeper, Session
from console.views import Views
from listwire import logs
from listwire.spoken import duration

log = logs.get("listwire.console")


class LoginPages:
    def __init__(self, views: Views, doorkeeper: Doorkeeper, cookie: Cookie) -> None:
        self.views = views
        self.doorkeeper = doorkeeper
        self.cookie = cookie

    def routes(self) -> list[Route]:
        return [
            Route("/login", self.form, methods=["GET"]),
            Route("/login", self.enter, methods=["POST"]),
            Route("/login/{word}", self.link, methods=["GET"]),
            Route("/logout", self.leave, methods=["POST"]),
        ]

    async def form(self, request: Request) -> Response:
        if request.scope["session"] is not None:
            return RedirectResponse("/", 303)
        return self._form(request)

    async def enter(self, request: Request) -> Response:
        address = request.client.host if request.client else ""
        wait = self.doorkeeper.brake.wait(address)
        if wait > 0:
            answer = self._form(request, f"Too many wrong tokens. Try again in {duration(max(1.0, wait))}.", 429)
            answer.headers["Retry-After"] = str(int(wait) + 1)
            return answer
        session = self.doorkeeper.open_by_token(request.scope["form"].get("token", "").strip())
        if session is None:
            self.doorkeeper.brake.failed(address)
            log.warning("a wrong token was entered", address=address)
            return self._form(request, "This is not the token. It is console.token in the settings.", 403)
        return self._in(request, session)

    async def link(self, request: Request) -> Response:
        """The word is random and good once, so guesses are braked like tokens."""
        address = request.client.host if request.client else ""
        if self.doorkeeper.brake.wait(address) > 0:
            return RedirectResponse("/login", 303)
        session = self.doorkeeper.open_by_link(request.path_params["word"])
        if session is None:
            self.doorkeeper.brake.failed(address)
            return self._form(request, "This address was used already, or is too old. Enter the token.", 403)
        return self._in(request, session)

    async def leave(self, request: Request) -> Response:
        session: Session = request.scope["session"]
        self.doorkeeper.close(session.id)
        answer = RedirectResponse("/login", 303)
        self.cookie.remove(answer, request)
        return answer

    def _in(self, request: Request, session: Session) -> Response:
        old: Session | None = request.scope["session"]
        if old is not None:
            self.doorkeeper.close(old.id)
        answer = RedirectResponse("/", 303)
        self.cookie.put(answer, request, session)
        return answer

    def _form(self, request: Request, fault: str = "", status: int = 200) -> Response:
        return self.views.page(request, "login", status=status, fault=fault, form_token=self.doorkeeper.form_token())
