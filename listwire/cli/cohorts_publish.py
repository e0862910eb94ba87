"""`cohorts publish`: files of users become cohort-change messages in Kafka. Nothing is sent before all files are read and right."""

from __future__ import annotations

import sys
import uuid
from pathlib import Path
from typing import Any

import click

from listwire import topics
from listwire.cli import context
from listwire.cli.progress import progress
from listwire.clock import SystemClock
from listwire.cohorts.members import BadRow, Columns, Reading, Shape, read
from listwire.cohorts.messages import TAG_CALL, USER_ID, Cohort, Published, default_id, messages
from listwire.errors import ListwireError
from listwire.patterns import matches
from listwire.settings import Settings
from listwire.spoken import count
from stream.codecs.cohort_change import NAME_LIMIT, User, address_of

LONGEST_KEY = 1024
SHOWN = 20
FILE = click.Path(exists=True, dir_okay=False, allow_dash=True)


@click.command("publish")
@click.option("--name", required=True, metavar="TEXT", help="The cohort's name, which becomes the tag.")
@click.option("--id", "cohort_id", metavar="TEXT", help="The cohort's id, the key of its messages; made from the name.")
@click.option(
    "--enter", type=FILE, metavar="FILE", help="Who entered: CSV, an address a line, or JSON lines; - is stdin."
)
@click.option("--leave", type=FILE, metavar="FILE", help="Who left; - is stdin.")
@click.option("--sync", metavar="NAME", help="One cohort sync; without: all whose `cohorts` match the name.")
@click.option("--email-column", default="email", show_default=True, help="The column, or JSON key, of the address.")
@click.option("--id-column", help="The column of the user id.  [default: user_id, where there is one]")
@click.option(
    "--email-property", metavar="NAME", help="The user property to put the address in; else as the syncs say."
)
@click.option(
    "--format",
    "shape",
    type=click.Choice(["auto", "csv", "lines", "json"]),
    default="auto",
    show_default=True,
    help="What the files are, where their first line leaves it open.",
)
@click.option(
    "--chunk",
    type=click.IntRange(TAG_CALL, 10_000),
    default=1000,
    show_default=True,
    help="Users a message; a multiple of 500.",
)
@click.option("--skip-bad", is_flag=True, help="Leave out rows without a usable address instead of sending nothing.")
@click.option("--dry-run", is_flag=True, help="Read and count; send nothing, ask nobody.")
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
def publish_files(
    *, name: str, cohort_id: str | None, enter: str | None, leave: str | None, sync: str | None, email_column: str,
    id_column: str | None, email_property: str | None, shape: Shape, chunk: int, skip_bad: bool, dry_run: bool, as_json: bool,
) -> None:  # fmt: skip
    """Say who entered a cohort and who left it.

    The users become messages in listwire.cohort-changes, in order, with the cohort's id as their key. The id is made from the
    name, so that the same name is the same cohort the next time. Publishing the same twice does no harm.
    """
    name, cohort_id = _named(name, cohort_id)
    if chunk % TAG_CALL:
        raise click.UsageError(f"--chunk {chunk}: Mailchimp takes {TAG_CALL} users a call; choose a multiple of it.")
    if not enter and not leave:
        raise click.UsageError("Nothing to publish: --enter FILE, --leave FILE, or both.")
    if enter == leave == "-":
        raise click.UsageError("--enter and --leave cannot both be read from stdin.")
    settings = context.settings()
    context.quiet(settings)
    properties = _properties(settings, sync, name, email_property, id_column)
    columns = Columns(email_column, id_column or USER_ID, needs_user_id=id_column is not None)
    readings = [_read(file, columns, shape) for file in (enter, leave)]
    entering, leaving = readings
    bad = [row for reading in readings for row in reading.bad]
    document: dict[str, Any] = {
        "cohort_id": cohort_id, "cohort_name": name, "sync": sync, "topic": topics.COHORT_CHANGES, "dry_run": dry_run,
        "duplicates": sum(reading.duplicates for reading in readings),
        "bad": [{"file": row.source, "line": row.line, "why": row.why} for row in bad],
    }  # fmt: skip
    if bad and not as_json:
        _tell(bad)
    _refuse_contradictions(entering, leaving)
    made = Published()
    if (not bad or skip_bad) and (entering.members or leaving.members):
        made = _send(settings, Cohort(cohort_id, name, properties), entering, leaving, sync, chunk, dry_run=dry_run)
    document |= {
        "messages": made.messages, "users": made.users, "entered": made.entered, "left": made.left,
        "published": [
            {"partition": place.partition, "messages": place.messages, "first_offset": place.first, "last_offset": place.last}
            for place in made.places.values()
        ],
    }  # fmt: skip
    if as_json:
        context.print_json(document)
    if bad and not skip_bad:
        raise ListwireError(
            f"{count(len(bad), 'row')} cannot be used, so nothing was sent: mend them, or --skip-bad leaves them out."
        )
    if not made.users:
        raise ListwireError("Nothing was sent: the files hold no user with an address.")
    if not as_json:
        click.echo(_sentence(document, made))


def _named(name: str, cohort_id: str | None) -> tuple[str, str]:
    name = name.strip()
    _size("--name", name)
    if len(name) >= NAME_LIMIT:
        raise click.UsageError(f"--name has {len(name)} characters; a tag takes at most {NAME_LIMIT - 1}.")
    cohort_id = default_id(name) if cohort_id is None else cohort_id
    if (size := _size("--id", cohort_id)) > LONGEST_KEY:
        raise click.UsageError(f"--id is {size} bytes long; a key has at most {LONGEST_KEY}.")
    return name, cohort_id


def _size(option: str, value: str) -> int:
    if not value.strip():
        raise click.UsageError(f"{option} is empty.")
    try:
        return len(value.encode())
    except UnicodeEncodeError:
        raise click.UsageError(f"{option} is not UTF-8.") from None


def _properties(settings: Settings, sync: str | None, name: str, given: str | None, id_column: str | None) -> list[str]:
    """Where those who will hear the messages look for the address. A settings file without any sync can tell nothing."""
    known = settings.cohort_syncs
    if sync is not None and known and sync not in known:
        raise click.UsageError(f"--sync {sync}: there is no table [cohort_syncs.{sync}]; known are {', '.join(known)}.")
    hearing = [table for each, table in known.items() if sync in {None, each} and matches(name, table.cohorts)]
    if known and not hearing:
        whom = f"the `cohorts` of {sync} do not" if sync else "no cohort sync's `cohorts`"
        click.echo(f"listwire: {whom} match {name!r}: nobody will be tagged.", err=True)
    found = [given] if given else list(dict.fromkeys(table.email_property for table in hearing)) or ["email"]
    if USER_ID in found and id_column is not None:
        raise click.UsageError(
            "email_property is user_id here, so the address itself is the id and no column can be: leave --id-column out."
        )
    return found


def _read(file: str | None, columns: Columns, shape: Shape) -> Reading:
    if file is None:
        return Reading("")
    source = "stdin" if file == "-" else file
    try:
        data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as fault:
        raise ListwireError(f"{source} cannot be read: {fault.strerror}.") from None
    return read(data, source, columns, _address, shape)


def _address(text: str) -> str | None:
    """The worker's own judgement."""
    return address_of(User(user_id=text), USER_ID)


def _refuse_contradictions(entering: Reading, leaving: Reading) -> None:
    both = [address for address in entering.members if address in leaving.members]
    if both:
        one = both[0]
        raise ListwireError(
            f"{count(len(both), 'address', 'addresses')} would enter and leave at once, so nothing was sent: {one} is on line "
            f"{entering.members[one].line} of {entering.source} and line {leaving.members[one].line} of {leaving.source}. "
            "Take each out of one file, or publish the files one after the other: the later one counts."
        )


def _send(
    settings: Settings,
    cohort: Cohort,
    entering: Reading,
    leaving: Reading,
    sync: str | None,
    chunk: int,
    *,
    dry_run: bool,
) -> Published:
    clock = SystemClock()
    made = messages(
        cohort, entering.members.values(), leaving.members.values(),
        run_id=str(uuid.uuid4()), computed_at=int(clock.time()), chunk=chunk,
    )  # fmt: skip
    if dry_run:
        counted = Published()
        for message in made:
            counted.count(message)
        return counted
    from listwire.cohorts.publishing import publish

    total = len(entering.members) + len(leaving.members)
    with progress("Publishing users") as advance:
        done = 0

        def acknowledged(users: int) -> None:
            nonlocal done
            done += users
            advance(done, total)

        return context.run(
            publish(settings.kafka, made, key=cohort.id, sync=sync, clock=clock, acknowledged=acknowledged)
        )


def _tell(bad: list[BadRow]) -> None:
    for row in bad[:SHOWN]:
        click.echo(f"{row.source}, line {row.line}: {row.why}", err=True)
    if len(bad) > SHOWN:
        click.echo(f"… and {len(bad) - SHOWN:,} more", err=True)


def _sentence(document: dict[str, Any], made: Published) -> str:
    directions = ", ".join(f"{n:,} {word}" for n, word in ((made.entered, "entered"), (made.left, "left")) if n)
    words = f"{document['cohort_name']!r}, cohort {document['cohort_id']}: {count(made.users, 'user')} ({directions}) in {count(made.messages, 'message')}"
    left_out = [
        f"{document['duplicates']:,} repeated" if document["duplicates"] else "",
        f"{len(document['bad']):,} unusable" if document["bad"] else "",
    ]
    if any(left_out):
        words += f"; left out: {', '.join(filter(None, left_out))}"
    if document["dry_run"]:
        return f"Would publish {words}. Nothing was sent."
    places = ", ".join(
        f"{topics.COHORT_CHANGES}/{place.partition} offset {place.first}"
        + (f" to {place.last}" if place.last != place.first else "")
        for place in made.places.values()
    )
    return f"Published {words}.\nIn {places}."
