"""What the Amplitude stand-in remembers: what counts once, in which order, for how long, and through a kill."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.amplitude.journal import Journal, read
from sandbox.amplitude.rates import Rates
from sandbox.amplitude.state import DEDUP_SECONDS, RequestSeen, Row, State, app_digest

WEEK = DEDUP_SECONDS


class Clock:
    now = 1_600_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def event(insert_id: str | None = "i1", user_id: str | None = "ada@example.com", **more: Any) -> dict[str, Any]:
    return {
        "event_type": "e",
        "user_id": user_id,
        "insert_id": insert_id,
        "time": 7,
        "event_properties": {"contact_id": "c1"},
        **more,
    }


def test_rows_are_kept_in_the_order_of_arrival(clock: Clock) -> None:
    state = State(clock=clock)
    assert state.accept("key", [event("i1"), event("i2", "bob@example.com")]) == (2, 0)
    assert state.accept("other", [event("i3")]) == (1, 0)
    assert list(state.rows()) == [
        Row(0, "key", "ada@example.com", "c1", "i1", 7),
        Row(1, "key", "bob@example.com", "c1", "i2", 7),
        Row(2, "other", "ada@example.com", "c1", "i3", 7),
    ]
    assert [row.seq for row in state.rows(1, user_id="ada@example.com")] == [2]
    assert [row.insert_id for row in state.by_user()["ada@example.com"]] == ["i1", "i3"]
    assert list(state.insert_ids()) == ["i1", "i2", "i3"]
    assert state.per_api_key() == {"key": 2, "other": 1}
    assert (len(state), state.users()) == (3, 2)


def test_a_repeated_insert_id_counts_once_also_within_one_request(clock: Clock) -> None:
    state = State(clock=clock)
    assert state.accept("key", [event(), event()]) == (1, 1)
    assert state.accept("key", [event()]) == (0, 1)
    assert state.duplicates == 2
    assert len(state) == len(state.events) == 1


def test_the_insert_id_is_forgotten_after_seven_days(clock: Clock) -> None:
    state = State(clock=clock)
    state.accept("key", [event()])
    clock.now += WEEK - 1
    assert state.accept("key", [event()]) == (0, 1)
    clock.now += 1
    assert state.accept("key", [event()]) == (1, 0)
    clock.now += WEEK - 1
    assert state.accept("key", [event()]) == (0, 1)


def test_an_insert_id_counts_again_for_another_app_user_or_device(clock: Clock) -> None:
    state = State(clock=clock)
    versions = [
        event(),
        event(user_id="bob@example.com"),
        event(device_id="device-1"),
        event(user_id="bob@example.com", device_id="device-2"),
    ]
    assert state.accept("key", versions) == (4, 0)
    assert state.accept("other", versions) == (4, 0)
    assert state.accept("key", versions) == (0, 4)
    # The device decides where there is one: the user may change under it.
    assert state.accept("key", [event(user_id="eve@example.com", device_id="device-1")]) == (0, 1)


def test_events_without_insert_id_always_count_and_without_time_get_the_upload_time(clock: Clock) -> None:
    state = State(clock=clock, keep="ids")
    assert state.accept("key", [event(None, time=None), event(None, time=None), event("")]) == (3, 0)
    assert [row.time for row in state.rows()] == [1_600_000_000_000, 1_600_000_000_000, 7]
    assert state.events == []


@given(
    st.lists(
        st.tuples(
            st.sampled_from("ab"),
            st.sampled_from("xyz"),
            st.sampled_from(["u1", "u2"]),
            st.sampled_from([None, "d1", "d2"]),
            st.integers(0, WEEK),
        )
    )
)
def test_what_counts_agrees_with_a_dictionary(arrivals: list[tuple[str, str, str, str | None, int]]) -> None:
    clock = Clock()
    state = State(clock=clock, keep="ids")
    last: dict[tuple[str, str, str], float] = {}
    for key, insert_id, user, device, passed in arrivals:
        clock.now += passed
        identity = (key, insert_id, device or "user " + user)
        new = identity not in last or clock.now - last[identity] >= WEEK
        if new:
            last[identity] = clock.now
        assert state.accept(key, [event(insert_id, user, device_id=device)]) == (int(new), int(not new))


def test_a_journal_brings_back_proof_and_memory_after_a_kill(clock: Clock, tmp_path: Path) -> None:
    path = tmp_path / "journal"
    killed = State(clock=clock, keep="ids", journal=Journal(path))
    killed.accept("secret-key", [event("i1"), event("i2", "bob@example.com", device_id="device-1")])
    killed.accept("other", [event("i1")])
    before = list(killed.rows())
    with path.open("ab") as torn:
        torn.write(b'[3,"')
    assert b"secret-key" not in path.read_bytes()

    back = State(clock=clock, keep="ids", journal=Journal(path))
    assert [row._replace(api_key="") for row in back.rows()] == [row._replace(api_key="") for row in before]
    assert next(back.rows()).api_key == app_digest("secret-key")
    assert back.accept("secret-key", [event("i2", "bob@example.com", device_id="device-1"), event("i3")]) == (1, 1)
    assert [row.api_key for row in back.rows()] == ["secret-key", "secret-key", app_digest("other"), "secret-key"]


def test_lines_after_a_torn_one_are_read_too(clock: Clock, tmp_path: Path) -> None:
    path = tmp_path / "journal"
    State(clock=clock, journal=Journal(path)).accept("key", [event("i1")])
    with path.open("ab") as torn:
        torn.write(b'[1,"')
    State(clock=clock, journal=Journal(path)).accept("key", [event("i2")])
    assert [entry.insert_id for entry in read(path)] == ["i1", "i2"]


def test_a_reset_forgets_everything_but_requests_under_way(clock: Clock, tmp_path: Path) -> None:
    path = tmp_path / "journal"
    state = State(clock=clock, journal=Journal(path))
    state.enter()
    state.enter()
    state.leave(RequestSeen(0.0, "/batch", status=200))
    state.accept("key", [event()])
    state.reset()
    assert (len(state), state.duplicates, state.requests, state.in_flight, state.max_in_flight) == (0, 0, 0, 1, 1)
    assert path.read_bytes() == b""
    assert state.accept("key", [event()]) == (1, 0)


def test_the_ring_of_requests_is_bounded(clock: Clock) -> None:
    state = State(clock=clock, ring=2)
    for status in (200, 500, 429):
        state.enter()
        state.leave(RequestSeen(0.0, "/batch", status=status))
    assert [seen.status for seen in state.recent] == [500, 429]
    assert state.by_status == {200: 1, 500: 1, 429: 1}


def test_a_rate_is_an_average_over_its_window_and_refused_events_do_not_count() -> None:
    rates = Rates()
    now = 1000.0

    def send(user: str, count: int) -> dict[Any, int]:
        return rates.over("key", [event(user_id=user)] * count, eps=10, window=30.0, now=now)

    assert send("ada@example.com", 300) == {}
    assert send("ada@example.com", 60) == {("key", "user_id", "ada@example.com"): 12}
    assert send("bob@example.com", 300) == {}
    now += 29
    assert send("ada@example.com", 1)
    now += 1
    assert send("ada@example.com", 300) == {}
