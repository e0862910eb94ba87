"""`make audit`: does anybody know of a vulnerability in what `requirements/*.lock` pin? Asks with pip-audit, in a venv of its own.

Exit code 1 where one is known, else 0: a machine without a network, or a registry that tells nothing, gets a line of warning and
no failure. Ends within a minute. Must never print an address: a mirror's may hold a password. Standard library alone.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
LOCKS = sorted((ROOT / "requirements").glob("*.lock"))
HOME = ROOT / ".venv" / "audit"
WITHIN = 60.0
NOT_A_WORD_OF_IT = "Warning: the locked dependencies were not looked up"


class CouldNotAsk(Exception):
    """The message says why, in a few words."""


def program(home: Path, end: float) -> Path:
    """pip-audit, installed from its own lock; once, until that changes."""
    lock = ROOT / "requirements" / "audit.lock"
    stamp = home / "audit.lock"
    if not stamp.exists() or stamp.read_bytes() != lock.read_bytes():
        venv.create(home, clear=True, with_pip=True)
        python = home / "bin" / "python"
        said = run([python, "-m", "pip", "install", "--quiet", "--no-input", "--retries", "1", "--timeout", "10", "--require-hashes", "-r", lock], end)  # fmt: skip
        if said.returncode:
            raise CouldNotAsk("pip-audit could not be installed")
        stamp.write_bytes(lock.read_bytes())
    return home / "bin" / "pip-audit"


def run(command: list[Any], end: float) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            list(map(str, command)), cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
            timeout=max(1.0, end - time.monotonic()), env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise CouldNotAsk(f"no answer within {WITHIN:.0f} s") from None
    except OSError as fault:
        raise CouldNotAsk(f"{fault.strerror}") from None


def pins() -> list[dict[str, str]]:
    """Of all locks, for every platform: name → version. More than one where locks differ, since pip-audit takes a name once."""
    found: dict[str, list[str]] = {}
    for lock in LOCKS:
        for name, version in re.findall(r"^([\w.-]+)==([^\s;]+)", lock.read_text(), re.MULTILINE):
            if version not in found.setdefault(name, []):
                found[name].append(version)
    rounds = max(map(len, found.values()))
    return [{name: versions[at] for name, versions in found.items() if at < len(versions)} for at in range(rounds)]


def looked_up(command: Path, end: float) -> list[dict[str, Any]]:
    """What pip-audit says of each package."""
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="listwire-audit-") as scratch:
        file = Path(scratch, "pins.txt")
        for some in pins():
            file.write_text("".join(f"{name}=={version}\n" for name, version in some.items()))
            said = run([command, "--disable-pip", "--no-deps", "--format", "json", "--progress-spinner", "off", "--timeout", "10", "-r", file], end)  # fmt: skip
            try:
                found += json.loads(said.stdout)["dependencies"]
            except (json.JSONDecodeError, KeyError, TypeError):
                raise CouldNotAsk(f"pip-audit gave no answer: {last_words(said.stderr)}") from None
    return found


def last_words(text: str) -> str:
    """Its last line, short, and without any address."""
    lines = [line.strip() for line in text.splitlines() if line.strip()] or ["it said nothing"]
    bare = re.sub(r"\S*(?:://|@)\S*|\b[\w-]+(?:\.[\w-]+)+(?::\d+)?(?:/\S*)?", "…", lines[-1])
    return bare[:160]


def report(dependencies: list[dict[str, Any]]) -> tuple[list[str], bool]:
    """Lines to print, and whether a vulnerability is known."""
    asked = {(each["name"], each["version"]): each["vulns"] for each in dependencies if "vulns" in each}
    silent = {each["name"] for each in dependencies if "vulns" not in each}
    bad = {pin: vulns for pin, vulns in asked.items() if vulns}
    lines = []
    for (name, version), vulns in sorted(bad.items()):
        for vuln in vulns:
            mended = ", ".join(vuln.get("fix_versions") or []) or "none yet"
            lines.append(f"{name} {version} (in {pinned_in(name)}): {vuln['id']}; mended in {mended}")
    if silent:
        lines.append(f"{NOT_A_WORD_OF_IT}: the registry tells nothing of {len(silent)} of {len(silent) + len(asked)}.")
    if asked and not bad:
        lines.append(f"No vulnerability is known of the {len(asked)} locked dependencies that were looked up.")
    return lines, bool(bad)


def pinned_in(name: str) -> str:
    wanted = re.compile(rf"^{re.escape(name)}==", re.MULTILINE | re.IGNORECASE)
    return ", ".join(lock.name for lock in LOCKS if wanted.search(lock.read_text()))


def main() -> int:
    end = time.monotonic() + WITHIN
    try:
        lines, bad = report(looked_up(program(HOME, end), end))
    except CouldNotAsk as fault:
        print(f"{NOT_A_WORD_OF_IT}: {fault}.")
        return 0
    print("\n".join(lines))
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
