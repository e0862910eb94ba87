"""The broker's process, and a guard that ends it when this process is gone.

Linux can send a signal on the parent's death, but sends it when the *thread* that started the child ends, and callers
start brokers from worker threads. So the guard is a shell that waits on a pipe only this process holds open: however
this process ends, the pipe closes and the broker is killed.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
from pathlib import Path
from typing import IO

_GUARD = 'read -r _; kill -9 "$1" 2>/dev/null'


class BrokerProcess:
    """A started Java. `keep_open` is inherited by it: the lock of the data directory lives as long as either process."""

    def __init__(
        self, command: list[str], directory: Path, output: IO[bytes], *, keep_open: int, die_with_parent: bool
    ) -> None:
        # A session of its own: Ctrl-C in a terminal must reach the broker's clients first, not the broker.
        self._process = subprocess.Popen(
            command,
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=(keep_open,),
            start_new_session=True,
        )
        self._guard: subprocess.Popen[bytes] | None = None
        if die_with_parent:
            self._guard = subprocess.Popen(
                ["/bin/sh", "-c", _GUARD, "listwire-kafka-guard", str(self.pid)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.poll()

    def end(self, timeout: float) -> None:
        """SIGTERM, and SIGKILL after `timeout` seconds; at once with 0. Returns when the process is gone."""
        # The guard goes first, while the process is not yet reaped: its pid can then belong to nobody else.
        if self._guard is not None and self._guard.stdin is not None:
            self._guard.kill()
            self._guard.wait()
            self._guard.stdin.close()
            self._guard = None
        if timeout > 0:
            self._process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout)
                return
        self._process.kill()
        self._process.wait()
