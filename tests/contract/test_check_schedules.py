"""`listwire check` on cohort schedules: what would fail at night is told in the day, and no download is spent for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from listwire.cli.schedule_checks import schedules
from listwire.cli.up import processes
from listwire.findings import State
from listwire.settings import Settings, load
from sandbox.amplitude import AmplitudeStandIn

KEY, SECRET = "key-of-amplitude-0123456789abcdef", "secret-of-amplitude-0123456789abc"


@pytest.fixture
async def amplitude() -> AsyncIterator[AmplitudeStandIn]:
    async with AmplitudeStandIn(api_keys={KEY}, secret_keys={SECRET}) as found:
        found.cohorts.add("c1", "Power users", [{"user_id": "1"}])
        yield found


def settings(
    folder: Path, url: str, *, cron: str = "0 */2 * * *", cohort: str = "Power users", secret: str = SECRET
) -> Settings:
    file = folder / "listwire.toml"
    file.write_text(f"""
[amplitude.product]
api_key = "{KEY}"
secret_key = "{secret}"
base_url = "{url}"
[mailchimp.acme]
api_key = "0123456789abcdef0123456789abcdef-us6"
[cohort_syncs.newsletter]
mailchimp = "acme"
audience = "a6b5da1054"
[cohort_schedules.power]
sync = "newsletter"
amplitude = "product"
cohort = "{cohort}"
cron = "{cron}"
""")
    return load(file, {})


async def test_a_schedule_that_will_work_is_told_with_its_cohort_and_its_cost(
    tmp_path: Path, amplitude: AmplitudeStandIn
) -> None:
    found = await schedules(settings(tmp_path, amplitude.url))
    assert [(each.check, each.state, each.words) for each in found] == [
        ("cohort_schedules.power", State.OK, "'Power users' (c1) has 1 user"),
        ("cohorts of product", State.OK, "0 of this month's 500 downloads are used; its schedules take 372 in 31 days"),
    ]
    assert amplitude.cohorts.requested == []


async def test_more_runs_than_a_month_has_downloads_are_noted(tmp_path: Path, amplitude: AmplitudeStandIn) -> None:
    _, month = await schedules(settings(tmp_path, amplitude.url, cron="0 * * * *"))
    assert (month.state, "take 744 in 31 days" in month.words) == (State.NOTE, True)


@pytest.mark.parametrize(
    ("cohort", "words"), [("Powr users", "there is 'Power users' (c1)"), ("c9", "knows no cohort 'c9'")]
)
async def test_a_cohort_that_is_not_there_is_wrong(
    tmp_path: Path, amplitude: AmplitudeStandIn, cohort: str, words: str
) -> None:
    found, _ = await schedules(settings(tmp_path, amplitude.url, cohort=cohort))
    assert found.state is State.FAILED
    assert words in found.words


async def test_a_refused_secret_is_wrong_and_names_its_key(tmp_path: Path, amplitude: AmplitudeStandIn) -> None:
    (found,) = await schedules(settings(tmp_path, amplitude.url, secret="not-this-one"))
    assert (found.state, "401" in found.words, "amplitude.product.secret_key" in found.way_out) == (
        State.FAILED,
        True,
        True,
    )
    assert "not-this-one" not in found.words


def test_up_runs_the_scheduler_where_there_are_schedules(tmp_path: Path) -> None:
    found = settings(tmp_path, "http://127.0.0.1:1")
    arguments = {child.name: tuple(child.arguments) for child in processes(found)}
    assert arguments["scheduler"] == ("cohorts", "sync", "--scheduled")
    without = found.model_copy(update={"cohort_schedules": {}})
    assert "scheduler" not in [child.name for child in processes(without)]
