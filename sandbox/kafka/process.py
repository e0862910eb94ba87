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

# $1 is the broker; $2, if any, its temporary directory. A killed process may take a moment to let go of its files.
_GUARD = """
read -r _
kill -9 "$1" 2>/dev/null
if [ -n "$2" ]; then
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        rm -rf -- "$2" && break
        sleep 0.5
    done
fi
"""


class BrokerProcess:
    """A started Java. It inherits `lock`, so that the data directory is taken as long as either process lives.
    `remove` is what the guard deletes when it had to act.
    """

    def __init__(
        self, command: list[str], directory: Path, *, lock: int, die_with_parent: bool, remove: Path | None
    ) -> None:
        with (directory / "broker.out").open("wb") as output:
            # A session of its own: Ctrl-C in a terminal must reach the broker's clients first, not the broker.
            self._process = subprocess.Popen(
                command,
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=(lock,),
                start_new_session=True,
            )
        self._guard: subprocess.Popen[bytes] | None = None
        if die_with_parent:
            self._guard = subprocess.Popen(
                ["/bin/sh", "-c", _GUARD, "listwire-kafka-guard", str(self.pid), str(remove or "")],
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

    def end(self, timeout: float) -> bool:
        """SIGTERM, and SIGKILL after `timeout` seconds; at once with 0. Returns when the process is gone: True when it
        went by itself.
        """
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
                return True
        self._process.kill()
        self._process.wait()
        return False
