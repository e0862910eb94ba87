"""`listwire cohorts`: the group; its commands live in the cohorts_* modules beside it."""

from __future__ import annotations

import click

from listwire.cli.cohorts_missing import missing
from listwire.cli.cohorts_publish import publish_files
from listwire.cli.cohorts_sync import sync
from listwire.cli.cohorts_validate import validate


@click.group()
def command() -> None:
    """Publish cohorts, fetch them from Amplitude, check a message before it is sent, see who cannot be tagged."""


for _each in (publish_files, sync, validate, missing):
    command.add_command(_each)
