"""Requests that schemathesis derives from docs/openapi-ingress.json, against the real ingress process and a real Kafka.

A find is a status that the document does not name, a 5xx other than its 503, an answer of another shape, no answer in time, a
process that ended, a traceback or a secret in the ingress's log. The generator knows the secrets, or it would only meet 404.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import httpx

from tests import ingress_process, kafka_broker
from tests.contract.commands import listwire
from tests.fuzz.results import Result

ROOT = Path(__file__).parents[2]
NAME: Final = "ingress-http"
# The contract: a request is answered within 9 seconds from the end of its headers.
ANSWERED_WITHIN: Final = 10
# The ingress takes any body on purpose, and any header: what does not fit becomes a dead letter, later.
NOT_PROMISED: Final = "negative_data_rejection"
# 401: a source that wants a signature; nobody can guess one. 415: a twist of ours, see http_twists. 500 is documented as a fault of ours, and is one.
CONFIG: Final = """
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "401", "415", "503"]
[checks.not_a_server_error]
expected-statuses = ["2xx", "3xx", "4xx", "503"]
"""


def document(tree: Path) -> dict[str, Any]:
    """The published one, but with the names and secrets that this ingress knows; breaking the rule still gives others."""
    found: dict[str, Any] = json.loads((tree / "docs" / "openapi-ingress.json").read_text())
    parameters = found["components"]["parameters"]
    parameters["Source"]["schema"] = {"type": "string", "enum": ["newsletter", "signed"]}
    parameters["Sync"]["schema"] = {"type": "string", "enum": ["daily"]}
    for path, item in found["paths"].items():
        if "{secret}" in path:
            secret = ingress_process.SECRET if "{source}" in path else ingress_process.COHORT_SECRET
            item["parameters"][1] = parameters["Secret"] | {"schema": {"type": "string", "enum": [secret]}}
    return found


def run(seconds: float, out: Path, *, rate: int, tree: Path = ROOT, until_found: bool = False) -> Result:
    """At most `rate` requests a second. `tree` is where the ingress's code lies. `until_found` ends it at the first find."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "openapi.json").write_text(json.dumps(document(tree)))
    (out / "schemathesis.toml").write_text(CONFIG)
    shutil.copy(tree / "docs" / "cohort-change.schema.json", out)
    os.environ["PYTHONPATH"] = str(tree)  # for the ingress, which is started as the tests start it
    began = time.monotonic()
    with kafka_broker.own_broker() as bootstrap:
        settings = ingress_process.settings_file(out, bootstrap)
        ensured = listwire("--config", settings, "topics", "ensure", cwd=out)
        if ensured.code != 0:
            raise AssertionError(f"no topics: {ensured}")
        ingress = ingress_process.Ingress(settings, out / "ingress.log")
        try:
            ingress.wait_until_ready()
            report = _generate(seconds, out, ingress.url, rate, until_found=until_found)
            finds = [*_failures(report, out / "log"), *_health(ingress)]
            statuses = _statuses(ingress)
        finally:
            ingress.stop()
    return Result(
        fuzzer=NAME,
        tool=f"schemathesis {version('schemathesis')}",
        seconds=round(time.monotonic() - began, 1),
        executions=report["test_cases"]["generated"],
        reached={"operations": report["operations"]["tested"], "of": report["operations"]["total"]} | statuses,
        finds=finds,
    )


def _generate(seconds: float, out: Path, url: str, rate: int, *, until_found: bool) -> dict[str, Any]:
    report = out / "report.json"
    program = Path(sys.executable).with_name("schemathesis")
    with (out / "log").open("wb") as output:
        done = subprocess.run(
            [
                program, "--config-file", "schemathesis.toml", "--no-color", "run", "openapi.json", "--url", url,
                "--max-time", str(max(1, round(seconds))), "--rate-limit", f"{rate}/s",
                "--checks", "all", "--exclude-checks", NOT_PROMISED,
                "--request-timeout", str(ANSWERED_WITHIN + 2), "--max-response-time", str(ANSWERED_WITHIN),
                "--generation-database", "none", *(["--max-failures", "1"] if until_found else []), "--report", "json", "--report-json-path", report,
            ],
            cwd=out,
            env=os.environ | {"SCHEMATHESIS_HOOKS": "tests.fuzz.http_twists"},
            stdout=output, stderr=output, check=False,
        )  # fmt: skip
    if not report.exists():
        raise AssertionError(f"schemathesis ended with {done.returncode}: {(out / 'log').read_text()[-2000:]}")
    found: dict[str, Any] = json.loads(report.read_text())
    return found


def _failures(report: dict[str, Any], log: Path) -> list[str]:
    return [
        *(f"{failure['title']}: {', '.join(failure['operations'])}; see {log}" for failure in report["failures"]),
        *(f"schemathesis: {json.dumps(error)[:600]}" for error in report["errors"]),
    ]


def _health(ingress: ingress_process.Ingress) -> list[str]:
    """What a client cannot see, or only afterwards."""
    finds = []
    if ingress.process.poll() is not None:
        finds.append(f"the ingress ended with {ingress.process.returncode}")
    elif httpx.get(f"{ingress.url}/readyz", timeout=ANSWERED_WITHIN).status_code != 200:
        finds.append("the ingress is no longer ready")
    output = ingress.output
    if "Traceback" in output or ingress.logged("a request failed"):
        finds.append("a request failed; see ingress.log")
    if any(secret in output for secret in ingress_process.ALL_SECRETS):
        finds.append("a secret stands in the ingress's log")
    return finds


def _statuses(ingress: ingress_process.Ingress) -> dict[str, int]:
    """How often each status was given, by the ingress's own counters; the readiness page that was asked before is in it."""
    if ingress.process.poll() is not None:
        return {}
    page = httpx.get(f"{ingress.url}/metrics").text
    found: dict[str, int] = {}
    for status, count in re.findall(
        r'^listwire_ingress_requests_total\{.*status="(\d+)".*\} ([0-9.e+]+)$', page, re.MULTILINE
    ):
        found[status] = found.get(status, 0) + int(float(count))
    return {status: count for status, count in sorted(found.items()) if count}
