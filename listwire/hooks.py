"""Each source's webhook as Mailchimp has it, and as it should be: events subscribe and unsubscribe, from users only, at our URL.

One webhook an audience and Amplitude project. An existing one of the pair is reset to these defaults, as Amplitude's own source
does; Mailchimp may drop a webhook at its discretion ("excessive or unresponsive"), and then it is made again. The client is passed in;
nothing here knows HTTP. A URL holds the secret: it is never shown whole.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import quote, unquote, urlsplit

from listwire.errors import ListwireError, SettingsError, VendorRejected
from listwire.settings import Settings, connections
from listwire.settings.models import Source

# Mailchimp's `sources`: user is what people do themselves. With api on, our own writes would come back as events.
EVENTS = frozenset({"subscribe", "unsubscribe"})
SOURCES = frozenset({"user"})
HIDDEN = "…"


class Unreachable(ListwireError):
    """Mailchimp asked the webhook's URL with a GET and got no 200."""


class Hook(Protocol):
    id: str
    url: str
    events: dict[str, bool]
    sources: dict[str, bool]
    signing_secret: str


class Client(Protocol):
    async def webhooks(self, audience: str) -> Sequence[Hook]: ...

    async def create_webhook(
        self, audience: str, url: str, *, events: Collection[str], sources: Collection[str]
    ) -> Hook: ...

    async def update_webhook(
        self, audience: str, webhook: str, *, url: str | None = None, events: Collection[str], sources: Collection[str]
    ) -> Hook: ...

    async def delete_webhook(self, audience: str, webhook: str) -> None: ...


@dataclass(frozen=True)
class State:
    """A source's webhook. `drift` is empty where it is as it should be; `hook` None where Mailchimp has none of ours."""

    source: str
    audience: str
    hook: Hook | None
    drift: tuple[str, ...]
    others: tuple[Hook, ...] = ()

    @property
    def right(self) -> bool:
        return not self.drift


@dataclass(frozen=True)
class Done:
    """What `ensure` did: nothing, created, reset. `signing_secret` is shown by Mailchimp once, when it creates a webhook."""

    source: str
    did: str
    changes: tuple[str, ...] = ()
    signing_secret: str = ""


def path_of(source: str) -> str:
    return f"/webhooks/mailchimp/{source}/"


def wanted_url(settings: Settings, name: str) -> str:
    """Raises `SettingsError` where the public URL is not set."""
    public = settings.ingress.public_url
    if public is None:
        raise SettingsError(
            'ingress.public_url is missing: Mailchimp must know where to post. Write under [ingress]: public_url = "https://hooks.example.com"'
        )
    return public + path_of(name) + quote(settings.sources[name].secrets[0].get_secret_value(), safe="")


def shown(url: str) -> str:
    """The URL without its secret."""
    head, slash, _ = url.rpartition("/")
    return f"{head}{slash}{HIDDEN}" if "/webhooks/mailchimp/" in url else url


def is_of(url: str, source: str) -> bool:
    """Whether a webhook's URL is this source's, whatever its host or secret: so a moved or rotated one is found again."""
    return urlsplit(url).path.startswith(path_of(source))


async def look(client: Client, settings: Settings, name: str) -> State:
    source = settings.sources[name]
    wanted = wanted_url(settings, name)
    ours = [hook for hook in await client.webhooks(source.audience) if is_of(hook.url, name)]
    ours.sort(key=lambda hook: (hook.url != wanted, not _secret_is_valid(hook.url, source), hook.id))
    if not ours:
        return State(name, source.audience, None, ("Mailchimp has no webhook for it",))
    hook, *others = ours
    drift = list(_drift(hook, wanted))
    if others:
        drift.append(
            f"{len(others)} more webhook{'s' if len(others) > 1 else ''} of this source: every event would come twice"
        )
    return State(name, source.audience, hook, tuple(drift), tuple(others))


def _drift(hook: Hook, wanted: str) -> list[str]:
    found = []
    if hook.url != wanted:
        found.append(
            f"its URL is {shown(hook.url)}"
            + (" with another secret" if shown(hook.url) == shown(wanted) else f" instead of {shown(wanted)}")
        )
    for what, have, want in (("events", hook.events, EVENTS), ("sources", hook.sources, SOURCES)):
        on = {name for name, switched in have.items() if switched}
        if on != want:
            found.append(f"its {what} are {', '.join(sorted(on)) or 'none'} instead of {', '.join(sorted(want))}")
    return found


def _secret_is_valid(url: str, source: Source) -> bool:
    return unquote(url.rpartition("/")[2]) in {secret.get_secret_value() for secret in source.secrets}


async def ensure(client: Client, settings: Settings, name: str) -> Done:
    """Makes the webhook what it should be; a second call changes nothing. Raises the error tree, in words with a way out."""
    state = await look(client, settings, name)
    url = wanted_url(settings, name)
    for other in state.others:
        await client.delete_webhook(state.audience, other.id)
    if state.hook is not None:
        if _drift(state.hook, url):
            await _said(
                client.update_webhook(state.audience, state.hook.id, url=url, events=EVENTS, sources=SOURCES), url
            )
        return Done(name, "reset" if state.drift else "nothing", state.drift)
    try:
        made = await _said(client.create_webhook(state.audience, url, events=EVENTS, sources=SOURCES), url)
    except VendorRejected as fault:
        if "multiple webhooks for one url" not in fault.detail.lower():
            raise
        # Somebody made it meanwhile: look again and reset that one.
        again = await look(client, settings, name)
        if again.hook is None:
            raise ListwireError(
                f"Mailchimp says that {shown(url)} has a webhook already, but audience {state.audience} lists none: another audience of "
                "the account uses this URL. Give the source a secret of its own, then run `listwire hooks ensure` again."
            ) from None
        await client.update_webhook(state.audience, again.hook.id, url=url, events=EVENTS, sources=SOURCES)
        return Done(name, "reset", again.drift)
    return Done(name, "created", (), made.signing_secret)


async def _said(call: object, url: str) -> Hook:
    try:
        return await call  # type: ignore[misc, no-any-return]
    except VendorRejected as fault:
        if "verify the url" in fault.detail.lower() or any(
            "verify the url" in str(each.get("message", "")).lower() for each in fault.errors
        ):
            raise Unreachable(
                f"Mailchimp could not reach {shown(url)}: {fault.detail} It asks with a GET that must be answered with 200 from the public "
                "internet, over HTTPS. Check that `listwire ingress` runs, that the proxy passes /webhooks/ on, and ingress.public_url."
            ) from None
        raise


def keep_signing_secret(settings: Settings, name: str, secret: str) -> Path:
    """In `connections.d/`, mode 0600: Mailchimp shows it once. Returns the file."""
    return connections.put(
        settings.origin.connections, "sources", name, {"signing_secret": [secret]}, file=f"{name}-signing"
    )


async def delete(client: Client, settings: Settings, name: str, *, dry_run: bool = False) -> list[str]:
    """Deletes the source's webhooks that lead here: with our public URL, or with a secret of ours. Returns their URLs, shortened.

    A webhook of the same name that leads elsewhere belongs to another installation and stays.
    """
    source = settings.sources[name]
    public = settings.ingress.public_url
    deleted = []
    for hook in await client.webhooks(source.audience):
        here = public is not None and hook.url.startswith(public + path_of(name))
        if is_of(hook.url, name) and (here or _secret_is_valid(hook.url, source)):
            if not dry_run:
                await client.delete_webhook(source.audience, hook.id)
            deleted.append(shown(hook.url))
    return deleted
