"""Writes `kafka.lock` for another version of Kafka: `python -m sandbox.kafka.relock 4.3.1`. For maintainers.

jgo works out which jars `org.apache.kafka:kafka_2.13` needs. That takes half a minute and trusts what it is served, so it
happens once, here, and never on the machine of somebody who only wants a broker.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from jgo.maven import MavenContext, PythonResolver

from sandbox.kafka.lock import LOCK_FILE, Jar, Lock, sha256_of

# What `kafka_2.13` itself leaves to whoever runs it: the command line tools, and a place for slf4j to log to. They are
# taken alone: everything they need is there already, and their own closure would bring Jetty and older clients.
_ALONE = ("org.apache.kafka:kafka-tools:{kafka}", "org.apache.logging.log4j:log4j-slf4j-impl:{log4j}")


def resolve_lock(version: str) -> Lock:
    with tempfile.TemporaryDirectory() as repository:
        # The Python resolver needs no `mvn` on the machine.
        context = MavenContext(resolver=PythonResolver(), repo_cache=Path(repository))
        inputs, transitive = context.resolver.resolve(
            [context.create_dependency(f"org.apache.kafka:kafka_2.13:{version}")]
        )
        artifacts = [dependency.artifact for dependency in (*inputs, *transitive)]
        log4j = next(artifact.version for artifact in artifacts if artifact.artifactId == "log4j-core")
        artifacts += [context.create_dependency(each.format(kafka=version, log4j=log4j)).artifact for each in _ALONE]
        jars = []
        for artifact in sorted(artifacts, key=lambda each: (each.groupId, each.artifactId)):
            path = artifact.resolve()
            coordinate = f"{artifact.groupId}:{artifact.artifactId}:{artifact.version}"
            jars.append(Jar(coordinate, path.stat().st_size, sha256_of(path)))
    return Lock(version, tuple(jars))


if __name__ == "__main__":
    LOCK_FILE.write_text(resolve_lock(sys.argv[1]).render())
