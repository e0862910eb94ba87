"""`listwire up`: every process that the settings call for, on this machine, supervised."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

import click

from listwire import kafka_admin
from listwire.cli import context
from listwire.errors import KafkaError, SettingsError
from listwire.settings import Settings
from listwire.settings.load import find_file
from listwire.settings_watch import SettingsWatch
from listwire.supervisor import Child, Supervisor, printer

AGAIN = 10.0
NAMES = ("ingress", "subscriptions", "cohorts", "scheduler", "exporter", "console")
BOOTSTRAP = "LISTWIRE_KAFKA__BOOTSTRAP_SERVERS"


@click.command("up")
@click.option("--directory", type=click.Path(path_type=Path, file_okay=False), default=Path(".listwire"), show_default=True,
              help="Where the embedded Kafka keeps its data, when the settings name no Kafka.")  # fmt: skip
def command(directory: Path) -> None:
    """Everything on one machine, on your settings. Ctrl-C stops it all.

    New settings, and connections that the console or `listwire connect` have made, are taken up by starting the processes again,
    one at a time.

    Without kafka.bootstrap_servers an embedded Kafka is started, whose data is kept.
    """
    settings = context.settings()
    context.quiet(settings)
    children = processes(settings)
    broker = None
    environment = {}
    if not settings.kafka.bootstrap_servers:
        broker = _embedded(directory)
        environment[BOOTSTRAP] = broker.bootstrap_servers
        settings = settings.model_copy(
            update={"kafka": settings.kafka.model_copy(update={"bootstrap_servers": broker.bootstrap_servers})}
        )
    try:
        sys.exit(context.run(_run(settings, children, environment)))
    finally:
        if broker is not None:
            broker.stop()


def processes(settings: Settings) -> list[Child]:
    """What these settings call for, the ingress last: what it lets in, the workers must know. Raises `SettingsError` where they
    call for nothing.
    """
    if not settings.sources and not settings.cohort_syncs and settings.console.login is None:
        raise SettingsError(
            "Nothing to run: write a table [sources.NAME] or [cohort_syncs.NAME] (`listwire init` shows both), or console.token "
            "and press Connect."
        )
    found = []
    if settings.sources:
        found.append(Child("subscriptions", ("worker", "subscriptions")))
    if settings.cohort_syncs:
        found.append(Child("cohorts", ("worker", "cohorts", *_beside(settings))))
    if settings.cohort_schedules:
        found.append(Child("scheduler", ("cohorts", "sync", "--scheduled")))
    found.append(Child("exporter", ("exporter",)))
    if settings.console.login is not None:
        found.append(Child("console", ("console",)))
    if settings.sources or any(sync.secrets for sync in settings.cohort_syncs.values()):
        found.append(Child("ingress", ("ingress",)))
    return found


def _beside(settings: Settings) -> tuple[str, ...]:
    """Both workers are told one `worker.port`: here, on one machine, the second one takes the next."""
    port = settings.worker.port
    return ("--port", str(port + 1 if port < 65535 else 0)) if settings.sources and port else ()


def _embedded(directory: Path) -> Any:
    from sandbox.kafka import EmbeddedKafka

    click.echo(
        f"kafka.bootstrap_servers is not set: starting an embedded Kafka, data in {directory / 'kafka'}", err=True
    )
    broker = EmbeddedKafka(directory / "kafka")
    broker.start()
    return broker


async def _run(settings: Settings, children: list[Child], environment: dict[str, str]) -> int:
    show = printer(NAMES, sys.stdout.isatty())
    for line in await kafka_admin.ensure(settings):
        show("listwire", line)
    file = find_file(context.config_path(), os.environ)
    if file is not None:
        environment["LISTWIRE_CONFIG"] = str(file.resolve())
    if sys.stdout.isatty() and settings.logs.format == "auto":
        environment["LISTWIRE_LOGS__FORMAT"] = "console"
    supervisor = Supervisor(_with(environment, children), show)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, supervisor.stop)
    following = asyncio.create_task(_follow(supervisor, settings, environment))
    where = f"ingress at http://{settings.ingress.host}:{settings.ingress.port}"
    show(
        "listwire",
        f"{where if settings.sources or settings.cohort_syncs else 'nothing is connected yet: open the console and press Connect'}; Ctrl-C stops everything",
    )
    try:
        return await supervisor.run()
    finally:
        following.cancel()


async def _follow(supervisor: Supervisor, settings: Settings, environment: dict[str, str]) -> None:
    """Starts the processes again, one at a time, whenever other settings stand on disk that are valid."""
    changes: asyncio.Queue[Settings] = asyncio.Queue()
    watch = SettingsWatch(
        settings,
        changed=changes.put_nowait,
        invalid=lambda words: supervisor.show(
            "listwire", f"The settings have changed and are not valid; going on with the old ones. {words}"
        ),
    ).start()
    running = settings
    while True:
        found = await changes.get()
        while not changes.empty():
            found = changes.get_nowait()
        try:
            children = processes(found)
            await _topics_of(found.model_copy(update={"kafka": settings.kafka}), supervisor)
        except SettingsError as fault:
            supervisor.show("listwire", str(fault))
            continue
        watch.take(found)
        # The console takes new connections over by itself, and whoever is connecting one should stay logged in.
        same = all(
            getattr(found, section) == getattr(running.origin.loaded, section)
            for section in ("kafka", "console", "logs")
        )
        again = [child.name for child in children if child.name != "console" or not same]
        supervisor.show(
            "listwire", f"The settings have changed; starting again, one after the other: {', '.join(again)}"
        )
        running = found
        await supervisor.replace(_with(environment, children), again)


async def _topics_of(settings: Settings, supervisor: Supervisor) -> None:
    """A process that is started while Kafka is away would give up; those that run do not."""
    while True:
        try:
            for line in await kafka_admin.ensure(settings):
                supervisor.show("listwire", line)
        except KafkaError as fault:
            supervisor.show(
                "listwire", f"The settings have changed, but Kafka does not answer; again in {AGAIN:.0f} s. {fault}"
            )
            await asyncio.sleep(AGAIN)
        else:
            return


def _with(environment: dict[str, str], children: list[Child]) -> list[Child]:
    return [Child(child.name, child.arguments, environment) for child in children]
