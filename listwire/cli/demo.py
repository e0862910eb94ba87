"""`listwire demo`: the whole of Listwire on this machine, against stand-ins of both vendors."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import time

import click

from listwire import logs
from listwire.cli import context
from listwire.redaction import Redactor
from listwire.supervisor import printer

NAMES = ("kafka", "topics", "ingress", "subscriptions", "cohorts", "console", "mailchimp", "amplitude")


@click.command("demo")
@click.option("--once", is_flag=True, help="End after the account, with exit code 0 or 1.")
@click.option(
    "--webhooks", type=click.IntRange(1, 100_000), default=300, show_default=True, help="Ordinary webhooks to post."
)
def command(once: bool, webhooks: int) -> None:
    """The same against stand-ins, with webhooks flowing. Needs nothing but this command."""
    logs.configure("demo", Redactor(()), level="warning", style="console")
    sys.exit(context.run(_demo(once, webhooks)))


async def _demo(once: bool, webhooks: int) -> int:
    from sandbox.demo.play import one_more, play_cohort, play_webhooks
    from sandbox.demo.stage import AUDIENCE, built
    from sandbox.demo.webhooks import Mailbox

    colours = sys.stdout.isatty()
    say = printer(NAMES, colours)
    started = time.monotonic()
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with built(say) as stage:
        mailbox = Mailbox(AUDIENCE)
        lines = await play_webhooks(stage, mailbox, webhooks, say)
        lines += await play_cohort(stage, say)
        print(f"\nThe account, after {time.monotonic() - started:.1f} s")
        for line in lines:
            print(f"  {'✓' if line.right else '✗'} {line.words}")
        print(
            "\nWhere to go next\n"
            "  listwire init     writes your settings file and prints the webhook's URL\n"
            "  listwire check    says what is right and what is not\n"
            "  listwire up       runs the same processes on your settings"
        )
        if not once:
            await stage.open_console()
            print(
                f"\nThe console is at {stage.console}, its token is {stage.token}\n"
                f"  Press Connect there to connect a second audience, Shop: at the login any password does\n"
                f"\nStill running: webhooks keep coming, one a second. Ctrl-C ends it. From another terminal:\n"
                f"  listwire lag --config {stage.settings_file}\n"
                f"  listwire dead-letters ls --config {stage.settings_file}"
            )
            while not stopped.is_set():
                await one_more(stage, mailbox)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stopped.wait(), 1)
    return 0 if all(line.right for line in lines) else 1
