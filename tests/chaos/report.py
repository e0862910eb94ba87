"""What a chaos run has shown: for people as a page of text, for the record as one object in a JSON list."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from tests.chaos.checker import Findings
from tests.chaos.pulse import Pulse

SHOWN: Final = 5
PROMISES: Final = {
    "never_stored": "answered 2xx and not in Kafka",
    "lost": "lost",
    "out_of_order": "out of order",
    "counted_twice": "counted twice",
    "wrong_tags": "tags other than the last word",
    "invented": "nobody asked for",
    "unbalanced": "accounts that do not balance",
    "behind": "partitions not drained",
    "leaked": "secrets in the processes' output",
}


@dataclass
class Tally:
    """What was done to the processes of one kind: how often, and with a delivery under way."""

    done: Counter[str] = field(default_factory=Counter)
    in_flight: Counter[str] = field(default_factory=Counter)

    @property
    def kills(self) -> tuple[int, int, int]:
        """SIGKILLs and SIGTERMs that count, which met a delivery under way; and how many of both there were in all."""
        return self.in_flight["kill"], self.in_flight["term"], self.done["kill"] + self.done["term"]


@dataclass
class Report:
    seed: int
    minutes: float
    tallies: dict[str, Tally] = field(default_factory=lambda: defaultdict(Tally))
    faults: Counter[str] = field(default_factory=Counter)
    commit: str = ""
    lasted: float = 0.0
    pulse: Pulse = field(default_factory=Pulse)
    requests: int = 0
    answered: int = 0
    absorbed: int = 0
    letters: Counter[str] = field(default_factory=Counter)
    ended: dict[str, int] = field(default_factory=dict)
    stops: Counter[str] = field(default_factory=Counter)
    drained_after: float | None = None
    replayed: bool = False
    findings: Findings = field(default_factory=Findings)
    trouble: str = ""

    @property
    def kept(self) -> bool:
        return not self.findings.broken and not self.trouble and self.drained_after is not None

    @property
    def counted(self) -> int:
        """Kills and stops of all kinds with a delivery under way."""
        return sum(kill + term for kill, term, _ in (tally.kills for tally in self.tallies.values()))

    @property
    def replay(self) -> str:
        return f"make chaos MINUTES={self.minutes:g} SEED={self.seed}"

    def note(self, kind: str, what: str, *, in_flight: bool) -> None:
        self.tallies[kind].done[what] += 1
        self.tallies[kind].in_flight[what] += in_flight

    def text(self) -> str:
        lines = [f"Seed {self.seed}, {self.minutes:g} minutes: {'KEPT' if self.kept else 'BROKEN'}", ""]
        for kind, tally in sorted(self.tallies.items()):
            done = ", ".join(
                f"{what} {amount} ({tally.in_flight[what]} with a delivery under way)"
                for what, amount in sorted(tally.done.items())
            )
            lines.append(f"  {kind:14} {done}")
        for kind, tally in sorted(self.tallies.items()):
            kill, term, both = tally.kills
            lines.append(
                f"  {kind:14} {kill} SIGKILL + {term} SIGTERM count; {both - kill - term} of {both} met nothing under way"
            )
        lines.append(f"  {self.counted} of them count, in {self.lasted:.0f} s; {self.pulse.text()}")
        lines.append(
            f"  {'vendor faults':14} {', '.join(f'{n} {c}' for n, c in sorted(self.faults.items())) or 'none'}"
        )
        for what, found in (("stops", self.stops), ("by itself", self.ended)):
            if found:
                lines.append(f"  {what:14} {', '.join(f'{name}: {count}' for name, count in sorted(found.items()))}")
        counts = self.findings.counts
        lines += [
            "",
            f"  requests {self.requests}, answered 2xx {self.answered}; drained after {self.drained_after} s",
            f"  {', '.join(f'{name} {count}' for name, count in sorted(counts.items()))}",
            f"  repetitions that Amplitude absorbed {self.absorbed}; dead letters: "
            + (", ".join(f"{name} {count}" for name, count in sorted(self.letters.items())) or "none")
            + (", of which all that were refused have been replayed" if self.replayed else ""),
            "",
        ]
        for name, words in PROMISES.items():
            broken: list[str] = getattr(self.findings, name)
            lines.append(f"  {len(broken):6} {words}")
            lines += [f"         - {each}" for each in broken[:SHOWN]]
        if self.trouble:
            lines += ["", f"  {self.trouble}"]
        if not self.kept:
            lines += ["", f"  Again: {self.replay}"]
        return "\n".join(lines)

    def record(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "seed": self.seed,
            "minutes": self.minutes,
            "verdict": "kept" if self.kept else "broken",
            "commit": self.commit,
            "lasted": self.lasted,
            "kills_in_flight": {
                "total": self.counted,
                **{
                    kind: dict(zip(("SIGKILL", "SIGTERM"), tally.kills, strict=False))
                    for kind, tally in sorted(self.tallies.items())
                },
            },
            "pulse": self.pulse.record(),
            "processes": {kind: _merged(tally) for kind, tally in sorted(self.tallies.items())},
            "vendor_faults": sum(self.faults.values()),
            "requests": self.requests,
            "answered": self.answered,
            "absorbed": self.absorbed,
            "dead_letters": dict(sorted(self.letters.items())),
            "replayed": self.replayed,
            "drained_after": self.drained_after,
            "ended_by_themselves": dict(sorted(self.ended.items())),
            "counts": dict(sorted(self.findings.counts.items())),
            "broken": {name: len(getattr(self.findings, name)) for name in PROMISES},
            **({"trouble": self.trouble} if self.trouble else {}),
        }


def _merged(tally: Tally) -> Mapping[str, Mapping[str, int]]:
    return {what: {"times": amount, "in_flight": tally.in_flight[what]} for what, amount in sorted(tally.done.items())}


def append(path: Path, report: Report) -> None:
    """One line a run, so that a diff shows one."""
    runs = json.loads(path.read_text()) if path.exists() else []
    lines = ",\n".join(json.dumps(each, ensure_ascii=False) for each in [*runs, report.record()])
    path.write_text(f"[\n{lines}\n]\n")
