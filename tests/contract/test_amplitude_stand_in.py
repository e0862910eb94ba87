"""Amplitude's stand-in over real HTTP: each limit, each answer, what counts once, what goes wrong on command."""

from __future__ import annotations

import asyncio
import gzip
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from listwire.errors import SandboxError
from sandbox.amplitude import AmplitudeStandIn
from sandbox.faults import HTML_502, Fault


def event(number: int = 1, user: str = "ada@example.com", **changes: Any) -> dict[str, Any]:
    return {
        "event_type": "[Mailchimp] subscribe",
        "user_id": user,
        "time": 1_599_514_269_000 + number,
        "insert_id": f"insert-{number}",
        "event_properties": {"contact_id": f"contact-{user[:3]}"},
        **changes,
    }


def events(count: int) -> list[dict[str, Any]]:
    return [event(number) for number in range(count)]


@pytest.fixture
async def amplitude() -> AsyncIterator[AmplitudeStandIn]:
    async with AmplitudeStandIn(api_keys={"key", "other"}) as running:
        yield running


@pytest.fixture
async def http(amplitude: AmplitudeStandIn) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=amplitude.url, timeout=10) as client:
        yield client


async def post(http: httpx.AsyncClient, sent: Any, *, path: str = "/batch", key: str = "key") -> httpx.Response:
    return await http.post(path, json={"api_key": key, "events": sent})


# Limits and refusals --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/batch", "/2/httpapi"])
async def test_good_events_are_accepted_and_counted(
    amplitude: AmplitudeStandIn, http: httpx.AsyncClient, path: str
) -> None:
    answer = await post(http, events(3), path=path)
    assert answer.status_code == 200
    told = answer.json()
    assert told.pop("server_upload_time") > 1_600_000_000_000
    assert told == {"code": 200, "events_ingested": 3, "payload_size_bytes": len(answer.request.content)}
    assert answer.headers["content-type"] == "application/json"
    assert amplitude.state.events == events(3)


@pytest.mark.parametrize(("path", "most"), [("/batch", 2000), ("/2/httpapi", 1999)])
async def test_more_events_than_the_endpoint_takes_are_413(http: httpx.AsyncClient, path: str, most: int) -> None:
    assert (await post(http, events(most), path=path)).status_code == 200
    answer = await post(http, events(most + 1), path=path)
    assert (answer.status_code, answer.json()) == (413, {"code": 413, "error": "Payload too large"})


@pytest.mark.parametrize(("path", "largest"), [("/batch", 20_000_000), ("/2/httpapi", 999_999)])
async def test_more_bytes_than_the_endpoint_takes_are_413(http: httpx.AsyncClient, path: str, largest: int) -> None:
    padding = "x" * (largest - len(orjson.dumps({"api_key": "key", "events": [event(padding="")]})))
    body = orjson.dumps({"api_key": "key", "events": [event(padding=padding)]})
    headers = {"Content-Type": "application/json"}
    assert (await http.post(path, content=body, headers=headers)).status_code == 200
    assert (await http.post(path, content=body + b" ", headers=headers)).status_code == 413


async def test_a_body_far_over_every_limit_is_413_too(http: httpx.AsyncClient) -> None:
    answer = await http.post("/batch", content=b" " * (33 * 1024 * 1024), headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (413, 413)


@pytest.mark.parametrize("content_type", ["application/x-www-form-urlencoded", "text/plain", None])
async def test_another_content_type_than_json_is_refused(http: httpx.AsyncClient, content_type: str | None) -> None:
    headers = {} if content_type is None else {"Content-Type": content_type}
    answer = await http.post("/batch", content=orjson.dumps({"api_key": "key", "events": events(1)}), headers=headers)
    assert (answer.status_code, answer.json()) == (400, {"code": 400, "error": "Invalid JSON request body"})
    answer = await http.post("/batch", content=b"{}", headers={"Content-Type": "application/json; charset=UTF-8"})
    assert answer.json()["missing_field"] == "api_key"


async def test_gzip_is_understood_and_the_limit_holds_for_what_comes_out(
    amplitude: AmplitudeStandIn, http: httpx.AsyncClient
) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    plain = orjson.dumps({"api_key": "key", "events": events(3)})
    answer = await http.post("/2/httpapi", content=gzip.compress(plain), headers=headers)
    assert answer.json()["payload_size_bytes"] == len(plain)
    assert len(amplitude.state) == 3
    assert (await http.post("/2/httpapi", content=gzip.compress(b" " * 1_000_000), headers=headers)).status_code == 413
    assert (await http.post("/2/httpapi", content=b"not gzip", headers=headers)).status_code == 400


@pytest.mark.parametrize(
    ("method", "path", "content", "error"),
    [
        ("POST", "/2/httpapi/", b"{}", "Invalid request path"),
        ("POST", "/httpapi", b"{}", "Invalid request path"),
        ("GET", "/batch", b"", "Invalid request path"),
        ("POST", "/batch", b"", "Missing request body"),
        ("POST", "/batch", b'{"api_key"', "Invalid JSON request body"),
        ("POST", "/batch", b'{"api_key":"key"}', "Request missing required field"),
        ("POST", "/batch", b'{"api_key":"key","events":[1]}', "Invalid event JSON"),
        ("POST", "/batch", b'{"api_key":"wrong-one","events":[{}]}', "Invalid API key: wrong-one"),
    ],
)
async def test_each_400_has_amplitudes_own_words(
    http: httpx.AsyncClient, method: str, path: str, content: bytes, error: str
) -> None:
    answer = await http.request(method, path, content=content, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["code"], answer.json()["error"]) == (400, 400, error)


async def test_one_bad_event_refuses_the_whole_request_and_is_named(
    amplitude: AmplitudeStandIn, http: httpx.AsyncClient
) -> None:
    sent = [event(0), event(1, time="yesterday"), event(2), event(3, time=1.5), event(4, user_id="anonymous")]
    every = await post(http, sent)
    first = await post(http, sent, path="/2/httpapi")
    assert every.status_code == first.status_code == 400
    assert every.json()["events_with_invalid_fields"] == {"time": [1, 3], "user_id": [4]}
    assert first.json()["events_with_invalid_fields"] == {"time": [1], "user_id": [4]}
    assert len(amplitude.state) == 0
    amplitude.limits["batch"].first_index_only = True
    assert (await post(http, sent)).json()["events_with_invalid_fields"] == {"time": [1], "user_id": [4]}


async def test_a_short_user_id_is_refused_by_http_v2_and_dropped_by_batch(
    amplitude: AmplitudeStandIn, http: httpx.AsyncClient
) -> None:
    sent = [event(1, user_id="2", device_id="device-1")]
    answer = await post(http, sent, path="/2/httpapi")
    assert answer.json() == {
        "code": 400,
        "error": "Invalid id length for user_id or device_id",
        "events_with_invalid_id_lengths": {"user_id": [0]},
    }
    assert (await post(http, sent)).status_code == 200
    assert [row.user_id for row in amplitude.state.rows()] == [None]
    answer = await http.post(
        "/2/httpapi", json={"api_key": "key", "events": [event(2, user_id="2")], "options": {"min_id_length": 1}}
    )
    assert answer.status_code == 200


async def test_identify_takes_a_form_and_leaves_no_event(amplitude: AmplitudeStandIn, http: httpx.AsyncClient) -> None:
    good = {"api_key": "key", "identification": '[{"user_id":"ada@example.com","user_properties":{"$set":{"a":1}}}]'}
    for answer in (await http.post("/identify", data=good), await http.get("/identify", params=good)):
        assert (answer.status_code, answer.text) == (200, "success")
    missing = await http.post("/identify", data={"api_key": "key"})
    assert (missing.status_code, missing.text) == (400, "missing_event")
    bad = await http.post("/identify", data={**good, "identification": '{"user_id":"abc"}'})
    assert bad.json()["events_with_invalid_id_lengths"] == {"user_id": [0]}
    assert (await http.post("/identify", data={**good, "api_key": "wrong"})).status_code == 400
    assert (await http.get("/identify", params={**good, "padding": "x" * 9000})).status_code == 414
    assert len(amplitude.state) == 0


# What counts once -----------------------------------------------------------------------------------------------------


async def test_a_repeated_insert_id_is_answered_200_and_counts_once_for_seven_days() -> None:
    now = [1_600_000_000.0]
    async with AmplitudeStandIn(clock=lambda: now[0]) as amplitude, httpx.AsyncClient(base_url=amplitude.url) as http:
        for _ in range(2):
            assert (await post(http, [event(), event()])).json()["events_ingested"] == 2
        assert (len(amplitude.state), amplitude.state.duplicates) == (1, 3)
        assert (await post(http, [event()], key="another-app")).status_code == 200
        assert amplitude.state.per_api_key() == {"key": 1, "another-app": 1}
        now[0] += 7 * 86_400
        await post(http, [event()])
        assert len(amplitude.state) == 3


async def test_each_users_order_of_arrival_is_kept(amplitude: AmplitudeStandIn, http: httpx.AsyncClient) -> None:
    await post(http, [event(1), event(2, "bob@example.com"), event(3)])
    await post(http, [event(5), event(4, "bob@example.com")])
    by_user = {user: [row.insert_id for row in rows] for user, rows in amplitude.state.by_user().items()}
    assert by_user == {
        "ada@example.com": ["insert-1", "insert-3", "insert-5"],
        "bob@example.com": ["insert-2", "insert-4"],
    }


async def test_requests_are_recorded_and_the_most_at_once_is_known(
    amplitude: AmplitudeStandIn, http: httpx.AsyncClient
) -> None:
    amplitude.faults.latency = 0.2
    await asyncio.gather(*(post(http, [event(number)]) for number in range(5)))
    amplitude.faults.queue(Fault(status=502, when="after"))
    await post(http, [event(9), event(1)])
    assert amplitude.state.max_in_flight == 5
    assert amplitude.state.in_flight == 0
    last = amplitude.state.recent[-1]
    assert (last.path, last.events, last.accepted, last.duplicates, last.status) == ("/batch", 2, 1, 1, 502)
    assert amplitude.state.by_status == {200: 5, 502: 1}


# What goes wrong ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "status", "accepted"),
    [
        (Fault(status=500), 500, 0),
        (Fault(status=502, body=HTML_502, content_type="text/html"), 502, 0),
        (Fault(status=503), 503, 0),
        (Fault(status=504), 504, 0),
        (Fault(status=500, when="after"), 500, 1),
        (Fault(status=502, when="after", body=HTML_502, content_type="text/html"), 502, 1),
        (Fault(status=408), 408, 0),
        (Fault(status=413), 413, 0),
        (Fault(status=302, headers={"Location": "/login"}), 302, 0),
        (Fault(status=403, body='{"code":403,"error":"Forbidden"}', contains="ada@"), 403, 0),
        (Fault(status=200, body="{not json", when="after"), 200, 1),
    ],
)
async def test_an_error_before_accepting_loses_the_events_and_one_after_does_not(
    amplitude: AmplitudeStandIn, http: httpx.AsyncClient, fault: Fault, status: int, accepted: int
) -> None:
    amplitude.faults.queue(fault)
    answer = await post(http, [event()])
    assert (answer.status_code, answer.text) == (status, fault.body)
    assert len(amplitude.state) == accepted
    assert (await post(http, [event()])).status_code == 200
    assert len(amplitude.state) == 1


async def test_a_firewall_refuses_only_bodies_with_the_pattern(
    amplitude: AmplitudeStandIn, http: httpx.AsyncClient
) -> None:
    amplitude.faults.add(Fault(status=403, body='{"code":403,"error":"Forbidden"}', contains="<script>"))
    assert (await post(http, [event(1, city="<script>")])).json() == {"code": 403, "error": "Forbidden"}
    assert (await post(http, [event(2)])).status_code == 200


async def test_a_hung_request_may_have_been_accepted(amplitude: AmplitudeStandIn, http: httpx.AsyncClient) -> None:
    amplitude.faults.queue(Fault(kind="hang"), Fault(kind="hang", when="after"))
    for accepted in (0, 1):
        with pytest.raises(httpx.ReadTimeout):
            await http.post("/batch", json={"api_key": "key", "events": [event()]}, timeout=0.3)
        assert len(amplitude.state) == accepted


async def test_a_reset_connection_may_have_been_accepted_and_has_no_status(
    amplitude: AmplitudeStandIn, http: httpx.AsyncClient
) -> None:
    amplitude.faults.queue(Fault(kind="reset"), Fault(kind="reset", when="after"))
    for accepted in (0, 1):
        with pytest.raises(httpx.ReadError):
            await post(http, [event()])
        assert len(amplitude.state) == accepted
    assert amplitude.state.by_status == {0: 2}


async def test_throttled_users_are_named_with_their_events_until_they_are_let_go() -> None:
    now = [1_600_000_000.0]
    async with AmplitudeStandIn(clock=lambda: now[0]) as amplitude, httpx.AsyncClient(base_url=amplitude.url) as http:
        amplitude.faults.throttle("bob@example.com", seconds=15)
        sent = [event(0), event(1, "bob@example.com"), event(2), event(3, "bob@example.com")]
        answer = await post(http, sent)
        assert answer.status_code == 429
        assert answer.json() == {
            "code": 429,
            "error": "Too many requests for some devices and users",
            "eps_threshold": 1000,
            "throttled_users": {"bob@example.com": 1001},
            "throttled_devices": {},
            "throttled_events": [1, 3],
            "exceeded_daily_quota_users": {},
            "exceeded_daily_quota_devices": {},
        }
        assert "retry-after" not in answer.headers
        assert (await post(http, [event(0), event(2)])).status_code == 200
        now[0] += 15
        assert (await post(http, sent)).status_code == 200

        amplitude.faults.throttle("bob@example.com", requests=2)
        assert [(await post(http, sent)).status_code for _ in range(3)] == [429, 429, 200]
        amplitude.faults.throttle(devices=["device-1"], requests=1)
        answer = await post(http, [event(0, device_id="device-1")], path="/2/httpapi")
        assert (answer.json()["eps_threshold"], answer.json()["throttled_devices"]) == (30, {"device-1": 31})


async def test_a_user_over_the_daily_quota_is_named_as_such(
    amplitude: AmplitudeStandIn, http: httpx.AsyncClient
) -> None:
    amplitude.faults.over_quota("bob@example.com")
    amplitude.faults.throttle("eve@example.com")
    told = (await post(http, [event(0), event(1, "bob@example.com"), event(2, "eve@example.com")])).json()
    assert told["exceeded_daily_quota_users"] == {"bob@example.com": 500_001}
    assert told["throttled_users"] == {"eve@example.com": 1001}
    assert told["throttled_events"] == [1, 2]


async def test_silenced_devices_are_a_400_that_names_their_events(
    amplitude: AmplitudeStandIn, http: httpx.AsyncClient
) -> None:
    amplitude.faults.silence("device-1", requests=1)
    sent = [event(0), event(1, device_id="device-1")]
    told = (await post(http, sent)).json()
    assert (told["code"], told["error"]) == (400, "Events silenced for device_id")
    assert (told["silenced_devices"], told["silenced_events"], told["throttled_events"]) == (["device-1"], [1], [])
    assert (await post(http, sent)).status_code == 200


@pytest.mark.parametrize(("path", "eps"), [("/batch", 1000), ("/2/httpapi", 30)])
async def test_the_rate_limit_of_a_user_holds_when_it_is_switched_on(path: str, eps: int) -> None:
    now = [1_600_000_000.0]
    async with AmplitudeStandIn(clock=lambda: now[0]) as amplitude, httpx.AsyncClient(base_url=amplitude.url) as http:
        limits = amplitude.limits[path.rsplit("/", 1)[-1]]
        limits.limit_rate, limits.eps_window = True, 1.0
        burst = [event(n) for n in range(eps)]
        assert (await post(http, burst, path=path)).status_code == 200
        answer = await post(http, [event(-1, "bob@example.com"), event(-2)], path=path)
        assert (answer.status_code, answer.json()["throttled_events"]) == (429, [1])
        assert answer.json()["throttled_users"] == {"ada@example.com": eps + 1}
        now[0] += 1
        assert (await post(http, burst, path=path)).status_code == 200


@pytest.mark.parametrize(("how", "status"), [("400", 400), ("401", 401), ("403", 403)])
async def test_a_key_can_be_refused_for_a_while_in_three_ways(
    amplitude: AmplitudeStandIn, http: httpx.AsyncClient, how: Any, status: int
) -> None:
    amplitude.faults.refuse_key("key", how, requests=2)
    for _ in range(2):
        answer = await post(http, [event()])
        assert answer.status_code == answer.json()["code"] == status
        assert answer.json()["error"].startswith("Invalid API key: key") == (how == "400")
        assert (await post(http, [event()], key="other")).status_code == 200
    assert (await post(http, [event()])).status_code == 200
    amplitude.faults.refuse_key(how=how)
    assert (await post(http, [event()], key="other")).status_code == status
    amplitude.faults.accept_key()
    assert (await post(http, [event()], key="other")).status_code == 200


async def test_poison_events_are_refused_named_or_unnamed(amplitude: AmplitudeStandIn, http: httpx.AsyncClient) -> None:
    amplitude.faults.reject("bob@example.com")
    amplitude.faults.reject("eve@example.com", field="")
    named = await post(http, [event(0), event(1, "bob@example.com")])
    assert named.json()["events_with_invalid_fields"] == {"event_properties": [1]}
    unnamed = await post(http, [event(0), event(1, "eve@example.com")])
    assert unnamed.json() == {"code": 400, "error": "Invalid event JSON"}
    assert (await post(http, [event(0)])).status_code == 200


async def test_nobody_listens_between_stop_and_start_and_nothing_is_forgotten(
    amplitude: AmplitudeStandIn, http: httpx.AsyncClient
) -> None:
    await post(http, [event(1)])
    before = amplitude.url
    await amplitude.stop()
    with pytest.raises(httpx.TransportError):
        await post(http, [event(2)])
    await amplitude.start()
    assert amplitude.url == before
    await post(http, [event(1), event(2)])
    assert (len(amplitude.state), amplitude.state.duplicates) == (2, 1)


async def test_a_taken_port_is_a_sandbox_error(amplitude: AmplitudeStandIn) -> None:
    with pytest.raises(SandboxError, match="cannot listen"):
        await AmplitudeStandIn().start(port=amplitude.port)


async def test_waiting_for_events_ends_when_they_are_there_or_says_how_many_are(
    amplitude: AmplitudeStandIn, http: httpx.AsyncClient
) -> None:
    waiting = asyncio.create_task(amplitude.wait_for(2))
    await post(http, [event(1)])
    await post(http, [event(2)])
    await waiting
    with pytest.raises(TimeoutError, match="2 of 3 events"):
        await amplitude.wait_for(3, timeout=0.05)


# The control plane ----------------------------------------------------------------------------------------------------


async def test_the_state_is_told_over_http(amplitude: AmplitudeStandIn, http: httpx.AsyncClient) -> None:
    await post(http, [event(1), event(2, "bob@example.com"), event(1)])
    await post(http, [event(3, time="x")])
    state = (await http.get("/_sandbox/state", params={"users": 1})).json()
    assert (state["events"], state["duplicates"], state["users"], state["requests"]) == (2, 1, 2, 2)
    assert (state["by_status"], state["per_api_key"]) == ({"200": 1, "400": 1}, {"key": 2})
    assert (await http.get("/_sandbox/insert-ids")).text == "insert-1\ninsert-2\n"
    order = [orjson.loads(line) for line in (await http.get("/_sandbox/order", params={"since": 1})).text.splitlines()]
    assert order == [
        {
            "seq": 1,
            "api_key": "key",
            "user_id": "bob@example.com",
            "contact_id": "contact-bob",
            "insert_id": "insert-2",
            "time": 1599514269002,
        }
    ]
    found = (await http.get("/_sandbox/events", params={"user_id": "bob@example.com"})).json()
    assert [one["event"] for one in found] == [event(2, "bob@example.com")]
    assert len((await http.get("/_sandbox/events", params={"limit": 1})).json()) == 1
    requests = (await http.get("/_sandbox/requests", params={"limit": 1})).json()
    assert [(seen["path"], seen["status"], seen["events"]) for seen in requests] == [("/batch", 400, 1)]


async def test_faults_are_set_and_everything_is_reset_over_http(
    amplitude: AmplitudeStandIn, http: httpx.AsyncClient
) -> None:
    await post(http, [event(1)])
    command = {
        "add": [{"status": 503, "times": 1}],
        "throttle": {"users": ["ada@example.com"], "requests": 1},
        "over_quota": {"users": ["bob@example.com"]},
        "silence": {"devices": ["device-1"]},
        "refuse_key": {"key": "other", "how": "401"},
        "reject": {"users": ["eve@example.com"]},
        "limits": {"batch": {"max_events": 2}},
    }
    told = (await http.post("/_sandbox/faults", json=command)).json()
    assert told["throttled"]["user_id"] == ["ada@example.com"]
    assert [(await post(http, [event(2)])).status_code for _ in range(3)] == [503, 429, 200]
    assert (await post(http, [event(2, "bob@example.com")])).status_code == 429
    assert (await post(http, [event(2, device_id="device-1")])).status_code == 400
    assert (await post(http, [event(2)], key="other")).status_code == 401
    assert (await post(http, [event(2, "eve@example.com")])).status_code == 400
    assert (await post(http, events(3))).status_code == 413

    unknown = await http.post("/_sandbox/faults", json={"latencyy": 1})
    assert (unknown.status_code, "latencyy" in unknown.text) == (422, True)

    assert (await http.post("/_sandbox/reset")).json() == {"events": 0}
    assert (await post(http, [event(1), event(2, "bob@example.com"), event(3, "eve@example.com")])).status_code == 200
    assert len(amplitude.state) == 3


async def test_the_control_plane_is_never_disturbed(amplitude: AmplitudeStandIn, http: httpx.AsyncClient) -> None:
    amplitude.faults.add(Fault(kind="reset", when="unread"))
    assert (await http.get("/_sandbox/state")).json()["requests"] == 0


async def test_a_killed_stand_in_finds_its_proof_again(tmp_path: Path) -> None:
    """`serve()` in a process of its own, ended with SIGKILL and, the second time, with SIGTERM."""
    journal = tmp_path / "journal"
    code = "import asyncio,sys,pathlib;from sandbox.amplitude import serve;asyncio.run(serve(journal=pathlib.Path(sys.argv[1]),api_keys=['key']))"

    async def run() -> tuple[asyncio.subprocess.Process, str]:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", code, str(journal), stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[2]
        )
        assert process.stdout is not None
        return process, (await process.stdout.readline()).decode().strip()

    process, url = await run()
    async with httpx.AsyncClient(base_url=url) as http:
        assert (await post(http, events(50))).status_code == 200
        assert (await post(http, [event()], key="wrong")).status_code == 400
    os.kill(process.pid, signal.SIGKILL)
    await process.wait()

    process, url = await run()
    async with httpx.AsyncClient(base_url=url) as http:
        assert (await post(http, events(60))).status_code == 200
        assert (await http.get("/_sandbox/state")).json()["events"] == 60
        insert_ids = (await http.get("/_sandbox/insert-ids")).text.splitlines()
    assert insert_ids == [f"insert-{number}" for number in range(60)]
    process.terminate()
    assert await process.wait() == 0
