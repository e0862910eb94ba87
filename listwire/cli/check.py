"""`listwire check`: everything that can be told before, or while, Listwire runs. Changes nothing; prints no secret."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import click
from rich.table import Table
from rich.text import Text

from listwire import checks, kafka_checks, redaction
from listwire.cli import context
from listwire.cli.vendor_checks import vendors
from listwire.findings import SIGNS, Finding, State, all_right, as_json, redacted
from listwire.settings import Settings
from listwire.settings.load import find_file
from listwire.spoken import count

STYLES = {State.OK: "green", State.FAILED: "bold red", State.NOTE: "yellow"}


@click.command()
@click.option("--json", "for_scripts", is_flag=True, help="For scripts.")
@click.pass_context
def command(ctx: click.Context, *, for_scripts: bool) -> None:
    """Settings, Kafka, topics, keys, webhooks: what is right, what is not, and the way out."""
    settings = context.settings()
    context.quiet(settings)
    found = context.run(_check(settings, find_file(context.config_path(), os.environ)))
    findings = redacted(found, redaction.for_settings(settings))
    if for_scripts:
        context.print_json({"ok": all_right(findings), "findings": as_json(findings)})
    else:
        _print(findings)
    ctx.exit(0 if all_right(findings) else 1)


async def _check(settings: Settings, file: Path | None) -> list[Finding]:
    here = checks.settings(settings, file) + checks.installation()
    in_kafka, at_vendors = await asyncio.gather(kafka_checks.kafka(settings), vendors(settings))
    return [*here, *in_kafka, *at_vendors]


def _print(findings: list[Finding]) -> None:
    table = Table(box=None, show_header=False, padding=(0, 1))
    for finding in findings:
        words = Text(finding.words)
        if finding.way_out:
            words.append(f"\n→ {finding.way_out}", style="cyan")
        table.add_row(Text(SIGNS[finding.state], style=STYLES[finding.state]), Text(finding.check), words)
    context.console().print(table)
    wrong = sum(finding.state is State.FAILED for finding in findings)
    click.echo(f"\n{count(wrong, 'thing is', 'things are')} wrong." if wrong else "\nAll is right.")
