"""`listwire …` as a process of its own that need not read a thousand modules first, which costs a second of a processor.

One helper for each of pytest's processes imports Listwire and runs nothing (this file, as a program); it forks for every command.
What comes out is a process like any other, with its own arguments, environment, files and signals; only its command line in /proc is
the helper's, and what a module reads from the environment while it is imported. A warden stands over each, keeps its exit code, and keeps its id from being given to another until nobody asks.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import IO, Any, NoReturn

# Of what the tests start. Whatever is missing here is imported by the command itself, as always.
_MODULES = (
    "aiokafka.admin", "rich.live", "rich.progress", "rich.table", "stream.agents.cohort_tags", "stream.agents.subscriptions",
    "stream.worker", "vendors.accounts",
)  # fmt: skip
_COMMANDS = (
    "backfill", "check", "cohorts", "cohorts_audience", "cohorts_missing", "cohorts_publish", "cohorts_sync",
    "cohorts_sync_run", "cohorts_validate", "connect", "context", "dead_letters", "disconnect", "hooks", "init", "lag",
    "letters_keep", "letters_look", "letters_replay", "pause", "topics", "trace", "worker",
)  # fmt: skip
_STARTING = threading.Lock()


class Forked:
    """What a test does with `subprocess.Popen`. `arguments` are those behind `listwire`."""

    def __init__(
        self,
        arguments: list[str],
        *,
        cwd: Path,
        env: Mapping[str, str],
        stdin: IO[bytes] | int,
        stdout: IO[bytes] | int,
        stderr: IO[bytes] | int,
    ) -> None:
        self.returncode: int | None = None
        self._warden = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        weakref.finalize(self, self._warden.close)
        self._warden.connect(_helper())
        files = [each if isinstance(each, int) else each.fileno() for each in (stdin, stdout, stderr)]
        asked = json.dumps({"arguments": arguments, "cwd": str(cwd), "env": dict(env)}).encode()
        socket.send_fds(self._warden, [asked], files)
        self.pid = int(self._warden.recv(64))

    def poll(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            ended = select.poll()
            ended.register(self._warden, select.POLLIN)
            if not ended.poll(None if timeout is None else timeout * 1000):
                raise subprocess.TimeoutExpired("listwire", timeout or 0)
            self.returncode = int(self._warden.recv(64, socket.MSG_PEEK))  # another thread may wait for it too
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _helper() -> str:
    with _STARTING:
        return _start_helper()


@cache
def _start_helper() -> str:
    """Where it listens. It ends with this process, whose end of its standard input it watches."""
    directory = tempfile.mkdtemp(prefix="listwire-forked-")
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    address = f"{directory}/socket"
    clean = {name: value for name, value in os.environ.items() if not name.startswith("LISTWIRE_")}
    helper = subprocess.Popen(
        [sys.executable, "-m", "tests.forked", address],
        cwd=Path(__file__).parent.parent,
        env={**clean, "COLUMNS": "200", "NO_COLOR": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    atexit.register(helper.kill)
    assert helper.stdout is not None
    assert helper.stdout.readline() == b"ready\n"
    return address


def serve(address: str) -> None:
    """Returns in each process that is to become a command, and nowhere else."""
    for name in (*_MODULES, *(f"listwire.cli.{command}" for command in _COMMANDS)):
        importlib.import_module(name)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(address)
    listener.listen(64)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for wardens
    gc.freeze()
    os.write(1, b"ready\n")
    while True:
        asking, _, _ = select.select([listener, 0], [], [])
        if 0 in asking:
            os._exit(0)
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            if _stand_over(connection):
                return
        connection.close()


def _stand_over(connection: socket.socket) -> bool:
    """True in the new process; its warden does not return."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    asked, files, _, _ = socket.recv_fds(connection, 1 << 20, 3)
    child = os.fork()
    if child != 0:
        _keep(connection, child, files)
    connection.close()
    _become(json.loads(asked), files)
    return True


def _keep(connection: socket.socket, child: int, files: list[int]) -> NoReturn:
    for each in files:
        os.close(each)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    connection.send(str(child).encode())
    ended = os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    assert ended is not None
    code = ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
    with contextlib.suppress(OSError):  # who has gone asks no more
        connection.send(str(code).encode())
        connection.recv(1)
    os._exit(0)


def _become(asked: dict[str, Any], files: list[int]) -> None:
    for number, each in enumerate(files):
        os.dup2(each, number)
        os.close(each)
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update(asked["env"])
    sys.argv = ["listwire", *asked["arguments"]]


if __name__ == "__main__":
    serve(sys.argv[1])
    from listwire.cli import main

    main()
