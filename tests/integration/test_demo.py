"""The demo, as a person runs it: a fresh directory, one command, an account at the end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]


def _start(directory: Path, *arguments: str) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LISTWIRE_")}
    return subprocess.Popen(
        [sys.executable, "-m", "listwire", "demo", *arguments],
        cwd=directory, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def test_the_demo_ends_with_an_account_in_which_everything_agrees(tmp_path: Path) -> None:
    demo = _start(tmp_path, "--once", "--webhooks", "120")
    output, _ = demo.communicate(timeout=200)
    account = output.split("The account")[1]
    assert demo.returncode == 0, output
    assert account.count("✓") == 6
    assert "✗" not in account
    assert "Traceback" not in output
    assert not list(tmp_path.iterdir()), "the demo leaves nothing behind in the folder it runs in"


def test_the_demo_goes_on_until_it_is_interrupted_and_leaves_no_process_behind(tmp_path: Path) -> None:
    demo = _start(tmp_path, "--webhooks", "20")
    assert demo.stdout is not None
    end = time.monotonic() + 200
    lines = []
    while time.monotonic() < end:
        line = demo.stdout.readline()
        lines.append(line)
        if "Ctrl-C ends it" in line or not line:
            break
    children = _children(demo.pid)
    assert len(children) >= 3, "".join(lines)
    demo.send_signal(signal.SIGINT)
    demo.communicate(timeout=60)
    assert demo.returncode == 0
    assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
