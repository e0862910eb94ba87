"""The ingress's metrics: counted in plain numbers, and moved into Prometheus ten times a second.

A Prometheus counter costs a request as much as reading its body. A path must never become a label: it holds the secret.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Any

from ingress.answers import COHORTS, HOOK, OPERATIONS
from listwire import metrics

LABELS = {"mailchimp": (HOOK,), "amplitude": (COHORTS,), "other": ("/healthz", "/readyz", "/metrics")}


class Seconds:
    """Observations by bucket, until `move()` adds them to a Prometheus histogram."""

    def __init__(self, histogram: Any) -> None:
        self._histogram = histogram
        self._bounds: list[float] = histogram._upper_bounds
        self._found = [0] * len(self._bounds)
        self._sum = 0.0

    def observe(self, seconds: float) -> None:
        self._found[bisect_left(self._bounds, seconds)] += 1
        self._sum += seconds

    def move(self) -> None:
        """What `observe` of the library does, for many at once; it has no public way to say that."""
        for at, count in enumerate(self._found):
            if count:
                self._histogram._buckets[at].inc(count)
        self._histogram._sum.inc(self._sum)
        self._found = [0] * len(self._bounds)
        self._sum = 0.0


class Counts:
    """All pairs of route and status that can occur exist from the start, at 0: a rate over a new series would miss its first."""

    def __init__(self) -> None:
        self._counters = {
            (label, status): metrics.INGRESS_REQUESTS(route=label, status=str(status))
            for label, paths in LABELS.items()
            for status in {404, 405}.union(*(found for path in paths for found in OPERATIONS[path].values()))
            if label == "other" or status != 404  # whoever is told 404 has reached no route
        }
        self.answered = dict.fromkeys(self._counters, 0)
        self.seconds = {label: Seconds(metrics.INGRESS_SECONDS(route=label)) for label in LABELS if label != "other"}
        self._in_flight = metrics.INGRESS_IN_FLIGHT()

    def move(self, in_flight: int) -> None:
        for pair, count in self.answered.items():
            if count:
                self._counters[pair].inc(count)
                self.answered[pair] = 0
        for seconds in self.seconds.values():
            seconds.move()
        self._in_flight.set(in_flight)
