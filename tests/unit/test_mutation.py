"""`make mutate` asks the right tests about modules that are, and nothing is argued away that is no longer there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mutation.argued import ARGUED
from tests.mutation.modules import MODULES

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", MODULES)
def test_a_mutated_module_and_the_tests_that_are_asked_are_there(name: str) -> None:
    assert (ROOT / name).is_file()
    assert all((ROOT / test).is_file() for test in MODULES[name])


@pytest.mark.parametrize("name", ARGUED)
def test_what_is_argued_away_still_stands_in_the_module(name: str) -> None:
    assert name in MODULES
    source = " ".join(line.strip() for line in (ROOT / name).read_text().splitlines())
    for (function, change), why in ARGUED[name].items():
        before, _, _ = change.partition(" → ")
        assert before in source, f"{function}: {before}"
        assert f"def {function.rpartition('.')[2]}(" in source
        assert why
