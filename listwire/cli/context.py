"""What a command needs before it starts: its settings, its logs, and a loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

import click
import orjson
from rich.console import Console

from listwire import logs, redaction
from listwire.settings import Settings, load

T = TypeVar("T")

# Seconds; what closes cleanly is done with it by then.
_INSIST_AFTER = 5.0


def config_path() -> str | None:
    ctx = click.get_current_context(silent=True)
    path: str | None = ctx.find_root().meta.get("listwire.config") if ctx else None
    return path


def settings() -> Settings:
    return load(config_path())


def start_process(name: str) -> Settings:
    """Settings, and logs that cannot show one of their secrets."""
    found = settings()
    logs.configure(name, redaction.for_settings(found), level=found.logs.level, style=found.logs.format)
    return found


def run(work: Coroutine[Any, Any, T]) -> T:
    """On asyncio's own loop: uvloop's may raise EBUSY while it closes with a TLS connection half shut, and lose a Ctrl-C."""
    with asyncio.Runner() as runner:
        return runner.run(_insisting(work))


async def _insisting(work: Coroutine[Any, Any, T]) -> T:
    """A Ctrl-C is a cancellation, and Python 3.11's `wait_for`, which aiokafka is full of, now and then swallows one. So what has
    not ended some seconds after it is cancelled again.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            task.cancel()
            await asyncio.wait([task], timeout=_INSIST_AFTER)
        return task.result()


def quiet(settings: Settings) -> None:
    """For commands that print a result: what went wrong is the one sentence they end with, not the libraries' lines."""
    logs.configure("listwire", redaction.for_settings(settings), level="critical", style="console")
    # Futures that nobody awaits any more, once one of a batch has told what is wrong with all of it.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)


def console() -> Console:
    """For tables. In a pipe nothing is cut to the width of a terminal that is not there."""
    found = Console(highlight=False)
    return found if found.is_terminal else Console(highlight=False, width=250)


def print_json(value: Any) -> None:
    click.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())
