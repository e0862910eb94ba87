"""The Mailchimp client without a socket: what is sent, what is made of answers, and how pages are read."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest

from vendors.mailchimp import (
    Mailchimp,
    subscriber_hash,
    tag_key,
)

KEY = "0123456789abcdef0123456789abcdef-us6"


def client(answer: Callable[[httpx.Request], httpx.Response], **more: Any) -> Mailchimp:
    more = {"api_key": KEY, **more}
    return Mailchimp("https://us6.api.mailchimp.com", transport=httpx.MockTransport(answer), **more)


def test_names_are_compared_by_casefold_and_contacts_by_hash() -> None:
    assert tag_key(" STRASSE ") == tag_key("Straße")
    assert subscriber_hash(" Urist.McVankab@Freddiesjokes.com ") == "62eeb292278cc15f5817cb78f7790b08"


async def test_a_key_is_sent_as_basic_password_and_a_token_as_bearer() -> None:
    seen: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers["authorization"])
        return httpx.Response(200, json={"health_status": "fine"})

    await client(answer).ping()
    await client(answer, access_token="token").ping()
    assert seen[0] == httpx.BasicAuth("listwire", KEY)._auth_header
    assert seen[1] == "Bearer token"


async def test_a_segment_call_names_who_was_added_removed_or_refused_in_lower_case() -> None:
    sent: list[Any] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append((request.url.path, json.loads(request.content)))
        return httpx.Response(
            200,
            json={
                "members_added": [{"id": "x", "email_address": "Ann@Example.com", "merge_fields": []}],
                "members_removed": [{"email_address": "bob@example.com"}],
                "errors": [{"email_addresses": [" Eve@example.com", "mal@example.com"], "error": "words"}],
                "total_added": 1,
                "total_removed": 1,
                "error_count": 2,
            },
        )

    async with client(answer) as mailchimp:
        done = await mailchimp.update_segment_members("aud", 7, ["ann@example.com"], ["bob@example.com"])
    assert sent == [
        ("/3.0/lists/aud/segments/7", {"members_to_add": ["ann@example.com"], "members_to_remove": ["bob@example.com"]})
    ]
    assert (done.added, done.removed) == (frozenset({"ann@example.com"}), frozenset({"bob@example.com"}))
    assert done.failed == {"eve@example.com": "words", "mal@example.com": "words"}
    assert (done.total_added, done.total_removed, done.error_count) == (1, 1, 2)


async def test_more_than_500_are_refused_before_anything_is_sent() -> None:
    async with client(lambda _: httpx.Response(500)) as mailchimp:
        with pytest.raises(ValueError, match="at most 500"):
            await mailchimp.update_segment_members("aud", 7, [], ["x@example.com"] * 501)


async def test_ids_and_addresses_cannot_walk_through_the_api() -> None:
    paths: list[bytes] = []

    def answer(request: httpx.Request) -> httpx.Response:
        paths.append(request.url.raw_path)
        return httpx.Response(200, json={"id": "x"})

    async with client(answer) as mailchimp:
        await mailchimp.list_("../lists?x=1")
    assert paths == [b"/3.0/lists/..%2Flists%3Fx%3D1"]


async def test_odd_values_in_an_answer_do_not_stop_the_reading() -> None:
    member: dict[str, Any] = {
        "id": "x",
        "email_address": "a@example.com",
        "web_id": "7",
        "status": None,
        "merge_fields": [],
    }
    async with client(lambda _: httpx.Response(200, json=member)) as mailchimp:
        found = await mailchimp.member("aud", "a@example.com")
    assert found is not None
    assert (found.web_id, found.status, found.merges) == (7, "", {})


class Directory:
    """Serves members in pages; `between` may change the list after each page."""

    def __init__(self, size: int, cap: int = 1000, *, total: bool = True) -> None:
        self.addresses = [f"m{number}@example.com" for number in range(size)]
        self.cap, self.total = cap, total
        self.between: Callable[[], None] = lambda: None
        self.asked: list[dict[str, list[str]]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        query = parse_qs(request.url.query.decode())
        self.asked.append(query)
        offset, count = int(query["offset"][0]), min(self.cap, int(query["count"][0]))
        shown = [{"id": address, "email_address": address} for address in self.addresses[offset : offset + count]]
        total = {"total_items": len(self.addresses)} if self.total else {}
        self.between()
        return httpx.Response(200, json={"members": shown, **total})


async def read(directory: Directory, **query: Any) -> list[str]:
    async with client(directory) as mailchimp:
        return [member.email_address async for member in mailchimp.members("aud", **query)]


@pytest.mark.parametrize("size", [0, 1, 999, 1000, 1001, 2950])
@pytest.mark.parametrize("total", [True, False])
async def test_every_member_is_read_once(size: int, total: bool) -> None:
    directory = Directory(size, total=total)
    assert await read(directory) == directory.addresses


async def test_pages_shorter_than_asked_for_are_not_taken_for_the_end() -> None:
    directory = Directory(230, cap=100)
    assert await read(directory) == directory.addresses


async def test_a_member_that_leaves_during_the_reading_hides_no_other() -> None:
    directory = Directory(3000)
    stayed = directory.addresses[30:]
    gone = iter(range(3))

    def leave() -> None:
        if next(gone, None) is not None:
            del directory.addresses[:10]

    directory.between = leave
    assert set(stayed) <= set(await read(directory))


async def test_members_are_asked_for_by_change_in_a_stable_order_with_the_needed_fields() -> None:
    directory = Directory(1)
    await read(directory, since_last_changed="2026-01-01T00:00:00+00:00", status="subscribed", fields=["email_address"])
    assert directory.asked == [
        {
            "since_last_changed": ["2026-01-01T00:00:00+00:00"],
            "status": ["subscribed"],
            "sort_field": ["last_changed"],
            "sort_dir": ["ASC"],
            "fields": ["total_items,members.id,members.email_address"],
            "count": ["1000"],
            "offset": ["0"],
        }
    ]


async def test_a_webhook_is_sent_with_every_switch() -> None:
    sent: list[Any] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(json.loads(request.content))
        return httpx.Response(200, json={"id": "w", **sent[-1], "signing_secret": "s"})

    async with client(answer) as mailchimp:
        made = await mailchimp.create_webhook("aud", "https://example.com", events=["subscribe"], sources=["user"])
        with pytest.raises(ValueError, match="no such webhook event or source: opens"):
            await mailchimp.create_webhook("aud", "https://example.com", events=["opens"], sources=[])
    assert [sorted(sent[0]["events"]), sorted(sent[0]["sources"])] == [
        ["campaign", "cleaned", "profile", "subscribe", "unsubscribe", "upemail"],
        ["admin", "api", "user"],
    ]
    assert made.fires(frozenset({"subscribe"}), frozenset({"user"}))
    assert not made.fires(frozenset({"subscribe", "unsubscribe"}), frozenset({"user"}))
    assert made.signing_secret == "s"
