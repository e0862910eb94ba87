"""The contract's table of the ingress, row by row, over real HTTP against a real Kafka."""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from listwire import topics
from tests.ingress_process import (
    ALL_SECRETS,
    AWKWARD,
    COHORTS,
    FORM,
    HOOK,
    JSON,
    SIGNED,
    SIGNING,
    Ingress,
    raw,
    record,
    whole,
)
from tests.webhook_bodies import SUBSCRIBE

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(120), pytest.mark.xdist_group("ingress http")]


@pytest.fixture(scope="module")
def ingress(bootstrap: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ingress]:
    with whole(tmp_path_factory.mktemp("ingress"), bootstrap) as found:
        yield found
        for worker in (found.process.pid, *found.workers()):
            arguments = Path(f"/proc/{worker}/cmdline").read_bytes().decode()
            assert not [secret for secret in ALL_SECRETS if secret in arguments]


@pytest.fixture
def client(ingress: Ingress) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=ingress.url, timeout=15) as found:
        yield found


def signed(body: bytes, secret: str, age: int = 0) -> dict[str, str]:
    at = int(time.time()) - age
    digest = hmac.new(secret.encode(), b"%d.%b" % (at, body), hashlib.sha256).hexdigest()
    return {**FORM, "X-Mailchimp-Signature": f"t={at},v1={digest}"}


async def test_a_webhook_is_204_and_in_kafka_byte_for_byte(client: httpx.Client, bootstrap: str) -> None:
    before = time.time()
    answer = client.post(HOOK, content=SUBSCRIBE, headers=FORM)
    assert (answer.status_code, answer.content) == (204, b"")
    key, value, headers = await record(bootstrap, topics.WEBHOOKS, answer.headers["x-request-id"])
    assert (key, value) == (b"newsletter:b748506b63", SUBSCRIBE)
    assert set(headers) == {"source", "received_at", "request_id"}
    assert headers["source"] == b"newsletter"
    assert before - 1 <= int(headers["received_at"]) / 1000 <= time.time() + 1


async def test_a_cohort_change_is_200_and_in_kafka_byte_for_byte(client: httpx.Client, bootstrap: str) -> None:
    body = b'{"users":[{"user_properties":{"cohort_id":"x"}}], "cohort_id":"7khm89cz"}'
    answer = client.post(COHORTS, content=body, headers=JSON)
    assert answer.status_code == 200
    key, value, headers = await record(bootstrap, topics.COHORT_CHANGES, answer.headers["x-request-id"])
    assert (key, value, headers["sync"]) == (b"7khm89cz", body, b"daily")


async def test_the_largest_bodies_fit_with_their_headers(client: httpx.Client, bootstrap: str) -> None:
    for path, kind, size, topic in (
        (HOOK, FORM, 64 << 10, topics.WEBHOOKS),
        (COHORTS, JSON, 8 << 20, topics.COHORT_CHANGES),
    ):
        answer = client.post(path, content=b"x" * size, headers=kind)
        assert answer.status_code in {200, 204}
        key, value, _ = await record(bootstrap, topic, answer.headers["x-request-id"])
        assert (key, len(value)) == (b"newsletter" if kind is FORM else b"daily", size)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_mailchimps_check_of_the_url_is_200(client: httpx.Client, method: str) -> None:
    assert client.request(method, HOOK).status_code == 200


def test_a_secret_may_hold_any_characters_and_a_query_is_ignored(client: httpx.Client) -> None:
    path = f"/webhooks/mailchimp/newsletter/{quote(AWKWARD, safe='')}"
    assert client.post(path, content=b"a=b", headers=FORM).status_code == 204
    assert client.post(f"{path}?utm=1&secret=2", content=b"a=b", headers=FORM).status_code == 204
    assert client.get(path.replace("%C3%A9", "%E9")).status_code == 404


@pytest.mark.parametrize("path", [HOOK, COHORTS])
def test_an_empty_body_is_200(client: httpx.Client, path: str) -> None:
    assert client.post(path, headers=FORM if path == HOOK else JSON).status_code == 200
    assert client.post(path).status_code == 200


def test_wrong_path_unknown_name_and_wrong_secret_are_the_same_bytes(ingress: Ingress) -> None:
    answers = set()
    for path in (
        "/",
        "/nothing",
        HOOK + "x",
        HOOK + "/",
        HOOK.replace("newsletter", "nobody"),
        COHORTS + "x",
        COHORTS + "/",
        "/%ff",
    ):
        for body in (b"a=b", b"x" * 70_000):
            head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\nContent-Type: text/plain\r\n\r\n"
            answers.add(re.sub(rb"date: [^\r]*", b"date", raw(ingress, head.encode() + body)))
    assert len(answers) == 1
    assert answers.pop().startswith(b"HTTP/1.1 404 Not Found\r\n")


def test_a_404_does_not_wait_for_the_body(ingress: Ingress) -> None:
    began = time.monotonic()
    head = f"POST {HOOK}x HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n".encode()
    assert b" 404 " in raw(ingress, head)
    assert time.monotonic() - began < 4, "not the five seconds that a body may take"


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
def test_other_methods_are_404_without_the_secret_and_405_with_it(client: httpx.Client, method: str) -> None:
    assert client.request(method, HOOK + "x").status_code == 404
    answer = client.request(method, HOOK)
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD, POST")


def test_a_cohort_route_takes_post_only(client: httpx.Client) -> None:
    for method in ("GET", "HEAD", "PUT"):
        answer = client.request(method, COHORTS)
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


def test_another_content_type_is_415(client: httpx.Client) -> None:
    assert client.post(HOOK, content=b"{}", headers=JSON).status_code == 415
    assert client.post(HOOK, content=b"a=b").status_code == 415
    assert client.post(COHORTS, content=b"a=b", headers=FORM).status_code == 415
    assert (
        client.post(
            HOOK, content=b"a=b", headers={"content-type": f"{FORM['content-type']}; charset=utf-8"}
        ).status_code
        == 204
    )


@pytest.mark.parametrize(("path", "kind", "cap"), [(HOOK, FORM, 64 << 10), (COHORTS, JSON, 8 << 20)])
def test_a_body_over_the_cap_is_413_with_and_without_a_declared_length(
    client: httpx.Client, path: str, kind: dict[str, str], cap: int
) -> None:
    def in_chunks() -> Iterator[bytes]:
        for _ in range(cap // 8192 + 20):
            yield b"x" * 8192

    assert client.post(path, content=b"x" * (cap + 1), headers=kind).status_code == 413
    assert client.post(path, content=in_chunks(), headers=kind).status_code == 413


def test_a_body_over_the_cap_is_refused_before_it_is_sent(ingress: Ingress) -> None:
    head = f"POST {HOOK} HTTP/1.1\r\nHost: x\r\nContent-Type: {FORM['content-type']}\r\nContent-Length: 65537\r\n\r\n"
    began = time.monotonic()
    answer = raw(ingress, head.encode())
    assert b" 413 " in answer
    assert b"connection: close" in answer
    assert time.monotonic() - began < 4


def test_a_slow_body_is_408_and_slow_headers_are_cut_off(ingress: Ingress) -> None:
    head = f"POST {HOOK} HTTP/1.1\r\nHost: x\r\nContent-Type: {FORM['content-type']}\r\nContent-Length: 100\r\n\r\n".encode()
    began = time.monotonic()
    assert b" 408 " in raw(ingress, head + b"type=")
    assert 4.5 < time.monotonic() - began < 8
    began = time.monotonic()
    assert raw(ingress, head[:40]) == b""
    assert 4.5 < time.monotonic() - began < 8


def test_signatures_are_checked_over_the_raw_body(client: httpx.Client) -> None:
    for secret in SIGNING:
        assert client.post(SIGNED, content=SUBSCRIBE, headers=signed(SUBSCRIBE, secret)).status_code == 204
        assert client.post(SIGNED, content=SUBSCRIBE, headers=signed(SUBSCRIBE, secret, age=290)).status_code == 204
        assert client.post(SIGNED, content=SUBSCRIBE, headers=signed(SUBSCRIBE, secret, age=310)).status_code == 401
        assert client.post(SIGNED, content=SUBSCRIBE + b"&", headers=signed(SUBSCRIBE, secret)).status_code == 401
    assert client.post(SIGNED, content=SUBSCRIBE, headers=FORM).status_code == 401
    assert client.post(SIGNED, content=SUBSCRIBE, headers=signed(SUBSCRIBE, "another")).status_code == 401


def test_why_a_signature_was_refused_is_logged_and_nothing_secret_with_it(
    ingress: Ingress, client: httpx.Client
) -> None:
    client.post(SIGNED, content=SUBSCRIBE, headers={**FORM, "X-Mailchimp-Signature": "t=soon"})
    [line] = [each for each in ingress.logged("refused") if each["cause"] == "the signature is malformed"]
    assert (line["name"], line["status"]) == ("signed", 401)


def test_a_connection_is_used_again_after_a_whole_body_and_closed_after_an_unread_one(ingress: Ingress) -> None:
    one = f"POST {HOOK} HTTP/1.1\r\nHost: x\r\nContent-Type: {FORM['content-type']}\r\nContent-Length: 3\r\n\r\na=b".encode()
    many = raw(ingress, one * 3 + one.replace(b"urlencoded", b"other") + one, within=3)
    assert [many.count(status) for status in (b" 204 ", b" 415 ")] == [3, 1]
    assert not many.endswith(b"<still open>")


def test_what_is_no_http_does_no_harm(ingress: Ingress, client: httpx.Client) -> None:
    for junk in (b"junk\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00", b"GET / HTTP/9.9\r\n\r\n", b"OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
                 b"CONNECT x:1 HTTP/1.1\r\nHost: x:1\r\n\r\n", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n"):  # fmt: skip
        answer = raw(ingress, junk, within=6)
        assert not answer.startswith((b"HTTP/1.1 2", b"HTTP/1.1 5")), (junk, answer)
    assert client.get("/healthz").status_code == 200


def test_pages_need_no_secret_and_show_none(client: httpx.Client) -> None:
    assert client.get("/healthz").text == "alive\n"
    assert client.get("/readyz").status_code == 200
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert 'listwire_ingress_requests_total{route="mailchimp",status="204"}' in answer.text
    assert not [secret for secret in ALL_SECRETS if secret in answer.text]
    assert client.post("/metrics").status_code == 405
