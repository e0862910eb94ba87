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
from listwire.errors import SettingsError
from listwire.settings import Settings
from listwire.settings.load import find_file
from listwire.supervisor import Child, Supervisor, printer

BOOTSTRAP = "LISTWIRE_KAFKA__BOOTSTRAP_SERVERS"


@click.command("up")
@click.option("--directory", type=click.Path(path_type=Path, file_okay=False), default=Path(".listwire"), show_default=True,
              help="Where the embedded Kafka keeps its data, when the settings name no Kafka.")  # fmt: skip
def command(directory: Path) -> None:
    """Everything on one machine, on your settings. Ctrl-C stops it all.

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
    """What these settings call for. Raises `SettingsError` where they call for nothing."""
    if not settings.sources and not settings.cohort_syncs:
        raise SettingsError(
            "Nothing to run: write a table [sources.NAME] or [cohort_syncs.NAME] (`listwire init` shows both)."
        )
    found = [Child("ingress", ("ingress",))]
    if settings.sources:
        found.append(Child("subscriptions", ("worker", "subscriptions")))
    if settings.cohort_syncs:
        found.append(Child("cohorts", ("worker", "cohorts")))
    found.append(Child("exporter", ("exporter",)))
    if settings.console.login is not None:
        found.append(Child("console", ("console",)))
    return found


def _embedded(directory: Path) -> Any:
    from sandbox.kafka import EmbeddedKafka

    click.echo(
        f"kafka.bootstrap_servers is not set: starting an embedded Kafka, data in {directory / 'kafka'}", err=True
    )
    broker = EmbeddedKafka(directory / "kafka")
    broker.start()
    return broker


async def _run(settings: Settings, children: list[Child], environment: dict[str, str]) -> int:
    show = printer([child.name for child in children], sys.stdout.isatty())
    for line in await kafka_admin.ensure(settings):
        show("listwire", line)
    file = find_file(context.config_path(), os.environ)
    if file is not None:
        environment["LISTWIRE_CONFIG"] = str(file.resolve())
    if sys.stdout.isatty() and settings.logs.format == "auto":
        environment["LISTWIRE_LOGS__FORMAT"] = "console"
    supervisor = Supervisor([Child(child.name, child.arguments, environment) for child in children], show)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, supervisor.stop)
    show("listwire", f"ingress at http://{settings.ingress.host}:{settings.ingress.port}; Ctrl-C stops everything")
    return await supervisor.run()
