"""A stand-in in the foreground: it runs until somebody tells it to stop."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def until_told() -> Iterator[asyncio.Event]:
    """Set by SIGINT or SIGTERM."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for caught in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(caught, stopped.set)
    try:
        yield stopped
    finally:
        for caught in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(caught)
