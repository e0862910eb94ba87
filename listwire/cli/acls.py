"""`listwire topics acls`: the rights that each process needs in Kafka, as lines for Kafka's own tool. Asks and changes nothing."""

from __future__ import annotations

import click

from listwire import acls
from listwire.cli import context


@click.command("acls")
@click.argument("processes", nargs=-1, type=click.Choice(list(acls.BY_NAME)), metavar="[PROCESS]...")
@click.option(
    "--principal",
    default=acls.PRINCIPAL,
    show_default=True,
    metavar="TEXT",
    help="Whom to allow it; {} stands for the process.",
)
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
def print_them(processes: tuple[str, ...], principal: str, as_json: bool) -> None:
    """The rights that each process needs in Kafka.

    As lines for Kafka's kafka-acls.sh, of all processes or of those named, each as a user of its own. Nothing is asked and nothing
    is changed: an administrator runs the lines, with KAFKA and admin.properties for the way in.
    """
    chosen = [acls.BY_NAME[name] for name in dict.fromkeys(processes or acls.BY_NAME)]
    if as_json:
        context.print_json(
            [
                {
                    "process": process.name,
                    "commands": list(process.runs),
                    "principal": acls.whom(process, principal),
                    "acls": [
                        {"resource": acl.resource, "name": acl.name, "operation": acl.operation} for acl in process.acls
                    ],
                }
                for process in chosen
            ]
        )
        return
    for process in chosen:
        click.echo(f"# {process.name}: {', '.join(f'listwire {command}' for command in process.runs)}")
        for line in acls.commands(process, principal):
            click.echo(line)
