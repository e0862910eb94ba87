"""Rows to words: medians, markdown tables between README.md's markers, charts; and under which conditions it was measured."""

from __future__ import annotations

import os
import platform
import re
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import orjson

from bench import charts

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"
LIBRARIES = (
    "faust-streaming",
    "aiokafka",
    "quixstreams",
    "confluent-kafka",
    "httpx",
    "aiohttp",
    "granian",
    "uvloop",
    "orjson",
)

Row = dict[str, Any]
Show = Callable[[float], str]


def whole(value: float) -> str:
    return f"{value:,.0f}".replace(",", " ")


def one(value: float) -> str:
    return f"{value:.1f}"


# Part → (key of a row, heading, how it is shown). The check is added to each.
COLUMNS: dict[str, tuple[tuple[str, str, Show], ...]] = {
    "drain": (
        ("rate", "events/s", whole), ("with_start", "events/s, start included", whole), ("cpu_s", "CPU s while draining", one),
        ("cpu_us", "CPU µs an event", whole), ("cpu_all_s", "CPU s, start included", one), ("rss_mb", "RSS peak MB", whole),
        ("requests", "requests", whole),
    ),
    "latency": (
        ("p50", "p50 ms", whole), ("p99", "p99 ms", whole), ("core", "% of a core", whole), ("rss_mb", "RSS peak MB", whole),
        ("requests", "requests", whole),
    ),
    "ingress": (
        ("rate", "durable requests/s", whole), ("p50", "p50 ms", one), ("p99", "p99 ms", one), ("cpu_us", "CPU µs a request", whole),
        ("rss_mb", "RSS peak MB", whole), ("turn_ns", "ns for a turn of a Python loop just before", whole),
    ),
    "outage": (
        ("rss_mb", "RSS MB at the end", whole), ("growth_mb", "growth in the second half, MB", one), ("peak_mb", "RSS peak MB", whole),
        ("core", "% of a core", whole), ("stop_s", "seconds to stop", one),
    ),
}  # fmt: skip
COLUMNS["monitoring"] = COLUMNS["growth"] = COLUMNS["drain"]
COLUMNS["capacity"] = COLUMNS["ingress"]
COLUMNS["scaling"] = tuple(column for column in COLUMNS["drain"] if not column[0].startswith("cpu"))
COLUMNS["takeover"] = (
    ("gap", "longest wait of an event, s", one), ("start", "start to first event, s", one), ("repeated", "sent again", whole),
)  # fmt: skip
COLUMNS["abuse"] = (
    ("connections", "of them at once", whole), ("rate", "regular requests/s", whole), ("usual_p99", "usual p99 ms", one),
    ("p99", "p99 ms beside them", one), ("ratio", "times the usual", one), ("rss_mb", "RSS MB", whole),
)  # fmt: skip
COLUMNS["profile"] = (("share", "% of the CPU time", one), ("cpu_us", "CPU µs an event", one))
# Where the last column says something else than whether all is well.
LAST = {"profile": "the first line: the drain's check; the others: most of it in"}
# What a row is compared by, against the row named Listwire.
COMPARED = {"drain": "rate", "ingress": "rate", "capacity": "rate", "monitoring": "rate"}


def in_words(row: Row) -> str:
    shown = (f"{key} {value:.1f}" for key, value in row.items() if isinstance(value, float | int) and key != "round")
    return f"{row['name']}: {', '.join(shown)}; {row['check']}"


def medians(rows: list[Row]) -> list[Row]:
    """One row a name, in the order of first appearance; a check that failed in any round is shown."""
    names = dict.fromkeys(row["name"] for row in rows)
    found = []
    for name in names:
        own = [row for row in rows if row["name"] == name]
        row = {
            key: statistics.median(r[key] for r in own)
            for key, value in own[0].items()
            if isinstance(value, float | int)
        }
        checks = dict.fromkeys(r["check"].replace("\n", " ").replace("|", "/") for r in own)
        found.append({**row, "name": name, "check": "; ".join(checks)})
    return found


def table(part: str, rows: list[Row]) -> str:
    columns = COLUMNS[part]
    lines = medians(rows)
    compared = COMPARED.get(part)
    first = lines[0][compared] if compared else 0.0
    heads = [
        "",
        *(heading for _, heading, _ in columns),
        *([f"{lines[0]['name']} is … times this"] if compared else []),
        LAST.get(part, "check"),
    ]
    out = ["| " + " | ".join(heads) + " |", "|---" + "|--:" * (len(heads) - 2) + "|---|"]
    for row in lines:
        cells = [row["name"], *(show(row[key]) for key, _, show in columns)]
        if compared:
            cells.append(f"{first / row[compared]:.2f}" if row[compared] else "")
        out.append("| " + " | ".join([*cells, row["check"]]) + " |")
    return "\n".join(out)


def conditions() -> dict[str, Any]:
    cpu = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    return {
        "day": time.strftime("%Y-%m-%d %H:%M"),
        "load": os.getloadavg()[0],
        "cpu": f"{os.cpu_count()} cores of {cpu[1] if cpu else platform.processor()}",
        "system": f"Linux {platform.release().split('-')[0]}, Python {platform.python_version()}",
        "versions": {name: version(name) for name in LIBRARIES},
    }


def keep(part: str, rows: list[Row], begun: dict[str, Any], chosen: dict[str, Any]) -> None:
    """`begun`: the conditions when the part began; its load is what others asked of the machine at that moment."""
    kept = orjson.loads(RESULTS.read_bytes()) if RESULTS.exists() else {}
    options = {
        key: chosen[key]
        for key in (
            "records",
            "rounds",
            "rate",
            "seconds",
            "connections",
            "outage_records",
            "outage_seconds",
            "most_records",
        )
    }
    kept[part] = {"conditions": begun, "options": options, "rows": rows}
    RESULTS.write_bytes(orjson.dumps(kept, option=orjson.OPT_INDENT_2))


def write() -> None:
    """README.md and charts from results.json."""
    kept = orjson.loads(RESULTS.read_bytes())
    readme = HERE / "README.md"
    text = readme.read_text()
    for part, found in kept.items():
        picture = f"![{part}](charts/{part}.svg)\n\n" if charts.draw(part, medians(found["rows"])) else ""
        text = between(text, part, f"{picture}{table(part, found['rows'])}\n\n{when(part, found)}")
    text = between(text, "conditions", machine(next(iter(kept.values()))["conditions"]))
    readme.write_text(text)


def when(part: str, found: dict[str, Any]) -> str:
    options, at = found["options"], found["conditions"]
    size = {
        "drain": "{records} records, 4 partitions, median of {rounds} interleaved rounds",
        "monitoring": "{records} records, 4 partitions, median of {rounds} interleaved rounds",
        "latency": "{rate} records/s for {seconds:g} s, median of {rounds} interleaved rounds",
        "ingress": "{connections} connections for {seconds:g} s, median of {rounds} interleaved rounds",
        "capacity": "256 connections for {seconds:g} s, median of {rounds} interleaved rounds",
        "takeover": "{rate} records/s, two workers, 4 partitions, median of {rounds} interleaved rounds",
        "abuse": "200 regular requests/s for {seconds:g} s beside each, median of {rounds} rounds",
        "profile": "{records} records, one run with a sampler in it",
        "growth": "4 partitions, one run each",
        "scaling": "{records} records, one run each",
        "outage": "{outage_records} records waiting, {outage_seconds:g} s, one run each",
    }
    words = size[part].format(**options)
    return f"{at['day']}, {words}; load of the machine when it began: {at['load']:.1f}."


def between(text: str, marker: str, body: str) -> str:
    pattern = re.compile(rf"(<!-- {marker} -->).*?(<!-- /{marker} -->)", re.DOTALL)
    return pattern.sub(lambda found: f"{found[1]}\n{body}\n{found[2]}", text)


def machine(at: dict[str, Any]) -> str:
    libraries = ", ".join(f"{name} {number}" for name, number in at["versions"].items())
    return f"{at['cpu']}, shared by everything below; {at['system']}; {libraries}."
