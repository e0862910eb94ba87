"""Cohort schedules in the settings, and when they are due."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from listwire.cohorts.due import count_due, next_due
from listwire.errors import SettingsError
from listwire.settings import Settings, load

SETTINGS = """
[amplitude.product]
api_key = "amplitude-key"
secret_key = "amplitude-secret"
[mailchimp.acme]
api_key = "mailchimp-key-us6"
[cohort_syncs.newsletter]
mailchimp = "acme"
audience = "a6b5da1054"
"""
SCHEDULE = """
[cohort_schedules.power-users]
sync = "newsletter"
amplitude = "product"
cohort = "Power users"
"""


def loaded(folder: Path, text: str, environ: dict[str, str] | None = None) -> Settings:
    (folder / "listwire.toml").write_text(text)
    return load(folder / "listwire.toml", environ or {})


def fault(folder: Path, text: str) -> str:
    with pytest.raises(SettingsError) as caught:
        loaded(folder, text)
    return str(caught.value)


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def test_a_schedule_needs_three_keys_and_has_defaults_within_amplitudes_month(tmp_path: Path) -> None:
    found = loaded(tmp_path, SETTINGS + SCHEDULE).cohort_schedules["power-users"]
    assert (found.cron, found.timezone, found.max_removal, found.email_property) == ("0 */2 * * *", "UTC", 0.5, None)
    assert count_due(found.cron, "UTC", at("2026-10-01"), at("2026-11-01")) <= 500


def test_its_keys_may_come_from_the_environment(tmp_path: Path) -> None:
    environ = {"LISTWIRE_COHORT_SCHEDULES__POWER_USERS__CRON": "5 4 * * MON"}
    assert loaded(tmp_path, SETTINGS + SCHEDULE, environ).cohort_schedules["power-users"].cron == "5 4 * * MON"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('cron = "hourly"', "five fields"),
        ('cron = "0 0 * * * *"', "five fields"),
        ('cron = "61 * * * *"', "bad minute"),
        ('cron = "0 0 31 2 *"', "no schedule: bad"),
        ("max_removal = 1.5", "less than or equal to 1"),
        ('timezone = "Mars/Base"', "no such time zone"),
        ('sync = "daily"', "names no table [cohort_syncs.daily] (known: newsletter)"),
        ('amplitude = "web"', "names no table [amplitude.web] (known: product)"),
        ('corn = "0 * * * *"', "did you mean 'cron'?"),
    ],
)
def test_a_wrong_key_is_told_with_the_way_out(line: str, words: str, tmp_path: Path) -> None:
    key = line.partition(" ")[0]
    kept = "\n".join(each for each in SCHEDULE.splitlines() if not each.startswith(key))
    assert words in fault(tmp_path, f"{SETTINGS}{kept}\n{line}\n")


def test_a_project_without_its_secret_key_cannot_be_read_from(tmp_path: Path) -> None:
    without = SETTINGS.replace('secret_key = "amplitude-secret"\n', "")
    assert "amplitude.product.secret_key is missing" in fault(tmp_path, without + SCHEDULE)
    assert loaded(tmp_path, without).cohort_schedules == {}


def test_due_times_are_those_of_the_zone() -> None:
    winter, summer = at("2026-01-10T12:00:00"), at("2026-07-10T12:00:00")
    assert next_due("0 9 * * *", "Europe/Berlin", winter) == at("2026-01-11T08:00:00")
    assert next_due("0 9 * * *", "Europe/Berlin", summer) == at("2026-07-11T07:00:00")


def test_a_due_time_that_has_come_is_not_due_again() -> None:
    noon = at("2026-07-10T12:00:00")
    assert next_due("0 * * * *", "UTC", noon) == noon + 3600
    assert next_due("0 * * * *", "UTC", noon - 0.001) == noon


@settings(deadline=None)
@given(
    st.sampled_from(["*/7 * * * *", "0 */2 * * *", "30 2 * * *", "15 1 1 * *", "0 9 * * MON-FRI"]),
    st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"]),
    st.floats(at("2026-01-01"), at("2027-01-01")),
)
def test_nothing_is_due_before_what_is_next(cron: str, zone: str, now: float) -> None:
    coming = next_due(cron, zone, now)
    assert coming > now
    assert next_due(cron, zone, max(now, coming - 1)) == coming
    assert count_due(cron, zone, now, coming) == 0
    assert count_due(cron, zone, now, coming + 1) == 1
