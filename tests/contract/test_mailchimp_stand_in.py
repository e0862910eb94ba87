"""The Mailchimp stand-in over HTTP: each answer as the vendor gives it, refusals included, every shape checked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from sandbox.mailchimp import API_KEY, AUDIENCE, MailchimpStandIn
from sandbox.mailchimp.rules import subscriber_hash
from tests.contract.mailchimp_shapes import check_shapes

LISTS = f"/3.0/lists/{AUDIENCE}"


@pytest.fixture
async def mailchimp() -> AsyncIterator[MailchimpStandIn]:
    async with MailchimpStandIn() as running:
        running.audience.seed(25, now=1_700_000_000)
        yield running


@pytest.fixture
async def api(mailchimp: MailchimpStandIn) -> AsyncIterator[httpx.AsyncClient]:
    hooks: dict[str, list[Any]] = {"response": [check_shapes]}
    async with httpx.AsyncClient(base_url=mailchimp.url, auth=("any", API_KEY), timeout=10, event_hooks=hooks) as http:
        yield http


def problem(response: httpx.Response) -> tuple[int, str, str]:
    assert response.headers["content-type"] == "application/problem+json; charset=utf-8"
    assert response.json()["instance"] == response.headers["x-request-id"]
    return response.status_code, response.json()["title"], response.json()["detail"]


async def new_tag(api: httpx.AsyncClient, name: str, *addresses: str) -> int:
    answer = await api.post(f"{LISTS}/segments", json={"name": name, "static_segment": list(addresses)})
    assert answer.status_code == 200, answer.text
    return int(answer.json()["id"])


async def test_audiences_are_listed_and_shown(api: httpx.AsyncClient) -> None:
    listed = (await api.get("/3.0/lists")).json()
    assert [audience["id"] for audience in listed["lists"]] == [AUDIENCE]
    assert (await api.get(LISTS)).json()["stats"]["member_count"] == 25


async def test_pages_are_ten_long_unless_asked_and_never_above_a_thousand(api: httpx.AsyncClient) -> None:
    first = (await api.get(f"{LISTS}/members")).json()
    assert (len(first["members"]), first["total_items"]) == (10, 25)
    last = (await api.get(f"{LISTS}/members", params={"count": 1000, "offset": 20})).json()
    assert [member["email_address"] for member in last["members"]] == [f"member{n}@example.com" for n in range(20, 25)]
    assert problem(await api.get(f"{LISTS}/members", params={"count": 1001}))[:2] == (400, "Invalid Resource")


async def test_fields_narrow_an_answer(api: httpx.AsyncClient) -> None:
    answer = await api.get(f"{LISTS}/members", params={"fields": "members.email_address,total_items", "count": 1})
    assert answer.json() == {"members": [{"email_address": "member0@example.com"}], "total_items": 25}


async def test_members_are_found_by_status_and_by_when_they_changed(
    mailchimp: MailchimpStandIn, api: httpx.AsyncClient
) -> None:
    member = mailchimp.audience.member("member3@example.com")
    assert member is not None
    member.status, member.last_changed = "unsubscribed", 1_700_000_060.9
    at = "2023-11-14T22:14:20+00:00"  # the member's own second: neither after nor before it
    for query, found in (
        ({"status": "unsubscribed"}, 1),
        ({"status": "cleaned"}, 0),
        ({"since_last_changed": "2023-11-14T22:14:19+00:00"}, 1),
        ({"since_last_changed": at}, 0),
        ({"before_last_changed": at}, 24),
        ({"before_last_changed": "2023-11-14T22:14:21Z"}, 25),
    ):
        assert (await api.get(f"{LISTS}/members", params=query)).json()["total_items"] == found, query
    assert problem(await api.get(f"{LISTS}/members", params={"since_last_changed": "soon"}))[0] == 400


async def test_a_member_is_found_by_hash_address_and_contact_id(api: httpx.AsyncClient) -> None:
    key = subscriber_hash("member1@example.com")
    member = (await api.get(f"{LISTS}/members/{key}")).json()
    for reference in ("Member1@Example.com", member["contact_id"]):
        assert (await api.get(f"{LISTS}/members/{reference}")).json()["id"] == key
    assert problem(await api.get(f"{LISTS}/members/{subscriber_hash('nobody@example.com')}"))[0] == 404


async def test_put_creates_with_status_if_new_and_never_resubscribes_by_it(api: httpx.AsyncClient) -> None:
    path = f"{LISTS}/members/{subscriber_hash('new@example.com')}"
    body = {"email_address": "new@example.com", "status_if_new": "subscribed", "merge_fields": {"FNAME": "Zoë"}}
    assert problem(await api.put(path, json={"email_address": "new@example.com"}))[0] == 400
    made = (await api.put(path, json=body)).json()
    assert (made["status"], made["merge_fields"]["FNAME"]) == ("subscribed", "Zoë")
    assert (await api.patch(path, json={"status": "unsubscribed"})).json()["status"] == "unsubscribed"
    assert (await api.put(path, json=body)).json()["status"] == "unsubscribed"
    assert problem(
        await api.post(f"{LISTS}/members", json={"email_address": "new@example.com", "status": "subscribed"})
    )[1] == ("Member Exists")
    assert problem(await api.put(path, json={**body, "status": "archived"}))[:2] == (400, "Invalid Resource")


async def test_compliance_forgotten_and_fake_addresses_are_refused_for_good(
    mailchimp: MailchimpStandIn, api: httpx.AsyncClient
) -> None:
    doubtful = mailchimp.audience.member("member1@example.com")
    assert doubtful is not None
    doubtful.status, doubtful.compliance = "unsubscribed", True
    refused = await api.patch(f"{LISTS}/members/{doubtful.id}", json={"status": "subscribed"})
    assert problem(refused)[:2] == (400, "Member In Compliance State")
    forget = f"{LISTS}/members/{subscriber_hash('member2@example.com')}/actions/delete-permanent"
    assert (await api.post(forget)).status_code == 204
    again = {"email_address": "member2@example.com", "status": "subscribed"}
    assert problem(await api.post(f"{LISTS}/members", json=again))[1] == "Forgotten Email Not Subscribed"
    fake = await api.post(f"{LISTS}/members", json={"email_address": "fake", "status": "subscribed"})
    assert fake.json()["errors"][0]["message"] == "Please provide a valid email address."


async def test_delete_archives_and_what_is_bounced_or_archived_cannot_be_removed(
    mailchimp: MailchimpStandIn, api: httpx.AsyncClient
) -> None:
    path = f"{LISTS}/members/{subscriber_hash('member1@example.com')}"
    assert (await api.delete(path)).status_code == 204
    assert (await api.get(path)).json()["status"] == "archived"
    assert (await api.get(f"{LISTS}/members")).json()["total_items"] == 24
    assert problem(await api.delete(path)) == (
        405,
        "Method Not Allowed",
        "This list member cannot be removed.  Please contact support.",
    )


async def test_a_tag_is_created_once_whoever_asks_first(mailchimp: MailchimpStandIn, api: httpx.AsyncClient) -> None:
    mailchimp.faults.latency = 0.02
    both = await asyncio.gather(
        *(api.post(f"{LISTS}/segments", json={"name": name, "static_segment": []}) for name in ("Trial", "TRIAL"))
    )
    assert sorted(answer.status_code for answer in both) == [200, 400]
    refused = next(answer for answer in both if answer.status_code == 400)
    assert problem(refused) == (400, "Bad Request", "Sorry, that tag already exists.")


async def test_a_segment_is_static_or_saved_and_never_both(api: httpx.AsyncClient) -> None:
    neither = await api.post(f"{LISTS}/segments", json={"name": "T"})
    assert problem(neither)[2] == 'Must provide either an "options" field or a "static_segment" field'
    options = {"match": "any", "conditions": []}
    assert (
        await api.post(f"{LISTS}/segments", json={"name": "T", "options": options, "static_segment": []})
    ).status_code == 400
    saved = (await api.post(f"{LISTS}/segments", json={"name": "Saved", "options": options})).json()
    await new_tag(api, "Tag")
    static = (await api.get(f"{LISTS}/segments", params={"type": "static"})).json()
    assert [segment["name"] for segment in static["segments"]] == ["Tag"]
    misled = await api.post(f"{LISTS}/segments/{saved['id']}", json={"members_to_add": ["member1@example.com"]})
    assert problem(misled)[2] == f"A Static Segment with an id of {saved['id']} does not exist for this list."


async def test_tag_search_finds_by_prefix_without_regard_to_case(api: httpx.AsyncClient) -> None:
    for name in ("Trial users", "trial ended", "Paying"):
        await new_tag(api, name)
    found = (await api.get(f"{LISTS}/tag-search", params={"name": "TRIAL"})).json()
    assert [tag["name"] for tag in found["tags"]] == ["Trial users", "trial ended"]
    assert (await api.get(f"{LISTS}/tag-search")).json()["total_items"] == 3


async def test_a_new_tag_may_take_a_while_to_show_up(mailchimp: MailchimpStandIn, api: httpx.AsyncClient) -> None:
    mailchimp.behaviour.tag_visible_after = 3600
    await new_tag(api, "Trial")
    assert (await api.get(f"{LISTS}/tag-search", params={"name": "Trial"})).json()["total_items"] == 0
    again = await api.post(f"{LISTS}/segments", json={"name": "Trial", "static_segment": []})
    assert again.status_code == 400


async def test_a_batch_adds_removes_and_names_errors_in_one_answer(
    mailchimp: MailchimpStandIn, api: httpx.AsyncClient
) -> None:
    tag = await new_tag(api, "Trial", "member1@example.com")
    body = {
        "members_to_add": ["member2@example.com", "stranger@example.com", "junk"],
        "members_to_remove": ["member1@example.com"],
    }
    answer = (await api.post(f"{LISTS}/segments/{tag}", json=body)).json()
    assert [member["email_address"] for member in answer["members_added"]] == ["member2@example.com"]
    assert answer["members_added"][0]["tags"] == [{"id": tag, "name": "Trial"}]
    assert (answer["total_added"], answer["total_removed"], answer["error_count"]) == (1, 1, 1)
    assert answer["errors"] == [{"email_addresses": ["junk"], "error": "Please provide a valid email address."}]
    assert mailchimp.audience.tagged("Trial") == {"member2@example.com"}
    carriers = (await api.get(f"{LISTS}/segments/{tag}/members")).json()
    assert [member["email_address"] for member in carriers["members"]] == ["member2@example.com"]
    assert (await api.get(f"{LISTS}/members/member2@example.com/tags")).json()["tags"][0]["name"] == "Trial"


async def test_more_than_500_and_wrong_types_are_refused_by_name(api: httpx.AsyncClient) -> None:
    tag = await new_tag(api, "Trial")
    many = [f"m{number}@example.com" for number in range(501)]
    assert problem(await api.post(f"{LISTS}/segments/{tag}", json={"members_to_remove": many})) == (
        400,
        "Invalid Resource",
        "Maximum allowed member items exceeded, please provide at most 500 items in members_to_add field or members_to_remove field",
    )
    typed = await api.post(f"{LISTS}/segments/{tag}", json={"members_to_add": ["a@example.com", 7]})
    assert typed.json()["errors"] == [
        {"field": "members_to_add.1", "message": "Schema describes string, integer found instead"}
    ]


async def test_a_tag_deleted_by_hand_is_404_from_then_on(mailchimp: MailchimpStandIn, api: httpx.AsyncClient) -> None:
    tag = await new_tag(api, "Trial")
    async with httpx.AsyncClient(base_url=mailchimp.url) as person:
        assert (await person.delete(f"/_sandbox/audiences/{AUDIENCE}/tags/TRIAL")).status_code == 200
    assert problem(await api.post(f"{LISTS}/segments/{tag}", json={"members_to_add": []}))[0] == 404
    assert problem(await api.get(f"{LISTS}/segments/{tag}"))[0] == 404


async def test_a_segment_can_be_renamed_emptied_and_deleted(api: httpx.AsyncClient) -> None:
    tag, other = await new_tag(api, "Trial", "member1@example.com"), await new_tag(api, "Other")
    assert problem(await api.patch(f"{LISTS}/segments/{tag}", json={"name": "OTHER"}))[0] == 400
    emptied = (await api.patch(f"{LISTS}/segments/{tag}", json={"name": "Ended", "static_segment": []})).json()
    assert (emptied["name"], emptied["member_count"]) == ("Ended", 0)
    assert (await api.delete(f"{LISTS}/segments/{other}")).status_code == 204
    assert problem(await api.delete(f"{LISTS}/segments/{other}"))[0] == 404


async def test_a_members_own_tags_are_set_and_unset(mailchimp: MailchimpStandIn, api: httpx.AsyncClient) -> None:
    path = f"{LISTS}/members/{subscriber_hash('member1@example.com')}/tags"
    wanted = [{"name": "Trial", "status": "active"}, {"name": "Never there", "status": "inactive"}]
    assert (await api.post(path, json={"tags": wanted})).status_code == 204
    assert mailchimp.audience.tagged("Trial") == {"member1@example.com"}
    assert mailchimp.audience.tag("Never there") is None
    assert (await api.post(path, json={"tags": [{"name": "trial", "status": "inactive"}]})).status_code == 204
    assert mailchimp.audience.tagged("Trial") == set()
    unknown = await api.post(f"{LISTS}/members/{subscriber_hash('x@example.com')}/tags", json={"tags": wanted})
    assert problem(unknown)[:2] == (404, "Resource Not Found")
