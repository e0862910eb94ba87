"""Cohort changes to tags of one Mailchimp audience (design: "Cohorts → Mailchimp tags"), for one cohort sync.

Within a delivery the last word per tag and address wins, so its calls may run together, within the account's connections; the
next delivery of the partition waits until all of them have settled. Listwire never creates nor subscribes anybody: who is not
in the audience is counted as missing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from listwire import logs, metrics, topics
from listwire.errors import VendorRefused, VendorUnavailable
from listwire.records import Reason, Rejection
from listwire.settings.models import CohortSync
from stream.codecs.cohort_change import CohortChange, address_of, only
from stream.cohort_history import ReadLater, header, replay_origin
from stream.connections import Connection
from stream.dead_letters import Dead
from stream.delivery import Settlement, together
from stream.retry import Parked
from stream.tag_calls import Tag, TagCalls, Verdict

log = logs.get("stream.to_mailchimp")

SAMPLED = 5


class Change:
    """One message for one sync. `open` holds the indices of users that have not settled."""

    __slots__ = ("change", "open", "record")

    def __init__(self, record: Any, change: CohortChange) -> None:
        self.record = record
        self.change = change
        self.open = set(range(len(change.users)))


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
        self._cohorts_of: dict[str, set[str]] = {}

    def matches(self, cohort_name: str) -> bool:
        return any(fnmatchcase(cohort_name, pattern) for pattern in self.sync.cohorts)

    async def deliver(self, items: Sequence[Change], settlement: Settlement) -> None:
        for item in items:
            await self._drop_out_of_date(item, settlement)
        words = await self._coalesce(items, settlement)
        try:
            if self.connection.parked and not await self._probe(words):
                raise Parked(self.connection.parked_because)
            await together([self._apply(each, settlement) for each in words])
        except Parked as parked:
            await self._bury(
                ((item, item.open) for item in items), Reason.CONNECTION_REFUSED, parked.detail, settlement
            )

    async def _drop_out_of_date(self, item: Change, settlement: Settlement) -> None:
        """A replayed change speaks only for users of whom nothing later was said."""
        origin = replay_origin(item.record)
        if origin is None or header(item.record, topics.REPLAY_FORCE) is not None:
            return
        partition, offset = origin
        change = item.change
        here = item.record.offset

        later = await settlement.attempts.until_it_passes(
            lambda: self.read_later(partition, offset, here, change.cohort_id, self.sync.email_property)
        )
        if later.first > offset or partition != item.record.partition:
            log.warning(
                "a replayed change is skipped: its origin is no longer in Kafka",
                connection=self.connection.name,
                origin=f"{partition}/{offset}",
            )
            self._filter(item, set(item.open), "origin_gone", settlement)
            return
        addresses, ids = later.spoken_of(offset, here, self.name)
        stale = {i for i in item.open if self._spoken_of(change, i, addresses, ids)}
        if stale:
            log.info(
                "users of a replayed change are skipped: later changes speak of them",
                connection=self.connection.name,
                users=len(stale),
            )
        self._filter(item, stale, "out_of_date", settlement)

    def _spoken_of(self, change: CohortChange, i: int, addresses: set[str], ids: set[str]) -> bool:
        user = change.users[i]
        if user is None:
            return False
        return address_of(user, self.sync.email_property) in addresses or (
            user.user_id is not None and str(user.user_id) in ids
        )

    async def _coalesce(self, items: Sequence[Change], settlement: Settlement) -> list[Words]:
        """The last word per tag and address; what an earlier change said of it is superseded. Users without an address go to
        dead letters here, with only themselves in the message.
        """
        by_tag: dict[str, Words] = {}
        for item in items:
            tag = Tag(self.sync.audience, item.change.cohort_name)
            self._note_cohort(tag, item.change.cohort_id)
            words = by_tag.setdefault(tag.key, Words(tag))
            lost: dict[Reason, list[int]] = {}
            for i in sorted(item.open):
                user = item.change.users[i]
                address = address_of(user, self.sync.email_property) if user is not None else None
                if address is None:
                    lost.setdefault(Reason.INVALID_FIELD if user is None else Reason.NO_USABLE_ADDRESS, []).append(i)
                    continue
                if (before := words.last.pop(address, None)) is not None:
                    self._filter(before[1], {before[2]}, "superseded", settlement)
                words.last[address] = (item.change.entered, item, i)
            for reason, indices in lost.items():
                detail = (
                    f"users[{indices[0]}] is no object"
                    if reason is Reason.INVALID_FIELD
                    else f"{len(indices)} users have no address in {self.sync.email_property!r}"
                )
                await self._bury([(item, indices)], reason, detail, settlement)
        return [words for words in by_tag.values() if words.last]

    def _note_cohort(self, tag: Tag, cohort_id: str) -> None:
        seen = self._cohorts_of.setdefault(tag.key, set())
        if cohort_id not in seen:
            seen.add(cohort_id)
            if len(seen) > 1:
                log.warning(
                    "two cohorts of one name share a tag",
                    connection=self.connection.name,
                    tag=tag.name,
                    cohorts=sorted(seen),
                )
                shared = sum(len(ids) for ids in self._cohorts_of.values() if len(ids) > 1)
                metrics.SHARED_TAGS(connection=self.connection.name).set(shared)

    async def _probe(self, words: Sequence[Words]) -> bool:
        """Whether a parked connection is accepted again, asked now and then with the tag of one real change."""
        if not words or not self.connection.take_probe():
            return False
        try:
            await self.calls.find(words[0].tag)
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

    async def _apply(self, words: Words, settlement: Settlement) -> None:
        attempts = settlement.attempts

        def retry(call: Callable[[], Awaitable[Any]]) -> Awaitable[Any]:
            async def paced() -> Any:
                # The account's pause after a complaint, here, where closing ends it; inside the client it could not.
                if (seconds := self.calls.client.limit.paused_for) > 0:
                    await attempts.pause(seconds)
                return await call()

            return attempts.until_it_passes(paced, self.connection)

        async def settle(verdict: Verdict) -> None:
            await self._settle(words, verdict, settlement)

        add = [address for address, (entered, _, _) in words.last.items() if entered]
        remove = [address for address, (entered, _, _) in words.last.items() if not entered]
        await self.calls.apply(words.tag, add, remove, retry, settle)
        self.connection.passed()

    async def _settle(self, words: Words, verdict: Verdict, settlement: Settlement) -> None:
        """What became of the addresses of one call."""
        count = metrics.COHORT_MEMBERS
        name = self.connection.name
        for outcome, amount in (
            ("added", verdict.added),
            ("removed", verdict.removed),
            ("unconfirmed", verdict.unconfirmed),
        ):
            if amount:
                count(connection=name, outcome=outcome).inc(amount)
        if verdict.missing:
            count(connection=name, outcome="missing").inc(len(verdict.missing))
            sample = [logs.address_hash(address) for address in verdict.missing[:SAMPLED]]
            log.info(
                "not in the audience", connection=name, tag=words.tag.name, users=len(verdict.missing), sample=sample
            )
        rejected: dict[tuple[int, str], tuple[Change, list[int]]] = {}
        for address, detail in verdict.rejected:
            _, item, i = words.last[address]
            rejected.setdefault((id(item), detail), (item, []))[1].append(i)
        for (_, detail), (item, indices) in rejected.items():
            count(connection=name, outcome="rejected").inc(len(indices))
            await self._bury([(item, indices)], Reason.REJECTED_BY_MAILCHIMP, detail, settlement)
        for address in verdict.missing:
            _, item, i = words.last[address]
            self._filter(item, {i}, "missing", settlement)
        for address in verdict.settled:
            _, item, i = words.last[address]
            item.open.discard(i)
        settlement.account.delivered(name, len(verdict.settled))

    def _filter(self, item: Change, indices: set[int], why: str, settlement: Settlement) -> None:
        if indices:
            item.open -= indices
            settlement.account.filtered(self.connection.name, why, len(indices))

    async def _bury(
        self, parts: Iterable[tuple[Change, Iterable[int]]], reason: Reason, detail: str, settlement: Settlement
    ) -> None:
        found = [(item, sorted(indices)) for item, indices in parts]
        dead = [
            Dead(
                item.record,
                self.connection.name,
                Rejection(reason, detail),
                only(item.change.value, indices),
                len(indices),
            )
            for item, indices in found
            if indices
        ]
        await settlement.bury(dead)
        for item, indices in found:
            item.open.difference_update(indices)
