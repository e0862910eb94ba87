"""granian is told to stop exactly once, however many signals come and whenever they do. In a process of its own: masks stay."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import os, signal, threading
from ingress.stopping import Stopping

told = []
parent_stops = []
stopping = Stopping(lambda: bool(parent_stops))
threading.Thread(target=threading.Event().wait, daemon=True).start()
signal.signal(signal.SIGTERM, lambda *_: told.append("SIGTERM"))
signal.signal(signal.SIGINT, lambda *_: told.append("SIGINT"))
print(stopping.wanted())
{happens}
print(stopping.wanted(), told)
stopping.tell_granian()
os.kill(os.getpid(), signal.SIGTERM)
stopping.tell_granian()
print(stopping.wanted(), told)
os._exit(0)
"""


def told(happens: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(happens=happens)], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.splitlines()


def test_signals_are_kept_back_and_one_is_let_through() -> None:
    assert told("for _ in range(3): os.kill(os.getpid(), signal.SIGTERM)") == ["False", "True []", "True ['SIGTERM']"]


def test_a_parent_that_stops_or_is_gone_is_enough() -> None:
    assert told("parent_stops.append(1)") == ["False", "True []", "True ['SIGTERM']"]


def test_ctrl_c_is_the_parents_business() -> None:
    assert told("os.kill(os.getpid(), signal.SIGINT)")[1] == "False []"
