"""`listwire worker subscriptions` and `listwire worker cohorts`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import click

from listwire import topics
from listwire.cli import context
from listwire.errors import SettingsError
from listwire.settings import Settings


@click.group("worker")
def command() -> None:
    """Kafka to Amplitude (subscriptions) or to Mailchimp (cohorts)."""


def _options(function: Callable[..., Any]) -> Callable[..., Any]:
    host = click.option("--host", help="Where /metrics, /healthz and /readyz answer.")
    port = click.option("--port", type=click.IntRange(0, 65535), help="0: any free one.")
    return host(port(function))


@command.command("subscriptions")
@_options
def subscriptions(host: str | None, port: int | None) -> None:
    """Webhooks to Amplitude events."""
    settings = context.start_process("worker-subscriptions")
    if not settings.sources:
        raise SettingsError("There is no source: write a table [sources.NAME] (`listwire init` shows one).")
    from stream.agents.subscriptions import make_agent

    _run(settings, make_agent, topics.WEBHOOKS, "subscriptions", host, port, 8081)


@command.command("cohorts")
@_options
def cohorts(host: str | None, port: int | None) -> None:
    """Cohort changes to Mailchimp tags."""
    settings = context.start_process("worker-cohorts")
    if not settings.cohort_syncs:
        raise SettingsError("There is no cohort sync: write a table [cohort_syncs.NAME] (`listwire init` shows one).")
    from stream.agents.cohort_tags import make_agent

    _run(settings, make_agent, topics.COHORT_CHANGES, "cohorts", host, port, 8082)


def _run(
    settings: Settings, make_agent: Any, topic: str, name: str, host: str | None, port: int | None, default: int
) -> None:
    from stream.worker import run

    wanted = settings.worker.port if port is None else port
    where = host or settings.worker.host
    sys.exit(
        run(
            settings, make_agent, (topic, topics.DEAD_LETTERS), name=name, host=where, port=wanted, default_port=default
        )
    )
