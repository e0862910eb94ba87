"""EmbeddedKafka: one broker with its own data directory, that can be started, stopped, killed and started again.

Its port stays the same through all of that, and so does its data. It must never leave a process behind, nor delete a
directory that was given to it.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import tempfile
import threading
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import IO, Self

from listwire.errors import SandboxError
from sandbox.kafka.jars import ensure_jars
from sandbox.kafka.java import java, java_command
from sandbox.kafka.ports import HOST, is_free, pick_port, serves
from sandbox.kafka.process import BrokerProcess
from sandbox.kafka.properties import SecureListener, ServerSettings, render_log_configuration, render_properties

_START_WITHIN = 60.0
_FORMAT_WITHIN = 60.0
_LOOK_EVERY = 0.03


class EmbeddedKafka:
    """All methods may be called from any thread; `start()` returns when the broker answers requests.

    Without a `directory` the data is temporary: it outlives `kill()` and is removed by `stop()`. Port 0 is any free one,
    chosen at the first start and kept. `properties` are Kafka's own and win over the defaults.
    """

    def __init__(
        self,
        directory: Path | None = None,
        *,
        port: int = 0,
        heap_mb: int = 512,
        properties: Mapping[str, str] = MappingProxyType({}),
        secure: SecureListener | None = None,
        die_with_parent: bool = True,
        verify_jars: bool = False,
    ) -> None:
        self._given = None if directory is None else Path(directory).absolute()
        self._directory = self._given
        self._asked_port = port
        self._port = port
        self._secure_port = 0 if secure is None else secure.port
        self._heap_mb = heap_mb
        self._properties = dict(properties)
        self._secure = secure
        self._die_with_parent = die_with_parent
        self._verify_jars = verify_jars
        self._process: BrokerProcess | None = None
        self._lock_file: IO[str] | None = None
        self._owner = 0
        self._mutex = threading.RLock()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def bootstrap_servers(self) -> str:
        if not self._port:
            raise SandboxError("The embedded Kafka has no address before its first start.")
        return f"{HOST}:{self._port}"

    @property
    def secure_bootstrap_servers(self) -> str:
        """Of the SASL_SSL listener; only with `secure`."""
        if not self._secure_port:
            raise SandboxError("The embedded Kafka has no secure listener, or was not started yet.")
        return f"{HOST}:{self._secure_port}"

    @property
    def pid(self) -> int:
        if self._process is None:
            raise SandboxError("The embedded Kafka is not running.")
        return self._process.pid

    @property
    def running(self) -> bool:
        process = self._process
        return process is not None and process.returncode is None

    @property
    def directory(self) -> Path:
        """Holds the data, the configuration, `broker.log` (warnings) and `broker.out` (what Java printed)."""
        if self._directory is None:
            raise SandboxError("The embedded Kafka has no directory before its first start.")
        return self._directory

    def start(self) -> Self:
        """Does nothing when it runs already. Raises SandboxError with the way out when it cannot."""
        with self._mutex:
            if self.running:
                return self
            self._end(0)
            class_path = ensure_jars(full_check=self._verify_jars)
            java()
            if self._directory is None:
                self._directory = Path(tempfile.mkdtemp(prefix="listwire-kafka-"))
            try:
                lock_file = self._claim()
                self._choose_ports()
                self._run(class_path, lock_file)
            except BaseException:
                self._end(0)
                self._remove_temporary()
                raise
            return self

    def stop(self, timeout: float = 10) -> None:
        """SIGTERM, then SIGKILL after `timeout` seconds. A temporary directory is removed."""
        with self._mutex:
            self._end(timeout)
            self._remove_temporary()

    def kill(self) -> None:
        """SIGKILL, as a crash would: `start()` afterwards finds the same port and the same data."""
        with self._mutex:
            self._end(0)

    def tool(self, main_class: str, *arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Runs one of Kafka's command line tools, such as `org.apache.kafka.tools.consumer.group.ConsumerGroupCommand`.

        Its exit code is the caller's to judge; subprocess.TimeoutExpired after `timeout` seconds.
        """
        class_path = ensure_jars()
        with tempfile.TemporaryDirectory(prefix="listwire-kafka-tool-") as scratch:
            log = Path(scratch, "log4j2.properties")
            log.write_text(render_log_configuration(None))
            command = java_command(
                class_path, main_class, list(arguments), ["-Xmx256m", f"-Dlog4j2.configurationFile={log}"]
            )
            return subprocess.run(
                command,
                cwd=scratch,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=timeout,
                check=False,
            )

    def _claim(self) -> IO[str]:
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            lock_file = (self.directory / "lock").open("a+")
        except OSError as error:
            raise SandboxError(f"The data directory {self.directory} cannot be used: {error}.") from error
        try:
            fcntl.flock(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock_file.seek(0)
            holder = lock_file.read().strip() or "unknown"
            lock_file.close()
            raise SandboxError(
                f"The data directory {self.directory} is in use by another embedded Kafka (process {holder}). "
                "Stop that one, or give this one a directory of its own."
            ) from None
        self._lock_file = lock_file
        return lock_file

    def _state(self) -> dict[str, int]:
        with contextlib.suppress(OSError, ValueError):
            found = json.loads((self.directory / "ports.json").read_text())
            return {name: int(found[name]) for name in ("port", "secure_port")}
        return {"port": 0, "secure_port": 0}

    def _choose_ports(self) -> None:
        """A port once told to anybody stays; one that an earlier process chose for this directory is taken again if free."""
        before = self._state()
        self._port = self._port or _if_free(before["port"]) or pick_port()
        if self._secure is not None:
            self._secure_port = self._secure_port or _if_free(before["secure_port"]) or pick_port()
        for port in (self._port, self._secure_port):
            if port and not is_free(port):
                raise SandboxError(
                    f"Port {port} is in use by another program. Stop it, or choose another port for the embedded Kafka "
                    "(0 takes any free one)."
                )
        state = {"port": self._port, "secure_port": self._secure_port}
        (self.directory / "ports.json").write_text(json.dumps(state))

    def _run(self, class_path: list[Path], lock_file: IO[str]) -> None:
        directory = self.directory
        settings = ServerSettings(
            data=directory / "data",
            port=self._port,
            controller_port=pick_port(),
            secure=self._secure,
            secure_port=self._secure_port,
            extra=self._properties,
        )
        configuration = directory / "server.properties"
        configuration.touch(mode=0o600)
        configuration.write_text(render_properties(settings.properties()))
        log = directory / "log4j2.properties"
        log.write_text(render_log_configuration(directory / "broker.log"))
        options = [f"-Xmx{self._heap_mb}m", f"-Dlog4j2.configurationFile={log}"]
        if not (directory / "data" / "meta.properties").exists():
            self._format(class_path, configuration, options)
        command = java_command(class_path, "kafka.Kafka", [str(configuration)], options)
        with (directory / "broker.out").open("wb") as output:
            process = self._process = BrokerProcess(
                command, directory, output, keep_open=lock_file.fileno(), die_with_parent=self._die_with_parent
            )
        lock_file.truncate(0)
        lock_file.write(str(process.pid))
        lock_file.flush()
        self._owner = os.getpid()
        atexit.register(self._at_exit)
        self._wait_until_it_serves(process)

    def _format(self, class_path: list[Path], configuration: Path, options: list[str]) -> None:
        cluster = urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
        # Kafka's own tools take a leading dash for an option.
        arguments = ["format", "--cluster-id", cluster.replace("-", "0"), "--config", str(configuration)]
        if self._secure is not None:
            arguments += self._secure.scram_arguments()
        command = java_command(class_path, "kafka.tools.StorageTool", arguments, options)
        done = subprocess.run(
            command,
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_FORMAT_WITHIN,
            check=False,
        )
        if done.returncode:
            raise SandboxError(
                f"Kafka could not format {self.directory / 'data'}: {_last_lines(done.stdout + done.stderr)}"
            )

    def _wait_until_it_serves(self, process: BrokerProcess) -> None:
        end = time.monotonic() + _START_WITHIN
        while not serves(self._port):
            if (code := process.returncode) is not None:
                raise SandboxError(
                    f"The embedded Kafka ended with exit code {code} while it started: {self._last_words()}"
                )
            if time.monotonic() > end:
                raise SandboxError(
                    f"The embedded Kafka did not answer within {_START_WITHIN:.0f} s: {self._last_words()}"
                )
            time.sleep(_LOOK_EVERY)

    def _last_words(self) -> str:
        said = ""
        for name in ("broker.out", "broker.log"):
            with contextlib.suppress(OSError):
                said += (self.directory / name).read_text(errors="replace")
        return _last_lines(said)

    def _end(self, timeout: float) -> None:
        if self._process is not None:
            atexit.unregister(self._at_exit)
            self._process.end(timeout)
            self._process = None
        if self._lock_file is not None:
            self._lock_file.close()
            self._lock_file = None

    def _at_exit(self) -> None:
        if os.getpid() == self._owner:  # a forked child runs this too, and the broker is not its own
            self.stop()

    def _remove_temporary(self) -> None:
        if self._given is None and self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory = None


def _if_free(port: int) -> int:
    return port if port and is_free(port) else 0


def _last_lines(text: str, count: int = 8) -> str:
    return "\n".join(text.strip().splitlines()[-count:]) or "it said nothing."
