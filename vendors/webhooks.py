"""Sources' webhooks over HTTP: made once the ingress knows the source, looked at for Prometheus, deleted in the end.

Mailchimp asks a webhook's URL with a GET before it saves it, and a worker that does not know a source makes dead letters of its
events: so a new source needs workers and an ingress that were started with it. Here is waited until the URL answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import httpx

from listwire import hooks, logs, metrics, redaction
from listwire.clock import Clock, SystemClock
from listwire.errors import ListwireError, SettingsError
from listwire.settings import Settings
from vendors.accounts import mailchimp

LOOK_EVERY = 2.0
# Mailchimp may reach a URL that this machine does not: so it is asked now and then although nobody answers here.
TRY_EVERY = 20.0
PATIENCE = 900.0
WATCH_EVERY = 300.0
# While one is not right; and how long it must be so.
LOOK_AGAIN = 15.0
GRACE = 60.0
AWAITED = "Waiting for an ingress that knows this source: restart the workers, then the ingress. `listwire up` does that by itself."

log = logs.get("listwire.hooks")


async def hooked(
    settings: Settings,
    name: str,
    *,
    tell: Callable[[str], None] | None = None,
    clock: Clock | None = None,
    patience: float = PATIENCE,
) -> hooks.Done:
    """Makes the source's webhook what it should be, once its URL answers; keeps the signing secret. Raises `ListwireError`."""
    clock = clock or SystemClock()
    url = hooks.wanted_url(settings, name)
    began = tried = clock.monotonic()
    async with (
        httpx.AsyncClient(timeout=5.0, trust_env=False) as http,
        mailchimp(settings, account_of(settings, name)) as client,
    ):
        if (await hooks.look(client, settings, name)).right:
            return hooks.Done(name, "nothing")
        while True:
            answers = await _answers(http, url)
            if answers or clock.monotonic() - tried >= TRY_EVERY:
                tried = clock.monotonic()
                try:
                    done = await hooks.ensure(client, settings, name)
                except hooks.Unreachable:
                    if answers or tried - began > patience:
                        raise
                else:
                    if done.signing_secret:
                        hooks.keep_signing_secret(settings, name, done.signing_secret)
                    return done
            if tell is not None:
                tell(AWAITED)
            await clock.sleep(LOOK_EVERY)


async def _answers(http: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await http.get(url)).status_code == 200
    except (httpx.HTTPError, httpx.InvalidURL):
        return False


def account_of(settings: Settings, name: str) -> str:
    """The account of a source. Raises `SettingsError` where it names none."""
    account = settings.sources[name].mailchimp
    if account is None:
        raise SettingsError(
            f'sources.{name}.mailchimp is missing: which account has the audience? Write: mailchimp = "{next(iter(settings.mailchimp), "acme")}"'
        )
    return account


class WebhookWatch:
    """Looks at every source's webhook, in turn, and sets `listwire_webhook_ok`. It changes nothing: `listwire hooks ensure` does.

    What is not right counts after a minute: a source that is being connected just now has no webhook yet.
    """

    def __init__(self, settings: Settings, *, clock: Clock | None = None) -> None:
        self.settings = settings
        self.clock = clock or SystemClock()
        self.redact = redaction.for_settings(settings)
        self._ok: dict[tuple[str, ...], float] = {}
        self._changed: dict[tuple[str, ...], float] = {}
        # Source → since when its webhook is not right.
        self._wrong: dict[str, float] = {}

    @property
    def names(self) -> list[str]:
        """Those that can be looked at: with an account, and where the URL is known that they should have."""
        public = self.settings.ingress.public_url is not None
        return [name for name, source in self.settings.sources.items() if public and source.mailchimp is not None]

    async def run(self) -> None:
        """For ever."""
        while self.names:
            await self.look()
            await self.clock.sleep(min(LOOK_AGAIN, WATCH_EVERY) if self._wrong else WATCH_EVERY)

    async def look(self) -> None:
        """A source whose account cannot be asked keeps what was last known of it."""
        for name in self.names:
            try:
                async with mailchimp(self.settings, account_of(self.settings, name)) as client:
                    state = await hooks.look(client, self.settings, name)
            except ListwireError as fault:
                log.warning("a webhook could not be looked at", source=name, detail=self.redact(str(fault)))
                continue
            self._take(name, state)
        metrics.WEBHOOK_OK.replace(self._ok)
        metrics.WEBHOOK_CHANGED.replace(self._changed)

    def _take(self, name: str, state: hooks.State) -> None:
        now = self.clock.monotonic()
        if state.right:
            self._wrong.pop(name, None)
        elif now - self._wrong.setdefault(name, now) < GRACE:
            return
        elif self._ok.get((name,), 1.0):
            log.warning(
                "a webhook is not as it should be: `listwire hooks ensure`", source=name, drift=list(state.drift)
            )
        self._ok[name,] = float(state.right)
        self._changed[name,] = float(state.hook is not None and not state.right)


async def unhooked(settings: Settings, name: str, *, dry_run: bool = False) -> list[str]:
    """Deletes the source's webhooks that lead here; their URLs without the secret. Raises `VendorError`."""
    async with asyncio.timeout(60), mailchimp(settings, account_of(settings, name)) as client:
        return await hooks.delete(client, settings, name, dry_run=dry_run)
