"""The vendors' faults by the names in a schedule: put in force, kept for their seconds, taken back.

`calm` takes all of them back. Names and lengths come from `schedule`; what each fault does is the stand-ins' own.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec

from sandbox.amplitude import AmplitudeStandIn
from sandbox.amplitude.faults import AmplitudeCommand, LimitsChange
from sandbox.amplitude.rules import batch_limits
from sandbox.faults import HTML_502, Fault
from sandbox.mailchimp import API_KEY, MailchimpStandIn
from sandbox.mailchimp.trouble import HAMMERED, TOO_MANY
from tests.chaos.load import CONTACTS

# Both vendors know these.
COMMON: Final = {
    "errors before": [Fault(status=500), Fault(status=502, body=HTML_502), Fault(status=503)],
    "errors after": [Fault(status=500, when="after"), Fault(status=504, body=HTML_502, when="after")],
    "resets before": [Fault(kind="reset", when="unread"), Fault(kind="reset")],
    "resets after": [Fault(kind="reset", when="after")],
    "hangs before": [Fault(kind="hang")],
    "hangs after": [Fault(kind="hang", when="after")],
    "slow answers": [Fault(kind="dribble", when="after", chunk=4, pause=0.1)],
    "cut answers": [Fault(kind="truncate", when="after")],
    "too many requests": [TOO_MANY],
    "hammered": [HAMMERED],
}
# What hangs holds its lane until the vendor's time-out, so a few of them are enough.
MOST_HANGS: Final = 3


class Weather:
    def __init__(self, amplitude: AmplitudeStandIn, mailchimp: MailchimpStandIn, seed: int) -> None:
        self.amplitude = amplitude
        self.mailchimp = mailchimp
        self._dice = random.Random(f"weather {seed}")

    async def strike(self, vendor: str, name: str, seconds: float) -> None:
        stand_in: AmplitudeStandIn | MailchimpStandIn = self.amplitude if vendor == "amplitude" else self.mailchimp
        if name in COMMON:
            most = MOST_HANGS if name.startswith("hangs") else None
            stand_in.faults.add(
                *[
                    msgspec.structs.replace(fault, seconds=seconds, times=most or self._dice.randint(3, 20))
                    for fault in COMMON[name]
                ]
            )
            await asyncio.sleep(seconds)
            return
        async with self._special(vendor, name):
            await asyncio.sleep(seconds)

    @asynccontextmanager
    async def _special(self, vendor: str, name: str) -> AsyncIterator[None]:
        faults = self.amplitude.faults
        some = [f"contact{number}@example.com" for number in self._dice.sample(range(CONTACTS), 3)]
        once: dict[str, Any] = {"seconds": 1.0, "requests": 2}
        match vendor, name:
            case "amplitude", "throttled users":
                faults.throttle(*some, **once)
                yield
            case "amplitude", "users over quota":
                faults.over_quota(*some, **once)
                yield
            case "amplitude", "poison":
                faults.reject(some[0])
                yield
                faults._poison.clear()
            case "amplitude", "small requests only":
                self._limit(1500)
                yield
                self._limit(batch_limits().max_bytes)
            case "amplitude", "nobody listens":
                await self.amplitude.stop()
                yield
                await self.amplitude.start()
            case "amplitude", "key refused":
                faults.refuse_key(how=self._dice.choice(["400", "401"]))
                yield
                faults.accept_key()
            case "mailchimp", "key refused":
                self.mailchimp.api_keys.discard(API_KEY)
                yield
                self.mailchimp.api_keys.add(API_KEY)
            case _:
                raise AssertionError(f"no such fault: {vendor} {name}")

    def _limit(self, size: int) -> None:
        self.amplitude.command(AmplitudeCommand(limits={"batch": LimitsChange(max_bytes=size)}))

    def calm(self) -> None:
        self.amplitude.faults.clear()
        self.mailchimp.faults.clear()
