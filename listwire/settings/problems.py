"""From pydantic's findings to the sentence a person can act on: the key, what is wrong, and the line to write instead."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, get_args

import orjson
from pydantic import BaseModel, SecretStr, ValidationError
from pydantic.fields import FieldInfo

SHOWN = 60


def sentence(fault: ValidationError, tree: Mapping[str, Any]) -> str:
    from listwire.settings.load import Settings

    problems = fault.errors(include_url=False, include_input=False)
    problem = problems[0]
    steps = [str(step) for step in problem["loc"] if step != "[key]"]
    key, field, siblings = _found(Settings, steps)
    more = f" ({len(problems) - 1} more like this)" if len(problems) > 1 else ""
    kind = problem["type"]
    if kind == "extra_forbidden":
        near = difflib.get_close_matches(steps[-1], siblings, n=1, cutoff=0.5)
        way = f"did you mean {near[0]!r}?" if near else f"known here are {', '.join(siblings)}."
        return f"{'.'.join(steps)}: there is no such key; {way}{more}"
    if kind == "missing":
        return f"{key} is missing. Write: {_line(steps, field)}{more}"
    message = problem["msg"] if kind == "listwire" else _plain(problem)
    value = _shown(tree, steps, field)
    name = f"{key}: " if key else ""
    hint = f" Write, for example: {_line(steps, field)}" if field is not None else _table_hint(steps, message)
    return f"{name}{value}{message}.{hint}{more}"


def _found(model: type[BaseModel], steps: list[str]) -> tuple[str, FieldInfo | None, list[str]]:
    """The dotted key, its field (None where the fault is a whole table's) and the keys that are known beside it."""
    used: list[str] = []
    here: type[BaseModel] | None = model
    field: FieldInfo | None = None
    siblings = list(model.model_fields)
    for step in steps:
        used.append(step)
        if here is None:
            if field is not None and not _named(field):
                used.pop()  # an index, or a branch of a union: the key ends here
                break
            here = _named(field) if field else None
            field = None
            siblings = list(here.model_fields) if here else []
            continue
        field = here.model_fields.get(step)
        siblings = list(here.model_fields)
        here = _model(field)
        if here is not None:
            field = None
            siblings = list(here.model_fields)
    return ".".join(used), field, siblings


def _model(field: FieldInfo | None) -> type[BaseModel] | None:
    kind = field.annotation if field else None
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _named(field: FieldInfo) -> type[BaseModel] | None:
    args = get_args(field.annotation)
    last = args[-1] if args else None
    return last if isinstance(last, type) and issubclass(last, BaseModel) else None


def _secret(field: FieldInfo | None) -> bool:
    return field is None or "SecretStr" in repr(field.annotation) or field.annotation is SecretStr


def _shown(tree: Mapping[str, Any], steps: list[str], field: FieldInfo | None) -> str:
    if _secret(field):
        return ""
    value: Any = tree
    for step in steps:
        if not isinstance(value, Mapping) or step not in value:
            break
        value = value[step]
    if isinstance(value, Mapping):
        return ""
    text = repr(value)
    return f"{text if len(text) <= SHOWN else text[:SHOWN] + '…'} is wrong: "


def _line(steps: list[str], field: FieldInfo | None) -> str:
    if field is None or not field.examples:
        return f"a table [{'.'.join(steps)}]"
    example = field.examples[0]
    text = example if isinstance(example, str) and example.startswith("a table") else orjson.dumps(example).decode()
    name = next((step for step in reversed(steps) if not step.isdigit()), "")
    return text if text is example else f"{name} = {text}"


def _table_hint(steps: list[str], message: str) -> str:
    if " is missing" in message and steps:
        key = message.split(" ", 1)[0]
        return f' Write under [{".".join(steps)}]: {key} = "…"' if "_key" in key or "_token" in key else ""
    return ""


def _plain(problem: Any) -> str:
    """Pydantic's own words, without its jargon."""
    message: str = problem["msg"]
    for jargon, plain in (
        ("Input should be ", "it should be "),
        ("a valid integer, unable to parse string as an integer", "a whole number"),
        ("a valid number, unable to parse string as a number", "a number"),
        ("a valid string", "a text in quotes"),
        ("a valid list", "a list"),
        ("a valid boolean, unable to interpret input", "true or false"),
        ("a valid dictionary or instance of ", "a table of "),
        ("List should have at least 1 item after validation, not 0", "the list is empty"),
        ("Value should have at least 1 item after validation, not 0", "the list is empty"),
        ("String should have at least 1 character", "the text is empty"),
    ):
        message = message.replace(jargon, plain)
    return message[0].lower() + message[1:] if message[:1].isupper() else message
