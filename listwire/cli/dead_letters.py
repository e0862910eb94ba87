"""`listwire dead-letters`: the group; its commands live in the letters_* modules beside it."""

from __future__ import annotations

import click

from listwire.cli.letters_keep import export, forget_address
from listwire.cli.letters_look import list_them, show
from listwire.cli.letters_replay import replay_them


@click.group()
def command() -> None:
    """Look at what failed for good, and replay it."""


for _each in (list_them, show, replay_them, export, forget_address):
    command.add_command(_each)
