"""The stand-in as a server."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Self

from aiohttp import web

from listwire.errors import SandboxError
from sandbox.faults import Faults
from sandbox.mailchimp import (
    control,
    list_routes,
    member_routes,
    oauth_routes,
    segment_routes,
    webhook_routes,
)
from sandbox.mailchimp.account import Account
from sandbox.mailchimp.behaviour import Behaviour
from sandbox.mailchimp.edge import Edge, Seen

if TYPE_CHECKING:
    from collections import Counter, deque
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path
    from types import TracebackType

    from sandbox.mailchimp.audience import Audience
    from sandbox.mailchimp.sender import Delivery

API_KEY = "0123456789abcdef0123456789abcdef-us6"
"""Accepted where no other keys are given. It opens nothing but a stand-in."""

AUDIENCE = "a6b5da1054"
"""The audience there is where no others are given."""


class MailchimpStandIn:
    """One account of a Mailchimp that forgets everything when it ends, save its journal.

    Use as ``async with MailchimpStandIn() as mailchimp``; the API is at ``mailchimp.url + "/3.0"``. What it holds is in
    `audiences`, how it behaves in `behaviour`, what goes wrong in `faults`; both may be changed while it runs. `api_keys`
    None: every key is taken, of whatever data centre.
    """

    def __init__(
        self,
        api_keys: Iterable[str] | None = (API_KEY,),
        *,
        audiences: Mapping[str, str] | None = None,
        behaviour: Behaviour | None = None,
        latency: float = 0.0,
        journal: Path | None = None,
        clock: Callable[[], float] = time.time,
        seed: int = 0,
    ) -> None:
        self.behaviour = behaviour or Behaviour()
        self.faults = Faults(latency=latency, seed=seed)
        self.account = Account(api_keys, self.behaviour, journal, clock, seed)
        self._edge = Edge(self.account, self.faults)
        self._runner: web.AppRunner | None = None
        for audience_id, name in (audiences or {AUDIENCE: "Newsletter"}).items():
            self.account.add_audience(audience_id, name)

    # What it holds -------------------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """The root: `/3.0/…`, `/oauth2/…` and `/_sandbox/…` come after it."""
        return self.account.url

    @property
    def audiences(self) -> dict[str, Audience]:
        return self.account.audiences

    @property
    def audience(self) -> Audience:
        """The first one, for tests that need no other."""
        return next(iter(self.account.audiences.values()))

    @property
    def api_keys(self) -> set[str]:
        """Take a key out and it is refused; put it back and it works again."""
        return self.account.keys

    @property
    def max_connections_seen(self) -> int:
        return self._edge.max_seen

    @property
    def in_flight(self) -> int:
        return self._edge.in_flight

    @property
    def calls(self) -> Counter[str]:
        """How often each call was answered how: `POST /3.0/lists/a6b5da1054/segments/* 200`."""
        return self._edge.calls

    @property
    def seen(self) -> deque[Seen]:
        return self._edge.seen

    @property
    def deliveries(self) -> deque[Delivery]:
        """The webhooks sent, with every attempt's answer."""
        return self.account.sender.deliveries

    def happen(self, event: control.Happening, audience_id: str | None = None) -> None:
        """Somebody does something in Mailchimp: see `control.Happening`."""
        control.happen(self.account, audience_id or self.audience.id, event)

    async def webhooks_settled(self) -> None:
        await self.account.sender.settled()

    # Running -------------------------------------------------------------------------------------------------------

    def application(self) -> web.Application:
        app = web.Application(middlewares=[self._edge.middleware()], client_max_size=16 * 1024**2)
        for part in (list_routes, member_routes, segment_routes, webhook_routes, oauth_routes):
            app.add_routes(part.routes(self.account))
        app.add_routes(control.routes(self.account, self._edge, self.faults))
        return app

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> Self:
        runner = web.AppRunner(self.application(), access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            await runner.cleanup()
            raise SandboxError(
                f"the Mailchimp stand-in cannot listen on {host}:{port}: {error.strerror or error}"
            ) from error
        self._runner = runner
        shown = "127.0.0.1" if host in ("0.0.0.0", "") else host
        self.account.url = f"http://{shown}:{runner.addresses[0][1]}"
        return self

    async def stop(self) -> None:
        """Whatever hangs is let go first, else stopping would wait for it."""
        self.faults.release()
        await self.account.sender.stop()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        self.account.journal.close()

    async def __aenter__(self) -> Self:
        return self if self._runner is not None else await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()
