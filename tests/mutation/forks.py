"""Inside pytest: tries each mutant in a fork of this process, which has collected the tests once. mutmut's own loop starts pytest
anew for each mutant, which takes several times as long as these tests do.
"""

from __future__ import annotations

import json
import os
import select
import signal
import time
from collections import defaultdict
from pathlib import Path

import pytest
from _pytest.runner import runtestprotocol
from mutmut.mutation import trampoline

# A test that waits for what never comes is told from one that gets no turn on a busy machine. Beside heavy load 5 s were too few:
# mutants that change nothing timed out.
LEAST_SECONDS = 30.0


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool:
    reached = _reached(session.items)
    outcomes: dict[str, str] = {}
    for mutant, files in json.loads(Path("mutants.json").read_text()).items():
        tests = [each for each in reached[mutant.rpartition("__mutmut_")[0]] if each[1].nodeid.split("::")[0] in files]
        outcomes[mutant] = _outcome(mutant, tests)
        print(mutant, outcomes[mutant], flush=True)
    Path("outcomes.json").write_text(json.dumps(outcomes))
    return True


def _reached(items: list[pytest.Item]) -> dict[str, list[tuple[float, pytest.Item]]]:
    """Function → the tests that call it, with their seconds: file by file as they were named, in each the quickest first."""
    files = list(dict.fromkeys(item.path for item in items))
    called: set[str] = set()

    def note(name: str, caller: str | None = None) -> None:
        called.add(name)

    trampoline.record_trampoline_hit = note
    os.environ["MUTANT_UNDER_TEST"] = "stats"
    found: dict[str, list[tuple[float, pytest.Item]]] = defaultdict(list)
    for item in items:
        called.clear()
        begun = time.monotonic()
        if not _passes(item):
            pytest.exit(f"{item.nodeid} fails without any mutant", 1)
        for name in called:
            found[name].append((time.monotonic() - begun, item))
    os.environ["MUTANT_UNDER_TEST"] = ""
    for tests in found.values():
        tests.sort(key=lambda each: (files.index(each[1].path), each[0]))
    return found


def _passes(item: pytest.Item) -> bool:
    return all(report.passed for report in runtestprotocol(item, log=False, nextitem=None))


def _outcome(mutant: str, tests: list[tuple[float, pytest.Item]]) -> str:
    if not tests:
        return "not reached"
    ended, end = os.pipe()  # the child holds the other end for as long as it lives
    child = os.fork()
    if not child:
        os.environ["MUTANT_UNDER_TEST"] = mutant
        try:
            survived = all(_passes(item) for _, item in tests)
        except BaseException:
            os._exit(1)
        os._exit(0 if survived else 1)
    os.close(end)
    in_time, _, _ = select.select([ended], [], [], LEAST_SECONDS + 10 * sum(seconds for seconds, _ in tests))
    os.close(ended)
    if not in_time:
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return "timeout" if not in_time else "killed" if status else "survived"
