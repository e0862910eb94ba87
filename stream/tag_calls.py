"""Segment calls: find or create a tag, add and remove members 500 at a time, and read what Mailchimp said of each address.

Mailchimp's tags are static segments. At most 500 members to add and 500 to remove a call (Marketing API, "batch add or remove
segment members"); 200 with `errors[]` is normal; addresses neither confirmed nor in `errors[]` are *unconfirmed*: already so, or
silently ignored as non-members.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from listwire.errors import VendorRefused, VendorRejected, VendorUnavailable
from stream.delivery import together
from vendors.mailchimp import (
    SEGMENT_CALL_LIMIT,
    Mailchimp,
    Member,
    SegmentAnswer,
    not_found,
    segment_gone,
    tag_exists,
    tag_key,
)

# The retry loop with the connection already in it.
Retry = Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]


@dataclass(frozen=True)
class Tag:
    audience: str
    name: str

    @property
    def key(self) -> str:
        """Mailchimp compares names without case, and may change it."""
        return tag_key(self.name)


@dataclass
class Verdict:
    """Of one call: `settled` holds every address that is delivered, unconfirmed ones included."""

    settled: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    rejected: list[tuple[str, str]] = field(default_factory=list)
    added: int = 0
    removed: int = 0
    unconfirmed: int = 0


class TagCalls:
    """Of one account; `client` keeps to its number of connections. Segment ids are remembered until Mailchimp says they are gone."""

    def __init__(self, client: Mailchimp) -> None:
        self.client = client
        self._ids: dict[tuple[str, str], int] = {}
        self._finding: dict[tuple[str, str], asyncio.Lock] = {}

    async def apply(
        self,
        tag: Tag,
        add: Sequence[str],
        remove: Sequence[str],
        retry: Retry,
        settle: Callable[[Verdict], Awaitable[None]],
    ) -> None:
        """Returns when every address was handed to `settle` once. Raises what `retry` raises."""
        try:
            segment = await retry(lambda: self._find_or_create(tag)) if add else await retry(lambda: self.find(tag))
        except VendorRejected as fault:
            words = f"Mailchimp refuses the tag {tag.name!r}: {fault.detail}"
            await settle(Verdict(rejected=[(address, words) for address in (*add, *remove)]))
            return
        if segment is None:  # only removals, and no such tag: nobody carries it
            await settle(Verdict(settled=list(remove), unconfirmed=len(remove)))
            return
        calls = max(-(-len(add) // SEGMENT_CALL_LIMIT), -(-len(remove) // SEGMENT_CALL_LIMIT))
        parts = [
            (
                add[i * SEGMENT_CALL_LIMIT : (i + 1) * SEGMENT_CALL_LIMIT],
                remove[i * SEGMENT_CALL_LIMIT : (i + 1) * SEGMENT_CALL_LIMIT],
            )
            for i in range(calls)
        ]
        await together([self._call(tag, its_add, its_remove, retry, settle) for its_add, its_remove in parts])

    async def find(self, tag: Tag) -> int | None:
        """The tag's segment id, remembered or asked for."""
        known = self._ids.get((tag.audience, tag.key))
        if known is not None:
            return known
        try:
            # Prefix match on Mailchimp's side; the exact name, without case, is ours to find.
            found = next(
                (
                    each.id
                    for each in await self.client.tag_search(tag.audience, tag.name.strip())
                    if tag_key(each.name) == tag.key
                ),
                None,
            )
        except VendorRejected as fault:
            raise _of_the_audience(fault) from None
        if found is not None:
            self._ids[tag.audience, tag.key] = found
        return found

    async def _find_or_create(self, tag: Tag) -> int:
        lock = self._finding.setdefault((tag.audience, tag.key), asyncio.Lock())
        async with lock:
            found = await self.find(tag)
            if found is not None:
                return found
            try:
                made: int = (await self.client.create_segment(tag.audience, tag.name)).id
            except VendorRejected as fault:
                if not tag_exists(fault):
                    if not_found(fault):
                        raise _of_the_audience(fault) from None
                    raise
                # Somebody else was faster, or the search does not show it yet: look everywhere.
                made = await self._look_everywhere(tag, fault)
            self._ids[tag.audience, tag.key] = made
            return made

    async def _look_everywhere(self, tag: Tag, fault: VendorRejected) -> int:
        async for segment in self.client.static_segments(tag.audience):
            if tag_key(segment.name) == tag.key:
                return int(segment.id)
        raise VendorUnavailable(
            "mailchimp",
            fault.status,
            f"{fault.detail} But it is not listed.",
            cause="tag_race",
            may_have_happened=False,
        )

    def forget(self, tag: Tag) -> None:
        self._ids.pop((tag.audience, tag.key), None)

    async def _call(
        self,
        tag: Tag,
        add: Sequence[str],
        remove: Sequence[str],
        retry: Retry,
        settle: Callable[[Verdict], Awaitable[None]],
    ) -> None:
        if not add and not remove:
            return
        halve = False

        async def attempt() -> SegmentAnswer | None:
            nonlocal halve
            segment = await self._find_or_create(tag) if add else await self.find(tag)
            if segment is None:
                return None
            try:
                return await self.client.update_segment_members(tag.audience, segment, add, remove)
            except VendorUnavailable as fault:
                # It may have happened: again, in halves, which Mailchimp finishes sooner.
                if fault.cause == "timeout" and len(add) + len(remove) > 1:
                    halve = True
                    return None
                raise
            except VendorRejected as fault:
                if segment_gone(fault):
                    self.forget(tag)  # deleted by hand: the next attempt makes it again
                    raise VendorUnavailable(
                        "mailchimp", fault.status, fault.detail, cause="tag_gone", may_have_happened=False
                    ) from None
                raise

        try:
            answer = await retry(attempt)
        except VendorRejected as fault:
            if len(add) + len(remove) == 1:
                await settle(Verdict(rejected=[((*add, *remove)[0], fault.detail)]))
                return
            halve = True
            answer = None
        if halve:
            await self._halves(tag, add, remove, retry, settle)
        elif answer is None:
            await settle(Verdict(settled=list(remove), unconfirmed=len(remove)))
        else:
            await settle(await self._read(tag, add, remove, answer, retry))

    async def _halves(
        self,
        tag: Tag,
        add: Sequence[str],
        remove: Sequence[str],
        retry: Retry,
        settle: Callable[[Verdict], Awaitable[None]],
    ) -> None:
        if len(add) + len(remove) == 2 and add and remove:
            pairs: list[tuple[Sequence[str], Sequence[str]]] = [(add, ()), ((), remove)]
        else:
            a, r = (len(add) + 1) // 2, len(remove) // 2
            pairs = [(add[:a], remove[:r]), (add[a:], remove[r:])]
        for its_add, its_remove in pairs:
            await self._call(tag, its_add, its_remove, retry, settle)

    async def _read(
        self, tag: Tag, add: Sequence[str], remove: Sequence[str], answer: SegmentAnswer, retry: Retry
    ) -> Verdict:
        verdict = Verdict(added=len(answer.added), removed=len(answer.removed))
        faults = answer.failed
        for addresses, confirmed, entering in ((add, answer.added, True), (remove, answer.removed, False)):
            for address in addresses:
                words = faults.get(address)
                if words is None:
                    verdict.settled.append(address)
                    if address not in confirmed:
                        verdict.unconfirmed += 1
                else:
                    await self._look_up(tag, address, words, entering, verdict, retry)
        return verdict

    async def _look_up(
        self, tag: Tag, address: str, words: str, entering: bool, verdict: Verdict, retry: Retry
    ) -> None:
        """An address named in `errors[]`: no member is missing; a member that is as it should be is fine; else Mailchimp refuses it."""
        member = await retry(lambda: self._member(tag.audience, address))
        if member is None or not member.in_audience:
            verdict.missing.append(address)
        elif any(tag_key(each.name) == tag.key for each in member.tags) == entering:
            verdict.settled.append(address)
            verdict.unconfirmed += 1
        else:
            verdict.rejected.append((address, words))

    async def _member(self, audience: str, address: str) -> Member | None:
        try:
            return await self.client.member(audience, address)
        except VendorRejected as fault:
            raise VendorUnavailable(
                "mailchimp", fault.status, fault.detail, cause="member", may_have_happened=False
            ) from None


def _of_the_audience(fault: VendorRejected) -> VendorRefused:
    """The audience itself cannot be used: nothing of this connection passes."""
    return VendorRefused(fault.vendor, fault.status, fault.detail)
