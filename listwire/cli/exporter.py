"""`listwire exporter`: lag and dead letters for Prometheus, alive when the workers are not."""

from __future__ import annotations

import asyncio
import contextlib
import signal

import click

from listwire.cli import context
from listwire.exporter import Exporter
from listwire.settings import Settings
from listwire.settings_watch import SettingsWatch
from listwire.status_server import StatusServer
from vendors.webhooks import WebhookWatch

DEFAULT_PORT = 8083


@click.command()
@click.option("--host", help="Where to listen; else exporter.host.")
@click.option(
    "--port", type=click.IntRange(0, 65535), help=f"Else exporter.port, {DEFAULT_PORT}, or a free one; 0: any."
)
def command(host: str | None, port: int | None) -> None:
    """Lag, groups, dead letters and topics for Prometheus; and whether Mailchimp still has each source's webhook."""
    settings = context.start_process("exporter")
    context.run(_export(settings, host, port))


async def _export(settings: Settings, host: str | None, port: int | None) -> None:
    exporter = Exporter(settings.kafka)
    table = settings.exporter
    server = StatusServer(
        host or table.host, table.port if port is None else port, DEFAULT_PORT, exporter.health, exporter.ready,
        section="exporter",
    )  # fmt: skip
    work = asyncio.create_task(exporter.run())
    watching = SettingsWatch(settings).start()
    hooks = asyncio.create_task(WebhookWatch(settings).run())
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, work.cancel)
    try:
        await server.start()
        with contextlib.suppress(asyncio.CancelledError):
            await work
    finally:
        watching.stop()
        hooks.cancel()
        work.cancel()
        await server.stop()
