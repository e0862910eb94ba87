"""Cohort tags: changes of Amplitude cohorts become tag updates in Mailchimp audiences.

A change names one sync in a header, or goes to every sync whose `cohorts` patterns match its name. For each it is a delivery of
its own: names too long for a tag and unreadable messages go to dead letters, the rest to the sync's audience, in order per cohort.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from listwire import metrics, redaction, topics
from listwire.clock import Clock
from listwire.records import Reason, Rejection
from listwire.settings import Settings
from stream.app import Agent
from stream.codecs.cohort_change import NAME_LIMIT, decode
from stream.cohort_history import PartitionReader, header
from stream.connections import Connection
from stream.dead_letters import Dead, DeadLetters
from stream.delivery import Delivery, Sorted
from stream.late_calls import LateCalls
from stream.progress import Progress
from stream.tag_calls import TagCalls
from stream.tag_ids import TagIds
from stream.to_mailchimp import Change, MailchimpCourier
from stream.worker import letters_producer
from vendors import accounts
from vendors.mailchimp import ConnectionLimit, Mailchimp

WORKER = "cohorts"
# Messages a delivery. A message holds hundreds of users; what a delivery may hold in bytes is the lane's share.
LIMIT = 400
NO_SYNC = "cohort_syncs.?"


class SortChanges:
    def __init__(self, couriers: Mapping[str, MailchimpCourier]) -> None:
        self.couriers = couriers

    def __call__(self, records: Sequence[Any], into: Sorted[Change]) -> None:
        for record in records:
            name = header(record, topics.SYNC)
            change = decode(record.value)
            connection = f"cohort_syncs.{name}" if name is not None else NO_SYNC
            if name is not None and name not in self.couriers:
                words = f"no cohort sync {name[:100]!r} in the settings"
                amount = 1 if isinstance(change, Rejection) else len(change)
                self._bury(record, connection, Rejection(Reason.UNKNOWN_CONNECTION, words), amount, into)
            elif isinstance(change, Rejection):
                self._bury(record, connection, change, 1, into)
            else:
                names = [name] if name is not None else list(self.couriers)
                matching = [each for each in names if self.couriers[each].matches(change.cohort_name)]
                for each in matching:
                    self._route(record, f"cohort_syncs.{each}", Change(record, change), into)
                if not matching:
                    into.received[connection] += len(change)
                    into.filtered[connection, "no_match"] += len(change)

    def _route(self, record: Any, connection: str, change: Change, into: Sorted[Change]) -> None:
        amount = len(change.open)
        into.received[connection] += amount
        if len(change.change.cohort_name) >= NAME_LIMIT:
            detail = (
                f"cohort_name has {len(change.change.cohort_name)} characters; a tag takes at most {NAME_LIMIT - 1}"
            )
            into.dead.append(Dead(record, connection, Rejection(Reason.COHORT_NAME_TOO_LONG, detail), amount=amount))
        elif amount:
            into.work.setdefault(connection, []).append(change)

    def _bury(self, record: Any, connection: str, rejection: Rejection, amount: int, into: Sorted[Change]) -> None:
        counted = connection if connection.removeprefix("cohort_syncs.") in self.couriers else NO_SYNC
        into.received[counted] += amount
        into.dead.append(Dead(record, connection, rejection, amount=amount, counted_as=counted))


def make_agent(settings: Settings, clock: Clock, progress: Progress) -> Agent:
    calls: dict[str, TagCalls] = {}
    couriers: dict[str, MailchimpCourier] = {}
    read_later = PartitionReader(settings.kafka)
    for name, sync in settings.cohort_syncs.items():
        if sync.mailchimp not in calls:
            account = settings.mailchimp[sync.mailchimp]
            calls[sync.mailchimp] = TagCalls(
                _client(settings, sync.mailchimp, progress),
                TagIds(clock),
                LateCalls(clock, account.carried_out_within or 4 * account.http_timeout),
            )
        connection = Connection(f"cohort_syncs.{name}", "mailchimp", clock, settings.delivery)
        couriers[name] = MailchimpCourier(name, sync, connection, calls[sync.mailchimp], read_later)
    letters = DeadLetters(lambda: letters_producer(settings), clock, redaction.for_settings(settings))

    async def close() -> None:
        for each in calls.values():
            await each.client.aclose()

    by_connection = {f"cohort_syncs.{name}": courier for name, courier in couriers.items()}
    return Agent(
        worker=WORKER,
        group=topics.COHORTS_GROUP,
        topic=topics.COHORT_CHANGES,
        deliver=Delivery[Change](WORKER, SortChanges(couriers), by_connection, letters, clock, moved=progress.moved),
        limit=LIMIT,
        letters=letters,
        close_vendors=close,
        grace=max(settings.mailchimp[account].http_timeout for account in calls) + 4.0,
        connections={name: courier.connection for name, courier in by_connection.items()},
    )


def _client(settings: Settings, account: str, progress: Progress) -> Mailchimp:
    """No call without a session: Mailchimp has nothing like an `insert_id` that would tell older words from newer ones."""
    gauge = metrics.CONNECTION_LIMIT(account=account)
    limit = ConnectionLimit(
        settings.mailchimp[account].max_connections, changed=gauge.set, allowed=progress.require_session
    )
    gauge.set(limit.current)
    return accounts.mailchimp(settings, account, limiter=limit)
