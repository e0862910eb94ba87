"""TLS and SASL to a real Kafka: what is wrong with the way in ends in one sentence that names the key, and shows no password."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from listwire import acls
from sandbox.kafka.certificate import ensure_certificate
from tests.contract.commands import listwire_here
from tests.secured_kafka import Secured, password, secured_kafka

pytestmark = [pytest.mark.kafka, pytest.mark.xdist_group("secured kafka")]


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    with secured_kafka(tmp_path_factory.mktemp("logins")) as found:
        yield found


WRONG = {
    "a wrong password": ({"sasl_password": "swordfish-swordfish"}, "kafka.sasl_password"),
    "an unknown user": ({"sasl_username": "nobody"}, "refuses the login of 'nobody': check kafka.sasl_username"),
    "a mechanism that is not offered": ({"sasl_mechanism": "SCRAM-SHA-256"}, "kafka.sasl_mechanism is 'SCRAM-SHA-256'"),
    "no authority but the system's": ({"ssl_cafile": ""}, "the system's authorities: kafka.ssl_cafile must name"),
    "an unknown authority": ({"ssl_cafile": "{other}"}, "kafka.ssl_cafile = "),
    # 127.1 is 127.0.0.1 to a resolver; the certificate does not bear it.
    "a name that the certificate does not bear": ({"bootstrap_servers": "127.1:{secure}"}, "bears another name: write the name it bears into kafka.bootstrap_servers"),
    "TLS to a plain port": ({"bootstrap_servers": "127.0.0.1:{plain}"}, "kafka.security_protocol = 'SASL_SSL' means TLS and a login"),
    "no TLS to the port with TLS": ({"security_protocol": "PLAINTEXT"}, "kafka.security_protocol = 'PLAINTEXT' means no TLS and no login"),
    "TLS without a login": ({"security_protocol": "SSL"}, "kafka.security_protocol = 'SSL' means TLS and no login"),
    "a port where nobody listens": ({"bootstrap_servers": "127.0.0.1:1"}, "none of these servers answers: check kafka.bootstrap_servers"),
}  # fmt: skip
COMMANDS = (
    ("topics", "ensure"), ("topics", "verify"), ("ingress",), ("lag", "--json"), ("dead-letters", "ls"),
    ("dead-letters", "replay", "--yes"), ("trace", "a@example.com"), ("pause", "newsletter"), ("check",),
)  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
async def test_a_wrong_way_in_is_told_by_the_key_that_is_wrong(kafka: Secured, case: str, tmp_path: Path) -> None:
    keys, words = WRONG[case]
    other = await asyncio.to_thread(ensure_certificate, tmp_path) if "{other}" in str(keys) else None
    known = {
        "secure": kafka.broker.secure_bootstrap_servers.rpartition(":")[2],
        "plain": kafka.broker.bootstrap_servers.rpartition(":")[2],
        "other": other.pem if other else "",
    }
    config = kafka.config("reader", **{key: value.format(**known) for key, value in keys.items()})
    ran = await asyncio.to_thread(listwire_here, "--config", config, "topics", "verify", cwd=tmp_path)
    assert (ran.code, ran.out) == (1, "")
    assert words in ran.err
    assert ran.err.count("\n") == 1, "one sentence, and nothing of the libraries"
    assert "swordfish" not in ran.all


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
async def test_every_command_says_so_in_the_same_sentence(
    kafka: Secured, command: tuple[str, ...], tmp_path: Path
) -> None:
    config = kafka.config("reader", sasl_password=f"not {password('reader')}")
    ran = await asyncio.to_thread(listwire_here, "--config", config, *command, cwd=tmp_path)
    assert ran.code == 1
    assert "refuses the login of 'listwire-reader': check kafka.sasl_username and kafka.sasl_password" in ran.all
    assert "swordfish" not in ran.all
    assert "Traceback" not in ran.all


async def test_the_printed_lines_are_what_kafkas_own_tool_takes(kafka: Secured, tmp_path: Path) -> None:
    printed = (await asyncio.to_thread(listwire_here, "topics", "acls", "replay", cwd=tmp_path)).out.splitlines()
    assert printed[0] == "# replay: listwire dead-letters replay"
    assert len(printed) == 5
    for line in printed[-2:]:
        words = line.replace('"$KAFKA"', kafka.broker.bootstrap_servers).replace(
            "--command-config admin.properties ", ""
        )
        arguments = [word.strip("'") for word in words.split()[1:]]
        done = await asyncio.to_thread(kafka.broker.tool, "org.apache.kafka.tools.AclCommand", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
    listed = await asyncio.to_thread(
        kafka.broker.tool, "org.apache.kafka.tools.AclCommand",
        *("--bootstrap-server", kafka.broker.bootstrap_servers, "--list", "--principal", "User:listwire-replay"),
    )  # fmt: skip
    assert "resourceType=TRANSACTIONAL_ID, name=listwire-replay, patternType=LITERAL" in listed.stdout
    assert listed.stdout.count("operation=") == sum(
        acl.name in printed[-1] + printed[-2]
        for acl in acls.BY_NAME["replay"].acls
        if acl.name.split(".")[-1] in ("dead-letters", "listwire-replay")
    )
