"""The one place that writes dead letters. Each is acknowledged by Kafka before anybody may acknowledge the record it is of.

An aiokafka producer of our own: Faust's is not idempotent, stops at 1 MB, and its flush hides a failed send.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from aiokafka.errors import KafkaError as ClientError
from aiokafka.errors import MessageSizeTooLargeError

from listwire import dead_letters, topics
from listwire.clock import Clock
from listwire.dead_letters import Letter
from listwire.errors import KafkaError, VendorUnavailable
from listwire.kafka import end_producer
from listwire.records import Reason, Rejection
from listwire.redaction import Redactor
from stream.accounts import Account
from stream.retry import Attempts

PATIENCE = 8.0
# Bytes of a letter that a topic as we make it always takes, whatever they are. Where one takes less, somebody has to mend it.
ALWAYS_FITS = topics.BY_NAME[topics.DEAD_LETTERS].least_bytes - 4096


@dataclass(frozen=True, slots=True)
class Dead:
    """A record, or a part of one (`value` holds only that part), that failed for good. `amount` is what it counts for."""

    record: Any
    connection: str
    rejection: Rejection
    value: bytes | None = None
    amount: int = 1
    # The label it is counted under, where the connection's name is the record's own word and could be anything.
    counted_as: str | None = None


class DeadLetters:
    """`connect` makes a started producer; it is made anew after a failed send, since some failures are final for it."""

    def __init__(self, connect: Callable[[], Awaitable[Any]], clock: Clock, redact: Redactor) -> None:
        self.connect = connect
        self.clock = clock
        self.redact = redact
        self._producer: Any = None
        self._making = asyncio.Lock()
        self._failures = 0

    async def bury(self, dead: Sequence[Dead], account: Account, attempts: Attempts) -> None:
        """Returns when all of them are durable and counted; tries for as long as the lane is open."""
        if not dead:
            return
        letters = [self._letter(each) for each in dead]
        await attempts.until_it_passes(lambda: self._write(letters))
        for each in dead:
            account.dead_lettered(each.counted_as or each.connection, each.rejection.reason.value, each.amount)

    def _letter(self, dead: Dead) -> Letter:
        record = dead.record
        value = dead.value if dead.value is not None else record.value
        letter = dead_letters.make(
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            key=record.key,
            value=value or b"",
            headers=record.headers or (),
            reason=dead.rejection.reason,
            detail=self.redact(dead.rejection.detail),
            connection=dead.connection,
            failed_at=int(self.clock.time() * 1000),
        )
        return replace(letter, connection=letter.connection[:256])

    async def _write(self, letters: list[Letter]) -> None:
        """Raises where some could not be written, and leaves just those on the list; smaller, where one is too large for the topic."""
        producer = await self._connected()
        acks: list[asyncio.Future[Any]] = []
        try:
            async with asyncio.timeout(PATIENCE):
                for letter in letters:
                    acks.append(  # noqa: PERF401 - what was sent must be known when one cannot be
                        await producer.send(topics.DEAD_LETTERS, letter.value, key=letter.key, headers=letter.headers())
                    )
                if acks:
                    await asyncio.wait(acks)
                for ack in acks:
                    ack.result()
        except (ClientError, OSError, TimeoutError, AssertionError) as fault:
            faults = [_fault(ack) for ack in acks]
            if len(acks) < len(letters):
                faults.append(fault)  # of the one that was not even sent
            faults += [TimeoutError()] * (len(letters) - len(faults))
            left = zip(letters, faults, strict=True)
            letters[:] = [_smaller(letter, each) for letter, each in left if each is not None]
            await self._forget(producer)
            raise VendorUnavailable(
                "kafka", 0, f"dead letters not written: {type(fault).__name__}: {fault}", cause="dead_letter"
            ) from None

    async def _connected(self) -> Any:
        failures = self._failures
        async with self._making:
            if self._producer is None:
                if self._failures != failures:  # who waited here while another one failed need not wait as long again
                    raise VendorUnavailable("kafka", 0, "no connection for dead letters", cause="dead_letter")
                try:
                    async with asyncio.timeout(PATIENCE):
                        self._producer = await self.connect()
                except (KafkaError, ClientError, OSError, TimeoutError) as fault:
                    self._failures += 1
                    raise VendorUnavailable(
                        "kafka", 0, f"no connection for dead letters: {fault}", cause="dead_letter"
                    ) from None
            return self._producer

    async def _forget(self, producer: Any) -> None:
        """What it could not send in time it must not send later: by then another producer has."""
        if self._producer is producer:
            self._producer = None
            await end_producer(producer, 0)

    async def start(self) -> None:
        """So that the first dead letter waits for no connection."""
        with contextlib.suppress(VendorUnavailable):
            await self._connected()

    async def stop(self) -> None:
        """Nothing is under way any more: who wrote has waited for it, or was cut off."""
        if self._producer is not None:
            await self._forget(self._producer)


def _fault(ack: asyncio.Future[Any]) -> BaseException | None:
    """None where it is durable."""
    return ack.exception() if ack.done() and not ack.cancelled() else TimeoutError()


def _smaller(letter: Letter, fault: BaseException) -> Letter:
    """A letter that is too large for the topic tells where its record is, whose bytes stay there; then without headers and key too."""
    size = len(letter.value) + len(letter.key or b"") + sum(len(name) + len(value) for name, value in letter.headers())
    if not isinstance(fault, MessageSizeTooLargeError) or size <= ALWAYS_FITS:
        return letter
    if not letter.value:
        return replace(letter, key=None, source_headers=())
    words = f"its {len(letter.value)} bytes are too many for the topic of dead letters; they stay at {letter.origin}"
    return replace(letter, value=b"", detail=f"{words}: {letter.detail}")


def rejected(record: Any, connection: str, reason: Reason, detail: str, *, counted_as: str | None = None) -> Dead:
    return Dead(record, connection, Rejection(reason, detail), counted_as=counted_as)
