"""A cohort against its tag: who must get the tag, who must lose it, and when so many would lose it that somebody should look first.

Pure. Addresses are trimmed and in lower case, as the worker's. Only who is subscribed in the audience can get a tag; the others of a
cohort are counted and never published, so that a second run finds nothing to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Protocol, TypeVar

from listwire.cohorts.last_words import tag_of
from listwire.cohorts.messages import TAG_CALL
from listwire.errors import ListwireError
from listwire.spoken import count

SHOWN = 5


class Named(Protocol):
    """A cohort as Amplitude lists it."""

    id: str
    name: str
    archived: bool


N = TypeVar("N", bound=Named)


class GuardRefused(ListwireError):
    """Too many would lose the tag. Nothing was done."""


@dataclass(frozen=True)
class Standing:
    """How things stand at Mailchimp: who carries the tag, and who of the cohort is subscribed in the audience."""

    carriers: AbstractSet[str]
    members: AbstractSet[str]


@dataclass(frozen=True)
class Differences:
    """`absent`: people of the cohort who are not subscribed in the audience, nor carry the tag. `carriers`: how many carry the tag now."""

    enter: Sequence[str]
    leave: Sequence[str]
    absent: int
    carriers: int

    @property
    def calls(self) -> int:
        """Segment calls that these cost. Mailchimp: at most 500 to add and 500 to remove each."""
        return -(-max(len(self.enter), len(self.leave)) // TAG_CALL)


def compare(cohort: AbstractSet[str], standing: Standing) -> Differences:
    """Who carries the tag is in the audience, whatever was read of it before."""
    wanted = {address for address in cohort if address in standing.members or address in standing.carriers}
    return Differences(
        sorted(wanted - standing.carriers),
        sorted(standing.carriers - wanted),
        len(cohort) - len(wanted),
        len(standing.carriers),
    )


def guard(found: Differences, cohort: AbstractSet[str], max_removal: float) -> None:
    """Raises `GuardRefused` where more than `max_removal` of the tag would be lost, or where an empty cohort would empty it."""
    if not found.leave:
        return
    if not cohort:
        raise GuardRefused(
            f"Amplitude's cohort has nobody with an address, and the tag has {count(found.carriers, 'member')}: "
            "the tag is left as it is. Look at the cohort and at `email_property`; --force empties the tag."
        )
    if len(found.leave) > max_removal * found.carriers:
        raise GuardRefused(
            f"{len(found.leave):,} of the tag's {count(found.carriers, 'member')} would lose it "
            f"({len(found.leave) / found.carriers:.0%}; max_removal is {max_removal:.0%}): the tag is left as it is. "
            "Look at the cohort; --force goes on."
        )


def chosen(cohorts: Iterable[N], wanted: str) -> N:
    """By id, else by the exact name, else by the name as Mailchimp compares tags. Archived cohorts have no people to ask for."""
    known = list(cohorts)
    for matches in (
        [each for each in known if each.id == wanted],
        [each for each in known if each.name == wanted],
        [each for each in known if tag_of(each.name) == tag_of(wanted)],
    ):
        usable = [each for each in matches if not each.archived]
        if len(usable) > 1:
            ids = ", ".join(f"{each.id} ({each.name!r})" for each in usable[:SHOWN])
            raise ListwireError(f"{len(usable)} cohorts of Amplitude are named {wanted!r}: name one by its id: {ids}.")
        if usable:
            return usable[0]
        if matches:
            raise ListwireError(f"Amplitude's cohort {wanted!r} ({matches[0].id}) is archived.")
    raise ListwireError(_unknown(known, wanted))


def _unknown(known: Sequence[Named], wanted: str) -> str:
    names = {tag_of(each.name): f"{each.name!r} ({each.id})" for each in known if not each.archived}
    near = difflib.get_close_matches(tag_of(wanted), names, n=SHOWN, cutoff=0.4)
    shown = ", ".join(names[each] for each in near or list(names)[:SHOWN])
    return f"Amplitude knows no cohort {wanted!r}, by name or id; " + (
        f"there is {shown}." if shown else "the project has none that can be read."
    )
