"""`listwire sandbox kafka|amplitude|mailchimp`: a broker or a vendor's stand-in in the foreground."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from listwire.cli import context

PORT = click.IntRange(0, 65535)


@click.group("sandbox")
def command() -> None:
    """A Kafka or a vendor's stand-in of your own. Never for production."""


@command.command("kafka")
@click.option("--port", type=PORT, default=9092, show_default=True, help="0: any free one.")
@click.option(
    "--directory", type=click.Path(path_type=Path, file_okay=False), help="Where data is kept; else it is temporary."
)
def kafka(port: int, directory: Path | None) -> None:
    """Real Apache Kafka, one node, without Docker or a Java to install."""
    from sandbox.kafka import run_in_foreground

    run_in_foreground(directory, port)


def _vendor(function: Any) -> Any:
    for option in (
        click.option("--host", default="127.0.0.1", show_default=True),
        click.option("--port", type=PORT, default=0, help="0: any free one.", show_default=True),
        click.option("--api-key", "api_keys", multiple=True, help="A key that is accepted; none: every key."),
        click.option("--latency", type=float, default=0.0, help="Seconds before an answer."),
        click.option(
            "--journal", type=click.Path(path_type=Path, dir_okay=False), help="Append-only file of what was accepted."
        ),
    ):
        function = option(function)
    return function


@command.command("amplitude")
@_vendor
def amplitude(host: str, port: int, api_keys: tuple[str, ...], latency: float, journal: Path | None) -> None:
    """Amplitude's ingestion API, strict and stateful."""
    from sandbox.amplitude.serve import serve

    context.run(serve(host, port, api_keys, latency=latency, journal=journal))


@command.command("mailchimp")
@_vendor
def mailchimp(host: str, port: int, api_keys: tuple[str, ...], latency: float, journal: Path | None) -> None:
    """Mailchimp's Marketing API and webhooks, strict and stateful."""
    from sandbox.mailchimp import serve

    context.run(serve(host, port, api_keys, latency=latency, journal=journal))
