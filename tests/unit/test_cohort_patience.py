"""A long listing goes on where it broke off, and gives up when it must."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from listwire.clock import SystemClock
from listwire.cohorts.patience import WAITS, asked, listed
from listwire.errors import VendorRefused, VendorUnavailable


class Clock(SystemClock):
    def __init__(self) -> None:
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


def away() -> VendorUnavailable:
    return VendorUnavailable("mailchimp", 502, "Bad Gateway", cause="502")


async def test_a_listing_goes_on_where_it_broke_off() -> None:
    clock, taken, breaks = Clock(), [], {3, 7}

    async def pages(last: int | None) -> AsyncIterator[int]:
        for number in range(0 if last is None else last, 10):
            if number in breaks:
                breaks.discard(number)
                raise away()
            yield number

    await listed(pages, taken.append, clock)
    assert taken == [0, 1, 2, 2, 3, 4, 5, 6, 6, 7, 8, 9]
    assert clock.slept == list(WAITS[:2])


async def test_one_that_never_ends_well_is_given_up_even_if_it_always_begins_well() -> None:
    clock, taken = Clock(), []

    async def pages(last: int | None) -> AsyncIterator[int]:
        yield 1
        raise away()

    with pytest.raises(VendorUnavailable):
        await listed(pages, taken.append, clock)
    assert clock.slept == list(WAITS)
    assert len(taken) == len(WAITS) + 1


async def test_a_refusal_is_told_at_once() -> None:
    clock = Clock()

    async def call() -> None:
        raise VendorRefused("mailchimp", 401, "API Key Invalid")

    with pytest.raises(VendorRefused):
        await asked(call, clock)
    assert clock.slept == []
