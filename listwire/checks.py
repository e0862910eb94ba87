"""What can be checked without the vendors: the settings beyond their types, and what this installation runs on."""

from __future__ import annotations

import importlib
import stat
from collections import defaultdict
from collections.abc import Callable
from importlib import metadata
from itertools import combinations
from pathlib import Path

from pydantic import SecretStr

from listwire.findings import Finding, failed, note, ok
from listwire.settings import Settings
from listwire.spoken import count
from listwire.starter import placeholders

# A secret in a URL is all that keeps a stranger's events out; `listwire init` makes them of 43 characters.
SHORT = 16


def settings(found: Settings, file: Path | None) -> list[Finding]:
    what = (
        f"{count(len(found.sources), 'source')}, {count(len(found.cohort_syncs), 'cohort sync')}"
        f" from {file or 'the environment'}"
    )
    findings = [ok("settings", what)]
    if not found.sources and not found.cohort_syncs:
        findings = [
            failed(
                "settings",
                "no source and no cohort sync: nothing would be delivered",
                "`listwire init` writes a file to start from",
            )
        ]
    findings += [
        failed(f"settings: {key}", "still holds what `listwire init` has put there", "write the real value")
        for key in placeholders(found)
    ]
    if file is not None and (mode := stat.S_IMODE(file.stat().st_mode)) & 0o077:
        findings.append(
            note("settings file", f"others may read it (mode {mode:o}), and it may hold secrets", f"chmod 600 {file}")
        )
    for kind, tables in (("sources", found.sources), ("cohort_syncs", found.cohort_syncs)):
        for name, table in tables.items():
            if _short(table.secrets):
                findings.append(
                    note(
                        f"{kind}.{name}.secrets",
                        f"a secret has fewer than {SHORT} characters: it could be guessed",
                        "use what `listwire init` makes",
                    )
                )
    return findings + shared_tags(found)


def _short(secrets: list[SecretStr]) -> bool:
    return any(len(secret.get_secret_value()) < SHORT for secret in secrets)


def shared_tags(found: Settings) -> list[Finding]:
    """A tag is named as its cohort, and an audience has one tag of a name."""
    by_audience: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name, sync in found.cohort_syncs.items():
        by_audience[sync.mailchimp, sync.audience].append(name)
    return [
        note(
            "cohort syncs",
            f"{first} and {second} write tags of one audience: cohorts of one name would share a tag, and each take away what the other gave",
            "give them `cohorts` patterns that never match the same name",
        )
        for names in by_audience.values()
        for first, second in combinations(sorted(names), 2)
    ]


def installation() -> list[Finding]:
    """Faust, aiokafka and the rest fall back to Python in silence; at Kafka's speed that is a fault."""
    return [
        _compiled("orjson", lambda: importlib.import_module("orjson.orjson") is not None, "reinstall orjson"),
        _compiled("uvloop", lambda: importlib.import_module("uvloop.loop") is not None, "reinstall uvloop"),
        _compiled("aiokafka", _aiokafka, "unset AIOKAFKA_NO_EXTENSIONS and reinstall aiokafka from its wheel"),
        _compiled("faust-streaming", _faust, "unset NO_CYTHON and reinstall faust-streaming from its wheel"),
    ]


def _compiled(package: str, in_use: Callable[[], bool], way_out: str) -> Finding:
    try:
        compiled, version = in_use(), metadata.version(package)
    except (ImportError, metadata.PackageNotFoundError) as fault:
        return failed(package, f"its compiled part cannot be loaded: {fault}", way_out)
    return ok(package, f"{version}, compiled") if compiled else failed(package, f"{version}, not compiled", way_out)


def _aiokafka() -> bool:
    from aiokafka.record import default_records

    return default_records.DefaultRecordBatch is not default_records._DefaultRecordBatchPy


def _faust() -> bool:
    from faust import streams

    return streams._CStreamIterator is not None
