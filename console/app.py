"""The console as an ASGI application: routes, the guard before them, and the watch that lives as long as it does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from console.connect_pages import ConnectPages
from console.guard import Cookie, Guard
from console.jobs import Jobs
from console.letter_pages import LetterPages
from console.login_pages import LoginPages
from console.overview_pages import OverviewPages
from console.sessions import Doorkeeper
from console.trace_pages import TracePages
from console.views import FOLDER, Views
from console.watch import Watch
from listwire.settings import Settings
from vendors.access import CALLBACK


def make_app(settings: Settings, doorkeeper: Doorkeeper, watch: Watch, *, port: int = 0) -> Starlette:
    """`port` goes into the cookie's name: cookies know no ports, and two consoles on one machine must not share one."""
    public = settings.console.public_url
    cookie = Cookie(f"listwire_console_{port}", secure=bool(public and public.startswith("https:")))
    views = Views(watch)
    jobs = Jobs(watch.clock)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with watch.running():
            yield
        await jobs.stop()

    async def refused(request: Request, fault: Exception) -> Response:
        status = fault.status_code if isinstance(fault, HTTPException) else 500
        title, words = ("Not here", "There is no such page, or what it showed is gone.")
        if status != 404:
            title, words = ("Not like this", "This address takes something else.")
        return views.page(request, "fault", status=status, title=title, words=words)

    app = Starlette(
        routes=[
            *LoginPages(views, doorkeeper, cookie).routes(),
            *OverviewPages(views).routes(),
            *LetterPages(views, jobs).routes(),
            *TracePages(views, jobs).routes(),
            *ConnectPages(
                views, jobs, doorkeeper, callback=f"{public or f'http://127.0.0.1:{port}'}{CALLBACK}"
            ).routes(),
            Mount("/static", StaticFiles(directory=FOLDER / "static")),
        ],
        middleware=[Middleware(Guard, doorkeeper=doorkeeper, cookie=cookie, public_origin=public)],
        exception_handlers={HTTPException: refused},
        lifespan=lifespan,
    )
    app.state.jobs = jobs
    return app
