"""Whether a process still runs with what stands on disk: told once a change, never for a file that is being written."""

from __future__ import annotations

from pathlib import Path

import pytest

from listwire import metrics
from listwire.settings import connections, load
from listwire.settings_watch import SettingsWatch, State

SECRET = "swordfish-of-the-source"
BEGIN = f"""
[amplitude.product]
api_key = "key-of-amplitude"
[sources.newsletter]
audience = "a1"
amplitude = "product"
secrets = ["{SECRET}"]
"""
MORE = {"sources": {"shop": {"audience": "a2", "amplitude": "product", "secrets": ["another"]}}}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "listwire.toml"
    path.write_text(BEGIN)
    return path


def stale() -> float:
    return float(metrics.SETTINGS_STALE()._value.get())


def looks(watch: SettingsWatch, times: int = 2) -> State:
    for _ in range(times):
        state = watch.look()
    return state


def test_what_has_not_changed_is_the_same(file: Path) -> None:
    watch = SettingsWatch(load(file, {}))
    assert looks(watch, 5) is State.SAME
    assert stale() == 0


def test_a_new_connection_makes_a_process_stale_and_is_told_once(file: Path) -> None:
    told: list[list[str]] = []
    watch = SettingsWatch(load(file, {}), changed=lambda found: told.append(sorted(found.sources)))
    connections.write(connections.directory_of(file), "source-shop", MORE)
    assert watch.look() is State.SAME, "it may still be written"
    assert looks(watch, 4) is State.CHANGED
    assert stale() == 1
    assert told == [["newsletter", "shop"]]


def test_back_to_what_it_was_is_the_same_again(file: Path) -> None:
    watch = SettingsWatch(load(file, {}))
    connections.write(connections.directory_of(file), "source-shop", MORE)
    looks(watch)
    connections.remove(connections.directory_of(file), "source-shop")
    assert looks(watch) is State.SAME
    assert stale() == 0


def test_what_is_not_valid_is_told_with_its_sentence_and_changes_nothing(file: Path) -> None:
    told: list[object] = []
    watch = SettingsWatch(load(file, {}), changed=told.append)
    file.write_text(BEGIN + "\n[ingress]\nprot = 8080\n")
    assert looks(watch) is State.INVALID
    assert "ingress.prot" in watch.fault
    assert SECRET not in watch.fault
    assert stale() == 1
    assert told == []
    assert list(watch.newest.sources) == ["newsletter"]
    file.write_text(BEGIN)
    assert looks(watch) is State.SAME


def test_a_comment_changes_nothing_and_a_flag_of_the_command_is_no_change(file: Path) -> None:
    settings = load(file, {})
    settings = settings.model_copy(update={"ingress": settings.ingress.model_copy(update={"port": 1})})
    watch = SettingsWatch(settings)
    file.write_text("# a comment\n" + BEGIN)
    assert looks(watch) is State.SAME


def test_a_secret_that_changes_in_its_file_is_a_change(file: Path, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("one")
    file.write_text(BEGIN.replace('api_key = "key-of-amplitude"', f'api_key_file = "{key}"'))
    watch = SettingsWatch(load(file, {}))
    key.write_text("another-one")
    assert looks(watch) is State.CHANGED
    key.unlink()
    assert looks(watch) is State.INVALID
    assert "another-one" not in watch.fault
    file.write_text(BEGIN)
    assert looks(watch) is State.CHANGED, "nobody asks for the file any more"


def test_sections_that_do_not_count_do_not_count(file: Path) -> None:
    watch = SettingsWatch(load(file, {}), but=("sources",))
    connections.write(connections.directory_of(file), "source-shop", MORE)
    assert looks(watch) is State.SAME


def test_who_takes_the_new_settings_is_up_to_date(file: Path) -> None:
    watch = SettingsWatch(load(file, {}))
    connections.write(connections.directory_of(file), "source-shop", MORE)
    looks(watch)
    watch.take(watch.newest)
    assert looks(watch) is State.SAME
    assert stale() == 0


def test_a_change_while_the_one_before_is_being_taken_is_not_missed(file: Path) -> None:
    told: list[list[str]] = []
    watch = SettingsWatch(load(file, {}), changed=lambda found: told.append(sorted(found.sources)))
    connections.write(connections.directory_of(file), "source-shop", MORE)
    looks(watch)
    found = watch.newest
    third = {"sources": {"third": {**MORE["sources"]["shop"]}}}
    connections.write(connections.directory_of(file), "source-third", third)
    watch.take(found)
    assert looks(watch) is State.CHANGED
    assert told == [["newsletter", "shop"], ["newsletter", "shop", "third"]]


def test_a_change_between_loading_and_the_first_look_is_seen(file: Path) -> None:
    settings = load(file, {})
    connections.write(connections.directory_of(file), "source-shop", MORE)
    assert looks(SettingsWatch(settings)) is State.CHANGED


def test_settings_that_were_never_loaded_have_no_origin() -> None:
    from listwire.errors import SettingsError
    from listwire.settings import Settings

    with pytest.raises(SettingsError, match="no file"):
        SettingsWatch(Settings())
