"""`make mutate`: does any unit test notice when the delivery core or a codec does something else?

Small changes ("mutants") are made to a module in a copy of the tree, by mutmut, and the unit tests that speak of the module run
against each. What no test notices is printed, unless `argued.py` says why it does not matter. Exit code 1 where something is left.
The tree itself is never touched.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from difflib import unified_diff
from pathlib import Path
from typing import Any

import libcst
from mutmut.mutation.file_mutation import MutatedFile, mutate_file_contents

from tests.mutation.argued import ARGUED
from tests.mutation.modules import MODULES

ROOT = Path(__file__).parents[2]
COPIED = ("listwire", "ingress", "stream", "vendors", "console", "sandbox", "tests", "docs")
OPTIONS = (
    "-p",
    "tests.mutation.forks",
    "-p",
    "no:cacheprovider",
    "-p",
    "no:xdist",
    "-s",
    "-q",
    "--hypothesis-profile=mutation",
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("--only", choices=MODULES, nargs="+", default=list(MODULES), help="modules; absent: all")
    parser.add_argument(
        "--mutants", nargs="+", default=[], metavar="NAME", help="only these, by the name that a report gives them"
    )
    given = parser.parse_args()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="listwire-mutate-") as folder:
        tree = Path(folder)
        mutated = _plant(tree, given.only)
        wanted = {
            f"{_dotted(name)}.{mutant}": MODULES[name]
            for name, file in mutated.items()
            for mutant in file.mutant_names
            if not given.mutants or mutant in given.mutants
        }
        (tree / "mutants.json").write_text(json.dumps(wanted))
        tests = dict.fromkeys(test for name in given.only for test in MODULES[name])
        print(f"{len(wanted)} mutants; their outcomes: {tree / 'log'}", file=sys.stderr, flush=True)
        with (tree / "log").open("w") as out:
            command = [sys.executable, "-m", "pytest", *OPTIONS, *tests]
            done = subprocess.run(command, cwd=tree, stdout=out, stderr=out, check=False)
        if done.returncode:
            print((tree / "log").read_text()[-5000:], file=sys.stderr)
            return 2
        outcomes: dict[str, str] = json.loads((tree / "outcomes.json").read_text())
    left = sum(_report(name, file.code, outcomes) for name, file in mutated.items())
    print(f"{left} left, after {time.monotonic() - begun:.0f} s")
    return 1 if left else 0


def _plant(tree: Path, names: list[str]) -> dict[str, MutatedFile]:
    """A copy of the tree, in which these modules hold all their mutants; which one is alive, the environment says."""
    for each in COPIED:
        shutil.copytree(ROOT / each, tree / each, ignore=shutil.ignore_patterns("__pycache__", "*.png"))
    for each in ("pyproject.toml", "README.md", "CHANGELOG.md", "Makefile"):
        shutil.copy(ROOT / each, tree)
    mutated = {name: mutate_file_contents(name, (ROOT / name).read_text()) for name in names}
    for name, file in mutated.items():
        (tree / name).write_text(file.code)
    return mutated


def _report(name: str, code: str, outcomes: Mapping[str, str]) -> int:
    """Prints, and returns, how many mutants no test noticed and nobody has argued away."""
    ours = {
        mutant.rpartition(".")[2]: outcome
        for mutant, outcome in outcomes.items()
        if mutant.rpartition(".")[0] == _dotted(name)
    }
    count = Counter(ours.values())
    changes = _changes(code)
    left = 0
    for mutant, outcome in ours.items():
        if outcome in {"killed", "timeout"}:
            continue
        if (_function(mutant), changes[mutant]) in ARGUED.get(name, {}):
            count["argued"] += 1
            continue
        left += 1
        print(f"{name}: {mutant}: {outcome}\n    {_function(mutant)}\n    {changes[mutant]}")
    print(
        f"{name}: {len(ours)} mutants, {count['killed']} killed, {count['timeout']} timed out, "
        f"{count['argued']} argued, {left} left",
        flush=True,
    )
    return left


def _dotted(name: str) -> str:
    return name.removesuffix(".py").replace("/", ".")


def _function(mutant: str) -> str:
    """`xǁLaneǁput__mutmut_3` → `Lane.put`, `x__key__mutmut_1` → `_key`."""
    name = mutant.split("__mutmut_", maxsplit=1)[0]
    return name.removeprefix("xǁ").replace("ǁ", ".") if name.startswith("xǁ") else name.removeprefix("x_")


def _changes(code: str) -> dict[str, str]:
    """What each mutant changes: lines → lines."""
    functions: dict[str, list[str]] = {}

    class Visitor(libcst.CSTVisitor):
        def visit_FunctionDef(self, node: Any) -> None:
            functions[node.name.value] = module.code_for_node(node).splitlines()

    module = libcst.parse_module(code)
    module.visit(Visitor())
    found: dict[str, str] = {}
    for name, lines in functions.items():
        original, at, number = name.rpartition("__mutmut_")
        if not at or not number.isdigit():
            continue
        lines = [line.replace(name, f"{original}__mutmut_orig") for line in lines]  # noqa: PLW2901 - the name says so
        diff = list(unified_diff(functions[f"{original}__mutmut_orig"], lines, lineterm="", n=0))[2:]
        found[name] = " → ".join(" ".join(line[1:].strip() for line in diff if line[0] == sign) for sign in "-+")
    return found


if __name__ == "__main__":
    sys.exit(main())
