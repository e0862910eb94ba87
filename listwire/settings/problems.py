"""From pydantic's findings to the sentence a person can act on: the key, what is wrong, and the line to write instead.

Must never repeat a secret: what stands at a secret's key, or at the place of a whole table, is not shown.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

import orjson
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

SHOWN = 60


@dataclass(frozen=True)
class Place:
    """Where a fault stands: the dotted key, its field (None for a whole table), and the keys known beside it."""

    key: str
    field: FieldInfo | None
    known: list[str]


def sentence(fault: ValidationError, model: type[BaseModel], tree: Mapping[str, Any], variable: str | None) -> str:
    """About the first of the findings. `variable` is the environment variable that the value came from, if any."""
    problems = fault.errors(include_url=False, include_input=False)
    problem = problems[0]
    more = f" ({len(problems) - 1} more to mend after this)" if len(problems) > 1 else ""
    steps = [str(step) for step in problem["loc"] if step != "[key]"]
    place = _place(model, steps)
    if nameless := _nameless(model, steps, tree):
        return nameless + more
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(steps[-1], place.known, n=1, cutoff=0.5)
        way = f"did you mean {near[0]!r}?" if near else f"take the line out; known here are {', '.join(place.known)}."
        return f"{'.'.join(steps)}: there is no such key; {way}{more}"
    if problem["type"] == "missing":
        return f"{place.key} is missing. Write: {_line(place, None)}{more}"
    if problem["type"] == "listwire":
        message, write = problem["msg"], problem.get("ctx", {}).get("write", "")
        hint = f" Write under [{place.key}]: {write}" if write and place.field is None else ""
    else:
        message, hint = _plain(problem["msg"]), ""
    if "a table" in message:
        hint = f" Write a line [{_title(place)}], and its keys below."
    elif place.field is not None:
        hint = f" Write, for example: {_line(place, variable)}"
    return f"{place.key + ': ' if place.key else ''}{_shown(tree, steps, place)}{message}.{hint}{more}"


def _place(model: type[BaseModel], steps: list[str]) -> Place:
    used: list[str] = []
    here: type[BaseModel] | None = model
    field: FieldInfo | None = None
    known = list(model.model_fields)
    for step in steps:
        if here is not None:
            field = here.model_fields.get(step)
            known = list(here.model_fields)
            here = field.annotation if field is not None and _is_table(field.annotation) else None
            field = None if here else field
        elif table := _tables_in(field):
            here, field = table, None
        else:
            break  # an index, or a branch of a union: the key has ended
        used.append(step)
        known = list(here.model_fields) if here else known
    return Place(".".join(used), field, known)


def _is_table(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _tables_in(field: FieldInfo | None) -> type[BaseModel] | None:
    """The model of a section whose tables have names that the user has chosen; else None."""
    last = (get_args(field.annotation) or (None,))[-1] if field is not None else None
    return last if isinstance(last, type) and issubclass(last, BaseModel) else None


def _nameless(model: type[BaseModel], steps: list[str], tree: Mapping[str, Any]) -> str | None:
    """`[amplitude]` with the keys right below it, a name forgotten."""
    section = model.model_fields.get(steps[0]) if len(steps) > 1 else None
    if section is None or not _tables_in(section) or isinstance(_at(tree, steps[:2]), Mapping):
        return None
    title = _title(Place(steps[0], section, []))
    return (
        f"{'.'.join(steps[:2])}: tables of this kind have a name each. Write a line like [{title}], and the keys below."
    )


def _shown(tree: Mapping[str, Any], steps: list[str], place: Place) -> str:
    if place.field is None or _tables_in(place.field) or "SecretStr" in repr(place.field.annotation):
        return ""
    value = _at(tree, steps)
    if isinstance(value, Mapping):
        return ""
    text = repr(value)
    return f"{text if len(text) <= SHOWN else text[:SHOWN] + '…'} is wrong: "


def _at(tree: Mapping[str, Any], steps: list[str]) -> Any:
    value: Any = tree
    for step in steps:
        if not isinstance(value, Mapping) or step not in value:
            break
        value = value[step]
    return value


def _title(place: Place) -> str:
    if place.field is None:
        return place.key
    return str(place.field.examples[0]) if place.field.examples else f"{place.key}.NAME"


def _line(place: Place, variable: str | None) -> str:
    """The line to write: in the file, or for the environment."""
    if place.field is None or not place.field.examples:
        return f"a table [{place.key}]"
    example = place.field.examples[0]
    if variable is not None:
        return f"{variable}={example if isinstance(example, str) else orjson.dumps(example).decode()}"
    return f"{place.key.rpartition('.')[2]} = {orjson.dumps(example).decode()}"


def _plain(message: str) -> str:
    """Pydantic's own words, without its jargon."""
    for jargon, plain in (
        (r"Input should be (a )?valid integer.*", "it should be a whole number"),
        (r"Input should be (a )?valid number.*", "it should be a number"),
        (r"Input should be (a )?finite number.*", "it should be a number with an end"),
        (r"Input should be (a )?valid string.*", "it should be a text in quotes"),
        (r"Input should be (a )?valid list.*", "it should be a list"),
        (r"Input should be (a )?valid boolean.*", "it should be true or false"),
        (r"Input should be (a )?valid dictionary.*", "it should be a table"),
        (r"Input is not a valid path.*", "it should be the path of a file, in quotes"),
        (r"(List|Value) should have at least 1 item after validation, not 0", "the list is empty"),
        (r"String should have at least 1 character", "the text is empty"),
        (r"Input should be ", "it should be "),
    ):
        message = re.sub(jargon, plain, message)
    return message[:1].lower() + message[1:]
