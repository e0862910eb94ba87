"""Listwire's worker with a sampler in it: `python -m bench.sampled FILE worker subscriptions …`.

Each millisecond of the process's CPU time it notes the line of Python that runs just then; what a function in C takes is its
caller's. At the end FILE holds a JSON list of [seconds of the monotonic clock, file, function]. It must not count while nothing runs.
"""

from __future__ import annotations

import atexit
import json
import signal
import sys
import time
from pathlib import Path
from types import FrameType

EVERY = 0.001


def main() -> None:
    out = Path(sys.argv.pop(1))
    samples: list[tuple[float, str, str]] = []

    def sample(_: int, frame: FrameType | None) -> None:
        if frame is not None:
            samples.append((time.monotonic(), frame.f_code.co_filename, frame.f_code.co_qualname))

    def keep() -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)
        out.write_text(json.dumps(samples))

    atexit.register(keep)
    signal.signal(signal.SIGPROF, sample)
    signal.setitimer(signal.ITIMER_PROF, EVERY, EVERY)
    from listwire.cli import main as listwire

    listwire()


if __name__ == "__main__":
    main()
