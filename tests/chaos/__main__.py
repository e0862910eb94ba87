"""`make chaos`: a seeded run, its report on stdout, and a line in the list of results. Exit code 1 where a promise was broken."""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.chaos.report import append
from tests.chaos.run import run
from tests.chaos.schedule import schedule

RESULTS = Path(__file__).parents[2] / "docs" / "chaos-results.json"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=None, help="of the schedule and the load; any one where absent")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the JSON list that the run is added to")
    parser.add_argument(
        "--directory", type=Path, help="where all is kept; absent: removed after a run without a finding"
    )
    parser.add_argument("--dry-run", action="store_true", help="show the schedule and do nothing")
    given = parser.parse_args()
    seed = random.SystemRandom().randrange(1_000_000) if given.seed is None else given.seed
    if given.dry_run:
        print(*schedule(seed, given.minutes), sep="\n")
        return 0
    directory = given.directory or Path(tempfile.mkdtemp(prefix="listwire-chaos-"))
    directory.mkdir(parents=True, exist_ok=True)
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)  # each killed client is an error to the stand-ins
    print(f"Chaos for {given.minutes:g} minutes, seed {seed}.", file=sys.stderr, flush=True)
    report = asyncio.run(run(seed, given.minutes, directory, lambda words: print(words, file=sys.stderr, flush=True)))
    report.commit = commit()
    print(report.text())
    append(given.results, report)
    if not report.kept:
        print(f"  Everything is kept in {directory}")
        return 1
    if given.directory is None:
        shutil.rmtree(directory)
    return 0


def commit() -> str:
    """Of the tree that ran, with a + where it holds more than that."""
    ask = ["git", "-C", str(RESULTS.parent), "describe", "--always", "--exclude=*", "--dirty=+"]
    found = subprocess.run(ask, capture_output=True, text=True, check=False)
    return found.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
