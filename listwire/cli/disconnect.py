"""`listwire disconnect NAME`: the webhook at Mailchimp and the source's file go; everything that came in stays.

It deletes only webhooks that lead here, and only files of `connections.d/`. A person's own file is never written: they are told
which lines to remove.
"""

from __future__ import annotations

from typing import Any

import click

from listwire import redaction
from listwire.cli import context
from listwire.errors import SettingsError, VendorRefused
from listwire.settings import Settings, connections
from listwire.settings.lines import lines_of, variables_of
from listwire.settings.load import NAMED
from vendors import webhooks


@click.command("disconnect")
@click.argument("name")
@click.option("--dry-run", is_flag=True, help="Only show what would be done.")
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
def command(name: str, *, dry_run: bool, as_json: bool) -> None:
    """End a source: delete its webhook at Mailchimp, and its file in connections.d. A second run changes nothing.

    What came in stays in Kafka, dead letters included. A source of your own settings file is yours to remove: its lines are named.
    """
    settings = context.settings()
    context.quiet(settings)
    done = _disconnect(settings, name.removeprefix("sources."), dry_run=dry_run)
    if as_json:
        context.print_json(done)
        return
    _say(done)


def _disconnect(settings: Settings, name: str, *, dry_run: bool) -> dict[str, Any]:
    done: dict[str, Any] = {
        "source": name, "known": name in settings.sources, "dry_run": dry_run, "webhooks": [], "removed": [], "by_hand": [], "notes": [],
    }  # fmt: skip
    if name not in settings.sources:
        known = ", ".join(settings.sources) or "none"
        done["notes"].append(f"There is no source {name!r}; known are {known}. Nothing to do.")
        return done
    source = settings.sources[name]
    if source.mailchimp is None:
        done["notes"].append(
            "It names no Mailchimp account: delete its webhook in Mailchimp (Audience, Settings, Webhooks)."
        )
    else:
        try:
            done["webhooks"] = context.run(webhooks.unhooked(settings, name, dry_run=dry_run))
        except VendorRefused as fault:
            words = redaction.for_settings(settings)(fault.detail)
            done["notes"].append(
                f"Mailchimp refuses the account's key ({words}): delete the webhook there yourself (Audience, Settings, Webhooks)."
            )
    directory = settings.origin.connections
    for kind, table in _tables(settings, name):
        file = connections.owner(directory, kind, table)
        if file is not None:
            if not dry_run:
                connections.drop(directory, kind, table)
            done["removed"].append(f"[{kind}.{table}] in {file}")
    done["by_hand"] = _by_hand(settings, name)
    return done


def _tables(settings: Settings, name: str) -> list[tuple[str, str]]:
    """The source's table, and those of its account and its project where nothing else uses them."""
    source = settings.sources[name]
    found = [("sources", name)]
    used = [
        table for kind in NAMED for key, table in getattr(settings, kind).items() if (kind, key) != ("sources", name)
    ]
    for kind in ("mailchimp", "amplitude"):
        wanted = getattr(source, kind)
        if wanted is not None and wanted not in {getattr(table, kind, None) for table in used}:
            found.append((kind, wanted))
    return found


def _by_hand(settings: Settings, name: str) -> list[str]:
    """What of it stands where we do not write."""
    found = []
    file = settings.origin.file
    if file is not None:
        try:
            text = file.read_text(encoding="utf-8")
        except OSError as fault:
            raise SettingsError(f"{file} cannot be read: {fault.strerror}.") from None
        if lines := lines_of(text, "sources", name):
            found.append(f"lines {lines[0]} to {lines[1]} of {file}: [sources.{name}]")
        elif (
            connections.owner(settings.origin.connections, "sources", name) is None
            and "sources" in text
            and name in text
        ):
            found.append(f"what {file} says of sources.{name}")
    return found + [f"the variable {variable}" for variable in variables_of(settings.origin.environ, "sources", name)]


def _say(done: dict[str, Any]) -> None:
    would = "would be " if done["dry_run"] else ""
    for url in done["webhooks"]:
        click.echo(f"✓ The webhook {url} {would or 'was '}deleted at Mailchimp.")
    if done["known"] and not done["webhooks"] and not done["notes"]:
        click.echo("✓ Mailchimp has no webhook that leads here.")
    for table in done["removed"]:
        click.echo(f"✓ {table} {would or 'was '}removed.")
    for note in done["notes"]:
        click.echo(note)
    if done["by_hand"]:
        click.echo(
            f"Remove yourself: {'; '.join(done['by_hand'])}. Until then `listwire hooks ensure` would make the webhook again."
        )
    if done["removed"]:
        click.echo(
            "What came in stays in Kafka. Deal with its dead letters before the workers are started again: they will not know the source."
        )
