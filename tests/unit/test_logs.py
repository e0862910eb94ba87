"""Log lines: one a thing that happened, for people or for machines, and never with a secret or an address."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from listwire import logs
from listwire.logs import QUIET_FOR, Repeats, address_hash
from listwire.redaction import HIDDEN, Redactor

SECRET = 'Pa/th "Sécret'
Written = Callable[..., str]


@pytest.fixture
def written(capsys: pytest.CaptureFixture[str]) -> Iterator[Written]:
    """Configures logs, lets something be logged, and gives back what reached stderr."""
    root = logging.getLogger()
    before = (
        root.handlers[:],
        root.level,
        {n: logging.getLogger(n).level for n in ("httpx", "httpcore", "asyncio", "aiohttp.access")},
    )

    def write(style: str, log: Callable[[], None], level: str = "info") -> str:
        logs.configure("ingress", Redactor([SECRET]), level=level, style=style)
        log()
        return capsys.readouterr().err

    yield write
    root.handlers[:], root.level = before[0], before[1]
    for name, old in before[2].items():
        logging.getLogger(name).setLevel(old)
    structlog.reset_defaults()


def fail_with_the_secret(logger: Any) -> None:
    try:
        raise RuntimeError(f"cannot open https://hooks.example.com/webhooks/{SECRET}")
    except RuntimeError:
        logger.exception("request failed")


def test_machines_get_a_json_object_a_line(written: Written) -> None:
    line = written("json", lambda: logs.get("ingress.app").info("stored", source="news", bytes=512))
    found = json.loads(line)
    assert line.count("\n") == 1
    assert found.pop("timestamp").endswith("Z")
    assert found == {
        "event": "stored", "source": "news", "bytes": 512, "level": "info", "logger": "ingress.app", "process": "ingress",
    }  # fmt: skip


def test_a_library_s_line_looks_like_ours(written: Written) -> None:
    found = json.loads(written("json", lambda: logging.getLogger("somebody").warning("%s of %s", 1, 2)))
    assert (found["event"], found["level"], found["logger"], found["process"]) == ("1 of 2", "warning", "somebody", "ingress")  # fmt: skip


def test_people_get_a_line_without_colours_where_no_terminal_is(written: Written) -> None:
    line = written("console", lambda: logs.get("ingress.app").info("stored", source="news"))
    assert "stored" in line
    assert "source=news" in line
    assert "\033" not in line


def test_without_a_terminal_lines_are_for_machines(written: Written) -> None:
    assert json.loads(written("auto", lambda: logs.get("x").info("y")))["event"] == "y"


@pytest.mark.parametrize("style", ["json", "console"])
@pytest.mark.parametrize("logger", ["ours", "a library's"])
def test_no_secret_is_in_a_line_or_a_traceback(written: Written, style: str, logger: str) -> None:
    log = logs.get("stream.delivery") if logger == "ours" else logging.getLogger("somebody")
    text = written(style, lambda: fail_with_the_secret(log))
    assert "RuntimeError" in text
    assert HIDDEN in text
    for piece in ("Pa/th", "Sécret", "S\\u00e9cret"):
        assert piece not in text


@pytest.mark.parametrize("style", ["json", "console"])
def test_no_secret_is_in_a_value(written: Written, style: str) -> None:
    log = logs.get("x")
    text = written(style, lambda: log.info("said", words=SECRET, nested={"deep": [SECRET]}, raw=SECRET.encode()))
    assert text.count(HIDDEN) == 3
    assert "cret" not in text


def test_lines_below_the_level_are_left_out(written: Written) -> None:
    log = logs.get("x")
    assert written("json", lambda: log.info("no"), level="warning") == ""
    assert "yes" in written("json", lambda: log.warning("yes"), level="warning")


def test_urls_of_requests_are_not_logged_by_the_http_client(written: Written) -> None:
    assert written("json", lambda: logging.getLogger("httpx").info("HTTP Request: POST https://…")) == ""


@given(st.emails(), st.sampled_from([str.upper, str.lower, str.title, lambda s: f" {s}\n"]))
def test_an_address_is_recognised_and_nobody_is_named(address: str, change: Callable[[str], str]) -> None:
    hashed = address_hash(address)
    assert address_hash(change(address)) == hashed
    assert hashed.startswith("addr:")
    assert len(hashed) == 17
    assert address.lower() not in hashed


def test_two_addresses_have_two_hashes() -> None:
    assert address_hash("a@example.com") != address_hash("b@example.com")


class Heard:
    """What a logger behind `Repeats` lets through, on a clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 0.0
        self.filter = Repeats(clock=lambda: self.now)

    def __call__(self, name: str, message: Any, *args: Any, level: int = logging.ERROR) -> str | None:
        record = logging.LogRecord(name, level, __file__, 1, message, args, None)
        return record.getMessage() if self.filter.filter(record) else None


def test_a_library_s_repeated_line_is_summed_up() -> None:
    heard = Heard()
    assert heard("aiokafka.client", "broker %s is away", 1) == "broker 1 is away"
    assert [heard("aiokafka.client", "broker %s is away", n) for n in range(50)] == [None] * 50
    heard.now += QUIET_FOR
    assert heard("aiokafka.client", "broker %s is away", 2) == "broker 2 is away (and 50 more like it)"
    heard.now += QUIET_FOR
    assert heard("aiokafka.client", "broker %s is away", 3) == "broker 3 is away"


def test_another_line_of_the_library_passes() -> None:
    heard = Heard()
    assert heard("aiokafka.client", "one")
    assert heard("aiokafka.client", "two")
    assert heard("aiokafka.consumer", "one")
    assert heard("aiokafka.client", "one", level=logging.WARNING)
    assert heard("aiokafka.client", "one") is None


def test_our_own_lines_always_pass() -> None:
    heard = Heard()
    assert [heard("stream.delivery", "again") for _ in range(3)] == ["again"] * 3


def test_wrong_arguments_of_a_library_do_not_raise_in_the_middle_of_its_work() -> None:
    heard = Heard()
    record = logging.LogRecord("aiokafka", logging.ERROR, __file__, 1, "%d of %d", ("x",), None)
    assert heard.filter.filter(record)
    assert not heard.filter.filter(record)
    heard.now += QUIET_FOR
    assert heard.filter.filter(record)


def test_what_is_remembered_has_a_bound() -> None:
    heard = Heard()
    for number in range(5000):
        heard("aiokafka", f"line {number}")
    assert len(heard.filter.seen) <= 501
