"""`listwire ingress`: everything that can be wrong is found before a worker starts, then granian runs the workers.

Settings reach the workers as an object, never on a command line. This module must not import what makes metrics before
`_share_metrics` has said where they are kept.
"""

from __future__ import annotations

import asyncio
import errno
import importlib
import multiprocessing
import os
import resource
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing.synchronize import Event
from typing import Any, Final

from granian.constants import HTTPModes, Interfaces, Loops, RuntimeModes
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server import Server

from listwire import logs, redaction, topics
from listwire.errors import SettingsError
from listwire.settings import Settings

# Sockets that wait to be accepted, and connections at once in a worker; the rest waits in the kernel. One that says nothing
# costs 2 KB here and is closed after five seconds: many are cheaper than to let others wait behind them.
_BACKLOG: Final = 4096
_CONNECTIONS: Final = 16_384
# Open files that are not connections: Kafka's, libraries, metrics.
_OTHER_FILES: Final = 512
# A head may grow to about twice as much before it is 431: times the connections, what slow headers can hold in memory.
_HEAD_BYTES: Final = 16 * 1024
_HEADERS_WITHIN_MS: Final = 5_000
# Above the 8.6 s that a request may take and the second for the producer.
_STOP_WITHIN: Final = 12
FAULT_OF_OURS: Final = 70
_LOOK_EVERY: Final = 0.1

log = logs.get("listwire.ingress")


def wanted_topics(settings: Settings) -> list[str]:
    """The topics that the configured routes lead to; SettingsError where there is no route."""
    wanted = [topics.WEBHOOKS] if settings.sources else []
    if any(sync.secrets for sync in settings.cohort_syncs.values()):
        wanted.append(topics.COHORT_CHANGES)
    if not wanted:
        raise SettingsError(
            "There is nothing for the ingress to receive: write a table [sources.NAME] for a Mailchimp audience, or a "
            "table [cohort_syncs.NAME] with secrets for Amplitude's cohorts."
        )
    return wanted


def serve(settings: Settings) -> int:
    """Blocks until SIGTERM or SIGINT; returns the exit code. Raises SettingsError or KafkaError instead of starting."""
    from listwire import kafka_admin

    wanted = wanted_topics(settings)
    # Before the workers: a loop of asyncio's own leaves no thread behind that a fork could stumble over.
    with _reserved(settings.ingress.host, settings.ingress.port) as (host, port):
        asyncio.run(kafka_admin.verify(settings, *wanted))
        connections = _connections()
        with _share_metrics(settings.ingress.workers):
            return _run(settings, host, port, connections)


class _Interrupt:
    """What granian needs of threading.Event, fit for a signal handler. Event's own lock may be held by the very thread that a
    signal interrupts, which would then wait for ever; and a signal that comes just before a thread begins to wait for a lock
    does not wake it. So this one looks again and again.
    """

    def __init__(self) -> None:
        self._set = False

    def set(self) -> None:
        self._set = True

    def clear(self) -> None:
        self._set = False

    def is_set(self) -> bool:
        return self._set

    def wait(self) -> bool:
        while not self._set:
            time.sleep(_LOOK_EVERY)
        return True


class _Server(Server):  # type: ignore[misc]
    """granian's, which tells its workers to stop by a signal alone; one that was just forked would miss it."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.stopping = multiprocessing.Event()
        self.main_loop_interrupt = _Interrupt()

    def shutdown(self, exit_code: int = 0) -> None:
        self.stopping.set()
        super().shutdown(exit_code)

    def _stop_workers(self) -> None:
        """Granian's own takes a worker that is just ending, its files closed and its memory not yet freed, for one that refuses,
        and warns of killing it. So this waits until they are gone, or late.
        """
        end = time.monotonic() + _STOP_WITHIN
        for worker in self.wrks:
            worker.terminate()
        while any(worker.is_alive() for worker in self.wrks) and time.monotonic() < end:
            time.sleep(0.01)
        self.workers_kill_timeout = 0.1  # all have had theirs
        super()._stop_workers()


def _run(settings: Settings, host: str, port: int, connections: int) -> int:
    importlib.import_module("ingress.worker")  # once, for all that are forked
    server = _Server(
        "listwire-ingress",
        address=host,
        port=port,
        interface=Interfaces.ASGI,
        workers=settings.ingress.workers,
        loop=Loops.uvloop,
        runtime_mode=RuntimeModes.st,
        http=HTTPModes.http1,
        websockets=False,
        backlog=_BACKLOG,
        backpressure=connections,
        http1_settings=HTTP1Settings(header_read_timeout=_HEADERS_WITHIN_MS, max_buffer_size=_HEAD_BYTES),
        log_access=False,
        log_level=LogLevels.info if settings.logs.level == "debug" else LogLevels.warning,
        log_dictconfig=_LOGGED_BY_US,
        workers_kill_timeout=_STOP_WITHIN,
    )
    log.info("the ingress listens", url=f"http://{f'[{host}]' if ':' in host else host}:{port}", port=port)
    try:
        server.serve(target_loader=partial(_load, settings, os.getpid(), server.stopping), wrap_loader=False)
    except SystemExit:
        if not server.interrupt_signal:
            log.critical("a worker ended unexpectedly; the ingress ends too, for its supervisor to start it again")
            return FAULT_OF_OURS
    return 0


def _load(settings: Settings, parent: int, stopping: Event) -> Any:
    """Runs in the worker."""
    from ingress.stopping import Stopping
    from ingress.worker import Worker

    held = Stopping(lambda: stopping.is_set() or os.getppid() != parent)
    logs.configure("ingress", redaction.for_settings(settings), level=settings.logs.level, style=settings.logs.format)
    return Worker(settings, held)


# granian's lines go where ours go: through the redaction, to stderr.
_LOGGED_BY_US: Final[dict[str, Any]] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {},
    "handlers": {},
    "loggers": {"_granian": {"handlers": [], "propagate": True}},
}


@contextmanager
def _reserved(host: str, port: int) -> Iterator[tuple[str, int]]:
    """An address and a port that are ours. granian's workers share a port, so a second ingress would share it as well:
    a first bind without sharing finds that out, a second one keeps the port until the workers have it.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host or "0.0.0.0", port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as fault:
        raise SettingsError(
            f"ingress.host = {host!r} is no address of this machine: {fault.strerror}. "
            'Write under [ingress]: host = "0.0.0.0"'
        ) from None
    with socket.socket(family) as ours:
        try:
            with socket.socket(family) as first:
                first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                first.bind(address)
                taken = first.getsockname()
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            ours.bind(taken)
        except OSError as fault:
            if fault.errno == errno.EADDRINUSE:
                raise SettingsError(
                    f"ingress.port = {port} is taken by another process. Write under [ingress]: port = 0 for any free "
                    "one, or stop the other."
                ) from None
            raise SettingsError(
                f"ingress.host = {host!r} with port {port} cannot be listened on: {fault.strerror}. "
                'Write under [ingress]: host = "0.0.0.0"'
            ) from None
        yield taken[0], taken[1]


def _connections() -> int:
    """How many a worker may take. Many systems start with 1024 open files: the limit is raised as far as it may be, and where
    that is not far, fewer are taken, since a process without a file left cannot reach Kafka either.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _CONNECTIONS + _OTHER_FILES
    if soft == resource.RLIM_INFINITY:
        return _CONNECTIONS
    if soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return min(_CONNECTIONS, max(soft - _OTHER_FILES, soft // 2))


@contextmanager
def _share_metrics(workers: int) -> Iterator[None]:
    """With several workers each keeps its counters in a file of a common directory, and any of them shows the sum."""
    if workers == 1:
        yield
        return
    from ingress.pages import SHARED_METRICS

    directory = tempfile.mkdtemp(prefix="listwire-ingress-metrics-")
    os.environ[SHARED_METRICS] = directory
    from prometheus_client import values

    # The library decides when it is first imported, and something else may have imported it.
    shared: Any = values.MultiProcessValue
    values.ValueClass = shared()
    try:
        yield
    finally:
        shutil.rmtree(directory, ignore_errors=True)
