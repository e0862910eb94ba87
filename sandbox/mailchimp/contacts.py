"""What happens to a contact, and which webhook tells of it.

People (`user`), the app (`admin`) and calls (`api`) do the same things to a member; only the source differs, and a webhook
is sent where it asked for that event from that source. Tags are never a reason for a webhook: tag changes fire none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from sandbox.mailchimp import forms, problems
from sandbox.mailchimp.audience import Activity
from sandbox.mailchimp.rules import looks_valid, subscriber_hash

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from sandbox.mailchimp.audience import Audience, Member
    from sandbox.mailchimp.behaviour import Behaviour
    from sandbox.mailchimp.tags import Tags

Source = Literal["user", "admin", "api"]
# What the API says of how a contact came: values seen in recorded answers. The feed's sign-ups, as its schemas name them.
CAME_BY: dict[str, str] = {"user": "Hosted Signup Form", "admin": "Admin Add", "api": "API - Generic"}
SIGNUPS: dict[str, tuple[str, str]] = {
    "user": ("website_signup", ""), "admin": ("generic_signup", "manual_add"), "api": ("generic_signup", "api"),
}  # fmt: skip
BY_ADMIN = "N/A (Unsubscribed by admin)"
"""Recorded for what admins and API calls did alike."""


class Contacts:
    """`fire(audience, event, source, form)` sends a form to the webhooks that want it."""

    def __init__(
        self,
        behaviour: Behaviour,
        tags: Tags,
        fire: Callable[[Audience, str, str, forms.Form], None],
        clock: Callable[[], float],
        dice: random.Random,
    ) -> None:
        self._behaviour = behaviour
        self._tags = tags
        self._fire = fire
        self._clock = clock
        self._dice = dice

    def add(
        self, audience: Audience, address: str, status: str, source: Source, merge_fields: dict[str, Any] | None = None
    ) -> Member:
        """A new contact. Refused where the address looks wrong or was deleted for good."""
        if not looks_valid(address):
            raise problems.invalid(("email_address", "Please provide a valid email address."))
        if subscriber_hash(address) in audience.forgotten:
            raise problems.forgotten(address)
        member = audience.add_member(address, status, self._clock(), merge_fields=merge_fields)
        member.source = CAME_BY[source]
        if status == "subscribed":
            self._subscribed(audience, member, source, again=False)
        return member

    def _subscribed(self, audience: Audience, member: Member, source: Source, *, again: bool) -> None:
        now = self._clock()
        if self._behaviour.feed_shows_signups:
            kind, category = SIGNUPS[source]
            member.history += (Activity(kind, now, detail=category),)
        if again and self._behaviour.resubscribe_fires == "profile":
            self._fire(audience, "profile", source, forms.profile(audience, member, self._fired(now)))
        else:
            self._fire(audience, "subscribe", source, forms.subscribe(audience, member, self._fired(now)))

    def _fired(self, at: float) -> float:
        return at + self._behaviour.fired_at_lag

    def set_status(
        self,
        audience: Audience,
        member: Member,
        status: str,
        source: Source,
        *,
        reason: str = "manual",
        campaign_id: str = "",
    ) -> None:
        """Moves a member to another status and fires what belongs to it; the same status again fires nothing."""
        if status == member.status:
            return
        if member.compliance and status in ("subscribed", "pending"):
            if status == "subscribed":
                raise problems.compliance(member.address)
            member.compliance = False  # Mailchimp: a contact in compliance state may be asked again, with `pending`.
        was, member.status, member.last_changed = member.status, status, self._clock()
        now = member.last_changed
        if status == "subscribed":
            if self._behaviour.resubscribe_moves_opt:
                member.timestamp_opt = now
            self._subscribed(audience, member, source, again=True)
        elif status == "unsubscribed" and was in ("subscribed", "pending"):
            action = "unsub" if self._behaviour.unsubscribe_action else ""
            why = BY_ADMIN if source != "user" else "None given"
            member.history += (Activity("unsub", now, campaign_id, source != "user", why),)
            form = forms.unsubscribe(
                audience, member, self._fired(now), action=action, reason=reason, campaign_id=campaign_id
            )
            self._fire(audience, "unsubscribe", source, form)
        elif status == "cleaned":
            form = forms.cleaned(
                audience, member, now, reason="abuse" if reason == "abuse" else "hard", campaign_id=campaign_id
            )
            self._fire(audience, "cleaned", source, form)
        elif status == "archived" and self._behaviour.archive_fires:
            form = forms.unsubscribe(audience, member, now, action="delete", reason="manual", campaign_id="")
            self._fire(audience, "unsubscribe", source, form)

    def update(self, audience: Audience, member: Member, merge_fields: dict[str, Any], source: Source) -> None:
        if not merge_fields or {**(member.merge_fields or {}), **merge_fields} == member.merge_fields:
            return
        member.merge_fields = {**(member.merge_fields or {}), **merge_fields}
        member.last_changed = self._clock()
        self._fire(audience, "profile", source, forms.profile(audience, member, member.last_changed))

    def change_address(self, audience: Audience, member: Member, address: str, source: Source) -> None:
        """Fires `upemail` and `profile`, in either order: integrations see both."""
        if not looks_valid(address):
            raise problems.invalid(("email_address", "Please provide a valid email address."))
        new_id = subscriber_hash(address)
        if new_id != member.id and new_id in audience.members:
            raise problems.member_exists(address)
        old_address = member.address
        del audience.members[member.id]
        for segment_id in member.tags:
            carriers = audience.segments[segment_id].members
            del carriers[member.id]
            carriers[new_id] = None
        member.address, member.id, member.last_changed = address.strip(), new_id, self._clock()
        audience.members[new_id] = member
        now = member.last_changed
        two = [
            ("upemail", forms.upemail(audience, member, now, old_address=old_address)),
            ("profile", forms.profile(audience, member, now)),
        ]
        self._dice.shuffle(two)
        for event, form in two:
            self._fire(audience, event, source, form)

    def delete_permanently(self, audience: Audience, member: Member, source: Source, request: str) -> None:
        """Mailchimp: the address can't be re-imported afterwards."""
        form = forms.unsubscribe(audience, member, self._clock(), action="delete", reason="manual", campaign_id="")
        self._tags.forget(audience, member, request)
        audience.member_left(member)
        audience.forgotten.add(member.id)
        self._fire(audience, "unsubscribe", source, form)
