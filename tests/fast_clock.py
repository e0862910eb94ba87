"""A worker whose clock runs faster than the world's: its waits, deadlines and its watchdog, and nothing else.

For recorded runs (`tests.recorded`), where a scrape is played as a minute or less: a worker at the same pace is played as slow
as it is in truth. Time-outs of HTTP and of Kafka stay as they are, and so does what a worker makes of Kafka's heartbeats.
"""

from __future__ import annotations

from typing import Literal


def build(pace: int, worker: Literal["subscriptions", "cohorts"], planted: str = "") -> str:
    """`code` for a `Worker`. `planted` runs before the command: a fault to be found."""
    return f"""
import functools, sys
import listwire.clock

class Fast(listwire.clock.SystemClock):
    def monotonic(self):
        return super().monotonic() * {pace}
    async def sleep(self, seconds):
        await super().sleep(seconds / {pace})
    async def wait(self, event, seconds):
        return await super().wait(event, seconds / {pace})

listwire.clock.SystemClock = Fast
import stream.app, stream.progress, stream.watchdog, stream.worker, vendors.mailchimp.connection_limit
assert stream.worker.SystemClock is Fast
assert vendors.mailchimp.connection_limit.SystemClock is Fast
stream.progress.KNOWN_FOR *= {pace}
stream.app.Watchdog = functools.partial(stream.watchdog.Watchdog, every=stream.watchdog.EVERY / {pace})
{planted}
from listwire.cli import main
sys.argv = ["listwire", "--config", sys.argv[1], "worker", "{worker}"]
main()
"""
