"""The documentation keeps up with the code: generated parts are fresh, and nothing that people meet is left out."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import unquote

import click
import pytest

from listwire import cli
from listwire.metrics import METRICS
from listwire.records import Reason
from listwire.settings import Settings
from listwire.topics import CONTROL, TOPICS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [*ROOT.glob("*.md"), *DOCS.rglob("*.md")]


def _generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("listwire_docs_generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


generate: Any = _generate()
COMMANDS = dict(generate.all_commands())


@pytest.mark.parametrize("name", ["settings.md", "metrics.md", "dead-letters.md", "commands.md", "kafka-security.md"])
def test_a_generated_page_is_fresh(name: str) -> None:
    page = DOCS / name
    assert page in set(generate.pages())
    assert page.read_text() == generate.renewed(page), f"docs/{name} is stale: run `make docs`"


def test_every_generated_part_stands_somewhere() -> None:
    found = [part[2] for page in generate.pages() for part in generate.PART.finditer(page.read_text())]
    assert sorted(found) == sorted(generate.PARTS)


def test_every_settings_key_has_its_sentence() -> None:
    page = (DOCS / "settings.md").read_text()
    for name, section in Settings.model_fields.items():
        model = generate.table_of(section)
        sentences = generate.sentences(model)
        for key, field in model.model_fields.items():
            assert len(sentences.get(key, "")) > 5, f"{name}.{key} has no sentence below it"
            assert field.examples, f"{name}.{key} has no example"
            assert f"| `{key}` |" in page


def test_every_metric_and_every_reason_is_documented() -> None:
    assert [metric.name for metric in METRICS if f"`{metric.name}`" not in (DOCS / "metrics.md").read_text()] == []
    assert [reason for reason in Reason if f"| `{reason}` |" not in (DOCS / "dead-letters.md").read_text()] == []


def test_no_page_names_a_metric_that_does_not_exist() -> None:
    known = {metric.name for metric in METRICS}
    known |= {f"{m.name}_{end}" for m in METRICS if m.kind == "histogram" for end in ("bucket", "sum", "count")}
    for page in PAGES:
        named = set(re.findall(r"\blistwire_[a-z_]+\b", page.read_text()))
        assert named <= known, page


def test_no_page_names_a_topic_that_does_not_exist() -> None:
    known = {*(topic.name for topic in TOPICS), CONTROL}
    for page in PAGES:
        named = set(re.findall(r"`(listwire\.[a-z-]+)`", page.read_text())) - {"listwire.toml"}
        assert named <= known, page


@pytest.mark.parametrize("path", COMMANDS)
def test_every_command_is_documented_and_explains_itself(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"### `listwire {path}`\n" in (DOCS / "commands.md").read_text()
    with pytest.raises(SystemExit) as ended:
        cli.main([*path.split(), "--help"])
    shown = capsys.readouterr()
    assert (ended.value.code, shown.err) == (0, "")
    assert shown.out.startswith(f"Usage: listwire {path} ")
    assert (COMMANDS[path].help or "").strip()


def test_every_option_explains_itself() -> None:
    silent = [
        f"{path} {param.opts[0]}"
        for path, command in COMMANDS.items()
        for param in command.params
        if isinstance(param, click.Option) and not param.hidden and not (param.help or param.show_default)
    ]
    assert silent == []


def commands_named_in(text: str) -> set[str]:
    """`listwire …` in consoles and between backticks, as far as it is a command's name."""
    lines = re.findall(r"^\$ (?:[A-Z_]+=\S+ )*listwire (.*)$", text, re.MULTILINE) + re.findall(
        r"`listwire ([^`\n]+)`", text
    )
    named = set()
    for line in lines:
        words = []
        for word in line.split():
            if not re.fullmatch(r"[a-z-]+", word) or word.startswith("-"):
                break
            words.append(word.rstrip(","))
        if words:
            named.add(" ".join(words[:2]))
    return named


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_page_names_a_command_that_does_not_exist(page: Path) -> None:
    wrong = [
        name for name in commands_named_in(page.read_text()) if name not in COMMANDS and name.split()[0] not in COMMANDS
    ]
    wrong += [
        name
        for name in commands_named_in(page.read_text())
        if isinstance(COMMANDS.get(name.split()[0]), click.Group) and name not in COMMANDS
    ]
    assert wrong == []


def test_the_readme_names_every_command() -> None:
    text = (ROOT / "README.md").read_text()
    rows = " ".join(re.findall(r"^\| (`listwire .*?) \|", text, re.MULTILINE))
    named = set(re.findall(r"[a-z][a-z-]+", rows))
    assert [path for path in COMMANDS if not set(path.split()) <= named] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_within_the_repository_leads_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text)
    broken = [link for link in links if "://" not in link and not (page.parent / unquote(link)).exists()]
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_that_a_page_names_is_there(page: Path) -> None:
    folders = "listwire|ingress|stream|vendors|console|sandbox|ops|docs|tests|requirements|bench"
    named = re.findall(rf"`((?:{folders})/[\w./-]*)`", page.read_text())
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_every_decision_is_in_the_index() -> None:
    index = (DOCS / "decisions" / "README.md").read_text()
    pages = [page.name for page in (DOCS / "decisions").glob("0*.md")]
    assert pages
    assert [name for name in pages if f"({name})" not in index] == []
    assert sorted(name[:4] for name in pages) == [f"{number:04}" for number in range(1, len(pages) + 1)]


def test_the_readme_shows_the_proxy_s_real_configuration() -> None:
    shown = re.search(r"```caddyfile\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert shown is not None
    assert (ROOT / "ops" / "proxy" / "Caddyfile").read_text().endswith(shown[1])


def test_the_generator_can_be_run_by_hand(capsys: pytest.CaptureFixture[str]) -> None:
    assert generate.main(["--check"]) == 0
    assert capsys.readouterr().out == ""
    assert str(ROOT) not in "".join(page.read_text() for page in generate.pages())
    assert sys.executable not in "".join(page.read_text() for page in generate.pages())
