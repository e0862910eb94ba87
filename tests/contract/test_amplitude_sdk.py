"""Amplitude's own Python SDK against the stand-in: what the vendor's client makes of an answer keeps the stand-in honest."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Any

import pytest
from amplitude import Amplitude, BaseEvent, Config, EventOptions, Identify

from sandbox.amplitude import AmplitudeStandIn
from sandbox.faults import HTML_502, Fault


class Sdk:
    """The SDK with its callbacks collected; its calls block, so they run in a thread while the stand-in answers."""

    def __init__(
        self, stand_in: AmplitudeStandIn, *, path: str = "/2/httpapi", key: str = "key", **options: Any
    ) -> None:
        self.told: dict[int, list[str]] = defaultdict(list)
        config = Config(
            server_url=stand_in.url + path,
            flush_interval_millis=20,
            callback=self._callback,
            **options,
        )
        self.client = Amplitude(key, config)

    def _callback(self, event: Any, code: int, message: str | None) -> None:
        self.told[code].append(event.insert_id)

    async def track(self, *events: BaseEvent) -> None:
        for event in events:
            self.client.track(event)
        await self.flush()

    async def flush(self) -> None:
        await asyncio.to_thread(lambda: [future.result() for future in self.client.flush() if future is not None])

    async def told_of(self, events: int) -> None:
        """Until the SDK has told the fate of that many events."""
        async with asyncio.timeout(20):
            while sum(len(told) for told in self.told.values()) < events:
                await asyncio.sleep(0.02)

    async def close(self) -> None:
        await asyncio.to_thread(self.client.shutdown)


@pytest.fixture
async def stand_in() -> AsyncIterator[AmplitudeStandIn]:
    async with AmplitudeStandIn(api_keys={"key"}) as running:
        yield running


@pytest.fixture
async def sdk(stand_in: AmplitudeStandIn) -> AsyncIterator[Sdk]:
    client = Sdk(stand_in)
    yield client
    await client.close()


def event(number: int, **changes: Any) -> BaseEvent:
    given = {"user_id": "ada@example.com", "insert_id": f"insert-{number}", **changes}
    return BaseEvent(
        "[Mailchimp] subscribe", event_properties={"contact_id": "c1", "deep": {"interests": ["a"]}}, **given
    )


def insert_ids(stand_in: AmplitudeStandIn) -> list[str]:
    return sorted(str(insert_id) for insert_id in stand_in.state.insert_ids())


@pytest.mark.parametrize("path", ["/2/httpapi", "/batch"])
async def test_the_sdk_delivers(stand_in: AmplitudeStandIn, path: str) -> None:
    sdk = Sdk(stand_in, path=path)
    await sdk.track(*(event(number) for number in range(20)))
    await sdk.told_of(20)
    await sdk.close()
    assert insert_ids(stand_in) == sorted(f"insert-{number}" for number in range(20))
    assert len(sdk.told[200]) == 20
    assert {one["library"].split("/")[0] for one in stand_in.state.events} == {"amplitude-python"}


async def test_the_sdks_identify_is_accepted(stand_in: AmplitudeStandIn, sdk: Sdk) -> None:
    await asyncio.to_thread(
        sdk.client.identify, Identify().set("plan", "free").add("visits", 1), EventOptions(user_id="ada@example.com")
    )
    await sdk.flush()
    await sdk.told_of(1)
    assert stand_in.state.events[0]["user_properties"] == {"$set": {"plan": "free"}, "$add": {"visits": 1}}


@pytest.mark.parametrize("path", ["/2/httpapi", "/batch"])
async def test_the_sdk_drops_the_named_events_of_a_400_and_sends_the_rest(
    stand_in: AmplitudeStandIn, path: str
) -> None:
    """Also with HTTP V2, which names one bad event a field and answer, so that it takes one round for each."""
    sdk = Sdk(stand_in, path=path)
    bad = {2: "anonymous", 5: "anonymous", 7: "abc"}
    await sdk.track(*(event(number, user_id=bad.get(number, "ada@example.com")) for number in range(10)))
    await sdk.told_of(10)
    await sdk.close()
    assert sorted(sdk.told[400]) == [f"insert-{number}" for number in bad]
    assert insert_ids(stand_in) == [f"insert-{number}" for number in range(10) if number not in bad]
    assert stand_in.state.by_status[400] >= (2 if path == "/2/httpapi" else 1)


async def test_the_sdk_halves_after_a_413(stand_in: AmplitudeStandIn) -> None:
    stand_in.limits["httpapi"].max_events = 3
    sdk = Sdk(stand_in, flush_queue_size=10)
    await sdk.track(*(event(number) for number in range(10)))
    await sdk.told_of(10)
    await sdk.close()
    assert insert_ids(stand_in) == [f"insert-{number}" for number in range(10)]
    assert stand_in.state.by_status[413] >= 1
    assert max(seen.events for seen in stand_in.state.recent if seen.accepted) <= 3


async def test_the_sdk_holds_back_throttled_users_and_drops_those_over_quota(
    stand_in: AmplitudeStandIn, sdk: Sdk
) -> None:
    stand_in.faults.throttle("bob@example.com", requests=1)
    stand_in.faults.over_quota("eve@example.com")
    await sdk.track(event(1), event(2, user_id="bob@example.com"), event(3, user_id="eve@example.com"), event(4))
    await sdk.told_of(3)
    assert {code: sorted(told) for code, told in sdk.told.items()} == {200: ["insert-1", "insert-4"], 429: ["insert-3"]}
    assert insert_ids(stand_in) == ["insert-1", "insert-4"]
    # Bob's wait 30 seconds in the SDK; a flush takes them out early.
    await sdk.flush()
    await sdk.told_of(4)
    assert insert_ids(stand_in) == ["insert-1", "insert-2", "insert-4"]


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=500, when="after", body='{"code":500,"error":"x"}'),
        Fault(status=502, when="after", body=HTML_502, content_type="text/html"),
    ],
)
async def test_the_sdk_sends_again_what_may_have_been_accepted_and_it_counts_once(
    stand_in: AmplitudeStandIn, fault: Fault
) -> None:
    stand_in.faults.queue(fault)
    sdk = Sdk(stand_in)
    await sdk.track(event(1), event(2))
    await sdk.told_of(2)
    await sdk.close()
    assert stand_in.state.duplicates == 2
    assert insert_ids(stand_in) == ["insert-1", "insert-2"]


async def test_the_sdk_knows_a_wrong_key_by_its_words(
    stand_in: AmplitudeStandIn, caplog: pytest.LogCaptureFixture
) -> None:
    sdk = Sdk(stand_in, key="wrong")
    await sdk.track(event(1))
    await sdk.close()
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR] == ["Invalid API Key"]
    assert stand_in.state.by_status == {400: 1}
