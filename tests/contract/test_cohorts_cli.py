"""The cohorts commands as a person meets them, without a Kafka: what is wrong is one sentence, never a traceback."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from listwire import schemas
from tests.contract.commands import Ran, listwire

SETTINGS = """
[kafka]
bootstrap_servers = "127.0.0.1:1"
[mailchimp.acme]
api_key = "0123456789abcdef0123456789abcdef-us6"
base_url = "http://127.0.0.1:1"
[cohort_syncs.newsletter]
mailchimp = "acme"
audience = "a6b5da1054"
cohorts = ["Power*", "Trial*"]
[cohort_syncs.by-id]
mailchimp = "acme"
audience = "b6b5da1054"
email_property = "user_id"
cohorts = ["Trial*"]
"""
MESSAGE = {
    "cohort_id": "7khm89cz", "cohort_name": "Power users", "in_cohort": True,
    "users": [{"user_id": "42", "user_properties": {"email": "ann@example.com"}}],
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "listwire.toml").write_text(SETTINGS)
    (tmp_path / "in.csv").write_text("email,user_id\nann@example.com,1\nbob@example.com,2\n")
    (tmp_path / "out.txt").write_text("eve@example.com\n")
    (tmp_path / "bad.csv").write_text("email\nann@example.com\nnobody\n\n,\n\nbob\n")
    (tmp_path / "empty.csv").write_text("email\n")
    return tmp_path


def cohorts(*arguments: str, cwd: Path, stdin: str | None = None) -> Ran:
    ran = listwire("cohorts", *arguments, cwd=cwd, stdin=stdin)
    assert "Traceback" not in ran.all
    return ran


def publish(folder: Path, *arguments: str, stdin: str | None = None) -> Ran:
    return cohorts("publish", "--name", "Power users", *arguments, cwd=folder, stdin=stdin)


def test_a_dry_run_counts_and_sends_nothing(folder: Path) -> None:
    ran = publish(folder, "--enter", "in.csv", "--leave", "out.txt", "--dry-run")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == (
        "Would publish 'Power users', cohort power-users-63872142: 3 users (2 entered, 1 left) in 2 messages. Nothing was sent.\n"
    )


def test_stdin_is_a_file_too(folder: Path) -> None:
    ran = publish(folder, "--leave", "-", "--dry-run", "--json", stdin='{"email":"ann@example.com"}\n')
    assert ran.code == 0
    found = json.loads(ran.out)
    assert (found["entered"], found["left"], found["dry_run"], found["published"]) == (0, 1, True, [])


def test_bad_rows_are_listed_and_nothing_is_sent(folder: Path) -> None:
    ran = publish(folder, "--enter", "bad.csv")
    assert ran.code == 1
    assert ran.err.splitlines() == [
        "bad.csv, line 3: 'nobody' is no address",
        "bad.csv, line 7: 'bob' is no address",
        "listwire: 2 rows cannot be used, so nothing was sent: mend them, or --skip-bad leaves them out.",
    ]
    as_json = publish(folder, "--enter", "bad.csv", "--json")
    assert as_json.code == 1
    assert json.loads(as_json.out)["bad"][1] == {"file": "bad.csv", "line": 7, "why": "'bob' is no address"}


def test_bad_rows_may_be_left_out(folder: Path) -> None:
    ran = publish(folder, "--enter", "bad.csv", "--skip-bad", "--dry-run")
    assert ran.code == 0
    assert "1 user (1 entered) in 1 message; left out: 2 unusable" in ran.out


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 2, "--enter FILE, --leave FILE, or both"),
        (["--enter", "-", "--leave", "-"], 2, "cannot both be read from stdin"),
        (["--enter", "nowhere.csv"], 2, "does not exist"),
        (["--enter", "in.csv", "--chunk", "700"], 2, "Mailchimp takes 500 users a call"),
        (["--enter", "in.csv", "--chunk", "0"], 2, "--chunk"),
        (["--enter", "in.csv", "--sync", "nope"], 2, "no table [cohort_syncs.nope]; known are newsletter, by-id"),
        (["--enter", "in.csv", "--name", "x" * 88], 2, "--name has 88 characters; a tag takes at most 87"),
        (["--enter", "in.csv", "--name", " "], 2, "--name is empty"),
        (["--enter", "in.csv", "--id", ""], 2, "--id is empty"),
        (["--enter", "in.csv", "--id", "x" * 1025], 2, "a key has at most 1024"),
        (["--enter", "in.csv", "--name", "Trial", "--id-column", "user_id"], 2, "leave --id-column out"),
        (["--enter", "in.csv", "--id-column", "uid"], 1, "there is no column 'uid'; its header has 'email', 'user_id'"),
        (["--enter", "in.csv", "--email-column", "mail"], 1, "names no column 'mail'"),
        (["--enter", "in.csv", "--leave", "in.csv"], 1, "ann@example.com is on line 2 of in.csv and line 2 of in.csv"),
        (["--enter", "empty.csv"], 1, "hold no user"),
        (["--enter", "in.csv"], 1, "Kafka at 127.0.0.1:1 cannot be used"),
    ],
)
def test_what_cannot_be_published_is_one_sentence(folder: Path, arguments: list[str], code: int, words: str) -> None:
    ran = publish(folder, *arguments)
    assert ran.code == code
    assert words in ran.err
    assert len(ran.err.strip().splitlines()) == 1
    assert ran.out == ""


def test_who_publishes_for_nobody_is_told(folder: Path) -> None:
    ran = cohorts("publish", "--name", "Others", "--enter", "in.csv", "--dry-run", cwd=folder)
    assert ran.code == 0
    assert "no cohort sync's `cohorts` match 'Others': nobody will be tagged" in ran.err


def test_an_upstream_team_needs_no_settings_but_kafka_s(folder: Path) -> None:
    (folder / "listwire.toml").write_text('[kafka]\nbootstrap_servers = "127.0.0.1:1"\n')
    ran = publish(folder, "--enter", "in.csv", "--sync", "theirs", "--dry-run")
    assert (ran.code, ran.err) == (0, "")


def test_a_good_message_is_valid_without_any_settings(tmp_path: Path) -> None:
    ran = cohorts("validate", "-", cwd=tmp_path, stdin=json.dumps(MESSAGE))
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == "✓ 'Power users', cohort '7khm89cz': 1 user entered, 1 with an address in 'email'\n"


def test_a_message_is_judged_as_a_sync_would(folder: Path) -> None:
    (folder / "message.json").write_text(json.dumps(MESSAGE))
    ran = cohorts("validate", "message.json", "--sync", "by-id", cwd=folder)
    assert ran.code == 1
    assert "no_usable_address: users[0] has no address in 'user_id'" in ran.out
    assert "by-id's `cohorts` do not match this name" in ran.out
    ran = cohorts("validate", "message.json", "--sync", "newsletter", "--json", cwd=folder)
    assert ran.code == 0
    assert json.loads(ran.out)["matches"] is True


def test_a_message_that_is_none_says_why(folder: Path) -> None:
    ran = cohorts("validate", "-", cwd=folder, stdin="[]")
    assert (ran.code, ran.err) == (1, "")
    assert ran.out.startswith("✗ undecodable: not a JSON object")
    ran = cohorts("validate", "-", "--json", cwd=folder, stdin="")
    assert ran.code == 1
    assert json.loads(ran.out)["reason"] == "undecodable"


def test_the_commands_load_kafka_and_http_clients_only_when_they_need_them() -> None:
    code = "import sys, listwire.cli.cohorts; print(sorted({'aiokafka', 'httpx', 'faust'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_validate_prints_the_schema(tmp_path: Path) -> None:
    ran = cohorts("validate", "--schema", cwd=tmp_path)
    assert (ran.code, ran.out, ran.err) == (0, schemas.cohort_change(), "")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["validate"], 2, "Missing argument 'FILE'"),
        (["validate", "nowhere.json"], 2, "does not exist"),
        (["validate", "in.csv", "--sync", "nope"], 2, "no table [cohort_syncs.nope]; known are newsletter, by-id"),
        (
            ["missing", "--sync", "nope", "--cohort", "x"],
            2,
            "no table [cohort_syncs.nope]; known are newsletter, by-id",
        ),
        (["missing", "--sync", "newsletter"], 2, "--cohort"),
        (["missing", "--sync", "newsletter", "--cohort", "x" * 88], 2, "no tag has more than 87"),
        (["missing", "--sync", "newsletter", "--cohort", "x"], 1, "Kafka at 127.0.0.1:1 cannot be used"),
    ],
)
def test_other_wrong_usage_is_one_sentence(folder: Path, arguments: list[str], code: int, words: str) -> None:
    ran = cohorts(*arguments, cwd=folder)
    assert ran.code == code
    assert words in ran.err
    assert len(ran.err.strip().splitlines()) == 1
    assert ran.out == ""
