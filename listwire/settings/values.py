"""The kinds of values that settings are made of, and what is wrong with a value in words of ours. No table here."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic_core import PydanticCustomError

NAME = re.compile(r"[a-z0-9-]+\Z")
DATACENTER = re.compile(r"[a-z]{2,10}[0-9]{1,4}\Z")
MERGE = re.compile(r"merge:[A-Za-z0-9_]{1,50}\Z")
USER_ID_POLICIES = ("email", "email_sha256", "email_md5")


def wrong(message: str, write: str = "") -> PydanticCustomError:
    """A fault in words of ours, and the line that mends it; neither may repeat a secret."""
    return PydanticCustomError("listwire", "{message}", {"message": message, "write": write})


def _name(value: str) -> str:
    if not NAME.match(value):
        raise wrong("a name is made of a-z, 0-9 and '-', like acme-2")
    return value


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str | SecretStr) else value


def _root(value: str) -> str:
    if not re.match(r"https?://[^/\s]+", value):
        raise wrong("it is not a URL that begins with http:// or https://")
    return value.rstrip("/")


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise wrong("no such time zone") from None
    return value


def _policy(value: list[str]) -> list[str]:
    for policy in value:
        if policy not in USER_ID_POLICIES and not MERGE.match(policy):
            raise wrong(f"{policy!r} is no policy; known are email, email_sha256, email_md5 and merge:TAG")
    return value


def _not_blank(value: list[SecretStr]) -> list[SecretStr]:
    if any(not secret.get_secret_value().strip() for secret in value):
        raise wrong("a secret is empty")
    return value


def _servers(value: Any) -> Any:
    return ",".join(value) if isinstance(value, list) and all(isinstance(item, str) for item in value) else value


Name = Annotated[str, AfterValidator(_name)]
Url = Annotated[str, AfterValidator(_root)]
Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Zone = Annotated[str, AfterValidator(_zone)]
Servers = Annotated[str | None, BeforeValidator(_servers)]
# One or a list, of secrets or of texts; those named first may not be empty.
Secrets = Annotated[list[SecretStr], BeforeValidator(_listed), Field(min_length=1), AfterValidator(_not_blank)]
SecretsOrNone = Annotated[list[SecretStr], BeforeValidator(_listed), AfterValidator(_not_blank)]
Urls = Annotated[list[Url], BeforeValidator(_listed)]
Patterns = Annotated[list[str], BeforeValidator(_listed), Field(min_length=1)]
Policies = Annotated[list[str], BeforeValidator(_listed), Field(min_length=1), AfterValidator(_policy)]


def secret_of(value: SecretStr | None, file: Path | None, key: str) -> SecretStr | None:
    """The secret itself, from the settings or from the file that stands in for it; None where there is neither."""
    if value is not None and file is not None:
        raise wrong(f"{key} and {key}_file are both set; keep one")
    if file is None:
        if value is not None and not value.get_secret_value().strip():
            raise wrong(f"{key} is empty", f'{key} = "…"')
        return value
    try:
        text = file.read_text().strip()
    except (OSError, UnicodeDecodeError) as fault:
        reason = getattr(fault, "strerror", None) or "not text"
        raise wrong(f"{key}_file = {str(file)!r} cannot be read: {reason}") from None
    if not text:
        raise wrong(f"{key}_file = {str(file)!r} is empty")
    return SecretStr(text)
