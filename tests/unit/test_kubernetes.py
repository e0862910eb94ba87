"""The files for Kubernetes, as far as that can be told without a cluster: nothing here starts or fetches anything."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

import listwire
from console.serve import DEFAULT_PORT as CONSOLE_PORT
from listwire import cli, metrics, topics
from listwire.cli.cohorts_sync import DEFAULT_PORT as SCHEDULER_PORT
from listwire.cli.exporter import DEFAULT_PORT as EXPORTER_PORT
from listwire.settings import load
from listwire.settings.models import Ingress, Topics

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "ops/kubernetes"
FILES = sorted(path for path in FOLDER.rglob("*.yaml") if path.name != "kustomization.yaml")
OBJECTS: list[dict[str, Any]] = [found for path in FILES for found in yaml.safe_load_all(path.read_text())]
PODS = {each["metadata"]["name"]: each["spec"]["template"] for each in OBJECTS if each["kind"] in {"Deployment", "Job"}}
DEPLOYMENTS = {each["metadata"]["name"]: each for each in OBJECTS if each["kind"] == "Deployment"}
PORTS = {
    "listwire-ingress": Ingress().port,
    "listwire-worker-subscriptions": 8081,
    "listwire-worker-cohorts": 8082,
    "listwire-exporter": EXPORTER_PORT,
    "listwire-console": CONSOLE_PORT,
    "listwire-scheduler": SCHEDULER_PORT,
}


def of_kind(kind: str) -> dict[str, dict[str, Any]]:
    return {each["metadata"]["name"]: each for each in OBJECTS if each["kind"] == kind}


def container(name: str) -> dict[str, Any]:
    (only,) = PODS[name]["spec"]["containers"]
    found: dict[str, Any] = only
    return found


def environment(name: str) -> dict[str, str]:
    """What the process gets: from its ConfigMaps, and its own."""
    maps = [of_kind("ConfigMap")[source["configMapRef"]["name"]]["data"] for source in container(name)["envFrom"]]
    own = {each["name"]: each["value"] for each in container(name).get("env", [])}
    return {name: value for data in maps for name, value in data.items()} | own


@pytest.mark.parametrize(
    "folder", sorted(path.parent for path in FOLDER.rglob("kustomization.yaml")), ids=lambda f: f.name
)
def test_a_kustomization_lists_every_file_of_its_folder(folder: Path) -> None:
    listed = yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"]
    assert sorted(listed) == sorted({path.name for path in folder.glob("*.yaml")} - {"kustomization.yaml"})
    assert FILES
    assert all((path.parent / "kustomization.yaml").exists() for path in FILES)


def test_no_two_objects_are_of_one_kind_and_name() -> None:
    names = [(each["kind"], each["metadata"]["name"]) for each in OBJECTS]
    assert len(names) == len(set(names))
    assert all(each["apiVersion"] for each in OBJECTS)


@pytest.mark.parametrize("name", PODS)
def test_a_container_runs_a_command_that_exists_in_the_image_of_this_version(name: str) -> None:
    assert container(name)["image"] == f"listwire:{listwire.__version__}"
    assert "command" not in container(name), "the image's own entry point"
    rest = list(container(name)["args"])
    command: click.Command | None = cli.listwire
    while isinstance(command, click.Group):
        command = command.get_command(click.Context(command), rest.pop(0))
    assert command is not None
    command.make_context("listwire", rest)


@pytest.mark.parametrize("name", PODS)
def test_a_container_may_do_nothing_beyond_its_work(name: str) -> None:
    pod, inside = PODS[name]["spec"], container(name)["securityContext"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert f"USER {pod['securityContext']['runAsUser']}:" in (ROOT / "Dockerfile").read_text()
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    assert inside["readOnlyRootFilesystem"] is True
    assert inside["allowPrivilegeEscalation"] is False
    assert inside["capabilities"] == {"drop": ["ALL"]}
    assert container(name)["resources"]["limits"]["memory"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container(name)["volumeMounts"]}
    assert mounts == {"settings": "/etc/listwire", "tmp": "/tmp"}
    assert {volume["name"] for volume in pod["volumes"]} == set(mounts)


@pytest.mark.parametrize("name", PODS)
def test_no_secret_stands_in_arguments_or_environment_and_the_settings_take_the_latter(
    name: str, tmp_path: Path
) -> None:
    told = json.dumps([container(name)["args"], environment(name)])
    assert not re.search(r"key|secret|password|token", told, re.IGNORECASE)
    file = tmp_path / "listwire.toml"
    file.write_text("")
    settings = load(file, environ=environment(name))
    assert settings.kafka.bootstrap_servers == "kafka:9092"
    assert settings.logs.format == "json"
    called = [url.removeprefix("http://").split(":") for url in settings.console.workers]
    assert all(PORTS[host] == int(port) for host, port in called)
    assert bool(called) == (name == "listwire-console")


def test_ports_are_the_codes_defaults_and_probes_ask_for_pages_that_exist() -> None:
    assert DEPLOYMENTS.keys() == PORTS.keys()
    worker = (ROOT / "listwire/cli/worker.py").read_text()
    assert all(
        f'"{kind}", host, port, {PORTS[f"listwire-worker-{kind}"]}' in worker for kind in ("subscriptions", "cohorts")
    )
    for name, port in PORTS.items():
        (opened,) = container(name)["ports"]
        assert opened == {"name": "http", "containerPort": port}
        assert container(name)["args"][-2:] == ["--port", str(port)]
        assert PODS[name]["metadata"]["annotations"]["prometheus.io/port"] == str(port)
        (served,) = of_kind("Service")[name]["spec"]["ports"]
        assert (served["port"], served["targetPort"]) == (port, "http")
        asked = {kind: container(name)[kind]["httpGet"] for kind in ("startupProbe", "livenessProbe", "readinessProbe")}
        ready = "/healthz" if name == "listwire-console" else "/readyz"  # the console has no other page without a login
        assert [probe["path"] for probe in asked.values()] == ["/healthz", "/healthz", ready]
        assert {probe["port"] for probe in asked.values()} == {"http"}


def test_a_stop_has_a_minute_for_the_attempts_under_way() -> None:
    for name in DEPLOYMENTS:
        assert PODS[name]["spec"]["terminationGracePeriodSeconds"] == 60


def test_selectors_find_their_pods_and_what_carries_the_flow_has_a_disruption_budget() -> None:
    labels = {name: pod["metadata"]["labels"] for name, pod in PODS.items()}
    for name, each in DEPLOYMENTS.items():
        assert each["spec"]["selector"]["matchLabels"] == labels[name]
        assert of_kind("Service")[name]["spec"]["selector"] == labels[name]
    budgets = of_kind("PodDisruptionBudget")
    assert budgets.keys() == {"listwire-ingress", "listwire-worker-subscriptions", "listwire-worker-cohorts"}
    for name, budget in budgets.items():
        assert budget["spec"]["selector"]["matchLabels"] == labels[name]
        # `minAvailable: 1` of one pod would hold up a node's maintenance for ever.
        assert budget["spec"]["maxUnavailable"] == 1


def test_only_the_ingress_may_be_reached_from_anywhere_and_the_others_by_prometheus_and_the_console() -> None:
    policies = of_kind("NetworkPolicy")
    assert policies.keys() == {"listwire-inside", "listwire-ingress"}
    (anywhere,) = policies["listwire-ingress"]["spec"]["ingress"]
    assert anywhere == {"ports": [{"port": "http"}]}
    assert (
        policies["listwire-ingress"]["spec"]["podSelector"]["matchLabels"]
        == PODS["listwire-ingress"]["metadata"]["labels"]
    )
    inside = policies["listwire-inside"]["spec"]
    assert inside["podSelector"]["matchLabels"] == {"app.kubernetes.io/name": "listwire"}
    (allowed,) = inside["ingress"]
    assert allowed["ports"] == [{"port": "http"}]
    assert all("namespaceSelector" in each or "podSelector" in each for each in allowed["from"])


def test_keda_scales_workers_by_a_metric_of_the_exporter_up_to_the_partitions() -> None:
    scaled = of_kind("ScaledObject")
    groups = {
        "listwire-worker-subscriptions": topics.SUBSCRIPTIONS_GROUP,
        "listwire-worker-cohorts": topics.COHORTS_GROUP,
    }
    assert scaled.keys() == groups.keys()
    for name, each in scaled.items():
        assert each["spec"]["scaleTargetRef"]["name"] == name
        assert "replicas" not in DEPLOYMENTS[name]["spec"], "each `kubectl apply` would undo KEDA's number"
        assert 1 <= each["spec"]["minReplicaCount"] < each["spec"]["maxReplicaCount"] <= Topics().partitions
        (trigger,) = each["spec"]["triggers"]
        assert trigger["type"] == "prometheus"
        assert trigger["metadata"]["query"] == f'sum({metrics.LAG_RECORDS.name}{{group="{groups[name]}"}})'


def test_the_page_says_that_nobody_has_run_them() -> None:
    assert "**Not run.**" in (FOLDER / "README.md").read_text()
