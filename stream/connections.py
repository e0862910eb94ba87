"""What a worker knows of each connection (one source or one cohort sync): is it accepted, refused, parked, since when.

Held in memory only: after a restart a refused connection is found out again. One bad key may never hold up the others for
longer than `park_after`, so from then on its records become dead letters, and now and then one of them is sent as a probe.
"""

from __future__ import annotations

from collections.abc import Mapping

from listwire import logs, metrics
from listwire.clock import Clock
from listwire.errors import VendorRefused, VendorUnavailable
from listwire.metrics import Status
from listwire.settings.models import Delivery

log = logs.get("stream.connections")


class Connection:
    """`name` is `sources.NAME` or `cohort_syncs.NAME`; `vendor` is who may refuse it."""

    def __init__(self, name: str, vendor: str, clock: Clock, limits: Delivery) -> None:
        self.name = name
        self.vendor = vendor
        self.clock = clock
        self.limits = limits
        self.refused_since: float | None = None
        self.refused_for_good = False
        self.paused: str | None = None
        self.detail = ""
        self._next_probe = 0.0
        self._status = Status.WAITING
        self._show(Status.WAITING)

    @property
    def status(self) -> Status:
        return self._status

    @property
    def parked(self) -> bool:
        """Its records go to dead letters at once, so that no other connection waits for it."""
        return self.refused_for_good or self.paused is not None

    def pause(self, detail: str | None) -> None:
        """By an operator, with the reason; None ends it."""
        if detail == self.paused:
            return
        self.paused = detail
        if detail is not None:
            self._show(Status.PAUSED)
            log.warning(
                "paused: its records go to dead letters until `listwire resume`", connection=self.name, detail=detail
            )
        else:
            self._show(Status.REFUSED if self.refused_since is not None else Status.WAITING)
            log.info("resumed", connection=self.name)

    @property
    def parked_because(self) -> str:
        return self.paused if self.paused is not None else self.detail

    def passed(self) -> None:
        """The vendor took a request of this connection."""
        if self.refused_since is not None:
            log.info("accepted again", connection=self.name)
        self.refused_since, self.refused_for_good, self.detail = None, False, ""
        self._show(Status.CONNECTED)

    def retrying(self, fault: VendorUnavailable) -> None:
        if not self.refused_for_good:
            self.detail = str(fault)
            self._show(Status.RETRYING)

    def refused(self, fault: VendorRefused) -> None:
        """Counts from the first refusal of the connection, whichever delivery saw it."""
        now = self.clock.monotonic()
        self.detail = str(fault)
        if self.refused_since is None:
            self.refused_since = now
            log.error(
                "refused: will be parked unless it is accepted again",
                connection=self.name,
                detail=self.detail,
                seconds=self.limits.park_after,
            )
        self._show(Status.REFUSED)
        if not self.refused_for_good and now - self.refused_since >= self.limits.park_after:
            self.refused_for_good = True
            self._next_probe = now + self.limits.probe_every
            log.error(
                "parked: its records go to dead letters until it is accepted again",
                connection=self.name,
                detail=self.detail,
            )

    def seconds_until_parked(self) -> float:
        if self.refused_since is None:
            return self.limits.park_after
        return max(0.05, self.refused_since + self.limits.park_after - self.clock.monotonic())

    def take_probe(self) -> bool:
        """Whether this delivery is the one that asks, with a real record, if a parked connection is accepted again."""
        now = self.clock.monotonic()
        if self.paused is not None or now < self._next_probe:
            return False
        self._next_probe = now + self.limits.probe_every
        return True

    def _show(self, status: Status) -> None:
        if self.paused is not None:
            status = Status.PAUSED
        self._status = status
        metrics.CONNECTION_STATUS(connection=self.name).set(int(status))


Connections = Mapping[str, Connection]
