"""connections.d/: what is written there is read back, below the person's own file, and is nobody else's to read."""

from __future__ import annotations

from pathlib import Path

import pytest

from listwire.errors import SettingsError
from listwire.settings import connections, load

TREE = {
    "mailchimp": {"acme": {"access_token": "tok-secret", "datacenter": "us6"}},
    "amplitude": {"product": {"api_key": "key-secret"}},
    "sources": {
        "newsletter": {"mailchimp": "acme", "audience": "a1", "amplitude": "product", "secrets": ["path-secret"]}
    },
}


def settings_file(directory: Path, text: str = "") -> Path:
    file = directory / "listwire.toml"
    file.write_text(text)
    return file


def test_a_written_connection_is_part_of_the_settings(tmp_path: Path) -> None:
    file = settings_file(tmp_path)
    written = connections.write(connections.directory_of(file), "newsletter", TREE)
    settings = load(file, {})
    assert settings.sources["newsletter"].audience == "a1"
    assert settings.mailchimp["acme"].root == "https://us6.api.mailchimp.com"
    assert written.stat().st_mode & 0o777 == 0o600
    assert written.parent.stat().st_mode & 0o777 == 0o700
    assert [each.name for each in written.parent.iterdir()] == ["newsletter.toml"]


def test_a_persons_own_file_wins(tmp_path: Path) -> None:
    file = settings_file(tmp_path, '[sources.newsletter]\naudience = "mine"\n')
    connections.write(connections.directory_of(file), "newsletter", TREE)
    assert load(file, {}).sources["newsletter"].audience == "mine"


def test_a_fault_in_a_connection_names_its_file_and_no_secret(tmp_path: Path) -> None:
    file = settings_file(tmp_path)
    wrong = {**TREE, "mailchimp": {"acme": {"access_token": "tok-secret", "datacenter": "evil.example/"}}}
    connections.write(connections.directory_of(file), "newsletter", wrong)
    with pytest.raises(SettingsError) as raised:
        load(file, {})
    assert "newsletter.toml" in str(raised.value)
    assert "datacenter" in str(raised.value)
    assert "secret" not in str(raised.value)


def test_other_settings_have_no_place_there(tmp_path: Path) -> None:
    file = settings_file(tmp_path)
    connections.write(connections.directory_of(file), "x", {"kafka": {"bootstrap_servers": "evil:9092"}})
    with pytest.raises(SettingsError, match="kafka has no place here"):
        load(file, {})


def test_one_table_in_two_files_is_refused(tmp_path: Path) -> None:
    file = settings_file(tmp_path)
    for name in ("one", "two"):
        connections.write(connections.directory_of(file), name, TREE)
    with pytest.raises(SettingsError, match=r"stands in one\.toml too"):
        load(file, {})


@pytest.mark.parametrize("name", ["../evil", "a/b", "", "UPPER", "dot.dot"])
def test_a_connections_name_is_no_path(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingsError):
        connections.write(tmp_path / "connections.d", name, TREE)
    assert not connections.remove(tmp_path / "connections.d", name)


def test_a_removed_connection_is_gone(tmp_path: Path) -> None:
    file = settings_file(tmp_path)
    connections.write(connections.directory_of(file), "newsletter", TREE)
    assert connections.remove(connections.directory_of(file), "newsletter")
    assert not load(file, {}).sources
