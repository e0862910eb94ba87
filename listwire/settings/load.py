"""One TOML file, and the environment over it. Everything wrong ends in one `SettingsError`; no value of a secret is ever repeated."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args, get_origin

import orjson
from pydantic import Field, PrivateAttr, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from listwire.errors import SettingsError
from listwire.settings import connections, models, people, schedules
from listwire.settings.problems import sentence
from listwire.settings.values import Name, wrong

PREFIX = "LISTWIRE_"
DEFAULT_FILE = "listwire.toml"
# Tables of tables: the level below is a name that the user has chosen.
NAMED = frozenset({"amplitude", "mailchimp", "sources", "cohort_syncs", "cohort_schedules"})


@dataclass(frozen=True)
class Origin:
    """Where settings were loaded from, so that they can be loaded again: what was asked for, the environment, and what was
    found there, before a command's flags.
    """

    path: Path | None = field(compare=False)
    environ: Mapping[str, str] = field(repr=False, compare=False)
    loaded: Settings = field(repr=False, compare=False)

    @property
    def file(self) -> Path | None:
        return find_file(self.path, self.environ)

    @property
    def connections(self) -> Path:
        """`connections.d/`, whether it exists or not."""
        return connections.directory_of(self.file)

    def load(self) -> Settings:
        """What stands there now. Raises `SettingsError`."""
        return load(self.path, self.environ)


class Settings(BaseSettings):
    """The whole of the settings, frozen. `origin` is where they came from."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    kafka: models.Kafka = models.Kafka()
    topics: models.Topics = models.Topics()
    amplitude: dict[Name, models.Amplitude] = Field(default={}, examples=["amplitude.product"])
    mailchimp: dict[Name, models.Mailchimp] = Field(default={}, examples=["mailchimp.acme"])
    sources: dict[Name, models.Source] = Field(default={}, examples=["sources.newsletter"])
    cohort_syncs: dict[Name, models.CohortSync] = Field(default={}, examples=["cohort_syncs.newsletter"])
    cohort_schedules: dict[Name, schedules.CohortSchedule] = Field(
        default={}, examples=["cohort_schedules.power-users"]
    )
    ingress: models.Ingress = models.Ingress()
    worker: models.Status = models.Status()
    exporter: models.Status = models.Status()
    scheduler: models.Status = models.Status()
    console: people.Console = people.Console()
    connect: people.Connect = people.Connect()
    delivery: models.Delivery = models.Delivery()
    logs: models.Logs = models.Logs()

    _origin: Origin | None = PrivateAttr(None)

    @property
    def origin(self) -> Origin:
        """Raises `SettingsError` for settings that were never loaded."""
        if self._origin is None:
            raise SettingsError("These settings came from no file and no environment.")
        return self._origin

    @model_validator(mode="after")
    def _references(self) -> Settings:
        kinds: dict[str, Mapping[str, models.Table]] = {
            "sources": self.sources,
            "cohort_syncs": self.cohort_syncs,
            "cohort_schedules": self.cohort_schedules,
        }
        for kind, tables in kinds.items():
            for name, table in tables.items():
                for other in ("mailchimp", "amplitude"):
                    wanted = getattr(table, other, None)
                    if wanted is not None and wanted not in getattr(self, other):
                        known = ", ".join(getattr(self, other)) or "none"
                        raise wrong(
                            f"{kind}.{name}.{other} = {wanted!r} names no table [{other}.{wanted}] (known: {known}). "
                            f"Write a line [{other}.{wanted}] with its keys below, or under [{kind}.{name}] the name of one that is there"
                        )
        for name, schedule in self.cohort_schedules.items():
            if schedule.sync not in self.cohort_syncs:
                known = ", ".join(self.cohort_syncs) or "none"
                raise wrong(
                    f"cohort_schedules.{name}.sync = {schedule.sync!r} names no table [cohort_syncs.{schedule.sync}] (known: {known}). "
                    f"Write a line [cohort_syncs.{schedule.sync}] with its keys below, or under [cohort_schedules.{name}] the name of one that is there"
                )
            if self.amplitude[schedule.amplitude].secret is None:
                raise wrong(
                    f"amplitude.{schedule.amplitude}.secret_key is missing: cohort_schedules.{name} reads a cohort from there. "
                    f'Write under [amplitude.{schedule.amplitude}]: secret_key_file = "/run/secrets/amplitude-secret"'
                )
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)


class EnvironmentSource(PydanticBaseSettingsSource):
    """`LISTWIRE_SECTION__KEY`, and `LISTWIRE_SECTION__NAME__KEY` for named tables.

    Only names with a double underscore count: Kubernetes sets `LISTWIRE_PORT` by itself for a service of our name.
    A name that holds '-' is written with '_' (names never hold '_'). Lists and tables are JSON.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(Settings)
        self.environ = environ

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        return self().get(field_name), field_name, True

    def __call__(self) -> dict[str, Any]:
        tree: dict[str, Any] = {}
        for variable, text in sorted(self.environ.items()):
            path = variable[len(PREFIX) :].lower().split("__")
            if not variable.startswith(PREFIX) or len(path) < 2:
                continue
            if path[0] in NAMED:
                path[1] = path[1].replace("_", "-")
            if len(path) > (3 if path[0] in NAMED else 2) or not all(path):
                raise SettingsError(
                    f"{variable} is no setting: write {PREFIX}SECTION__KEY, or {PREFIX}SOURCES__NAME__KEY."
                )
            table = tree
            for step in path[:-1]:
                table = table.setdefault(step, {})
            table[path[-1]] = _value(variable, text) if _is_list(path) else text
        return tree


def _is_list(path: list[str]) -> bool:
    """Whether a list may stand at this key. A single secret is never taken for JSON: it may begin with a bracket."""
    table: Any = Settings.model_fields[path[0]].annotation if path[0] in Settings.model_fields else None
    if path[0] in NAMED:
        table = get_args(table)[-1]
    field = table.model_fields.get(path[-1]) if table is not None else None
    return field is not None and (get_origin(field.annotation) is list or path == ["kafka", "bootstrap_servers"])


def _value(variable: str, text: str) -> Any:
    if not text.lstrip().startswith("["):
        return text
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        raise SettingsError(f'{variable} begins like JSON but is none: a list is written ["one", "two"].') from None


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Both, where `above` wins. A secret given there also wins over the file that is named for it below, and the other way round."""
    result = dict(below)
    for key, value in above.items():
        other = key.removesuffix("_file") if key.endswith("_file") else f"{key}_file"
        if other not in above:
            result.pop(other, None)
        old = result.get(key)
        result[key] = merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return result


def find_file(path: str | os.PathLike[str] | None, environ: Mapping[str, str]) -> Path | None:
    """`--config`, else `LISTWIRE_CONFIG`, else `./listwire.toml` where it exists, else none."""
    if chosen := path or environ.get("LISTWIRE_CONFIG"):
        return Path(chosen)
    return Path(DEFAULT_FILE) if Path(DEFAULT_FILE).exists() else None


def read_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingsError(
            f"There is no settings file {str(path)!r}: `listwire init` writes one, `--config FILE` names another."
        ) from None
    except (OSError, UnicodeDecodeError) as fault:
        raise SettingsError(
            f"The settings file {str(path)!r} cannot be read: {getattr(fault, 'strerror', None) or 'it is not UTF-8 text'}."
        ) from None
    except tomllib.TOMLDecodeError as fault:
        raise SettingsError(
            f"{path}: this is not TOML: {fault}. Texts stand in quotes, tables begin with [name]."
        ) from None


def load(path: str | os.PathLike[str] | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """The settings of this process: the environment over the settings file over `connections.d/` beside it.

    Raises `SettingsError` with one sentence.
    """
    environ = os.environ if environ is None else environ
    file = find_file(path, environ)
    tree, owners = connections.read(connections.directory_of(file), read_file, NAMED)
    tree = merged(tree, read_file(file) if file else {})
    tree = merged(tree, EnvironmentSource(environ)())
    try:
        found = Settings(**tree)
        # Absolute: a process may change its directory. A copy: the environment's own object cannot reach another process.
        ours = {name: text for name, text in environ.items() if name.startswith(PREFIX)}
        found._origin = Origin(Path(path).absolute() if path else None, ours, found)
        return found
    except ValidationError as fault:
        variable = _variable(fault, environ)
        steps = fault.errors(include_url=False, include_input=False)[0]["loc"]
        owner = owners.get((str(steps[0]), str(steps[1]))) if len(steps) > 1 else None
        where = variable or str(owner or file or "settings")
        raise SettingsError(f"{where}: {sentence(fault, Settings, tree, variable)}") from None


def _variable(fault: ValidationError, environ: Mapping[str, str]) -> str | None:
    """The environment variable that the first fault came from."""
    steps = [str(step).upper().replace("-", "_") for step in fault.errors(include_input=False)[0]["loc"][:3]]
    exact = (PREFIX + "__".join(steps[:length]) for length in (3, 2))
    found = [name for name in exact if name in environ]
    if len(steps) == 1:  # no such section
        found += [name for name in sorted(environ) if name.startswith(f"{PREFIX}{steps[0]}__")]
    return found[0] if found else None
