"""The ingress is small on purpose: neither Faust nor an HTTP client may come in, not even by way of something else."""

from __future__ import annotations

import subprocess
import sys

FORBIDDEN = ("faust", "mode", "httpx", "httpcore", "aiohttp", "stream", "vendors", "console", "sandbox")


def loaded(code: str) -> set[str]:
    """The modules of a process of its own, after that code."""
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint(*sys.modules, sep=chr(10))"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split())


def test_a_worker_of_the_ingress_loads_aiokafka_and_nothing_that_it_must_not() -> None:
    modules = loaded("import ingress.serve, ingress.worker, listwire.kafka_admin, listwire.cli.ingress")
    assert {"aiokafka", "ingress.app", "ingress.producer"} <= modules
    assert [name for name in FORBIDDEN if name in modules] == []


def test_what_runs_before_the_workers_makes_no_metric() -> None:
    """Where metrics are kept is decided after the settings are read; with several workers that is a common directory."""
    modules = loaded("import ingress.serve, listwire.cli.ingress")
    assert "listwire.metrics" not in modules
    assert "ingress.worker" not in modules
