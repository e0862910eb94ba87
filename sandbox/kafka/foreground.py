"""`listwire sandbox kafka`: a broker that runs until somebody presses Ctrl-C."""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path
from types import FrameType

from listwire.errors import SandboxError
from sandbox.kafka.broker import EmbeddedKafka

_LOOK_EVERY = 0.5


def run_in_foreground(directory: Path | None, port: int) -> None:
    """Prints the address on stdout, alone on its line, and blocks until SIGINT or SIGTERM. Only for the main thread.

    Raises SandboxError when the broker cannot start, or ends by itself.
    """
    asked_to_stop = threading.Event()

    def ask(number: int, frame: FrameType | None) -> None:
        asked_to_stop.set()

    broker = EmbeddedKafka(directory, port=port)
    broker.start()
    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        where = "its data goes when it stops" if directory is None else f"its data stays in {broker.directory}"
        print(f"Kafka serves at the address below; {where}. Ctrl-C stops it.", file=sys.stderr, flush=True)
        print(broker.bootstrap_servers, flush=True)
        while not asked_to_stop.wait(_LOOK_EVERY):
            if not broker.running:
                raise SandboxError(f"The embedded Kafka ended by itself; see {broker.directory / 'broker.log'}.")
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        broker.stop()
