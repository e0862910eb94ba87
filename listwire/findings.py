"""What `listwire check` finds: each finding with its way out. A finding never holds a secret."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any

from listwire.redaction import Redactor


class State(StrEnum):
    OK = "ok"
    FAILED = "failed"
    NOTE = "note"  # not wrong, or not to be told from here


SIGNS = {State.OK: "✓", State.FAILED: "✗", State.NOTE: "\N{EN DASH}"}


@dataclass(frozen=True)
class Finding:
    check: str
    state: State
    words: str
    way_out: str = ""


def ok(check: str, words: str) -> Finding:
    return Finding(check, State.OK, words)


def failed(check: str, words: str, way_out: str = "") -> Finding:
    return Finding(check, State.FAILED, words, way_out)


def note(check: str, words: str, way_out: str = "") -> Finding:
    return Finding(check, State.NOTE, words, way_out)


def redacted(findings: Iterable[Finding], redact: Redactor) -> list[Finding]:
    return [replace(each, words=redact(each.words), way_out=redact(each.way_out)) for each in findings]


def all_right(findings: Iterable[Finding]) -> bool:
    return all(each.state is not State.FAILED for each in findings)


def as_json(findings: Iterable[Finding]) -> list[dict[str, Any]]:
    return [asdict(each) for each in findings]
