"""How a worker learns that it must stop: from its parent's flag, its parent's end, or SIGTERM; and how granian is told.

granian must be told exactly once, and not before it serves. It hands a signal on through a channel with one place: one
signal more than it has taken blocks the event loop, and every request with it, for ever. A signal that arrives between
the fork and granian's own handlers is lost. So signals are kept back here, and one is let through when it is time.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable


class Stopping:
    """Made in the worker before it has threads: they inherit that SIGTERM and SIGINT are kept back.

    Ctrl-C reaches all processes of a terminal; the parent alone acts on it.
    """

    def __init__(self, parent_stops: Callable[[], bool]) -> None:
        self._parent_stops = parent_stops
        self._told = False
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})

    def wanted(self) -> bool:
        return self._told or self._parent_stops() or signal.SIGTERM in signal.sigpending()

    def tell_granian(self) -> None:
        """Lets one SIGTERM through, however many have come; nothing the second time."""
        if self._told:
            return
        self._told = True
        os.kill(os.getpid(), signal.SIGTERM)  # waits with those that wait already: they count as one
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
