"""`connections.d/` beside the settings file: what `listwire connect` and the console write, a TOML file a connection, mode 0600.

A person's own file wins over it. Only named tables may stand there: [amplitude.X], [mailchimp.X], [sources.X], [cohort_syncs.X].
"""

from __future__ import annotations

import os
import re
import tempfile
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import tomli_w

from listwire.errors import SettingsError

DIRECTORY = "connections.d"
FILE_NAME = re.compile(r"[a-z0-9-]+\Z")


def directory_of(settings_file: Path | None) -> Path:
    return (settings_file.parent if settings_file is not None else Path()) / DIRECTORY


def read(
    directory: Path, read_file: Callable[[Path], dict[str, Any]], named: frozenset[str]
) -> tuple[dict[str, Any], dict[tuple[str, str], Path]]:
    """All files merged, and which file each table came from. Raises `SettingsError` where two files name the same table."""
    tree: dict[str, Any] = {}
    owners: dict[tuple[str, str], Path] = {}
    for file in sorted(directory.glob("*.toml")):
        for section, tables in read_file(file).items():
            if section not in named or not isinstance(tables, Mapping):
                raise SettingsError(
                    f"{file}: {section} has no place here; only tables like [sources.NAME] have. Move it to the settings file."
                )
            for name, table in tables.items():
                if (other := owners.get((section, name))) is not None:
                    raise SettingsError(
                        f"{file}: [{section}.{name}] stands in {other.name} too; remove one of the two."
                    )
                owners[section, name] = file
                tree.setdefault(section, {})[name] = table
    return tree, owners


def write(directory: Path, name: str, tree: Mapping[str, Any]) -> Path:
    """Atomic, and never readable by others, not even for a moment. Returns the file."""
    if not FILE_NAME.match(name):
        raise SettingsError(f"{name!r} is no name for a connection: it is made of a-z, 0-9 and '-'.")
    directory.mkdir(mode=0o700, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{name}-", suffix=".tmp", dir=directory)  # mkstemp: mode 0600
    try:
        with os.fdopen(handle, "wb") as file:
            tomli_w.dump(tree, file)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(directory / f"{name}.toml")
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return directory / f"{name}.toml"


def owner(directory: Path, section: str, name: str) -> Path | None:
    """The file in which the table [section.name] stands; None where none of these has it."""
    for file in sorted(directory.glob("*.toml")):
        if name in _tables(file).get(section, {}):
            return file
    return None


def put(directory: Path, section: str, name: str, values: Mapping[str, Any], *, file: str, anew: bool = False) -> Path:
    """Writes these keys of [section.name]: into the file that has the table, keeping its other keys unless `anew`; else into `file`."""
    found = owner(directory, section, name)
    if found is None:
        return write(directory, file, {section: {name: dict(values)}})
    tree = _tables(found)
    tree[section][name] = {**({} if anew else tree[section][name]), **values}
    return write(directory, found.stem, tree)


def drop(directory: Path, section: str, name: str) -> Path | None:
    """Removes the table [section.name], and its file where that held nothing else. Returns the file, or None."""
    found = owner(directory, section, name)
    if found is None:
        return None
    tree = _tables(found)
    del tree[section][name]
    rest = {kind: tables for kind, tables in tree.items() if tables}
    if rest:
        write(directory, found.stem, rest)
    else:
        remove(directory, found.stem)
    return found


def _tables(file: Path) -> dict[str, Any]:
    """Raises `SettingsError`."""
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as fault:
        raise SettingsError(f"{file} cannot be read: {fault}") from None


def remove(directory: Path, name: str) -> bool:
    """Whether there was such a file."""
    file = directory / f"{name}.toml"
    if not FILE_NAME.match(name) or not file.exists():
        return False
    file.unlink()
    return True
