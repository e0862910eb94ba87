"""Mailchimp's own Python SDK against the stand-in, and the stand-in's OAuth and control plane: what other programs see."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import mailchimp_marketing
import pytest
from mailchimp_marketing.api_client import ApiClientError

from listwire.errors import SandboxError
from sandbox.mailchimp import API_KEY, AUDIENCE, MailchimpStandIn
from tests.contract.mailchimp_shapes import SHAPES, fits
from tests.forked import Forked

GRANT = {"grant_type": "authorization_code", "client_id": "sandbox-client", "client_secret": "sandbox-secret"}
ASK = {
    "response_type": "code",
    "client_id": "sandbox-client",
    "redirect_uri": "http://127.0.0.1:9/back",
    "state": "s&1",
}


@pytest.fixture
async def mailchimp() -> AsyncIterator[MailchimpStandIn]:
    async with MailchimpStandIn() as running:
        running.audience.seed(30)
        yield running


@pytest.fixture
async def http(mailchimp: MailchimpStandIn) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=mailchimp.url) as client:
        yield client


def the_sdk(mailchimp: MailchimpStandIn, **credentials: str) -> Any:
    """The SDK writes the datacenter over the word `server` in its host; a stand-in's host has none."""
    client = mailchimp_marketing.Client(credentials or {"api_key": API_KEY})
    client.api_client.host = mailchimp.url + "/3.0"
    return client


def use_everything(sdk: Any) -> dict[str, Any]:
    lists, found = sdk.lists, {}
    found["GET /ping"] = sdk.ping.get()
    found["GET /lists"] = lists.get_all_lists(count=5)
    found["GET /lists/{list_id}"] = lists.get_list(AUDIENCE)
    found["GET /lists/{list_id}/members"] = lists.get_list_members_info(
        AUDIENCE, count=1000, since_last_changed="2015-10-21T15:41:36+00:00", status="subscribed"
    )
    new = {"email_address": "new@example.com", "status_if_new": "subscribed"}
    found["PUT /lists/{list_id}/members/{subscriber_hash}"] = lists.set_list_member(AUDIENCE, "new@example.com", new)
    found["GET /lists/{list_id}/members/{subscriber_hash}"] = lists.get_list_member(AUDIENCE, "new@example.com")
    tag = lists.create_segment(AUDIENCE, {"name": "Trial", "static_segment": []})
    found["POST /lists/{list_id}/segments"] = tag
    change = {
        "members_to_add": ["new@example.com", "member1@example.com"],
        "members_to_remove": ["member2@example.com"],
    }
    found["POST /lists/{list_id}/segments/{segment_id}"] = lists.batch_segment_members(change, AUDIENCE, tag["id"])
    found["GET /lists/{list_id}/segments"] = lists.list_segments(AUDIENCE, type="static", count=1000)
    found["GET /lists/{list_id}/segments/{segment_id}/members"] = lists.get_segment_members_list(AUDIENCE, tag["id"])
    found["GET /lists/{list_id}/tag-search"] = lists.tag_search(AUDIENCE, name="tri")
    found["GET /lists/{list_id}/members/{subscriber_hash}/tags"] = lists.get_list_member_tags(
        AUDIENCE, "new@example.com"
    )
    lists.update_list_member_tags(AUDIENCE, "member5@example.com", {"tags": [{"name": "Trial", "status": "active"}]})
    lists.delete_list_member(AUDIENCE, "member6@example.com")
    try:
        lists.create_segment(AUDIENCE, {"name": "trial", "static_segment": []})
    except ApiClientError as error:
        found["refused"] = (error.status_code, error.text)
    lists.delete_segment(AUDIENCE, tag["id"])
    return found


async def test_mailchimps_own_sdk_works_with_the_stand_in(mailchimp: MailchimpStandIn) -> None:
    found = await asyncio.to_thread(use_everything, the_sdk(mailchimp))
    status, words = found.pop("refused")
    assert status == 400
    assert "Sorry, that tag already exists." in words
    for called, answer in found.items():
        fits(answer, SHAPES[called][1], called)
    assert found["GET /lists/{list_id}/members"]["total_items"] == 30
    assert found["POST /lists/{list_id}/segments/{segment_id}"]["total_added"] == 2
    assert [t["name"] for t in found["GET /lists/{list_id}/members/{subscriber_hash}/tags"]["tags"]] == ["Trial"]
    assert mailchimp.audience.tag("Trial") is None


async def test_the_sdk_sees_its_errors(mailchimp: MailchimpStandIn) -> None:
    with pytest.raises(ApiClientError) as refused:
        await asyncio.to_thread(the_sdk(mailchimp, api_key="wrong-us6").ping.get)
    assert refused.value.status_code == 401
    assert "API Key Invalid" in str(refused.value.text)


async def test_a_shape_check_that_never_fails_would_be_worth_nothing() -> None:
    with pytest.raises(AssertionError, match="health_status is missing"):
        fits({}, SHAPES["GET /ping"][1])
    with pytest.raises(AssertionError):
        fits({"tags": [{"id": True, "name": "x"}], "total_items": 1}, SHAPES["GET /lists/{list_id}/tag-search"][1])


async def test_allowing_gives_a_code_that_becomes_a_token_that_opens_the_api(
    mailchimp: MailchimpStandIn, http: httpx.AsyncClient
) -> None:
    page = await http.get("/oauth2/authorize", params=ASK)
    assert 'id="allow"' in page.text
    assert 'value="s&amp;1"' in page.text
    back = await http.post("/oauth2/authorize", data=ASK)
    assert back.status_code == 302
    query = parse_qs(urlsplit(back.headers["location"]).query)
    assert query["state"] == ["s&1"]
    form = {**GRANT, "redirect_uri": ASK["redirect_uri"], "code": query["code"][0]}
    granted = (await http.post("/oauth2/token", data=form)).json()
    assert (granted["expires_in"], granted["scope"]) == (0, None)
    token = granted["access_token"]
    shown = (await http.get("/oauth2/metadata", headers={"Authorization": f"OAuth {token}"})).json()
    assert (shown["dc"], shown["api_endpoint"]) == ("us6", mailchimp.url)
    sdk = the_sdk(mailchimp, access_token=token, server="us6")
    assert (await asyncio.to_thread(sdk.ping.get))["health_status"]
    spent = await http.post("/oauth2/token", data=form)
    assert (spent.status_code, spent.json()["error"]) == (400, "invalid_grant")
    await http.post("/_sandbox/keys", json={"revoke": [token]})
    assert (await http.get("/3.0/ping", headers={"Authorization": f"Bearer {token}"})).status_code == 401
    assert (await http.get("/oauth2/metadata", headers={"Authorization": f"OAuth {token}"})).status_code == 401


@pytest.mark.parametrize(
    "wrong",
    [
        {"client_id": "nobody"},
        {"response_type": "token"},
        {"redirect_uri": "http://localhost:9/back"},
        {"redirect_uri": "javascript:alert(1)"},
    ],
)
async def test_a_wrong_authorization_request_is_refused(http: httpx.AsyncClient, wrong: dict[str, str]) -> None:
    for answer in (
        await http.get("/oauth2/authorize", params={**ASK, **wrong}),
        await http.post("/oauth2/authorize", data={**ASK, **wrong}),
    ):
        assert answer.status_code == 400
        assert "location" not in answer.headers


async def test_a_code_is_good_only_for_its_own_client_and_redirect(http: httpx.AsyncClient) -> None:
    await http.post(
        "/_sandbox/oauth-clients", json={"id": "other", "secret": "o", "redirect_uris": ["http://127.0.0.1:9/x"]}
    )
    back = await http.post("/oauth2/authorize", data=ASK)
    code = parse_qs(urlsplit(back.headers["location"]).query)["code"][0]
    wrong_secret = await http.post("/oauth2/token", data={**GRANT, "client_secret": "no", "code": code})
    assert wrong_secret.json()["error"] == "invalid_client"
    form = {**GRANT, "client_id": "other", "client_secret": "o", "redirect_uri": ASK["redirect_uri"], "code": code}
    assert (await http.post("/oauth2/token", data=form)).json()["error"] == "invalid_grant"
    assert (await http.get("/oauth2/authorize", params={**ASK, "client_id": "other"})).status_code == 400


async def test_another_process_can_see_and_steer_everything(
    mailchimp: MailchimpStandIn, http: httpx.AsyncClient
) -> None:
    audience = "/_sandbox/audiences/other"
    await http.post("/_sandbox/audiences", json={"id": "other", "name": "Other"})
    members = {
        "count": 100,
        "pattern": "m{}@example.com",
        "members": [{"email_address": "c@example.com", "compliance": True}],
    }
    assert (await http.post(audience + "/members", json=members)).json() == {"members": 101}
    happened = await http.post(
        audience + "/happenings", json={"what": "unsubscribe", "email_address": "m1@example.com"}
    )
    assert happened.status_code == 200
    member = mailchimp.audiences["other"].member("m1@example.com")
    assert member is not None
    assert member.status == "unsubscribed"
    await http.post(
        "/3.0/lists/other/segments", json={"name": "T", "static_segment": ["m2@example.com"]}, auth=("x", API_KEY)
    )
    assert (await http.get(audience + "/tags")).json() == {"tags": {"T": ["m2@example.com"]}}
    assert (await http.patch("/_sandbox/behaviour", json={"max_connections": 0})).status_code == 200
    assert (await http.get("/3.0/ping", auth=("x", API_KEY))).status_code == 429
    assert (await http.patch("/_sandbox/behaviour", json={"max_connections": 10, "nonsense": 1})).status_code == 400
    await http.patch("/_sandbox/behaviour", json={"max_connections": 10})
    await http.post("/_sandbox/faults", json={"add": [{"status": 502, "times": 1}]})
    assert (await http.get("/3.0/ping", auth=("x", API_KEY))).status_code == 502
    state = (await http.get("/_sandbox/state")).json()
    assert state["audiences"]["other"]["tags"] == {"T": 1}
    assert state["calls"]["GET /3.0/ping 429"] == 1
    assert (state["max_connections_seen"], state["in_flight"]) == (1, 0)
    assert [call["status"] for call in (await http.get("/_sandbox/calls")).json()["calls"]] == [200, 429, 502]
    assert (await http.post(audience + "/happenings", json={"what": "party"})).status_code == 400


@pytest.mark.parametrize(
    ("given", "taken", "refused"),
    [((), ["any-us9", "without", "mine-us1"], []), (("mine-us1", "plain"), ["mine-us1", "plain"], ["any-us1"])],
)
async def test_the_command_says_where_it_listens_and_ends_when_it_is_told(
    given: tuple[str, ...], taken: list[str], refused: list[str], tmp_path: Path
) -> None:
    options = [option for key in given for option in ("--api-key", key)]
    with (
        Path(os.devnull).open("rb") as none,
        (tmp_path / "out").open("wb") as out,
        (tmp_path / "err").open("wb") as err,
    ):
        process = Forked(
            ["sandbox", "mailchimp", *options], cwd=tmp_path, env=os.environ, stdin=none, stdout=out, stderr=err
        )
    async with asyncio.timeout(20):
        while not (url := (tmp_path / "out").read_text()).endswith("\n"):
            await asyncio.sleep(0.05)
    async with httpx.AsyncClient(base_url=url.strip()) as http:
        for keys, status in ((taken, 200), (refused, 401)):
            for key in keys:
                assert (await http.get(f"/3.0/lists/{AUDIENCE}", auth=("x", key))).status_code == status, key
    process.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(process.wait, 10) == 0
    assert (tmp_path / "err").read_text() == ""


async def test_a_port_that_is_taken_is_said(mailchimp: MailchimpStandIn) -> None:
    with pytest.raises(SandboxError, match="cannot listen on"):
        await MailchimpStandIn().start(port=int(mailchimp.url.rpartition(":")[2]))
