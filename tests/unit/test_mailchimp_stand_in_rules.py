"""The Mailchimp stand-in's rules without HTTP: names, hashes, times, fields, the batch call, the journal, the forms."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path
from urllib.parse import parse_qsl

import pytest

from sandbox.mailchimp import forms, rules
from sandbox.mailchimp.audience import Audience
from sandbox.mailchimp.behaviour import Behaviour
from sandbox.mailchimp.journal import Journal, membership, read_journal
from sandbox.mailchimp.problems import Problem, named, triggered
from sandbox.mailchimp.tags import Tags

NOW = 1_600_000_000.0


def an_audience(members: int = 5) -> Audience:
    audience = Audience("a6b5da1054", "Newsletter", NOW, 1)
    audience.seed(members, now=NOW)
    return audience


def tags_of(behaviour: Behaviour | None = None, journal: Path | None = None) -> Tags:
    return Tags(behaviour or Behaviour(), Journal(journal), lambda: NOW)


def test_the_subscriber_hash_is_the_md5_of_the_trimmed_lower_case_address() -> None:
    assert rules.subscriber_hash(" Urist.McVankab@Freddiesjokes.com ") == "62eeb292278cc15f5817cb78f7790b08"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("https://example.com/a", "https://example.com/a?x=1", True),
        ("https://example.com/a?x=1", "https://EXAMPLE.com/a?x=2", True),
        ("https://example.com/a", "https://example.com/b", False),
        ("https://example.com/a", "http://example.com/a", False),
    ],
)
def test_urls_that_differ_only_in_the_query_are_one_webhook(one: str, other: str, same: bool) -> None:
    assert (rules.webhook_url_key(one) == rules.webhook_url_key(other)) is same


def test_the_signature_is_an_hmac_over_the_time_and_the_raw_body() -> None:
    digest = hmac.new(b"secret", b"1700000000.type=subscribe", hashlib.sha256).hexdigest()
    assert rules.signature("secret", 1_700_000_000, b"type=subscribe") == f"t=1700000000,v1={digest}"


def test_times_are_read_with_and_without_a_zone() -> None:
    assert rules.from_iso("2015-10-21T15:41:36+00:00") == rules.from_iso("2015-10-21T15:41:36")
    assert rules.from_iso("2015-10-21T17:41:36 02:00") == rules.from_iso("2015-10-21T15:41:36+00:00")
    assert rules.iso(rules.from_iso("2015-10-21T15:41:36+00:00")) == "2015-10-21T15:41:36+00:00"
    with pytest.raises(ValueError):
        rules.from_iso("yesterday")


def test_fields_keep_only_what_they_name_and_exclude_fields_the_rest() -> None:
    body = {"members": [{"id": 1, "stats": {"a": 1, "b": 2}}], "total_items": 1}
    assert rules.only(body, rules.field_tree("members.id,total_items")) == {"members": [{"id": 1}], "total_items": 1}
    assert rules.only(body, rules.field_tree("members.stats.a")) == {"members": [{"stats": {"a": 1}}]}
    assert rules.without(body, rules.field_tree("members.stats.b,total_items")) == {
        "members": [{"id": 1, "stats": {"a": 1}}]
    }


@pytest.mark.parametrize(
    "address", ["", "no-at-sign", "two@@example.com", "a b@example.com", "a@nodot", "@example.com"]
)
def test_addresses_that_mailchimp_finds_fake_are_refused(address: str) -> None:
    assert not rules.looks_valid(address)


def test_names_that_differ_only_in_case_are_one_tag() -> None:
    audience, tags = an_audience(), tags_of()
    first = tags.create(audience, "Straße", [], "r")
    with pytest.raises(Problem) as refusal:
        tags.create(audience, " STRASSE ", [], "r")
    assert refusal.value.detail == "Sorry, that tag already exists."
    assert audience.tag("strasse") is first


def test_a_tag_name_is_neither_empty_nor_longer_than_100_characters() -> None:
    audience, tags = an_audience(), tags_of()
    for name in ("  ", "x" * 101):
        with pytest.raises(Problem):
            tags.create(audience, name, [], "r")
    assert tags.create(audience, "x" * 100, [], "r").name == "x" * 100


def test_one_call_sorts_addresses_into_added_removed_errors_and_silence() -> None:
    audience, tags = an_audience(), tags_of()
    segment = tags.create(audience, "Trial", ["member1@example.com"], "r")
    audience.add_member("cleaned@example.com", "cleaned", NOW)
    audience.add_member("gone@example.com", "archived", NOW)
    audience.add_member("doubtful@example.com", "unsubscribed", NOW).compliance = True
    add = ["MEMBER0@example.com", "member0@example.com", "stranger@example.com", "nonsense"]
    add += ["cleaned@example.com", "gone@example.com", "doubtful@example.com", "member1@example.com"]
    change = tags.change(
        audience, segment, [*add, "member4@example.com"], ["member1@example.com", "member2@example.com"], "r"
    )
    assert [member.address for member in change.added] == ["member0@example.com", "member4@example.com"]
    assert [member.address for member in change.removed] == ["member1@example.com"]
    assert change.errors == {
        "Please provide a valid email address.": ["nonsense"],
        "Email is not subscribed to the list": ["cleaned@example.com", "gone@example.com", "doubtful@example.com"],
    }
    assert audience.tagged("trial") == {"member0@example.com", "member4@example.com"}


def test_what_nobody_knows_can_be_turned() -> None:
    audience = an_audience()
    tags = tags_of(Behaviour(non_members="errors", repeats="errors", unsubscribed="errors", tag_case="lower"))
    segment = tags.create(audience, "Trial", ["member1@example.com"], "r")
    audience.add_member("left@example.com", "unsubscribed", NOW)
    change = tags.change(
        audience, segment, ["member1@example.com", "stranger@example.com", "left@example.com"], [], "r"
    )
    assert sorted(map(tuple, change.errors.values())) == [
        ("left@example.com",),
        ("member1@example.com",),
        ("stranger@example.com",),
    ]
    assert segment.name == "trial"


def test_repeats_may_be_reported_as_added() -> None:
    audience, tags = an_audience(), tags_of(Behaviour(repeats="added"))
    segment = tags.create(audience, "Trial", ["member1@example.com"], "r")
    assert [member.id for member in tags.change(audience, segment, ["member1@example.com"], [], "r").added] == [
        rules.subscriber_hash("member1@example.com")
    ]


@pytest.mark.parametrize(("add", "remove", "refused"), [(500, 500, False), (501, 0, True), (0, 501, True)])
def test_at_most_500_members_a_call_each_way(add: int, remove: int, refused: bool) -> None:
    audience, tags = an_audience(0), tags_of()
    segment = tags.create(audience, "Trial", [], "r")
    addresses = [f"a{number}@example.com" for number in range(501)]
    if not refused:
        assert tags.change(audience, segment, addresses[:add], addresses[:remove], "r").added == []
        return
    with pytest.raises(Problem, match="Maximum allowed member items exceeded") as refusal:
        tags.change(audience, segment, addresses[:add], addresses[:remove], "r")
    assert (refusal.value.status, refusal.value.title) == (400, "Invalid Resource")


def test_the_journal_tells_who_carries_which_tag_even_after_a_cut(tmp_path: Path) -> None:
    path = tmp_path / "tags.jsonl"
    audience, tags = an_audience(), tags_of(journal=path)
    trial = tags.create(audience, "Trial", ["member0@example.com", "member1@example.com"], "first")
    tags.change(audience, trial, ["member2@example.com", "member2@example.com"], ["member1@example.com"], "second")
    tags.change(audience, trial, ["member2@example.com"], [], "changes nothing")
    other = tags.create(audience, "Other", ["member3@example.com"], "third")
    assert (
        membership(path)["a6b5da1054", "trial"]
        == audience.tagged("Trial")
        == {"member0@example.com", "member2@example.com"}
    )
    tags.delete(audience, other, "fourth")
    with path.open("ab") as journal:
        journal.write(b'{"at":1,"audience":"a6b5da1054","segment":1,"tag":"Tri')
    assert [change.request for change in read_journal(path)] == ["first", "second", "third", "fourth"]
    assert ("a6b5da1054", "other") not in membership(path)


def test_replacing_empties_a_tag_and_deleting_takes_it_off_its_members() -> None:
    audience, tags = an_audience(), tags_of()
    segment = tags.create(audience, "Trial", ["member0@example.com", "member1@example.com"], "r")
    tags.replace(audience, segment, ["member1@example.com", "member2@example.com"], "r")
    assert audience.tagged("Trial") == {"member1@example.com", "member2@example.com"}
    tags.replace(audience, segment, [], "r")
    assert audience.tagged("Trial") == set()
    tags.set_for_member(audience, next(iter(audience.members.values())), "Trial", active=True, request="r")
    tags.delete(audience, segment, "r")
    assert all(not member.tags for member in audience.members.values())


def test_forms_have_the_brackets_and_the_order_of_a_recorded_body() -> None:
    audience = an_audience()
    member = audience.members[rules.subscriber_hash("member0@example.com")]
    member.merge_fields = {
        "FNAME": "Zoë",
        "ADDRESS": {"addr1": "1 Main St", "city": "Rome"},
        "GROUPINGS": [{"id": 6197, "groups": "Yes"}],
    }
    form = forms.unsubscribe(audience, member, NOW, action="unsub", reason="manual", campaign_id="")
    decoded = parse_qsl(forms.encode(form).decode(), keep_blank_values=True)
    assert decoded[:4] == [
        ("type", "unsubscribe"),
        ("fired_at", "2020-09-13 12:26:40"),
        ("data[action]", "unsub"),
        ("data[reason]", "manual"),
    ]
    fields = dict(decoded)
    assert fields["data[merges][FNAME]"] == "Zoë"
    assert fields["data[merges][ADDRESS][city]"] == "Rome"
    assert fields["data[merges][GROUPINGS][0][id]"] == "6197"
    assert fields["data[merges][LNAME]"] == ""
    assert fields["data[web_id]"].isdigit()
    assert len(fields["data[id]"]) == 10
    assert not member.id.startswith(fields["data[id]"])
    assert "data[campaign_id]" not in fields
    assert decoded[-1] == ("data[list_id]", "a6b5da1054")


def test_upemail_and_cleaned_carry_no_contact_id() -> None:
    audience = an_audience()
    member = next(iter(audience.members.values()))
    for form in (
        forms.upemail(audience, member, NOW, old_address="old@example.com"),
        forms.cleaned(audience, member, NOW, reason="hard", campaign_id="cb398d21d2"),
    ):
        assert "data[id]" not in dict(form)


def test_a_triggered_error_is_a_fresh_one_each_time() -> None:
    assert triggered("Forbidden") is not triggered("Forbidden")
    assert triggered("NoSuchError") is None
    assert named("MethodNotAllowed", Allow="GET").headers == {"Allow": "GET"}
