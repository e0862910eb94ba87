"""`cohorts sync`: a cohort of Amplitude against its tag, once, or all of them when they are due."""

from __future__ import annotations

import asyncio
import signal
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from listwire.cli import context
from listwire.cli.progress import Advance
from listwire.clock import SystemClock
from listwire.errors import SettingsError
from listwire.settings import Settings
from listwire.spoken import count

DEFAULT_PORT = 8085
# Seconds that the worker may take to carry out what was published before: a person waits, a schedule has time.
PATIENCE_OF_PEOPLE = 60.0
PATIENCE_OF_SCHEDULES = 600.0


@click.command("sync")
@click.argument("name", required=False)
@click.option("--scheduled", is_flag=True, help="Run all schedules whenever they are due, until stopped.")
@click.option("--once", is_flag=True, help="With --scheduled: run each of them now and end, for a cron of your own.")
@click.option("--dry-run", is_flag=True, help="Fetch and compare; publish nothing, ask no Kafka.")
@click.option("--force", is_flag=True, help="Go on although many would lose the tag, or the worker is behind.")
@click.option("--host", help="With --scheduled: where to answer /metrics; else scheduler.host.")
@click.option(
    "--port", type=click.IntRange(0, 65535), help=f"Else scheduler.port, {DEFAULT_PORT}, or a free one; 0: any."
)
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
@click.pass_context
def sync(
    ctx: click.Context, *, name: str | None, scheduled: bool, once: bool, dry_run: bool, force: bool, host: str | None,
    port: int | None, as_json: bool,
) -> int:  # fmt: skip
    """Fetch a cohort from Amplitude and make its tag right.

    NAME is a table [cohort_schedules.NAME]. Its cohort is downloaded, which is one of the project's 500 a month, and compared
    with who carries the tag. Who entered and who left is published to listwire.cohort-changes, and only that: where the tag is
    right already, nothing is. So it also mends a tag that was edited by hand.
    """
    if (name is None) is not scheduled:
        raise click.UsageError("Name one schedule, or run them all with --scheduled.", ctx)
    if scheduled and (dry_run or force or as_json):
        raise click.UsageError("--dry-run, --force and --json are for one schedule that somebody looks at.", ctx)
    if not scheduled and (host is not None or port is not None):
        raise click.UsageError("--host and --port go with --scheduled.", ctx)
    if name is None:
        settings = context.start_process("scheduler")
        if not settings.cohort_schedules:
            raise SettingsError("There is no schedule: write a table [cohort_schedules.NAME].")
        return context.run(_scheduled(settings, host, port, once=once))
    settings = context.settings()
    context.quiet(settings)
    if name not in settings.cohort_schedules:
        known = ", ".join(settings.cohort_schedules) or "none"
        raise click.UsageError(f"There is no table [cohort_schedules.{name}]; known are {known}.", ctx)
    found = context.run(_now(settings, name, force=force, dry_run=dry_run))
    if as_json:
        context.print_json(found)
    else:
        _print(found)
    return 0


async def _now(settings: Settings, name: str, *, force: bool, dry_run: bool) -> dict[str, Any]:
    from listwire.cli.cohorts_sync_run import How, sync_once
    from vendors.amplitude_cohorts import Pace

    clock = SystemClock()
    how = How(clock, Pace(clock), PATIENCE_OF_PEOPLE, force=force, dry_run=dry_run)
    return (await sync_once(settings, name, how)).document


async def _scheduled(settings: Settings, host: str | None, port: int | None, *, once: bool) -> int:
    from listwire.cli.cohorts_sync_run import How, sync_once
    from listwire.cohorts.scheduler import Budget, Done, Scheduler
    from listwire.settings_watch import SettingsWatch
    from listwire.status_server import StatusServer
    from vendors.accounts import amplitude_cohorts
    from vendors.amplitude_cohorts import Pace
    from vendors.amplitude_cohorts.pull import patient

    clock = SystemClock()
    paces: defaultdict[str, Pace] = defaultdict(lambda: Pace(clock))

    async def run(name: str) -> Done:
        pace = paces[settings.cohort_schedules[name].amplitude]
        found = await sync_once(settings, name, How(clock, pace, PATIENCE_OF_SCHEDULES, show=_unseen))
        changes = found.differences
        return Done(found.cohort.name, len(changes.enter), len(changes.leave), changes.absent, found.left_alone)

    async def budget(project: str) -> Budget:
        async with amplitude_cohorts(settings, project, pace=paces[project]) as client:
            usage = await patient(client.usage, clock)
        return Budget(usage.left, usage.resets_at)

    scheduler = Scheduler(settings.cohort_schedules, run, budget, clock)
    if once:
        done = [await scheduler.once(name) for name in scheduler.schedules]
        return 0 if all(done) else 1
    table = settings.scheduler
    words = f"{count(len(scheduler.schedules), 'cohort schedule')}"
    server = StatusServer(
        host or table.host, table.port if port is None else port, DEFAULT_PORT, lambda: (True, words), lambda: (True, words),
        section="scheduler",
    )  # fmt: skip
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, scheduler.stop)
    watching = SettingsWatch(settings).start()
    try:
        await server.start()
        await scheduler.run()
    finally:
        watching.stop()
        await server.stop()
    return 0


@contextmanager
def _unseen(_title: str) -> Iterator[Advance]:
    """Nobody looks at a process's progress: its log lines tell."""
    yield lambda _done, _total: None


def _print(found: dict[str, Any]) -> None:
    click.echo(
        f"{found['cohort_name']!r} ({found['cohort_id']}) has {count(found['users'], 'user')} in Amplitude, "
        f"{found['addresses']:,} with an address of their own; {found['absent']:,} of these are not subscribed in the audience."
    )
    click.echo(
        f"The tag has {count(found['tagged'], 'member')}: {found['entering']:,} enter, {found['leaving']:,} leave."
    )
    if found["left_alone"]:
        click.echo(f"{found['left_alone']:,} more are left alone: the topic has spoken of them meanwhile.")
    if not found["entering"] and not found["leaving"]:
        click.echo("The tag is right; nothing was published.")
    elif found["dry_run"]:
        click.echo(f"Nothing was published. It would take {count(found['segment_calls'], 'segment call')}.")
    else:
        places = ", ".join(
            f"{found['topic']}/{place['partition']} offset {place['first_offset']} to {place['last_offset']}"
            for place in found["published"]
        )
        click.echo(
            f"Published {count(found['messages'], 'message')} to {places}; the worker needs "
            f"{count(found['segment_calls'], 'segment call')} for them."
        )
