"""`listwire topics`: creates, verifies and lists the topics. Never adds a partition to a live one."""

from __future__ import annotations

import click
from rich.table import Table

from listwire import kafka_admin, topics
from listwire.cli import context
from listwire.cli.acls import print_them
from listwire.kafka_admin import TopicState
from listwire.spoken import duration, size


@click.group()
def command() -> None:
    """Create and verify the topics."""


@command.command()
@click.option("--partitions", type=click.IntRange(1, 10_000), help="For topics that do not exist yet.")
def ensure(partitions: int | None) -> None:
    """Create what is absent, mend what is unfit."""
    settings = context.settings()
    context.quiet(settings)
    for line in context.run(kafka_admin.ensure(settings, partitions=partitions)):
        click.echo(line)


@command.command()
def verify() -> None:
    """Exit with 1 where a topic is absent or unfit, and say which and why."""
    settings = context.settings()
    context.quiet(settings)
    states = context.run(kafka_admin.verify(settings))
    for name in topics.BY_NAME:
        click.echo(f"{name}: fit, {states[name].partitions} partitions, replication {states[name].replication}")


@command.command("ls")
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
def list_them(as_json: bool) -> None:
    """How the cluster has them."""
    settings = context.settings()
    context.quiet(settings)
    states = context.run(kafka_admin.states(settings))
    if as_json:
        context.print_json([_row(topic, states.get(topic.name)) for topic in topics.TOPICS])
        return
    table = Table("topic", "partitions", "replication", "retention", "largest record", "", box=None)
    for topic in topics.TOPICS:
        if (state := states.get(topic.name)) is None:
            table.add_row(topic.name, "", "", "", "", f"absent: {kafka_admin.ENSURE}")
            continue
        kept = state.retention_ms
        table.add_row(
            state.name, str(state.partitions), str(state.replication),
            "?" if kept is None else "for ever" if kept < 0 else duration(kept / 1000),
            size(state.max_bytes), "; ".join(state.faults(topic)) or "fit",
        )  # fmt: skip
    context.console().print(table)


command.add_command(print_them)


def _row(topic: topics.Topic, state: TopicState | None) -> dict[str, object]:
    if state is None:
        return {"topic": topic.name, "exists": False, "faults": [f"absent: {kafka_admin.ENSURE}"]}
    return {
        "topic": topic.name, "exists": True, "partitions": state.partitions, "replication": state.replication,
        "retention_ms": state.retention_ms, "max_message_bytes": state.max_bytes, "faults": state.faults(topic),
    }  # fmt: skip
