"""`cohorts validate`: what the worker would make of a message, without Kafka and without Mailchimp.

It asks the worker's own codec, so the two cannot disagree.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from listwire import schemas, topics
from listwire.cli import context
from listwire.errors import ListwireError
from listwire.patterns import matches
from listwire.records import Reason, Rejection
from listwire.settings.models import CohortSync
from listwire.spoken import count, size
from stream.codecs.cohort_change import NAME_LIMIT, CohortChange, User, address_of, decode

SHOWN = 20


@click.command()
@click.argument("file", required=False, type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option("--sync", metavar="NAME", help="Judge as this cohort sync of the settings would.")
@click.option("--email-property", metavar="NAME", help="Where the address is; else as --sync says, else email.")
@click.option("--schema", "show_schema", is_flag=True, help="Print the JSON Schema of the messages, and end.")
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
@click.pass_context
def validate(
    ctx: click.Context, *, file: str | None, sync: str | None, email_property: str | None, show_schema: bool, as_json: bool
) -> int:  # fmt: skip
    """Would this message be accepted, and which users of it would not?

    FILE holds one message as it would be published; - is stdin. Ends with 1 where anything would become a dead letter.
    """
    if show_schema:
        click.echo(schemas.cohort_change(), nl=False)
        return 0
    if file is None:
        raise click.UsageError("Missing argument 'FILE' (- is stdin).", ctx)
    table = _sync(sync) if sync is not None else None
    value = _bytes(file)
    verdict = judge(value, email_property or (table.email_property if table else "email"))
    if table is not None and verdict["accepted"]:
        verdict["matches"] = matches(verdict["cohort_name"], table.cohorts)
    if as_json:
        context.print_json(verdict)
    else:
        _print(verdict, sync)
    return 0 if verdict["accepted"] and not verdict["dead_letters"] else 1


def judge(value: bytes, email_property: str) -> dict[str, Any]:
    """`accepted`: the message as a whole; `dead_letters`: users who would become some all the same."""
    change = decode(value)
    rejection = _too_large(value) or (change if isinstance(change, Rejection) else _name_too_long(change))
    verdict: dict[str, Any] = {"accepted": rejection is None, "bytes": len(value), "email_property": email_property}
    if rejection is not None:
        return verdict | {"reason": rejection.reason.value, "detail": rejection.detail}
    assert isinstance(change, CohortChange)  # noqa: S101 - a rejection has returned
    dead = [
        {"user": index, "reason": fault.reason.value, "detail": fault.detail}
        for index, user in enumerate(change.users)
        if (fault := _user_fault(index, user, email_property)) is not None
    ]
    return verdict | {
        "cohort_id": change.cohort_id, "cohort_name": change.cohort_name, "in_cohort": change.entered,
        "users": len(change.users), "usable": len(change.users) - len(dead), "dead_letters": dead,
    }  # fmt: skip


def _too_large(value: bytes) -> Rejection | None:
    if len(value) <= topics.MAX_COHORT_BODY:
        return None
    return Rejection(
        Reason.TOO_LARGE,
        f"the message is {size(len(value))} large; at most {size(topics.MAX_COHORT_BODY)} are taken",
    )


def _name_too_long(change: CohortChange) -> Rejection | None:
    length = len(change.cohort_name)
    if length < NAME_LIMIT:
        return None
    return Rejection(
        Reason.COHORT_NAME_TOO_LONG, f"cohort_name has {length} characters; a tag takes at most {NAME_LIMIT - 1}"
    )


def _user_fault(index: int, user: User | None, email_property: str) -> Rejection | None:
    if user is None:
        return Rejection(Reason.INVALID_FIELD, f"users[{index}] is no object")
    if address_of(user, email_property) is None:
        return Rejection(Reason.NO_USABLE_ADDRESS, f"users[{index}] has no address in {email_property!r}")
    return None


def _sync(name: str) -> CohortSync:
    known = context.settings().cohort_syncs
    if name not in known:
        raise click.UsageError(f"There is no table [cohort_syncs.{name}]; known are {', '.join(known) or 'none'}.")
    return known[name]


def _bytes(file: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as fault:
        raise ListwireError(f"{file} cannot be read: {fault.strerror}.") from None


def _print(verdict: dict[str, Any], sync: str | None) -> None:
    if not verdict["accepted"]:
        click.echo(f"✗ {verdict['reason']}: {verdict['detail']}")
        return
    dead = verdict["dead_letters"]
    direction = "entered" if verdict["in_cohort"] else "left"
    click.echo(
        f"{'✗' if dead else '✓'} {verdict['cohort_name']!r}, cohort {verdict['cohort_id']!r}: "
        f"{count(verdict['users'], 'user')} {direction}, {verdict['usable']:,} with an address in {verdict['email_property']!r}"
    )
    for each in dead[:SHOWN]:
        click.echo(f"  {each['reason']}: {each['detail']}")
    if len(dead) > SHOWN:
        click.echo(f"  … and {len(dead) - SHOWN:,} more")
    if verdict.get("matches") is False:
        click.echo(f"  {sync}'s `cohorts` do not match this name: the message would be filtered, nobody tagged.")
