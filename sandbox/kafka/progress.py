"""How long a download still takes: a bar on a terminal, a line every few seconds in a log. Always on stderr, so that a
command's own output stays clean.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Advance = Callable[[int], None]

_EVERY = 3.0  # seconds between two lines in a log
_MB = 1_000_000


@contextmanager
def show_progress(title: str, total: int) -> Iterator[Advance]:
    """Yields a function that takes the bytes that came since its last call; it may be called from any thread."""
    if sys.stderr.isatty():
        with _bar(title, total) as advance:
            yield advance
    else:
        yield _lines(title, total)


@contextmanager
def _bar(title: str, total: int) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(f"Fetching {title}, once", total=total)
        yield lambda size: bar.advance(task, size)


def _lines(title: str, total: int) -> Advance:
    lock = threading.Lock()
    done = 0
    said = time.monotonic()
    print(f"Fetching {title}, once: {total / _MB:.0f} MB", file=sys.stderr, flush=True)

    def advance(size: int) -> None:
        nonlocal done, said
        with lock:
            done += size
            if time.monotonic() - said >= _EVERY or done >= total:
                said = time.monotonic()
                print(f"Fetching {title}: {done / _MB:.0f} of {total / _MB:.0f} MB", file=sys.stderr, flush=True)

    return advance
