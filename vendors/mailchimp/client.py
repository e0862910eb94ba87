"""Mailchimp's Marketing API, the part that Listwire uses: audiences, members, tags and webhooks.

It knows the API's limits and errors and holds no retry loop: a call raises, and the delivery core, which owns the only
retry, calls again; the connection limit paces that call. It never subscribes, changes or deletes a member: no such
call is here.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Collection, Sequence
from typing import Any, Protocol, Self, TypeVar

import httpx
import msgspec

from listwire import metrics
from listwire.errors import VendorRejected
from vendors.mailchimp.answers import (
    MEMBER_FIELDS,
    Activity,
    Audience,
    Member,
    Segment,
    SegmentAnswer,
    SegmentCall,
    Tag,
    Webhook,
    segment_answer,
)
from vendors.mailchimp.connection_limit import ConnectionLimit
from vendors.mailchimp.names import subscriber_hash
from vendors.mailchimp.problems import VENDOR, not_found
from vendors.mailchimp.transport import Transport, path

SEGMENT_CALL_LIMIT = 500
"""Mailchimp: at most 500 members to add, and 500 to remove, a call."""
PAGE = 1000
"""Mailchimp: `count` is at most 1000."""
OVERLAP = 50
"""Members read twice at a page's edge: what changes or leaves meanwhile shifts the rest, and would hide one from us."""
ACTIVITIES = (
    "unsub", "squatter_signup", "website_signup", "landing_page_signup", "ecommerce_signup", "generic_signup",
)  # fmt: skip
"""Entries of the activity feed that tell of a contact's coming and going."""
EVENTS = ("subscribe", "unsubscribe", "profile", "cleaned", "upemail", "campaign")
SOURCES = ("user", "admin", "api")


class _WithId(Protocol):
    id: Any


Item = TypeVar("Item", bound=_WithId)


class _Page(Protocol[Item]):
    items: list[Item]
    total_items: int | None


class _Audiences(msgspec.Struct):
    items: list[Audience] = msgspec.field(name="lists")
    total_items: int | None = None


class _Members(msgspec.Struct):
    items: list[Member] = msgspec.field(name="members")
    total_items: int | None = None


class _Segments(msgspec.Struct):
    items: list[Segment] = msgspec.field(name="segments")
    total_items: int | None = None


class _Tags(msgspec.Struct):
    tags: list[Tag] = []


class _Activities(msgspec.Struct):
    activity: list[Activity] = []


class _Webhooks(msgspec.Struct):
    webhooks: list[Webhook] = []


class Mailchimp:
    """One Mailchimp account. `base_url` is the root in front of `/3.0` (see `base_url_for`).

    Every call raises the tree of `listwire.errors`. At most `max_connections` calls are under way at once, fewer while
    Mailchimp complains: `limit.current`. Use as an async context manager, or call `aclose`.
    """

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | None = None,
        access_token: str | None = None,
        max_connections: int = 10,
        timeout: float = 30.0,
        limiter: ConnectionLimit | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.limit = limiter or ConnectionLimit(max_connections)
        self._transport = Transport(
            base_url, api_key=api_key, access_token=access_token, limit=self.limit, timeout=timeout, transport=transport
        )
        self._call = self._transport.call

    def until(self, withdraw: asyncio.Event) -> Self:
        """The same client, for one who may have to stop: a call that still waits for its place when `withdraw` is set raises
        `Withdrawn`; one that was sent goes on to its answer.
        """
        other = copy.copy(self)
        other._transport = self._transport.until(withdraw)
        other._call = other._transport.call
        return other

    # The account and its audiences --------------------------------------------------------------------------------

    async def ping(self) -> None:
        """Returns when the key is accepted."""
        await self._call("GET", path("ping"), dict[str, Any])

    async def lists(self) -> AsyncIterator[Audience]:
        async for audience in self._pages(_Audiences, path("lists"), {}):
            yield audience

    async def list_(self, audience: str) -> Audience:
        return await self._call("GET", path("lists", audience), Audience)

    # Members ------------------------------------------------------------------------------------------------------

    async def members(
        self,
        audience: str,
        *,
        since_last_changed: str = "",
        before_last_changed: str = "",
        status: str = "",
        fields: Sequence[str] = MEMBER_FIELDS,
    ) -> AsyncIterator[Member]:
        """Each member once, least recently changed first. Times are ISO 8601 and exclusive, in whole seconds."""
        query = {"since_last_changed": since_last_changed, "before_last_changed": before_last_changed, "status": status}
        query |= {"sort_field": "last_changed", "sort_dir": "ASC"}
        where = path("lists", audience, "members")
        async for member in self._pages(_Members, where, query | _narrowed(fields)):
            yield member

    async def member(self, audience: str, address: str) -> Member | None:
        """None where the address was never in the audience; look at `in_audience` for one that was archived."""
        query = {"fields": ",".join(MEMBER_FIELDS)}
        try:
            return await self._call(
                "GET", path("lists", audience, "members", subscriber_hash(address)), Member, query=query
            )
        except VendorRejected as error:
            if not_found(error):
                return None
            raise

    async def activity(self, audience: str, member: str) -> list[Activity] | None:
        """When the contact of this subscriber hash signed up and unsubscribed, the newest first, as far as the feed tells;
        None where Mailchimp knows no such contact. It promises no count of them: a page that is not full is the last.
        """
        where = path("lists", audience, "members", member, "activity-feed")
        fields = ",".join(f"activity.{name}" for name in Activity.__struct_fields__)
        query = {"activity_filters": ",".join(ACTIVITIES), "fields": fields, "count": str(PAGE)}
        found: list[Activity] = []
        while True:
            try:
                page = await self._call("GET", where, _Activities, query=query | {"offset": str(len(found))})
            except VendorRejected as error:
                if not_found(error):
                    return None
                raise
            found += page.activity
            if len(page.activity) < PAGE:
                return found

    # Tags ---------------------------------------------------------------------------------------------------------

    async def static_segments(self, audience: str) -> AsyncIterator[Segment]:
        """All tags of the audience."""
        async for segment in self._pages(_Segments, path("lists", audience, "segments"), {"type": "static"}):
            yield segment

    async def tag_search(self, audience: str, name: str = "") -> list[Tag]:
        """Tags whose names begin with `name`, without regard to case; compare with `tag_key` to find the one."""
        query = {"name": name} if name else {}
        return (await self._call("GET", path("lists", audience, "tag-search"), _Tags, query=query)).tags

    async def create_segment(self, audience: str, name: str) -> Segment:
        """An empty tag. Raises `VendorRejected` with `tag_exists` where somebody was faster."""
        body = {"name": name, "static_segment": []}
        return await self._call("POST", path("lists", audience, "segments"), Segment, body=body)

    async def delete_segment(self, audience: str, segment: int) -> None:
        await self._call("DELETE", path("lists", audience, "segments", segment), type(None))

    async def update_segment_members(
        self, audience: str, segment: int, add: Sequence[str], remove: Sequence[str]
    ) -> SegmentAnswer:
        """Puts the tag on `add` and takes it off `remove`, at most 500 addresses each. Doing it twice does no harm.

        Raises `VendorRejected` with `segment_gone` where the tag was deleted meanwhile.
        """
        if max(len(add), len(remove)) > SEGMENT_CALL_LIMIT:
            raise ValueError(f"at most {SEGMENT_CALL_LIMIT} members to add and {SEGMENT_CALL_LIMIT} to remove a call")
        body = {"members_to_add": list(add), "members_to_remove": list(remove)}
        metrics.EVENTS_SENT(vendor=VENDOR).observe(len(add) + len(remove))
        return segment_answer(
            await self._call("POST", path("lists", audience, "segments", segment), SegmentCall, body=body)
        )

    async def segment_members(
        self, audience: str, segment: int, *, fields: Sequence[str] = ("id", "email_address", "status")
    ) -> AsyncIterator[Member]:
        """Who carries the tag, unsubscribed and cleaned contacts included."""
        query = dict.fromkeys(("include_cleaned", "include_transactional", "include_unsubscribed"), "true")
        where = path("lists", audience, "segments", segment, "members")
        async for member in self._pages(_Members, where, query | _narrowed(fields)):
            yield member

    # Webhooks -----------------------------------------------------------------------------------------------------

    async def webhooks(self, audience: str) -> list[Webhook]:
        return (await self._call("GET", path("lists", audience, "webhooks"), _Webhooks)).webhooks

    async def create_webhook(
        self, audience: str, url: str, *, events: Collection[str], sources: Collection[str]
    ) -> Webhook:
        """Mailchimp first checks the URL with a GET. The answer alone holds the signing secret.

        Raises `VendorRejected`: with `webhook_exists` where the audience has this URL already, or with Mailchimp's words
        where the URL did not answer 200.
        """
        body = {"url": url, **_switched(events, sources)}
        return await self._call("POST", path("lists", audience, "webhooks"), Webhook, body=body)

    async def update_webhook(
        self, audience: str, webhook: str, *, url: str | None = None, events: Collection[str], sources: Collection[str]
    ) -> Webhook:
        body = {**({"url": url} if url else {}), **_switched(events, sources)}
        return await self._call("PATCH", path("lists", audience, "webhooks", webhook), Webhook, body=body)

    async def delete_webhook(self, audience: str, webhook: str) -> None:
        await self._call("DELETE", path("lists", audience, "webhooks", webhook), type(None))

    # ----------------------------------------------------------------------------------------------------------------

    async def _pages(self, kind: type[_Page[Item]], where: str, query: dict[str, str]) -> AsyncIterator[Item]:
        """Every item once. Pages overlap, since an offset into a list that changes would skip what moved up."""
        asked = {name: value for name, value in query.items() if value} | {"count": str(PAGE)}
        seen: set[Any] = set()
        offset = 0
        while True:
            page = await self._call("GET", where, kind, query=asked | {"offset": str(offset)})
            for item in page.items:
                if item.id not in seen:
                    seen.add(item.id)
                    yield item
            reached = offset + len(page.items)
            if not page.items or (page.total_items is not None and reached >= page.total_items):
                return
            offset = max(reached - OVERLAP, offset + (len(page.items) + 1) // 2)

    async def aclose(self) -> None:
        await self._transport.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()


def _narrowed(fields: Sequence[str]) -> dict[str, str]:
    """`id` and `total_items` are always asked for: by them repeats and the end are told."""
    return {"fields": ",".join(("total_items", *(f"members.{name}" for name in dict.fromkeys(("id", *fields)))))}


def _switched(events: Collection[str], sources: Collection[str]) -> dict[str, dict[str, bool]]:
    """All switches, those that are off too: what Mailchimp makes of a missing one is not documented."""
    unknown = set(events) - set(EVENTS) | set(sources) - set(SOURCES)
    if unknown:
        raise ValueError(f"no such webhook event or source: {', '.join(sorted(unknown))}")
    return {"events": {name: name in events for name in EVENTS}, "sources": {name: name in sources for name in SOURCES}}
