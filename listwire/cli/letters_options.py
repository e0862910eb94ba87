"""What the dead-letter commands share: which letters are meant, and the topic opened and read."""

from __future__ import annotations

import functools
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import click

from listwire.cli.progress import progress
from listwire.kafka_reader import Reader
from listwire.letter_box import LetterBox
from listwire.records import Reason
from listwire.replay_plan import Selection, parse_moment
from listwire.settings import Settings

_OPTIONS = (
    click.option(
        "--reason",
        "reasons",
        multiple=True,
        type=click.Choice([reason.value for reason in Reason]),
        help="Why it failed; may be given more than once, as all of these.",
    ),
    click.option(
        "--connection", "connections", multiple=True, metavar="NAME", help="sources.NAME or cohort_syncs.NAME"
    ),
    click.option(
        "--origin", "origins", multiple=True, metavar="TOPIC[/PARTITION[/OFFSET]]", help="Where it came from."
    ),
    click.option("--since", metavar="TIME", help="Failed at or after: 2026-03-01, 2026-03-01T08:30 (UTC), 24h, 7d."),
    click.option("--until", metavar="TIME", help="Failed before."),
    click.option("--id", "ids", multiple=True, metavar="ID", help="As `ls --all` shows it; may be cut short."),
)


def selecting(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the filters; the command gets them as one `selection`."""

    @functools.wraps(command)
    def with_selection(
        *,
        reasons: tuple[str, ...],
        connections: tuple[str, ...],
        origins: tuple[str, ...],
        since: str | None,
        until: str | None,
        ids: tuple[str, ...],
        **others: Any,
    ) -> Any:
        now = time.time()
        selection = Selection(
            frozenset(reasons),
            frozenset(connections),
            origins,
            ids,
            parse_moment(since, now, "--since") if since else None,
            parse_moment(until, now, "--until") if until else None,
        )
        return command(selection=selection, **others)

    for option in reversed(_OPTIONS):
        with_selection = option(with_selection)
    return with_selection


@asynccontextmanager
async def opened(settings: Settings, *, keep_done: bool = False) -> AsyncIterator[LetterBox]:
    """The box, read to its end."""
    async with Reader(settings.kafka) as reader:
        box = LetterBox(reader, keep_done=keep_done)
        with progress("reading dead letters") as advance:
            await box.refresh(advance)
        yield box
