"""What `listwire check` asks the vendors: keys, audiences, webhooks, and the time. Reads only; sends no event."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection
from email.utils import parsedate_to_datetime

import httpx

from listwire import hooks
from listwire.cli.schedule_checks import schedules
from listwire.errors import ListwireError, SettingsError, VendorError, VendorRejected
from listwire.findings import Finding, failed, note, ok
from listwire.settings import Settings
from listwire.spoken import duration
from vendors.accounts import Account, KeyState, ask, mailchimp
from vendors.amplitude.client import base_url

# The signatures' tolerance is hours; beyond this the clock is wrong all the same, and times in logs and metrics mislead.
SKEW = 30.0


async def vendors(settings: Settings) -> list[Finding]:
    accounts: list[Account] = [("amplitude", name) for name in settings.amplitude]
    accounts += [("mailchimp", name) for name in settings.mailchimp]
    states = await ask(settings, accounts)
    findings = [_key(account, state) for account, state in states.items()]
    findings += [await _skew(settings)] if accounts else []
    usable = {name for (kind, name), state in states.items() if kind == "mailchimp" and not state.words}
    findings += await asyncio.gather(*_audiences(settings, usable))
    findings += await asyncio.gather(*(_webhook(settings, name, usable) for name in settings.sources))
    findings += await schedules(settings)
    return findings


def _key(account: Account, state: KeyState) -> Finding:
    kind, name = account
    check = f"{kind}.{name}"
    if not state.words:
        return ok(check, "the key is accepted")
    if state.refused:
        key = "the project's API key and region" if kind == "amplitude" else "the account's API key and data centre"
        return failed(check, state.words, f"check {key}, then restart the workers and replay what was parked")
    return failed(check, f"could not be asked: {state.words}", f"check the network, and {check}.base_url if it is set")


def _audiences(settings: Settings, usable: Collection[str]) -> list[asyncio.Task[Finding]]:
    wanted: dict[tuple[str, str], list[str]] = {}
    for kind, tables in (("sources", settings.sources), ("cohort_syncs", settings.cohort_syncs)):
        for name, table in tables.items():
            if table.mailchimp is not None and table.mailchimp in usable:
                wanted.setdefault((table.mailchimp, table.audience), []).append(f"{kind}.{name}")
    return [asyncio.ensure_future(_audience(settings, *key, users)) for key, users in wanted.items()]


async def _audience(settings: Settings, account: str, audience: str, users: list[str]) -> Finding:
    check = f"audience {audience}"
    try:
        async with mailchimp(settings, account) as client:
            found = await client.list_(audience)
    except VendorRejected as fault:
        return failed(
            check,
            f"of {', '.join(users)}: mailchimp.{account} has no such audience ({fault.detail})",
            "write its Audience ID",
        )
    except VendorError as fault:
        return failed(check, f"could not be asked: {fault}")
    return ok(check, f"{found.name}, for {', '.join(users)}")


async def _webhook(settings: Settings, name: str, usable: Collection[str]) -> Finding:
    check, source = f"webhook of {name}", settings.sources[name]
    if source.mailchimp is None:
        return note(check, f"sources.{name}.mailchimp is not set, so Mailchimp cannot be asked")
    if source.mailchimp not in usable:
        return note(check, f"not asked, since mailchimp.{source.mailchimp} does not answer")
    mend = f"`listwire hooks ensure --source {name}`"
    try:
        async with mailchimp(settings, source.mailchimp) as client:
            state = await hooks.look(client, settings, name)
    except SettingsError as fault:
        return note(check, str(fault))
    except ListwireError as fault:
        return failed(check, f"could not be asked: {fault}")
    if not state.right:
        return failed(check, "; ".join(state.drift), mend)
    signs = bool(getattr(state.hook, "signing_enabled", False))
    if source.signing_secret and not signs:
        return failed(
            check, "a signing secret is set here, but Mailchimp does not sign this webhook: every one would be refused with 401",
            f"remove sources.{name}.signing_secret, or delete the webhook and run {mend}",
        )  # fmt: skip
    if signs and not source.signing_secret:
        return note(
            check, "right; Mailchimp signs it, and nobody looks at the signature", f"set sources.{name}.signing_secret"
        )
    return ok(check, "as it should be")


async def _skew(settings: Settings) -> Finding:
    roots = [base_url(each.region, each.base_url) for each in settings.amplitude.values()]
    roots += [each.root for each in settings.mailchimp.values()]
    async with httpx.AsyncClient(timeout=5.0, trust_env=False) as client:
        for root in dict.fromkeys(roots):
            try:
                answer = await client.head(root)
                theirs = parsedate_to_datetime(answer.headers["date"]).timestamp()
            except (httpx.HTTPError, httpx.InvalidURL, KeyError, ValueError):
                continue
            # Their clock shows whole seconds.
            skew = time.time() - theirs - 0.5
            if abs(skew) > SKEW:
                side = "ahead of" if skew > 0 else "behind"
                return failed("clock", f"{duration(abs(skew))} {side} {httpx.URL(root).host}", "set it by NTP")
            return ok("clock", f"agrees with {httpx.URL(root).host}")
    return note("clock", "no vendor told its time")
