"""What goes wrong with Mailchimp, without a socket: which error each answer becomes, and that none holds a secret."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from listwire.errors import (
    SettingsError,
    VendorError,
    VendorRefused,
    VendorRejected,
    VendorThrottled,
    VendorUnavailable,
)
from vendors.mailchimp import (
    Mailchimp,
    authorize_url,
    base_url_for,
    exchange_code,
    metadata,
    not_found,
    segment_gone,
    tag_exists,
    webhook_exists,
)

KEY = "0123456789abcdef0123456789abcdef-us6"
HTML = "<html><body><h1>502 Bad Gateway</h1></body></html>"


def client(answer: Callable[[httpx.Request], httpx.Response], **more: Any) -> Mailchimp:
    more = {"api_key": KEY, **more}
    return Mailchimp("https://us6.api.mailchimp.com", transport=httpx.MockTransport(answer), **more)


def problem(status: int, title: str, detail: str, errors: list[dict[str, str]] | None = None) -> httpx.Response:
    body = {"type": "t", "title": title, "status": status, "detail": detail, "instance": "i"}
    return httpx.Response(status, json=body | ({"errors": errors} if errors else {}))


async def error_of(response: httpx.Response | Exception, **more: Any) -> VendorError:
    def answer(request: httpx.Request) -> httpx.Response:
        if isinstance(response, Exception):
            raise response
        return response

    async with client(answer, **more) as mailchimp:
        with pytest.raises(VendorError) as caught:
            await mailchimp.list_("a6b5da1054")
    return caught.value


@pytest.mark.parametrize("key", ["abc-us6", "us6", " x-y-us21 "])
def test_the_datacenter_is_the_end_of_the_key(key: str) -> None:
    assert base_url_for(key) in ("https://us6.api.mailchimp.com", "https://us21.api.mailchimp.com")


@pytest.mark.parametrize("key", ["abcdef", "abc-", "abc-us6.evil.example", "abc-us6/", "abc-US6", "abc-6us", "abc-us٦"])
def test_nothing_but_a_datacenter_becomes_a_host_and_the_key_is_not_repeated(key: str) -> None:
    with pytest.raises(SettingsError) as refused:
        base_url_for(key)
    assert key not in str(refused.value)


@pytest.mark.parametrize(
    ("response", "kind"),
    [
        (problem(401, "API Key Invalid", "no"), VendorRefused),
        (problem(403, "User Disabled", "no"), VendorRefused),
        (problem(426, "Upgrade Required", "no"), VendorRefused),
        (httpx.Response(301, headers={"location": "https://example.com"}), VendorRefused),
        (httpx.Response(403), VendorThrottled),
        (httpx.Response(403, text=HTML), VendorThrottled),
        (problem(429, "TooManyRequests", "no"), VendorThrottled),
        (httpx.Response(429, text=HTML), VendorThrottled),
        (problem(500, "Internal Server Error", "no"), VendorUnavailable),
        (httpx.Response(502, text=HTML), VendorUnavailable),
        (httpx.Response(504, text=HTML), VendorUnavailable),
        (httpx.Response(599), VendorUnavailable),
        (problem(409, "Conflict", "no"), VendorUnavailable),
        (httpx.Response(408), VendorUnavailable),
        (httpx.Response(404, text=HTML), VendorUnavailable),
        (httpx.Response(200, text=HTML), VendorUnavailable),
        (httpx.Response(200, json={"name": "no id"}), VendorUnavailable),
        (httpx.Response(200, content=b"{"), VendorUnavailable),
        (httpx.Response(200, content=b'{"id": "\xff"}'), VendorUnavailable),
        (httpx.Response(200, content=b"[" * 100_000), VendorUnavailable),
        (httpx.Response(500, content=b'{"detail": ' + b"[" * 100_000), VendorUnavailable),
        (problem(400, "Invalid Resource", "no"), VendorRejected),
        (problem(404, "Resource Not Found", "no"), VendorRejected),
        (problem(405, "Method Not Allowed", "no"), VendorRejected),
        (problem(422, "Unprocessable", "no"), VendorRejected),
        (httpx.Response(413, text=HTML), VendorRejected),
    ],
)
async def test_every_answer_becomes_one_of_our_errors(response: httpx.Response, kind: type[VendorError]) -> None:
    error = await error_of(response)
    assert type(error) is kind
    assert error.status == response.status_code
    assert "<html" not in str(error)
    if isinstance(error, VendorUnavailable):
        assert error.may_have_happened is (kind is VendorUnavailable)
        assert error.cause == ("unreadable" if response.status_code == 200 else str(response.status_code))


@pytest.mark.parametrize(
    ("fault", "cause", "may_have_happened"),
    [
        (httpx.ConnectError("refused"), "connect", False),
        (httpx.ConnectTimeout("slow"), "connect", False),
        (httpx.ReadTimeout("slow"), "timeout", True),
        (httpx.WriteTimeout("slow"), "timeout", True),
        (httpx.ReadError("reset"), "reset", True),
        (httpx.RemoteProtocolError("closed"), "reset", True),
        (httpx.DecodingError("bad gzip"), "reset", True),
    ],
)
async def test_no_answer_tells_whether_the_call_may_have_happened(
    fault: Exception, cause: str, may_have_happened: bool
) -> None:
    error = await error_of(fault)
    assert isinstance(error, VendorUnavailable)
    assert (error.status, error.cause, error.may_have_happened) == (0, cause, may_have_happened)


async def test_a_rejection_carries_mailchimps_title_words_and_fields() -> None:
    fields = [{"field": "url", "message": "Sorry, you can't set up multiple WebHooks for one URL"}]
    error = await error_of(problem(400, "Invalid Resource", "See errors.", fields))
    assert isinstance(error, VendorRejected)
    assert (error.title, error.errors) == ("Invalid Resource", fields)
    assert error.detail == "See errors. (url: Sorry, you can't set up multiple WebHooks for one URL)"
    assert webhook_exists(error)


async def test_the_predicates_know_their_errors_and_no_others() -> None:
    exists = await error_of(problem(400, "Bad Request", "Sorry, that tag already exists."))
    gone = await error_of(problem(404, "Resource Not Found", "The requested resource could not be found."))
    saved = await error_of(
        problem(400, "Bad Request", "A Static Segment with an id of 7 does not exist for this list.")
    )
    other = await error_of(problem(400, "Bad Request", "Something else."))
    unavailable = await error_of(httpx.Response(404, text=HTML))
    told = [
        (tag_exists(e), segment_gone(e), not_found(e), webhook_exists(e))
        for e in (exists, gone, saved, other, unavailable)
    ]
    nothing = (False, False, False, False)
    assert told == [
        (True, False, False, False),
        (False, True, True, False),
        (False, True, False, False),
        nothing,
        nothing,
    ]


@pytest.mark.parametrize("credentials", [{"api_key": KEY}, {"api_key": None, "access_token": "tok/en+1"}])
async def test_the_key_is_in_no_error_even_where_mailchimp_repeats_it(credentials: dict[str, Any]) -> None:
    secret = credentials["api_key"] or credentials["access_token"]

    def echo(request: httpx.Request) -> httpx.Response:
        said = request.headers["authorization"]
        if request.url.path.endswith("/ping"):
            raise httpx.ReadError(f"{secret} {said}")
        return problem(400, secret, f"{said} {secret}", [{"field": "key", "message": secret}])

    async with client(echo, **credentials) as mailchimp:
        for call in (mailchimp.ping, lambda: mailchimp.list_("x")):
            with pytest.raises(VendorError) as caught:
                await call()
            shown = f"{caught.value} {caught.value.args} {caught.value.__dict__} {caught.value!r}"
            assert secret not in shown
            assert "Basic " not in shown or "[redacted]" in shown
    assert secret not in repr(mailchimp)


def test_the_authorize_url_carries_state_and_no_secret() -> None:
    url = authorize_url("id", "http://127.0.0.1:8080/back?x=1", "st&te")
    assert url.startswith("https://login.mailchimp.com/oauth2/authorize?")
    assert parse_qs(urlsplit(url).query) == {
        "response_type": ["code"],
        "client_id": ["id"],
        "redirect_uri": ["http://127.0.0.1:8080/back?x=1"],
        "state": ["st&te"],
    }


@pytest.mark.parametrize(
    ("response", "kind"),
    [
        (httpx.Response(400, json={"error": "invalid_grant", "error_description": "c0de s3cret t0ken"}), VendorRefused),
        (httpx.Response(401, json={"error": "invalid_token"}), VendorRefused),
        (httpx.Response(200, json={"unexpected": 1}), VendorRefused),
        (httpx.Response(404, text=HTML), VendorRefused),
        (httpx.Response(503, text=HTML), VendorUnavailable),
        (httpx.ConnectError("c0de s3cret t0ken"), VendorUnavailable),
        (httpx.ReadTimeout("slow"), VendorUnavailable),
        (httpx.ReadError("reset"), VendorUnavailable),
    ],
)
async def test_a_failed_connection_says_why_and_no_secret(
    response: httpx.Response | Exception, kind: type[VendorError]
) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if isinstance(response, Exception):
            raise response
        return response

    transport = httpx.MockTransport(answer)
    with pytest.raises(kind) as token:
        await exchange_code(
            client_id="id",
            client_secret="s3cret",
            redirect_uri="http://127.0.0.1/back",
            code="c0de",
            transport=transport,
        )
    with pytest.raises(kind) as whose:
        await metadata("t0ken", transport=transport)
    assert "s3cret" not in str(token.value)
    assert "c0de" not in str(token.value)
    assert "t0ken" not in str(whose.value)
