"""What can be set: one frozen model a table of the TOML file. No reading here, and no defaults anywhere else.

Every field has an example, because a wrong value is answered with the line to write instead (see `problems`).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, model_validator
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
Secrets = Annotated[list[SecretStr], BeforeValidator(_listed), Field(min_length=1), AfterValidator(_not_blank)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


def _from_file(value: SecretStr | None, file: Path | None, key: str) -> SecretStr | None:
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


class Kafka(Table):
    bootstrap_servers: Annotated[str | None, BeforeValidator(_servers)] = Field(None, examples=["localhost:9092"])
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", examples=["SASL_SSL"]
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field("PLAIN", examples=["SCRAM-SHA-512"])
    sasl_username: str | None = Field(None, examples=["listwire"])
    sasl_password: SecretStr | None = Field(None, examples=["…"])
    sasl_password_file: Path | None = Field(None, examples=["/run/secrets/kafka-password"])
    ssl_cafile: Path | None = Field(None, examples=["/etc/ssl/kafka-ca.pem"])
    ssl_certfile: Path | None = Field(None, examples=["/etc/ssl/listwire.pem"])
    ssl_keyfile: Path | None = Field(None, examples=["/etc/ssl/listwire.key"])
    ssl_check_hostname: bool = Field(True, examples=[True])

    @model_validator(mode="after")
    def _whole(self) -> Kafka:
        password = _from_file(self.sasl_password, self.sasl_password_file, "sasl_password")
        if self.security_protocol.startswith("SASL") and not (self.sasl_username and password):
            raise wrong(
                f"security_protocol = {self.security_protocol!r} needs sasl_username and sasl_password",
                'sasl_username = "…" and sasl_password = "…"',
            )
        return self

    @property
    def password(self) -> SecretStr | None:
        return _from_file(self.sasl_password, self.sasl_password_file, "sasl_password")


class Amplitude(Table):
    """An Amplitude project."""

    api_key: SecretStr | None = Field(None, examples=["…"])
    api_key_file: Path | None = Field(None, examples=["/run/secrets/amplitude-api-key"])
    secret_key: SecretStr | None = Field(None, examples=["…"])
    secret_key_file: Path | None = Field(None, examples=["/run/secrets/amplitude-secret-key"])
    region: Literal["us", "eu"] = Field("us", examples=["us"])
    endpoint: Literal["batch", "httpapi"] = Field("batch", examples=["batch"])
    base_url: Url | None = Field(None, examples=["https://amplitude-proxy.example"])

    @model_validator(mode="after")
    def _key(self) -> Amplitude:
        if _from_file(self.api_key, self.api_key_file, "api_key") is None:
            raise wrong("api_key is missing", 'api_key = "…"')
        _from_file(self.secret_key, self.secret_key_file, "secret_key")
        return self

    @property
    def key(self) -> SecretStr:
        key = _from_file(self.api_key, self.api_key_file, "api_key")
        assert key is not None  # noqa: S101 - the validator has seen to it
        return key

    @property
    def secret(self) -> SecretStr | None:
        return _from_file(self.secret_key, self.secret_key_file, "secret_key")


class Mailchimp(Table):
    """A Mailchimp account: an API key that ends with its data centre, or an OAuth token with `datacenter`."""

    api_key: SecretStr | None = Field(None, examples=["…-us6"])
    api_key_file: Path | None = Field(None, examples=["/run/secrets/mailchimp-api-key"])
    access_token: SecretStr | None = Field(None, examples=["…"])
    access_token_file: Path | None = Field(None, examples=["/run/secrets/mailchimp-token"])
    datacenter: str | None = Field(None, examples=["us6"])
    base_url: Url | None = Field(None, examples=["https://us6.api.mailchimp.com"])
    max_connections: int = Field(10, ge=1, le=10, examples=[10])
    http_timeout: Seconds = Field(30.0, examples=[30])

    @model_validator(mode="after")
    def _reachable(self) -> Mailchimp:
        key = _from_file(self.api_key, self.api_key_file, "api_key")
        token = _from_file(self.access_token, self.access_token_file, "access_token")
        if key and token:
            raise wrong("api_key and access_token are both set; keep one")
        if not key and not token:
            raise wrong("api_key or access_token is missing", 'api_key = "…-us6"')
        if self.base_url is None and not DATACENTER.match(self._datacenter(key) or ""):
            given = self.datacenter
            raise wrong(
                "the data centre is missing: the key does not end with it (…-us6), and there is no datacenter"
                if given is None
                else f"datacenter = {given!r} is not like us6",
                'datacenter = "us6"',
            )
        return self

    def _datacenter(self, key: SecretStr | None) -> str | None:
        return self.datacenter or (key.get_secret_value().rpartition("-")[2] if key else None)

    @property
    def key(self) -> SecretStr | None:
        return _from_file(self.api_key, self.api_key_file, "api_key")

    @property
    def token(self) -> SecretStr | None:
        return _from_file(self.access_token, self.access_token_file, "access_token")

    @property
    def root(self) -> str:
        """The URL in front of `/3.0/…`."""
        return self.base_url or f"https://{self._datacenter(self.key)}.api.mailchimp.com"


class Source(Table):
    """One Mailchimp audience → one Amplitude project."""

    mailchimp: Name | None = Field(None, examples=["acme"])
    audience: str = Field(min_length=1, examples=["a6b5da1054"])
    amplitude: Name = Field(examples=["product"])
    secrets: Secrets = Field(examples=[["a long random text; `listwire init` makes one"]])
    signing_secret: Annotated[list[SecretStr], BeforeValidator(_listed), AfterValidator(_not_blank)] = Field(
        [], examples=[["…"]]
    )
    signature_tolerance: Seconds = Field(4800.0, examples=[4800])
    user_id: Annotated[list[str], BeforeValidator(_listed), Field(min_length=1), AfterValidator(_policy)] = Field(
        ["email"], examples=[["merge:AMP_ID", "email"]]
    )
    timezone: Annotated[str, AfterValidator(_zone)] = Field("UTC", examples=["UTC"])
    merge_properties: list[str] = Field([], examples=[["FNAME"]])


class CohortSync(Table):
    """Amplitude cohorts → tags of one Mailchimp audience."""

    mailchimp: Name = Field(examples=["acme"])
    audience: str = Field(min_length=1, examples=["a6b5da1054"])
    email_property: str = Field("email", min_length=1, examples=["email"])
    cohorts: Annotated[list[str], BeforeValidator(_listed), Field(min_length=1)] = Field(["*"], examples=[["*"]])
    # Without secrets the ingress has no route for this sync; the topic may still be fed by producers.
    secrets: Annotated[list[SecretStr], BeforeValidator(_listed), AfterValidator(_not_blank)] = Field(
        [], examples=[["…"]]
    )


class Ingress(Table):
    host: str = Field("0.0.0.0", examples=["0.0.0.0"])
    port: Port = Field(8080, examples=[8080])
    workers: int = Field(1, ge=1, le=64, examples=[1])
    public_url: Url | None = Field(None, examples=["https://hooks.example.com"])


class Status(Table):
    """Where a worker or the exporter answers /metrics, /healthz and /readyz; no port: the process's own default."""

    host: str = Field("0.0.0.0", examples=["0.0.0.0"])
    port: Port | None = Field(None, examples=[8081])


class Console(Table):
    host: str = Field("127.0.0.1", examples=["127.0.0.1"])
    port: Port | None = Field(None, examples=[8084])
    token: SecretStr | None = Field(None, examples=["…"])
    token_file: Path | None = Field(None, examples=["/run/secrets/console-token"])

    @model_validator(mode="after")
    def _token(self) -> Console:
        _from_file(self.token, self.token_file, "token")
        return self

    @property
    def login(self) -> SecretStr | None:
        return _from_file(self.token, self.token_file, "token")


class Delivery(Table):
    park_after: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(60.0, examples=[60])
    probe_every: Seconds = Field(30.0, examples=[30])
    max_batch_events: int = Field(1000, ge=1, le=2000, examples=[1000])
    max_batch_bytes: int | None = Field(None, ge=1024, le=20_000_000, examples=[900_000])
    http_timeout: Seconds = Field(8.0, examples=[8])


class Logs(Table):
    level: Literal["debug", "info", "warning", "error"] = Field("info", examples=["info"])
    format: Literal["auto", "console", "json"] = Field("auto", examples=["json"])


class Topics(Table):
    """How `topics ensure` creates them; an existing topic keeps its partitions."""

    partitions: int = Field(8, ge=1, le=10_000, examples=[8])
    replication: int | None = Field(None, ge=1, le=10, examples=[3])
