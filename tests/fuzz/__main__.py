"""`make fuzz`: each fuzzer for so many minutes, its report on stdout, and an entry in the list of results. Exit code 1 where one has found something.

`--planted` turns that round: into a copy of the tree go known bugs, and the exit code is 1 where one of them was not found.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import tempfile
from pathlib import Path

from tests.fuzz import ingress_http, planted
from tests.fuzz.results import RESULTS, Result, append, save
from tests.fuzz.targets import TARGETS

NAMES = (*TARGETS, ingress_http.NAME)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0, help="for each fuzzer")
    parser.add_argument("--only", choices=NAMES, help="one fuzzer; absent: all, one after the other")
    parser.add_argument("--rate", type=int, default=50, help="of the HTTP fuzzer, requests a second at most")
    parser.add_argument(
        "--planted", action="store_true", help="see each fuzzer find its planted bugs; minutes do not count"
    )
    parser.add_argument(
        "--out", type=Path, help="where corpora, finds and logs are kept; absent: a new temporary folder"
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="the JSON list that the runs are added to")
    parser.add_argument("--record", type=Path, nargs="+", metavar="FILE", help="only add these lists to the results")
    given = parser.parse_args()
    if given.record:
        append(given.results, *(entry for file in given.record for entry in json.loads(file.read_text())))
        return 0
    names = [given.only] if given.only else NAMES
    if importlib.util.find_spec("atheris") is None and set(names) & set(TARGETS):
        names = [name for name in names if name not in TARGETS]
        print(
            "atheris has no wheel for this machine: the coverage-guided fuzzers need Linux on x86-64.", file=sys.stderr
        )
        if not names:
            return 2
    out = given.out or Path(tempfile.mkdtemp(prefix="listwire-fuzz-"))
    if given.planted:
        return _planted(names, out)
    found = 0
    for name in names:
        print(f"{name} for {given.minutes:g} minutes; its log: {out / name / 'log'}", file=sys.stderr, flush=True)
        result = _run(name, given.minutes * 60, out / name, given.rate)
        print(result.text(), flush=True)
        save(given.results, result)
        found += len(result.finds)
    return 1 if found else 0


def _run(name: str, seconds: float, out: Path, rate: int) -> Result:
    if name == ingress_http.NAME:
        return ingress_http.run(seconds, out, rate=rate)
    from tests.fuzz import guided_run

    return guided_run.run(TARGETS[name], seconds, out)


def _planted(names: list[str] | tuple[str, ...], out: Path) -> int:
    missed = 0
    for number, each in enumerate(planted.PLANTED):
        if each.fuzzer not in names:
            continue
        result = planted.hunt(each, out / f"planted-{number}")
        verdict = "found" if result.finds else "MISSED"
        print(
            f"{each.fuzzer}: {each.what}: {verdict} after {result.seconds:.0f} s, {result.executions} executions",
            flush=True,
        )
        if result.finds:
            print(f"  {result.finds[0][:200]}", flush=True)
        missed += not result.finds
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
