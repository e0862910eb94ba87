"""Tag calls without an answer, which Mailchimp may carry out yet: a newer word that contradicts one waits until it no longer can.

Mailchimp ends a call after 120 s by itself; one that timed out here before that may still complete there (Marketing API,
"Fundamentals": time-outs). It must never let a newer word about an address pass an older one that is still at large. What a
killed process has sent is not known here.
"""

from __future__ import annotations

from itertools import chain

from listwire.clock import Clock
from listwire.errors import VendorUnavailable
from stream.tag_ids import Addresses, Tag

# A gateway's 504 says that the call goes on behind it.
CAUSES = ("timeout", "504")


class LateCalls:
    """Of one account. `within`: seconds in which a call is carried out or never."""

    def __init__(self, clock: Clock, within: float) -> None:
        self.clock = clock
        self.within = within
        # (audience, tag, address, whether it enters) → until when; the oldest first, since `within` is the same for all.
        self._until: dict[tuple[str, str, str, bool], float] = {}

    def note(self, fault: VendorUnavailable, tag: Tag, add: Addresses, remove: Addresses) -> None:
        """A call that failed so."""
        now = self.clock.monotonic()
        while self._until and next(iter(self._until.values())) <= now:
            del self._until[next(iter(self._until))]
        if fault.cause not in CAUSES:
            return
        for address, entered in words(add, remove):
            place = (tag.audience, tag.key, address, entered)
            self._until.pop(place, None)
            self._until[place] = now + self.within

    def seconds(self, tag: Tag, add: Addresses, remove: Addresses) -> float:
        """For how long these words have to wait; 0 where no call at large says the contrary."""
        if not self._until:
            return 0.0
        against = (
            self._until.get((tag.audience, tag.key, each, not entered), 0.0) for each, entered in words(add, remove)
        )
        return max(0.0, max(against, default=0.0) - self.clock.monotonic())


def words(add: Addresses, remove: Addresses) -> chain[tuple[str, bool]]:
    return chain(((address, True) for address in add), ((address, False) for address in remove))
