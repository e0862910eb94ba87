"""`listwire connect`: an account, an audience, a project and the webhook, as the console's *Connect* does it.

A key is read from a file, from stdin or at a prompt, never from the command line; nothing that is printed holds one.
"""

from __future__ import annotations

import sys
import webbrowser
from pathlib import Path
from typing import Any

import click
from pydantic import SecretStr
from rich.table import Table

from listwire.cli import context
from listwire.errors import ListwireError, SettingsError
from listwire.settings import Settings
from vendors import access, connecting, webhooks
from vendors.access import Access
from vendors.mailchimp import Audience

# The console's, so that one redirect URI at Mailchimp serves both.
DEFAULT_PORT = 8084
KEY_FILE = click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path)


@click.command("connect")
@click.option("--api-key", "ask", is_flag=True, help="Instead of the login: an API key, from a prompt or from stdin.")
@click.option("--api-key-file", type=KEY_FILE, help="Instead of the login: an API key, from this file.")
@click.option("--account", metavar="NAME", help="Instead of the login: an account of the settings.")
@click.option("--list", "only_list", is_flag=True, help="Only show the account's audiences.")
@click.option("--audience", metavar="ID", help="The audience; without: you are asked, or the only one is taken.")
@click.option("--amplitude", metavar="PROJECT", help="The Amplitude project of the settings; without: the only one.")
@click.option(
    "--amplitude-key-file", type=KEY_FILE, help="Makes --amplitude a new project, with the API key in this file."
)
@click.option("--region", type=click.Choice(["us", "eu"]), default="us", show_default=True, help="Of a new project.")
@click.option("--name", help="The source's name; without: made from the audience's.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help=f"Where the browser comes back to: 127.0.0.1, this port; else console.port, {DEFAULT_PORT}.",
)
@click.option("--no-browser", is_flag=True, help="Only print the login's address.")
@click.option("--no-webhook", is_flag=True, help="Leave the webhook to `listwire hooks ensure`.")
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
def command(**given: Any) -> None:
    """Connect a Mailchimp audience to an Amplitude project: log in, choose, done.

    Writes connections.d beside the settings file, and makes the webhook at Mailchimp once the ingress knows the source.
    """
    settings = context.settings()
    context.quiet(settings)
    context.run(_connect(settings, given))


async def _connect(settings: Settings, given: dict[str, Any]) -> None:
    if not given["only_list"]:
        connecting.needs_public_url(settings)
    found = await _opened(settings, given)
    if given["only_list"]:
        _show(found, settings, as_json=given["as_json"])
        return
    audience = _audience(found, given)
    made = await connecting.make(settings, found, audience, _project(settings, given), name=given["name"])
    did = "left"
    if not given["as_json"]:
        words = "is connected" if made.fresh else "was connected already"
        click.echo(
            f"✓ {audience.name or audience.id} {words}: source {made.source}, in {made.settings.origin.connections}"
        )
    if not given["no_webhook"]:
        did = (await webhooks.hooked(made.settings, made.source, tell=_once())).did
    if given["as_json"]:
        source = made.settings.sources[made.source]
        context.print_json(
            {
                "source": made.source, "fresh": made.fresh, "audience": source.audience, "mailchimp": source.mailchimp,
                "amplitude": source.amplitude, "webhook": did, "directory": str(made.settings.origin.connections),
            }
        )  # fmt: skip
        return
    said = {
        "created": "was created",
        "reset": "was reset",
        "nothing": "is as it should be",
        "left": "is left to `listwire hooks ensure`",
    }
    click.echo(f"✓ Its webhook at Mailchimp {said[did]}.")
    click.echo("Ingress and workers that run with older settings need a restart; `listwire up` does that by itself.")


async def _opened(settings: Settings, given: dict[str, Any]) -> Access:
    ways = [way for way in ("ask", "api_key_file", "account") if given[way]]
    if len(ways) > 1:
        raise click.UsageError("One way is enough: --api-key, --api-key-file or --account.")
    if given["account"]:
        return await access.by_account(settings, given["account"])
    if ways:
        return await access.by_key(settings.connect, _key(given["api_key_file"], "Mailchimp API key"))
    return await _logged_in(settings, given)


async def _logged_in(settings: Settings, given: dict[str, Any]) -> Access:
    from listwire.cli.oauth_redirect import Redirect

    port = settings.console.port or DEFAULT_PORT if given["port"] is None else given["port"]
    access.login_page(settings.connect, "", "")  # says what is missing before anything listens
    async with Redirect(port, access.CALLBACK) as redirect:
        page = access.login_page(settings.connect, redirect.uri, redirect.state)
        click.echo(
            f"Log in at Mailchimp and press Allow (the app's redirect URI is {redirect.uri}):\n  {page}", err=True
        )
        if not given["no_browser"] and sys.stderr.isatty():
            webbrowser.open(page)
        answer = await redirect.answer()
    if words := access.denied(answer):
        raise ListwireError(words)
    return await access.by_code(settings.connect, answer["code"], redirect.uri)


def _key(file: Path | None, what: str) -> str:
    if file is not None and str(file) != "-":
        try:
            return file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as fault:
            raise SettingsError(
                f"{file} cannot be read: {getattr(fault, 'strerror', None) or 'it is not text'}."
            ) from None
    if sys.stdin.isatty():
        return str(click.prompt(what, hide_input=True, err=True)).strip()
    return sys.stdin.readline().strip()


def _audience(found: Access, given: dict[str, Any]) -> Audience:
    wanted: str | None = given["audience"]
    if wanted is None and len(found.audiences) == 1:
        return found.audiences[0]
    if wanted is None and sys.stdin.isatty() and not given["as_json"]:
        for place, audience in enumerate(found.audiences, 1):
            click.echo(f"  {place}. {audience.name} ({audience.id}, {audience.stats.member_count} members)", err=True)
        number: int = click.prompt("Which audience", type=click.IntRange(1, len(found.audiences)), err=True)
        return found.audiences[number - 1]
    known = ", ".join(f"{each.id} ({each.name})" for each in found.audiences) or "none"
    if wanted is None:
        raise click.UsageError(f"Which audience? --audience ID; the account has {known}.")
    audience_ = found.audience(wanted)
    if audience_ is None:
        raise SettingsError(f"The account has no audience {wanted!r}; it has {known}.")
    return audience_


def _project(settings: Settings, given: dict[str, Any]) -> connecting.Project | str:
    name: str | None = given["amplitude"]
    if given["amplitude_key_file"] is not None:
        return connecting.Project(
            name or "product", SecretStr(_key(given["amplitude_key_file"], "Amplitude API key")), given["region"]
        )
    if name is not None:
        return name
    if len(settings.amplitude) == 1:
        return next(iter(settings.amplitude))
    known = ", ".join(settings.amplitude) or "none"
    raise click.UsageError(
        f"Which Amplitude project? --amplitude PROJECT; the settings have {known}. --amplitude-key-file makes a new one."
    )


def _show(found: Access, settings: Settings, *, as_json: bool) -> None:
    joined: dict[str, list[str]] = {}
    for name, source in settings.sources.items():
        joined.setdefault(source.audience, []).append(name)
    if as_json:
        context.print_json(
            [
                {"id": a.id, "name": a.name, "members": a.stats.member_count, "sources": joined.get(a.id, [])}
                for a in found.audiences
            ]
        )
        return
    table = Table("audience", "name", "members", "sources")
    for a in found.audiences:
        table.add_row(a.id, a.name, str(a.stats.member_count), ", ".join(joined.get(a.id, [])))
    context.console().print(table)


def _once() -> Any:
    said: set[str] = set()

    def tell(words: str) -> None:
        if words not in said:
            said.add(words)
            click.echo(words, err=True)

    return tell
