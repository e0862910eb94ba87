"""Runs `listwire …` as a person does: a process of its own, with nothing of this machine's settings."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str

    @property
    def all(self) -> str:
        return self.out + self.err


def listwire(*arguments: str | Path, cwd: Path, timeout: float = 60, stdin: str | None = None, **environ: str) -> Ran:
    """Exit code and both outputs. Never a terminal."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("LISTWIRE_")}
    done = subprocess.run(
        [sys.executable, "-m", "listwire", *map(str, arguments)],
        cwd=cwd,
        env={**clean, "COLUMNS": "200", "NO_COLOR": "1", **environ},
        input=stdin if stdin is not None else "",
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    return Ran(done.returncode, done.stdout, done.stderr)
