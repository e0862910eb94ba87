"""Which static segment a tag is: remembered, found, or created. And when to give up on one.

A tag that Mailchimp will not have, or that never turns up, must not hold up its partition for ever: `TagRefused` makes dead
letters of its own changes and of nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from listwire.clock import Clock
from listwire.errors import VendorRefused, VendorRejected, VendorUnavailable
from vendors.mailchimp import Mailchimp, not_found, tag_exists, tag_key

# A tag in trouble is tried for so long: creations show up in searches and listings only after a while.
PATIENCE = 60.0
Addresses = Sequence[str]


@dataclass(frozen=True)
class Tag:
    audience: str
    name: str

    @property
    def key(self) -> str:
        """Mailchimp compares names without case, and may change it."""
        return tag_key(self.name)


class TagRefused(Exception):
    """Nothing can be done with this tag, whoever it is for. `detail` holds Mailchimp's words."""

    def __init__(self, tag: Tag, words: str) -> None:
        self.detail = f"Mailchimp refuses the tag {tag.name!r}: {words}"
        super().__init__(self.detail)


class TagIds:
    """Of one account. An id is remembered until Mailchimp says that it is gone."""

    def __init__(self, clock: Clock, patience: float = PATIENCE) -> None:
        self.clock = clock
        self.patience = patience
        self._ids: dict[tuple[str, str], int] = {}
        self._finding: dict[tuple[str, str], asyncio.Lock] = {}
        self._trouble: dict[tuple[str, str], tuple[float, float]] = {}  # first and last seen

    async def find(self, client: Mailchimp, tag: Tag, *, create: bool) -> int | None:
        """None where there is no such tag and none is to be made. Raises `VendorRefused` where the audience itself cannot be
        used, `TagRefused`, and what the client raises.
        """
        place = (tag.audience, tag.key)
        if place in self._ids:
            return self._ids[place]
        async with self._finding.setdefault(place, asyncio.Lock()):
            # Whoever stood in front may have found it.
            found = self._ids.get(place) or await self._search(client, tag)
            if found is None and create:
                found = await self._create(client, tag)
            if found is not None:
                self._ids[place] = found
            return found

    async def _search(self, client: Mailchimp, tag: Tag) -> int | None:
        try:
            # Prefix match on Mailchimp's side; the whole name, without case, is ours to find.
            tags = await client.tag_search(tag.audience, tag.name.strip())
        except (VendorRejected, VendorUnavailable) as fault:
            if fault.status in {404, 405}:  # no such audience, or something in front of Mailchimp that knows no search
                return await self._listed(client, tag)
            if isinstance(fault, VendorRejected):
                raise _not_to_be_had(tag, fault) from None
            raise
        return next((each.id for each in tags if tag_key(each.name) == tag.key), None)

    async def _listed(self, client: Mailchimp, tag: Tag) -> int | None:
        try:
            async for segment in client.static_segments(tag.audience):
                if tag_key(segment.name) == tag.key:
                    return segment.id
        except VendorRejected as fault:
            raise _not_to_be_had(tag, fault) from None
        return None

    async def _create(self, client: Mailchimp, tag: Tag) -> int:
        try:
            return (await client.create_segment(tag.audience, tag.name)).id
        except VendorRejected as fault:
            if not tag_exists(fault):
                raise _not_to_be_had(tag, fault) from None
            exists = fault
        # Somebody else was faster, or the search does not show it yet: look everywhere.
        if (found := await self._listed(client, tag)) is not None:
            return found
        # Also so where a segment that is no tag has the name: then it never shows.
        raise self._in_trouble(tag, exists, f"{exists.detail} But no tag of this name is listed.", "tag_race")

    def gone(self, tag: Tag, fault: VendorRejected) -> Exception:
        """To be raised when Mailchimp says that there is no such segment: deleted by hand, it is looked for and made again."""
        self._ids.pop((tag.audience, tag.key), None)
        return self._in_trouble(tag, fault, fault.detail, "tag_gone")

    def fine(self, tag: Tag) -> None:
        """Mailchimp has taken a call for this tag."""
        self._trouble.pop((tag.audience, tag.key), None)

    def _in_trouble(self, tag: Tag, fault: VendorRejected, words: str, cause: str) -> Exception:
        now = self.clock.monotonic()
        first, last = self._trouble.get((tag.audience, tag.key), (now, now))
        if now - last > self.patience:
            first = now  # that was another time
        self._trouble[tag.audience, tag.key] = (first, now)
        if now - first >= self.patience:
            return TagRefused(tag, words)
        return VendorUnavailable(fault.vendor, fault.status, words, cause=cause, may_have_happened=False)


def _not_to_be_had(tag: Tag, fault: VendorRejected) -> Exception:
    if not_found(fault):
        # No such audience: nothing of this connection passes.
        return VendorRefused(fault.vendor, fault.status, fault.detail)
    return TagRefused(tag, fault.detail)
