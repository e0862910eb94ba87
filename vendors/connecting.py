"""From an opened account, an audience and an Amplitude project to a connection that works: files, then the webhook.

Shared by the console and by `listwire connect`. One source an audience and project. Nothing is written before the vendors have
accepted the keys, and what was written is taken back where it would not load. A secret stands in `connections.d/` alone.
"""

from __future__ import annotations

import re
import secrets
import unicodedata
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from pydantic import SecretStr

from listwire.errors import ListwireError, SettingsError, VendorError, VendorRefused
from listwire.redaction import Redactor
from listwire.settings import Settings, connections
from listwire.settings.values import NAME
from vendors.access import Access
from vendors.amplitude import Amplitude
from vendors.amplitude.client import base_url
from vendors.mailchimp import Audience

LONGEST_NAME = 40


@dataclass(frozen=True)
class Project:
    """An Amplitude project that the settings do not hold yet."""

    name: str
    api_key: SecretStr
    region: str = "us"

    def table(self) -> dict[str, Any]:
        return {"api_key": self.api_key.get_secret_value(), "region": self.region}


@dataclass(frozen=True)
class Made:
    """`fresh` is False where the audience and project were connected already. `settings` as they stand on disk now."""

    source: str
    settings: Settings
    fresh: bool


def slug(text: str, otherwise: str) -> str:
    """A name of a-z, 0-9 and '-' from what people call a thing."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain)[:LONGEST_NAME].strip("-") or otherwise


def unique(name: str, taken: Collection[str]) -> str:
    """The name, or the first of name-2, name-3, … that is free."""
    number, found = 1, name
    while found in taken:
        number += 1
        found = f"{name}-{number}"
    return found


def needs_public_url(settings: Settings) -> None:
    """Raises `SettingsError` with the line to write."""
    if settings.ingress.public_url is None:
        raise SettingsError(
            "ingress.public_url is missing: Mailchimp must know where to post. Write under [ingress]: "
            'public_url = "https://hooks.example.com"'
        )


async def check_project(project: Project) -> None:
    """Asks Amplitude whether it takes the key; sends no event. Raises `ListwireError`."""
    key = project.api_key.get_secret_value()
    if not NAME.match(project.name):
        raise SettingsError("A project's name is made of a-z, 0-9 and '-', like product.")
    if not key.strip() or project.region not in {"us", "eu"}:
        raise SettingsError("An Amplitude project needs its API key, and a region: us or eu.")
    try:
        async with Amplitude(key, root=base_url(project.region, None)) as client:
            await client.check_key()
    except VendorRefused as fault:
        raise ListwireError(
            f"Amplitude refuses this API key: {Redactor([key])(fault.detail)}. Is it the API key, not the secret key, and is the region right?"
        ) from None
    except VendorError as fault:
        raise ListwireError(
            f"Amplitude cannot be asked: {Redactor([key])(str(fault))}. Try again in a moment."
        ) from None


async def make(
    settings: Settings, access: Access, audience: Audience, project: Project | str, *, name: str | None = None
) -> Made:
    """Writes what is missing and loads it. `project` is new, or the name of one in the settings; `name` the source's, else made
    from the audience's. Raises `ListwireError`, with nothing left behind.
    """
    settings = settings.origin.load()  # somebody may have connected something meanwhile
    needs_public_url(settings)
    if isinstance(project, str) and project not in settings.amplitude:
        known = ", ".join(settings.amplitude) or "none"
        raise SettingsError(f"There is no Amplitude project {project!r} in the settings; known are {known}.")
    if isinstance(project, Project):
        if project.name in settings.amplitude:
            raise SettingsError(
                f"There is an Amplitude project {project.name!r} already: take another name, or choose that one."
            )
        await check_project(project)
    directory = settings.origin.connections
    amplitude = project if isinstance(project, str) else project.name
    before = {(kind, key) for kind in ("mailchimp", "amplitude", "sources") for key in getattr(settings, kind)}
    account = _account(settings, access)
    existing = pair(settings, audience.id, amplitude)
    if existing is None:
        existing_name = name or unique(slug(audience.name, "audience"), settings.sources)
        if not NAME.match(existing_name):
            raise SettingsError(
                f"{existing_name!r} is no name for a source: it is made of a-z, 0-9 and '-', like newsletter."
            )
        if existing_name in settings.sources:
            raise SettingsError(f"There is a source {existing_name!r} already: take another name.")
    source = existing or existing_name
    try:
        if access.account is None and _is_ours(settings, account):
            connections.put(directory, "mailchimp", account, access.table(), file=f"mailchimp-{account}", anew=True)
        if isinstance(project, Project):
            connections.put(directory, "amplitude", project.name, project.table(), file=f"amplitude-{project.name}")
        if existing is None:
            table = {
                "mailchimp": account,
                "audience": audience.id,
                "amplitude": amplitude,
                "secrets": [secrets.token_urlsafe(32)],
            }
            connections.put(directory, "sources", source, table, file=f"source-{source}")
        return Made(source, settings.origin.load(), existing is None)
    except (ListwireError, OSError) as fault:
        for kind, key in (("sources", source), ("mailchimp", account), ("amplitude", amplitude)):
            if (kind, key) not in before:
                connections.drop(directory, kind, key)
        if isinstance(fault, OSError):
            raise SettingsError(f"{directory} cannot be written: {fault.strerror}.") from None
        raise


def pair(settings: Settings, audience: str, amplitude: str) -> str | None:
    """The source that joins this audience and this project; one is enough."""
    return next((n for n, s in settings.sources.items() if (s.audience, s.amplitude) == (audience, amplitude)), None)


def _account(settings: Settings, access: Access) -> str:
    """The account's name in the settings. An account that was connected before keeps its name: it is known by its audiences,
    whose ids are nobody else's.
    """
    if access.account is not None:
        return access.account
    theirs = {audience.id for audience in access.audiences}
    for source in settings.sources.values():
        if source.mailchimp is not None and source.audience in theirs:
            return source.mailchimp
    for sync in settings.cohort_syncs.values():
        if sync.audience in theirs:
            return sync.mailchimp
    return unique(slug(access.title, "mailchimp"), settings.mailchimp)


def _is_ours(settings: Settings, account: str) -> bool:
    """Whether its table may be written: it is new, or stands in `connections.d/`. A person's own file is left alone."""
    return (
        account not in settings.mailchimp
        or connections.owner(settings.origin.connections, "mailchimp", account) is not None
    )
