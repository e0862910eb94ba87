"""The command line: one group; every command lives in a module of its own and is imported only when it runs.

A `ListwireError` ends in its one sentence on stderr and its exit code, never in a traceback.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

import click

from listwire import __version__
from listwire.errors import ListwireError

# name → (module below listwire.cli, help line); the module's `command`, or what stands behind a colon; in the order that `listwire --help` shows.
COMMANDS: dict[str, tuple[str, str]] = {
    "init": ("init", "Write a commented settings file with strong secrets."),
    "connect": ("connect", "A Mailchimp audience to an Amplitude project: log in, choose, done."),
    "disconnect": ("disconnect", "End a source: its webhook and its file go, what came in stays."),
    "up": ("up", "Everything on one machine, on your settings."),
    "demo": ("demo", "The same against stand-ins, with webhooks flowing."),
    "ingress": ("ingress", "Webhooks over HTTP into Kafka."),
    "worker": ("worker", "Kafka to Amplitude (subscriptions) or to Mailchimp (cohorts)."),
    "console": ("console", "The web page for people: status, lag, dead letters."),
    "topics": ("topics", "Create and verify the topics."),
    "check": ("check", "Settings, Kafka, topics, keys: what is right and what is not."),
    "hooks": ("hooks", "Each source's webhook in Mailchimp: see drift, mend it."),
    "lag": ("lag", "How far the workers are behind, in records and seconds."),
    "exporter": ("exporter", "Lag and dead letters for Prometheus, alive when the workers are not."),
    "dead-letters": ("dead_letters", "Look at what failed for good, and replay it."),
    "backfill": ("backfill", "Webhooks that an outage has cost, told again from the audience."),
    "trace": ("trace", "One address: what came in, what went out, which tags, which dead letters."),
    "cohorts": ("cohorts", "Publish cohorts, or fetch them from Amplitude; check a message; see who cannot be tagged."),
    "pause": ("pause:pause", "Hold one source or cohort sync without holding up the others."),
    "resume": ("pause:resume", "End a pause, and replay what was parked meanwhile."),
    "sandbox": ("sandbox", "A Kafka or a vendor's stand-in of your own."),
}


class Lazy(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(f"listwire.cli.{module}"), attribute or "command")
        _accept_config(command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """From the list above: `--help` imports no command."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, words) for name, (_, words) in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as fault:
            raise click.UsageError(f"{fault.message} `listwire --help` lists the commands.", ctx) from None


def _remember(ctx: click.Context, _param: click.Parameter, value: str | None) -> str | None:
    if value is not None:
        ctx.find_root().meta["listwire.config"] = value
    return value


def _config_option() -> click.Option:
    return click.Option(
        ["--config"], type=click.Path(), expose_value=False, callback=_remember, is_eager=True,
        help="Settings file; else LISTWIRE_CONFIG, else ./listwire.toml.",
    )  # fmt: skip


def _accept_config(command: click.Command) -> None:
    """`--config` stands on either side of a command, and of a command's command."""
    if not any(param.name == "config" for param in command.params):
        command.params.append(_config_option())
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            _accept_config(inner)


@click.group(cls=Lazy, params=[_config_option()], context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="listwire")
def listwire() -> None:
    """Mailchimp and Amplitude, joined by Kafka."""


def main(argv: list[str] | None = None) -> Any:
    try:
        code = listwire.main(args=argv, prog_name="listwire", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except click.exceptions.Abort:
        click.echo("Stopped.", err=True)
        sys.exit(1)
    except click.exceptions.NoArgsIsHelpError as fault:
        click.echo(fault.format_message(), err=True)
        sys.exit(2)
    except click.UsageError as fault:
        click.echo(f"listwire: {fault.format_message()}", err=True)
        sys.exit(2)
    except click.ClickException as fault:
        click.echo(f"listwire: {fault.format_message()}", err=True)
        sys.exit(fault.exit_code)
    except ListwireError as fault:
        click.echo(f"listwire: {fault}", err=True)
        sys.exit(fault.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # `listwire dead-letters ls | head`: the reader has gone, which is no fault.
        sys.stderr.close()
        sys.exit(0)
