"""Which of some addresses are in a Mailchimp audience, and which carry a tag. Reads only; in as few calls as it takes."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta

from listwire.cli.progress import Advance, progress
from listwire.clock import Clock
from listwire.cohorts.differences import Standing
from listwire.cohorts.patience import asked, by_hands, listed
from listwire.errors import ListwireError, VendorRejected
from listwire.settings import Settings
from listwire.settings.models import CohortSync
from vendors.mailchimp import Audience, Mailchimp, Member, tag_key

PAGE = 1000
# Lookups run ten at once and pages one after the other, since each begins where the last one ended.
LOOKUPS_A_PAGE = 10
# Who can get a tag for certain. Mailchimp refuses it to cleaned contacts, and perhaps to unsubscribed ones, each time anew; whether
# one that has still to confirm carries it cannot be told.
REACHED = "subscribed"
# Beside a worker that uses the account's ten as well.
BESIDE_A_WORKER = 4

Show = Callable[[str], AbstractContextManager[Advance]]
Counts = Callable[[Member], bool]


@dataclass
class Found:
    """Of the wanted addresses: those in the audience, and those with the tag."""

    members: set[str]
    tagged: set[str]


async def find(settings: Settings, sync: CohortSync, tag: str, wanted: Collection[str], clock: Clock) -> Found:
    """`wanted` are trimmed lower-case addresses. Raises VendorError where Mailchimp does not answer."""
    async with _client(settings, sync, 10) as client:
        audience = await _audience(client, sync.audience, clock)
        members = await _members(client, audience, wanted, clock, progress, lambda member: member.in_audience)
        return Found(members, await _carriers(client, audience, tag, clock) & set(wanted))


async def stand(
    settings: Settings, sync: CohortSync, tag: str, cohort: Collection[str], clock: Clock, show: Show = progress
) -> Standing:
    """Everybody who carries the tag, and who of the cohort could get it. Raises VendorError where Mailchimp does not answer."""
    async with _client(settings, sync, BESIDE_A_WORKER) as client:
        audience = await _audience(client, sync.audience, clock)
        carriers = await _carriers(client, audience, tag, clock)
        unknown = [address for address in cohort if address not in carriers]
        members = await _members(client, audience, unknown, clock, show, lambda member: member.status == REACHED)
        return Standing(carriers, members)


def _client(settings: Settings, sync: CohortSync, most: int) -> Mailchimp:
    account = settings.mailchimp[sync.mailchimp]
    return Mailchimp(
        account.root,
        api_key=account.key.get_secret_value() if account.key else None,
        access_token=account.token.get_secret_value() if account.token else None,
        max_connections=min(most, account.max_connections),
        timeout=account.http_timeout,
    )


async def _audience(client: Mailchimp, name: str, clock: Clock) -> Audience:
    try:
        return await asked(lambda: client.list_(name), clock)
    except VendorRejected as fault:
        raise ListwireError(f"Mailchimp does not know the audience {name!r}: {fault.detail}") from None


def _size(audience: Audience) -> int:
    stats = audience.stats
    return stats.member_count + stats.unsubscribe_count + stats.cleaned_count


async def _members(
    client: Mailchimp, audience: Audience, wanted: Collection[str], clock: Clock, show: Show, counts: Counts
) -> set[str]:
    if not wanted:
        return set()
    if len(wanted) <= LOOKUPS_A_PAGE * (_size(audience) // PAGE + 1):
        return await _looked_up(client, audience, wanted, clock, show, counts)
    return await _read_through(client, audience, set(wanted), clock, show, counts)


async def _looked_up(
    client: Mailchimp, audience: Audience, wanted: Collection[str], clock: Clock, show: Show, counts: Counts
) -> set[str]:
    found: set[str] = set()
    waiting = iter(wanted)
    done = 0
    with show("Looking up addresses") as advance:

        async def hand() -> None:
            nonlocal done
            for address in waiting:
                member = await asked(functools.partial(client.member, audience.id, address), clock)
                if member is not None and counts(member):
                    found.add(address)
                done += 1
                advance(done, len(wanted))

        await by_hands(client.limit.highest, hand)
    return found


async def _read_through(
    client: Mailchimp, audience: Audience, wanted: set[str], clock: Clock, show: Show, counts: Counts
) -> set[str]:
    found: set[str] = set()
    seen = 0
    size = _size(audience)
    with show("Reading the audience") as advance:

        def pages(last: Member | None) -> AsyncIterator[Member]:
            fields = ("email_address", "status", "last_changed")
            return client.members(audience.id, since_last_changed=_before(last), fields=fields)

        def take(member: Member) -> None:
            nonlocal seen
            seen += 1
            if seen % PAGE == 0:
                advance(min(seen, size), size)
            if counts(member) and (address := _normal(member)) in wanted:
                found.add(address)

        await listed(pages, take, clock)
    return found


async def _carriers(client: Mailchimp, audience: Audience, name: str, clock: Clock) -> set[str]:
    found: set[str] = set()
    tags = await asked(lambda: client.tag_search(audience.id, name.strip()), clock)
    tag = next((each.id for each in tags if tag_key(each.name) == tag_key(name)), None)
    if tag is None:
        return found

    def pages(_last: Member | None) -> AsyncIterator[Member]:
        """From the start again where they broke off: these members come in no order to go on from."""
        return client.segment_members(audience.id, tag)

    def take(member: Member) -> None:
        found.add(_normal(member))

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
