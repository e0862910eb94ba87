"""`listwire ingress`: webhooks over HTTP into Kafka, until SIGTERM or Ctrl-C."""

from __future__ import annotations

import sys

import click

from listwire.cli import context


@click.command("ingress")
@click.option("--host", help="Address to listen on, instead of ingress.host.")
@click.option(
    "--port", type=click.IntRange(0, 65535), help="Port to listen on, instead of ingress.port; 0 is any free one."
)
@click.option(
    "--workers", type=click.IntRange(1, 64), help="Processes that share the port, instead of ingress.workers."
)
def command(host: str | None, port: int | None, workers: int | None) -> None:
    """Webhooks over HTTP into Kafka.

    Answers 2xx only after Kafka has acknowledged. Needs the topics: `listwire topics ensure` makes them.
    """
    settings = context.start_process("ingress")
    given = {"host": host, "port": port, "workers": workers}
    ours = settings.ingress.model_copy(update={name: value for name, value in given.items() if value is not None})

    from ingress.serve import serve

    sys.exit(serve(settings.model_copy(update={"ingress": ours})))
