"""Amplitude's Behavioral Cohorts API: our client against the stand-in, over HTTP. Waiting takes no time."""

from __future__ import annotations

import asyncio
import base64
import gzip
import io
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import httpx
import pytest

from listwire.clock import SystemClock
from listwire.errors import ListwireError, VendorRefused, VendorRejected, VendorThrottled, VendorUnavailable
from sandbox.amplitude import AmplitudeStandIn
from sandbox.faults import Fault
from stream.codecs.cohort_change import User, address_of
from vendors.amplitude_cohorts import AmplitudeCohorts, Pace, People, pull

KEY, SECRET = "key-of-amplitude-0123456789abcdef", "secret-of-amplitude-0123456789abc"
PEOPLE = [
    {"user_id": "1", "email": "Ann@Example.com "},
    {"user_id": "2", "email": "bob@example.com"},
    {"user_id": "3", "email": ""},
    {"user_id": "", "email": "no address"},
    {"user_id": "5", "email": 'quoted "name", and\na line@example.com'},
]


class JumpClock(SystemClock):
    """Sleeping moves it and takes no time."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 22, 12, tzinfo=UTC).timestamp()
        self.slept: list[float] = []

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)


@pytest.fixture
def clock() -> JumpClock:
    return JumpClock()


@pytest.fixture
async def amplitude(clock: JumpClock) -> AsyncIterator[AmplitudeStandIn]:
    async with AmplitudeStandIn(api_keys={KEY}, secret_keys={SECRET}, clock=clock.time) as stand_in:
        stand_in.cohorts.add("c1", "Power users", PEOPLE)
        yield stand_in


@pytest.fixture
async def client(amplitude: AmplitudeStandIn, clock: JumpClock) -> AsyncIterator[AmplitudeCohorts]:
    async with AmplitudeCohorts(KEY, SECRET, root=amplitude.url, pace=Pace(clock)) as made:
        yield made


def usable(text: str) -> str | None:
    return address_of(User(user_id=text), "user_id")


async def pulled(client: AmplitudeCohorts, clock: JumpClock, cohort: str = "c1", where: str = "email") -> People:
    return await pull(client, cohort, where, usable, clock)


def many(amount: int) -> list[dict[str, str]]:
    return [{"user_id": str(n), "email": f"member{n}@example.com"} for n in range(amount)]


async def test_the_list_has_names_ids_and_sizes(amplitude: AmplitudeStandIn, client: AmplitudeCohorts) -> None:
    amplitude.cohorts.add("c2", "Gone", archived=True)
    found = await client.cohorts()
    assert [(each.id, each.name, each.size, each.archived) for each in found] == [
        ("c1", "Power users", 5, False),
        ("c2", "Gone", 0, True),
    ]


async def test_a_small_cohort_comes_at_once_and_who_has_no_address_is_counted(
    client: AmplitudeCohorts, clock: JumpClock
) -> None:
    found = await pulled(client, clock)
    assert found == People(5, 3, {"ann@example.com", "bob@example.com"})


@pytest.mark.parametrize("encoding", ["plain", "gzip", "content-encoding"])
async def test_a_large_cohort_comes_from_another_host_in_whatever_packing(
    encoding: str, amplitude: AmplitudeStandIn, client: AmplitudeCohorts, clock: JumpClock
) -> None:
    amplitude.cohorts.encoding = encoding  # type: ignore[assignment]
    amplitude.cohorts.add("c1", "Power users", many(6000))
    # By another name, and in truth another host: this one knows nothing of the other's links.
    async with AmplitudeStandIn(clock=clock.time) as files:
        files.cohorts.links = amplitude.cohorts.links
        files.cohorts.encoding = amplitude.cohorts.encoding
        amplitude.files_host = files.url.replace("127.0.0.1", "localhost")
        found = await pulled(client, clock)
        assert [seen.path.split("/")[1] for seen in files.state.recent] == ["cohort-files"]
        assert files.state.by_status == {200: 1}  # with our login it would have been a 400, as at S3
    assert found.users == len(found.addresses) == 6000


async def test_the_login_goes_to_amplitude_alone(clock: JumpClock) -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        if request.url.path.endswith("/file"):
            return httpx.Response(302, headers={"location": "https://bucket.s3.example/people.csv?X-Amz-Signature=1"})
        if request.url.host == "bucket.s3.example":
            return httpx.Response(200, text="user_id,email\n1,ann@example.com\n")
        if "request-status" in request.url.path:
            return httpx.Response(200, json={"async_status": "JOB COMPLETED"})
        return httpx.Response(200, json={"request_id": "r1"})

    async with AmplitudeCohorts(KEY, SECRET, pace=Pace(clock), transport=httpx.MockTransport(answer)) as client:
        assert (await pulled(client, clock)).addresses == {"ann@example.com"}
    login = "Basic " + base64.b64encode(f"{KEY}:{SECRET}".encode()).decode()
    assert [(request.url.host, request.headers.get("authorization")) for request in seen] == [
        *[("amplitude.com", login)] * 3,
        ("bucket.s3.example", None),
    ]
    assert not any(SECRET in str(request.url) for request in seen)


async def test_a_link_that_leaves_https_is_not_followed(clock: JumpClock) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert request.url.scheme == "https"
        return httpx.Response(302, headers={"location": "http://bucket.s3.example/file"})

    async with AmplitudeCohorts(KEY, SECRET, pace=Pace(clock), transport=httpx.MockTransport(answer)) as client:
        with pytest.raises(VendorRefused, match="not https"):
            await client.file("r1", io.BytesIO())


async def test_a_link_that_has_run_out_is_asked_for_again(
    amplitude: AmplitudeStandIn, client: AmplitudeCohorts, clock: JumpClock
) -> None:
    amplitude.cohorts.add("c1", "Power users", many(2000))
    expired = '<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>'
    amplitude.faults.add(Fault(status=403, body=expired, content_type="application/xml", path="cohort-files", times=2))
    assert (await pulled(client, clock)).users == 2000
    assert len(amplitude.cohorts.requested) == 1
    assert len(amplitude.cohorts.links) == 3


@pytest.mark.parametrize("kind", ["truncate", "reset"])
async def test_half_a_file_is_never_taken_for_a_cohort(
    kind: str, amplitude: AmplitudeStandIn, client: AmplitudeCohorts, clock: JumpClock
) -> None:
    amplitude.cohorts.add("c1", "Power users", many(3000))
    amplitude.faults.add(Fault(kind=kind, when="after", path="cohort-files", times=1))  # type: ignore[arg-type]
    assert (await pulled(client, clock)).users == 3000
    amplitude.faults.add(Fault(kind=kind, when="after", path="cohort-files"))  # type: ignore[arg-type]
    with pytest.raises(VendorUnavailable):
        await pulled(client, clock)


async def test_a_gzip_file_that_ends_too_soon_is_no_cohort(clock: JumpClock) -> None:
    whole = gzip.compress(b"user_id,email\n" + b"1,ann@example.com\n" * 1000)

    def answer(request: httpx.Request) -> httpx.Response:
        if "request-status" in request.url.path:
            return httpx.Response(200, json={"async_status": "JOB COMPLETED"})
        if request.url.path.endswith("/file"):
            return httpx.Response(200, content=whole[:-20])
        return httpx.Response(200, json={"request_id": "r1"})

    async with AmplitudeCohorts(KEY, SECRET, pace=Pace(clock), transport=httpx.MockTransport(answer)) as client:
        with pytest.raises(VendorUnavailable, match="cannot be read"):
            await pulled(client, clock)


async def test_it_polls_until_the_job_is_done_and_asks_for_one_download(
    amplitude: AmplitudeStandIn, client: AmplitudeCohorts, clock: JumpClock
) -> None:
    amplitude.cohorts.polls = 7
    amplitude.faults.queue(Fault(status=502, body="<html>", path="request-status", times=1))
    assert (await pulled(client, clock)).users == 5
    assert len(amplitude.cohorts.requested) == 1
    assert next(iter(amplitude.cohorts.downloads.values())).polls == 8


async def test_a_job_that_never_ends_is_given_up(
    amplitude: AmplitudeStandIn, client: AmplitudeCohorts, clock: JumpClock
) -> None:
    amplitude.cohorts.polls = 10**6
    with pytest.raises(VendorUnavailable, match="not ready after 60 minutes"):
        await pulled(client, clock)


async def test_our_own_pace_never_meets_a_429(
    amplitude: AmplitudeStandIn, client: AmplitudeCohorts, clock: JumpClock
) -> None:
    for _ in range(130):
        await client.request("c1", [])
    assert amplitude.state.by_status == {202: 130}
    begun = amplitude.cohorts.requested[0][0]
    assert clock.now - begun >= 1200  # 60 in 10 minutes


async def test_at_most_five_requests_are_under_way(amplitude: AmplitudeStandIn, client: AmplitudeCohorts) -> None:
    amplitude.cohorts.seconds = 0.02
    async with asyncio.TaskGroup() as group:
        for _ in range(40):
            group.create_task(client.cohorts())
    assert amplitude.cohorts.max_in_flight == 5
    assert amplitude.state.by_status == {200: 40}


async def test_a_429_of_others_making_is_waited_out(
    amplitude: AmplitudeStandIn, client: AmplitudeCohorts, clock: JumpClock
) -> None:
    amplitude.faults.add(Fault(status=429, body='{"error": "too many"}', path="/request/", times=3))
    assert (await pulled(client, clock)).users == 5
    assert clock.slept.count(30.0) == 3
    amplitude.faults.add(Fault(status=429, body="{}", path="/request/"))
    with pytest.raises(VendorThrottled):
        await pulled(client, clock)


async def test_a_month_that_is_used_up_is_told_at_once_and_with_its_end(
    amplitude: AmplitudeStandIn, client: AmplitudeCohorts, clock: JumpClock
) -> None:
    amplitude.cohorts.limits.a_month = 1
    await pulled(client, clock)
    usage = await client.usage()
    assert (usage.limit, usage.used, usage.left) == (1, 1, 0)
    slept = len(clock.slept)
    with pytest.raises(VendorRejected, match=r"1 cohort downloads .* used up until 2026-12-01 00:00 UTC"):
        await pulled(client, clock)
    assert len(clock.slept) == slept


@pytest.mark.parametrize(("key", "secret"), [(KEY, "wrong"), ("wrong", SECRET)])
async def test_wrong_keys_are_refused_and_stand_in_no_error(
    key: str, secret: str, amplitude: AmplitudeStandIn, clock: JumpClock
) -> None:
    async with AmplitudeCohorts(key, secret, root=amplitude.url, pace=Pace(clock)) as client:
        with pytest.raises(VendorRefused) as refused:
            await client.cohorts()
        assert refused.value.status == 401
        token = base64.b64encode(f"{key}:{secret}".encode()).decode()
        amplitude.faults.queue((400, f'{{"error": "bad {key} {secret} {token}"}}'))
        with pytest.raises(VendorRejected) as rejected:
            await client.cohorts()
        assert str(rejected.value) == "amplitude answered 400: bad [redacted] [redacted] [redacted]"


async def test_an_unknown_cohort_is_rejected_without_another_try(client: AmplitudeCohorts, clock: JumpClock) -> None:
    with pytest.raises(VendorRejected, match="404: Cohort nobody not found"):
        await pulled(client, clock, "nobody")
    assert clock.slept == []


async def test_a_file_without_the_property_names_what_it_has(client: AmplitudeCohorts, clock: JumpClock) -> None:
    # Amplitude gives a column for each property that is asked for; here one is answered under another name.
    def answer(request: httpx.Request) -> httpx.Response:
        if "request-status" in request.url.path:
            return httpx.Response(200, json={"async_status": "JOB COMPLETED"})
        if request.url.path.endswith("/file"):
            return httpx.Response(200, text="amplitude_id,user_id\n1,2\n")
        return httpx.Response(200, json={"request_id": "r1"})

    async with AmplitudeCohorts(KEY, SECRET, pace=Pace(clock), transport=httpx.MockTransport(answer)) as other:
        with pytest.raises(ListwireError, match="no column 'email'; it has 'amplitude_id', 'user_id'"):
            await pulled(other, clock)


async def test_the_address_may_be_the_user_id(
    amplitude: AmplitudeStandIn, client: AmplitudeCohorts, clock: JumpClock
) -> None:
    amplitude.cohorts.add("c1", "Power users", [{"user_id": "ANN@example.com"}, {"user_id": "42"}])
    assert await pulled(client, clock, where="user_id") == People(2, 1, {"ann@example.com"})
    assert next(iter(amplitude.cohorts.downloads.values())).properties is None


async def test_an_answer_that_is_no_json_is_no_list(amplitude: AmplitudeStandIn, client: AmplitudeCohorts) -> None:
    amplitude.faults.queue((200, "<html>hello</html>"))
    with pytest.raises(VendorUnavailable, match="not what was asked for"):
        await client.cohorts()


async def test_the_stand_in_refuses_what_the_page_does_not_know(amplitude: AmplitudeStandIn, clock: JumpClock) -> None:
    async with httpx.AsyncClient(base_url=amplitude.url, auth=(KEY, SECRET)) as http:
        assert (await http.get("/api/5/cohorts/request/c1?propKeys=email")).status_code == 400
        assert (await http.get("/api/5/cohorts/request/c1?properties=1")).status_code == 400
        begun = (await http.get("/api/5/cohorts/request/c1?props=1&propKeys=email")).json()["request_id"]
        assert (await http.get(f"/api/5/cohorts/request/{begun}/file")).status_code == 400  # not ready
        for _ in range(2):
            status = await http.get(f"/api/5/cohorts/request-status/{begun}")
        assert (status.status_code, status.json()["async_status"]) == (200, "JOB COMPLETED")
        clock.now += 7 * 86_400 + 1
        assert (await http.get(f"/api/5/cohorts/request/{begun}/file")).status_code == 404  # after seven days
        for _ in range(4):
            assert (await http.get("/api/5/cohorts/request/c1")).status_code == 202
        assert (await http.get("/api/5/cohorts/request/c1")).status_code == 429  # the fifth in a minute


async def test_a_link_is_good_for_a_minute_and_takes_no_login(amplitude: AmplitudeStandIn, clock: JumpClock) -> None:
    amplitude.cohorts.add("c1", "Power users", many(2000))
    async with httpx.AsyncClient(base_url=amplitude.url) as http:
        begun = amplitude.cohorts.request("c1", ["email"])
        amplitude.cohorts.polls = -1
        answer = await http.get(f"/api/5/cohorts/request/{begun.id}/file", auth=(KEY, SECRET))  # type: ignore[union-attr]
        link = answer.headers["location"]
        assert answer.status_code == 302
        assert (await http.get(link, auth=(KEY, SECRET))).status_code == 400
        assert (await http.get(link)).status_code == 200
        clock.now += 61
        assert (await http.get(link)).status_code == 403


async def test_a_cohort_can_be_put_over_http(amplitude: AmplitudeStandIn) -> None:
    async with httpx.AsyncClient(base_url=amplitude.url) as http:
        put = {"id": "c9", "name": "New", "users": [{"user_id": "1"}]}
        assert (await http.post("/_sandbox/cohorts", json=put)).json() == {"users": 1}
        assert (await http.post("/_sandbox/cohorts", json={"id": "c9"})).status_code == 422
        shown = (await http.get("/_sandbox/cohorts")).json()
    assert [each["id"] for each in shown["cohorts"]] == ["c1", "c9"]
    assert shown["requested"] == []
