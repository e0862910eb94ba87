"""The Mailchimp client against the stand-in, over real connections: what it does, what fails and how, how fast it goes.

Every exchange is held against Mailchimp's shapes.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from listwire.errors import VendorError, VendorRefused, VendorRejected, VendorThrottled, VendorUnavailable
from sandbox.faults import Fault
from sandbox.mailchimp import API_KEY, AUDIENCE, Happening, MailchimpStandIn, trouble
from tests.contract.mailchimp_shapes import check_shapes
from vendors.mailchimp import (
    ConnectionLimit,
    Mailchimp,
    authorize_url,
    exchange_code,
    metadata,
    segment_gone,
    tag_exists,
    webhook_exists,
)


class Checked(httpx.AsyncHTTPTransport):
    """Every whole answer that passes here is checked; what breaks on the way is passed on."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        answer = await super().handle_async_request(request)
        content = b"".join([part async for part in answer.stream])  # type: ignore[union-attr]
        await answer.aclose()
        whole = httpx.Response(answer.status_code, headers=answer.headers, content=content, request=request)
        await check_shapes(whole)
        return whole


@pytest.fixture
async def stand_in() -> AsyncIterator[MailchimpStandIn]:
    async with MailchimpStandIn() as running:
        running.audience.seed(30)
        yield running


@pytest.fixture
async def mailchimp(stand_in: MailchimpStandIn) -> AsyncIterator[Mailchimp]:
    limit = ConnectionLimit(first_pause=0.01)
    async with Mailchimp(stand_in.url, api_key=API_KEY, limiter=limit, timeout=10, transport=Checked()) as client:
        yield client


async def refusal(call: Awaitable[Any]) -> VendorError:
    with pytest.raises(VendorError) as caught:
        await call
    assert API_KEY not in str(caught.value)
    return caught.value


async def test_audiences_and_members_are_read(stand_in: MailchimpStandIn, mailchimp: Mailchimp) -> None:
    await mailchimp.ping()
    assert [audience.id async for audience in mailchimp.lists()] == [AUDIENCE]
    assert (await mailchimp.list_(AUDIENCE)).stats.member_count == 30
    stand_in.audience.seed(2500, first=30)
    everyone = {member.email_address async for member in mailchimp.members(AUDIENCE)}
    assert everyone == {f"member{number}@example.com" for number in range(2530)}
    one = await mailchimp.member(AUDIENCE, " MEMBER7@example.com")
    assert one is not None
    assert one.email_address == "member7@example.com"
    assert len(one.unique_email_id) == 10


async def test_members_are_found_by_when_they_changed(stand_in: MailchimpStandIn, mailchimp: Mailchimp) -> None:
    for number, member in enumerate(stand_in.audience.members.values()):
        member.last_changed = 1_700_000_000 + number
    found = mailchimp.members(
        AUDIENCE, since_last_changed="2023-11-14T22:13:25+00:00", before_last_changed="2023-11-14T22:13:28+00:00"
    )
    assert [member.email_address async for member in found] == ["member6@example.com", "member7@example.com"]


async def test_who_is_no_member_is_none_and_an_archived_contact_says_so(
    stand_in: MailchimpStandIn, mailchimp: Mailchimp
) -> None:
    stand_in.happen(Happening(what="archive", email_address="member1@example.com"))
    assert await mailchimp.member(AUDIENCE, "stranger@example.com") is None
    archived = await mailchimp.member(AUDIENCE, "member1@example.com")
    assert archived is not None
    assert not archived.in_audience


async def test_a_tag_is_made_put_on_and_taken_off(stand_in: MailchimpStandIn, mailchimp: Mailchimp) -> None:
    tag = await mailchimp.create_segment(AUDIENCE, "Trial users")
    stand_in.happen(Happening(what="cleaned", email_address="member3@example.com"))
    first = await mailchimp.update_segment_members(
        AUDIENCE,
        tag.id,
        ["Member1@example.com", "member2@example.com", "member3@example.com", "stranger@example.com"],
        [],
    )
    assert first.added == frozenset({"member1@example.com", "member2@example.com"})
    assert list(first.failed) == ["member3@example.com"]
    second = await mailchimp.update_segment_members(AUDIENCE, tag.id, ["member2@example.com"], ["member1@example.com"])
    assert (second.added, second.removed) == (frozenset(), frozenset({"member1@example.com"}))
    stand_in.happen(Happening(what="unsubscribe", email_address="member2@example.com"))
    assert [member.email_address async for member in mailchimp.segment_members(AUDIENCE, tag.id)] == [
        "member2@example.com"
    ]
    assert [found.id for found in await mailchimp.tag_search(AUDIENCE, "trial")] == [tag.id]
    assert [found.name async for found in mailchimp.static_segments(AUDIENCE)] == ["Trial users"]
    await mailchimp.delete_segment(AUDIENCE, tag.id)
    assert await mailchimp.tag_search(AUDIENCE) == []


async def test_a_creation_race_is_lost_recognizably(stand_in: MailchimpStandIn, mailchimp: Mailchimp) -> None:
    stand_in.faults.latency = 0.02
    both = await asyncio.gather(
        *(mailchimp.create_segment(AUDIENCE, name) for name in ("Trial", "TRIAL")), return_exceptions=True
    )
    lost = [outcome for outcome in both if isinstance(outcome, Exception)]
    assert len(lost) == 1
    assert tag_exists(lost[0])


async def test_a_tag_that_is_gone_or_is_no_tag_is_recognized(stand_in: MailchimpStandIn, mailchimp: Mailchimp) -> None:
    tag = await mailchimp.create_segment(AUDIENCE, "Trial")
    stand_in.account.tags.delete(stand_in.audience, stand_in.audience.segments[tag.id], "by hand")
    saved = stand_in.account.tags.create_saved(stand_in.audience, "Saved", {"match": "any", "conditions": []})
    for segment in (tag.id, saved.id):
        error = await refusal(mailchimp.update_segment_members(AUDIENCE, segment, ["member1@example.com"], []))
        assert segment_gone(error)


async def test_webhooks_are_made_seen_changed_and_deleted(stand_in: MailchimpStandIn, mailchimp: Mailchimp) -> None:
    url = stand_in.url + "/_sandbox/state"  # anything that answers 200 to a GET
    events, sources = ["subscribe", "unsubscribe"], ["user", "admin"]
    made = await mailchimp.create_webhook(AUDIENCE, url, events=events, sources=sources)
    assert made.signing_secret
    assert made.fires(frozenset(events), frozenset(sources))
    again = await refusal(mailchimp.create_webhook(AUDIENCE, url + "?x=1", events=events, sources=sources))
    assert webhook_exists(again)
    broken = await refusal(mailchimp.create_webhook(AUDIENCE, stand_in.url + "/no", events=events, sources=sources))
    assert "We couldn't verify the URL is working" in broken.detail
    changed = await mailchimp.update_webhook(AUDIENCE, made.id, events=["subscribe"], sources=["user"])
    assert changed.fires(frozenset({"subscribe"}), frozenset({"user"}))
    assert [(webhook.id, webhook.signing_secret) for webhook in await mailchimp.webhooks(AUDIENCE)] == [(made.id, "")]
    await mailchimp.delete_webhook(AUDIENCE, made.id)
    assert await mailchimp.webhooks(AUDIENCE) == []


async def test_a_revoked_key_is_refused_until_it_is_back(stand_in: MailchimpStandIn, mailchimp: Mailchimp) -> None:
    stand_in.api_keys.clear()
    assert isinstance(await refusal(mailchimp.ping()), VendorRefused)
    stand_in.api_keys.add(API_KEY)
    await mailchimp.ping()
    stand_in.behaviour.account_disabled = True
    disabled = await refusal(mailchimp.list_(AUDIENCE))
    assert isinstance(disabled, VendorRefused)
    assert disabled.status == 403


@pytest.mark.parametrize(
    ("fault", "kind", "cause", "may_have_happened", "happened"),
    [
        (trouble.TOO_MANY, VendorThrottled, "429", False, False),
        (trouble.HAMMERED, VendorThrottled, "403", False, False),
        (trouble.BAD_GATEWAY, VendorUnavailable, "502", True, False),
        (trouble.BAD_GATEWAY_BUT_DONE, VendorUnavailable, "502", True, True),
        (trouble.GATEWAY_TIMEOUT_BUT_DONE, VendorUnavailable, "504", True, True),
        (trouble.problem("InternalServerError"), VendorUnavailable, "500", True, False),
        (trouble.RESET, VendorUnavailable, "reset", True, False),
        (trouble.RESET_BUT_DONE, VendorUnavailable, "reset", True, True),
        (Fault(kind="truncate", when="after"), VendorUnavailable, "reset", True, True),
        (trouble.SILENT, VendorUnavailable, "timeout", True, False),
        (trouble.SILENT_BUT_DONE, VendorUnavailable, "timeout", True, True),
        (Fault(kind="dribble", when="after", pause=0.05), VendorUnavailable, "timeout", True, True),
    ],
    ids=lambda value: value.label if isinstance(value, Fault) else "",
)
async def test_a_failure_says_whether_the_call_may_have_happened(
    stand_in: MailchimpStandIn,
    fault: Fault,
    kind: type[VendorUnavailable],
    cause: str,
    may_have_happened: bool,
    happened: bool,
) -> None:
    async with Mailchimp(stand_in.url, api_key=API_KEY, timeout=0.4) as mailchimp:
        tag = await mailchimp.create_segment(AUDIENCE, "Trial")
        stand_in.faults.queue(fault)
        error = await refusal(mailchimp.update_segment_members(AUDIENCE, tag.id, ["member1@example.com"], []))
    assert type(error) is kind
    assert isinstance(error, VendorUnavailable)
    assert (error.cause, error.may_have_happened) == (cause, may_have_happened)
    assert "<" not in error.detail
    assert stand_in.audience.tagged("Trial") == ({"member1@example.com"} if happened else set())


async def test_nobody_there_means_that_nothing_happened(stand_in: MailchimpStandIn) -> None:
    await stand_in.stop()
    async with Mailchimp(stand_in.url, api_key=API_KEY) as mailchimp:
        error = await refusal(mailchimp.ping())
    assert isinstance(error, VendorUnavailable)
    assert (error.cause, error.may_have_happened) == ("connect", False)


@pytest.mark.parametrize("name", ["BadRequest", "InvalidAction", "UnprocessableEntity", "MethodNotAllowed"])
async def test_what_is_wrong_with_the_content_is_rejected(
    stand_in: MailchimpStandIn, mailchimp: Mailchimp, name: str
) -> None:
    stand_in.faults.queue(trouble.problem(name))
    error = await refusal(mailchimp.list_(AUDIENCE))
    assert isinstance(error, VendorRejected)
    assert error.title.replace(" ", "") == name


async def until_it_works(call: Callable[[], Awaitable[Any]]) -> None:
    """The retry loop that the client does not have: the limit paces it."""
    while True:
        try:
            await call()
        except VendorUnavailable:
            continue
        return


async def test_never_more_than_ten_calls_are_under_way(stand_in: MailchimpStandIn) -> None:
    stand_in.faults.latency = 0.02
    async with Mailchimp(stand_in.url, api_key=API_KEY) as mailchimp:
        await asyncio.gather(*(mailchimp.ping() for _ in range(100)))
    assert 1 < stand_in.max_connections_seen <= 10
    assert stand_in.calls["GET /3.0/ping 200"] == 100


async def test_the_limit_falls_under_complaints_and_recovers_by_itself(stand_in: MailchimpStandIn) -> None:
    """Another program takes seven of the ten connections; later it gives them back."""
    stand_in.behaviour.max_connections = 3
    stand_in.faults.latency = 0.01
    moved: list[int] = []
    limit = ConnectionLimit(first_pause=0.01, longest_pause=0.02, dice=random.Random(1), changed=moved.append)
    async with Mailchimp(stand_in.url, api_key=API_KEY, limiter=limit) as mailchimp:
        await asyncio.gather(*(until_it_works(mailchimp.ping) for _ in range(60)))
        assert min(moved) <= 3
        assert stand_in.calls["GET /3.0/ping 429"] < 60
        stand_in.behaviour.max_connections = 10
        await asyncio.gather(*(until_it_works(mailchimp.ping) for _ in range(100)))
        assert mailchimp.limit.current == 10
    assert stand_in.max_connections_seen <= 10


async def test_ten_calls_that_are_never_answered_leave_room_for_the_next(stand_in: MailchimpStandIn) -> None:
    """The stand-in goes on counting a call whose caller has left, for a moment, as Mailchimp may."""
    limit = ConnectionLimit(first_pause=0.01, longest_pause=0.1)
    async with Mailchimp(stand_in.url, api_key=API_KEY, limiter=limit, timeout=0.5) as mailchimp:
        stand_in.faults.queue(*[trouble.SILENT] * 10)
        silent = await asyncio.gather(*(mailchimp.ping() for _ in range(10)), return_exceptions=True)
        assert {error.cause for error in silent if isinstance(error, VendorUnavailable)} == {"timeout"}
        assert limit.in_use == 0
        await asyncio.wait_for(until_it_works(mailchimp.ping), 30)


async def test_in_rough_weather_every_address_is_tagged_in_the_end(stand_in: MailchimpStandIn) -> None:
    limit = ConnectionLimit(first_pause=0.001, longest_pause=0.01)
    mix = trouble.rough_weather(0.3, seed=11)
    async with Mailchimp(stand_in.url, api_key=API_KEY, limiter=limit) as mailchimp:
        tag = await mailchimp.create_segment(AUDIENCE, "Trial")
        stand_in.faults.mix(mix.rate, mix.faults, seed=mix.seed)

        def tagging(number: int) -> Callable[[], Awaitable[Any]]:
            return lambda: mailchimp.update_segment_members(AUDIENCE, tag.id, [f"member{number}@example.com"], [])

        await asyncio.gather(*(until_it_works(tagging(number)) for number in range(30)))
    assert len(stand_in.audience.tagged("Trial")) == 30
    assert len(stand_in.faults.injected) > 3


async def test_an_account_is_connected_with_oauth(stand_in: MailchimpStandIn) -> None:
    back = "http://127.0.0.1:9/back"
    page = authorize_url("sandbox-client", back, "state&1", login_url=stand_in.url)
    async with httpx.AsyncClient() as person:
        assert (await person.get(page)).status_code == 200
        form = {name: values[0] for name, values in parse_qs(urlsplit(page).query).items()}
        allowed = await person.post(f"{stand_in.url}/oauth2/authorize", data=form)
    query = parse_qs(urlsplit(allowed.headers["location"]).query)
    assert query["state"] == ["state&1"]
    given = {"client_id": "sandbox-client", "client_secret": "sandbox-secret", "redirect_uri": back}
    token = await exchange_code(**given, code=query["code"][0], login_url=stand_in.url)  # type: ignore[arg-type]
    whose = await metadata(token, login_url=stand_in.url)
    assert (whose.dc, whose.accountname) == ("us6", "Sandbox")
    async with Mailchimp(whose.api_endpoint, access_token=token) as mailchimp:
        await mailchimp.ping()
    spent = await refusal(exchange_code(**given, code=query["code"][0], login_url=stand_in.url))  # type: ignore[arg-type]
    assert isinstance(spent, VendorRefused)
    revoked = await refusal(metadata("nonsense", login_url=stand_in.url))
    assert isinstance(revoked, VendorRefused)
