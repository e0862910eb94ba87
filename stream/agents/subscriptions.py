"""Subscriptions: Mailchimp's audience webhooks become Amplitude events.

A record names its source in a header. The source's reader keeps subscribe and unsubscribe, filters every other type, and
rejects what cannot be read. Events go to the source's Amplitude project, in order per contact; rejections to dead letters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from listwire import redaction, topics
from listwire.clock import Clock
from listwire.records import Reason, Rejection
from listwire.settings import Settings
from stream.app import Agent
from stream.codecs.mailchimp_webhook import Event, Reader, Webhooks
from stream.connections import Connection
from stream.dead_letters import Dead, DeadLetters, rejected
from stream.delivery import Delivery, Sorted
from stream.progress import Progress
from stream.to_amplitude import AmplitudeCourier
from stream.worker import letters_producer
from vendors import accounts
from vendors.amplitude import Amplitude

WORKER = "subscriptions"
# Requests under way for one partition: draining is bound by them, not by CPU.
PARALLEL = 4
# Deliveries under way for one partition, of different keys, so that a lone event need not wait for its turn.
ABREAST = 4


class SortWebhooks:
    def __init__(self, readers: Mapping[bytes, tuple[str, Reader]]) -> None:
        self.readers = readers

    def __call__(self, records: Sequence[Any], into: Sorted[Event]) -> None:
        for record in records:
            source = source_of(record)
            found = self.readers.get(source) if source is not None else None
            if found is None:
                self._unknown(record, source, into)
                continue
            connection, read = found
            into.received[connection] += 1
            result = read(record.value)
            if isinstance(result, Event):
                result.record = record
                into.work.setdefault(connection, []).append(result)
            elif isinstance(result, Rejection):
                into.dead.append(Dead(record, connection, result))
            else:
                into.filtered[connection, result.why] += 1

    def _unknown(self, record: Any, source: bytes | None, into: Sorted[Event]) -> None:
        name = (source or b"").decode("utf-8", "replace")[:100]
        words = f"no source {name!r} in the settings" if source is not None else "the record has no source header"
        # Counted under one name: anybody may write any header.
        into.received["sources.?"] += 1
        into.dead.append(
            rejected(record, f"sources.{name or '?'}", Reason.UNKNOWN_CONNECTION, words, counted_as="sources.?")
        )


def source_of(record: Any) -> bytes | None:
    for name, value in record.headers or ():
        if name == topics.SOURCE:
            return bytes(value) if value is not None else None
    return None


def make_agent(settings: Settings, clock: Clock, progress: Progress) -> Agent:
    limits = settings.delivery
    clients: dict[str, Amplitude] = {}
    couriers: dict[str, AmplitudeCourier] = {}
    readers: dict[bytes, tuple[str, Reader]] = {}
    for name, source in settings.sources.items():
        if source.amplitude not in clients:
            clients[source.amplitude] = accounts.amplitude(settings, source.amplitude)
        client = clients[source.amplitude]
        connection = f"sources.{name}"
        couriers[connection] = AmplitudeCourier(
            Connection(connection, "amplitude", clock, limits),
            client,
            clock,
            max_events=min(limits.max_batch_events, client.limits.max_events),
            max_bytes=min(limits.max_batch_bytes or client.limits.max_bytes, client.limits.max_bytes) - client.overhead,
            throttle_wait=client.limits.throttle_wait,
            parallel=PARALLEL,
        )
        webhooks = Webhooks(
            name, source.audience, tuple(source.user_id), source.timezone, tuple(source.merge_properties)
        )
        readers[name.encode()] = (connection, webhooks.reader())

    letters = DeadLetters(lambda: letters_producer(settings), clock, redaction.for_settings(settings))

    async def close() -> None:
        for client in clients.values():
            await client.aclose()

    delivery: Delivery[Event] = Delivery(WORKER, SortWebhooks(readers), couriers, letters, clock, moved=progress.moved)
    return Agent(
        worker=WORKER,
        group=topics.SUBSCRIPTIONS_GROUP,
        topic=topics.WEBHOOKS,
        deliver=delivery,
        limit=PARALLEL * limits.max_batch_events,
        letters=letters,
        close_vendors=close,
        grace=limits.http_timeout + 4.0,
        abreast=ABREAST,
        connections={name: courier.connection for name, courier in couriers.items()},
    )
