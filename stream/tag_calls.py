"""Segment calls: add and remove a tag's members 500 at a time, and read what Mailchimp said of each address.

Mailchimp's tags are static segments. At most 500 members to add and 500 to remove a call (Marketing API, "batch add or remove
segment members"); 200 with `errors[]` is normal; addresses neither confirmed nor in `errors[]` are *unconfirmed*: already so, or
silently ignored as non-members.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, TypeVar

from listwire.errors import VendorRejected, VendorUnavailable
from stream.delivery import together
from stream.late_calls import LateCalls
from stream.tag_ids import Addresses, Tag, TagIds, TagRefused
from vendors.mailchimp import SEGMENT_CALL_LIMIT, Mailchimp, Member, SegmentAnswer, segment_gone, tag_key

T = TypeVar("T")
# The retry loop with the connection already in it.
Retry = Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]


@dataclass
class Verdict:
    """Of one call: `settled` holds every address that is delivered, unconfirmed ones included."""

    settled: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    rejected: list[tuple[str, str]] = field(default_factory=list)
    added: int = 0
    removed: int = 0
    unconfirmed: int = 0


Settle = Callable[[Verdict], Awaitable[None]]


class Instead(Enum):
    """What came of a call that has no answer of its own."""

    HALVES = auto()
    NO_TAG = auto()


class TagCalls:
    """Of one account; `client` keeps to its number of connections."""

    def __init__(self, client: Mailchimp, ids: TagIds, late: LateCalls) -> None:
        self.client = client
        self.ids = ids
        self.late = late

    def until(self, closing: asyncio.Event) -> TagCalls:
        """The same, for a delivery that may have to stop: calls that still wait for a place then raise `Withdrawn`."""
        return TagCalls(self.client.until(closing), self.ids, self.late)

    async def apply(self, tag: Tag, add: Addresses, remove: Addresses, retry: Retry, settle: Settle) -> None:
        """Returns when every address was handed to `settle` once. Raises what `retry` raises. Not before `late` allows it."""
        work = _Work(self, tag, retry, settle)
        try:
            segment = await retry(lambda: work.segment(create=bool(add)))
        except TagRefused as fault:
            await work.refuse(add, remove, fault.detail)
            return
        if segment is None:
            await work.nobody_carries_it(remove)
            return
        size = SEGMENT_CALL_LIMIT
        parts = [(add[at : at + size], remove[at : at + size]) for at in range(0, max(len(add), len(remove)), size)]
        await side_by_side(parts, self.client.limit.highest, lambda part: work.call(*part))

    async def probe(self, tag: Tag, address: str, *, entered: bool) -> None:
        """One real word, tried once: returns when Mailchimp has dealt with it, whatever it says of this address. A look at the
        tag would not do: a key may be allowed to read and not to write.
        """
        add, remove = ([address], []) if entered else ([], [address])
        try:
            segment = await self.ids.find(self.client, tag, create=entered)
            if segment is not None:
                await self.update(tag, segment, add, remove)
        except TagRefused:
            return
        except VendorRejected as fault:
            if segment_gone(fault):
                self.ids.gone(tag, fault)
                await self.ids.find(self.client, tag, create=False)  # the tag, or the audience?

    async def update(self, tag: Tag, segment: int, add: Addresses, remove: Addresses) -> SegmentAnswer:
        try:
            return await self.client.update_segment_members(tag.audience, segment, add, remove)
        except VendorUnavailable as fault:
            self.late.note(fault, tag, add, remove)
            raise


class _Work:
    """The calls for one tag of one delivery."""

    def __init__(self, calls: TagCalls, tag: Tag, retry: Retry, settle: Settle) -> None:
        self.calls = calls
        self.client = calls.client
        self.ids = calls.ids
        self.tag = tag
        self.retry = retry
        self.settle = settle

    async def segment(self, *, create: bool) -> int | None:
        return await self.ids.find(self.client, self.tag, create=create)

    async def refuse(self, add: Addresses, remove: Addresses, words: str) -> None:
        await self.settle(Verdict(rejected=[(address, words) for address in (*add, *remove)]))

    async def nobody_carries_it(self, remove: Addresses) -> None:
        """Only removals, and no such tag."""
        await self.settle(Verdict(settled=list(remove), unconfirmed=len(remove)))

    async def call(self, add: Addresses, remove: Addresses) -> None:
        answer: SegmentAnswer | Instead
        try:
            answer = await self.retry(lambda: self._attempt(add, remove))
        except TagRefused as fault:
            await self.refuse(add, remove, fault.detail)
            return
        except VendorRejected as fault:
            if len(add) + len(remove) == 1:
                await self.refuse(add, remove, fault.detail)
                return
            answer = Instead.HALVES  # until the culprit is alone
        match answer:
            case Instead.HALVES:
                for its_add, its_remove in halves(add, remove):
                    await self.call(its_add, its_remove)
            case Instead.NO_TAG:
                await self.nobody_carries_it(remove)
            case SegmentAnswer():
                await self.settle(await self._read(add, remove, answer))

    async def _attempt(self, add: Addresses, remove: Addresses) -> SegmentAnswer | Instead:
        segment = await self.segment(create=bool(add))
        if segment is None:
            return Instead.NO_TAG
        try:
            answer = await self.calls.update(self.tag, segment, add, remove)
        except VendorUnavailable as fault:
            # It may have happened: again, in halves, which Mailchimp finishes sooner.
            if fault.cause == "timeout" and len(add) + len(remove) > 1:
                return Instead.HALVES
            raise
        except VendorRejected as fault:
            if segment_gone(fault):
                raise self.ids.gone(self.tag, fault) from None
            raise
        self.ids.fine(self.tag)
        return answer

    async def _read(self, add: Addresses, remove: Addresses, answer: SegmentAnswer) -> Verdict:
        verdict = Verdict(added=len(answer.added), removed=len(answer.removed))
        faults = answer.failed
        doubtful: list[tuple[str, str, bool]] = []
        for addresses, confirmed, entering in ((add, answer.added, True), (remove, answer.removed, False)):
            for address in addresses:
                if (words := faults.get(address)) is not None:
                    doubtful.append((address, words, entering))
                    continue
                verdict.settled.append(address)
                verdict.unconfirmed += address not in confirmed
        await side_by_side(doubtful, self.client.limit.highest, lambda each: self._look_up(*each, verdict))
        return verdict

    async def _look_up(self, address: str, words: str, entering: bool, verdict: Verdict) -> None:
        """An address named in `errors[]`: no member is missing; a member that is as it should be is fine; else Mailchimp refuses it."""
        try:
            member: Member | None = await self.retry(lambda: self.client.member(self.tag.audience, address))
        except VendorRejected as fault:
            verdict.rejected.append((address, f"{words} ({fault.detail})"))
            return
        if member is None or not member.in_audience:
            verdict.missing.append(address)
        elif self._carries(member) is entering:
            verdict.settled.append(address)
            verdict.unconfirmed += 1
        else:
            verdict.rejected.append((address, words))

    def _carries(self, member: Member) -> bool | None:
        """None where it cannot be told: Mailchimp shows at most 50 tags of a member, and may show none."""
        if any(tag_key(each.name) == self.tag.key for each in member.tags):
            return True
        return False if member.tags_count == len(member.tags) else None


def halves(add: Addresses, remove: Addresses) -> list[tuple[Addresses, Addresses]]:
    """Two smaller calls, neither of them empty."""
    if len(add) == 1 and len(remove) == 1:
        return [(add, ()), ((), remove)]
    some, others = (len(add) + 1) // 2, len(remove) // 2
    return [(add[:some], remove[:others]), (add[some:], remove[others:])]


async def side_by_side(items: Sequence[T], hands: int, do: Callable[[T], Awaitable[None]]) -> None:
    """Does all of them, `hands` at a time. More would only wait in the account's line, in front of other partitions' calls."""
    waiting: Iterable[T] = iter(items)

    async def hand() -> None:
        for item in waiting:
            await do(item)

    await together([hand() for _ in range(min(hands, len(items)))])
