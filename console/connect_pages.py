"""*Connect*: an account, an audience, a project, and the source's webhook. Each step is a page; none needs a script.

Whoever comes back from Mailchimp's login must bring the state that this session was sent away with. Keys and tokens stay in this
process's memory until they stand in `connections.d/`; no page, address or log shows one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

from pydantic import SecretStr
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from console.jobs import Job, Jobs, TooMany
from console.sessions import Doorkeeper, Session
from console.views import Views
from listwire import logs
from listwire.errors import ListwireError
from vendors import access, connecting, webhooks
from vendors.access import Access
from vendors.mailchimp import Audience

KIND = "connect"
# What Mailchimp's redirect may carry on, and how much of each.
CARRIED = ("code", "state", "error", "error_description")
LONGEST = 500

log = logs.get("listwire.console")


@dataclass
class Draft:
    """An account that was opened, on its way to a connection."""

    access: Access
    audience: Audience | None = None


class ConnectPages:
    def __init__(self, views: Views, jobs: Jobs, doorkeeper: Doorkeeper, *, callback: str) -> None:
        """`callback`: the redirect URI, exactly as it is registered at Mailchimp."""
        self.views = views
        self.jobs = jobs
        self.doorkeeper = doorkeeper
        self.callback = callback

    def routes(self) -> list[Route]:
        return [
            Route("/connect", self.begin, methods=["GET"]),
            Route("/connect/login", self.leave, methods=["POST"]),
            Route(access.CALLBACK, self.bounce, methods=["GET"]),
            Route("/connect/return", self.come_back, methods=["GET"]),
            Route("/connect/key", self.key, methods=["POST"]),
            Route("/connect/account", self.account, methods=["POST"]),
            Route("/connect/webhook", self.again, methods=["POST"]),
            Route("/connect/{draft}/audience", self.audiences, methods=["GET"]),
            Route("/connect/{draft}/audience", self.choose_audience, methods=["POST"]),
            Route("/connect/{draft}/project", self.projects, methods=["GET"]),
            Route("/connect/{draft}/project", self.finish, methods=["POST"]),
            Route("/connect/{job}/webhook", self.wait, methods=["GET"]),
        ]

    # The account --------------------------------------------------------------------------------------------------

    async def begin(self, request: Request) -> Response:
        return self._begin(request)

    def _begin(self, request: Request, fault: str = "", status: int = 200) -> Response:
        settings = self.views.settings
        here = request.headers.get("host", "")
        home = self.callback.removesuffix(access.CALLBACK)
        return self.views.page(
            request,
            "connect",
            status=status,
            fault=fault,
            app=settings.connect.client_id is not None,
            callback=self.callback,
            # The cookie is this address's alone: whoever came by another name would be a stranger when Mailchimp sends them back.
            elsewhere=f"{home}/connect" if here != urlsplit(home).netloc else "",
            accounts=list(settings.mailchimp),
            public_url=settings.ingress.public_url,
        )

    async def leave(self, request: Request) -> Response:
        """A page that goes on to Mailchimp by itself: our policy lets no form's answer redirect to another site."""
        try:
            target = access.login_page(self.views.settings.connect, self.callback, self._send_away(request))
        except ListwireError as fault:
            return self._begin(request, str(fault), 400)
        return self.views.page(request, "connect_leave", target=target)

    def _send_away(self, request: Request) -> str:
        return self.doorkeeper.send_away(_session(request))

    async def bounce(self, request: Request) -> Response:
        """Mailchimp's redirect ends here, without our cookie, for it comes from another site. The page loads the next one, and
        that request is our own: it has the cookie. Nothing is believed here, and nothing done.
        """
        given = {name: request.query_params[name][:LONGEST] for name in CARRIED if name in request.query_params}
        return self.views.page(request, "connect_back", target=f"/connect/return?{urlencode(given)}")

    async def come_back(self, request: Request) -> Response:
        given = request.query_params
        if not self.doorkeeper.is_back(_session(request), given.get("state", "")):
            log.warning(
                "somebody came back from Mailchimp's login with a state that this session was not sent away with"
            )
            words = "This is not the answer to a login that you began here, or it was used already, or took over ten minutes. Begin again."
            return self._begin(request, words, 403)
        if words := access.denied(given):
            return self._begin(request, words, 403)
        try:
            found = await access.by_code(self.views.settings.connect, given["code"], self.callback)
        except ListwireError as fault:
            return self._begin(request, str(fault), 400)
        return self._opened(request, found)

    async def key(self, request: Request) -> Response:
        try:
            found = await access.by_key(self.views.settings.connect, request.scope["form"].get("key", ""))
        except ListwireError as fault:
            return self._begin(request, str(fault), 400)
        return self._opened(request, found)

    async def account(self, request: Request) -> Response:
        try:
            found = await access.by_account(self.views.settings, request.scope["form"].get("account", ""))
        except ListwireError as fault:
            return self._begin(request, self.views.watch.redact(str(fault)), 400)
        return self._opened(request, found)

    def _opened(self, request: Request, found: Access) -> Response:
        job = self.jobs.hold(KIND, _session(request).id, "Connect", Draft(found))
        return RedirectResponse(f"/connect/{job.id}/audience", 303)

    # The audience -------------------------------------------------------------------------------------------------

    async def audiences(self, request: Request) -> Response:
        return self._audiences(request, self._draft(request))

    def _audiences(self, request: Request, draft: Draft, fault: str = "") -> Response:
        connected: dict[str, list[str]] = {}
        for name, source in self.views.settings.sources.items():
            connected.setdefault(source.audience, []).append(f"{name} (to {source.amplitude})")
        return self.views.page(
            request, "connect_audience", status=400 if fault else 200, fault=fault, draft=draft, connected=connected
        )

    async def choose_audience(self, request: Request) -> Response:
        draft = self._draft(request)
        form = request.scope["form"]
        wanted = form.get("other", "").strip() or form.get("audience", "")
        draft.audience = draft.access.audience(wanted)
        if draft.audience is None:
            words = (
                "Choose an audience."
                if not wanted
                else "This account has no audience with that id: it is found under Audience, Settings."
            )
            return self._audiences(request, draft, words)
        return RedirectResponse(f"/connect/{request.path_params['draft']}/project", 303)

    # The project --------------------------------------------------------------------------------------------------

    async def projects(self, request: Request) -> Response:
        return self._projects(request, self._draft(request), {})

    def _projects(self, request: Request, draft: Draft, form: dict[str, str], fault: str = "") -> Response:
        if draft.audience is None:
            return RedirectResponse(f"/connect/{request.path_params['draft']}/audience", 303)
        settings = self.views.settings
        name = connecting.unique(connecting.slug(draft.audience.name, "audience"), settings.sources)
        return self.views.page(
            request,
            "connect_project",
            status=400 if fault else 200,
            fault=fault,
            draft=draft,
            projects=list(settings.amplitude),
            name=form.get("name", name),
            form=form,
            public_url=settings.ingress.public_url,
        )

    async def finish(self, request: Request) -> Response:
        draft = self._draft(request)
        form: dict[str, str] = request.scope["form"]
        if draft.audience is None:
            return self._projects(request, draft, form)
        project: connecting.Project | str = form.get("project", "")
        if not project:
            project = connecting.Project(
                form.get("new_name", "").strip(), SecretStr(form.get("new_key", "").strip()), form.get("region", "us")
            )
        try:
            made = await connecting.make(
                self.views.settings, draft.access, draft.audience, project, name=form.get("name", "").strip() or None
            )
        except ListwireError as fault:
            return self._projects(request, draft, form, self.views.watch.redact(str(fault)))
        self.views.watch.adopt(made.settings)
        log.info("a source was connected", source=made.source, audience=draft.audience.id, fresh=made.fresh)
        return self._hook(request, made.source)

    # The webhook --------------------------------------------------------------------------------------------------

    async def again(self, request: Request) -> Response:
        source = request.scope["form"].get("source", "")
        if source not in self.views.settings.sources:
            raise HTTPException(404)
        return self._hook(request, source)

    def _hook(self, request: Request, source: str) -> Response:
        async def work(job: Job) -> str:
            done = await webhooks.hooked(self.views.settings, source, tell=job.tell)
            if done.signing_secret:
                self.views.watch.adopt(self.views.settings.origin.load())
            return source

        try:
            job = self.jobs.start("webhook", _session(request).id, source, work)
        except TooMany as fault:
            return self._begin(request, str(fault), 503)
        return RedirectResponse(f"/connect/{job.id}/webhook", 303)

    async def wait(self, request: Request) -> Response:
        job = self.jobs.find(request.path_params["job"], "webhook", _session(request).id)
        if job is None:
            raise HTTPException(404)
        if job.finished and not job.fault:
            return RedirectResponse(f"/connections/sources.{job.title}", 303)
        return self.views.page(request, "connect_webhook", job=job, fault=self.views.watch.redact(job.fault))

    def _draft(self, request: Request) -> Draft:
        job = self.jobs.find(request.path_params["draft"], KIND, _session(request).id)
        if job is None:
            raise HTTPException(404)
        found: Any = job.result
        assert isinstance(found, Draft)  # noqa: S101 - of that kind there is nothing else
        return found


def _session(request: Request) -> Session:
    session: Session = request.scope["session"]
    return session
