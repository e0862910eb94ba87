"""What a replay takes, in which order, and that no letter goes back twice however often it runs or dies."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from listwire.dead_letters import Letter
from listwire.errors import SettingsError
from listwire.kafka_reader import Record
from listwire.letter_index import Entry, Index
from listwire.replay import headers
from listwire.replay_plan import Plan, Selection, in_order, parse_moment, plan
from tests.unit.letters import NOW, letter, mark_of, record_of

MS = int(NOW * 1000)
DAY = 86_400_000


def entry(origin: str, failed_at: int = MS, *, connection: str = "sources.a", received_at: int = MS) -> Entry:
    number = abs(hash((origin, failed_at, connection)))
    return Entry(f"{number:032x}", "connection_refused", connection, origin, failed_at, received_at, 1, [(0, number)])


def planned(entries: list[Entry], *, refused=None, begins=None, force: bool = False) -> Plan:
    return plan(entries, refused=refused or {}, begins=begins or {}, force=force, now=NOW)


def test_letters_of_a_partition_go_by_offset_even_where_the_older_failed_later() -> None:
    entries = [
        entry("listwire.webhooks/0/7", MS),
        entry("listwire.webhooks/0/10", MS - 5),
        entry("listwire.webhooks/0/9"),
    ]
    assert [e.origin[-2:] for e in in_order(entries)] == ["/7", "/9", "10"]


def test_across_partitions_what_failed_first_goes_first() -> None:
    entries = [
        entry("listwire.webhooks/0/7", MS),
        entry("listwire.webhooks/1/9", MS - 5),
        entry("listwire.cohort-changes/0/1", MS - 9),
    ]
    assert [e.origin for e in in_order(entries)] == [
        "listwire.cohort-changes/0/1",
        "listwire.webhooks/1/9",
        "listwire.webhooks/0/7",
    ]


@given(
    st.lists(
        st.builds(
            lambda t, p, o, f: entry(f"listwire.{t}/{p}/{o}", f),
            st.sampled_from(["webhooks", "cohort-changes"]), st.integers(0, 3), st.integers(0, 40), st.integers(0, 10**6),
        ),
        max_size=40,
    )
)  # fmt: skip
def test_the_order_is_whole_and_never_goes_back_within_a_partition(entries: list[Entry]) -> None:
    ordered = in_order(entries)
    assert Counter(e.id for e in ordered) == Counter(e.id for e in entries)
    last: dict[tuple[str, int], int] = defaultdict(int)
    for topic, partition, offset in (e.origin_place for e in ordered if e.origin_place):
        assert offset >= last[topic, partition]
        last[topic, partition] = offset


def test_letters_of_a_refused_connection_are_left_alone_and_named() -> None:
    good, bad = entry("listwire.webhooks/0/1"), entry("listwire.webhooks/0/2", connection="sources.b")
    made = planned([good, bad], refused={"sources.b": "still refused, 401"})
    assert (made.take, dict(made.left)) == ([good], {"sources.b: still refused, 401": [bad]})
    assert planned([good, bad], refused={"sources.b": "401"}, force=True).take == [good, bad]


def test_a_cohort_change_whose_origin_is_gone_is_left_alone() -> None:
    entries = [
        entry("listwire.cohort-changes/0/5"),
        entry("listwire.cohort-changes/0/6"),
        entry("listwire.cohort-changes/9/6"),
    ]
    made = planned(entries, begins={0: 6})
    assert made.take == [entries[1]]
    assert [len(left) for left in made.left.values()] == [2]
    assert len(planned(entries, begins={0: 6}, force=True).take) == 3


def test_a_webhook_goes_back_though_its_origin_is_gone() -> None:
    assert planned([entry("listwire.webhooks/0/5")], begins={0: 100}).take


@pytest.mark.parametrize(
    "origin", ["other.topic/0/1", "listwire.dead-letters/0/1", "nonsense", "listwire.webhooks/x/y", ""]
)
@pytest.mark.parametrize("force", [False, True])
def test_nothing_goes_to_a_topic_that_workers_do_not_read(origin: str, force: bool) -> None:
    made = planned([entry(origin)], force=force)
    assert made.take == []
    assert sum(map(len, made.left.values())) == 1


def test_webhooks_older_than_amplitude_remembers_are_counted() -> None:
    made = planned(
        [
            entry("listwire.webhooks/0/1", received_at=MS - 8 * DAY),
            entry("listwire.webhooks/0/2", MS - 8 * DAY, received_at=0),
            entry("listwire.webhooks/0/3", received_at=MS - 6 * DAY),
            entry("listwire.cohort-changes/0/3", received_at=MS - 8 * DAY),
        ],
        begins={0: 0},
    )
    assert (len(made.take), made.old) == (4, 2)


def test_filters_narrow_and_all_must_agree() -> None:
    one = entry("listwire.webhooks/1/5", MS)
    assert one in Selection()
    for good in (
        Selection(reasons=frozenset({"connection_refused", "too_large"})),
        Selection(connections=frozenset({"sources.a"})),
        Selection(origins=("listwire.webhooks/1/5",)),
        Selection(origins=("x", "listwire.webhooks/1")),
        Selection(origins=("listwire.webhooks",)),
        Selection(ids=(one.id[:10].upper(),)),
        Selection(since=MS, until=MS + 1),
    ):
        assert one in good
    for bad in (
        Selection(reasons=frozenset({"too_large"})),
        Selection(connections=frozenset({"sources"})),
        Selection(origins=("listwire.webhooks/1/50", "listwire.webhooks/11", "listwire.web")),
        Selection(ids=("zz",)),
        Selection(since=MS + 1),
        Selection(until=MS),
        Selection(connections=frozenset({"sources.a"}), since=MS + 1),
    ):
        assert one not in bad


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("24h", MS - DAY),
        ("7d", MS - 7 * DAY),
        ("90m", MS - 90 * 60_000),
        ("2026-03-01", 1_772_323_200_000),
        ("2026-03-01T08:30", 1_772_353_800_000),
        ("2026-03-01T08:30:00+01:00", 1_772_350_200_000),
    ],
)
def test_times_are_dates_in_utc_or_ages(text: str, expected: int) -> None:
    assert parse_moment(text, NOW, "--since") == expected


@pytest.mark.parametrize("text", ["yesterday", "", "24", "7 weeks", "0000-01-01", "9999999d"])
def test_what_is_no_time_is_one_sentence(text: str) -> None:
    with pytest.raises(SettingsError, match=r"--since .* is no time"):
        parse_moment(text, NOW, "--since")


def test_a_replayed_record_carries_its_origin_and_none_of_the_letters_own_headers() -> None:
    made = letter(headers=(("source", b"newsletter"), ("received_at", b"1"), ("traceparent", b"00-x")))
    assert headers(made) == [
        ("source", b"newsletter"),
        ("received_at", b"1"),
        ("traceparent", b"00-x"),
        ("replay_of", b"listwire.webhooks/0/0"),
    ]
    assert headers(made, force=True) == headers(made)


def test_a_replayed_cohort_change_names_its_one_sync() -> None:
    made = letter("listwire.cohort-changes/2/7", connection="cohort_syncs.daily", headers=(("sync", b"other"),))
    assert headers(made) == [("sync", b"daily"), ("replay_of", b"listwire.cohort-changes/2/7")]
    assert headers(made, force=True)[-1] == ("replay_force", b"1")
    nobody = letter("listwire.cohort-changes/2/7", connection="cohort_syncs.?", headers=())
    assert headers(nobody) == [("replay_of", b"listwire.cohort-changes/2/7")]


@dataclass
class Topic:
    """The dead-letter topic, with whoever writes to it: a worker that fails letters, and replays that may die."""

    logs: dict[int, list[Record]] = field(default_factory=lambda: defaultdict(list))

    def bury(self, made: Letter, partition: int) -> None:
        self.logs[partition].append(record_of(made, partition, len(self.logs[partition])))

    def index(self) -> Index:
        index = Index()
        for log in self.logs.values():
            for record in log:
                index.add(record)
        return index

    def replay(self, chunks_before_death: int, chunk: int) -> list[Entry]:
        """Transactions are whole: a death leaves complete ones."""
        wanted = planned(list(self.index().open.values()), begins={0: 0}).take
        done: list[Entry] = []
        for number, at in enumerate(range(0, len(wanted), chunk)):
            if number == chunks_before_death:
                break
            for each in wanted[at : at + chunk]:
                for partition in {p for p, _ in each.places}:
                    self.logs[partition].append(mark_of(each.id, partition, len(self.logs[partition])))
                done.append(each)
        return done


ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("fail"), st.integers(0, 9), st.integers(0, 2)),
        st.tuples(st.just("fail twice"), st.integers(0, 9), st.integers(0, 2)),
        st.tuples(st.just("replay"), st.integers(0, 4), st.integers(1, 4)),
    ),
    max_size=30,
)


@given(ACTIONS)
def test_however_often_replay_runs_and_dies_each_failure_goes_back_once(actions) -> None:
    topic = Topic()
    failures: Counter[str] = Counter()
    replays: Counter[str] = Counter()
    for kind, first, second in [*actions, ("replay", 1000, 3), ("replay", 1000, 1)]:
        if kind == "replay":
            for each in topic.replay(first, second):
                replays[each.id] += 1
                assert replays[each.id] <= failures[each.id]
        else:
            made = letter(f"listwire.webhooks/0/{first}")
            waits = made.id in topic.index().open
            topic.bury(made, second)
            if kind == "fail twice":
                topic.bury(made, (second + 1) % 3)
            failures[made.id] += not waits  # a letter that waits already and is written again is the same failure
    assert replays == failures
    assert topic.index().open == {}


def test_a_letter_that_fails_again_keeps_its_first_origin_and_its_identity() -> None:
    made = letter("listwire.webhooks/3/7")
    again = letter("listwire.webhooks/3/900", headers=tuple(headers(made, force=True)))
    assert (again.origin, again.id) == ("listwire.webhooks/3/7", made.id)
    assert again.source_headers == made.source_headers
