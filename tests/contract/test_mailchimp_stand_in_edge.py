"""The Mailchimp stand-in's edge over HTTP: keys, problems, the limit of connections, and what goes wrong on the way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from sandbox.faults import Fault, FaultsCommand
from sandbox.mailchimp import API_KEY, AUDIENCE, Behaviour, MailchimpStandIn, membership, trouble
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


async def test_a_key_opens_as_basic_password_and_as_bearer_token(
    mailchimp: MailchimpStandIn, api: httpx.AsyncClient
) -> None:
    assert (await api.get("/3.0/ping")).json() == {"health_status": "Everything's Chimpy!"}
    async with httpx.AsyncClient(base_url=mailchimp.url) as bare:
        bearer = await bare.get("/3.0/ping", headers={"Authorization": f"Bearer {API_KEY}"})
        assert bearer.status_code == 200
        assert problem(await bare.get("/3.0/ping"))[:2] == (401, "API Key Missing")
        assert problem(await bare.get("/3.0/ping", auth=("x", "wrong-us6")))[:2] == (401, "API Key Invalid")


async def test_a_key_of_another_datacenter_is_403_and_names_its_own() -> None:
    async with MailchimpStandIn(["mine-us6"]) as mailchimp, httpx.AsyncClient(base_url=mailchimp.url) as http:
        mailchimp.api_keys.add("elsewhere-us14")
        answer = await http.get("/3.0/ping", auth=("x", "elsewhere-us14"))
        assert problem(answer) == (403, "Wrong Datacenter", "The API key provided is linked to datacenter 'us14'.")


async def test_a_disabled_account_is_403_with_json(mailchimp: MailchimpStandIn, api: httpx.AsyncClient) -> None:
    mailchimp.behaviour.account_disabled = True
    assert problem(await api.get("/3.0/lists"))[:2] == (403, "User Disabled")


async def test_unknown_paths_and_methods_are_problems_too(api: httpx.AsyncClient) -> None:
    unknown = await api.get("/3.0/lists/nope/members")
    assert problem(unknown) == (404, "Resource Not Found", "The requested resource could not be found.")
    async with httpx.AsyncClient(base_url=api.base_url, auth=("x", API_KEY)) as unchecked:
        assert problem(await unchecked.get("/3.0/nothing"))[0] == 404
        assert problem(await unchecked.put("/3.0/ping"))[:2] == (405, "Method Not Allowed")
        assert problem(await unchecked.post(f"{LISTS}/segments", content=b"{"))[:2] == (400, "JSON Parse Error")


async def test_an_error_can_be_triggered_by_header(api: httpx.AsyncClient) -> None:
    for name, status in (("TooManyRequests", 429), ("InternalServerError", 500), ("UnprocessableEntity", 422)):
        assert problem(await api.get("/3.0/ping", headers={"X-Trigger-Error": name}))[0] == status


async def test_an_answer_that_never_comes_may_still_have_happened(
    mailchimp: MailchimpStandIn, api: httpx.AsyncClient
) -> None:
    tag = await new_tag(api, "Trial")
    for fault in (trouble.SILENT, trouble.SILENT_BUT_DONE, trouble.BAD_GATEWAY_BUT_DONE):
        mailchimp.faults.queue(fault)
    silent = api.post(f"{LISTS}/segments/{tag}", json={"members_to_add": ["member1@example.com"]}, timeout=0.2)
    with pytest.raises(httpx.ReadTimeout):
        await silent
    assert mailchimp.audience.tagged("Trial") == set()
    with pytest.raises(httpx.ReadTimeout):
        await api.post(f"{LISTS}/segments/{tag}", json={"members_to_add": ["member2@example.com"]}, timeout=0.2)
    spoiled = await api.post(f"{LISTS}/segments/{tag}", json={"members_to_add": ["member3@example.com"]})
    assert (spoiled.status_code, spoiled.headers["content-type"]) == (502, "text/html")
    assert mailchimp.audience.tagged("Trial") == {"member2@example.com", "member3@example.com"}


async def test_the_journal_is_written_before_the_answer(tmp_path: Any) -> None:
    journal = tmp_path / "tags.jsonl"
    async with MailchimpStandIn(journal=journal) as mailchimp:
        mailchimp.audience.seed(3)
        mailchimp.faults.add(Fault(kind="reset", when="after", contains="members_to_add"))
        async with httpx.AsyncClient(base_url=mailchimp.url, auth=("x", API_KEY)) as http:
            tag = await new_tag(http, "Trial")
            with pytest.raises(httpx.TransportError):
                await http.post(f"{LISTS}/segments/{tag}", json={"members_to_add": ["member1@example.com"]})
        assert membership(journal) == {(AUDIENCE, "trial"): {"member1@example.com"}}


async def test_the_eleventh_connection_at_once_is_429_and_counted() -> None:
    async with MailchimpStandIn(latency=0.1, behaviour=Behaviour(hammered_after=2)) as mailchimp:
        limits = httpx.Limits(max_connections=20)
        async with httpx.AsyncClient(base_url=mailchimp.url, auth=("x", API_KEY), limits=limits) as http:
            answers = await asyncio.gather(*(http.get("/3.0/ping") for _ in range(14)))
            statuses = sorted(answer.status_code for answer in answers)
            assert statuses == [200] * 10 + [403] * 2 + [429] * 2
            refused = next(answer for answer in answers if answer.status_code == 429)
            assert problem(refused)[1:] == (
                "TooManyRequests",
                "You have exceeded the limit of 10 simultaneous connections.",
            )
            assert all(not answer.content for answer in answers if answer.status_code == 403)
            assert mailchimp.max_connections_seen == 11
            assert (await http.get("/3.0/ping")).status_code == 200
        assert mailchimp.in_flight == 0


async def test_rough_weather_is_the_same_for_the_same_seed() -> None:
    met: list[list[str]] = []
    for _ in range(2):
        async with (
            MailchimpStandIn() as mailchimp,
            httpx.AsyncClient(base_url=mailchimp.url, auth=("x", API_KEY)) as http,
        ):
            mailchimp.faults.apply(FaultsCommand(mix=trouble.rough_weather(0.5, seed=7)))
            weather: list[str] = []
            for _ in range(40):
                try:
                    weather.append(str((await http.get("/3.0/ping")).status_code))
                except httpx.TransportError:
                    weather.append("reset")
            met.append(weather)
    assert met[0] == met[1]
    assert set(met[0]) == {"200", "429", "403", "502", "504", "reset"}


async def test_it_holds_a_hundred_thousand_members() -> None:
    async with (
        MailchimpStandIn() as mailchimp,
        httpx.AsyncClient(base_url=mailchimp.url, auth=("x", API_KEY)) as http,
    ):
        mailchimp.audience.seed(100_000)
        tag = await new_tag(http, "Everyone", *(f"member{number}@example.com" for number in range(99_000, 100_000)))
        body = {
            "members_to_add": [f"member{number}@example.com" for number in range(500)],
            "members_to_remove": [f"member{number}@example.com" for number in range(99_000, 99_500)],
        }
        answer = (await http.post(f"{LISTS}/segments/{tag}", json=body)).json()
        assert (answer["total_added"], answer["total_removed"], answer["error_count"]) == (500, 500, 0)
        assert len(mailchimp.audience.tagged("Everyone")) == 1000
