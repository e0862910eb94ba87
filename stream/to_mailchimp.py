"""Cohort changes to tags of one Mailchimp audience (design: "Cohorts → Mailchimp tags"), for one cohort sync.

Within a delivery the last word per tag and address wins, so its calls may run together, within the account's connections; the
next delivery of the partition waits until all of them have settled. Listwire never creates nor subscribes anybody: who is not
in the audience is counted as missing.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from listwire import logs, metrics, topics
from listwire.errors import VendorRefused, VendorUnavailable
from listwire.patterns import matches
from listwire.records import Reason, Rejection
from listwire.settings.models import CohortSync
from stream.codecs.cohort_change import CohortChange, address_of
from stream.cohort_history import READ_AT_ONCE, Hearing, Question, ReadLater, header, names_of, replay_origin
from stream.connections import Connection
from stream.dead_letters import Dead
from stream.delivery import Settlement, together
from stream.retry import Closing, Parked
from stream.shared_tags import SharedTags
from stream.tag_calls import TagCalls, Verdict
from stream.tag_ids import Tag
from vendors.mailchimp import Withdrawn

log = logs.get("stream.to_mailchimp")

SAMPLED = 5


class Change:
    """One message for one sync. `open` holds the indices of users that have not settled."""

    __slots__ = ("change", "open", "record")

    def __init__(self, record: Any, change: CohortChange) -> None:
        self.record = record
        self.change = change
        self.open = set(range(len(change)))


@dataclass
class Words:
    """The last word per address for one tag: address → (entered, the change and user index that said so)."""

    tag: Tag
    last: dict[str, tuple[bool, Change, int]] = field(default_factory=dict)


class MailchimpCourier:
    def __init__(
        self, name: str, sync: CohortSync, connection: Connection, calls: TagCalls, read_later: ReadLater
    ) -> None:
        self.name = name
        self.sync = sync
        self.connection = connection
        self.calls = calls
        self.read_later = read_later
        self.shared_tags = SharedTags(connection.name)

    def matches(self, cohort_name: str) -> bool:
        return matches(cohort_name, self.sync.cohorts)

    async def deliver(self, items: Sequence[Change], settlement: Settlement) -> None:
        calls = self.calls.until(settlement.attempts.closing)
        await self._drop_out_of_date(items, settlement)
        words = await self._coalesce(items, settlement)
        try:
            if self.connection.parked and not await self._probe(words, calls):
                raise Parked(self.connection.parked_because)
            await together([self._apply(each, calls, settlement) for each in words])
        except Parked as parked:
            await self._bury(
                ((item, item.open) for item in items), Reason.CONNECTION_REFUSED, parked.detail, settlement
            )

    async def _drop_out_of_date(self, items: Sequence[Change], settlement: Settlement) -> None:
        """A replayed change speaks only for users of whom nothing later was said."""
        asking: dict[int, list[tuple[Change, Question]]] = {}
        for item in items:
            record, change = item.record, item.change
            origin = replay_origin(record, record.topic)
            if origin is None:
                continue
            # A partition that it was not read from cannot tell what came after it.
            after = origin[1] if origin[0] == record.partition else record.offset
            force = header(record, topics.REPLAY_FORCE) is not None
            question = Question(change.cohort_id, after, record.offset, force)
            for i in range(len(change)):
                question.ask(i, names_of(change.user(i), self.sync.email_property))
                if i % READ_AT_ONCE == READ_AT_ONCE - 1:
                    await asyncio.sleep(0)
            asking.setdefault(record.partition, []).append((item, question))
        for partition, asked in asking.items():
            hearing = Hearing(partition, self.name, self.sync.email_property, settlement.attempts.go_on)
            questions = [question for _, question in asked]
            await settlement.attempts.until_it_passes(partial(self.read_later, hearing, questions))
            for item, question in asked:
                self._drop(item, question, settlement)

    def _drop(self, item: Change, question: Question, settlement: Settlement) -> None:
        why, whom, words = (
            ("origin_gone", set(item.open), "a replayed change is skipped: its origin is no longer in Kafka")
            if question.gone
            else ("out_of_date", question.stale, "users of a replayed change are skipped: later changes speak of them")
        )
        if whom:
            log.warning(
                words, connection=self.connection.name, users=len(whom), origin=header(item.record, topics.REPLAY_OF)
            )
            self._filter(item, whom, why, settlement)

    async def _coalesce(self, items: Sequence[Change], settlement: Settlement) -> list[Words]:
        """The last word per tag and address; what an earlier change said of it is superseded. Users without an address go to
        dead letters here, with only themselves in the message.
        """
        by_tag: dict[str, Words] = {}
        for item in items:
            tag = Tag(self.sync.audience, item.change.cohort_name)
            repeated = header(item.record, topics.REPLAY_OF) is not None
            self.shared_tags.note(tag, item.change.cohort_id, current=item.change.entered and not repeated)
            words = by_tag.setdefault(tag.key, Words(tag))
            lost: dict[Reason, list[int]] = {}
            superseded: dict[int, tuple[Change, set[int]]] = {}
            for nth, i in enumerate(sorted(item.open)):
                if nth % READ_AT_ONCE == READ_AT_ONCE - 1:
                    await asyncio.sleep(0)
                user = item.change.user(i)
                address = address_of(user, self.sync.email_property) if user is not None else None
                if address is None:
                    lost.setdefault(Reason.INVALID_FIELD if user is None else Reason.NO_USABLE_ADDRESS, []).append(i)
                    continue
                if (before := words.last.pop(address, None)) is not None:
                    superseded.setdefault(id(before[1]), (before[1], set()))[1].add(before[2])
                words.last[address] = (item.change.entered, item, i)
            for earlier, indices in superseded.values():
                self._filter(earlier, indices, "superseded", settlement)
            for reason, whom in lost.items():
                detail = (
                    f"users[{whom[0]}] is none that the schema allows"
                    if reason is Reason.INVALID_FIELD
                    else f"{len(whom)} of {len(item.change)} users have no address in {self.sync.email_property!r}"
                )
                await self._bury([(item, whom)], reason, detail, settlement)
        return [words for words in by_tag.values() if words.last]

    async def _probe(self, words: Sequence[Words], calls: TagCalls) -> bool:
        """Whether a parked connection is accepted again, asked now and then with one real word."""
        if not words:
            return False
        address, (entered, _, _) = next(iter(words[0].last.items()))
        word = ([address], []) if entered else ([], [address])
        if calls.late.seconds(words[0].tag, *word) or not self.connection.take_probe():
            return False
        try:
            await calls.probe(words[0].tag, address, entered=entered)
        except Withdrawn:
            raise Closing from None
        except VendorRefused as fault:
            self.connection.refused(fault)
            return False
        except VendorUnavailable as fault:
            log.warning(
                "the probe of a parked connection failed", connection=self.connection.name, detail=fault.detail[:200]
            )
            return False
        self.connection.passed()
        return True

    async def _apply(self, words: Words, calls: TagCalls, settlement: Settlement) -> None:
        attempts = settlement.attempts

        async def retry(call: Callable[[], Awaitable[Any]]) -> Any:
            async def paced() -> Any:
                # The account's pause after a complaint, here, where waiting counts as moving.
                if (seconds := calls.client.limit.paused_for) > 0:
                    await attempts.pause(seconds)
                return await call()

            try:
                return await attempts.until_it_passes(paced, self.connection)
            except Withdrawn:
                raise Closing from None

        async def settle(verdict: Verdict) -> None:
            self.connection.passed()
            await self._settle(words, verdict, settlement)

        add = [address for address, (entered, _, _) in words.last.items() if entered]
        remove = [address for address, (entered, _, _) in words.last.items() if not entered]
        if (seconds := calls.late.seconds(words.tag, add, remove)) > 0:
            log.warning(
                "an older call without an answer may be carried out yet; newer words of the same contacts wait",
                connection=self.connection.name,
                tag=words.tag.name,
                seconds=round(seconds, 1),
            )
            await attempts.pause(seconds)
        await calls.apply(words.tag, add, remove, retry, settle)

    async def _settle(self, words: Words, verdict: Verdict, settlement: Settlement) -> None:
        """What became of the addresses of one call."""
        counted = {"added": verdict.added, "removed": verdict.removed, "unconfirmed": verdict.unconfirmed}
        counted |= {"missing": len(verdict.missing), "rejected": len(verdict.rejected)}
        for outcome, amount in counted.items():
            if amount:
                metrics.COHORT_MEMBERS(connection=self.connection.name, outcome=outcome).inc(amount)
        by_words: dict[str, list[str]] = {}
        for address, detail in verdict.rejected:
            by_words.setdefault(without(address, detail), []).append(address)
        for detail, addresses in by_words.items():
            await self._bury(whose(words, addresses), Reason.REJECTED_BY_MAILCHIMP, detail, settlement)
        if verdict.missing:
            sample = [logs.address_hash(address) for address in verdict.missing[:SAMPLED]]
            log.info(
                "not in the audience",
                connection=self.connection.name,
                tag=words.tag.name,
                users=len(verdict.missing),
                sample=sample,
            )
            for item, indices in whose(words, verdict.missing):
                self._filter(item, indices, "missing", settlement)
        for item, indices in whose(words, verdict.settled):
            item.open.difference_update(indices)
        settlement.account.delivered(self.connection.name, len(verdict.settled))

    def _filter(self, item: Change, indices: Collection[int], why: str, settlement: Settlement) -> None:
        item.open.difference_update(indices)
        settlement.account.filtered(self.connection.name, why, len(indices))

    async def _bury(
        self, parts: Iterable[tuple[Change, Collection[int]]], reason: Reason, detail: str, settlement: Settlement
    ) -> None:
        found = [(item, sorted(indices)) for item, indices in parts if indices]
        await settlement.bury(
            [
                Dead(
                    item.record,
                    self.connection.name,
                    Rejection(reason, detail),
                    item.change.only(indices),
                    len(indices),
                )
                for item, indices in found
            ]
        )
        for item, indices in found:
            item.open.difference_update(indices)


def whose(words: Words, addresses: Iterable[str]) -> list[tuple[Change, list[int]]]:
    """The changes, and in each the users, whose words these are."""
    found: dict[int, tuple[Change, list[int]]] = {}
    for address in addresses:
        _, item, i = words.last[address]
        found.setdefault(id(item), (item, []))[1].append(i)
    return list(found.values())


def without(address: str, words: str) -> str:
    """So that one dead letter holds all whom the same words fit."""
    if address not in words.lower():
        return words
    return re.sub(re.escape(address), "(address)", words, flags=re.IGNORECASE)
