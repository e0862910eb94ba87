"""`listwire init`: writes the settings file and says what to do next. Prints the webhook's URL, which holds its secret, on purpose."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from listwire import starter
from listwire.cli import context
from listwire.errors import SettingsError
from listwire.settings import Settings, load
from listwire.settings.load import DEFAULT_FILE
from listwire.settings.values import NAME

KEY_FILE = click.Path(exists=True, dir_okay=False, resolve_path=True, path_type=Path)


def _name(_ctx: click.Context, _param: click.Parameter, value: str) -> str:
    if not NAME.match(value):
        raise click.BadParameter("a name is made of a-z, 0-9 and '-', like newsletter")
    return value


@click.command()
@click.option(
    "--file", "path", type=click.Path(dir_okay=False, path_type=Path), help=f"Where to write; {DEFAULT_FILE}."
)
@click.option("--force", is_flag=True, help="Replace a file that exists, its secrets included.")
@click.option("--public-url", metavar="URL", help="How Mailchimp reaches the ingress: https://hooks.example.com")
@click.option("--bootstrap", metavar="HOST:PORT", help="Kafka's bootstrap servers; without: an embedded Kafka.")
@click.option("--amplitude-key-file", type=KEY_FILE, help="A file with the project's API key.")
@click.option("--region", type=click.Choice(["us", "eu"]), default="us", help="Where the Amplitude project lives.")
@click.option(
    "--mailchimp-key-file", type=KEY_FILE, help="A file with the account's API key; turns on the cohort sync."
)
@click.option("--audience", metavar="ID", help="The Mailchimp audience.")
@click.option("--source", callback=_name, default="newsletter", show_default=True, help="Its name in Listwire.")
def command(
    *,
    path: Path | None,
    force: bool,
    public_url: str | None,
    bootstrap: str | None,
    amplitude_key_file: Path | None,
    region: str,
    mailchimp_key_file: Path | None,
    audience: str | None,
    source: str,
) -> None:
    """Write a commented settings file with strong secrets."""
    target = path or Path(context.config_path() or DEFAULT_FILE)
    start = starter.Starter(
        bootstrap=bootstrap,
        amplitude_key_file=amplitude_key_file,
        region=region,
        mailchimp_key_file=mailchimp_key_file,
        audience=audience,
        source=source,
        public_url=public_url.rstrip("/") if public_url else None,
    )
    text = start.render()
    found = _loaded(text)
    starter.write(target, text, force=force)
    click.echo(f"{target} is written; only you can read it.\n")
    click.echo("In Mailchimp: Audience, Settings, Webhooks, Create New Webhook, with this URL (it holds a secret):")
    click.echo(f"  {start.webhook_url()}")
    if url := start.cohort_url():
        click.echo("In Amplitude: Data, Destinations, Cohort Webhooks, with this URL (it holds a secret):")
        click.echo(f"  {url}")
    click.echo("\nNext:")
    missing = list(starter.placeholders(found))
    config = "" if target == Path(DEFAULT_FILE) else f" --config {target}"
    steps = [f"fill in {', '.join(missing)}"] if missing else []
    steps += [f"listwire check{config}", f"listwire up{config}" + ("" if bootstrap else "   (starts its own Kafka)")]
    if public_url is None:
        steps.append(
            f"make the ingress (port {found.ingress.port}) reachable from outside, in place of {starter.PUBLIC_URL}"
        )
    for number, step in enumerate(steps, 1):
        click.echo(f"  {number}. {step}")


def _loaded(text: str) -> Settings:
    """What is written is what loads: a wrong flag ends here, before anything stands where the file should be."""
    with tempfile.TemporaryDirectory() as directory:
        draft = Path(directory) / DEFAULT_FILE
        starter.write(draft, text, force=False)
        try:
            return load(draft, environ={})
        except SettingsError as fault:
            words = str(fault).removeprefix(f"{draft}: ")
            raise SettingsError(f"These flags make no valid settings file: {words}") from None
