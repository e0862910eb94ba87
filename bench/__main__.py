"""`python -m bench [PART…]`: measures, prints as it goes, and writes README.md's tables and the charts.

Parts: drain, latency, ingress, capacity (the same with more connections), outage; only when named: monitoring (the cost of being
watched), takeover (after a SIGKILL), growth (10 000 records to ten million), scaling (processes, partitions), abuse (hostile peers),
profile (where a drain's CPU time goes); `report` measures nothing and writes the tables and charts again from results.json.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from bench import agree, report
from bench.abuse import abuse
from bench.drain import Row, drain, turns
from bench.ingress import CAPACITY, INGRESSES, Load, load_generator, measure
from bench.kafka import Broker, broker
from bench.latency import latency
from bench.monitoring import ways
from bench.outage import outage
from bench.profile import profile
from bench.runners import ALL, Runner, Sink, sink
from bench.scaling import growth, scaling
from bench.takeover import takeover

# Of the sink, in seconds: what an Amplitude nearby takes.
LATENCY = 0.05
USUAL = ("drain", "latency", "ingress", "capacity", "outage")
NAMED = ("monitoring", "takeover", "growth", "scaling", "abuse", "profile", "report")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"default: {' '.join(USUAL)}")
    parser.add_argument("--records", type=int, default=200_000, help="records to drain")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rate", type=int, default=500, help="records a second in `latency`")
    parser.add_argument("--seconds", type=float, default=20, help="of each latency and ingress run")
    parser.add_argument("--connections", type=int, default=64, help="to the ingress")
    parser.add_argument("--outage-records", type=int, default=1_000_000)
    parser.add_argument("--outage-seconds", type=float, default=60)
    parser.add_argument("--most-records", type=int, default=10_000_000, help="the last step of `growth`")
    parser.add_argument("--only", action="append", default=[], help="workers whose name holds this; may be repeated")
    parser.add_argument("--quick", action="store_true", help="one short round; nothing is written")
    parser.add_argument("--print-only", action="store_true", help="write neither README.md nor charts")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.records, chosen.rounds, chosen.seconds = 20_000, 1, 5
        chosen.outage_records, chosen.outage_seconds, chosen.print_only = 100_000, 15, True
        chosen.most_records = 100_000
    if unknown := set(chosen.parts) - {*USUAL, *NAMED}:
        parser.error(f"no part is called {', '.join(sorted(unknown))}")
    chosen.parts = chosen.parts or list(USUAL)
    return chosen


def workers(chosen: argparse.Namespace) -> Sequence[Runner]:
    return [one for one in ALL if not chosen.only or any(word.lower() in one.name.lower() for word in chosen.only)]


def say(words: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {words}", flush=True)


def say_row(row: Row) -> None:
    say(report.in_words(row))


def rounds(some: Sequence[Runner], count: int, records: int, run: Callable[[Runner, Broker, Sink], Row]) -> list[Row]:
    """Each worker once a round, against one broker and one sink."""
    rows = []
    with tempfile.TemporaryDirectory() as directory, sink(Path(directory), LATENCY) as one, broker(one.url) as kafka:
        if records:
            say(f"producing {records} records")
            kafka.fill(records)
        for number, runner in turns(some, count):
            row = {"round": number, **run(runner, kafka, one)}
            rows.append(row)
            say(f"round {number + 1}/{count}  " + report.in_words(row))
    return rows


def part(name: str, chosen: argparse.Namespace) -> list[Row]:
    some = workers(chosen)
    match name:
        case "latency":
            run = partial(latency, rate=chosen.rate, seconds=chosen.seconds)
            return rounds(some, chosen.rounds, 0, run)
        case "outage":
            return rounds(some, 1, chosen.outage_records, partial(outage, seconds=chosen.outage_seconds))
        case "ingress":
            return ingress(chosen, chosen.connections)
        case "capacity":
            return ingress(chosen, CAPACITY)
        case "abuse":
            with broker() as kafka:
                return abuse(kafka, chosen.rounds, chosen.seconds, say_row)
        case "takeover":
            return rounds(some, chosen.rounds, 0, partial(takeover, rate=chosen.rate))
        case "profile":
            return profile(chosen.records, LATENCY)
        case "growth":
            return growth(chosen.most_records, LATENCY, say_row)
        case "scaling":
            return scaling(chosen.records, LATENCY, say_row)
        case _:
            some = ways() if name == "monitoring" else some
            return rounds(some, chosen.rounds, chosen.records, partial(drain, count=chosen.records))


def ingress(chosen: argparse.Namespace, connections: int) -> list[Row]:
    load = Load(connections, chosen.seconds)
    say(load_generator())
    rows = []
    with broker() as kafka:
        for number in range(chosen.rounds):
            for way in INGRESSES[number % 2 :] + INGRESSES[: number % 2]:
                rows.append({"round": number, **measure(way, kafka, load)})
                say(f"round {number + 1}/{chosen.rounds}  " + report.in_words(rows[-1]))
    return rows


def main() -> None:
    chosen = arguments()
    agree.events_agree()
    for name in chosen.parts:
        if name == "report":
            continue
        say(f"— {name} —")
        begun = report.conditions()
        rows = part(name, chosen)
        print("\n" + report.table(name, rows) + "\n", flush=True)
        if not chosen.print_only:
            report.keep(name, rows, begun, vars(chosen))
    if not chosen.print_only:
        report.write()
        say("written: bench/README.md, bench/results.json, bench/charts/")


if __name__ == "__main__":
    main()
