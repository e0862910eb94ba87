"""Starts a coverage-guided fuzzer, reads from its output what it did, and measures what its corpus covers."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from tests.fuzz.results import Result
from tests.fuzz.targets import Target

ROOT = Path(__file__).parents[2]
# One input takes a millisecond; a hundred megabytes are what the modules and a run's corpus come to.
HANGS_AFTER = 10
MOST_MEGABYTES = 1024


def run(target: Target, seconds: float, out: Path, *, tree: Path = ROOT, seeds: Sequence[Path] | None = None) -> Result:
    """`tree` is where the fuzzed code lies; `seeds` are folders, by default the corpus in the repository."""
    grown, finds = out / "corpus", out / "finds"
    for folder in (grown, finds):
        folder.mkdir(parents=True, exist_ok=True)
    words = out / "words"
    words.write_text("".join(f'"{_escaped(word)}"\n' for word in target.words))
    folders = [grown, *(seeds if seeds is not None else [target.corpus])]
    log = out / "log"
    began = time.monotonic()
    with log.open("wb") as output:
        done = subprocess.run(
            [
                sys.executable, "-m", "tests.fuzz.guided", target.name,
                f"-max_total_time={max(1, round(seconds))}", f"-timeout={HANGS_AFTER}", f"-rss_limit_mb={MOST_MEGABYTES}",
                f"-max_len={target.longest}", f"-dict={words}", f"-artifact_prefix={finds}/", "-print_final_stats=1",
                *map(str, folders),
            ],
            cwd=tree, env=os.environ | {"PYTHONPATH": str(tree)}, stdout=output, stderr=output, check=False,
        )  # fmt: skip
    took = time.monotonic() - began
    said = log.read_text(errors="replace")
    executions = re.findall(r"number_of_executed_units: (\d+)", said) or re.findall(r"^#(\d+)", said, re.MULTILINE)
    return Result(
        fuzzer=target.name,
        tool=f"atheris {version('atheris')}",
        seconds=round(took, 1),
        executions=int(executions[-1]) if executions else 0,
        reached={
            name: int(found[-1])
            for name, pattern in (("cov", r"\bcov: (\d+)"), ("ft", r"\bft: (\d+)"))
            if (found := re.findall(pattern, said))
        }
        | {"inputs": sum(1 for folder in folders for _ in folder.iterdir())},
        coverage=_covered(target, folders, out, tree),
        finds=_finds(said, finds, done.returncode, log),
    )


def _escaped(word: bytes) -> str:
    return "".join(chr(byte) if 32 <= byte < 127 and byte not in b'"\\' else f"\\x{byte:02x}" for byte in word)


def _finds(said: str, finds: Path, code: int, log: Path) -> list[str]:
    if code == 0:
        return []
    why = re.findall(r"^(?:[\w.]+(?:Error|Exception)\b.*|.*ERROR: libFuzzer: .*)$", said, re.MULTILINE)
    kept = ", ".join(str(file) for file in sorted(finds.iterdir())) or str(log)
    return [f"{why[0][:300] if why else f'ended with {code}'} (kept: {kept})"]


def _covered(target: Target, folders: Sequence[Path], out: Path, tree: Path) -> dict[str, float]:
    files = [importlib.util.find_spec(module) for module in target.fuzzed]
    names = [str(Path(spec.origin).relative_to(ROOT)) for spec in files if spec and spec.origin]
    data, report = out / "coverage", out / "coverage.json"
    environment = os.environ | {"PYTHONPATH": str(tree), "COVERAGE_FILE": str(data)}
    include = "--include=" + ",".join(str(tree / name) for name in names)
    command = [sys.executable, "-m", "coverage"]
    replay = ["run", "--branch", include, "-m", "tests.fuzz.replay", target.name, *map(str, folders)]
    # A find among the inputs ends the replay early; what it has covered so far counts.
    subprocess.run([*command, *replay], cwd=tree, env=environment, capture_output=True, check=False)
    subprocess.run(
        [*command, "json", "-q", "-o", str(report)], cwd=tree, env=environment, capture_output=True, check=False
    )
    found = json.loads(report.read_text())["files"] if report.exists() else {}
    return {name: round(found[name]["summary"]["percent_covered"], 1) for name in sorted(names) if name in found}
