"""The broker's directory: whose it is, its ports, its configuration, and what the broker last said.

::

    data/               Kafka's own
    server.properties   written anew at each start, as is log4j2.properties
    ports.json          the ports told to clients
    broker.log          warnings and worse
    broker.out          what Java printed
    lock                held by whoever uses the directory; names the broker's process

It must never be used by two brokers, nor delete what is in a directory it did not make.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import shutil
import tempfile
from pathlib import Path
from typing import IO

from listwire.errors import SandboxError
from sandbox.kafka.properties import ServerSettings, render_log_configuration, render_properties


class DataDirectory:
    """Without a `path` it is temporary: made by `claim()`, removed by `remove_temporary()`."""

    def __init__(self, path: Path | None) -> None:
        self._given = None if path is None else Path(path).absolute()
        self._path = self._given
        self._lock: IO[str] | None = None

    @property
    def path(self) -> Path:
        if self._path is None:
            raise SandboxError("The embedded Kafka has no directory before its first start.")
        return self._path

    @property
    def known(self) -> bool:
        """False only for a temporary directory that is not made yet, or was removed."""
        return self._path is not None

    @property
    def data(self) -> Path:
        return self.path / "data"

    @property
    def formatted(self) -> bool:
        return (self.data / "meta.properties").exists()

    @property
    def temporary(self) -> bool:
        return self._given is None

    def claim(self) -> int:
        """Returns the file descriptor of the lock. A child that inherits it holds the directory too, parent or not."""
        if self._path is None:
            self._path = Path(tempfile.mkdtemp(prefix="listwire-kafka-"))
        try:
            self._path.mkdir(parents=True, exist_ok=True)
            lock = (self._path / "lock").open("a+")
        except OSError as error:
            raise SandboxError(f"The data directory {self._path} cannot be used: {error}.") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with lock:
                lock.seek(0)
                holder = lock.read().strip() or "unknown"
            raise SandboxError(
                f"The data directory {self._path} is in use by another embedded Kafka (process {holder}). "
                "Stop that one, or give this one a directory of its own."
            ) from None
        self._lock = lock
        return lock.fileno()

    def name_holder(self, pid: int) -> None:
        if self._lock is not None:
            self._lock.truncate(0)
            self._lock.write(str(pid))
            self._lock.flush()

    def release(self) -> None:
        if self._lock is not None:
            # Unlocked in so many words: a forked child of this process may still hold the same open file.
            fcntl.flock(self._lock, fcntl.LOCK_UN)
            self._lock.close()
            self._lock = None

    def remove_temporary(self) -> None:
        if self.temporary and self._path is not None:
            shutil.rmtree(self._path, ignore_errors=True)
            self._path = None

    def read_ports(self) -> tuple[int, int]:
        """The plain and the secure port that were chosen for this directory before; 0 where none was."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            found = json.loads((self.path / "ports.json").read_text())
            return int(found["port"]), int(found["secure_port"])
        return 0, 0

    def write_ports(self, port: int, secure_port: int) -> None:
        (self.path / "ports.json").write_text(json.dumps({"port": port, "secure_port": secure_port}))

    def write_configuration(self, settings: ServerSettings) -> tuple[Path, Path]:
        """Returns the paths of `server.properties`, for the owner's eyes only, and of the log's configuration."""
        server = self.path / "server.properties"
        server.touch(mode=0o600)
        server.write_text(render_properties(settings.properties()))
        log = self.path / "log4j2.properties"
        log.write_text(render_log_configuration(self.path / "broker.log"))
        return server, log

    def last_words(self) -> str:
        said = ""
        for name in ("broker.log", "broker.out"):
            with contextlib.suppress(OSError):
                said += (self.path / name).read_text(errors="replace")
        return gist(said)


def gist(text: str, lines: int = 6) -> str:
    """The last lines of what a Java program printed, without its stack traces."""
    kept = [line for line in text.splitlines() if line.strip() and not line.startswith(("\tat ", "\t... "))]
    return "\n".join(kept[-lines:]) or "it said nothing."
