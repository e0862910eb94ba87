"""`make audit` by what it says: a known vulnerability fails, silence warns, and no address of a registry is ever printed."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


def _module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("listwire_ci_audit", ROOT / ".ci" / "audit.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


audit: Any = _module()
GOOD = {"name": "aiokafka", "version": "0.14.0", "vulns": []}
BAD = {"name": "httpx", "version": "0.1", "vulns": [{"id": "CVE-2026-1", "fix_versions": ["0.2"], "aliases": []}]}
SILENT = {"name": "uvloop", "skip_reason": "not found on https://user:pass@registry.example/simple"}


def answers(monkeypatch: pytest.MonkeyPatch, stdout: str, stderr: str = "") -> None:
    monkeypatch.setattr(audit, "program", lambda _home, _end: Path("pip-audit"))
    monkeypatch.setattr(audit, "run", lambda command, _end: subprocess.CompletedProcess(command, 1, stdout, stderr))


def test_a_known_vulnerability_fails_and_names_package_lock_and_the_way_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers(monkeypatch, json.dumps({"dependencies": [GOOD, BAD]}))
    assert audit.main() == 1
    said = capsys.readouterr().out
    assert re.search(r"^httpx 0\.1 \(in .*listwire\.lock.*\): CVE-2026-1; mended in 0\.2$", said, re.MULTILINE)


def test_nothing_known_is_said_with_how_many_were_looked_up(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers(monkeypatch, json.dumps({"dependencies": [GOOD, SILENT]}))
    assert audit.main() == 0
    said = capsys.readouterr().out
    assert "the registry tells nothing of 1 of 2" in said
    assert "No vulnerability is known of the 1 " in said
    assert "registry.example" not in said


def test_no_network_is_a_line_of_warning_without_any_address(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers(
        monkeypatch,
        "",
        "INFO\nERROR: HTTPSConnectionPool(host='registry.example', port=443): https://u:p@mirror.example/x",
    )
    assert audit.main() == 0
    said = capsys.readouterr().out
    assert said.startswith("Warning: the locked dependencies were not looked up: ")
    assert said.count("\n") == 1
    assert not re.search(r"example|u:p|https?:", said)


def test_a_machine_that_cannot_install_pip_audit_goes_on_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(audit, "HOME", tmp_path / "audit")
    monkeypatch.setattr(audit.venv, "create", lambda _home, **_more: None)
    monkeypatch.setattr(audit, "run", lambda command, _end: subprocess.CompletedProcess(command, 1, "", "no"))
    assert audit.main() == 0
    assert "pip-audit could not be installed" in capsys.readouterr().out


def test_an_answer_that_does_not_come_ends_within_the_bound() -> None:
    with pytest.raises(audit.CouldNotAsk, match="no answer"):
        audit.run(["sleep", "30"], 0.0)


def test_every_version_that_any_lock_pins_is_looked_up_once() -> None:
    rounds = audit.pins()
    asked = {(name, version) for some in rounds for name, version in some.items()}
    pinned = {
        (name, version)
        for lock in (ROOT / "requirements").glob("*.lock")
        for name, version in re.findall(r"^([\w.-]+)==([^\s;]+)", lock.read_text(), re.MULTILINE)
    }
    assert asked == pinned
    assert sum(map(len, rounds)) == len(asked)


def test_ci_warns_of_what_is_known_and_only_the_nightly_run_fails() -> None:
    assert "\nmake audit || echo " in (ROOT / ".ci" / "run").read_text()
    assert "\nmake audit\n" in (ROOT / ".ci" / "nightly").read_text()
    assert (ROOT / ".ci" / "run").read_text().endswith("\nmake test\n"), "the suite's summary stands last"
