"""A worker process: settings in, exit code out (0 stopped, 1 cannot start, 70 ended by a fault of ours)."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from typing import Any

import anyio.lowlevel
import uvloop
from aiokafka.errors import KafkaConnectionError

from listwire import kafka_admin, logs
from listwire.clock import Clock, SystemClock
from listwire.errors import KafkaError
from listwire.kafka import durable_producer
from listwire.settings import Settings
from listwire.settings_watch import SettingsWatch
from listwire.status_server import StatusServer
from listwire.topics import DEAD_LETTERS
from stream.app import Agent, App, Worker, make_app
from stream.progress import Progress

log = logs.get("stream.worker")
# Bytes of a record. aiokafka measures them before it compresses, the broker afterwards, and only that counts.
MOST_UNPACKED = 1 << 30
MakeAgent = Callable[[Settings, Clock, Progress], Agent]


def run(
    settings: Settings,
    make_agent: MakeAgent,
    topics: tuple[str, ...],
    *,
    name: str,
    host: str,
    port: int | None,
    default_port: int,
) -> int:
    """Runs until a signal. Raises `ListwireError` for what is wrong before it starts."""
    clock = SystemClock()
    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    loop.run_until_complete(kafka_admin.verify(settings, *topics))
    progress = Progress(name, clock)
    agent = make_agent(settings, clock, progress)
    app = make_app(agent, settings.kafka, clock, progress, loop)
    # Loads what httpx would load at the first delivery, for a third of a second.
    loop.run_until_complete(anyio.lowlevel.checkpoint())
    loop.run_until_complete(app.pauses.look())  # before anything of a paused connection is delivered
    status = StatusServer(host, port, default_port, lambda: _healthy(app), lambda: _ready(app))
    loop.run_until_complete(status.start())
    watching = SettingsWatch(settings).start(loop)
    try:
        log.info("starting", worker=name, status_port=status.port)
        _spare_the_collector()
        return _execute(app, loop)
    finally:
        if not loop.is_closed():
            watching.stop()
            loop.run_until_complete(status.stop())


def _spare_the_collector() -> None:
    """Records and runs die by their reference counts, in no cycle. At Python's thresholds the collector would walk all that
    start-up made, over and over: a fifth of a drain's CPU.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 10, 10)


def _execute(app: App, loop: asyncio.AbstractEventLoop) -> int:
    """What mode's `execute_from_commandline` does, but that a traceback goes through our logs, where secrets are cut out."""
    worker = Worker(app, loop=loop, quiet=True, override_logging=False, redirect_stdouts=False)
    code = 0
    worker._starting_fut = asyncio.ensure_future(worker.start(), loop=loop)
    try:
        loop.run_until_complete(worker._starting_fut)
    except asyncio.CancelledError:
        pass  # a signal while starting
    except KafkaConnectionError as fault:
        log.critical("Kafka went away while the worker was starting", detail=str(fault))
        code = 1
    except Exception:
        log.exception("the worker failed")
        code = 1
    try:
        worker._starting_fut.cancel()
        worker.stop_and_shutdown()
    except Exception as fault:  # mode raises the crash again when the loop is down
        if app.fail.fault is None:
            log.critical("the worker crashed", exc_info=fault)
            code = 1
    return app.exit_code or code


def _healthy(app: App) -> tuple[bool, str]:
    words = getattr(app.watchdog, "words", None) if hasattr(app, "watchdog") else None
    return (False, words) if words else (True, "moving")


def _ready(app: App) -> tuple[bool, str]:
    if app.progress.ready and not app.rebalancing:
        return True, f"{len(app.progress.partitions)} partitions"
    return False, "no partitions assigned yet"


async def letters_producer(settings: Settings) -> Any:
    """It compresses, in the way that every reader knows: what a publisher has compressed into a topic must fit into this one too."""
    return await durable_producer(
        settings.kafka,
        need=f"Write on the topic {DEAD_LETTERS}",
        client_id="listwire-dead-letters",
        compression_type="gzip",
        max_request_size=MOST_UNPACKED,
    )


def require_kafka(settings: Settings) -> None:
    if not settings.kafka.bootstrap_servers:
        raise KafkaError("kafka.bootstrap_servers is missing")
