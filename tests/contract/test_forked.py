"""What the tests start in place of `python -m listwire` ends as it would, and is as much a process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.contract.commands import listwire
from tests.forked import Forked
from tests.worker_process import Worker, settings_file, until


@contextmanager
def waiting(directory: Path) -> Iterator[Forked]:
    """A command that waits for its standard input."""
    read, write = os.pipe()
    with (directory / "out").open("wb") as out:
        process = Forked(
            ["cohorts", "validate", "-"], cwd=directory, env=os.environ, stdin=read, stdout=out, stderr=out
        )
    os.close(read)
    try:
        yield process
    finally:
        os.close(write)
        process.kill()
        process.wait(20)


@pytest.mark.parametrize(
    "arguments", [("--version",), ("topics",), ("nonsense",), ("--config", "absent.toml", "check")]
)
def test_it_says_and_ends_in_what_the_command_says_and_ends_in(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("LISTWIRE_")}
    command = subprocess.run(
        [sys.executable, "-m", "listwire", *arguments], cwd=tmp_path, env={**clean, "COLUMNS": "200", "NO_COLOR": "1"},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    forked = listwire(*arguments, cwd=tmp_path)
    assert (forked.code, forked.out, forked.err) == (command.returncode, command.stdout, command.stderr)


def test_its_directory_and_environment_are_its_own(tmp_path: Path) -> None:
    (tmp_path / "listwire.toml").write_text("[nonsense]\n")
    assert "nonsense" in listwire("check", cwd=tmp_path).err
    assert "elsewhere.toml" in listwire("check", cwd=tmp_path, LISTWIRE_CONFIG="elsewhere.toml").err


def test_many_at_once_do_not_wait_for_each_other(tmp_path: Path) -> None:
    with waiting(tmp_path) as process, ThreadPoolExecutor(8) as pool:
        codes = [each.code for each in pool.map(lambda _: listwire("--version", cwd=tmp_path), range(8))]
        assert codes == [0] * 8
        assert process.poll() is None


def test_a_signal_is_its_end_and_its_id_nobody_elses_until_it_is_asked(tmp_path: Path) -> None:
    with waiting(tmp_path) as process:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.1)
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait(20) == -signal.SIGKILL
        os.kill(process.pid, 0)
        assert process.poll() == process.returncode == -signal.SIGKILL


async def test_a_worker_that_ends_by_itself_tells_its_exit_code(tmp_path: Path) -> None:
    worker = Worker(settings_file(tmp_path, "127.0.0.1:1", "http://127.0.0.1:1"))
    await until(lambda: worker.process.poll() is not None)
    assert worker.process.returncode == 1
    assert "Kafka at 127.0.0.1:1 cannot be used" in worker.output
