"""Whether anything moves, and what is assigned: what /healthz, /readyz and the watchdog go by.

Attempts count as moving. A vendor that is down must not become a restart loop; a worker that neither fetches nor tries nor
settles while records wait is stuck.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from listwire import metrics
from listwire.clock import Clock
from listwire.errors import VendorUnavailable

STUCK_AFTER = 120.0
# Below the session of ten seconds, after which Kafka gives a silent worker's partitions away.
KNOWN_FOR = 9.0


class Progress:
    def __init__(self, worker: str, clock: Clock, stuck_after: float = STUCK_AFTER) -> None:
        self.worker = worker
        self.clock = clock
        self.stuck_after = stuck_after
        self.last = clock.monotonic()
        self.ready = False
        self.partitions: frozenset[Any] = frozenset()
        self.rebalancing_since: float | None = None
        self._known_at = self.last
        self._age = metrics.PROGRESS_AGE(worker=worker)

    def moved(self) -> None:
        self.last = self.clock.monotonic()

    def assigned(self, partitions: Iterable[Any]) -> None:
        self.partitions = frozenset(partitions)
        self.ready = True
        self._known_at = self.clock.monotonic()
        self.moved()

    def known_to_kafka(self, at: float) -> None:
        """Kafka has answered a heartbeat that was sent then. Called by the consumer's thread."""
        self._known_at = max(self._known_at, at)

    def require_session(self) -> None:
        """Raises `VendorUnavailable("kafka")` where our partitions may be another worker's by now: this process slept, or Kafka
        does not answer. What is no repetition to a vendor (a tag's older words) must not be sent then.
        """
        silent = self.clock.monotonic() - self._known_at
        if silent > KNOWN_FOR:
            raise VendorUnavailable(
                "kafka",
                0,
                f"Kafka has not confirmed our partitions for {silent:.0f} s; another worker may have them",
                cause="session",
                may_have_happened=False,
            )

    def look(self, *, waiting: bool, rebalancing: bool) -> str | None:
        """What is wrong, in words, or None. `waiting`: records are fetched and not settled, or Kafka has more for us."""
        now = self.clock.monotonic()
        if not rebalancing:
            self.rebalancing_since = None
        elif self.rebalancing_since is None:
            self.rebalancing_since = now
        if not waiting and not rebalancing:
            self.last = now
        age = now - self.last
        self._age.set(age)
        if self.rebalancing_since is not None and now - self.rebalancing_since > self.stuck_after:
            return f"rebalancing for {now - self.rebalancing_since:.0f} s"
        if waiting and age > self.stuck_after:
            return f"records wait and nothing has moved for {age:.0f} s"
        return None
