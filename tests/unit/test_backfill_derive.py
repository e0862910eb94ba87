"""Single cases of what a record, a feed and the topic say together: which event is written, which is listed and why."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from listwire.backfill.contact import Contact, Entry, Maker
from listwire.backfill.derive import Missed, Rules, Verdict, Why, derive, needs_history
from listwire.backfill.form import body
from listwire.backfill.heard import Heard, Topic, read
from listwire.backfill.makers import Hook
from listwire.backfill.plan import ids_differ
from listwire.backfill.reach import Reach, known_since
from listwire.backfill.times import Zone, instant
from stream.codecs.mailchimp_webhook import Event, Webhooks
from tests.unit.backfill_world import AUDIENCE, EVERYBODY, HOUR, NOON, USERS, World, arrived, event, record, rules

ID, OTHER = "94826aa750", "1111111111"
ADDRESS = "ann@example.com"


def contact(**fields: Any) -> Contact:
    made = Contact(
        hash="a" * 32, id=ID, address=ADDRESS, web_id="7", status="subscribed", opted=NOON + HOUR, signed_up=None,
        changed=NOON + 5 * HOUR, source="Hosted Signup Form", email_type="html",
    )  # fmt: skip
    return replace(made, **fields)


def left(at: int, **fields: Any) -> Entry:
    return Entry("unsub", at, **{"by_admin": False, **fields})


def heard(kind: str, at: int, **fields: Any) -> Heard:
    made = Heard(kind, at, ID, "7", ADDRESS)
    return replace(made, **fields)


def written(verdict: Verdict) -> list[tuple[str, int]]:
    return [(each.kind, each.at) for each in verdict.missed]


def why(verdict: Verdict) -> list[tuple[str, Why]]:
    return [(each.kind, each.why) for each in verdict.listed]


def test_a_new_subscriber_is_written_at_the_second_of_the_opt_in() -> None:
    verdict = derive(contact(), [], [], rules())
    assert written(verdict) == [("subscribe", NOON + HOUR)]
    assert verdict.missed[0].fired_at == "2026-01-01 13:00:00"
    assert not verdict.listed


def test_a_profile_edit_after_leaving_does_not_move_the_unsubscribe() -> None:
    someone = contact(status="unsubscribed", opted=NOON - HOUR, changed=NOON + 9 * HOUR)
    verdict = derive(someone, [left(NOON + 2 * HOUR, campaign_id="c1")], [], rules())
    assert written(verdict) == [("unsubscribe", NOON + 2 * HOUR)]
    assert verdict.missed[0].campaign_id == "c1"
    assert not verdict.listed


def test_whoever_has_left_without_a_trace_in_the_feed_is_listed_between_the_times_that_bound_it() -> None:
    someone = contact(status="unsubscribed", opted=NOON - HOUR, changed=NOON + 3 * HOUR)
    (listed,) = derive(someone, [], [], rules()).listed
    assert (listed.kind, listed.why) == ("unsubscribe", Why.TIME_UNKNOWN)
    assert (listed.after, listed.before) == (NOON - HOUR, NOON + 3 * HOUR + 5)


def test_who_left_and_came_back_twice_misses_the_first_coming_only() -> None:
    someone = contact(opted=NOON + 4 * HOUR)
    feed = [left(NOON + 3 * HOUR), left(NOON + HOUR)]
    verdict = derive(someone, feed, [], rules())
    assert sorted(written(verdict), key=lambda each: each[1]) == [
        ("unsubscribe", NOON + HOUR), ("unsubscribe", NOON + 3 * HOUR), ("subscribe", NOON + 4 * HOUR),
    ]  # fmt: skip
    assert why(verdict) == [("subscribe", Why.TIME_UNKNOWN)] * 2


def test_a_sign_up_from_before_explains_whom_the_first_leaving_left() -> None:
    someone = contact(opted=NOON + 4 * HOUR)
    feed = [left(NOON + 3 * HOUR), Entry("website_signup", NOON - 9 * HOUR)]
    assert derive(someone, feed, [], rules()).listed == []
    assert derive(replace(someone, signed_up=NOON - HOUR), feed[:1], [], rules()).listed == []


@pytest.mark.parametrize("status", ["unsubscribed", "cleaned", "pending", "archived"])
def test_an_address_that_was_imported_as_something_else_has_not_subscribed(status: str) -> None:
    verdict = derive(contact(status=status, source="Admin Add"), [], [], rules(hook=EVERYBODY))
    assert not verdict.missed
    assert ("subscribe", Why.TIME_DOUBTFUL) in why(verdict)


def test_a_cleaned_contact_that_came_by_a_form_had_subscribed_and_makes_no_other_event() -> None:
    verdict = derive(contact(status="cleaned"), [], [], rules())
    assert written(verdict) == [("subscribe", NOON + HOUR)]
    assert not verdict.listed


def test_a_transactional_contact_makes_none() -> None:
    assert derive(contact(status="transactional"), [], [], rules()) == Verdict()
    assert not needs_history(contact(status="transactional"), [], rules())


def test_an_archived_contact_is_listed_unless_its_webhook_came() -> None:
    someone = contact(status="archived", opted=NOON - HOUR, changed=NOON + HOUR)
    assert why(derive(someone, [], [], rules())) == [("unsubscribe", Why.ARCHIVED)]
    assert not derive(someone, [], [heard("unsubscribe", NOON + HOUR, action="delete")], rules()).listed
    # An edit may have moved the change since, so that it is later does not clear it; that it is earlier does.
    assert derive(replace(someone, changed=NOON + 30 * HOUR), [], [], rules()).listed
    assert not derive(replace(someone, changed=NOON - 10), [], [], rules()).listed


@pytest.mark.parametrize(
    ("entry", "hook", "what"),
    [
        (left(NOON + HOUR), USERS, "written"),
        (left(NOON + HOUR, by_admin=True), USERS, "untold"),
        (left(NOON + HOUR, by_admin=True), EVERYBODY, "written"),
        (left(NOON + HOUR, by_admin=True), Hook(USERS.events, frozenset({"user", "admin"})), "listed"),
        (left(NOON + HOUR, by_admin=None), USERS, "listed"),
        (left(NOON + HOUR, by_admin=None, campaign_id="c"), USERS, "written"),
        (left(NOON + HOUR), Hook(frozenset({"subscribe"}), USERS.sources), "untold"),
        (left(NOON + HOUR), Hook(USERS.events, frozenset()), "untold"),
    ],
)
def test_an_unsubscribe_counts_as_missed_only_where_the_webhook_is_told_of_it(
    entry: Entry, hook: Hook, what: str
) -> None:
    verdict = derive(contact(status="unsubscribed", opted=NOON - HOUR), [entry], [], rules(hook=hook))
    found = {"written": bool(verdict.missed), "untold": bool(verdict.untold), "listed": bool(verdict.listed)}
    assert [name for name, so in found.items() if so] == [what]


@pytest.mark.parametrize(
    ("source", "hook", "feed", "what"),
    [
        ("API - Generic", USERS, [], "time_doubtful"),
        ("API - Generic", USERS, [Entry("generic_signup", NOON + HOUR)], "maker_unknown"),
        ("API - Generic", USERS, [Entry("website_signup", NOON + HOUR)], "written"),
        ("API - Generic", EVERYBODY, [Entry("generic_signup", NOON + HOUR + 3)], "written"),
        ("API - Generic", EVERYBODY, [Entry("generic_signup", NOON - HOUR)], "time_doubtful"),
        ("Admin Add", USERS, [], "untold"),
        ("Unknown", USERS, [], "maker_unknown"),
        ("", EVERYBODY, [], "written"),
        ("Embed Form", USERS, [], "written"),
    ],
)
def test_a_subscribe_counts_as_missed_only_where_the_webhook_is_told_of_it(
    source: str, hook: Hook, feed: list[Entry], what: str
) -> None:
    verdict = derive(contact(source=source), feed, [], rules(hook=hook))
    found = (
        ["written"] * bool(verdict.missed) + ["untold"] * verdict.untold + [str(each.why) for each in verdict.listed]
    )
    assert found == [what]


def test_any_maker_takes_whom_nobody_can_name() -> None:
    assert written(derive(contact(source="Unknown"), [], [], rules(any_maker=True))) == [("subscribe", NOON + HOUR)]
    assert not derive(contact(source="Admin Add"), [], [], rules(any_maker=True)).missed


def test_a_contact_who_left_by_themselves_can_only_come_back_by_themselves() -> None:
    someone = contact(source="API - Generic", opted=NOON + 3 * HOUR)
    assert ("subscribe", NOON + 3 * HOUR) in written(derive(someone, [left(NOON + HOUR)], [], rules()))
    by_admin = derive(someone, [left(NOON + HOUR, by_admin=True)], [], rules())
    assert ("subscribe", Why.MAKER_UNKNOWN) in why(by_admin)


@pytest.mark.parametrize(("action", "again"), [("unsub", True), ("delete", False), ("", False)])
def test_a_webhook_of_leaving_tells_who_can_bring_back(action: str, again: bool) -> None:
    someone = contact(source="Admin Add", opted=NOON + 3 * HOUR)
    verdict = derive(someone, [], [heard("unsubscribe", NOON + HOUR, action=action)], rules())
    assert (("subscribe", NOON + 3 * HOUR) in written(verdict)) is again
    assert (("subscribe", Why.MAKER_UNKNOWN) in why(verdict)) is not again


def test_young_changes_are_left_to_mailchimp() -> None:
    verdict = derive(contact(opted=NOON + 25 * HOUR), [], [], rules())
    assert (verdict.missed, verdict.listed, verdict.young) == ([], [], 1)


def test_a_webhook_minutes_beside_it_may_be_the_same_and_one_hours_before_is_not() -> None:
    near = derive(contact(), [], [heard("subscribe", NOON + HOUR + 60)], rules())
    assert (written(near), why(near)) == ([], [("subscribe", Why.NEAR_WEBHOOK)])
    far = derive(
        contact(opted=NOON + 4 * HOUR, source="Embed Form"), [], [heard("subscribe", NOON)], rules(hook=EVERYBODY)
    )
    assert written(far) == [("subscribe", NOON + 4 * HOUR)]
    assert why(far) == [("unsubscribe", Why.TIME_UNKNOWN)]


def test_a_leaving_in_between_tells_two_comings_apart_however_near() -> None:
    feed = [left(NOON + HOUR + 30)]
    verdict = derive(contact(opted=NOON + HOUR + 60), feed, [heard("subscribe", NOON + HOUR)], rules())
    assert written(verdict) == [("unsubscribe", NOON + HOUR + 30), ("subscribe", NOON + HOUR + 60)]


def test_two_within_seconds_and_one_webhook_are_listed_both() -> None:
    feed = [left(NOON + HOUR), left(NOON + HOUR + 4)]
    someone = contact(status="unsubscribed", opted=NOON - HOUR)
    verdict = derive(someone, feed, [heard("unsubscribe", NOON + HOUR + 2)], rules())
    assert not verdict.missed
    assert why(verdict).count(("unsubscribe", Why.TOO_CLOSE)) == 2


def test_after_a_change_of_address_the_id_of_that_time_is_not_known() -> None:
    before = heard("subscribe", NOON - HOUR, contact=OTHER, address="old@example.com")
    someone = contact(status="unsubscribed", opted=NOON - HOUR)
    verdict = derive(someone, [left(NOON + HOUR)], [before], rules())
    assert (written(verdict), why(verdict)) == ([], [("unsubscribe", Why.ADDRESS_CHANGED)])
    since_then = derive(someone, [left(NOON + 3 * HOUR)], [before, Heard("upemail", NOON + HOUR, ID)], rules())
    assert written(since_then) == [("unsubscribe", NOON + 3 * HOUR)]


def test_an_old_address_s_webhook_is_still_the_same_contact_s() -> None:
    came = heard("subscribe", NOON + HOUR, contact=OTHER, address="old@example.com")
    assert not derive(contact(), [], [came], rules()).missed


def test_webhooks_with_another_id_for_the_same_address_stop_everything() -> None:
    someone = contact(status="unsubscribed", opted=NOON - HOUR)
    verdict = derive(someone, [left(NOON + HOUR)], [heard("subscribe", NOON - HOUR, contact=OTHER)], rules())
    assert why(verdict) == [("unsubscribe", Why.ID_DIFFERS)]
    topic = Topic("newsletter", AUDIENCE, Zone("UTC"), [someone])
    assert not ids_differ([someone], topic)
    form = (
        f"type=subscribe&fired_at=2026-01-01+10:00:00&data[id]={OTHER}&data[email]={ADDRESS}&data[list_id]={AUDIENCE}"
    )
    topic.add(record(form.encode()))
    assert ids_differ([someone], topic)
    topic.add(record(form.replace(OTHER, ID).encode()))
    assert not ids_differ([someone], topic)


@pytest.mark.parametrize("fields", [{"id": ""}, {"address": ""}, {"address": "no-at"}])
def test_without_an_id_or_an_address_there_is_no_webhook_to_write(fields: dict[str, str]) -> None:
    assert why(derive(contact(**fields), [], [], rules())) == [("subscribe", Why.NO_ID)]


def test_without_a_history_the_contact_is_listed() -> None:
    assert ("", Why.NO_HISTORY) in why(derive(contact(status="unsubscribed", opted=None), None, [], rules()))


def test_quick_asks_for_no_history_of_mere_profile_edits() -> None:
    quick = rules(quick=True)
    old = contact(opted=NOON - 9 * HOUR)
    assert not needs_history(old, [], quick)
    assert needs_history(old, [], rules())
    assert needs_history(old, [heard("unsubscribe", NOON - HOUR)], quick)
    assert needs_history(contact(), [], quick)
    assert needs_history(contact(status="unsubscribed"), [], quick)


# The body, and the zone ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["subscribe", "unsubscribe"])
def test_the_body_is_read_as_the_event_of_the_webhook_that_never_came(what: str) -> None:
    world = World()
    world.happens("subscribe", NOON + HOUR, "Ann+news@Example.com")
    if what == "unsubscribe":
        world.happens("unsubscribe", NOON + 2 * HOUR, "Ann+news@Example.com")
    *came, lost = world.fired
    (missed,) = world.backfill(map(arrived, came), rules()).missed
    true, made = event(lost.value), event(body(missed, AUDIENCE))
    assert true["event_properties"].pop("reason", "manual") == "manual"
    assert made == true


def test_merge_fields_are_spelt_as_webhooks_spell_them() -> None:
    merges = {"FNAME": "Ann & Co", "ADDRESS": {"addr1": "1 Street", "country": "GB"}, "AGE": 7, "OK": True, "NO": None}
    missed = Missed(contact(merges=merges), "subscribe", NOON, "2026-01-01 12:00:00")
    webhooks = Webhooks("newsletter", AUDIENCE, ("merge:AGE", "email"), "UTC", tuple(merges))
    found = webhooks.reader()(body(missed, AUDIENCE))
    assert isinstance(found, Event)
    assert json.loads(found.body)["event_properties"]["merge_fields"] == {
        "FNAME": "Ann & Co", "ADDRESS": {"addr1": "1 Street", "country": "GB"}, "AGE": "7", "OK": "1",
    }  # fmt: skip


def test_fired_at_stands_in_the_source_s_zone_also_in_the_hour_that_comes_twice() -> None:
    berlin = Zone("Europe/Berlin")
    summer, winter = 1_792_888_200, 1_792_891_800  # 2026-10-25, 00:30 and 01:30 UTC: 02:30 both
    assert berlin.fired_at(summer) == berlin.fired_at(winter) == "2026-10-25 02:30:00"
    asked = Rules(summer - HOUR, winter + HOUR, berlin, USERS)
    someone = contact(opted=winter, changed=winter)
    (missed,) = derive(someone, [], [], asked).missed
    assert missed.fired_at == "2026-10-25 02:30:00"
    came = read(record(body(missed, AUDIENCE)), "newsletter", AUDIENCE, berlin)
    assert came is not None
    assert not derive(someone, [], [came], asked).missed


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2026-01-01T12:00:00+00:00", NOON),
        ("2026-01-01T12:00:00.999000+00:00", NOON),
        ("2026-01-01T14:00:00+02:00", NOON),
        ("2026-01-01T12:00:00Z", NOON),
        ("2026-01-01 12:00:00", NOON),
        ("", None),
        ("soon", None),
        ("0000-00-00 00:00:00", None),
        ("1970-01-01T00:00:00+00:00", None),
        ("0001-01-01T00:00:00+23:00", None),
    ],
)
def test_the_api_s_times(text: str, at: int | None) -> None:
    assert instant(text) == at


def test_who_came_by_what() -> None:
    assert [contact(source=text).came_by for text in ("API - Generic", "Admin Add", "List Import from CSV", "Embed Form")] == [
        Maker.API, Maker.ADMIN, Maker.ADMIN, Maker.USER,
    ]  # fmt: skip
    assert contact(source="").came_by is Maker.UNKNOWN


# What the topic holds -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "form",
    [
        "",
        "no form",
        "type=subscribe",
        f"type=subscribe&fired_at=soon&data[id]=1&data[list_id]={AUDIENCE}",
        "a=%ff&type=%ff",
    ],
)
def test_what_is_no_webhook_of_the_source_is_passed_over(form: str) -> None:
    assert read(record(form.encode()), "newsletter", AUDIENCE, Zone("UTC")) is None


def test_another_source_s_webhooks_and_another_audience_s_do_not_count() -> None:
    form = f"type=subscribe&fired_at=2026-01-01+13:00:00&data[id]={ID}&data[email]={ADDRESS}&data[list_id]={AUDIENCE}"
    assert read(record(form.encode()), "newsletter", AUDIENCE, Zone("UTC")) == Heard(
        "subscribe", NOON + HOUR, ID, "", ADDRESS
    )
    assert read(record(form.encode()), "second", AUDIENCE, Zone("UTC")) is None
    assert read(record(form.replace(AUDIENCE, "b").encode()), "newsletter", AUDIENCE, Zone("UTC")) is None


def test_others_are_passed_over_unread_and_whoever_may_be_meant_is_not() -> None:
    world = World()
    world.happens("subscribe", NOON + HOUR)
    world.happens("subscribe", NOON + HOUR, "bob@example.com")
    (ann, bob), _ = world.told(NOON)
    topic = Topic("newsletter", AUDIENCE, Zone("UTC"), [ann])
    for fired in world.fired:
        topic.add(arrived(fired))
    assert [each.address for each in topic.of(ann)] == ["ann@example.com"]
    assert topic.of(bob) == []
    # Another spelling, another id, no web id: each is read.
    value = world.fired[0].value
    for other in (
        value.replace(b"%5Bid%5D", b"[id]").replace(b"13%3A00", b"14%3A00"),
        value.replace(ann.id.encode(), OTHER.encode()).replace(b"13%3A00", b"15%3A00"),
        value.replace(ann.id.encode(), OTHER.encode())
        .replace(b"data%5Bweb_id%5D", b"x")
        .replace(b"13%3A00", b"16%3A00"),
    ):
        topic.add(record(other))
    assert [(each.at - NOON) // HOUR for each in topic.of(ann)] == [1, 2, 3, 4]


DAY = 86_400_000


@pytest.mark.parametrize(
    ("partitions", "retention", "since"),
    [
        ([], 7 * DAY, None),
        ([Reach(cut=False, oldest=None)], 7 * DAY, None),
        ([Reach(cut=False, oldest=50), Reach(cut=False, oldest=90)], 7 * DAY, 50),
        # What retention by time alone has deleted is older than it.
        ([Reach(cut=True, oldest=9 * DAY), Reach(cut=False, oldest=50)], 7 * DAY, 3 * DAY),
        ([Reach(cut=True, oldest=2 * DAY)], 7 * DAY, 2 * DAY),
        ([Reach(cut=True, oldest=None)], 7 * DAY, 3 * DAY),
        # Limited in bytes, or kept for ever and deleted by hand: nobody knows.
        ([Reach(cut=True, oldest=9 * DAY), Reach(cut=True, oldest=8 * DAY)], None, 9 * DAY),
        ([Reach(cut=True, oldest=9 * DAY)], -1, 9 * DAY),
        ([Reach(cut=True, oldest=None)], None, 10 * DAY),
    ],
)
def test_how_far_back_the_topic_is_complete(partitions: list[Reach], retention: int | None, since: int | None) -> None:
    assert known_since(partitions, 10 * DAY, retention) == since
