"""What processes show on /metrics, recorded scrape by scrape, and played to the alerts by Prometheus' own `promtool`.

A scrape becomes one minute of the played time, so a minute of `for:` takes half a second of the test. What processes measure
in seconds of their own is not made faster by that; where it matters, `interval` plays a scrape as less, and `every` takes
scrapes more slowly. The exporter looks as often as it is scraped: `Exporter(config, every=SCRAPE_EVERY)`. A process that does not
answer is a target that is down: its series go stale, as Prometheus makes them. Nothing here knows what an alert should do.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import httpx
import yaml

from tests.exporter_process import Series, samples

RULES: Final = Path(__file__).parents[1] / "ops/prometheus/rules.yml"
USED: Final = frozenset(re.findall(r"\blistwire_[a-z_]+", RULES.read_text()))
SCRAPE_EVERY: Final = 0.5
FIRING: Final = 'group by (alertname) (ALERTS{alertstate="firing"})'


def promtool(*arguments: str | Path) -> None:
    """Fails with its words where they are not "SUCCESS"."""
    program = shutil.which("promtool")
    if program is None:
        raise AssertionError("promtool is not installed: it is part of Debian's and Ubuntu's package `prometheus`")
    ran = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


class Recording:
    """`targets`: job to a function that says where it answers now ("" for nowhere). `interval`: played seconds a scrape;
    `every`: the test's own.
    """

    def __init__(
        self, targets: Mapping[str, Callable[[], str]], interval: int = 60, every: float = SCRAPE_EVERY
    ) -> None:
        self.targets = targets
        self.interval = interval
        self.every = every
        self.scrapes: list[dict[Series, float]] = []
        self._firing: dict[int, set[str]] = {}

    async def step(self) -> dict[Series, float]:
        """One scrape of every target, `every` seconds after the one before."""
        await asyncio.sleep(self.every)
        found: dict[Series, float] = {}
        async with httpx.AsyncClient(trust_env=False, verify=False, timeout=5) as http:
            for job, where in self.targets.items():
                try:
                    page = (await http.get(where() + "/metrics")).text
                except (httpx.HTTPError, httpx.InvalidURL):
                    continue
                for (name, labels), value in samples(page).items():
                    if name in USED:
                        found[name, labels | {("job", job)}] = value
        self.scrapes.append(found)
        return found

    async def steps(self, count: int) -> None:
        for _ in range(count):
            await self.step()

    async def hold(self, count: int) -> None:
        """One scrape, and then so many more that show what it showed: for what lasts hours. What would have changed in these
        hours is not seen, so a test looks again, with a real scrape, before it expects anything.
        """
        latest = await self.step()
        self.scrapes += [latest] * count

    async def until(self, name: str, so: Callable[[float], bool], within: float = 60, **labels: str) -> None:
        """Until a series of this name with these labels is so: for so many seconds, at most."""
        end = time.monotonic() + within
        while time.monotonic() < end:
            seen = await self.step()
            if any(n == name and set(labels.items()) <= has and so(value) for (n, has), value in seen.items()):
                return
        raise AssertionError(f"{name} with {labels} never was so: {self.shown(name)}")

    async def until_none(self, name: str, within: float = 60) -> None:
        """Until every series of this name is 0, or gone."""
        end = time.monotonic() + within
        while time.monotonic() < end:
            if not any(value for (n, _labels), value in (await self.step()).items() if n == name):
                return
        raise AssertionError(f"{name} never came to nothing: {self.shown(name)}")

    def shown(self, name: str) -> list[tuple[dict[str, str], float]]:
        return [(dict(labels), value) for (n, labels), value in self.scrapes[-1].items() if n == name]

    def expect(self, *alerts: str) -> None:
        """Exactly these fire at the latest scrape."""
        self._firing[len(self.scrapes) - 1] = set(alerts)

    def expect_silence_since(self, first: int) -> None:
        """None fires from scrape `first` to the latest one."""
        self._firing.update({at: set() for at in range(first, len(self.scrapes))})

    def as_promtool_test(self) -> dict[str, Any]:
        every = sorted({each for scrape in self.scrapes for each in scrape}, key=str)
        return {
            "rule_files": [str(RULES)],
            "evaluation_interval": f"{self.interval}s",
            "tests": [
                {
                    "interval": f"{self.interval}s",
                    "input_series": [{"series": _written(each), "values": self._values(each)} for each in every],
                    "promql_expr_test": [
                        {
                            "expr": FIRING,
                            "eval_time": f"{at * self.interval}s",
                            "exp_samples": [
                                {"labels": f'{{alertname="{alert}"}}', "value": 1} for alert in sorted(alerts)
                            ],
                        }
                        for at, alerts in sorted(self._firing.items())
                    ],
                }
            ],
        }

    def _values(self, each: Series) -> str:
        every = (repr(scrape[each]) if each in scrape else "stale" for scrape in self.scrapes)
        runs = [(value, sum(1 for _ in same)) for value, same in groupby(every)]
        return " ".join(
            f"{value}x{count - 1}" if value != "stale" and count > 1 else " ".join([value] * count)
            for value, count in runs
        )

    def check(self, directory: Path) -> None:
        """Plays it."""
        file = directory / "recorded.yml"
        file.write_text(yaml.safe_dump(self.as_promtool_test(), width=10_000))
        promtool("test", "rules", file)


def _written(each: Series) -> str:
    name, labels = each
    return name + "{" + ",".join(f'{label}="{value}"' for label, value in sorted(labels)) + "}"
