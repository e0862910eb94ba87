"""Inputs through the properties, without a fuzzer: `python -m tests.fuzz.replay NAME FILE_OR_FOLDER…`. Exit code 1 at the first that fails."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.fuzz.targets import TARGETS


def files(places: Iterable[Path]) -> Iterator[Path]:
    for place in places:
        yield from sorted(each for each in place.iterdir() if each.is_file()) if place.is_dir() else [place]


def main() -> int:
    check = TARGETS[sys.argv[1]].check()
    count = 0
    for file in files(map(Path, sys.argv[2:])):
        try:
            check(file.read_bytes())
        except Exception:
            traceback.print_exc()
            print(f"{file} breaks a promise", file=sys.stderr)
            return 1
        count += 1
    print(f"{count} inputs, nothing broken")
    return 0


if __name__ == "__main__":
    sys.exit(main())
