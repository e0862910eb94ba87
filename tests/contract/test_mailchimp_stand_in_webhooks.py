"""The Mailchimp stand-in's webhooks over HTTP: how they are saved, what they send, and how they are retried and dropped."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qsl

import httpx
import pytest
from aiohttp import web

from sandbox.mailchimp import API_KEY, AUDIENCE, Behaviour, Happening, MailchimpStandIn
from sandbox.mailchimp.rules import RETRY_MINUTES
from tests.contract.mailchimp_shapes import check_shapes

WEBHOOKS = f"/3.0/lists/{AUDIENCE}/webhooks"
ALL_EVENTS = dict.fromkeys(("subscribe", "unsubscribe", "profile", "cleaned", "upemail", "campaign"), True)


class Receiver:
    """Takes webhooks; `answers` are the statuses to give, the last one for ever."""

    def __init__(self) -> None:
        self.answers: list[int] = [204]
        self.validated: list[str] = []
        self.got: list[tuple[dict[str, str], bytes, str]] = []
        self.delay = 0.0
        self.url = ""

    async def get(self, request: web.Request) -> web.Response:
        assert not request.query_string
        self.validated.append(request.headers["User-Agent"])
        return web.Response(status=404 if request.path.endswith("/missing") else 200)

    async def post(self, request: web.Request) -> web.Response:
        body = await request.read()
        assert request.content_type == "application/x-www-form-urlencoded"
        assert request.headers["User-Agent"] == "MailChimp.com"
        await asyncio.sleep(self.delay)
        form = dict(parse_qsl(body.decode(), keep_blank_values=True))
        self.got.append((form, body, request.headers.get("X-Mailchimp-Signature", "")))
        return web.Response(status=self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver, app = Receiver(), web.Application()
    app.router.add_get("/{path:.*}", receiver.get)
    app.router.add_post("/{path:.*}", receiver.post)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    yield receiver
    await runner.cleanup()


@pytest.fixture
async def mailchimp() -> AsyncIterator[MailchimpStandIn]:
    async with MailchimpStandIn(behaviour=Behaviour(webhook_time_scale=0.00001)) as running:
        running.audience.seed(5)
        yield running


@pytest.fixture
async def api(mailchimp: MailchimpStandIn) -> AsyncIterator[httpx.AsyncClient]:
    hooks: dict[str, list[Any]] = {"response": [check_shapes]}
    async with httpx.AsyncClient(base_url=mailchimp.url, auth=("any", API_KEY), event_hooks=hooks) as http:
        yield http


def body_for(url: str, *, api_source: bool = False) -> dict[str, Any]:
    return {"url": url, "events": ALL_EVENTS, "sources": {"user": True, "admin": True, "api": api_source}}


async def test_a_url_is_validated_with_a_bare_get_before_it_is_saved(
    api: httpx.AsyncClient, receiver: Receiver
) -> None:
    made = await api.post(WEBHOOKS, json=body_for(receiver.url))
    assert made.status_code == 200
    assert receiver.validated == ["MailChimp.com WebHook Validator"]
    missing = await api.post(WEBHOOKS, json=body_for(receiver.url + "/missing"))
    words = "We couldn't verify the URL is working. Please double check and try again. HTTP Code: 404"
    assert (missing.status_code, missing.json()["errors"]) == (400, [{"field": "url", "message": words}])
    nobody = await api.post(WEBHOOKS, json=body_for("http://127.0.0.1:1/nobody"))
    assert nobody.json()["errors"][0]["message"].endswith("HTTP Code: 0")
    assert (await api.post(WEBHOOKS, json=body_for("ftp://example.com"))).status_code == 400


@pytest.mark.parametrize("suffix", ["", "?secret=1"])
async def test_a_url_is_saved_once_even_where_only_the_query_differs(
    api: httpx.AsyncClient, receiver: Receiver, suffix: str
) -> None:
    await api.post(WEBHOOKS, json=body_for(receiver.url))
    again = await api.post(WEBHOOKS, json=body_for(receiver.url + suffix))
    assert (again.status_code, again.json()["title"]) == (400, "Invalid Resource")
    assert again.json()["errors"][0]["message"] == "Sorry, you can't set up multiple WebHooks for one URL"


async def test_the_signing_secret_is_shown_once(api: httpx.AsyncClient, receiver: Receiver) -> None:
    made = (await api.post(WEBHOOKS, json=body_for(receiver.url))).json()
    assert made["signing_enabled"] is True
    assert made["signing_secret"]
    shown = (await api.get(f"{WEBHOOKS}/{made['id']}")).json()
    assert (shown["signing_enabled"], shown["signing_secret"]) == (True, "")
    listed = (await api.get(WEBHOOKS)).json()
    assert [webhook["signing_secret"] for webhook in listed["webhooks"]] == [""]


async def test_a_webhook_is_changed_and_deleted(api: httpx.AsyncClient, receiver: Receiver) -> None:
    made = (await api.post(WEBHOOKS, json=body_for(receiver.url))).json()
    changed = await api.patch(
        f"{WEBHOOKS}/{made['id']}", json={"url": receiver.url + "/2", "events": {**ALL_EVENTS, "campaign": False}}
    )
    assert changed.json()["url"] == receiver.url + "/2"
    assert changed.json()["events"] == {**ALL_EVENTS, "campaign": False}
    assert len(receiver.validated) == 2
    assert (await api.delete(f"{WEBHOOKS}/{made['id']}")).status_code == 204
    assert (await api.get(f"{WEBHOOKS}/{made['id']}")).status_code == 404


async def test_what_people_do_is_sent_signed_and_in_mailchimps_form(
    mailchimp: MailchimpStandIn, api: httpx.AsyncClient, receiver: Receiver
) -> None:
    made = (await api.post(WEBHOOKS, json=body_for(receiver.url))).json()
    mailchimp.happen(Happening(what="subscribe", email_address="New@example.com", merge_fields={"FNAME": "Zoë"}))
    mailchimp.happen(
        Happening(what="unsubscribe", email_address="member1@example.com", source="admin", campaign_id="cb398d21d2")
    )
    mailchimp.happen(Happening(what="profile", email_address="member2@example.com", merge_fields={"LNAME": "Long"}))
    mailchimp.happen(Happening(what="upemail", email_address="member3@example.com", new_address="moved@example.com"))
    mailchimp.happen(Happening(what="cleaned", email_address="member4@example.com", campaign_id="cb398d21d2"))
    mailchimp.happen(Happening(what="campaign", campaign_id="cb398d21d2", subject="Hello"))
    await mailchimp.webhooks_settled()
    by_type = {form["type"]: form for form, _, _ in receiver.got}
    assert sorted(form["type"] for form, _, _ in receiver.got) == sorted([*by_type, "profile"])
    assert by_type["subscribe"]["data[email]"] == "New@example.com"
    assert by_type["subscribe"]["data[merges][FNAME]"] == "Zoë"
    assert by_type["unsubscribe"]["data[action]"] == "unsub"
    assert by_type["unsubscribe"]["data[campaign_id]"] == "cb398d21d2"
    assert by_type["upemail"]["data[old_email]"] == "member3@example.com"
    assert by_type["cleaned"]["data[reason]"] == "hard"
    assert {form["data[list_id]"] for form, _, _ in receiver.got} == {AUDIENCE}
    for _, body, header in receiver.got:
        at, _, digest = header.removeprefix("t=").partition(",v1=")
        assert (
            digest == hmac.new(made["signing_secret"].encode(), at.encode() + b"." + body, hashlib.sha256).hexdigest()
        )


async def test_calls_fire_only_where_the_webhook_wants_the_api_as_source(
    mailchimp: MailchimpStandIn, api: httpx.AsyncClient, receiver: Receiver
) -> None:
    await api.post(WEBHOOKS, json=body_for(receiver.url))
    await api.post(WEBHOOKS, json=body_for(receiver.url + "/echo", api_source=True))
    await api.post(f"/3.0/lists/{AUDIENCE}/members", json={"email_address": "new@example.com", "status": "subscribed"})
    await api.post(
        f"/3.0/lists/{AUDIENCE}/members/member1@example.com/tags", json={"tags": [{"name": "T", "status": "active"}]}
    )
    await mailchimp.webhooks_settled()
    assert [(delivery.event, delivery.url) for delivery in mailchimp.deliveries] == [
        ("subscribe", receiver.url + "/echo")
    ]


async def test_an_old_webhook_is_unsigned(
    mailchimp: MailchimpStandIn, api: httpx.AsyncClient, receiver: Receiver
) -> None:
    mailchimp.behaviour.signing = False
    made = (await api.post(WEBHOOKS, json=body_for(receiver.url))).json()
    assert (made["signing_enabled"], made["signing_secret"]) == (False, "")
    mailchimp.happen(Happening(what="unsubscribe", email_address="member1@example.com"))
    await mailchimp.webhooks_settled()
    assert [header for _, _, header in receiver.got] == [""]


async def test_a_refused_webhook_is_retried_with_the_same_body(
    mailchimp: MailchimpStandIn, api: httpx.AsyncClient, receiver: Receiver
) -> None:
    await api.post(WEBHOOKS, json=body_for(receiver.url))
    receiver.answers = [500, 404, 302, 204]
    mailchimp.happen(Happening(what="unsubscribe", email_address="member1@example.com"))
    await mailchimp.webhooks_settled()
    assert [delivery.statuses for delivery in mailchimp.deliveries] == [[500, 404, 302, 204]]
    assert len({body for _, body, _ in receiver.got}) == 1


async def test_a_webhook_that_answers_too_late_is_sent_again(
    mailchimp: MailchimpStandIn, api: httpx.AsyncClient, receiver: Receiver
) -> None:
    await api.post(WEBHOOKS, json=body_for(receiver.url))
    mailchimp.behaviour.webhook_timeout = receiver.delay = 0.1
    receiver.delay = 0.3
    mailchimp.happen(Happening(what="unsubscribe", email_address="member1@example.com"))
    while not mailchimp.deliveries[0].statuses:
        await asyncio.sleep(0.01)
    receiver.delay, mailchimp.behaviour.webhook_timeout = 0.0, 10.0
    await mailchimp.webhooks_settled()
    assert mailchimp.deliveries[0].statuses[0] == 0
    assert mailchimp.deliveries[0].outcome == "delivered"


async def test_after_75_minutes_it_is_given_up_and_the_webhook_may_be_dropped(
    mailchimp: MailchimpStandIn, api: httpx.AsyncClient, receiver: Receiver
) -> None:
    await api.post(WEBHOOKS, json=body_for(receiver.url))
    mailchimp.behaviour.drop_webhook_after = 1
    receiver.answers = [500]
    mailchimp.happen(Happening(what="unsubscribe", email_address="member1@example.com"))
    await mailchimp.webhooks_settled()
    assert mailchimp.deliveries[0].statuses == [500] * (1 + len(RETRY_MINUTES))
    assert mailchimp.deliveries[0].outcome == "given_up"
    assert (await api.get(WEBHOOKS)).json()["webhooks"] == []


async def test_410_ends_a_webhook_at_once(
    mailchimp: MailchimpStandIn, api: httpx.AsyncClient, receiver: Receiver
) -> None:
    await api.post(WEBHOOKS, json=body_for(receiver.url))
    receiver.answers = [410]
    mailchimp.happen(Happening(what="unsubscribe", email_address="member1@example.com"))
    await mailchimp.webhooks_settled()
    mailchimp.happen(Happening(what="unsubscribe", email_address="member2@example.com"))
    await mailchimp.webhooks_settled()
    assert [delivery.statuses for delivery in mailchimp.deliveries] == [[410]]


async def test_what_is_undocumented_about_firing_can_be_turned(
    mailchimp: MailchimpStandIn, api: httpx.AsyncClient, receiver: Receiver
) -> None:
    await api.post(WEBHOOKS, json=body_for(receiver.url, api_source=True))
    behaviour = mailchimp.behaviour
    behaviour.resubscribe_fires, behaviour.unsubscribe_action, behaviour.archive_fires = "profile", False, True
    mailchimp.happen(Happening(what="unsubscribe", email_address="member1@example.com"))
    mailchimp.happen(Happening(what="subscribe", email_address="member1@example.com"))
    await api.delete(f"/3.0/lists/{AUDIENCE}/members/member2@example.com")
    await mailchimp.webhooks_settled()
    sent = [(form["type"], form.get("data[action]")) for form, _, _ in receiver.got]
    assert sorted(sent, key=str) == [("profile", None), ("unsubscribe", "delete"), ("unsubscribe", None)]
