"""Alerts and dashboards use metrics that exist, and every alert has a runbook entry whose commands exist."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest
import yaml

from listwire import cli, metrics

ROOT = Path(__file__).parents[2]
RULES = yaml.safe_load((ROOT / "ops/prometheus/rules.yml").read_text())
ALERTS = [rule for group in RULES["groups"] for rule in group["rules"]]
NAMES = {metric.name for metric in metrics.METRICS}
SUFFIXES = ("", "_bucket", "_sum", "_count")


def known(name: str) -> bool:
    return any(name == each + suffix for each in NAMES for suffix in SUFFIXES)


def used(text: str) -> set[str]:
    return set(re.findall(r"\blistwire_[a-z_]+", text))


@pytest.mark.parametrize("alert", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_uses_metrics_that_exist_and_links_to_its_entry(alert: dict) -> None:
    unknown = {name for name in used(alert["expr"]) if not known(name)}
    assert not unknown
    entry = (ROOT / alert["annotations"]["runbook"]).read_text()
    assert f"`{alert['alert']}`" in entry
    assert alert["labels"]["severity"] in {"warning", "critical"}


def test_every_entry_belongs_to_an_alert() -> None:
    entries = {path.name for path in (ROOT / "docs/runbooks").glob("*.md")} - {"README.md"}
    assert entries == {Path(alert["annotations"]["runbook"]).name for alert in ALERTS}
    index = (ROOT / "docs/runbooks/README.md").read_text()
    assert all(f"`{alert['alert']}`" in index for alert in ALERTS)


@pytest.mark.parametrize("page", sorted((ROOT / "docs/runbooks").glob("*.md")), ids=lambda path: path.stem)
def test_a_runbooks_commands_exist(page: Path) -> None:
    commands = re.findall(r"listwire ([a-z][a-z-]*)", page.read_text())
    assert page.name == "README.md" or commands
    assert set(commands) <= set(cli.COMMANDS)


@pytest.mark.parametrize("board", sorted((ROOT / "ops/grafana").rglob("*.json")), ids=lambda path: path.stem)
def test_a_dashboard_uses_metrics_that_exist(board: Path) -> None:
    assert not {name for name in used(board.read_text()) if not known(name)}


def test_the_dashboards_are_as_their_script_writes_them() -> None:
    spec = importlib.util.spec_from_file_location("make_dashboards", ROOT / "ops/grafana/make.py")
    assert spec is not None
    make = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make)
    assert {path.stem for path in (ROOT / "ops/grafana/dashboards").glob("*.json")} == set(make.BOARDS)
    for name in make.BOARDS:
        assert (ROOT / f"ops/grafana/dashboards/{name}.json").read_text() == make.board(name)
