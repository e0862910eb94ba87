"""When the console speaks of a gap, and when it had better be silent."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from console.quiet import A_LOOK, Quiet
from listwire.backfill.gaps import DAY, SLOT, Gap, command, gaps
from listwire.kafka_reader import Bounds
from tests.unit.console_door import Door

NOW = 1_768_003_200 + 14 * 3600  # 2026-01-10, 14:00 UTC
PRESENT = NOW // SLOT


def week(**quiet: range) -> dict[int, int]:
    """Something in each quarter of eight days, but in the ranges given, which count back from now."""
    empty = {PRESENT - back for each in quiet.values() for back in each}
    return {slot: int(slot not in empty) for slot in range(PRESENT - 8 * DAY, PRESENT)}


def test_two_silent_hours_at_a_time_that_is_busy_on_other_days_are_a_gap() -> None:
    assert gaps(week(outage=range(9, 17)), NOW) == [Gap((PRESENT - 16) * SLOT, (PRESENT - 8) * SLOT)]


def test_as_long_as_mailchimp_still_tries_there_is_none() -> None:
    assert gaps(week(outage=range(9, 13)), NOW) == []
    assert len(gaps(week(outage=range(9, 14)), NOW)) == 1


def test_nights_that_are_always_quiet_are_none() -> None:
    counts = week()
    nights = {slot: 0 if slot % DAY < 24 else count for slot, count in counts.items()}
    assert gaps(nights, NOW) == []


def test_an_outage_that_lasts_has_no_end_yet() -> None:
    assert gaps(week(outage=range(1, 7)), NOW) == [Gap((PRESENT - 6) * SLOT, None)]


def test_without_another_day_nothing_is_said() -> None:
    counts = {slot: count for slot, count in week(outage=range(9, 17)).items() if slot > PRESENT - DAY // 2}
    assert gaps(counts, NOW) == []


def test_what_is_not_known_is_no_silence() -> None:
    counts = week()
    for back in range(9, 17):
        del counts[PRESENT - back]
    assert gaps(counts, NOW) == []
    assert gaps({}, NOW) == []


@pytest.mark.parametrize("back", [8, 2])
def test_the_command_spans_the_gap_and_ends_where_mailchimp_has_given_up(back: int) -> None:
    gap = Gap((PRESENT - 16) * SLOT, (PRESENT - back) * SLOT)
    words = command(gap, "newsletter", NOW)
    assert words.startswith("listwire backfill --source newsletter --since 2026-01-10T09:45")
    assert words.endswith("--until 2026-01-10T12:15") is (back == 8)


class Log:
    """A reader of a topic with one partition; `times` are its records', in order."""

    def __init__(self, times: list[int], deleted: int = 0) -> None:
        self.times = times
        self.begin = deleted
        self.asked = 0

    async def bounds(self, _topic: str) -> dict[int, Bounds]:
        return {0: Bounds(self.begin, len(self.times))}

    async def since(self, _topic: str, milliseconds: int) -> dict[int, int]:
        self.asked += 1
        kept = range(self.begin, len(self.times))
        return {0: next((at for at in kept if self.times[at] * 1000 >= milliseconds), len(self.times))}


async def known(times: list[int], deleted: int = 0) -> tuple[Quiet, Log]:
    door = Door()
    door.clock.now = float(NOW)
    quiet, log = Quiet(door.clock), Log(times, deleted)
    for _ in range(8 * DAY // A_LOOK + 1):
        await quiet.look(log)  # type: ignore[arg-type]
    return quiet, log


def busy(*, but: range = range(0)) -> list[int]:
    """Every ten minutes of a week; `but` counts hours back."""
    times = range(NOW - 7 * 86_400, NOW, 600)
    return [at for at in times if (NOW - at - 1) // 3600 not in but]


async def test_offsets_alone_tell_the_gap() -> None:
    quiet, log = await known(busy(but=range(3, 6)))
    gap = quiet.gap()
    assert gap is not None
    assert (gap.since, gap.until) == (NOW - 6 * 3600, NOW - 3 * 3600)
    asked = log.asked
    await quiet.look(log)  # type: ignore[arg-type]
    assert log.asked == asked


async def test_a_busy_topic_an_empty_one_and_one_that_was_cut_have_no_gap() -> None:
    assert (await known(busy()))[0].gap() is None
    assert (await known([]))[0].gap() is None
    times = busy(but=range(3, 6))
    assert (await known(times, deleted=len(times)))[0].gap() is None


async def test_the_page_of_a_source_shows_the_gap_and_the_command() -> None:
    door = Door()
    await door.login()
    at = int(door.clock.now) // SLOT * SLOT - 12 * SLOT
    door.watch.quiet.gap = lambda: Gap(at - 8 * SLOT, at)  # type: ignore[method-assign]
    page = (await door.client.get("/connections/sources.newsletter")).text
    since = datetime.fromtimestamp(at - 9 * SLOT, UTC).strftime("%Y-%m-%dT%H:%M")
    assert "No webhook reached the ingress between" in page
    assert f"<code>listwire backfill --source newsletter --since {since} --until" in page
    door.watch.quiet.gap = lambda: None  # type: ignore[method-assign]
    assert "No webhook" not in (await door.client.get("/connections/sources.newsletter")).text
