"""A fault of ours ends the process, with nothing more acknowledged; its supervisor starts it again at the committed offset.

The crash alone has hung (once in two, waiting for a stopped consumer thread), so a timer thread always stands behind it.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from typing import Any

from listwire import logs

EXIT_CODE = 70
LAST_RESORT = 10.0

log = logs.get("stream.fail_stop")


class FailStop:
    def __init__(self, app: Any, seconds: float = LAST_RESORT) -> None:
        self.app = app
        self.seconds = seconds
        self.fault: BaseException | None = None

    def __call__(self, fault: BaseException) -> None:
        if self.fault is not None:
            return
        self.fault = fault
        log.critical("stopping: a fault of our own; nothing more is acknowledged", exc_info=fault)
        end_process_after(self.seconds)
        self._crash = asyncio.ensure_future(self.app.crash(fault))


def end_process_after(seconds: float, code: Callable[[], int] = lambda: EXIT_CODE) -> None:
    """Whatever hangs meanwhile, the process ends."""
    timer = threading.Timer(seconds, lambda: os._exit(code()))
    timer.daemon = True
    timer.start()
