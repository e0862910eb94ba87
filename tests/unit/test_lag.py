"""Lag, reckoned from offsets and what a fetch shows: markers never count, nothing that waits is missed."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from listwire.kafka_reader import Bounds, Record
from listwire.lag import COUNT_ON, Backlog, GroupLag, PartitionLag, sentence, starting_point
from listwire.lag_view import Trend, spark

GROUP, TOPIC = "listwire-subscriptions", "listwire.webhooks"


@dataclass
class Partition:
    """A log: "r" is a record, "m" a marker, "a" a record of an aborted transaction. A fetch shows `reach` offsets of it."""

    log: str
    begin: int = 0
    reach: int = 10
    fetches: list[int] = field(default_factory=list)

    async def take(self, topic: str, partition: int, start: int, end: int) -> tuple[list[Record], int]:
        assert self.begin <= start < end <= len(self.log)
        self.fetches.append(start)
        until = min(end, start + self.reach)
        shown = [o for o in range(start, until) if self.log[o] == "r"]
        return [Record(partition, o, 1000 * o, None, b"", ()) for o in shown], until

    @property
    def bounds(self) -> dict[int, Bounds]:
        return {0: Bounds(self.begin, len(self.log))}


async def lag_of(backlog: Backlog, partition: Partition, committed: int | None, now: float = 1000.0) -> PartitionLag:
    known = {} if committed is None else {0: committed}
    return (await backlog.of(GROUP, TOPIC, known, partition.bounds, now))[0]


async def test_nothing_waits_at_the_end_and_nothing_is_fetched() -> None:
    partition = Partition("rrr")
    lag = await lag_of(Backlog(partition), partition, 3)
    assert (lag.records, lag.seconds, partition.fetches) == (0, None, [])


async def test_the_age_is_that_of_the_oldest_uncommitted_record() -> None:
    partition = Partition("rrrr")
    lag = await lag_of(Backlog(partition), partition, 2, now=100.0)
    assert (lag.records, lag.seconds) == (2, 98.0)


async def test_a_group_that_never_committed_starts_at_the_oldest_record_that_is_left() -> None:
    partition = Partition("rrrrr", begin=2)
    lag = await lag_of(Backlog(partition), partition, None, now=100.0)
    assert (lag.committed, lag.records, lag.seconds, lag.lost) == (None, 3, 98.0, 0)


async def test_markers_at_the_end_are_not_lag() -> None:
    partition = Partition("rrrm")
    assert (await lag_of(Backlog(partition), partition, 3)).records == 0
    assert (await lag_of(Backlog(partition), partition, 0)).records == 3


async def test_an_aborted_transaction_is_not_lag_however_long_it_is() -> None:
    partition = Partition("r" + "a" * 95 + "m")
    lag = await lag_of(Backlog(partition), partition, 1)
    assert (lag.records, lag.seconds) == (0, None)


async def test_deleted_records_are_not_lag_but_lost() -> None:
    partition = Partition("r" * 10, begin=6)
    lag = await lag_of(Backlog(partition), partition, 4)
    assert (lag.records, lag.lost) == (4, 2)


async def test_a_topic_made_anew_is_read_from_its_begin() -> None:
    partition = Partition("rr")
    lag = await lag_of(Backlog(partition), partition, 50)
    assert (lag.records, lag.lost) == (2, 0)


async def test_a_record_without_a_time_has_no_age() -> None:
    class Timeless(Partition):
        async def take(self, *place: object) -> tuple[list[Record], int]:
            return [Record(0, 0, -1, None, b"", ())], 1

    partition = Timeless("r")
    lag = await lag_of(Backlog(partition), partition, 0)
    assert (lag.records, lag.seconds) == (1, None)


async def test_a_clock_that_is_behind_gives_no_negative_age() -> None:
    partition = Partition("rr")
    assert (await lag_of(Backlog(partition), partition, 1, now=0.0)).seconds == 0.0


async def test_a_partition_that_stands_still_is_fetched_once() -> None:
    partition = Partition("rrr")
    backlog = Backlog(partition)
    for now in (10.0, 20.0, 30.0):
        lag = await lag_of(backlog, partition, 1, now=now)
        assert lag.seconds == now - 1
    assert partition.fetches == [1]


async def test_new_records_on_a_partition_that_stands_still_are_counted_without_their_markers() -> None:
    partition = Partition("rrrm")
    backlog = Backlog(partition)
    assert (await lag_of(backlog, partition, 0)).records == 3
    partition.log += "rrm"
    assert (await lag_of(backlog, partition, 0)).records == 5
    assert partition.fetches == [0, 4]


async def test_a_long_backlog_is_fetched_once_and_reckoned_from_offsets() -> None:
    partition = Partition("r" * (COUNT_ON * 4))
    backlog = Backlog(partition)
    for _ in range(3):
        assert (await lag_of(backlog, partition, 0)).records == COUNT_ON * 4
    assert partition.fetches == [0]


async def test_what_was_remembered_is_forgotten_when_kafka_has_deleted_it() -> None:
    partition = Partition("r" * 10)
    backlog = Backlog(partition)
    assert (await lag_of(backlog, partition, 0, now=100.0)).seconds == 100.0
    partition.begin = 5
    lag = await lag_of(backlog, partition, 0, now=100.0)
    assert (lag.records, lag.seconds, lag.lost) == (5, 95.0, 5)


@given(log=st.text("rma", max_size=60), committed=st.integers(0, 60), reach=st.integers(1, 7), data=st.data())
async def test_lag_is_never_less_than_what_waits_and_never_more_than_offsets(log, committed, reach, data) -> None:
    partition = Partition(log, begin=data.draw(st.integers(0, len(log))), reach=reach)
    backlog = Backlog(partition)
    for _ in range(len(log) + 1):
        lag = await lag_of(backlog, partition, committed)
        start, _lost = starting_point(committed, partition.bounds[0])
        waiting = log[start:].count("r")
        assert waiting <= lag.records <= len(log) - start
        assert (lag.records == 0) == (waiting == 0)
        if waiting:
            assert lag.seconds == 1000.0 - log.index("r", start)
    assert lag.records == waiting, "a partition that stands still is counted to its end, fetch by fetch"


def reading(
    records: int, committed: int, *, state: str = "Stable", seconds: float | None = None, lost: int = 0
) -> GroupLag:
    partition = PartitionLag(0, committed, 0, committed + records, records, seconds, lost)
    return GroupLag(GROUP, TOPIC, state, (), (partition,))


@pytest.mark.parametrize(
    ("lag", "words"),
    [
        (reading(0, 5), "subscriptions: nothing waits."),
        (reading(1, 5, seconds=240), "subscriptions: 1 record waits, the oldest for 4 min."),
        (reading(1200, 5, seconds=0.2), "subscriptions: 1,200 records wait, the oldest for 200 ms."),
        (reading(3, 5, state="Dead"), "subscriptions: 3 records wait; no worker runs."),
        (reading(0, 5, lost=2), "subscriptions: nothing waits; 2 offsets were deleted before being read."),
    ],
)
def test_the_state_in_plain_words(lag: GroupLag, words: str) -> None:
    assert sentence(lag) == words


def test_a_trend_tells_the_rate_and_the_time_to_drain() -> None:
    trend = Trend()
    trend.add(0.0, reading(100, 0))
    assert (trend.rate, trend.drained_in, trend.words()) == (None, None, "")
    trend.add(10.0, reading(80, 50))
    assert (trend.rate, trend.drained_in) == (5.0, 40.0)
    assert trend.words() == "5 settled a second, drained in 40 s"
    trend.add(20.0, reading(120, 60))
    assert trend.drained_in is None
    assert "not shrinking" in trend.words()


def test_a_trend_forgets_what_is_older_than_its_window() -> None:
    trend = Trend()
    for second in range(100):
        trend.add(float(second), reading(10, second * 3))
    assert trend.rate == 3.0
    assert len(trend.readings) < 40
    assert len(trend.line) == 40


@given(st.lists(st.integers(0, 10**9), max_size=50))
def test_a_spark_line_has_a_bar_a_value_and_never_hides_one(values: list[int]) -> None:
    bars = spark(values)
    assert len(bars) == len(values)
    assert all((bar == " ") == (value == 0) for bar, value in zip(bars, values, strict=True))
