"""The vendors' clients as the settings describe them; and whether the vendors accept their keys.

Asks the vendors whether they accept the keys in the settings. Sends no event and changes nothing there.

The words that come back may repeat a key, so they are redacted before anybody sees them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass

from listwire import redaction
from listwire.errors import SettingsError, VendorError, VendorRefused
from listwire.settings import Settings
from vendors.amplitude import Amplitude
from vendors.amplitude.client import base_url
from vendors.amplitude_cohorts import AmplitudeCohorts, Pace
from vendors.amplitude_cohorts import base_url as cohorts_url
from vendors.mailchimp import ConnectionLimit, Mailchimp

Account = tuple[str, str]


@dataclass(frozen=True)
class KeyState:
    """`refused`: the vendor has said no. Otherwise `words` tells why nobody could say, or is empty: accepted."""

    refused: bool
    words: str


def amplitude(settings: Settings, project: str) -> Amplitude:
    table = settings.amplitude[project]
    return Amplitude(
        table.key.get_secret_value(),
        root=base_url(table.region, table.base_url),
        endpoint=table.endpoint,
        timeout=settings.delivery.http_timeout,
    )


def amplitude_cohorts(settings: Settings, project: str, *, pace: Pace | None = None) -> AmplitudeCohorts:
    """`pace`: of the project, shared by all who ask it in this process."""
    table = settings.amplitude[project]
    if table.secret is None:
        raise SettingsError(
            f"amplitude.{project}.secret_key is missing: Amplitude gives its cohorts to nobody without it."
        )
    return AmplitudeCohorts(
        table.key.get_secret_value(),
        table.secret.get_secret_value(),
        root=cohorts_url(table.region, table.cohorts_url or table.base_url),
        pace=pace,
    )


def mailchimp(settings: Settings, account: str, *, limiter: ConnectionLimit | None = None) -> Mailchimp:
    """`limiter`: of a worker, which waits as long as the settings say; people's commands give up after 10 s."""
    table = settings.mailchimp[account]
    key, token = table.key, table.token
    return Mailchimp(
        table.root,
        api_key=key.get_secret_value() if key else None,
        access_token=token.get_secret_value() if token else None,
        max_connections=table.max_connections,
        limiter=limiter,
        timeout=table.http_timeout if limiter else min(table.http_timeout, 10.0),
    )


async def ask(settings: Settings, accounts: Collection[Account]) -> dict[Account, KeyState]:
    """Accounts are ("amplitude", project) and ("mailchimp", account); all are asked at once."""
    known = list(accounts)
    states = await asyncio.gather(*(_ask(settings, account) for account in known))
    return dict(zip(known, states, strict=True))


async def _ask(settings: Settings, account: Account) -> KeyState:
    redact = redaction.for_settings(settings)
    kind, name = account
    try:
        if kind == "amplitude":
            async with amplitude(settings, name) as project:
                await project.check_key()
        else:
            async with mailchimp(settings, name) as client:
                await client.ping()
    except VendorError as fault:
        return KeyState(isinstance(fault, VendorRefused), redact(str(fault)))
    return KeyState(refused=False, words="")


async def refused(settings: Settings, connections: Collection[str]) -> dict[str, str]:
    """Connection → why its letters would only fail again. A vendor that cannot be asked refuses nobody."""
    faults: dict[str, str] = {}
    wanted: dict[str, Account] = {}
    for connection in connections:
        kind, _, name = connection.partition(".")
        if kind == "sources" and name in settings.sources:
            wanted[connection] = ("amplitude", settings.sources[name].amplitude)
        elif kind == "cohort_syncs" and name in settings.cohort_syncs:
            wanted[connection] = ("mailchimp", settings.cohort_syncs[name].mailchimp)
        elif kind == "sources" and name == "?":
            faults[connection] = "their records name no source"
        elif kind in {"sources", "cohort_syncs"} and name != "?":
            faults[connection] = "it is not in the settings"
    states = await ask(settings, set(wanted.values()))
    for connection, account in wanted.items():
        if states[account].refused:
            faults[connection] = f"still refused, {states[account].words}"
    return faults
