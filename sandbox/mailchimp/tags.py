"""Tags: creating them, deleting them, and the batch call that adds and removes members.

The rules of `POST /lists/{id}/segments/{id}` stand here without HTTP. Every change of membership passes through this module,
so that the journal misses none.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any

from sandbox.mailchimp import problems
from sandbox.mailchimp.audience import Audience, Member, Segment
from sandbox.mailchimp.journal import Journal, TagChange
from sandbox.mailchimp.rules import SEGMENT_CALL_LIMIT, TAG_NAME_LIMIT, looks_valid, subscriber_hash, tag_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sandbox.mailchimp.behaviour import Behaviour

NOT_IN_LIST = "Email address is not in the list."
"""Invented: no recorded answer gives the sentence for an address outside the audience."""
NOT_SUBSCRIBED = "Email is not subscribed to the list"
"""Recorded from the call that adds one member to a segment."""
NOT_AN_ADDRESS = "Please provide a valid email address."
ALREADY_IN, NOT_IN = "Email address already exists in the segment.", "Email address is not in the segment."
"""Invented, for `repeats = "errors"`."""


@dataclass
class SegmentChange:
    added: list[Member] = field(default_factory=list)
    removed: list[Member] = field(default_factory=list)
    errors: dict[str, list[str]] = field(default_factory=dict)
    """Addresses by sentence, as Mailchimp groups them."""

    def fail(self, sentence: str, address: str) -> None:
        self.errors.setdefault(sentence, []).append(address)


def _untag(member: Member, segment: Segment) -> None:
    member.tags = tuple(tag for tag in member.tags if tag != segment.id)


class Tags:
    def __init__(self, behaviour: Behaviour, journal: Journal, clock: Callable[[], float]) -> None:
        self._behaviour = behaviour
        self._journal = journal
        self._clock = clock
        self._ids: Iterator[int] = count(48_261)

    def create(self, audience: Audience, name: str, addresses: Sequence[str], request: str) -> Segment:
        """Addresses outside the audience are ignored, as Mailchimp says of this call."""
        segment = self._new(audience, name, "static", None)
        found = {member.id: member for member in map(audience.member, addresses) if member is not None}
        members = [member for member in found.values() if member.status != "archived"]
        self._put(audience, segment, members, [], request)
        return segment

    def create_saved(self, audience: Audience, name: str, options: dict[str, Any]) -> Segment:
        return self._new(audience, name, "saved", options)

    def _new(self, audience: Audience, name: str, kind: str, options: dict[str, Any] | None) -> Segment:
        name = self._shown(name)
        if tag_key(name) in audience.tag_ids:
            raise problems.tag_exists()
        now = self._clock()
        segment = Segment(next(self._ids), name, kind, now, now, now + self._behaviour.tag_visible_after, options)
        audience.segments[segment.id] = segment
        audience.tag_ids[tag_key(name)] = segment.id
        return segment

    def _shown(self, name: str) -> str:
        name = name.strip()
        if not name:
            raise problems.invalid(("name", "This value should not be blank."))
        if len(name) > TAG_NAME_LIMIT:
            raise problems.invalid(
                ("name", f"This value is too long. It should have {TAG_NAME_LIMIT} characters or less.")
            )
        return name.lower() if self._behaviour.tag_case == "lower" else name

    def rename(self, audience: Audience, segment: Segment, name: str) -> None:
        name = self._shown(name)
        if audience.tag_ids.get(tag_key(name), segment.id) != segment.id:
            raise problems.tag_exists()
        del audience.tag_ids[tag_key(segment.name)]
        audience.tag_ids[tag_key(name)] = segment.id
        segment.name, segment.updated_at = name, self._clock()

    def delete(self, audience: Audience, segment: Segment, request: str) -> None:
        for member in segment.members:
            _untag(audience.members[member], segment)
        del audience.segments[segment.id]
        del audience.tag_ids[tag_key(segment.name)]
        self._journal.write(
            TagChange(self._now_ms(), audience.id, segment.id, segment.name, deleted=True, request=request)
        )

    def replace(self, audience: Audience, segment: Segment, addresses: Sequence[str], request: str) -> None:
        """PATCH with `static_segment`: these and no others; an empty list empties the tag."""
        wanted = {subscriber_hash(address) for address in addresses}
        leaving = [audience.members[member] for member in segment.members if member not in wanted]
        joining = [m for key in wanted if (m := audience.members.get(key)) is not None and key not in segment.members]
        self._put(audience, segment, joining, leaving, request)

    def change(
        self, audience: Audience, segment: Segment, add: Sequence[str], remove: Sequence[str], request: str
    ) -> SegmentChange:
        if max(len(add), len(remove)) > SEGMENT_CALL_LIMIT:
            raise problems.too_many_members()
        result = SegmentChange()
        joining = self._wanted(audience, segment, add, result, joining=True)
        leaving = self._wanted(audience, segment, remove, result, joining=False)
        self._put(audience, segment, joining, leaving, request)
        return result

    def _wanted(
        self, audience: Audience, segment: Segment, addresses: Sequence[str], result: SegmentChange, *, joining: bool
    ) -> list[Member]:
        """Sorts one list into those to change (returned), those to name in the answer, and errors."""
        changing: list[Member] = []
        repeats = self._behaviour.repeats
        shown = result.added if joining else result.removed
        unique: dict[str, str] = {}
        for address in addresses:
            unique.setdefault(subscriber_hash(address), address)
        for key, address in unique.items():
            member = audience.members.get(key)
            if member is None:
                if not looks_valid(address):
                    result.fail(NOT_AN_ADDRESS, address)
                elif self._behaviour.non_members == "errors":
                    result.fail(NOT_IN_LIST, address)
            elif joining and not self._taggable(member):
                result.fail(NOT_SUBSCRIBED, address)
            elif (member.id in segment.members) is not joining:
                changing.append(member)
                shown.append(member)
            elif repeats == "added":
                shown.append(member)
            elif repeats == "errors":
                result.fail(ALREADY_IN if joining else NOT_IN, address)
        return changing

    def _taggable(self, member: Member) -> bool:
        if member.compliance or member.status in ("cleaned", "archived"):
            return False
        return member.status != "unsubscribed" or self._behaviour.unsubscribed == "tagged"

    def set_for_member(self, audience: Audience, member: Member, name: str, *, active: bool, request: str) -> None:
        """`POST …/members/{hash}/tags`: makes a missing tag; removing one that does not exist is silent."""
        segment = audience.tag(name)
        if segment is None:
            if active:
                self._put(audience, self._new(audience, name, "static", None), [member], [], request)
        elif active is not (member.id in segment.members):
            self._put(audience, segment, [member] if active else [], [] if active else [member], request)

    def forget(self, audience: Audience, member: Member, request: str) -> None:
        """The contact leaves the audience for good, and with it every tag."""
        for segment_id in sorted(member.tags):
            self._put(audience, audience.segments[segment_id], [], [member], request)

    def _put(
        self, audience: Audience, segment: Segment, joining: list[Member], leaving: list[Member], request: str
    ) -> None:
        for member in joining:
            segment.members[member.id] = None
            member.tags += (segment.id,)
        for member in leaving:
            segment.members.pop(member.id, None)
            _untag(member, segment)
        if joining or leaving:
            segment.updated_at = self._clock()
            change = TagChange(
                self._now_ms(),
                audience.id,
                segment.id,
                segment.name,
                [member.address.lower() for member in joining],
                [member.address.lower() for member in leaving],
                request=request,
            )
            self._journal.write(change)

    def _now_ms(self) -> int:
        return int(self._clock() * 1000)
