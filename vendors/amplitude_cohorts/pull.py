"""A cohort, from the request to the people in it: request, poll, download, with all the waiting in between.

A download costs one of the month's 500, so it is never asked for twice because of a fault further on: a poll that fails is a poll
again, and a file whose link has run out is fetched by a new link.
"""

from __future__ import annotations

import tempfile
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TypeVar

from listwire.clock import Clock
from listwire.errors import VendorError, VendorRejected, VendorThrottled, VendorUnavailable
from vendors.amplitude_cohorts.client import VENDOR, AmplitudeCohorts, Usage
from vendors.amplitude_cohorts.file import USER_ID, People, read_people

T = TypeVar("T")
# Seconds before each further try of a call that may pass.
WAITS = (1.0, 2.0, 5.0, 10.0, 30.0, 30.0)
# Seconds a 429 is waited out in all: Amplitude's longest window is ten minutes.
THROTTLED_FOR = 900.0
THROTTLE_WAIT = 30.0
# Between two looks at a download: the first soon, since small ones are ready at once; jobs take 30 to 60 s.
POLLS = (1.0, 2.0, 3.0, 5.0)
# Seconds until a download that is still not ready is given up.
PATIENCE = 3600.0
IN_MEMORY = 16 << 20


async def pull(
    client: AmplitudeCohorts,
    cohort: str,
    where: str,
    usable: Callable[[str], str | None],
    clock: Clock,
) -> People:
    """`where`: the user property that holds the address, or user_id.

    Raises `VendorRejected` where the month's downloads are used up, and what the client raises once waiting did not help.
    """
    properties = [] if where == USER_ID else [where]
    request_id = await patient(lambda: _requested(client, cohort, properties), clock)
    await _ready(client, request_id, clock)

    async def fetched() -> People:
        with tempfile.SpooledTemporaryFile(max_size=IN_MEMORY) as file:
            await client.file(request_id, file)
            return await read_people(file, where, usable)

    return await patient(fetched, clock)


async def patient(call: Callable[[], Awaitable[T]], clock: Clock) -> T:
    """The call's result. A 429 is waited out for a quarter of an hour, everything else that may pass for a minute."""
    waits = iter(WAITS)
    until = clock.monotonic() + THROTTLED_FOR
    while True:
        try:
            return await call()
        except VendorThrottled:
            if clock.monotonic() + THROTTLE_WAIT > until:
                raise
            await clock.sleep(THROTTLE_WAIT)
        except VendorUnavailable:
            if (wait := next(waits, None)) is None:
                raise
            await clock.sleep(wait)


async def _requested(client: AmplitudeCohorts, cohort: str, properties: list[str]) -> str:
    try:
        return await client.request(cohort, properties)
    except VendorThrottled as fault:
        # Amplitude says 429 both to those who ask too fast and to those whose month is over.
        if (usage := await _usage(client)) is not None and usage.left == 0:
            raise VendorRejected(VENDOR, fault.status, spent(usage)) from None
        raise


async def _usage(client: AmplitudeCohorts) -> Usage | None:
    try:
        return await client.usage()
    except VendorError:
        return None


def spent(usage: Usage) -> str:
    when = (
        "" if usage.resets_at is None else f" until {datetime.fromtimestamp(usage.resets_at, UTC):%Y-%m-%d %H:%M} UTC"
    )
    return (
        f"the project's {usage.limit} cohort downloads of this month are used up{when}; "
        "run its schedules less often (`cron`), or take Amplitude's cohort webhook"
    )


async def _ready(client: AmplitudeCohorts, request_id: str, clock: Clock) -> None:
    waits = iter(POLLS)
    until = clock.monotonic() + PATIENCE
    while not await patient(lambda: client.completed(request_id), clock):
        if clock.monotonic() > until:
            words = f"the cohort's download was not ready after {PATIENCE / 60:.0f} minutes"
            raise VendorUnavailable(VENDOR, 202, words, cause="timeout")
        await clock.sleep(next(waits, POLLS[-1]))
