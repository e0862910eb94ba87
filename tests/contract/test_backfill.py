"""What a backfill asks of Mailchimp's stand-in, and how the command answers wrong usage: no Kafka is needed for either."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from listwire.backfill.times import GIVEN_UP
from listwire.cli import backfill_mailchimp as asks
from listwire.errors import ListwireError
from sandbox.faults import Fault
from sandbox.mailchimp import API_KEY, AUDIENCE, Happening, MailchimpStandIn
from sandbox.mailchimp.audience import Webhook
from tests.contract.commands import Ran, listwire_here
from vendors.mailchimp import Mailchimp, subscriber_hash

NOON = 1_767_268_800  # 2026-01-01T12:00:00Z


class Clock:
    """Never waits."""

    def time(self) -> float:
        return NOON

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        pass

    async def wait(self, event: Any, seconds: float) -> bool:
        return bool(event.is_set())


class Stage:
    def __init__(self) -> None:
        self.now = float(NOON)
        self.mailchimp = MailchimpStandIn(clock=lambda: self.now)
        self.told: list[tuple[int, int]] = []

    def tell(self, done: int, total: int) -> None:
        self.told.append((done, total))

    def happens(self, what: Any, second: int, who: str = "ann", **more: Any) -> None:
        self.now = NOON + second
        self.mailchimp.happen(Happening(what=what, email_address=f"{who}@example.com", **more))


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    found = Stage()
    async with found.mailchimp:
        yield found


@pytest.fixture
async def client(stage: Stage) -> AsyncIterator[Mailchimp]:
    async with Mailchimp(stage.mailchimp.url, api_key=API_KEY) as found:
        yield found


async def changed(stage: Stage, client: Mailchimp, since: int = NOON) -> dict[str, Any]:
    found = await asks.changed(client, AUDIENCE, since, Clock(), stage.tell)
    return {each.address.partition("@")[0]: each for each in found}


async def test_everybody_who_changed_is_read_from_the_very_second_on_the_archived_too(
    stage: Stage, client: Mailchimp
) -> None:
    stage.happens("subscribe", -1, "early")
    stage.happens("subscribe", 0, "ann")
    stage.happens("subscribe", 1, "bob", merge_fields={"FNAME": "Bob"})
    stage.happens("archive", 2, "bob")
    found = await changed(stage, client)
    assert set(found) == {"ann", "bob"}
    assert (found["ann"].opted, found["ann"].changed, found["ann"].source) == (NOON, NOON, "Hosted Signup Form")
    assert (found["bob"].status, found["bob"].changed) == ("archived", NOON + 2)
    member = stage.mailchimp.audience.member("bob@example.com")
    assert member is not None
    assert (found["bob"].id, found["bob"].hash, found["bob"].web_id) == (
        member.legacy_id,
        member.id,
        str(member.web_id),
    )
    assert found["bob"].merges["FNAME"] == "Bob"


async def test_many_in_one_second_are_all_read_though_mailchimp_fails_in_between(
    stage: Stage, client: Mailchimp
) -> None:
    for number in range(2_300):
        stage.happens("subscribe", number // 1_150, f"p{number}")
    stage.mailchimp.faults.queue(
        Fault(kind="pass"), Fault(status=502, body="<html>"), Fault(kind="pass"), Fault(status=503)
    )
    assert len(await changed(stage, client)) == 2_300


async def test_only_the_fields_that_are_needed_are_asked_for_and_a_thousand_at_once(
    stage: Stage, client: Mailchimp
) -> None:
    stage.happens("subscribe", 0)
    await changed(stage, client)
    asked = [parse_qs(each.query) for each in stage.mailchimp.seen if each.path.endswith("/members")]
    assert [each.get("status") for each in asked] == [None, ["archived"]]
    for each in asked:
        assert each["count"] == ["1000"]
        assert (each["sort_field"], each["sort_dir"]) == (["last_changed"], ["ASC"])
        assert set(each["fields"][0].split(",")) == {
            "total_items",
            "members.id",
            *(f"members.{name}" for name in asks.FIELDS),
        }


async def test_histories_stay_within_the_account_s_connections(stage: Stage, client: Mailchimp) -> None:
    for number in range(60):
        stage.happens("subscribe", number, f"p{number}")
    stage.mailchimp.faults.latency = 0.01
    contacts = await asks.changed(client, AUDIENCE, NOON, Clock(), stage.tell)
    found = await asks.histories(client, AUDIENCE, contacts, Clock(), stage.tell)
    assert len(found) == 60
    assert all(entries is not None and len(entries) == 1 for entries in found.values())
    assert stage.mailchimp.max_connections_seen <= 10
    assert stage.told[-1] == (60, 60)


async def test_of_a_contact_that_is_gone_meanwhile_there_is_no_history(stage: Stage, client: Mailchimp) -> None:
    stage.happens("subscribe", 0)
    contacts = await asks.changed(client, AUDIENCE, NOON, Clock(), stage.tell)
    stage.happens("forget", 1)
    found = await asks.histories(client, AUDIENCE, contacts, Clock(), stage.tell)
    assert found == {subscriber_hash("ann@example.com"): None}


async def test_what_the_webhook_is_told_of_is_asked_and_else_the_defaults_count(
    stage: Stage, client: Mailchimp
) -> None:
    missing, there = await asks.hook(client, "newsletter", AUDIENCE, Clock())
    assert (missing.events, missing.sources, there) == ({"subscribe", "unsubscribe"}, {"user"}, False)
    url = "https://hooks.example.com/webhooks/mailchimp/newsletter/secret"
    stage.mailchimp.audience.webhooks["h"] = Webhook(
        "h", url, {"subscribe": True, "unsubscribe": False, "profile": True}, {"user": True, "api": True}
    )
    made, there = await asks.hook(client, "newsletter", AUDIENCE, Clock())
    assert (made.events, made.sources, there) == ({"subscribe"}, {"user", "api"}, True)
    with pytest.raises(ListwireError, match="does not know the audience"):
        await asks.hook(client, "newsletter", "0000000000", Clock())


# Wrong usage ----------------------------------------------------------------------------------------------------------

SETTINGS = f"""
[kafka]
bootstrap_servers = "127.0.0.1:1"
[amplitude.product]
api_key = "0123456789abcdef"
[mailchimp.acme]
api_key = "{API_KEY}"
base_url = "http://127.0.0.1:1"
[sources.newsletter]
mailchimp = "acme"
audience = "{AUDIENCE}"
amplitude = "product"
secrets = ["swordfish-swordfish-swordfish"]
[sources.unread]
audience = "{AUDIENCE}"
amplitude = "product"
secrets = ["swordfish-swordfish-swordfish"]
"""


def backfill(folder: Path, *arguments: str) -> Ran:
    (folder / "listwire.toml").write_text(SETTINGS)
    ran = listwire_here("backfill", *arguments, cwd=folder)
    assert "Traceback" not in ran.all
    return ran


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--source", "newsletter", "--since", "6h"), "--yes does it, --dry-run only shows"),
        (("--source", "newsletter", "--since", "6h", "--json"), "--yes does it, --dry-run only shows"),
        (("--source", "news", "--since", "6h", "--dry-run"), "known are newsletter, unread"),
        (("--source", "unread", "--since", "6h", "--dry-run"), 'mailchimp = "NAME"'),
        (("--source", "newsletter", "--since", "soon", "--dry-run"), "--since 'soon' is no time"),
        (("--source", "newsletter", "--since", "1h", "--dry-run"), "until when Mailchimp has given up"),
        (("--source", "newsletter", "--since", "6h", "--until", "1h", "--dry-run"), "Mailchimp may still bring"),
        (("--source", "newsletter", "--since", "6h", "--until", "7h", "--dry-run"), "is not before"),
        (("--source", "newsletter", "--since", "6h", "--tolerance", "61", "--dry-run"), "--tolerance"),
        (("--source", "newsletter", "--dry-run"), "--since"),
    ],
)
def test_wrong_usage_ends_with_the_way_out(tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    ran = backfill(tmp_path, *arguments)
    assert ran.code == 2, ran.all
    assert words in ran.err
    assert ran.out == ""


def test_without_kafka_the_work_fails(tmp_path: Path) -> None:
    ran = backfill(tmp_path, "--source", "newsletter", "--since", "6h", "--dry-run")
    assert ran.code == 1
    assert "Kafka at 127.0.0.1:1" in ran.err


def test_mailchimp_has_given_up_by_then() -> None:
    assert GIVEN_UP > 75 * 60
