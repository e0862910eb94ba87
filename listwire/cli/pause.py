"""`listwire pause CONNECTION` and `listwire resume CONNECTION`."""

from __future__ import annotations

import asyncio

import click

from listwire import control, kafka_admin, topics
from listwire.cli import context
from listwire.clock import SystemClock
from listwire.errors import TopicsError
from listwire.settings import Settings

# Workers look every two seconds.
SEEN_AFTER = 4.0


@click.command("pause")
@click.argument("connection")
@click.option("--why", default="", help="Shown wherever the pause is shown.")
def pause(connection: str, why: str) -> None:
    """Hold one source or cohort sync without holding up the others.

    Its records become dead letters (connection_refused) until `listwire resume`, which brings them back, oldest first.
    """
    settings = context.settings()
    context.quiet(settings)
    name = control.named(settings, connection)
    context.run(_say(settings, name, paused=True, why=why))
    click.echo(
        f"{name} is paused; workers see it within seconds. `listwire resume {name}` ends it and replays what was parked."
    )


@click.command("resume")
@click.argument("connection")
@click.option("--no-replay", is_flag=True, help="Leave the parked records in dead letters.")
def resume(connection: str, no_replay: bool) -> None:
    """End a pause, and replay what was parked meanwhile, oldest first."""
    settings = context.settings()
    context.quiet(settings)
    name = control.named(settings, connection)
    context.run(_say(settings, name, paused=False, why=""))
    click.echo(f"{name} goes on.")
    if not no_replay:
        from listwire.cli.letters_replay import replay_selection
        from listwire.replay_plan import Selection

        context.run(asyncio.sleep(SEEN_AFTER))
        selection = Selection(frozenset({"connection_refused"}), frozenset({name}), (), (), None, None)
        context.run(replay_selection(settings, selection, ask=False, dry_run=False, force=False, as_json=False))


async def _say(settings: Settings, name: str, *, paused: bool, why: str) -> None:
    async with kafka_admin.admin_client(settings.kafka) as admin:
        if topics.CONTROL not in await kafka_admin.read_topics(admin, topics.CONTROL):
            raise TopicsError(
                f"The topic {topics.CONTROL} does not exist, so nothing can be paused: {kafka_admin.ENSURE}."
            )
    await control.say(settings.kafka, name, paused=paused, why=why, clock=SystemClock())
