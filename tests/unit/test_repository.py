"""What stands around the code keeps its word: import rules, the wheel, the image, what a file may hold and how long it is."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path

import click
import pytest
import yaml

import listwire
from listwire import cli

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
# Over 300 lines, and still one idea: each with its reason.
LONGER: dict[str, str] = {"listwire/metrics.py": "the one list of metrics, a few lines each"}


def run(*command: str | Path, cwd: Path = ROOT, **environ: str) -> str:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("LISTWIRE_", "PYTHON"))}
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=clean | environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def tracked(*suffixes: str) -> list[Path]:
    """Files that git knows and that are there."""
    names = run("git", "ls-files", "-z").split("\0")
    return [ROOT / name for name in names if name and name.endswith(suffixes or ("",)) and (ROOT / name).is_file()]


def test_every_import_rule_holds() -> None:
    out = run(Path(sys.executable).parent / "lint-imports", "--no-logo", "--no-cache")
    assert "0 broken" in out


def test_codecs_import_nothing_but_what_reads_bytes() -> None:
    allowed = {"listwire", "stream.codecs", "msgspec", "orjson", *sys.stdlib_module_names}
    forbidden = {"socket", "asyncio", "subprocess", "threading", "http", "os", "time", "random"}
    for path in (ROOT / "stream" / "codecs").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                assert any(name == good or name.startswith(good + ".") for good in allowed), f"{path.name}: {name}"
                assert name.split(".")[0] not in forbidden, f"{path.name}: {name}"


def test_no_file_names_a_package_registry() -> None:
    # In pieces, so that this file does not either.
    hosts = ["py" + "pi.org", "python" + "hosted", "maven" + ".org", "npm" + "js.", "crates" + ".io", "proxy.go" + "lang", "deb.de" + "bian"]  # fmt: skip
    found = [
        path for path in tracked() if any(host in path.read_bytes().decode("utf-8", "ignore").lower() for host in hosts)
    ]
    assert found == []


def test_nothing_is_unfinished_or_excused() -> None:
    words = re.compile(
        "NotImplemented" + "Error|TO" + "DO|FIX" + "ME|X" + "XX|pragma: no " + "cover|type: ig" + "nore" + r"($|[^\[])|mark\.sk" + "ip|xf" + "ail"
    )  # fmt: skip
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in tracked(".py")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if words.search(line)
    ]
    assert found == []


def test_a_file_holds_one_idea_in_at_most_300_lines() -> None:
    """Tests and benchmarks are lists of cases, and may be longer."""
    names = [
        name for path in tracked(".py") if not (name := str(path.relative_to(ROOT))).startswith(("tests/", "bench/"))
    ]
    lengths = {name: len((ROOT / name).read_text().splitlines()) for name in names}
    assert {name: lines for name, lines in lengths.items() if lines > 300 and name not in LONGER} == {}
    assert [name for name in LONGER if lengths.get(name, 0) <= 300] == [], "no longer an exception"


def test_every_module_says_what_it_is_for() -> None:
    empty = [
        path
        for path in tracked(".py")
        if path.read_text().strip() and not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert empty == []


@pytest.mark.parametrize(
    "name",
    ["LICENSE", "README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "Makefile", "Dockerfile", ".ci/run"],
)  # fmt: skip
def test_a_person_finds_the_file(name: str) -> None:
    assert (ROOT / name).stat().st_size > 100


def test_the_version_is_one(tmp_path: Path) -> None:
    version = PROJECT["project"]["version"]
    assert listwire.__version__ == version
    assert f"## [{version}]" in (ROOT / "CHANGELOG.md").read_text()
    assert f"image: listwire:{version}\n" in (ROOT / "docker-compose.yml").read_text()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT)
    (built,) = folder.glob("*.whl")
    return built


@pytest.mark.xdist_group("wheel")  # one worker builds it, once
def test_the_wheel_holds_every_file_of_every_package(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
    wanted = {str(path.relative_to(ROOT)) for path in tracked() if path.relative_to(ROOT).parts[0] in PACKAGES}
    assert wanted - inside == set()
    assert {f"{package}/py.typed" for package in PACKAGES} <= inside
    assert {name.split("/")[0] for name in inside} == {*PACKAGES, f"listwire-{listwire.__version__}.dist-info"}


@pytest.mark.xdist_group("wheel")
def test_the_command_runs_from_a_venv_made_of_the_wheel(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=False, symlinks=True)
    python = tmp_path / "venv" / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel)
    # The dependencies are borrowed; a path in a .pth file brings no other .pth along, so not this checkout.
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path).strip())
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib"))
    command = tmp_path / "venv" / "bin" / "listwire"
    assert run(command, "--version", cwd=tmp_path) == f"listwire, version {listwire.__version__}\n"
    assert run(python, "-c", "import listwire; print(listwire.__file__)", cwd=tmp_path).startswith(str(site))
    run(command, "init", cwd=tmp_path)
    assert (tmp_path / "listwire.toml").exists()


def test_make_alone_explains_every_target() -> None:
    text = (ROOT / "Makefile").read_text()
    explained = run("make", "--no-print-directory")
    private = {"browser-ready"}
    targets = set(re.findall(r"^\.PHONY: (.*)$", text, re.MULTILINE)) - private
    assert targets == set(re.findall(r"make ([a-z-]+)", explained))


def test_the_locks_pin_every_dependency_by_hash() -> None:
    for name in ("listwire", "dev", "fuzz", "mutate", "bench", "build"):
        text = (ROOT / "requirements" / f"{name}.lock").read_text()
        entries = re.split(r"\n(?=[a-z0-9])", text.strip())
        assert entries
        assert [entry for entry in entries if "--hash=sha256:" not in entry or "==" not in entry.splitlines()[0]] == []


def test_the_locks_hold_what_the_project_asks_for() -> None:
    lock = (ROOT / "requirements" / "listwire.lock").read_text()
    for requirement in PROJECT["project"]["dependencies"]:
        name = re.split(r"[<>=\[]", requirement)[0]
        assert re.search(rf"^{re.escape(name)}==", lock, re.MULTILINE), name


COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
OURS = {name: service for name, service in COMPOSE["services"].items() if str(service["image"]).startswith("listwire")}


@pytest.mark.parametrize("name", OURS)
def test_a_service_of_ours_runs_a_command_that_exists(name: str) -> None:
    rest: list[str] = list(OURS[name]["command"])
    command: click.Command | None = cli.listwire
    while isinstance(command, click.Group):
        command = command.get_command(click.Context(command), rest.pop(0))
    assert command is not None
    command.make_context("listwire", rest)


def test_compose_opens_no_port_to_others_and_holds_no_secret() -> None:
    for name, service in COMPOSE["services"].items():
        assert [port for port in service.get("ports", []) if not port.startswith("127.0.0.1:")] == [], name
        words = re.findall(r"key|secret|password|token", str(service.get("command", "")) + str(service.get("environment", "")), re.IGNORECASE)  # fmt: skip
        assert words == [], name


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_a_service_may_do_nothing_beyond_its_work(name: str) -> None:
    service = COMPOSE["services"][name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "network_mode", "pid"} & set(service)
    assert [volume for volume in service.get("volumes", []) if "docker.sock" in volume] == []
    if name in OURS:
        assert service["read_only"] is True
        assert [each.split(":")[0] for each in service["tmpfs"]] == ["/tmp"]
        assert service["user"] == "${LISTWIRE_UID:-1000}"
        assert [volume for volume in service["volumes"] if not volume.endswith(":ro")] == []


def test_the_image_gets_every_package_and_no_settings() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert ignored[1] == "*"
    for package in PACKAGES:
        assert f"COPY {package} {package}\n" in dockerfile
        assert f"!{package}" in ignored
    assert "listwire.toml" in ignored
    assert "--require-hashes" in dockerfile
    assert re.search(r"^USER [1-9]", dockerfile, re.MULTILINE)


def test_ci_is_one_script_that_can_be_run() -> None:
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    run("bash", "-n", ROOT / ".ci" / "run")
