"""`listwire backfill`: what an outage longer than Mailchimp's retries has cost, told again from the audience itself.

Shows what it would write, asks, and writes it. Must never write what the topic holds already, nor what it would have to guess.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from listwire import kafka_admin, topics
from listwire.backfill.derive import Rules
from listwire.backfill.heard import Topic
from listwire.backfill.plan import Plan, plan, suspects
from listwire.backfill.publish import Scan, publish, reaches, transactional_id
from listwire.backfill.reach import known_since
from listwire.backfill.times import GIVEN_UP, Zone
from listwire.cli import context
from listwire.cli.backfill_show import Report, document, show
from listwire.cli.progress import progress
from listwire.clock import SystemClock
from listwire.errors import SettingsError
from listwire.kafka_reader import Reader
from listwire.replay import transactions, visible
from listwire.replay_plan import parse_moment
from listwire.settings import Settings
from listwire.settings.models import Source
from listwire.spoken import count, moment

if TYPE_CHECKING:
    from listwire.clock import Clock

MAX_TOLERANCE = 60


@dataclass(frozen=True)
class Wish:
    """What was asked for; times in seconds."""

    source: str
    since: int
    until: int
    tolerance: int
    any_maker: bool
    quick: bool
    force: bool


@click.command("backfill")
@click.option("--source", "name", required=True, metavar="NAME", help="A table [sources.NAME] of the settings.")
@click.option("--since", required=True, metavar="TIME", help="Like 2026-03-01, 2026-03-01T08:30, or an age: 6h, 2d.")
@click.option("--until", metavar="TIME", help="The same. Absent: 80 minutes ago, when Mailchimp has given up.")
@click.option("--dry-run", is_flag=True, help="Only show what would be written.")
@click.option("--yes", is_flag=True, help="Do not ask; required without a terminal.")
@click.option(
    "--show-addresses", "--reveal", "reveal", is_flag=True,
    help="Addresses as they are; else each is a hash, the same as in the logs.",
)  # fmt: skip
@click.option("--any-maker", is_flag=True, help="Also where an admin or the API may have done it, and nobody can say.")
@click.option("--quick", is_flag=True, help="Leave out the histories of who was subscribed before and still is.")
@click.option(
    "--tolerance", type=click.IntRange(0, MAX_TOLERANCE), default=5, show_default=True, metavar="SECONDS",
    help="How far a webhook's time may lie beside the API's.",
)  # fmt: skip
@click.option("--force", is_flag=True, help="Also times of which Kafka has deleted records, and the last 80 minutes.")
@click.option("--json", "as_json", is_flag=True, help="For scripts; with --yes or --dry-run.")
def command(
    *, name: str, since: str, until: str | None, dry_run: bool, yes: bool, reveal: bool, any_maker: bool, quick: bool,
    tolerance: int, force: bool, as_json: bool,
) -> None:  # fmt: skip
    """Write the subscribes and unsubscribes that Mailchimp could not deliver.

    Reads who changed in the audience, compares with listwire.webhooks, and writes the missing webhooks there with the times and
    ids that they would have had. What cannot be told for certain is listed, never guessed. A second run adds nothing.
    """
    if not (yes or dry_run) and (as_json or not sys.stdin.isatty()):
        raise click.UsageError(
            "backfill asks before it writes, and here is nobody to ask: --yes does it, --dry-run only shows."
        )
    settings = context.settings()
    context.quiet(settings)
    clock = SystemClock()
    source = _source(settings, name)
    begin, end = _window(since, until, clock.time(), force=force)
    wish = Wish(name, begin, end, tolerance, any_maker, quick, force)
    context.run(_backfill(settings, source, wish, clock, dry_run=dry_run, ask=not yes, reveal=reveal, as_json=as_json))


def _source(settings: Settings, name: str) -> Source:
    source = settings.sources.get(name)
    if source is None:
        known = ", ".join(settings.sources) or "none"
        raise click.UsageError(f"--source {name}: there is no table [sources.{name}]; known are {known}.")
    if source.mailchimp is None:
        raise SettingsError(
            f"sources.{name}.mailchimp is missing: without an account the audience cannot be read. Write under [sources.{name}]: "
            'mailchimp = "NAME", the name of a table [mailchimp.NAME].'
        )
    return source


def _window(since: str, until: str | None, now: float, *, force: bool) -> tuple[int, int]:
    settled = int(now) - GIVEN_UP
    begin = parse_moment(since, now, "--since") // 1000
    end = settled if until is None else parse_moment(until, now, "--until") // 1000
    if force:
        end = min(end, int(now))
    elif end > settled:
        raise SettingsError(
            f"--until {until}: Mailchimp may still bring webhooks of the last 75 minutes itself, and both would count if their times "
            f"differ. The latest is {moment(settled * 1000)}; leave --until out, or wait. (--force goes on all the same.)"
        )
    if begin >= end:
        raise SettingsError(
            f"--since {since} is not before {moment(end * 1000)}"
            + ("." if until else ", until when Mailchimp has given up on its webhooks. Wait, or name an earlier time.")
        )
    return begin, end


async def _backfill(
    settings: Settings, source: Source, wish: Wish, clock: Clock, *, dry_run: bool, ask: bool, reveal: bool, as_json: bool
) -> None:  # fmt: skip
    from listwire.cli import backfill_mailchimp as vendor
    from vendors.accounts import mailchimp
    from vendors.mailchimp import ConnectionLimit

    account = source.mailchimp or ""
    limit = ConnectionLimit(settings.mailchimp[account].max_connections)
    report = Report(wish.source, source.audience, wish.since, wish.until)
    async with Reader(settings.kafka) as reader, mailchimp(settings, account, limiter=limit) as client:
        await _check_reach(settings, reader, wish, clock, report)
        hook, report.hook_found = await vendor.hook(client, wish.source, source.audience, clock)
        rules = Rules(
            wish.since, wish.until, Zone(source.timezone), hook, wish.tolerance, any_maker=wish.any_maker, quick=wish.quick
        )  # fmt: skip
        with progress("Reading who changed") as advance:
            contacts = await vendor.changed(client, source.audience, wish.since - wish.tolerance, clock, advance)
        topic = Topic(wish.source, source.audience, rules.zone, contacts)
        scan = Scan(reader, topic)
        with progress("Reading webhooks") as advance:
            await scan.to_the_end(advance)
        with progress("Reading histories") as advance:
            asked = suspects(contacts, topic, rules)
            feeds = await vendor.histories(client, source.audience, asked, clock, advance)
        made = plan(contacts, feeds, topic, rules)
        report.first = topic.first
        if not as_json:
            show(made, report, reveal=reveal)
        if dry_run or not made.missed:
            _end(made, report, reveal=reveal, as_json=as_json, dry_run=dry_run)
            return
        if ask:
            click.confirm(f"Write {count(len(made.missed), 'webhook')} to {topics.WEBHOOKS}?", abort=True)
        async with transactions(settings.kafka, transactional_id(wish.source), "backfill") as producer:
            # Whatever another run has finished is there by now, and none can finish anything any more.
            await scan.to_the_end()
            made = plan(contacts, feeds, topic, rules)
            with progress("Writing") as advance:
                done = 0

                def told(more: int) -> None:
                    nonlocal done
                    done += more
                    advance(done, len(made.missed))

                places = await publish(producer, wish.source, source.audience, made.missed, clock, told)
        report.written = len(made.missed)
        await visible(reader, places)
    _end(made, report, reveal=reveal, as_json=as_json, dry_run=False)


async def _check_reach(settings: Settings, reader: Reader, wish: Wish, clock: Clock, report: Report) -> None:
    """Refuses times of which nobody can say what came: what Kafka has deleted would be written a second time."""
    state = (await kafka_admin.verify(settings, topics.WEBHOOKS))[topics.WEBHOOKS]
    by_time_only = state.config.get("retention.bytes", "") == "-1"
    now = int(clock.time() * 1000)
    known = known_since(await reaches(reader), now, state.retention_ms if by_time_only else None)
    report.known_since = known
    report.forgotten = wish.since * 1000 < now - 7 * topics.DAY_MS
    if wish.force or (known is not None and known <= wish.since * 1000):
        return
    if known is None:
        raise SettingsError(
            f"{topics.WEBHOOKS} is empty: nothing tells which webhooks came before. If none of them was delivered, --force writes all "
            "that the audience tells."
        )
    raise SettingsError(
        f"--since {moment(wish.since * 1000)} is before {moment(known)}, from when on {topics.WEBHOOKS} is complete: a webhook that came "
        f"earlier would be written again, and count twice once Amplitude has forgotten it (7 days). Use --since {moment(known + 999)[:-1].replace(' ', 'T')}; "
        "--force goes further back all the same."
    )


def _end(made: Plan, report: Report, *, reveal: bool, as_json: bool, dry_run: bool) -> None:
    if as_json:
        context.print_json(document(made, report, reveal=reveal))
        return
    left = count(len(made.listed), "event")
    words = "nothing written" if dry_run or not report.written else f"{count(report.written, 'webhook')} written"
    if dry_run and made.missed:
        words = f"{len(made.missed):,} would be written"
    click.echo(
        f"{made.found:,} found: {made.there:,} already there, {words}"
        + (f"; {left} cannot be derived (listed above)." if made.listed else ".")
    )
