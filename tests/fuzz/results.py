"""What a run has come to: a line for people, and an entry in docs/fuzzing-results.json."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[2] / "docs" / "fuzzing-results.json"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass
class Result:
    """`coverage` is in percent of lines and branches, by file, of the whole corpus replayed; `finds` are sentences."""

    fuzzer: str
    tool: str
    seconds: float
    executions: int
    finds: list[str]
    reached: dict[str, int] = field(default_factory=dict)
    coverage: dict[str, float] = field(default_factory=dict)
    at: str = field(default_factory=_now)

    def text(self) -> str:
        covered = ", ".join(f"{file} {percent:g} %" for file, percent in self.coverage.items())
        reached = ", ".join(f"{name} {count}" for name, count in self.reached.items())
        lines = [f"{self.fuzzer}: {self.executions} executions in {self.seconds:.0f} s; {reached}"]
        lines += [f"  lines and branches: {covered}"] * bool(covered)
        lines += [f"  FOUND: {find}" for find in self.finds] or ["  nothing found"]
        return "\n".join(lines)


def append(results: Path, *found: dict[str, Any]) -> None:
    """One line an entry, so that a difference shows what was added; an entry that is there already is not added again."""
    entries = json.loads(results.read_text()) if results.exists() else []
    entries += [entry for entry in found if entry not in entries]
    entries.sort(key=lambda entry: entry["at"])
    results.write_text("[\n" + ",\n".join(json.dumps(entry) for entry in entries) + "\n]\n")


def save(results: Path, result: Result) -> None:
    append(results, asdict(result))
