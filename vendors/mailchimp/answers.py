"""What Mailchimp answers, as far as Listwire reads it. A field that is missing takes its default: nothing here is required
but what names a thing, since an answer that can't be read would be asked for again for ever.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec


class AudienceStats(msgspec.Struct):
    member_count: int = 0
    unsubscribe_count: int = 0
    cleaned_count: int = 0


class Audience(msgspec.Struct):
    id: str
    name: str = ""
    date_created: str = ""
    stats: AudienceStats = msgspec.field(default_factory=AudienceStats)


class Tag(msgspec.Struct):
    id: int
    name: str


class Member(msgspec.Struct):
    """`id` is the subscriber hash; `unique_email_id` the contact id that webhooks carry as `data[id]`.

    `status`: subscribed, unsubscribed, cleaned, pending, transactional, or archived, which is no member any more.
    """

    id: str = ""
    email_address: str = ""
    unique_email_id: str = ""
    web_id: int | None = None
    email_type: str = ""
    status: str = ""
    unsubscribe_reason: str = ""
    merge_fields: dict[str, Any] | list[Any] = {}
    """PHP writes an empty object as an empty list now and then: read `merges`."""
    interests: dict[str, bool] | list[Any] = {}
    timestamp_signup: str = ""
    timestamp_opt: str = ""
    last_changed: str = ""
    tags: list[Tag] = []
    tags_count: int = -1
    """-1: it is not said."""
    list_id: str = ""
    source: str = ""
    """How the contact came: "Hosted Signup Form", "Admin Add", "API - Generic", and others; no list of them is published."""
    ip_signup: str = ""
    ip_opt: str = ""

    @property
    def merges(self) -> dict[str, Any]:
        return self.merge_fields if isinstance(self.merge_fields, dict) else {}

    @property
    def in_audience(self) -> bool:
        """Archived contacts are found by their address and are no members."""
        return self.status != "archived"


# Without the addresses of their machines, which only somebody who asks for them by name gets.
MEMBER_FIELDS = tuple(name for name in Member.__struct_fields__ if not name.startswith("ip_"))


class Activity(msgspec.Struct):
    """An entry of a contact's activity feed: an unsubscription or a sign-up. `is_admin_unsubscribed` is None where it is not
    said; `campaign_id` is empty where nobody clicked in a campaign.
    """

    activity_type: str
    created_at_timestamp: str = ""
    campaign_id: str = ""
    is_admin_unsubscribed: bool | None = None


class Segment(msgspec.Struct):
    """A tag where `type` is static. `member_count` counts active subscribers only."""

    id: int
    name: str
    type: str = ""
    member_count: int = 0
    created_at: str = ""
    updated_at: str = ""


class Webhook(msgspec.Struct):
    """`signing_secret` is filled in the answer that creates it, and never again."""

    id: str
    url: str
    events: dict[str, bool] = {}
    sources: dict[str, bool] = {}
    list_id: str = ""
    signing_enabled: bool = False
    signing_secret: str = ""

    def fires(self, events: frozenset[str], sources: frozenset[str]) -> bool:
        """Whether exactly these events from exactly these sources are switched on."""
        return {name for name, on in self.events.items() if on} == events and {
            name for name, on in self.sources.items() if on
        } == sources


class _Named(msgspec.Struct):
    email_address: str = ""


class _SegmentError(msgspec.Struct):
    email_addresses: list[str] = []
    error: str = ""


class SegmentCall(msgspec.Struct):
    """The answer to a segment call as it is on the wire; `SegmentAnswer` is what callers get."""

    members_added: list[_Named] = []
    members_removed: list[_Named] = []
    errors: list[_SegmentError] = []
    total_added: int = 0
    total_removed: int = 0
    error_count: int = 0


@dataclass(frozen=True)
class SegmentAnswer:
    """What a segment call did, by trimmed lower-case addresses. 200 with errors is Mailchimp's normal answer.

    An address that is in none of the three is unconfirmed: it had the tag already, or is no member and was ignored.
    """

    added: frozenset[str]
    removed: frozenset[str]
    errors: tuple[tuple[frozenset[str], str], ...]
    """Addresses and Mailchimp's words about them."""
    total_added: int
    total_removed: int
    error_count: int

    @property
    def failed(self) -> dict[str, str]:
        """Mailchimp's words by address."""
        return {address: words for addresses, words in self.errors for address in addresses}


def normal(address: str) -> str:
    return address.strip().lower()


def segment_answer(call: SegmentCall) -> SegmentAnswer:
    return SegmentAnswer(
        frozenset(normal(member.email_address) for member in call.members_added),
        frozenset(normal(member.email_address) for member in call.members_removed),
        tuple((frozenset(map(normal, error.email_addresses)), error.error) for error in call.errors),
        call.total_added,
        call.total_removed,
        call.error_count,
    )
