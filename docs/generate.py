"""Writes the parts of the pages here that the code knows better: settings, metrics, dead letters' reasons, commands.

    python docs/generate.py            writes them
    python docs/generate.py --check    exit code 1 and their names, where a page is stale

A part stands between `<!-- generated: NAME -->` and `<!-- end -->`; everything around it is written by hand and stays.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import annotated_types
import click
import orjson
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from listwire import acls, cli
from listwire.metrics import METRICS
from listwire.records import MEANINGS
from listwire.settings import Settings

FOLDER = Path(__file__).parent
PART = re.compile(r"(<!-- generated: ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def settings() -> str:
    return "\n".join(_section(name, field) for name, field in Settings.model_fields.items())


def _section(name: str, field: FieldInfo) -> str:
    model, title = table_of(field), name
    if field.annotation is not model:
        title = f"{name}.NAME"
    words = sentences(model)
    rows = [(f"`{key}`", kind(inner), default(inner), words[key]) for key, inner in model.model_fields.items()]
    return f"### `[{title}]`\n\n{(model.__doc__ or '').strip()}\n\n{table(('key', 'kind', 'default', 'meaning'), rows)}"


def table_of(field: FieldInfo) -> type[BaseModel]:
    found = (get_args(field.annotation) or (field.annotation,))[-1]
    assert isinstance(found, type)
    assert issubclass(found, BaseModel)
    return found


def sentences(model: type[BaseModel]) -> dict[str, str]:
    """Key → the sentence that stands below it in the source."""
    (tree,) = ast.parse(inspect.getsource(model)).body
    assert isinstance(tree, ast.ClassDef)
    found = {}
    for field, below in zip(tree.body, tree.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(below, ast.Expr):
            found[field.target.id] = ast.literal_eval(below.value)
    return found


WORDS: dict[Any, str] = {
    SecretStr: "secret",
    bool: "true or false",
    int: "number",
    float: "seconds",
    Path: "path",
    str: "text",
}


def kind(field: FieldInfo) -> str:
    annotation: Any = field.annotation
    options = [option for option in get_args(annotation) if option is not type(None)]
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{option}`" for option in options)
    if get_origin(annotation) is list:
        if options == [SecretStr]:
            return "secret, or a list"
        return "text, or a list" if field.metadata else "list"
    plain, rules = (options[0] if options else annotation), field.metadata
    if get_origin(plain) is Annotated:
        plain, *more = get_args(plain)
        rules = [*rules, *more]
    words = "share" if plain is float and limits(rules) == ", 0 to 1" else WORDS[plain]
    return words + limits(rules)


def limits(rules: Iterable[Any]) -> str:
    flat = [rule for each in rules for rule in (each.metadata if isinstance(each, FieldInfo) else [each])]
    low = [rule.ge for rule in flat if isinstance(rule, annotated_types.Ge)]
    high = [rule.le for rule in flat if isinstance(rule, annotated_types.Le)]
    return f", {low[0]} to {high[0]}" if low and high else ""


def default(field: FieldInfo) -> str:
    if field.is_required():
        return "**needed**"
    value = field.default
    if value is None:
        return ""
    return f"`{value:g}`" if isinstance(value, float) else f"`{orjson.dumps(value).decode()}`"


def metrics() -> str:
    rows = [
        (f"`{m.name}`", m.kind, ", ".join(f"`{label}`" for label in m.labels), m.process, m.meaning) for m in METRICS
    ]
    return table(("name", "kind", "labels", "where", "meaning"), rows)


def reasons() -> str:
    return table(
        ("reason", "what it means", "what to do"), [(f"`{reason}`", *words) for reason, words in MEANINGS.items()]
    )


def commands() -> str:
    return "\n".join(_command(path, command) for path, command in all_commands())


def all_commands() -> Iterator[tuple[str, click.Command]]:
    """Every command that can be run, and every group, by what a person types."""
    context = click.Context(cli.listwire)
    for name in cli.COMMANDS:
        command = cli.listwire.get_command(context, name)
        assert command is not None
        yield from _below(name, command)


def _below(path: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from _below(f"{path} {name}", inner)


def _command(path: str, command: click.Command) -> str:
    parts = [f"### `listwire {path}`", inspect.cleandoc(command.help or "").replace("\b\n", "")]
    if isinstance(command, click.Group):
        parts.append("")
    else:
        context = click.Context(command, info_name=f"listwire {path}")
        parts += ["```\n" + " ".join([f"listwire {path}", *command.collect_usage_pieces(context)]) + "\n```"]
        rows = []
        for param in command.params:
            if isinstance(param, click.Option) and param.name != "config":
                record = param.get_help_record(context)
                if record is not None:
                    rows.append((f"`{record[0]}`", record[1]))
        parts.append(table(("option", "meaning"), rows) if rows else "")
    return "\n\n".join(part for part in parts if part) + "\n"


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join(
        "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in line) + " |\n" for line in lines
    )


def rights() -> str:
    rows = []
    for process in acls.PROCESSES:
        places = dict.fromkeys((acl.resource, acl.name) for acl in process.acls)
        for first, (resource, name) in enumerate(places):
            may = ", ".join(acl.operation for acl in process.acls if (acl.resource, acl.name) == (resource, name))
            who = "" if first else f"`{process.name}`: " + ", ".join(f"`listwire {each}`" for each in process.runs)
            rows.append((who, resource.replace("-", " "), "" if resource == "cluster" else f"`{name}`", may))
    return table(("process", "on a", "named", "may"), rows)


PARTS: dict[str, Callable[[], str]] = {
    "settings": settings,
    "metrics": metrics,
    "reasons": reasons,
    "commands": commands,
    "acls": rights,
}


def pages() -> Iterator[Path]:
    for path in sorted(FOLDER.glob("*.md")):
        if PART.search(path.read_text(encoding="utf-8")):
            yield path


def renewed(path: Path) -> str:
    return PART.sub(
        lambda part: f"{part[1]}\n{PARTS[part[2]]().strip()}\n\n{part[3]}", path.read_text(encoding="utf-8")
    )


def main(arguments: list[str]) -> int:
    stale = [path for path in pages() if renewed(path) != path.read_text(encoding="utf-8")]
    for path in stale:
        if "--check" in arguments:
            print(f"docs/{path.name} is stale: run `make docs`")
        else:
            path.write_text(renewed(path), encoding="utf-8")
            print(f"docs/{path.name} written")
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
