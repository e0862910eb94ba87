"""A worker whose Kafka goes away between its first question and Faust's own connection."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError
from structlog.testing import capture_logs

import stream.worker


class Falling:
    """Mode's worker, which cannot start."""

    fault: Exception

    def __init__(self, app: Any, **_: Any) -> None:
        self._starting_fut: asyncio.Future[None]

    async def start(self) -> None:
        raise self.fault

    def stop_and_shutdown(self) -> None: ...


@pytest.mark.parametrize(
    ("fault", "event", "detail"),
    [
        (
            KafkaConnectionError("Unable to bootstrap from [('127.0.0.1', 1)]"),
            "Kafka went away while the worker was starting",
            "Unable to bootstrap",
        ),
        (RuntimeError("a fault of ours"), "the worker failed", ""),
    ],
    ids=["Kafka", "ours"],
)
def test_a_kafka_that_goes_while_the_worker_starts_is_a_sentence_and_a_fault_of_ours_a_traceback(
    fault: Exception, event: str, detail: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Falling, "fault", fault, raising=False)
    monkeypatch.setattr(stream.worker, "Worker", Falling)
    app: Any = SimpleNamespace(exit_code=0, fail=SimpleNamespace(fault=None))
    with asyncio.Runner() as runner, capture_logs() as logged:
        assert stream.worker._execute(app, runner.get_loop()) == 1
    [line] = logged
    assert line["event"] == event
    assert detail in line.get("detail", "")
    assert bool(line.get("exc_info")) == (not detail)
