"""Whether a webhook would have been told of a change. Pure.

A webhook asks for events from `user`, `admin` and `api`; what others did fires nothing, and so nothing was missed. The API
says who made a change only by hints, and where they do not suffice the answer is "nobody can say".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from listwire.backfill.contact import UNSUBSCRIBE, Contact, Entry, Maker
from listwire.backfill.timeline import Known, Moment


class Told(Enum):
    YES = "yes"
    NO = "no"
    MAYBE = "nobody can say"


@dataclass(frozen=True)
class Hook:
    """Which events the webhook asks for, and from whom."""

    events: frozenset[str]
    sources: frozenset[str]

    def told(self, kind: str, maker: Maker) -> Told:
        on = self.sources
        if kind not in self.events or not on:
            return Told.NO
        if on >= {"user", "admin", "api"}:
            return Told.YES
        if maker is Maker.UNKNOWN:
            return Told.MAYBE
        # What the API asked for, a person may have confirmed.
        asked = {Maker.API: {"api", "user"}, Maker.ADMIN_OR_API: {"admin", "api"}}.get(maker, {str(maker)})
        return Told.YES if asked <= on else Told.MAYBE if asked & on else Told.NO


def subscriber(
    moment: Moment, contact: Contact, feed: Sequence[Entry], line: Sequence[Known], hook: Hook, tolerance: int
) -> Maker:
    """Who made a subscription: the sign-up beside it says so; else, for a first one, how the contact came.

    For a further one: whoever has unsubscribed themselves can only be subscribed again by themselves, anybody else is answered
    "Member In Compliance State".
    """
    beside = [entry for entry in feed if not entry.left and abs(entry.at - moment.at) <= tolerance]
    if any(entry.maker is Maker.USER for entry in beside):
        return Maker.USER
    before = [known for known in line if known.at <= moment.at and known.moment != moment]
    if not before:
        return contact.came_by
    last = before[-1]
    if beside or last.kind != UNSUBSCRIBE:
        return Maker.UNKNOWN
    if last.moment is not None:
        return Maker.USER if last.moment.maker is Maker.USER else Maker.UNKNOWN
    # "delete" is an archived contact, whom anybody may add again.
    by_themselves = last.heard is not None and last.heard.action == "unsub" and hook.sources == {"user"}
    return Maker.USER if by_themselves else Maker.UNKNOWN
