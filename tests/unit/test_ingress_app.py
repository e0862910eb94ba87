"""The ingress as an ASGI application, without a server and without Kafka: each status, their order, the caps and the deadlines.

Time is virtual: a request that waits eight seconds takes none.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from ingress import routes
from ingress.answers import OPERATIONS, WORDS
from ingress.app import Ingress, Limits
from listwire import metrics, topics
from listwire.settings import Settings
from tests import virtual_time
from tests.webhook_bodies import SUBSCRIBE

HOOK = "/webhooks/mailchimp/newsletter/s3cret"
SIGNED = "/webhooks/mailchimp/signed/s3cret"
COHORTS = "/webhooks/amplitude/cohorts/daily/c0hort"
FORM = "application/x-www-form-urlencoded"
COHORT = b'{"cohort_id":"7khm89cz","cohort_name":"x","in_cohort":true,"users":[]}'
SOURCE = {"audience": "a", "amplitude": "product"}
SETTINGS = Settings(
    amplitude={"product": {"api_key": "key"}},
    mailchimp={"acme": {"api_key": "key-us6"}},
    sources={
        "newsletter": {**SOURCE, "secrets": ["s3cret"]},
        "signed": {**SOURCE, "secrets": ["s3cret"], "signing_secret": ["whsec"], "signature_tolerance": 300},
    },
    cohort_syncs={"daily": {"mailchimp": "acme", "audience": "a", "secrets": ["c0hort"]}},
)


@dataclass
class Kafka:
    """Acknowledges after `delay` seconds; `refuses` at once; what it acknowledged is in `records`."""

    delay: float = 0.0
    refuses: bool = False
    breaks: bool = False
    acknowledges: bool = True
    records: list[tuple[str, bytes, bytes, dict[str, bytes]]] = field(default_factory=list)

    async def put(self, topic: str, key: bytes, value: bytes, headers: list[tuple[str, bytes]]) -> bool:
        if self.breaks:
            raise RuntimeError("a bug")
        if self.refuses:
            return False
        await asyncio.sleep(self.delay)
        self.records.append((topic, key, value, dict(headers)))
        return True

    async def ready(self) -> bool:
        return self.acknowledges


@dataclass
class Answer:
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    seconds: float = 0.0
    read: int = 0  # pieces of the body that were read
    read_before: int = 0  # of these, before the answer began


class Peer:
    """Sends its body in pieces, each after some seconds; then waits, or hangs up."""

    def __init__(self, app: Ingress) -> None:
        self.app = app

    async def ask(
        self,
        method: str,
        path: str,
        body: bytes | list[tuple[float, bytes]] = b"",
        *,
        content_type: str | None = FORM,
        length: int | None = None,
        chunked: bool = False,
        hangs_up: bool = False,
        **headers: str,
    ) -> Answer:
        pieces = [(0.0, body)] if isinstance(body, bytes) else body
        raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        if content_type is not None:
            raw.append((b"content-type", content_type.encode()))
        total = sum(len(piece) for _, piece in pieces) if length is None else length
        if chunked:
            raw.append((b"transfer-encoding", b"chunked"))
        else:
            raw.append((b"content-length", b"%d" % total))
        waiting = list(pieces)
        answer = Answer()

        async def receive() -> Mapping[str, Any]:
            if not waiting:
                if hangs_up:
                    return {"type": "http.disconnect"}
                if chunked or total == sum(len(piece) for _, piece in pieces):
                    return {"type": "http.request", "body": b"", "more_body": False}
                await asyncio.Event().wait()
            seconds, piece = waiting.pop(0)
            await asyncio.sleep(seconds)
            answer.read += 1
            return {"type": "http.request", "body": piece, "more_body": True}

        async def send(message: Mapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                assert answer.status == 0, "an answer begins once"
                answer.status = message["status"]
                answer.headers = {name.decode(): value.decode() for name, value in message["headers"]}
                answer.seconds = round(loop.time() - began, 3)
                answer.read_before = answer.read
            else:
                answer.body += message["body"]

        loop = asyncio.get_running_loop()
        began = loop.time()
        await self.app({"type": "http", "method": method, "path": path, "headers": raw}, receive, send)
        return answer


@asynccontextmanager
async def running(kafka: Kafka | None = None, **limits: Any) -> AsyncIterator[Peer]:
    loop = asyncio.get_running_loop()
    app = Ingress(routes.from_settings(SETTINGS), kafka or Kafka(), virtual_time.LoopClock(loop), Limits(**limits))

    async def tick() -> None:
        while True:
            await asyncio.sleep(0.1)
            app.tick()

    ticking = asyncio.create_task(tick())
    try:
        yield Peer(app)
    finally:
        ticking.cancel()


def ask(method: str, path: str, *args: Any, kafka: Kafka | None = None, **more: Any) -> Answer:
    async def main() -> Answer:
        async with running(kafka) as peer:
            return await peer.ask(method, path, *args, **more)

    return virtual_time.run(main())


def counted(label: str, status: int) -> float:
    return float(metrics.INGRESS_REQUESTS(route=label, status=str(status))._value.get())


def signed(body: bytes, age: int = 0) -> str:
    at = int(virtual_time.EPOCH) - age
    return f"t={at},v1={hmac.new(b'whsec', b'%d.%b' % (at, body), hashlib.sha256).hexdigest()}"


# What is stored


def test_a_webhook_is_204_once_kafka_has_it_byte_for_byte() -> None:
    kafka = Kafka(delay=0.5)
    answer = ask("POST", HOOK, SUBSCRIBE, kafka=kafka)
    assert (answer.status, answer.body, answer.seconds) == (204, b"", 0.5)
    [(topic, key, value, headers)] = kafka.records
    assert (topic, key, value) == (topics.WEBHOOKS, b"newsletter:b748506b63", SUBSCRIBE)
    assert headers == {
        "source": b"newsletter",
        "received_at": b"%d" % int(virtual_time.EPOCH * 1000),
        "request_id": answer.headers["x-request-id"].encode(),
    }


def test_a_cohort_change_is_200_once_kafka_has_it() -> None:
    kafka = Kafka()
    answer = ask("POST", COHORTS, COHORT, content_type="application/json", kafka=kafka)
    assert answer.status == 200
    [(topic, key, value, headers)] = kafka.records
    assert (topic, key, value, headers["sync"]) == (topics.COHORT_CHANGES, b"7khm89cz", COHORT, b"daily")


def test_a_cohort_post_that_is_not_json_is_stored_under_the_syncs_name() -> None:
    kafka = Kafka()
    assert ask("POST", COHORTS, b"not json", content_type="application/json", kafka=kafka).status == 200
    assert [record[1] for record in kafka.records] == [b"daily"]


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_in_pieces_is_put_together(chunked: bool) -> None:
    kafka = Kafka()
    pieces = [(0.5, SUBSCRIBE[:7]), (0.5, b""), (0.5, SUBSCRIBE[7:])]
    assert ask("POST", HOOK, pieces, chunked=chunked, kafka=kafka).status == 204
    assert [record[2] for record in kafka.records] == [SUBSCRIBE]


@pytest.mark.parametrize("path", [HOOK, COHORTS])
@pytest.mark.parametrize("chunked", [False, True])
def test_an_empty_body_is_200_and_not_stored(path: str, chunked: bool) -> None:
    kafka = Kafka(refuses=True)
    kind = FORM if path == HOOK else "application/json"
    assert ask("POST", path, b"", content_type=kind, chunked=chunked, kafka=kafka).status == 200


def test_an_empty_body_needs_no_content_type() -> None:
    assert ask("POST", HOOK, content_type=None).status == 200


def test_request_ids_are_uuid4s_and_never_repeat() -> None:
    async def main() -> list[str]:
        async with running() as peer:
            return [(await peer.ask("POST", HOOK, b"a=b")).headers["x-request-id"] for _ in range(600)]

    ids = virtual_time.run(main())
    assert len(set(ids)) == 600
    assert all(len(each) == 32 and each[12] == "4" and each[16] in "89ab" for each in ids)


# Who is let in


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_mailchimps_check_of_the_url_is_200(method: str) -> None:
    assert ask(method, HOOK).status == 200


NOWHERE = [
    "/",
    "/nothing",
    HOOK + "x",
    HOOK + "/",
    HOOK.replace("newsletter", "nobody"),
    COHORTS + "x",
    "/webhooks/mailchimp/newsletter",
]


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"])
def test_wrong_path_unknown_name_and_wrong_secret_are_the_same_404(method: str) -> None:
    answers = [ask(method, path) for path in NOWHERE]
    assert {(a.status, a.body, str(a.headers)) for a in answers} == {
        (404, WORDS[404], "{'content-type': 'text/plain; charset=utf-8'}")
    }


def test_a_404_comes_before_the_body_is_read_and_tells_no_request_id() -> None:
    answer = ask("POST", HOOK + "x", [(1.0, b"a=b")])
    assert (answer.status, answer.seconds, answer.read_before) == (404, 0, 0)
    assert answer.headers["connection"] == "close"
    assert "x-request-id" not in answer.headers


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("PUT", HOOK, "GET, HEAD, POST"), ("OPTIONS", HOOK, "GET, HEAD, POST"), ("GET", COHORTS, "POST"), ("HEAD", COHORTS, "POST"),
     ("POST", "/healthz", "GET, HEAD"), ("POST", "/metrics", "GET, HEAD"), ("DELETE", "/readyz", "GET, HEAD")],
)  # fmt: skip
def test_another_method_is_405_for_whoever_knows_the_secret(method: str, path: str, allowed: str) -> None:
    answer = ask(method, path)
    assert (answer.status, answer.headers["allow"]) == (405, allowed)


@pytest.mark.parametrize(
    ("path", "kind", "status"),
    [(HOOK, FORM, 204), (HOOK, FORM + "; charset=UTF-8", 204), (HOOK, FORM.upper(), 204), (HOOK, "application/json", 415),
     (HOOK, "multipart/form-data; boundary=x", 415), (HOOK, None, 415), (HOOK, "", 415), (HOOK, FORM + "x", 415),
     (COHORTS, "application/json", 200), (COHORTS, "Application/JSON ;charset=utf-8", 200), (COHORTS, FORM, 415), (COHORTS, "text/json", 415)],
)  # fmt: skip
def test_only_the_routes_content_type_is_taken(path: str, kind: str | None, status: int) -> None:
    assert ask("POST", path, b"a=b", content_type=kind).status == status


@pytest.mark.parametrize(
    ("header", "status"),
    [(None, 401), (signed(SUBSCRIBE), 204), (signed(SUBSCRIBE, 299), 204), (signed(SUBSCRIBE, 301), 401), (signed(b"other"), 401), ("x", 401)],
)  # fmt: skip
def test_a_source_with_a_signing_secret_takes_signed_bodies_only(header: str | None, status: int) -> None:
    kafka = Kafka()
    more = {} if header is None else {"x_mailchimp_signature": header}
    assert ask("POST", SIGNED, SUBSCRIBE, kafka=kafka, **more).status == status
    assert len(kafka.records) == (status == 204)


def test_a_url_check_needs_no_signature_but_an_empty_body_does() -> None:
    assert ask("GET", SIGNED).status == 200
    assert ask("POST", SIGNED).status == 401
    assert ask("POST", SIGNED, x_mailchimp_signature=signed(b"")).status == 200


# The order of the checks: a request with all faults is told them one after the other


def test_the_checks_run_in_the_contracts_order() -> None:
    kafka = Kafka(refuses=True)
    large, slow = b"x" * (64 * 1024 + 1), [(9.0, b"x")]
    assert ask("PUT", SIGNED + "x", large, content_type="text/plain").status == 404
    assert ask("PUT", SIGNED, large, content_type="text/plain").status == 405
    assert ask("POST", SIGNED, large, content_type="text/plain").status == 415
    assert ask("POST", SIGNED, large, length=70_000).status == 413
    assert ask("POST", SIGNED, slow, kafka=kafka).status == 408
    assert ask("POST", SIGNED, b"x", kafka=kafka).status == 401
    assert ask("POST", SIGNED, b"", kafka=kafka).status == 401
    assert ask("POST", SIGNED, b"", kafka=kafka, x_mailchimp_signature=signed(b"")).status == 200
    assert ask("POST", SIGNED, b"x", kafka=kafka, x_mailchimp_signature=signed(b"x")).status == 503
    assert ask("POST", SIGNED, b"x", x_mailchimp_signature=signed(b"x")).status == 204


# Caps


@pytest.mark.parametrize(("path", "kind", "cap"), [(HOOK, FORM, 64 << 10), (COHORTS, "application/json", 8 << 20)])
def test_a_body_may_be_as_large_as_the_cap_and_no_larger(path: str, kind: str, cap: int) -> None:
    assert ask("POST", path, b"x" * cap, content_type=kind).status in {200, 204}
    answer = ask("POST", path, b"x" * (cap + 1), content_type=kind)
    assert (answer.status, answer.read_before, answer.headers["connection"]) == (413, 0, "close")


def test_a_body_in_chunks_is_413_as_soon_as_the_cap_is_passed() -> None:
    pieces = [(0.1, b"x" * 30_000)] * 10
    answer = ask("POST", HOOK, pieces, chunked=True)
    assert (answer.status, answer.read_before) == (413, 3)
    assert answer.read == 10, "the rest is read and forgotten, so that the peer sees the answer and no reset"


def test_reading_on_after_an_answer_ends_soon() -> None:
    async def main() -> float:
        async with running() as peer:
            loop = asyncio.get_running_loop()
            began = loop.time()
            answer = await peer.ask("POST", HOOK, [(0.5, b"x")] * 100, length=100_000)
            assert (answer.status, answer.seconds) == (413, 0)
            return loop.time() - began

    assert 2.0 <= virtual_time.run(main()) < 2.2


def test_a_peer_that_waits_for_100_continue_is_not_waited_for() -> None:
    assert ask("POST", HOOK, [(0.5, b"x")], length=100_000, expect="100-continue").read == 0


def test_all_bodies_together_are_bounded_and_more_is_503_at_once() -> None:
    async def main() -> list[int]:
        async with running(Kafka(delay=1), memory=100_000) as peer:
            first = [asyncio.create_task(peer.ask("POST", HOOK, b"x" * 50_000)) for _ in range(2)]
            await asyncio.sleep(0.1)
            declared = await peer.ask("POST", HOOK, b"x")
            chunked = await peer.ask("POST", HOOK, b"x", chunked=True)
            assert declared.seconds == chunked.seconds == 0
            assert declared.headers["retry-after"] == "10"
            both = [(await task).status for task in first]
            return [declared.status, chunked.status, *both, (await peer.ask("POST", HOOK, b"x" * 60_000)).status]

    assert virtual_time.run(main()) == [503, 503, 204, 204, 204]


@pytest.mark.parametrize(
    "request_",
    [
        lambda peer: peer.ask("POST", HOOK, b"x" * 9),
        lambda peer: peer.ask("POST", SIGNED, b"x" * 9),
        lambda peer: peer.ask("POST", HOOK, [(9.0, b"x")]),
        lambda peer: peer.ask("POST", HOOK, [(0.1, b"x")], length=5, hangs_up=True),
        lambda peer: peer.ask("POST", HOOK, [(0.1, b"x" * 40_000)] * 2, chunked=True),
        lambda peer: peer.ask("POST", HOOK, b"x", content_type="text/plain"),
    ],
)
def test_memory_is_given_back_whatever_becomes_of_a_request(request_: Callable[[Peer], Awaitable[Answer]]) -> None:
    async def main() -> None:
        async with running() as peer:
            await request_(peer)
            assert peer.app._memory.held == 0
            assert not peer.app._deadlines

    virtual_time.run(main())


# Deadlines


def test_a_slow_body_is_408_after_five_seconds_and_the_connection_ends() -> None:
    answer = ask("POST", HOOK, [(1.0, b"x")] * 10)
    assert answer.status == 408
    assert 5.0 <= answer.seconds < 5.2
    assert answer.headers["connection"] == "close"


def test_no_acknowledgement_is_503_with_retry_after_within_nine_seconds() -> None:
    answer = ask("POST", HOOK, b"a=b", kafka=Kafka(delay=60))
    assert (answer.status, answer.headers["retry-after"]) == (503, "10")
    assert 8.0 <= answer.seconds < 8.2
    assert "connection" not in answer.headers


def test_a_slow_body_leaves_kafka_less_time_so_that_the_whole_stays_below_nine_seconds() -> None:
    answer = ask("POST", HOOK, [(4.9, b"a=b")], kafka=Kafka(delay=60))
    assert answer.status == 503
    assert 8.5 <= answer.seconds < 9.0


def test_kafka_known_to_be_away_is_503_at_once() -> None:
    answer = ask("POST", HOOK, b"a=b", kafka=Kafka(refuses=True))
    assert (answer.status, answer.seconds, answer.headers["retry-after"]) == (503, 0, "10")


def test_an_acknowledgement_in_the_last_moment_is_a_204() -> None:
    kafka = Kafka(delay=7.9)
    assert ask("POST", HOOK, b"a=b", kafka=kafka).status == 204


def test_a_peer_that_hangs_up_is_not_answered_and_not_stored() -> None:
    kafka = Kafka()
    answer = ask("POST", HOOK, [(0.1, b"a=b")], length=10, hangs_up=True, kafka=kafka)
    assert (answer.status, kafka.records) == (0, [])


def test_who_cancels_from_outside_is_not_mistaken_for_a_deadline() -> None:
    async def main() -> None:
        async with running(Kafka(delay=60)) as peer:
            task = asyncio.create_task(peer.ask("POST", HOOK, b"a=b"))
            await asyncio.sleep(0.1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert peer.app._memory.held == 0

    virtual_time.run(main())


# Pages


def test_alive_and_ready_are_two_things() -> None:
    assert ask("GET", "/healthz", kafka=Kafka(acknowledges=False)).status == 200
    assert ask("GET", "/readyz").status == 200
    assert ask("HEAD", "/readyz", kafka=Kafka(acknowledges=False)).status == 503


def test_a_process_that_stops_is_not_ready() -> None:
    async def main() -> int:
        async with running() as peer:
            peer.app.stopping = True
            return (await peer.ask("GET", "/readyz")).status

    assert virtual_time.run(main()) == 503


def test_metrics_count_by_route_and_status_and_are_fresh() -> None:
    async def main() -> tuple[str, Answer]:
        async with running() as peer:
            await peer.ask("POST", HOOK, b"a=b")
            await peer.ask("POST", HOOK + "wrong", b"a=b")
            return HOOK, await peer.ask("GET", "/metrics")

    before = counted("mailchimp", 204), counted("other", 404)
    _, answer = virtual_time.run(main())
    assert (counted("mailchimp", 204), counted("other", 404)) == (before[0] + 1, before[1] + 1)
    text = answer.body.decode()
    assert f'listwire_ingress_requests_total{{route="mailchimp",status="204"}} {before[0] + 1}' in text
    assert 'listwire_ingress_requests_total{route="amplitude",status="413"}' in text, "series exist before they count"
    assert "s3cret" not in text


def test_the_time_of_stored_requests_is_observed_in_its_bucket() -> None:
    histogram = metrics.INGRESS_SECONDS(route="mailchimp")

    def totals() -> tuple[list[float], float]:
        return [bucket.get() for bucket in histogram._buckets], histogram._sum.get()

    async def main() -> None:
        async with running(Kafka(delay=0.3)) as peer:
            await peer.ask("POST", HOOK, b"a=b")
            await peer.ask("GET", "/metrics")

    buckets, total = totals()
    virtual_time.run(main())
    after, total_after = totals()
    assert [after[at] - count for at, count in enumerate(buckets)] == [bound == 0.5 for bound in metrics.SECONDS] + [0]
    assert total_after - total == pytest.approx(0.3, abs=0.001)


# Faults of ours, and what must never be


def test_a_bug_of_ours_is_500() -> None:
    assert ask("POST", HOOK, b"a=b", kafka=Kafka(breaks=True)).status == 500


def test_there_is_no_way_to_answer_410() -> None:
    assert 410 not in WORDS
    assert all(410 not in found for methods in OPERATIONS.values() for found in methods.values())


def test_every_status_that_can_be_given_has_its_words() -> None:
    assert {status for methods in OPERATIONS.values() for found in methods.values() for status in found} | {405} == set(
        WORDS
    )
