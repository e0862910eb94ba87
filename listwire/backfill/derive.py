"""What one contact's record, feed and webhooks say together: the events that were missed, and what cannot be told. Pure.

Two times state an event, and no others do. `timestamp_opt` is when the contact last opted in: a subscribe. An `unsub` of the
activity feed is an unsubscribe. `last_changed` moves with every edit and states nothing; it bounds what is listed. Whatever
else must have happened, since nobody leaves twice without coming back, is listed with the times between which it did.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from listwire.backfill.contact import SUBSCRIBE, UNSUBSCRIBE, Contact, Entry, Kind, Maker
from listwire.backfill.heard import UPEMAIL, Heard
from listwire.backfill.makers import Hook, Told, subscriber
from listwire.backfill.timeline import Known, Moment, timeline
from listwire.backfill.times import Zone

# A webhook of the same kind so near, and nothing in between: it may be the same event, fired late.
NEAR: Final = 600


class Why(StrEnum):
    """Why an event is listed and not written; the value is for scripts, `SAID` for people."""

    TIME_UNKNOWN = "time_unknown"
    TIME_DOUBTFUL = "time_doubtful"
    MAKER_UNKNOWN = "maker_unknown"
    TOO_CLOSE = "too_close"
    NEAR_WEBHOOK = "near_webhook"
    ADDRESS_CHANGED = "address_changed"
    ID_DIFFERS = "id_differs"
    NO_ID = "no_id"
    ARCHIVED = "archived"
    NO_HISTORY = "no_history"


SAID: Final = {
    Why.TIME_UNKNOWN: "it must have happened, but Mailchimp does not state when",
    Why.TIME_DOUBTFUL: "the time stated may have been set by an import or a call, or by a request that nobody confirmed",
    Why.MAKER_UNKNOWN: "perhaps an admin or the API did it, of which the webhook is not told (--any-maker writes it)",
    Why.TOO_CLOSE: "several within seconds, and fewer webhooks: nobody can say which is missing",
    Why.NEAR_WEBHOOK: "a webhook a few minutes beside it may be the same",
    Why.ADDRESS_CHANGED: "the address has changed, so the contact id of that time is not known",
    Why.ID_DIFFERS: "webhooks name this address by another contact id than the API",
    Why.NO_ID: "the API gives no contact id, or no address",
    Why.ARCHIVED: "archived or deleted: whether Mailchimp fires a webhook for that is not documented",
    Why.NO_HISTORY: "Mailchimp shows no history of this contact",
}


@dataclass(frozen=True)
class Rules:
    """Seconds since the epoch; `until` is exclusive. `quick` leaves out histories that
    tell nothing as long as Mailchimp moves `timestamp_opt` at every subscription. `ids_differ`: the API's contact ids are not those of the webhooks.
    """

    since: int
    until: int
    zone: Zone
    hook: Hook
    tolerance: int = 5
    any_maker: bool = False
    quick: bool = False
    ids_differ: bool = False

    def holds(self, at: int) -> bool:
        return self.since <= at < self.until

    def touched(self, after: int, before: int) -> bool:
        """Whether something strictly between may lie within."""
        return after < self.until - 1 and before > self.since


@dataclass(frozen=True, slots=True)
class Missed:
    contact: Contact
    kind: Kind
    at: int
    fired_at: str
    campaign_id: str = ""


@dataclass(frozen=True, slots=True)
class Listed:
    """`after` and `before` bound it, equal where the moment is stated; None where there is no bound."""

    contact: Contact
    kind: str
    why: Why
    after: int | None
    before: int | None


@dataclass
class Verdict:
    """`there` are the webhooks in the topic, `untold` what no webhook tells, `young` what Mailchimp may still bring."""

    missed: list[Missed] = field(default_factory=list)
    there: list[Heard] = field(default_factory=list)
    listed: list[Listed] = field(default_factory=list)
    untold: int = 0
    young: int = 0


def needs_history(contact: Contact, heard: Sequence[Heard], rules: Rules) -> bool:
    """With `quick`, not of contacts that were subscribed before and still are, of whom nothing else came: edits of profiles,
    mostly.
    """
    if contact.status == "transactional" or not rules.quick:
        return contact.status != "transactional"
    if contact.status != "subscribed" or contact.opted is None or contact.opted >= rules.since - rules.tolerance:
        return True
    return any(each.kind != UPEMAIL and each.at >= rules.since for each in heard) or _last(heard) == UNSUBSCRIBE


def _last(heard: Sequence[Heard]) -> str:
    return next((each.kind for each in reversed(heard) if each.kind != UPEMAIL), "")


def derive(contact: Contact, feed: Sequence[Entry] | None, heard: Sequence[Heard], rules: Rules) -> Verdict:
    """`feed` is None where Mailchimp shows none. The same input gives the same verdict, whenever it is asked."""
    verdict = Verdict(there=_there(heard, rules))
    if contact.status == "transactional":
        return verdict
    entries = feed or ()
    left = [Moment(UNSUBSCRIBE, rules.zone.as_fired(e.at), e.maker, e.campaign_id) for e in entries if e.left]
    opted = [] if contact.opted is None else [Moment(SUBSCRIBE, rules.zone.as_fired(contact.opted))]
    line = timeline([*left, *opted], heard, rules.tolerance)
    if opted and not _trusted(contact, line):
        line, doubted = _without(line, opted[0])
        if doubted and rules.holds(opted[0].at):
            verdict.listed.append(Listed(contact, SUBSCRIBE, Why.TIME_DOUBTFUL, opted[0].at, opted[0].at))
    if feed is None:
        verdict.listed.append(Listed(contact, "", Why.NO_HISTORY, rules.since, contact.changed))
    near = set(_near(line))
    for known in line:
        if known.moment is None or known.heard is not None:
            continue
        moment = _made(known.moment, contact, entries, line, rules)
        told = rules.hook.told(moment.kind, moment.maker)
        if not rules.holds(moment.at):
            verdict.young += moment.at >= rules.until and told is not Told.NO
        elif told is Told.NO:
            verdict.untold += 1
        elif why := _why_not(known, moment, contact, entries, heard, rules, near=known in near):
            verdict.listed.append(Listed(contact, moment.kind, why, moment.at, moment.at))
        else:
            fired_at = rules.zone.fired_at(_stated(moment, contact, entries, rules))
            verdict.missed.append(Missed(contact, moment.kind, moment.at, fired_at, moment.campaign_id))
    verdict.listed += _hidden(line, contact, entries, rules, near)
    return verdict


def _there(heard: Sequence[Heard], rules: Rules) -> list[Heard]:
    seen = {(each.kind, each.at): each for each in heard if each.kind != UPEMAIL and rules.holds(each.at)}
    return list(seen.values())


def _trusted(contact: Contact, line: Sequence[Known]) -> bool:
    """Whether `timestamp_opt` is when somebody was subscribed. Whoever is subscribed was; so was whoever has left since, or
    came by a form. An address added as unsubscribed, or one that was asked and has not answered, was not.
    """
    if contact.status == "subscribed" or (contact.status != "pending" and contact.came_by is Maker.USER):
        return True
    return bool(line) and line[-1].kind == UNSUBSCRIBE and any(known.kind == SUBSCRIBE for known in line)


def _without(line: list[Known], moment: Moment) -> tuple[list[Known], bool]:
    """The line without this moment, and whether no webhook bore it out."""
    for index, known in enumerate(line):
        if known.moment == moment and known.heard is None:
            return line[:index] + line[index + 1 :], True
    return line, False


def _near(line: Sequence[Known]) -> Iterator[Known]:
    for one, other in itertools.pairwise(line):
        if one.kind == other.kind and other.at - one.at <= NEAR:
            if one.moment is None and other.heard is None:
                yield other
            elif other.moment is None and one.heard is None:
                yield one


def _made(moment: Moment, contact: Contact, feed: Sequence[Entry], line: Sequence[Known], rules: Rules) -> Moment:
    if moment.kind == UNSUBSCRIBE:
        return moment
    maker = subscriber(moment, contact, feed, line, rules.hook, rules.tolerance)
    return Moment(moment.kind, moment.at, maker)


def _stated(moment: Moment, contact: Contact, feed: Sequence[Entry], rules: Rules) -> int:
    """The moment itself: in the hour that a clock repeats it is not what a webhook of it is read as."""
    stated = [entry.at for entry in feed if entry.left] if moment.kind == UNSUBSCRIBE else [contact.opted or 0]
    return next(at for at in stated if rules.zone.as_fired(at) == moment.at)


def _why_not(
    known: Known,
    moment: Moment,
    contact: Contact,
    feed: Sequence[Entry],
    heard: Sequence[Heard],
    rules: Rules,
    *,
    near: bool,
) -> Why | None:
    if not contact.id or "@" not in contact.address:
        return Why.NO_ID
    if rules.ids_differ:
        return Why.ID_DIFFERS
    if (other := _other_id(contact, moment, heard)) is not None:
        return other
    if known.doubtful:
        return Why.TOO_CLOSE
    if near:
        return Why.NEAR_WEBHOOK
    if moment.kind == SUBSCRIBE and moment.maker in {Maker.API, Maker.ADMIN}:
        # Calls and imports may set `timestamp_opt` to whatever they like; the feed's own sign-up bears it out.
        beside = any(not e.left and abs(e.at - moment.at) <= rules.tolerance for e in feed)
        if not beside:
            return Why.TIME_DOUBTFUL
    if rules.hook.told(moment.kind, moment.maker) is Told.MAYBE and not rules.any_maker:
        return Why.MAKER_UNKNOWN
    return None


def _other_id(contact: Contact, moment: Moment, heard: Sequence[Heard]) -> Why | None:
    """Whether the contact may have had another id then. It goes with the address; its web id stays."""
    address = contact.address.strip().lower()
    others = [each for each in heard if each.contact not in {contact.id, each.address}]
    if any(each.kind != UPEMAIL and each.address == address for each in others):
        return Why.ID_DIFFERS
    moved = bool(others) or any(each.kind == UPEMAIL for each in heard)
    by_then = any(each.contact == contact.id and each.at <= moment.at for each in heard)
    return Why.ADDRESS_CHANGED if moved and not by_then else None


def _hidden(
    line: Sequence[Known], contact: Contact, feed: Sequence[Entry], rules: Rules, near: set[Known]
) -> Iterator[Listed]:
    """What must have happened between, before or after what is known."""

    def must(kind: str, after: int | None, before: int | None, why: Why = Why.TIME_UNKNOWN) -> Iterator[Listed]:
        ends = (rules.since - 1 if after is None else after), (rules.until if before is None else before)
        if kind in rules.hook.events and rules.touched(*ends):
            yield Listed(contact, kind, why, after, before)

    if line and line[0].kind == UNSUBSCRIBE and not _came_before(contact, feed, rules):
        yield from must(SUBSCRIBE, None, line[0].at)
    for one, other in itertools.pairwise(line):
        if one.kind == other.kind and not {one, other} & near:
            yield from must(SUBSCRIBE if one.kind == UNSUBSCRIBE else UNSUBSCRIBE, one.at, other.at)
    last = line[-1] if line else None
    # Mailchimp's own second of the change may be told a little earlier than the webhook's.
    changed = None if contact.changed is None else contact.changed + rules.tolerance
    after = None if last is None else last.at
    if contact.status == "archived":
        if last is None or last.heard is None or last.heard.action != "delete":
            yield from must(UNSUBSCRIBE, after, changed, Why.ARCHIVED)
    elif contact.status in {"subscribed", "cleaned"}:
        if (last is None or last.kind == UNSUBSCRIBE) and (contact.status == "subscribed" or last is not None):
            yield from must(SUBSCRIBE, after, changed)
    elif last is None:
        if contact.status == "unsubscribed":
            yield from must(UNSUBSCRIBE, None, changed)
    elif last.kind == SUBSCRIBE:
        yield from must(UNSUBSCRIBE, after, changed)


def _came_before(contact: Contact, feed: Sequence[Entry], rules: Rules) -> bool:
    came = [entry.at for entry in feed if not entry.left]
    if contact.signed_up is not None:
        came.append(contact.signed_up)
    return any(at < rules.since for at in came)
