"""The Mailchimp stand-in in the foreground: what `listwire sandbox mailchimp` runs until it is told to stop."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from sandbox.foreground import until_told
from sandbox.mailchimp.server import MailchimpStandIn

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


async def serve(
    host: str = "127.0.0.1",
    port: int = 0,
    api_keys: Iterable[str] = (),
    *,
    latency: float = 0.0,
    journal: Path | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM. No API key named: every key is taken. The first line on stdout is the URL, so that
    another process can read it. Raises SandboxError when the port is taken.
    """
    stand_in = MailchimpStandIn(set(api_keys) or None, latency=latency, journal=journal)
    with until_told() as stopped:
        async with await stand_in.start(host, port):
            print(stand_in.url, flush=True)
            if sys.stdout.isatty():
                print(f"Mailchimp's stand-in: {stand_in.url}/3.0, with the audience {stand_in.audience.id}", flush=True)
            await stopped.wait()
