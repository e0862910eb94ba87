"""A contact's history: what the stand-in tells of it, and how the client reads it. Times are set by the stand-in's clock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import mailchimp_marketing
import pytest

from sandbox.mailchimp import API_KEY, AUDIENCE, Happening, MailchimpStandIn
from tests.contract.mailchimp_shapes import check_shapes
from vendors.mailchimp import Mailchimp, subscriber_hash

NOON = 1_767_268_800.0  # 2026-01-01T12:00:00Z
ANN = "Ann@example.com"
FEED = f"/3.0/lists/{AUDIENCE}/members/{subscriber_hash(ANN)}/activity-feed"


class Stage:
    def __init__(self) -> None:
        self.now = NOON
        self.mailchimp = MailchimpStandIn(clock=lambda: self.now)

    def happens(self, what: Any, minute: int, address: str = ANN, **more: Any) -> None:
        self.now = NOON + minute * 60
        self.mailchimp.happen(Happening(what=what, email_address=address, **more))


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    found = Stage()
    async with found.mailchimp:
        yield found


@pytest.fixture
async def client(stage: Stage) -> AsyncIterator[Mailchimp]:
    async with Mailchimp(stage.mailchimp.url, api_key=API_KEY) as found:
        yield found


@pytest.fixture
async def api(stage: Stage) -> AsyncIterator[httpx.AsyncClient]:
    hooks: dict[str, list[Any]] = {"response": [check_shapes]}
    async with httpx.AsyncClient(base_url=stage.mailchimp.url, auth=("any", API_KEY), event_hooks=hooks) as http:
        yield http


async def test_the_feed_tells_when_somebody_came_and_left_the_newest_first(stage: Stage, client: Mailchimp) -> None:
    stage.happens("subscribe", 0)
    stage.happens("unsubscribe", 5, campaign_id="c1")
    stage.happens("subscribe", 9)
    stage.happens("unsubscribe", 11, source="admin")
    found = await client.activity(AUDIENCE, subscriber_hash(ANN))
    assert found is not None
    assert [
        (each.activity_type, each.created_at_timestamp[11:16], each.campaign_id, each.is_admin_unsubscribed)
        for each in found
    ] == [
        ("unsub", "12:11", "", True),
        ("website_signup", "12:09", "", None),
        ("unsub", "12:05", "c1", False),
        ("website_signup", "12:00", "", None),
    ]


async def test_of_a_stranger_there_is_no_feed(client: Mailchimp) -> None:
    assert await client.activity(AUDIENCE, subscriber_hash(ANN)) is None


async def test_a_long_feed_is_read_to_its_end(stage: Stage, client: Mailchimp) -> None:
    for minute in range(1001):
        stage.happens("subscribe" if minute % 2 == 0 else "unsubscribe", minute)
    found = await client.activity(AUDIENCE, subscriber_hash(ANN))
    assert found is not None
    assert len({each.created_at_timestamp for each in found}) == len(found) == 1001
    assert stage.mailchimp.calls[f"GET /3.0/lists/{AUDIENCE}/members/*/activity-feed 200"] == 2


async def test_the_feed_is_filtered_by_types_and_refuses_unknown_ones(stage: Stage, api: httpx.AsyncClient) -> None:
    stage.happens("subscribe", 0)
    stage.happens("unsubscribe", 1)
    answer = (await api.get(FEED, params={"activity_filters": "unsub,open"})).json()
    assert answer["activity"] == [
        {
            "activity_type": "unsub",
            "created_at_timestamp": "2026-01-01T12:01:00.000000+00:00",
            "campaign_id": "",
            "campaign_title": "",
            "is_admin_unsubscribed": False,
            "unsubscribe_reason": "None given",
        }
    ]
    assert (await api.get(FEED, params={"activity_filters": "unsubscribed"})).status_code == 400


async def test_the_vendors_own_client_reads_the_feed(stage: Stage) -> None:
    stage.happens("subscribe", 0, source="admin")
    sdk = mailchimp_marketing.Client({"api_key": API_KEY})
    sdk.api_client.host = stage.mailchimp.url + "/3.0"
    answer = await asyncio.to_thread(
        sdk.lists.get_list_member_activity_feed, AUDIENCE, subscriber_hash(ANN), activity_filters=["generic_signup"]
    )
    assert [each["signup_category"] for each in answer["activity"]] == ["manual_add"]


async def test_a_member_tells_how_it_came_and_a_profile_edit_hides_when_it_left(
    stage: Stage, client: Mailchimp
) -> None:
    stage.happens("subscribe", 0)
    stage.happens("unsubscribe", 3)
    stage.happens("profile", 7, merge_fields={"FNAME": "Ann"})
    member = await client.member(AUDIENCE, ANN)
    assert member is not None
    assert (member.status, member.source) == ("unsubscribed", "Hosted Signup Form")
    assert (member.timestamp_opt, member.last_changed) == ("2026-01-01T12:00:00+00:00", "2026-01-01T12:07:00+00:00")


async def test_members_come_in_the_order_of_their_changes_even_where_many_share_a_second(
    stage: Stage, client: Mailchimp
) -> None:
    for number in range(2100):
        stage.happens("subscribe", number // 700, f"p{number}@example.com")
    found = [each async for each in client.members(AUDIENCE, since_last_changed="2026-01-01T12:00:00+00:00")]
    assert len({each.id for each in found}) == len(found) == 1400
    assert [each.last_changed for each in found] == sorted(each.last_changed for each in found)


async def test_while_webhooks_are_off_changes_are_told_to_nobody(stage: Stage) -> None:
    stage.mailchimp.behaviour.send_webhooks = False
    stage.happens("subscribe", 0)
    assert not stage.mailchimp.deliveries
    assert stage.mailchimp.audience.member(ANN) is not None
