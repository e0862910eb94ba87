"""`listwire console`: the web page for people, until SIGTERM or Ctrl-C."""

from __future__ import annotations

import os
import sys

import click

from listwire.cli import context


@click.command("console")
@click.option("--host", help="Address to listen on, instead of console.host.")
@click.option(
    "--port", type=click.IntRange(0, 65535), help="Port to listen on, instead of console.port; 0 is any free one."
)
def command(host: str | None, port: int | None) -> None:
    """Sources, cohort syncs, lag and dead letters in a browser, behind a token.

    Reads Kafka; needs neither the ingress nor a worker to run. console.token in the settings is what a person enters.
    """
    settings = context.start_process("console")

    from console.serve import serve

    context.run(
        serve(
            settings,
            host or settings.console.host,
            settings.console.port if port is None else port,
            terminal=sys.stdout.isatty(),
            show=click.echo,
        )
    )
    # All is done. granian's threads may still want the interpreter while it is taken down, and abort the process for it.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
