"""All contacts' verdicts together, and their counts by day. Pure: it only adds up."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from listwire.backfill.contact import Contact, Entry
from listwire.backfill.derive import Listed, Missed, Rules, derive, needs_history
from listwire.backfill.heard import Topic


@dataclass
class Day:
    """Of one day in UTC, by kind; `listed` by the last moment at which it can have been."""

    there: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)
    listed: int = 0


@dataclass
class Plan:
    """`missed` in the order of their times. `looked_at` counts contacts, `there` webhooks in the topic."""

    missed: list[Missed] = field(default_factory=list)
    listed: list[Listed] = field(default_factory=list)
    looked_at: int = 0
    there: int = 0
    untold: int = 0
    young: int = 0
    days: dict[str, Day] = field(default_factory=lambda: defaultdict(Day))

    @property
    def found(self) -> int:
        return self.there + len(self.missed)

    @property
    def contacts_listed(self) -> int:
        return len({listed.contact.hash for listed in self.listed})


def suspects(contacts: Iterable[Contact], topic: Topic, rules: Rules) -> list[Contact]:
    """Those whose history must be asked for."""
    return [contact for contact in contacts if needs_history(contact, topic.of(contact), rules)]


def ids_differ(contacts: Iterable[Contact], topic: Topic) -> bool:
    """Whether webhooks name contacts by other ids than the API, as far as the topic can tell: then insert_ids would differ."""
    same: Counter[bool] = Counter()
    for contact in contacts:
        same.update(topic.ids(contact))
    return same[False] > 0 and same[True] == 0


def plan(contacts: Sequence[Contact], feeds: Mapping[str, Sequence[Entry] | None], topic: Topic, rules: Rules) -> Plan:
    """`feeds`: subscriber hash → history, of the suspects. The others count, and nothing is missing of them."""
    made = Plan(looked_at=len(contacts))
    rules = replace(rules, ids_differ=ids_differ(contacts, topic))
    for contact in contacts:
        if contact.hash not in feeds:
            continue
        verdict = derive(contact, feeds[contact.hash], topic.of(contact), rules)
        made.missed += verdict.missed
        made.listed += verdict.listed
        made.untold += verdict.untold
        made.young += verdict.young
        made.there += len(verdict.there)
        for heard in verdict.there:
            made.days[_day(heard.at)].there[heard.kind] += 1
        for missed in verdict.missed:
            made.days[_day(missed.at)].missed[missed.kind] += 1
        for listed in verdict.listed:
            last = rules.until - 1 if listed.before is None else listed.before
            made.days[_day(max(rules.since, min(last, rules.until - 1)))].listed += 1
    made.missed.sort(key=lambda missed: (missed.at, missed.contact.hash))
    return made


def _day(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).date().isoformat()
