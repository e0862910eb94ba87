"""EmbeddedKafka: one broker with its own data directory, that can be started, stopped, killed and started again.

Its port stays the same through all of that, and so does its data. It must never leave a process behind, nor delete a
directory that was given to it.
"""

from __future__ import annotations

import atexit
import os
import subprocess
import tempfile
import threading
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Self

from listwire.errors import SandboxError
from sandbox.kafka.archive import StartArchive
from sandbox.kafka.certificate import Certificate, ensure_certificate
from sandbox.kafka.datadir import DataDirectory, gist
from sandbox.kafka.jars import ensure_jars
from sandbox.kafka.java import java, java_command
from sandbox.kafka.ports import HOST, is_free, pick_port, serves
from sandbox.kafka.process import BrokerProcess
from sandbox.kafka.properties import SecureListener, ServerSettings, render_log_configuration

_START_WITHIN = 60.0
_FORMAT_WITHIN = 60.0
_LOOK_EVERY = 0.03


class EmbeddedKafka:
    """All methods may be called from any thread; `start()` returns when the broker answers requests.

    Without a `directory` the data is temporary: it outlives `kill()` and is removed by `stop()`. Port 0 is any free one,
    chosen at the first start and kept. `properties` are Kafka's own and win over the defaults. With `die_with_parent`
    the broker ends with this process, however that ends.
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
        self._directory = DataDirectory(directory)
        self._port = port
        self._secure_port = 0 if secure is None else secure.port
        self._heap_mb = heap_mb
        self._properties = dict(properties)
        self._secure = secure
        self._certificate: Certificate | None = None
        self._die_with_parent = die_with_parent
        self._verify_jars = verify_jars
        self._process: BrokerProcess | None = None
        self._archive: StartArchive | None = None
        self._owner = 0
        self._mutex = threading.RLock()

    def __enter__(self) -> Self:
        return self.start()

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
    def certificate(self) -> Path:
        """PEM that clients of the secure listener must trust; it holds for 127.0.0.1 and localhost."""
        if self._certificate is None:
            raise SandboxError("The embedded Kafka has no secure listener, or was not started yet.")
        return self._certificate.pem

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
        return self._directory.path

    def start(self) -> Self:
        """Does nothing when it runs already. Raises SandboxError with the way out when it cannot."""
        with self._mutex:
            if not self.running:
                self._end(0)
                java()
                class_path = ensure_jars(full_check=self._verify_jars)
                known = self._directory.known
                lock = self._directory.claim()
                try:
                    self._choose_ports()
                    self._run(class_path, lock)
                except BaseException:
                    # What an earlier start left behind stays for the next attempt; what this one made goes.
                    if known:
                        self._end(0)
                    else:
                        self.stop(0)
                    raise
            return self

    def stop(self, timeout: float = 10) -> None:
        """SIGTERM, then SIGKILL after `timeout` seconds. A temporary directory is removed."""
        with self._mutex:
            atexit.unregister(self._at_exit)
            self._end(timeout)
            self._directory.remove_temporary()

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
            options = ["-Xmx256m", f"-Dlog4j2.configurationFile={log}"]
            options += StartArchive(class_path, Path(scratch)).options()
            return _run_java(java_command(class_path, main_class, list(arguments), options), Path(scratch), timeout)

    def _choose_ports(self) -> None:
        """A port once told to anybody stays; one that an earlier process chose for this directory is taken if free."""
        port, secure_port = self._directory.read_ports()
        self._port = self._port or _if_free(port) or pick_port()
        if self._secure is not None:
            self._secure_port = self._secure_port or _if_free(secure_port) or pick_port()
        for each in (self._port, self._secure_port):
            if each and not is_free(each):
                raise SandboxError(
                    f"Port {each} is in use by another program. Stop it, or choose another port for the embedded Kafka "
                    "(0 takes any free one)."
                )
        self._directory.write_ports(self._port, self._secure_port)

    def _run(self, class_path: list[Path], lock: int) -> None:
        directory = self.directory
        if self._secure is not None:
            self._certificate = ensure_certificate(directory)
        settings = ServerSettings(
            data=self._directory.data,
            port=self._port,
            controller_port=pick_port(),
            secure=self._secure,
            secure_port=self._secure_port,
            certificate=self._certificate,
            extra=self._properties,
        )
        configuration, log = self._directory.write_configuration(settings)
        self._archive = archive = StartArchive(class_path, directory)
        options = [f"-Xmx{self._heap_mb}m", f"-Dlog4j2.configurationFile={log}"]
        if not self._directory.formatted:
            self._format(class_path, configuration, [*options, *archive.options()])
        options += archive.options(record=True)
        command = java_command(class_path, "kafka.Kafka", [str(configuration)], options)
        process = self._process = BrokerProcess(
            command,
            directory,
            lock=lock,
            die_with_parent=self._die_with_parent,
            remove=directory if self._directory.temporary else None,
        )
        self._directory.name_holder(process.pid)
        self._owner = os.getpid()
        atexit.unregister(self._at_exit)  # of a start before a kill()
        atexit.register(self._at_exit)
        self._wait_until_it_serves(process)
        archive.make_in_background()

    def _format(self, class_path: list[Path], configuration: Path, options: list[str]) -> None:
        cluster = urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
        # The tool would take a leading dash for an option.
        arguments = [
            "format",
            "--ignore-formatted",
            "--cluster-id",
            cluster.replace("-", "0"),
            "--config",
            str(configuration),
        ]
        if self._secure is not None:
            arguments += self._secure.scram_arguments()
        command = java_command(class_path, "kafka.tools.StorageTool", arguments, options)
        done = _run_java(command, self.directory, _FORMAT_WITHIN)
        if done.returncode:
            raise SandboxError(f"Kafka could not format {self._directory.data}: {gist(done.stdout + done.stderr)}")

    def _wait_until_it_serves(self, process: BrokerProcess) -> None:
        end = time.monotonic() + _START_WITHIN
        while not serves(self._port):
            if (code := process.returncode) is not None:
                said = self._directory.last_words()
                raise SandboxError(f"The embedded Kafka ended with exit code {code} while it started: {said}")
            if time.monotonic() > end:
                said = self._directory.last_words()
                raise SandboxError(f"The embedded Kafka did not answer within {_START_WITHIN:.0f} s: {said}")
            time.sleep(_LOOK_EVERY)

    def _end(self, timeout: float) -> None:
        if self._archive is not None:
            self._archive.close()
        if self._process is not None:
            if self._process.end(timeout) and self._archive is not None:
                self._archive.keep_recording()
            self._process = None
        self._directory.release()

    def _at_exit(self) -> None:
        if os.getpid() == self._owner:  # a forked child runs this too, and the broker is not its own
            self.stop()


def _run_java(command: list[str], directory: Path, timeout: float) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=directory, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout, check=False
    )


def _if_free(port: int) -> int:
    return port if port and is_free(port) else 0
