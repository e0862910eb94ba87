"""Who should carry a cohort's tag, told from the topic alone: the last word on each address that one sync has heard. Pure.

Order is by offset. A replayed change speaks from the place of the change it repeats, because the worker drops its users of
whom something later was said; a forced one too, but where that place is no longer known it comes before all others. Between two cohorts of one name, which lie in
different partitions, only Kafka's time stamps tell which word was later.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from listwire import topics
from listwire.dead_letters import parse_origin, text
from listwire.patterns import matches
from listwire.settings.models import CohortSync

if TYPE_CHECKING:
    from listwire.kafka_reader import Record


class Change(Protocol):
    """What is needed of a decoded cohort change."""

    cohort_id: str
    cohort_name: str
    entered: bool


def tag_of(name: str) -> str:
    """Names with the same tag, as Mailchimp compares them."""
    return name.strip().casefold()


@dataclass(frozen=True, slots=True)
class Word:
    entered: bool
    partition: int
    place: int
    timestamp: int

    def later_than(self, other: Word) -> bool:
        if self.partition == other.partition:
            return self.place >= other.place
        return self.timestamp >= other.timestamp


@dataclass
class LastWords:
    """Of one cohort's name, for the sync of that name. Feed it every record of the topic, in order per partition."""

    name: str
    sync_name: str
    sync: CohortSync
    words: dict[str, Word] = field(default_factory=dict)
    messages: int = 0
    without_address: int = 0
    cohort_ids: set[str] = field(default_factory=set)
    other_names: dict[str, str] = field(default_factory=dict)

    def hear(self, record: Record, change: Change, addresses: Sequence[str | None]) -> None:
        """`addresses`: of each user of the change, None where there is no usable one."""
        if not self._hears(record, change):
            return
        if tag_of(change.cohort_name) != tag_of(self.name):
            self.other_names[tag_of(change.cohort_name)] = change.cohort_name
            return
        if (place := _place(record)) is None:
            return
        self.messages += 1
        self.cohort_ids.add(change.cohort_id)
        word = Word(change.entered, record.partition, place, record.timestamp)
        for address in addresses:
            if address is None:
                self.without_address += 1
            elif (before := self.words.get(address)) is None or word.later_than(before):
                self.words[address] = word

    def carriers(self) -> Iterator[str]:
        """The addresses that should carry the tag."""
        return (address for address, word in self.words.items() if word.entered)

    def _hears(self, record: Record, change: Change) -> bool:
        named = _header(record, topics.SYNC)
        return named in {None, self.sync_name} and matches(change.cohort_name, self.sync.cohorts)


def _place(record: Record) -> int | None:
    """The offset a change speaks from; None for one that the worker skips, because nobody can tell what came after its origin."""
    try:
        topic, partition, offset = parse_origin(_header(record, topics.REPLAY_OF) or "")
    except ValueError:
        return record.offset
    if topic != topics.COHORT_CHANGES:
        return record.offset
    if partition == record.partition and offset < record.offset:
        return offset
    return None if _header(record, topics.REPLAY_FORCE) is None else -1


def _header(record: Record, name: str) -> str | None:
    """The first of that name: the one that the worker reads."""
    return next((text(value) for found, value in record.headers if found == name), None)
