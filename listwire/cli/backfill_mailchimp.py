"""What a backfill asks Mailchimp: the members that changed, the histories of those in doubt, and the webhook. Reads only.

At most as many calls at once as the account's settings allow; one that fails for a while is made again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence

from listwire import hooks
from listwire.backfill.contact import Contact, Entry
from listwire.backfill.makers import Hook
from listwire.backfill.times import instant, iso
from listwire.clock import Clock
from listwire.cohorts.patience import asked, by_hands, listed
from listwire.errors import ListwireError, VendorRejected
from vendors.mailchimp import Activity, Mailchimp, Member

FIELDS = (
    "email_address", "unique_email_id", "web_id", "email_type", "status", "merge_fields", "timestamp_signup",
    "timestamp_opt", "last_changed", "source", "ip_signup", "ip_opt",
)  # fmt: skip
Told = Callable[[int, int], None]


def contact_of(member: Member) -> Contact:
    return Contact(
        hash=member.id,
        id=member.unique_email_id.strip(),
        address=member.email_address.strip(),
        web_id="" if member.web_id is None else str(member.web_id),
        status=member.status,
        opted=instant(member.timestamp_opt),
        signed_up=instant(member.timestamp_signup),
        changed=instant(member.last_changed),
        source=member.source,
        email_type=member.email_type,
        ip_opt=member.ip_opt,
        ip_signup=member.ip_signup,
        merges=member.merges,
    )


def entries_of(activities: Sequence[Activity]) -> list[Entry]:
    """Those whose time can be read."""
    return [
        Entry(each.activity_type, at, each.campaign_id, each.is_admin_unsubscribed)
        for each in activities
        if (at := instant(each.created_at_timestamp)) is not None
    ]


async def hook(client: Mailchimp, source: str, audience: str, clock: Clock) -> tuple[Hook, bool]:
    """The source's webhook, and whether Mailchimp has it now; else what `hooks ensure` would make."""
    try:
        found = await asked(lambda: client.webhooks(audience), clock)
    except VendorRejected as fault:
        raise ListwireError(f"Mailchimp does not know the audience {audience!r}: {fault.detail}") from None
    ours = [each for each in found if hooks.is_of(each.url, source)]
    if not ours:
        return Hook(hooks.EVENTS, hooks.SOURCES), False
    events, sources = (
        frozenset(name for each in ours for name, on in getattr(each, part).items() if on)
        for part in ("events", "sources")
    )
    return Hook(events & hooks.EVENTS, sources), True


async def changed(client: Mailchimp, audience: str, since: int, clock: Clock, told: Told) -> list[Contact]:
    """Members whose record changed at `since` or later, archived ones too; each once, as it was told last."""
    found: dict[str, Contact] = {}
    for status in ("", "archived"):

        def pages(last: Member | None, status: str = status) -> AsyncIterator[Member]:
            begin = since if last is None else instant(last.last_changed) or since
            # Mailchimp leaves out the very second that is asked for, and others may have changed in it.
            return client.members(audience, since_last_changed=iso(begin - 1), status=status, fields=FIELDS)

        def take(member: Member) -> None:
            found[member.id] = contact_of(member)
            if len(found) % 100 == 0:
                told(len(found), 0)

        await listed(pages, take, clock)
    return list(found.values())


async def histories(
    client: Mailchimp, audience: str, contacts: Sequence[Contact], clock: Clock, told: Told
) -> dict[str, list[Entry] | None]:
    """Subscriber hash → the history. As many calls at once as the account's connections allow."""
    found: dict[str, list[Entry] | None] = {}
    waiting = iter(contacts)

    async def hand() -> None:
        for contact in waiting:

            async def call(member: str = contact.hash) -> list[Activity] | None:
                return await client.activity(audience, member)

            activities = await asked(call, clock)
            found[contact.hash] = None if activities is None else entries_of(activities)
            told(len(found), len(contacts))

    await by_hands(client.limit.highest, hand)
    return found
