"""Every alert is silent, fires and clears on a recorded run of real processes: which one on which run is read from the tests.

`Recording.expect("ListwireX")` fails unless the alert fires at that very scrape, so what such calls name is what fires there;
here it is only counted, and nothing runs.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
ALERTS = {
    rule["alert"]
    for group in yaml.safe_load((ROOT / "ops/prometheus/rules.yml").read_text())["groups"]
    for rule in group["rules"]
}
# Alert: why no recorded run fires it. Better empty.
NOT_RECORDED: dict[str, str] = {}


def calls(tree: ast.AST, *names: str) -> list[ast.Call]:
    """Of methods with these names, in the order of the file."""
    found = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in names
    ]
    return sorted(found, key=lambda call: call.lineno)


def recorded_runs() -> Iterator[tuple[Path, list[set[str] | None]]]:
    """What each run expects, in order: alerts, or None for silence from the beginning."""
    for path in sorted((ROOT / "tests/integration").glob("test_*.py")):
        text = path.read_text()
        if "from tests.recorded import" not in text:
            continue
        expected: list[set[str] | None] = []
        for call in calls(ast.parse(text), "expect", "expect_silence_since"):
            assert isinstance(call.func, ast.Attribute)
            if call.func.attr == "expect":
                expected.append({str(ast.literal_eval(argument)) for argument in call.args})
            else:
                expected.append(None)
        yield path, expected


RUNS = dict(recorded_runs())


def test_every_alert_fires_on_a_recorded_run_or_says_why_it_does_not() -> None:
    fired = {alert for expected in RUNS.values() for alerts in expected if alerts for alert in alerts}
    assert fired <= ALERTS, "an alert that is not in the rules cannot fire"
    assert ALERTS - fired == NOT_RECORDED.keys()
    assert all(NOT_RECORDED.values())


def test_each_run_begins_silent_plays_what_it_recorded_and_ends_silent() -> None:
    assert RUNS
    for path, expected in RUNS.items():
        assert expected.count(None) == 1, f"{path.name}: one run a file, so that its order can be read"
        assert expected[0] is None, path.name
        assert expected[-1] == set(), path.name
        assert len(calls(ast.parse(path.read_text()), "check")) == 1, f"{path.name} never plays what it recorded"


def test_an_alert_clears_while_its_run_goes_on() -> None:
    """At least one run sees it end between two expectations."""
    cleared = set()
    for expected in RUNS.values():
        for before, after in pairwise(expected):
            cleared |= (before or set()) - (after or set())
    assert cleared | NOT_RECORDED.keys() == ALERTS
