"""The list of rights, as far as that can be told without a Kafka: what it names exists, and its lines are whole."""

from __future__ import annotations

import json
import logging
import shlex
from pathlib import Path

import click
import pytest
from aiokafka import errors

from listwire import acls, cli, logs, replay, topics
from listwire.kafka_faults import denied
from listwire.redaction import Redactor
from tests.contract.commands import listwire_here

KNOWN = {
    "topic": {topic.name for topic in topics.TOPICS} | {topics.CONTROL},
    "group": set(topics.GROUPS),
    "transactional-id": {replay.TRANSACTIONAL_ID},
    "cluster": {"kafka-cluster"},
}


@pytest.mark.parametrize("process", acls.PROCESSES, ids=lambda process: process.name)
def test_a_process_names_commands_and_places_that_exist(process: acls.Process) -> None:
    for command in process.runs:
        found: click.Command | None = cli.listwire
        for word in command.split():
            assert isinstance(found, click.Group)
            found = found.get_command(click.Context(found), word)
        assert found is not None, command
    assert len(set(process.acls)) == len(process.acls)
    assert all(acl.name in KNOWN[acl.resource] for acl in process.acls)


def test_nobody_but_the_administrator_of_topics_may_make_or_change_one_and_nobody_everything() -> None:
    for process in acls.PROCESSES:
        may = {acl.operation for acl in process.acls}
        assert "All" not in may
        assert (process.name == "topics") == bool(may & {"Create", "AlterConfigs", "Delete", "Alter"})
    for name in ("ingress", "publisher", "topics"):
        assert "Read" not in {acl.operation for acl in acls.BY_NAME[name].acls}, "it can read nobody's address"


def test_every_line_is_one_command_of_kafkas_tool_for_one_resource(tmp_path: Path) -> None:
    ran = listwire_here("topics", "acls", "--principal", "User:CN={}, O=It's", cwd=tmp_path)
    assert ran.code == 0
    lines = [shlex.split(line) for line in ran.out.splitlines() if not line.startswith("#")]
    assert len(lines) == sum(len({(acl.resource, acl.name) for acl in each.acls}) for each in acls.PROCESSES)
    for words in lines:
        assert words[0] == "kafka-acls.sh"
        assert words[words.index("--allow-principal") + 1] in {f"User:CN={name}, O=It's" for name in acls.BY_NAME}
        assert sum(f"--{resource}" in words for resource in KNOWN) == 1


def test_scripts_get_the_same_as_json_and_of_chosen_processes_only(tmp_path: Path) -> None:
    (found,) = json.loads(listwire_here("topics", "acls", "--json", "publisher", cwd=tmp_path).out)
    assert found == {
        "process": "publisher", "commands": ["cohorts publish"], "principal": "User:listwire-publisher",
        "acls": [{"resource": "topic", "name": "listwire.cohort-changes", "operation": "Write"}],
    }  # fmt: skip
    wrong = listwire_here("topics", "acls", "nobody", cwd=tmp_path)
    assert wrong.code == 2
    assert "worker-cohorts" in wrong.err


@pytest.mark.parametrize(
    ("fault", "need", "words"),
    [
        (errors.TopicAuthorizationFailedError("t"), None, "allow it Read or Write on the topic t."),
        (
            errors.TopicAuthorizationFailedError({"b", "a"}),
            "Write on the topic {}",
            "allow it Write on the topic a, b.",
        ),
        (errors.GroupAuthorizationFailedError("g"), None, "allow it Read on the group g."),
        (errors.ClusterAuthorizationFailedError(), "Write on the topic t", "allow it Write on the topic t."),
        (errors.ClusterAuthorizationFailedError(), None, "allow it Write on a topic of ours"),
    ],
)
def test_a_right_that_is_missing_is_named(fault: Exception, need: str | None, words: str) -> None:
    said = denied(fault, need, "ann")
    assert said is not None
    assert said.startswith("Kafka does not let the user 'ann' do this: ")
    assert words in said
    assert said.endswith("`listwire topics acls` prints what each process needs.")
    assert denied(errors.KafkaTimeoutError()) is None


def test_a_log_line_about_a_missing_right_has_a_sentence_and_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        logs.configure("worker", Redactor([]), style="json")
        try:
            try:
                raise errors.GroupAuthorizationFailedError("g")
            except errors.GroupAuthorizationFailedError as inner:
                raise RuntimeError("Faust gives up") from inner
        except RuntimeError as fault:
            logs.get("listwire.worker").critical("the worker crashed", exc_info=fault)
            logging.getLogger("faust").exception("crashed")
            logs.get("listwire.worker").critical("another", exc_info=ValueError("else"))
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    first, second, third = map(json.loads, capsys.readouterr().err.splitlines())
    for line in (first, second):
        assert "allow it Read on the group g" in line["detail"]
        assert "exception" not in line
    assert "ValueError" in third["exception"]
