"""One coverage-guided run in a process of its own: `python -m tests.fuzz.guided NAME [libFuzzer's options and folders]`.

libFuzzer ends the process itself, so whoever starts it reads its output; nothing here may have to run afterwards.
"""

from __future__ import annotations

import sys

import atheris

from tests.fuzz.targets import TARGETS


def main() -> None:
    target = TARGETS[sys.argv[1]]
    with atheris.instrument_imports(include=[*target.fuzzed, target.property_module]):
        check = target.check()
    # To merge or to minimise, libFuzzer starts itself again: with the first of these words, as a shell would read them.
    again = f"{sys.executable} -m tests.fuzz.guided {target.name}"
    atheris.Setup([again, *sys.argv[2:]], check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
