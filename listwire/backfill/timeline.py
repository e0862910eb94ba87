"""A contact's comings and goings in order: what Mailchimp tells of them, matched with the webhooks that came. Pure.

A webhook's `fired_at` may lie a second or so beside the moment that the API tells, so they are matched within a tolerance.
Where several stand so close together that nobody could say which is which, that is said, and not decided.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from listwire.backfill.contact import SUBSCRIBE, UNSUBSCRIBE, Kind, Maker
from listwire.backfill.heard import Heard


@dataclass(frozen=True, slots=True)
class Moment:
    """That somebody came or left, as the API states it. `at` is as a webhook of it would be read."""

    kind: Kind
    at: int
    maker: Maker = Maker.UNKNOWN
    campaign_id: str = ""


@dataclass(frozen=True, slots=True)
class Known:
    """One coming or going: stated, heard, or both. `doubtful`: stated, and some webhook beside it may be it, or may not."""

    kind: str
    at: int
    moment: Moment | None = None
    heard: Heard | None = None
    doubtful: bool = False


def timeline(moments: Iterable[Moment], heard: Iterable[Heard], tolerance: int) -> list[Known]:
    found: list[Known] = []
    stated, came = list(moments), list(heard)
    for kind in (SUBSCRIBE, UNSUBSCRIBE):
        found += _matched([m for m in stated if m.kind == kind], [h for h in came if h.kind == kind], tolerance)
    return _in_turn(sorted(found, key=lambda known: (known.at, known.kind)))


def _matched(moments: Sequence[Moment], heard: Sequence[Heard], tolerance: int) -> list[Known]:
    """Of one kind. What an earlier backfill wrote bears the moment's very second, and is matched first."""
    found: list[Known] = []
    left = {moment.at: moment for moment in moments}
    by_second: dict[int, Heard] = {}
    for each in heard:
        by_second.setdefault(each.at, each)
    for each in heard:
        if each.backfilled and each.at in left:
            found.append(Known(each.kind, each.at, left.pop(each.at), each))
            by_second.pop(each.at, None)
    line: list[Moment | Heard] = sorted([*left.values(), *by_second.values()], key=lambda each: each.at)
    for group in _close(line, tolerance):
        stated = [each for each in group if isinstance(each, Moment)]
        came = [each for each in group if isinstance(each, Heard)]
        doubtful = 0 < len(came) < len(stated)
        for moment in stated:
            match = came.pop(0) if came and not doubtful else None
            found.append(Known(moment.kind, moment.at, moment, match, doubtful))
        if not stated:
            found += [Known(each.kind, each.at, None, each) for each in came]
    return found


def _close(line: Sequence[Moment | Heard], tolerance: int) -> list[list[Moment | Heard]]:
    """Neighbours that are no further apart than the tolerance belong together."""
    groups: list[list[Moment | Heard]] = []
    for each in line:
        if groups and each.at - groups[-1][-1].at <= tolerance:
            groups[-1].append(each)
        else:
            groups.append([each])
    return groups


def _in_turn(line: list[Known]) -> list[Known]:
    """In one second, what goes on from before comes first: whoever is subscribed leaves before subscribing again."""
    for index in range(len(line) - 1):
        here, after = line[index], line[index + 1]
        before = line[index - 1].kind if index else UNSUBSCRIBE
        if here.at == after.at and here.kind == before != after.kind:
            line[index], line[index + 1] = after, here
    return line
