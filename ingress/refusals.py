"""A refusal: an answer that is no success, with the cause for the log. A cause must never hold anything the peer has sent."""

from __future__ import annotations

from ingress.routes import Route
from listwire import logs
from listwire.clock import Clock

QUIET_FOR = 10.0

log = logs.get("listwire.ingress")


class Refused(Exception):
    def __init__(self, status: int, cause: str) -> None:
        super().__init__(status, cause)
        self.status = status
        self.cause = cause


class RefusalLog:
    """One line in ten seconds for each source and cause, with how many more there were; all of them at level debug."""

    def __init__(self, clock: Clock) -> None:
        self._now = clock.monotonic
        self._seen: dict[tuple[str, str, int, str], tuple[float, int]] = {}

    def note(self, route: Route, refused: Refused, request_id: bytes) -> None:
        key = (route.kind, route.name, refused.status, refused.cause)
        now = self._now()
        last, left_out = self._seen.get(key, (-QUIET_FOR, 0))
        loud = now - last >= QUIET_FOR
        self._seen[key] = (now, 0) if loud else (last, left_out + 1)
        more = {"more_like_it": left_out} if loud and left_out else {}
        (log.warning if loud else log.debug)(
            "refused",
            status=refused.status,
            cause=refused.cause,
            route=route.kind,
            name=route.name,
            request_id=request_id.decode(),
            **more,
        )
