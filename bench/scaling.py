"""Two parts on Listwire alone: does a drain cost the same as work grows, and what do more processes and partitions bring?"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench.drain import Row, drain
from bench.kafka import Broker, broker
from bench.processes import Measured
from bench.runners import LISTWIRE, Runner, Sink, sink

Say = Callable[[Row], None]
PROCESSES = (1, 2, 3, 4)
PARTITIONS = (1, 4, 16, 64)
# Of the partitions that processes are counted on, and the other way round.
USUAL_PARTITIONS, USUAL_PROCESSES = 16, 1


@dataclass(frozen=True)
class Several(Runner):
    """Listwire in several processes. Measured is the first; what it costs is no more than its share."""

    processes: int = 1

    @contextmanager
    def started(self, broker: Broker, sink: Sink, *, copy: int = 0) -> Iterator[Measured]:
        with ExitStack() as stack:
            start = partial(self.start, broker, sink)
            first, *_ = [stack.enter_context(start(copy=number)) for number in range(self.processes)]
            yield first


def growth(most: int, latency: float, say: Say) -> list[Row]:
    """One drain each of 10 000 records, and ten times as many until `most`."""
    rows = []
    count = 10_000
    while count <= most:
        with (
            tempfile.TemporaryDirectory() as directory,
            sink(Path(directory), latency) as one,
            broker(one.url) as kafka,
        ):
            kafka.fill(count)
            rows.append(
                {**drain(LISTWIRE, kafka, one, count=count), "name": f"{count:,}".replace(",", " ") + " records"}
            )
        say(rows[-1])
        count *= 10
    return rows


def scaling(records: int, latency: float, say: Say) -> list[Row]:
    wanted: Sequence[tuple[int, int]] = [
        *((each, USUAL_PARTITIONS) for each in PROCESSES),
        *((USUAL_PROCESSES, each) for each in PARTITIONS if each != USUAL_PARTITIONS),
    ]
    rows = []
    for processes, partitions in wanted:
        runner = Several("Listwire", processes=processes)
        with (
            tempfile.TemporaryDirectory() as directory,
            sink(Path(directory), latency) as one,
            broker(one.url, partitions) as kafka,
        ):
            kafka.fill(records)
            row = drain(runner, kafka, one, count=records)
        words = (
            f"{processes} process{'es' if processes > 1 else ''}, {partitions} partition{'s' if partitions > 1 else ''}"
        )
        rows.append({**row, "name": words})
        say(rows[-1])
    return rows
