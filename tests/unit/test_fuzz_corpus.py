"""What the fuzzers have kept goes through the same properties on every run, without a fuzzer; and the properties can fail."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.planted import PLANTED, Planted, copy_with
from tests.fuzz.targets import CORPUS, TARGETS, Target

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_every_input_of_the_corpus_keeps_the_promises(target: Target) -> None:
    check = target.check()
    inputs = sorted(target.corpus.iterdir())
    assert len(inputs) > 10
    for file in inputs:
        try:
            check(file.read_bytes())
        except Exception as fault:
            raise AssertionError(f"{file.relative_to(ROOT)}: {fault!r}") from fault


def test_the_corpus_is_small_and_belongs_to_fuzzers_that_are() -> None:
    assert {folder.name for folder in CORPUS.iterdir()} == set(TARGETS)
    files = [file for file in CORPUS.rglob("*") if file.is_file()]
    assert len(files) < 400
    assert sum(file.stat().st_size for file in files) < 300_000
    assert all(list(target.corpus.glob("plain-*")) for target in TARGETS.values())


@pytest.mark.parametrize("planted", PLANTED, ids=lambda each: each.what.replace(" ", "-"))
def test_a_bug_can_still_be_planted(planted: Planted) -> None:
    source = (ROOT / planted.file).read_text()
    assert planted.edited(source) != source


@pytest.mark.parametrize(
    "planted", [each for each in PLANTED if each.witness], ids=lambda each: each.what.replace(" ", "-")
)
def test_the_properties_see_a_planted_bug_that_they_do_not_see_without_it(planted: Planted, tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    assert planted.witness is not None
    witness.write_bytes(planted.witness)
    TARGETS[planted.fuzzer].check()(planted.witness)
    with copy_with(planted) as tree:
        done = subprocess.run(
            [sys.executable, "-m", "tests.fuzz.replay", planted.fuzzer, witness],
            cwd=tree,
            env=os.environ | {"PYTHONPATH": str(tree)},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 1, done
    assert f"{witness} breaks a promise" in done.stderr
