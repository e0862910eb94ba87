"""How a backfill tells what it found: counts by day, then everything that it could not derive, each with its reason."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import click
from rich.table import Table

from listwire.backfill.contact import SUBSCRIBE, UNSUBSCRIBE
from listwire.backfill.derive import SAID, Listed
from listwire.backfill.plan import Plan
from listwire.backfill.times import iso
from listwire.cli import context
from listwire.logs import address_hash
from listwire.masking import printable
from listwire.spoken import count, moment

SHOWN = 50


@dataclass
class Report:
    """Beside the plan. Seconds, but `first` and `known_since`, which are the topic's milliseconds."""

    source: str
    audience: str
    since: int
    until: int
    known_since: int | None = None
    first: int | None = None
    hook_found: bool = True
    forgotten: bool = False
    written: int = 0


def show(made: Plan, report: Report, *, reveal: bool) -> None:
    click.echo(
        f"{report.source}: audience {report.audience}, {_time(report.since)} to {_time(report.until)}; "
        f"{count(made.looked_at, 'contact')} changed since."
    )
    if made.days:
        context.console().print(_table(made))
    for why, number in Counter(listed.why for listed in made.listed).most_common():
        click.echo(f"Not derivable: {count(number, 'event')}: {SAID[why]}.")
    for listed in made.listed[:SHOWN]:
        click.echo(f"  {_who(listed, reveal=reveal)}  {listed.kind or 'anything'}, {_when(listed)}; {listed.why}")
    if len(made.listed) > SHOWN:
        click.echo(f"  … and {len(made.listed) - SHOWN:,} more; --json lists all.")
    for words in notes(made, report):
        click.echo(f"Note: {words}")


def _table(made: Plan) -> Table:
    table = Table("Day (UTC)", box=None)
    for title in ("in the topic: subscribe", "unsubscribe", "missing: subscribe", "unsubscribe", "not derivable"):
        table.add_column(title, justify="right")
    total: Counter[int] = Counter()
    for name in sorted(made.days):
        day = made.days[name]
        numbers = [
            day.there[SUBSCRIBE], day.there[UNSUBSCRIBE], day.missed[SUBSCRIBE], day.missed[UNSUBSCRIBE], day.listed
        ]  # fmt: skip
        total.update(dict(enumerate(numbers)))
        table.add_row(name, *(f"{number:,}" for number in numbers))
    table.add_row("in all", *(f"{total[index]:,}" for index in range(5)))
    return table


def notes(made: Plan, report: Report) -> list[str]:
    found = []
    if not report.hook_found:
        found.append(
            "Mailchimp has no webhook of this source now: `listwire hooks ensure` makes it. Taken for granted are its defaults, events "
            "of what people did themselves."
        )
    if report.forgotten:
        found.append(
            "Amplitude remembers insert_ids for 7 days, and this goes further back. What keeps older events single is only that they "
            "are compared with the topic."
        )
    if report.known_since is None or report.known_since > report.since * 1000:
        found.append("Forced: webhooks that came and were deleted by Kafka since are written again.")
    if report.first is None:
        found.append("The topic holds no webhook of this source: was it connected in that time?")
    elif report.first > report.since * 1000:
        found.append(
            f"The oldest webhook of this source in the topic came {moment(report.first)}: was it connected before?"
        )
    if made.untold:
        found.append(
            f"{count(made.untold, 'event')} left out, since an admin or the API did it, and the webhook is not told of that."
        )
    if made.young:
        found.append(
            f"{count(made.young, 'event')} after {_time(report.until)} left out: Mailchimp may bring it itself."
        )
    return found


def document(made: Plan, report: Report, *, reveal: bool) -> dict[str, Any]:
    return {
        "source": report.source, "audience": report.audience, "since": iso(report.since), "until": iso(report.until),
        "complete_since": None if report.known_since is None else iso(report.known_since // 1000),
        "contacts": made.looked_at, "found": made.found, "already_there": made.there, "missing": len(made.missed),
        "written": report.written, "not_derivable": len(made.listed), "not_told": made.untold, "too_young": made.young,
        "days": [
            {
                "day": name,
                "already_there": {SUBSCRIBE: day.there[SUBSCRIBE], UNSUBSCRIBE: day.there[UNSUBSCRIBE]},
                "missing": {SUBSCRIBE: day.missed[SUBSCRIBE], UNSUBSCRIBE: day.missed[UNSUBSCRIBE]},
                "not_derivable": day.listed,
            }
            for name, day in sorted(made.days.items())
        ],
        "listed": [
            {
                "who": listed.contact.address if reveal else address_hash(listed.contact.address),
                "web_id": listed.contact.web_id, "kind": listed.kind or None, "why": listed.why, "words": SAID[listed.why],
                "after": None if listed.after is None else iso(listed.after),
                "before": None if listed.before is None else iso(listed.before),
            }
            for listed in made.listed
        ],
        "notes": notes(made, report),
    }  # fmt: skip


def _who(listed: Listed, *, reveal: bool) -> str:
    return printable(listed.contact.address) if reveal else address_hash(listed.contact.address)


def _when(listed: Listed) -> str:
    if listed.after is None and listed.before is None:
        return "some time"
    if listed.after == listed.before:
        return f"at {_time(listed.after or 0)}"
    if listed.after is None:
        return f"before {_time(listed.before or 0)}"
    if listed.before is None:
        return f"after {_time(listed.after)}"
    return f"between {_time(listed.after)} and {_time(listed.before)}"


def _time(at: int) -> str:
    return moment(at * 1000)
