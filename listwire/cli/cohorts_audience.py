"""Which of some addresses are in a Mailchimp audience, and which carry a tag. Reads only; in as few calls as it takes."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from listwire.cli.progress import progress
from listwire.clock import Clock
from listwire.cohorts.patience import asked, listed
from listwire.errors import ListwireError, VendorRejected
from listwire.settings import Settings
from listwire.settings.models import CohortSync
from vendors.mailchimp import Audience, Mailchimp, Member, tag_key

PAGE = 1000
# Lookups run ten at once and pages one after the other, since each begins where the last one ended.
LOOKUPS_A_PAGE = 10


@dataclass
class Found:
    """Of the wanted addresses: those in the audience, and those with the tag."""

    members: set[str]
    tagged: set[str]


async def find(settings: Settings, sync: CohortSync, tag: str, wanted: Collection[str], clock: Clock) -> Found:
    """`wanted` are trimmed lower-case addresses. Raises VendorError where Mailchimp does not answer."""
    account = settings.mailchimp[sync.mailchimp]
    client = Mailchimp(
        account.root,
        api_key=account.key.get_secret_value() if account.key else None,
        access_token=account.token.get_secret_value() if account.token else None,
        max_connections=account.max_connections,
        timeout=account.http_timeout,
    )
    async with client:
        audience = await _audience(client, sync.audience, clock)
        if len(wanted) <= LOOKUPS_A_PAGE * (_size(audience) // PAGE + 1):
            members = await _looked_up(client, audience, wanted, clock)
        else:
            members = await _read_through(client, audience, wanted, clock)
        return Found(members, await _carriers(client, audience, tag, wanted, clock))


async def _audience(client: Mailchimp, name: str, clock: Clock) -> Audience:
    try:
        return await asked(lambda: client.list_(name), clock)
    except VendorRejected as fault:
        raise ListwireError(f"Mailchimp does not know the audience {name!r}: {fault.detail}") from None


def _size(audience: Audience) -> int:
    stats = audience.stats
    return stats.member_count + stats.unsubscribe_count + stats.cleaned_count


async def _looked_up(client: Mailchimp, audience: Audience, wanted: Collection[str], clock: Clock) -> set[str]:
    found: set[str] = set()
    waiting = iter(wanted)
    done = 0
    with progress("Looking up addresses") as advance:

        async def hand() -> None:
            nonlocal done
            for address in waiting:
                member = await asked(functools.partial(client.member, audience.id, address), clock)
                if member is not None and member.in_audience:
                    found.add(address)
                done += 1
                advance(done, len(wanted))

        try:
            async with asyncio.TaskGroup() as hands:
                for _ in range(client.limit.highest):
                    hands.create_task(hand())
        except ExceptionGroup as faults:
            raise faults.exceptions[0] from None
    return found


async def _read_through(client: Mailchimp, audience: Audience, wanted: Collection[str], clock: Clock) -> set[str]:
    found: set[str] = set()
    seen = 0
    size = _size(audience)
    with progress("Reading the audience") as advance:

        def pages(last: Member | None) -> AsyncIterator[Member]:
            fields = ("email_address", "status", "last_changed")
            return client.members(audience.id, since_last_changed=_before(last), fields=fields)

        def take(member: Member) -> None:
            nonlocal seen
            seen += 1
            if seen % PAGE == 0:
                advance(min(seen, size), size)
            if member.in_audience and (address := _normal(member)) in wanted:
                found.add(address)

        await listed(pages, take, clock)
    return found


async def _carriers(
    client: Mailchimp, audience: Audience, name: str, wanted: Collection[str], clock: Clock
) -> set[str]:
    found: set[str] = set()
    tags = await asked(lambda: client.tag_search(audience.id, name.strip()), clock)
    tag = next((each.id for each in tags if tag_key(each.name) == tag_key(name)), None)
    if tag is None:
        return found

    def pages(_last: Member | None) -> AsyncIterator[Member]:
        """From the start again where they broke off: these members come in no order to go on from."""
        return client.segment_members(audience.id, tag)

    def take(member: Member) -> None:
        if (address := _normal(member)) in wanted:
            found.add(address)

    await listed(pages, take, clock)
    return found


def _before(member: Member | None) -> str:
    """Mailchimp leaves out the very second that is asked for, and others may have changed in it."""
    if member is None or not member.last_changed:
        return ""
    try:
        return (datetime.fromisoformat(member.last_changed) - timedelta(seconds=1)).isoformat(timespec="seconds")
    except ValueError:
        return ""


def _normal(member: Member) -> str:
    return member.email_address.strip().lower()
