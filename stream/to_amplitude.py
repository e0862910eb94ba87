"""Events to Amplitude: the whole answer table (design: "Mailchimp → Amplitude"), for one connection.

A large delivery is split by contact into several requests sent together; within each contact nothing overtakes. What is
halved goes left half first, and the right one only when the left has settled.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Protocol

from listwire import logs
from listwire.clock import Clock
from listwire.errors import VendorRefused, VendorUnavailable
from listwire.records import Reason
from stream.codecs.mailchimp_webhook import Event
from stream.connections import Connection
from stream.dead_letters import Dead, rejected
from stream.delivery import Settlement, together
from stream.retry import Parked
from vendors.amplitude import Accepted, Answer, Doubted, Invalid, Rejected, Throttled, TooLarge

log = logs.get("stream.to_amplitude")

# Amplitude forgets an `insert_id` after 7 days; what was accepted longer ago would count again.
WITNESS_FOR = 6 * 86_400.0


class Sender(Protocol):
    async def send(self, events: Sequence[bytes]) -> Answer: ...


class AmplitudeCourier:
    """parallel: requests under way at once for one delivery of one partition. max_bytes counts the events' bytes."""

    def __init__(
        self,
        connection: Connection,
        client: Sender,
        clock: Clock,
        *,
        max_events: int,
        max_bytes: int,
        throttle_wait: float,
        parallel: int = 4,
    ) -> None:
        self.connection = connection
        self.client = client
        self.clock = clock
        self.max_events = max_events
        self.max_bytes = max_bytes
        self.throttle_wait = throttle_wait
        self.parallel = parallel
        # An event that was accepted, and when: what a doubted request is held against.
        self._witness: tuple[bytes, float] | None = None

    async def deliver(self, items: Sequence[Event], settlement: Settlement) -> None:
        if self.connection.parked:
            items = await self._probe(items, settlement)
        shards = by_contact(items, self.max_events, self.parallel)
        if shards:
            await together([self._shard(shard, settlement) for shard in shards])

    async def _probe(self, items: Sequence[Event], settlement: Settlement) -> Sequence[Event]:
        """A parked connection: dead letters at once, but for one real record now and then that asks. Returns what is left
        to send, which is everything behind an accepted probe.
        """
        first, rest = items[:1], items[1:]
        if self.connection.take_probe():
            # While it is parked the retry loop would raise Parked at once, so the probe goes past it: one attempt.
            try:
                answer = await self.client.send([first[0].body])
            except VendorRefused as fault:
                self.connection.refused(fault)
            except VendorUnavailable as fault:
                log.warning(
                    "the probe of a parked connection failed",
                    connection=self.connection.name,
                    detail=fault.detail[:200],
                )
            else:
                if not isinstance(answer, Doubted):
                    self.connection.passed()
                    await self._shard(first, settlement)  # a repeated insert_id counts once
                    return rest
        await self._park(items, self.connection.parked_because, settlement)
        return ()

    async def _shard(self, events: Sequence[Event], settlement: Settlement) -> None:
        batches = list(limited(events, self.max_events, self.max_bytes))
        for index, batch in enumerate(batches):
            try:
                await self._settle(batch, settlement)
            except Parked as parked:
                left = [event for later in batches[index:] for event in later]
                open_ = [event for event in left if not event.settled]
                await self._park(open_, parked.detail, settlement)
                return

    async def _settle(self, events: Sequence[Event], settlement: Settlement) -> None:
        """Returns when each has settled. Raises `Parked` (some may have settled), or `Closing`."""
        while events:
            ask = partial(self._ask, events, settlement)
            answer = await settlement.attempts.until_it_passes(ask, self.connection)
            match answer:
                case Accepted():
                    self._delivered(events, settlement)
                    return
                case Invalid(faults):
                    named = [(event, faults[i]) for i, event in enumerate(events) if i in faults]
                    if not named:
                        answer = Rejected("; ".join(sorted(set(faults.values()))))
                        await self._halve(events, Reason.REJECTED_BY_AMPLITUDE, answer.detail, settlement)
                        return
                    await self._bury(named, Reason.REJECTED_BY_AMPLITUDE, settlement)
                    events = [event for i, event in enumerate(events) if i not in faults]
                case Rejected(detail) | Doubted(detail):
                    await self._halve(events, Reason.REJECTED_BY_AMPLITUDE, detail, settlement)
                    return
                case TooLarge():
                    await self._halve(
                        events, Reason.TOO_LARGE, "413: one event alone is larger than Amplitude takes", settlement
                    )
                    return
                case Throttled():
                    events = await self._wait(events, answer, settlement)

    async def _ask(self, events: Sequence[Event], settlement: Settlement) -> Answer:
        """One request. A 403 is the connection's refusal unless something else of it passes right now."""
        answer = await self.client.send([event.body for event in events])
        if isinstance(answer, Accepted):
            self.connection.passed()
            self._witness = events[0].body, self.clock.monotonic()
        elif isinstance(answer, Doubted):
            if not await self._others_pass(events, settlement):
                raise VendorRefused("amplitude", 403, answer.detail)
            self.connection.passed()
        elif self.connection.refused_since is not None:
            self.connection.passed()  # it reads our events again, whatever it says of them
        return answer

    async def _others_pass(self, events: Sequence[Event], settlement: Settlement) -> bool:
        """Asks with what passed before (its `insert_id` is known there, so it counts once); else with the first events of two
        contacts, each alone. First of their contact, so they overtake nothing.
        """
        witness = self._witness
        if witness is not None and self.clock.monotonic() - witness[1] >= WITNESS_FOR:
            witness = None
        asked: list[bytes] = []
        if witness is not None:
            asked = [witness[0]]
        elif len(events) > 1:
            firsts: dict[bytes, bytes] = {}
            for event in events:
                firsts.setdefault(event.contact, event.body)
            asked = list(firsts.values())[:2]
        for body in asked:
            settlement.attempts.go_on()
            answer = await self.client.send([body])
            if isinstance(answer, Doubted):
                continue
            if isinstance(answer, Accepted) and witness is None:
                self._witness = body, self.clock.monotonic()
            return True
        return False

    async def _halve(self, events: Sequence[Event], reason: Reason, detail: str, settlement: Settlement) -> None:
        if len(events) == 1:
            await self._bury([(events[0], detail)], reason, settlement)
            return
        middle = len(events) // 2
        await self._settle(events[:middle], settlement)
        await self._settle(events[middle:], settlement)

    async def _wait(self, events: Sequence[Event], answer: Throttled, settlement: Settlement) -> Sequence[Event]:
        """429: all events of the throttled users wait, the others go out at once. Returns those that waited. A contact whose
        address changed is two users: its events wait together, so that none overtakes.
        """
        users = answer.users | {events[i].user_id for i in answer.events if i < len(events)}
        spent = answer.over_quota_users | {events[i].user_id for i in answer.over_quota_events if i < len(events)}
        held = {event.contact for event in events if event.user_id in users}
        over: list[Event] = []
        waiting: list[Event] = []
        others: list[Event] = []
        for event in events:
            (over if event.user_id in spent else waiting if event.contact in held else others).append(event)
        if not over and not waiting:
            waiting, others = others, []  # it names nobody we know (derived device ids): all wait
        log.warning(
            "users are throttled",
            connection=self.connection.name,
            waiting=len(waiting),
            over_quota=len(over),
            others=len(others),
        )
        parts = [self._settle(others, settlement)] if others else []
        if waiting:
            parts.append(settlement.attempts.pause(self.throttle_wait))
        if over:
            parts.append(self._bury([(event, answer.detail) for event in over], Reason.OVER_QUOTA, settlement))
        await together(parts)
        return waiting

    def _delivered(self, events: Sequence[Event], settlement: Settlement) -> None:
        settlement.account.delivered(self.connection.name, len(events))
        for event in events:
            event.settled = True

    async def _bury(self, dead: Sequence[tuple[Event, str]], reason: Reason, settlement: Settlement) -> None:
        await settlement.bury([rejected(event.record, self.connection.name, reason, words) for event, words in dead])
        for event, _ in dead:
            event.settled = True

    async def _park(self, events: Sequence[Event], detail: str, settlement: Settlement) -> None:
        letters: list[Dead] = [
            rejected(event.record, self.connection.name, Reason.CONNECTION_REFUSED, detail) for event in events
        ]
        await settlement.bury(letters)
        for event in events:
            event.settled = True


def by_contact(events: Sequence[Event], size: int, most: int) -> list[list[Event]]:
    """At most `most` shards of about `size` events; all events of one contact stand in one shard, in order."""
    wanted = min(most, -(-len(events) // size))
    if wanted <= 1:
        return [list(events)] if events else []
    # By how many events each contact has, so that busy contacts do not pile up in one shard.
    load = [0] * wanted
    home: dict[bytes, int] = {}
    for contact, amount in Counter(event.contact for event in events).items():
        least = home[contact] = load.index(min(load))
        load[least] += amount
    shards: list[list[Event]] = [[] for _ in range(wanted)]
    for event in events:
        shards[home[event.contact]].append(event)
    return [shard for shard in shards if shard]


def limited(events: Sequence[Event], max_events: int, max_bytes: int) -> Iterator[Sequence[Event]]:
    """Consecutive batches within both limits; an event that is too large alone still makes a batch."""
    begin, size = 0, 0
    for i, event in enumerate(events):
        more = len(event.body) + 1
        if i > begin and (i - begin >= max_events or size + more > max_bytes):
            yield events[begin:i]
            begin, size = i, 0
        size += more
    if begin < len(events):
        yield events[begin:]
