"""Lag on a terminal: the table, and what several readings tell together (rate, time to drain, a spark line). No I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.console import Group as Stack
from rich.table import Table
from rich.text import Text

from listwire.lag import GroupLag, sentence
from listwire.spoken import duration

BARS = " ▁▂▃▄▅▆▇█"
WINDOW = 30.0
POINTS = 40


@dataclass
class Trend:
    """The readings of one group over the last `WINDOW` seconds."""

    readings: deque[tuple[float, int, int]] = field(default_factory=deque)
    line: deque[int] = field(default_factory=lambda: deque(maxlen=POINTS))

    def add(self, now: float, lag: GroupLag) -> None:
        """`now` is monotonic seconds."""
        settled = sum(p.committed if p.committed is not None else p.begin for p in lag.partitions)
        self.readings.append((now, lag.records, settled))
        self.line.append(lag.records)
        while len(self.readings) > 2 and now - self.readings[0][0] > WINDOW:
            self.readings.popleft()

    @property
    def rate(self) -> float | None:
        """Records settled a second; None before there are two readings."""
        seconds = self._seconds()
        return max(0.0, (self.readings[-1][2] - self.readings[0][2]) / seconds) if seconds else None

    @property
    def drained_in(self) -> float | None:
        """Seconds until nothing waits if all goes on as in the window; None where it does not shrink."""
        seconds, waiting = self._seconds(), self.readings[-1][1] if self.readings else 0
        if not seconds or not waiting:
            return None
        shrinking = (self.readings[0][1] - waiting) / seconds
        return waiting / shrinking if shrinking > 0 else None

    def words(self) -> str:
        if self.rate is None:
            return ""
        words = f"{self.rate:,.0f} settled a second"
        if self.readings[-1][1]:
            words += f", drained in {duration(self.drained_in)}" if self.drained_in is not None else ", not shrinking"
        return words

    def _seconds(self) -> float:
        return self.readings[-1][0] - self.readings[0][0] if len(self.readings) > 1 else 0.0


def spark(values: Sequence[int]) -> str:
    """A bar a value, the highest at full height; a value above 0 is never drawn as none."""
    most = max(values, default=0)
    if most == 0:
        return BARS[0] * len(values)
    last = len(BARS) - 1
    return "".join(BARS[0 if value <= 0 else max(1, round(value / most * last))] for value in values)


def table(lags: Sequence[GroupLag]) -> Table:
    """A line a partition that lags, and one a group with its totals."""
    shown = Table("group", "partition", box=None, header_style="bold")
    for title in ("committed", "end", "records", "oldest"):
        shown.add_column(title, justify="right")
    shown.add_column("state")
    for lag in lags:
        for p in lag.partitions:
            if p.records or p.lost:
                shown.add_row(
                    lag.group, str(p.partition), "never" if p.committed is None else str(p.committed),
                    str(p.end), f"{p.records:,}", "" if p.seconds is None else duration(p.seconds),
                    f"{p.lost:,} deleted unread" if p.lost else "",
                )  # fmt: skip
        members = f"{lag.state}, {len(lag.members)} member{'' if len(lag.members) == 1 else 's'}"
        shown.add_row(
            lag.group, f"all {len(lag.partitions)}", "", "", f"{lag.records:,}",
            "" if lag.seconds is None else duration(lag.seconds), members, style="bold",
        )  # fmt: skip
    return shown


def screen(lags: Sequence[GroupLag], trends: dict[str, Trend]) -> Stack:
    """What `--watch` shows."""
    parts: list[Table | Text] = [table(lags), Text()]
    for lag in lags:
        trend = trends[lag.group]
        parts.append(Text(sentence(lag)))
        parts.append(Text(f"  {spark(list(trend.line)):<{POINTS}} {trend.words()}", style="cyan"))
    return Stack(*parts)
