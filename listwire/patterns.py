"""Patterns for names: `*` is anything, `?` one character, and a bracket itself: many cohorts are called `[Team] something`."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether any of the patterns is the whole name, case included."""
    return any(fnmatchcase(name, pattern.replace("[", "[[]")) for pattern in patterns)
