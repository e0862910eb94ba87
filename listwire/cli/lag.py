"""`listwire lag`: how far the workers are behind, once or live. Reads only; works while every worker is down."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import click
import orjson
from rich.live import Live

from listwire.cli import context
from listwire.clock import SystemClock
from listwire.errors import KafkaError, TopicsError
from listwire.lag import GroupLag, sentence
from listwire.lag_reader import LagReader
from listwire.lag_view import Trend, screen, table
from listwire.settings import Settings


@click.command()
@click.option("--watch", is_flag=True, help="Keep looking, until Ctrl-C.")
@click.option("--interval", type=click.FloatRange(min=0.2), default=2.0, help="Seconds between looks with --watch; 2.")
@click.option("--json", "as_json", is_flag=True, help="For scripts; with --watch a line a look.")
def command(watch: bool, interval: float, as_json: bool) -> None:
    """How far the workers are behind, in records and seconds."""
    settings = context.settings()
    context.quiet(settings)
    if not watch:
        _show(context.run(_once(settings)), as_json=as_json)
        return
    with contextlib.suppress(KeyboardInterrupt):
        context.run(_watch(settings, interval, as_json=as_json))


async def _once(settings: Settings) -> list[GroupLag]:
    async with LagReader(settings.kafka) as reader:
        return await reader.read()


def _show(lags: list[GroupLag], *, as_json: bool) -> None:
    if as_json:
        context.print_json(_document(lags))
        return
    context.console().print(table(lags))
    click.echo("\n" + "\n".join(map(sentence, lags)))


def _document(lags: list[GroupLag]) -> dict[str, Any]:
    return {
        "records": sum(lag.records for lag in lags),
        "seconds": max((lag.seconds for lag in lags if lag.seconds is not None), default=None),
        "groups": [lag.as_json() for lag in lags],
    }


async def _readings(settings: Settings, interval: float) -> AsyncIterator[list[GroupLag] | KafkaError]:
    """For ever; a Kafka that goes away is told and asked again."""
    while True:
        try:
            async with LagReader(settings.kafka) as reader:
                while True:
                    yield await reader.read()
                    await asyncio.sleep(interval)
        except TopicsError:
            raise
        except KafkaError as fault:
            yield fault
            await asyncio.sleep(interval)


async def _watch(settings: Settings, interval: float, *, as_json: bool) -> None:
    clock = SystemClock()
    trends: dict[str, Trend] = {}
    console = context.console()
    live = Live(console=console, auto_refresh=False, transient=False) if console.is_terminal and not as_json else None
    with live or contextlib.nullcontext():
        async for reading in _readings(settings, interval):
            if isinstance(reading, KafkaError):
                click.echo(f"listwire: {reading}", err=True)
                continue
            for lag in reading:
                trends.setdefault(lag.group, Trend()).add(clock.monotonic(), lag)
            if live:
                live.update(screen(reading, trends), refresh=True)
            elif as_json:
                click.echo(orjson.dumps(_document(reading)).decode())
            else:
                for lag in reading:
                    click.echo(f"{sentence(lag)} {trends[lag.group].words()}".rstrip())
