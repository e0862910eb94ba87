"""Logs: lines for people on a terminal, JSON for machines. Addresses only as hashes; a known secret cannot pass.

aiokafka writes some 50 error lines a second while a broker is away (seen): repeated lines are summed up.
"""

from __future__ import annotations

import hashlib
import logging
import sys
import time
from collections.abc import Callable, MutableMapping
from typing import Any

import structlog

from listwire.redaction import Redactor

QUIET_FOR = 10.0
NOISY = ("aiokafka", "faust", "mode", "kafka", "asyncio", "httpx", "httpcore")
# mode tells of every start and stop of every inner service, in the name of whoever subclassed it.
SERVICE = "[^"
Event = MutableMapping[str, Any]
_explanations: list[Callable[[BaseException], str | None]] = []


def address_hash(address: str) -> str:
    """What stands for an address in a log line: the same person is recognised, nobody is named."""
    return "addr:" + hashlib.sha256(address.strip().lower().encode()).hexdigest()[:12]


class Repeats(logging.Filter):
    """Lets a library's line through once in `QUIET_FOR` seconds and says how many like it were left out."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self.clock = clock
        self.seen: dict[tuple[str, int, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno <= logging.INFO and (record.name.startswith(NOISY) or str(record.msg).startswith(SERVICE)):
            return False
        if not record.name.startswith(NOISY):
            return True
        key = (record.name, record.levelno, str(record.msg)[:80])
        now = self.clock()
        last, left_out = self.seen.get(key, (-QUIET_FOR, 0))
        if now - last < QUIET_FOR:
            self.seen[key] = (last, left_out + 1)
            return False
        if len(self.seen) > 500:
            self.seen.clear()
        self.seen[key] = (now, 0)
        if left_out:
            # Not yet filled in: a library's wrong arguments would raise here, in the middle of its work.
            record.msg = f"{record.msg} (and {left_out} more like it)"
        return True


def explain_with(words: Callable[[BaseException], str | None]) -> None:
    """Faults that `words` has a sentence for are logged with that, and without a traceback through the libraries that met them."""
    _explanations.append(words)


def _in_words(_logger: Any, _method: str, event: Event) -> Event:
    given = event.get("exc_info")
    fault = given[1] if isinstance(given, tuple) else given
    if isinstance(fault, BaseException) and (
        found := next(filter(None, (each(fault) for each in _explanations)), None)
    ):
        del event["exc_info"]
        event["detail"] = found
    return event


class _Redacted(logging.Formatter):
    def __init__(self, inner: logging.Formatter, redact: Redactor) -> None:
        super().__init__()
        self.inner = inner
        self.redact = redact

    def format(self, record: logging.LogRecord) -> str:
        return self.redact(self.inner.format(record))


def configure(process: str, redact: Redactor, *, level: str = "info", style: str = "auto") -> None:
    """Sets up structlog and the standard library's logging for a whole process; lines go to stderr."""
    as_json = style == "json" or (style == "auto" and not sys.stderr.isatty())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]

    def name_process(_logger: Any, _method: str, event: Event) -> Event:
        event["process"] = process
        return event

    last: list[Any] = [_in_words]
    last += (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if as_json
        else [
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)
        ]
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*shared, name_process],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Redacted(formatter, redact))
    handler.addFilter(Repeats())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # httpx logs every URL at INFO; a URL may hold what nobody should read, and there are thousands a minute.
    for name in ("httpx", "httpcore", "asyncio", "aiohttp.access", "_granian"):
        logging.getLogger(name).setLevel(logging.WARNING)
    structlog.configure(
        processors=[
            *shared,
            name_process,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def get(name: str) -> Any:
    return structlog.stdlib.get_logger(name)
