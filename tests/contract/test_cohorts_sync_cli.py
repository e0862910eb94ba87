"""`cohorts sync` as a person meets it, between the stand-ins for Amplitude and Mailchimp, without a Kafka."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sandbox.amplitude import AmplitudeStandIn
from sandbox.mailchimp import API_KEY, MailchimpStandIn
from tests.contract.commands import Ran, listwire

KEY, SECRET = "key-of-amplitude-0123456789abcdef", "secret-of-amplitude-0123456789abc"
TAG = "Power users"


@dataclass
class Scene:
    folder: Path
    amplitude: AmplitudeStandIn
    mailchimp: MailchimpStandIn

    def settings(self, schedule: str = "", sync: str = "", secret: str = SECRET) -> None:
        (self.folder / "listwire.toml").write_text(f"""
[kafka]
bootstrap_servers = "127.0.0.1:1"
[amplitude.product]
api_key = "{KEY}"
secret_key = "{secret}"
base_url = "http://127.0.0.1:1"
cohorts_url = "{self.amplitude.url}"
[mailchimp.acme]
api_key = "{API_KEY}"
base_url = "{self.mailchimp.url}"
[cohort_syncs.newsletter]
mailchimp = "acme"
audience = "a6b5da1054"
{sync}
[cohort_schedules.power]
sync = "newsletter"
amplitude = "product"
{schedule or f'cohort = "{TAG}"'}
""")

    async def run(self, *arguments: str) -> Ran:
        ran = await asyncio.to_thread(listwire, "cohorts", "sync", *arguments, cwd=self.folder)
        assert "Traceback" not in ran.all
        assert not [secret for secret in (KEY, SECRET, API_KEY) if secret in ran.all]
        return ran

    async def compared(self) -> dict[str, Any]:
        ran = await self.run("power", "--dry-run", "--json")
        assert ran.code == 0, ran.all
        found: dict[str, Any] = json.loads(ran.out)
        return found

    def tag(self, *addresses: str) -> None:
        self.mailchimp.account.tags.create(self.mailchimp.audience, TAG, list(addresses), "hand")

    def cohort(self, *addresses: str, cohort_id: str = "c1", name: str = TAG, **more: Any) -> None:
        people = [{"user_id": f"u{n}", "email": address} for n, address in enumerate(addresses)]
        self.amplitude.cohorts.add(cohort_id, name, people, **more)


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with (
        AmplitudeStandIn(api_keys={KEY}, secret_keys={SECRET}) as amplitude,
        MailchimpStandIn() as mailchimp,
    ):
        amplitude.cohorts.polls = 0
        found = Scene(tmp_path, amplitude, mailchimp)
        found.settings()
        yield found


async def test_a_dry_run_tells_the_differences_and_asks_no_kafka(scene: Scene) -> None:
    scene.mailchimp.audience.seed(10)
    scene.tag("member0@example.com", "member9@example.com")
    scene.cohort("Member0@example.com", " member1@example.com", "stranger@example.com", "nobody")
    ran = await scene.run("power", "--dry-run")
    assert ran.code == 0, ran.all
    assert ran.out == (
        "'Power users' (c1) has 4 users in Amplitude, 3 with an address of their own; 1 of these are not subscribed in the audience.\n"
        "The tag has 2 members: 1 enter, 1 leave.\n"
        "Nothing was published. It would take 1 segment call.\n"
    )
    found = await scene.compared()
    assert {name: found[name] for name in ("entering", "leaving", "absent", "tagged", "without_address", "segment_calls")} == {
        "entering": 1, "leaving": 1, "absent": 1, "tagged": 2, "without_address": 1, "segment_calls": 1,
    }  # fmt: skip
    assert not [call for call in scene.mailchimp.calls if not call.startswith("GET")]


async def test_only_who_is_subscribed_can_enter_and_whoever_carries_the_tag_may_keep_it(scene: Scene) -> None:
    people = {
        status: f"{status}@example.com" for status in ("subscribed", "unsubscribed", "cleaned", "pending", "archived")
    }
    for status, address in people.items():
        scene.mailchimp.audience.add_member(address, status, 0)
    scene.mailchimp.audience.add_member("kept@example.com", "subscribed", 0)
    scene.tag("kept@example.com")
    kept = scene.mailchimp.audience.members
    next(each for each in kept.values() if each.address == "kept@example.com").status = "unsubscribed"
    scene.cohort(*people.values(), "kept@example.com")
    found = await scene.compared()
    assert (found["entering"], found["leaving"], found["absent"]) == (1, 0, 4)


async def test_a_large_audience_is_read_by_the_page_and_a_few_people_are_looked_up(scene: Scene) -> None:
    scene.mailchimp.audience.seed(3_000)
    scene.cohort(*(f"member{n}@example.com" for n in range(30)))
    assert (await scene.compared())["entering"] == 30
    assert scene.mailchimp.calls["GET /3.0/lists/a6b5da1054/members/* 200"] == 30
    assert scene.mailchimp.calls["GET /3.0/lists/a6b5da1054/members 200"] == 0
    scene.cohort(*(f"member{n}@example.com" for n in range(500)))
    assert (await scene.compared())["entering"] == 500
    assert scene.mailchimp.calls["GET /3.0/lists/a6b5da1054/members/* 200"] == 30
    assert scene.mailchimp.calls["GET /3.0/lists/a6b5da1054/members 200"] == 4  # pages overlap by a few


async def test_a_tag_that_is_right_needs_no_look_at_the_audience(scene: Scene) -> None:
    scene.mailchimp.audience.seed(5)
    scene.tag("member1@example.com")
    scene.cohort("member1@example.com")
    ran = await scene.run("power", "--dry-run")
    assert ran.out.endswith("The tag is right; nothing was published.\n")
    assert not [call for call in scene.mailchimp.calls if "/members" in call and "segments" not in call]


@pytest.mark.parametrize(
    ("schedule", "sync", "words"),
    [
        ('cohort = "Powr users"', "", "no cohort 'Powr users', by name or id; there is 'Power users' (c1)"),
        (
            'cohort = "Twins"',
            "",
            "2 cohorts of Amplitude are named 'Twins': name one by its id: c2 ('Twins'), c3 ('Twins')",
        ),
        ('cohort = "Old"', "", "'Old' (c4) is archived"),
        ('cohort = "c5"', "", "has 88 characters; a tag takes at most 87"),
        ('cohort = "Everybody"', "", "has 2,000,001 users, and Amplitude gives out cohorts of at most 2,000,000"),
        ("", 'cohorts = ["Trial*"]', "cohort_syncs.newsletter.cohorts = ['Trial*'] do not match 'Power users'"),
    ],
)
async def test_what_cannot_work_is_told_before_a_download_is_spent(
    scene: Scene, schedule: str, sync: str, words: str
) -> None:
    scene.cohort()
    scene.cohort(cohort_id="c2", name="Twins")
    scene.cohort(cohort_id="c3", name="Twins")
    scene.cohort(cohort_id="c4", name="Old", archived=True)
    scene.cohort(cohort_id="c5", name="x" * 88)
    scene.cohort(cohort_id="c6", name="Everybody", size=2_000_001)
    scene.settings(schedule, sync)
    ran = await scene.run("power", "--dry-run")
    assert (ran.code, ran.out) == (1, "")
    assert words in ran.err
    assert scene.amplitude.cohorts.requested == []


async def test_a_refused_secret_is_told_without_it(scene: Scene) -> None:
    scene.settings(secret="not-the-secret-of-this-project")
    ran = await scene.run("power", "--dry-run")
    assert (ran.code, ran.err) == (1, "listwire: amplitude answered 401: Unauthorized\n")


async def test_a_month_that_is_used_up_is_told(scene: Scene) -> None:
    scene.cohort()
    scene.amplitude.cohorts.limits.a_month = 0
    ran = await scene.run("power", "--dry-run")
    assert ran.code == 1
    assert "the project's 0 cohort downloads of this month are used up until" in ran.err


async def test_a_property_that_nobody_has_is_refused_by_the_guard(scene: Scene) -> None:
    scene.mailchimp.audience.seed(3)
    scene.tag("member1@example.com")
    scene.amplitude.cohorts.add("c1", TAG, [{"user_id": "1"}])
    ran = await scene.run("power", "--dry-run")
    assert ran.code == 1
    assert "nobody with an address, and the tag has 1 member" in ran.err


async def test_the_schedules_own_property_wins_over_the_syncs(scene: Scene) -> None:
    scene.mailchimp.audience.seed(3)
    scene.amplitude.cohorts.add("c1", TAG, [{"user_id": "member1@example.com"}, {"user_id": "member2@example.com"}])
    scene.settings(f'cohort = "{TAG}"\nemail_property = "user_id"')
    assert (await scene.compared())["entering"] == 2


async def test_an_audience_that_mailchimp_does_not_know_is_named(scene: Scene) -> None:
    scene.cohort("a@example.com")
    scene.settings()
    file = scene.folder / "listwire.toml"
    file.write_text(file.read_text().replace("a6b5da1054", "b6b5da1054"))
    assert "Mailchimp does not know the audience 'b6b5da1054'" in (await scene.run("power", "--dry-run")).err


async def test_without_kafka_no_download_is_spent(scene: Scene) -> None:
    scene.cohort("a@example.com")
    ran = await scene.run("power")
    assert ran.code == 1
    assert "Kafka at 127.0.0.1:1 cannot be used" in ran.err
    assert scene.amplitude.cohorts.requested == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "Name one schedule, or run them all with --scheduled"),
        (("power", "--scheduled"), "Name one schedule, or run them all with --scheduled"),
        (("--scheduled", "--force"), "for one schedule that somebody looks at"),
        (("power", "--port", "1"), "--host and --port go with --scheduled"),
        (("powr",), "There is no table [cohort_schedules.powr]; known are power"),
    ],
)
async def test_wrong_usage_is_told(scene: Scene, arguments: tuple[str, ...], words: str) -> None:
    ran = await scene.run(*arguments)
    assert ran.code == 2
    assert words in ran.err


async def test_a_scheduler_without_schedules_says_what_to_write(scene: Scene) -> None:
    file = scene.folder / "listwire.toml"
    file.write_text(file.read_text().partition("[cohort_schedules")[0])
    ran = await scene.run("--scheduled")
    assert (ran.code, ran.err) == (2, "listwire: There is no schedule: write a table [cohort_schedules.NAME].\n")
