"""Whatever happened and whatever was lost: a backfill writes true events only, each once, and lists whom it cannot speak for."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from listwire.backfill.makers import Hook
from tests.unit.backfill_world import (
    EVERYBODY,
    HOUR,
    NOON,
    USERS,
    Fired,
    World,
    arrived,
    event,
    record,
    rules,
    with_field,
    written,
)

SINCE, UNTIL = NOON, NOON + 6 * HOUR
STEPS = st.tuples(
    st.sampled_from(["ann@example.com", "Bob+news@example.com", "c@example.com"]),
    st.sampled_from(["subscribe", "unsubscribe", "subscribe", "unsubscribe", "profile", "archive", "clean"]),
    st.sampled_from(["user", "user", "user", "admin", "api"]),
    # Not within seconds of each other: that is the other test.
    st.integers(20, 2 * HOUR),
)
BEHAVIOUR = st.fixed_dictionaries({
    "resubscribe_moves_opt": st.booleans(), "feed_shows_signups": st.booleans(), "archive_fires": st.booleans(),
    "unsubscribe_action": st.booleans(), "fired_at_lag": st.sampled_from([0.0, 0.0, 1.0, 2.0]),
})  # fmt: skip


def lived(
    hook: Hook, behaviour: dict[str, Any], steps: list[tuple[str, str, Any, int]], *, returns: bool = False
) -> World:
    """Who comes back from the archive leaves no trace of having been there: `returns` lets them."""
    world = World(hook, **behaviour)
    at = NOON - 3 * HOUR
    for address, what, source, after in steps:
        at += after
        member = world.audience.member(address)
        if what == "subscribe" and not returns and member is not None and member.status in {"archived", "cleaned"}:
            continue
        world.happens(what, at, address, source)
    return world


def stands_for(value: bytes, lost: Fired, lag: float) -> bool:
    sent, true = event(value), event(lost.value)
    seconds = (true["time"] - sent["time"]) / 1000
    return (
        (sent["event_type"], sent["user_id"]) == (true["event_type"], true["user_id"])
        and sent["event_properties"]["contact_id"] == true["event_properties"]["contact_id"]
        and seconds == lag
        and (lag != 0 or sent["insert_id"] == true["insert_id"])
    )


@settings(max_examples=250, deadline=None)
@given(
    hook=st.sampled_from([USERS, EVERYBODY]), behaviour=BEHAVIOUR, steps=st.lists(STEPS, max_size=14), data=st.data(),
    forgotten=st.booleans(), returns=st.booleans(),
)  # fmt: skip
def test_what_is_written_is_true_and_single_and_what_is_not_is_listed(
    hook: Hook,
    behaviour: dict[str, Any],
    steps: list[tuple[str, str, Any, int]],
    data: st.DataObject,
    forgotten: bool,
    returns: bool,
) -> None:
    world = lived(hook, behaviour, steps, returns=returns)
    asked = rules(SINCE, UNTIL, hook)
    lag = int(behaviour["fired_at_lag"])
    lost, came = [], []
    for fired in world.fired:
        if SINCE + lag <= fired.at < UNTIL + lag and data.draw(st.booleans()):
            lost.append(fired)
        elif fired.at >= SINCE or not forgotten:
            came.append(arrived(fired))
    made = world.backfill(came, asked)
    if behaviour["resubscribe_moves_opt"]:
        quick = world.backfill(came, replace(asked, quick=True))
        assert (quick.missed, quick.listed) == (made.missed, made.listed)

    bodies = [written(each).value or b"" for each in made.missed]
    left = list(lost)
    for value in bodies:
        true = [each for each in left if stands_for(value, each, lag)]
        assert len(true) == 1, "an event that was not missed"
        left.remove(true[0])
    listed = {each.contact.id for each in made.listed}
    for each in left:
        assert returns or each.contact in listed, f"{each.kind} at {each.at - NOON} is neither written nor listed"

    # Killed anywhere and run again: what it wrote is in the topic, and the rest comes once.
    kept = data.draw(st.integers(0, len(bodies)))
    again = world.backfill([*came, *map(written, made.missed[:kept])], asked)
    assert again.missed == made.missed[kept:]
    assert again.listed == made.listed
    # And then nothing more, also where the lost webhooks come after all.
    everything = [*came, *map(written, made.missed), *map(arrived, lost)]
    assert not world.backfill([*came, *map(written, made.missed)], asked).missed
    assert not world.backfill(everything, asked).missed


@settings(max_examples=150, deadline=None)
@given(
    steps=st.lists(st.tuples(st.sampled_from(["subscribe", "unsubscribe"]), st.integers(0, 12)), max_size=12),
    lag=st.sampled_from([0.0, 1.0, 2.0]), data=st.data(),
)  # fmt: skip
def test_even_within_seconds_nothing_is_written_that_came_or_never_was(
    steps: list[tuple[str, int]], lag: float, data: st.DataObject
) -> None:
    world = lived(USERS, {"fired_at_lag": lag}, [("ann@example.com", what, "user", after) for what, after in steps])
    start = NOON - 3 * HOUR
    lost = [fired for fired in world.fired if data.draw(st.booleans())]
    came = [arrived(fired) for fired in world.fired if fired not in lost]
    made = world.backfill(came, rules(start, UNTIL))
    moments = Counter((each.kind, each.at + int(lag)) for each in made.missed)
    assert moments <= Counter((each.kind, each.at) for each in world.fired)
    assert not world.backfill([*came, *map(written, made.missed)], rules(start, UNTIL)).missed
    if made.missed and lag == 0:
        assert moments <= Counter((each.kind, each.at) for each in lost)


@given(seconds=st.integers(-5, 5), kind=st.sampled_from(["subscribe", "unsubscribe"]))
def test_a_webhook_that_fired_a_few_seconds_beside_the_api_s_time_is_the_same_event(seconds: int, kind: str) -> None:
    world = World()
    world.happens("subscribe", NOON + HOUR)
    if kind == "unsubscribe":
        world.happens("unsubscribe", NOON + 2 * HOUR)
    at = f"2026-01-01 {'13:59' if seconds < 0 else '14:00'}:{seconds % 60:02d}"
    if kind == "subscribe":
        at = at.replace("14:", "13:") if seconds >= 0 else at.replace("13:59", "12:59")
    values = [fired.value for fired in world.fired]
    values[-1] = with_field(values[-1], "fired_at", at)
    made = world.backfill(map(record, values), rules())
    assert not made.missed
    assert not made.listed
