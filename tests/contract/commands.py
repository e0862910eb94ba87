"""Runs `listwire …` as a person does: a process of its own, with nothing of this machine's settings."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from unittest import mock

import structlog

from listwire.cli import main
from tests.forked import Forked


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
    with TemporaryFile() as given, TemporaryFile() as out, TemporaryFile() as err:
        given.write((stdin or "").encode())
        given.seek(0)
        process = Forked(
            [*map(str, arguments)],
            cwd=cwd,
            env={**clean, "COLUMNS": "200", "NO_COLOR": "1", **environ},
            stdin=given,
            stdout=out,
            stderr=err,
        )
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        for each in (out, err):
            each.seek(0)
        return Ran(code, out.read().decode(), err.read().decode())


def listwire_here(*arguments: str | Path, cwd: Path) -> Ran:
    """The same within this process, for the many tests that need no process of their own: a start costs a second. What would
    be a traceback there is an exception here.
    """
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    clean = {name: value for name, value in os.environ.items() if not name.startswith("LISTWIRE_")}
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        with (
            mock.patch.dict(os.environ, {**clean, "COLUMNS": "200", "NO_COLOR": "1"}, clear=True),
            mock.patch.object(sys, "stdin", io.StringIO()),
            contextlib.chdir(cwd),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            main([str(argument) for argument in arguments])
    except SystemExit as left:
        code = left.code
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        structlog.reset_defaults()
    return Ran(code if isinstance(code, int) else 1, *(each.buffer.getvalue().decode() for each in (out, err)))
