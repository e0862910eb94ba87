"""Events per second and user or device, averaged over a window: who Amplitude would throttle.

"Amplitude measures the rate of events for each deviceID and each userID for a project … averaged over a period of 30
seconds." Off unless an endpoint's `limit_rate` is set. Events of a refused request are not counted, so that waiting helps.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import Any

Who = tuple[str, str, str]  # API key, "user_id" or "device_id", the id


class Rates:
    """Counts in buckets of one second, forgotten after `window` seconds."""

    def __init__(self) -> None:
        self._buckets: dict[Who, deque[tuple[int, int]]] = {}

    def over(
        self, api_key: str, events: list[dict[str, Any]], *, eps: int, window: float, now: float
    ) -> dict[Who, int]:
        """Who would pass `eps` with these events, with the rate they would have; empty: they are counted."""
        asked = Counter(
            (api_key, name, event[name])
            for event in events
            for name in ("user_id", "device_id")
            if event.get(name) is not None
        )
        rates = {who: (self._recent(who, window, now) + count) / window for who, count in asked.items()}
        throttled = {who: int(rate) for who, rate in rates.items() if rate > eps}
        if not throttled:
            for who, count in asked.items():
                self._buckets.setdefault(who, deque()).append((int(now), count))
        return throttled

    def clear(self) -> None:
        self._buckets.clear()

    def _recent(self, who: Who, window: float, now: float) -> int:
        buckets = self._buckets.get(who)
        if buckets is None:
            return 0
        while buckets and buckets[0][0] <= now - window:
            buckets.popleft()
        if not buckets:
            del self._buckets[who]
        return sum(count for _, count in buckets)
