"""What an account holds: audiences, their members and their tags. State and nothing else.

No HTTP, no clock of its own, no webhooks: those who change a member (`contacts.py`) and those who change tags (`tags.py`)
do it here, and every view (`views.py`) reads from here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple

from sandbox.mailchimp.rules import subscriber_hash, tag_key

if TYPE_CHECKING:
    from collections.abc import Iterator

STATUSES = frozenset({"subscribed", "unsubscribed", "cleaned", "pending", "transactional"})
"""What a call may set; `archived` exists on reading only."""


class Activity(NamedTuple):
    """An entry of the contact's activity feed. `detail` is a sign-up's category, or why somebody unsubscribed."""

    type: str
    at: float
    campaign_id: str = ""
    by_admin: bool = False
    detail: str = ""


@dataclass(slots=True)
class Member:
    """`id` is the subscriber hash; `legacy_id` the ten hex digits that webhooks call `data[id]`. `source` is how it came."""

    address: str
    id: str
    status: str
    web_id: int
    last_changed: float
    timestamp_opt: float
    ip_opt: str = "203.0.113.7"
    merge_fields: dict[str, Any] | None = None
    compliance: bool = False
    tags: tuple[int, ...] = ()
    """A tuple, since most of 100 000 members have few: a set each would be 20 MB."""
    source: str = "API - Generic"
    history: tuple[Activity, ...] = ()
    """Oldest first."""

    @property
    def contact_id(self) -> str:
        return self.id[::-1]

    @property
    def legacy_id(self) -> str:
        return self.id[::-1][:10]


@dataclass(slots=True)
class Segment:
    """A static segment is a tag. `members` keeps the order of arrival; a saved segment holds none here."""

    id: int
    name: str
    type: str
    created_at: float
    updated_at: float
    visible_from: float = 0.0
    options: dict[str, Any] | None = None
    members: dict[str, None] = field(default_factory=dict)


@dataclass(slots=True)
class Webhook:
    id: str
    url: str
    events: dict[str, bool]
    sources: dict[str, bool]
    signing_secret: str = ""
    given_up_in_a_row: int = 0
    disabled: bool = False


@dataclass
class Audience:
    id: str
    name: str
    created_at: float
    web_id: int
    members: dict[str, Member] = field(default_factory=dict)
    segments: dict[int, Segment] = field(default_factory=dict)
    tag_ids: dict[str, int] = field(default_factory=dict)
    forgotten: set[str] = field(default_factory=set)
    webhooks: dict[str, Webhook] = field(default_factory=dict)
    _web_ids: Iterator[int] = field(default_factory=lambda: count(203740265), repr=False)

    def member(self, reference: str) -> Member | None:
        """By subscriber hash, plain address or contact id: Mailchimp takes all three in that place."""
        found = self.members.get(reference.lower())
        if found is None and "@" in reference:
            return self.members.get(subscriber_hash(reference))
        return found or self.members.get(reference.lower()[::-1])

    def add_member(
        self, address: str, status: str, now: float, *, merge_fields: dict[str, Any] | None = None
    ) -> Member:
        address = address.strip()
        member = Member(
            address, subscriber_hash(address), status, next(self._web_ids), now, now, merge_fields=merge_fields
        )
        self.members[member.id] = member
        return member

    def seed(
        self,
        amount: int,
        *,
        pattern: str = "member{}@example.com",
        status: str = "subscribed",
        now: float | None = None,
        first: int = 0,
    ) -> None:
        """Fills the audience without firing anything; a member that is there already stays as it is. `now` is when they
        came, by default when the audience was made.
        """
        now = self.created_at if now is None else now
        for number in range(first, first + amount):
            address = pattern.format(number)
            if subscriber_hash(address) not in self.members:
                self.add_member(address, status, now)

    def tag(self, name: str) -> Segment | None:
        found = self.tag_ids.get(tag_key(name))
        return None if found is None else self.segments[found]

    def tagged(self, name: str) -> set[str]:
        """The lower-cased addresses that carry the tag now; empty where there is no such tag."""
        segment = self.tag(name)
        return {self.members[member].address.lower() for member in segment.members} if segment else set()

    def member_left(self, member: Member) -> None:
        """Takes the contact out of every tag and of the audience."""
        for segment_id in member.tags:
            self.segments[segment_id].members.pop(member.id, None)
        del self.members[member.id]
