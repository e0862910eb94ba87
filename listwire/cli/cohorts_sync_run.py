"""One run of a cohort schedule: the cohort from Amplitude, the tag from Mailchimp, the differences into the topic.

It never writes to Mailchimp: the worker does, as with every other change. Nothing is published before all of it was read.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from listwire import topics
from listwire.cli.cohorts_audience import stand
from listwire.cli.cohorts_sync_topic import carried_out, mark, not_paused, spoken_of
from listwire.cli.progress import Advance, progress
from listwire.clock import Clock
from listwire.cohorts.differences import Differences, Standing, chosen, compare, guard
from listwire.cohorts.last_words import LastWords
from listwire.cohorts.members import Member
from listwire.cohorts.messages import Cohort, Published, pairs
from listwire.cohorts.publishing import publish_together
from listwire.errors import ListwireError
from listwire.patterns import matches
from listwire.settings import Settings
from stream.codecs.cohort_change import NAME_LIMIT, User, address_of
from vendors.accounts import amplitude_cohorts
from vendors.amplitude_cohorts import LARGEST_COHORT, Pace, People, pull
from vendors.amplitude_cohorts import Cohort as Listed
from vendors.amplitude_cohorts.pull import patient


@dataclass(frozen=True)
class How:
    """`patience`: seconds that the worker may take to carry out what was published before; `show`: how long work shows itself."""

    clock: Clock
    pace: Pace
    patience: float
    force: bool = False
    dry_run: bool = False
    show: Callable[[str], AbstractContextManager[Advance]] = progress


@dataclass
class Result:
    """`left_alone`: people of whom the topic said something while the cohort was on its way."""

    schedule: str
    sync: str
    audience: str
    cohort: Listed
    people: People
    differences: Differences
    left_alone: int = 0
    dry_run: bool = False
    made: Published = field(default_factory=Published)

    @property
    def document(self) -> dict[str, Any]:
        found = self.differences
        return {
            "schedule": self.schedule, "sync": self.sync, "audience": self.audience,
            "cohort_id": self.cohort.id, "cohort_name": self.cohort.name, "topic": topics.COHORT_CHANGES,
            "users": self.people.users, "without_address": self.people.without_address,
            "addresses": len(self.people.addresses), "absent": found.absent, "tagged": found.carriers,
            "entering": len(found.enter), "leaving": len(found.leave), "left_alone": self.left_alone,
            "segment_calls": found.calls, "messages": self.made.messages, "dry_run": self.dry_run,
            "published": [
                {"partition": place.partition, "messages": place.messages, "first_offset": place.first, "last_offset": place.last}
                for place in self.made.places.values()
            ],
        }  # fmt: skip


async def sync_once(settings: Settings, name: str, how: How) -> Result:
    """Raises `GuardRefused`, `Paused`, or another ListwireError; then nothing was published."""
    schedule = settings.cohort_schedules[name]
    sync = settings.cohort_syncs[schedule.sync]
    if not how.dry_run:
        await not_paused(settings.kafka, schedule.sync)
    async with amplitude_cohorts(settings, schedule.amplitude, pace=how.pace) as client:
        cohort = chosen(await patient(client.cohorts, how.clock), schedule.cohort)
        fit(settings, schedule.sync, cohort)
        before = None if how.dry_run else await mark(settings.kafka, cohort.id)
        with how.show(f"Fetching {cohort.name!r} from Amplitude"):
            where = schedule.email_property or sync.email_property
            people = await pull(client, cohort.id, where, _usable, how.clock)
    if before is not None and not how.force:
        await carried_out(settings.kafka, before, how.clock, how.patience)
    standing = await stand(settings, sync, cohort.name, people.addresses, how.clock, how.show)
    # An address of Mailchimp's that the worker would not take for one would become a dead letter, run after run.
    carriers = {address for address in standing.carriers if _usable(address)}
    found = compare(people.addresses, Standing(carriers, standing.members))
    left_alone = 0
    if before is not None and (found.enter or found.leave):
        spoken = await spoken_of(settings.kafka, before, LastWords(cohort.name, schedule.sync, sync))
        kept = without(found, spoken)
        left_alone = len(found.enter) + len(found.leave) - len(kept.enter) - len(kept.leave)
        found = kept
    if not how.force:
        guard(found, people.addresses, schedule.max_removal)
    result = Result(name, schedule.sync, sync.audience, cohort, people, found, left_alone, how.dry_run)
    if not how.dry_run and (found.enter or found.leave):
        result.made = await _publish(settings, result, sync.email_property, how)
    return result


def fit(settings: Settings, sync: str, cohort: Listed) -> None:
    """What can be known before a download is spent."""
    if len(cohort.name) >= NAME_LIMIT:
        raise ListwireError(
            f"The cohort's name has {len(cohort.name)} characters; a tag takes at most {NAME_LIMIT - 1}: rename it in Amplitude."
        )
    if not cohort.name.strip():
        raise ListwireError(f"The cohort {cohort.id} has no name, so there is no tag for it: name it in Amplitude.")
    patterns = settings.cohort_syncs[sync].cohorts
    if not matches(cohort.name, patterns):
        raise ListwireError(
            f"cohort_syncs.{sync}.cohorts = {patterns} do not match {cohort.name!r}, so nobody would be tagged: add it there."
        )
    if cohort.size > LARGEST_COHORT:
        raise ListwireError(
            f"{cohort.name!r} has {cohort.size:,} users, and Amplitude gives out cohorts of at most {LARGEST_COHORT:,}: "
            "take its cohort webhook for this one."
        )


def _usable(text: str) -> str | None:
    """The worker's own judgement."""
    return address_of(User(user_id=text), "user_id")


def without(found: Differences, spoken: set[str]) -> Differences:
    """Later words than ours were said of these."""
    return Differences(
        [address for address in found.enter if address not in spoken],
        [address for address in found.leave if address not in spoken],
        found.absent,
        found.carriers,
    )


async def _publish(settings: Settings, result: Result, email_property: str, how: How) -> Published:
    found = result.differences
    groups = pairs(
        Cohort(result.cohort.id, result.cohort.name, (email_property,)),
        (Member(address, None, 0) for address in found.enter),
        (Member(address, None, 0) for address in found.leave),
        run_id=str(uuid.uuid4()),
        computed_at=int(how.clock.time()),
    )
    total, done = len(found.enter) + len(found.leave), 0
    with how.show("Publishing users") as advance:

        def acknowledged(users: int) -> None:
            nonlocal done
            done += users
            advance(done, total)

        return await publish_together(
            settings.kafka, groups, key=result.cohort.id, sync=result.sync, clock=how.clock, acknowledged=acknowledged
        )
