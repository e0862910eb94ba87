"""/healthz, /readyz and /metrics of the ingress."""

from __future__ import annotations

import asyncio

import pytest

from ingress import pages
from listwire import metrics
from tests import virtual_time
from tests.ingress_peer import HOOK, Answer, Kafka, ask, running


def counted(label: str, status: int) -> float:
    return float(metrics.INGRESS_REQUESTS(route=label, status=str(status))._value.get())


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


def test_metrics_that_are_asked_for_at_once_are_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    monkeypatch.setattr(pages, "generate_latest", lambda _: made.append(1) or b"page %d" % len(made))

    async def main() -> list[Answer]:
        async with running() as peer:
            first = await asyncio.gather(*(peer.ask("GET", "/metrics") for _ in range(10)))
            return [*first, await peer.ask("GET", "/metrics")]

    answers = virtual_time.run(main())
    assert [answer.body for answer in answers] == [b"page 1"] * 10 + [b"page 2"]


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
