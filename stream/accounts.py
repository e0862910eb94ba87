"""The one place that counts records: received = delivered + filtered + dead-lettered + returned + in flight.

A delivery opens an account; whatever of it has not settled when it is closed was returned to Kafka, for the next owner.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from listwire import metrics


class Account:
    """Of one delivery. Amounts are records for webhooks, user x sync for cohort changes."""

    def __init__(self, worker: str) -> None:
        self.worker = worker
        self.open: Counter[str] = Counter()

    def received(self, amounts: Mapping[str, int]) -> None:
        for connection, amount in amounts.items():
            if amount:
                self.open[connection] += amount
                self._count(connection, metrics.RECEIVED, amount)
                metrics.IN_FLIGHT(worker=self.worker, connection=connection).inc(amount)

    def delivered(self, connection: str, amount: int) -> None:
        self._settle(connection, metrics.DELIVERED, amount)

    def filtered(self, connection: str, why: str, amount: int) -> None:
        self._settle(connection, metrics.FILTERED, amount)
        metrics.FILTERED_BY(worker=self.worker, connection=connection, why=why).inc(amount)

    def dead_lettered(self, connection: str, reason: str, amount: int) -> None:
        self._settle(connection, metrics.DEAD_LETTERED, amount)
        metrics.DEAD_LETTERS(worker=self.worker, connection=connection, reason=reason).inc(amount)

    def close(self) -> None:
        for connection, amount in self.open.items():
            if amount:
                self._count(connection, metrics.RETURNED, amount)
                metrics.IN_FLIGHT(worker=self.worker, connection=connection).dec(amount)
        self.open.clear()

    @property
    def settled(self) -> bool:
        return not any(self.open.values())

    def _settle(self, connection: str, outcome: str, amount: int) -> None:
        if amount:
            self.open[connection] -= amount
            self._count(connection, outcome, amount)
            metrics.IN_FLIGHT(worker=self.worker, connection=connection).dec(amount)

    def _count(self, connection: str, outcome: str, amount: int) -> None:
        metrics.RECORDS(worker=self.worker, connection=connection, outcome=outcome).inc(amount)
